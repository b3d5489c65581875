"""The books balance, whatever is combined with whatever: random providers, faults and clients.

Nobody knows what should come out of such a mess, but all of it must add up: every call the account let in is settled
once, what is billed was made and what was delivered is billed, no limit holds more than it can, and at the end
nothing is left in slots, in the queue or in anybody's memory.
"""

import asyncio
import math
import random
from collections import Counter

import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant, Exponential, Lognormal
from llmsim.providers.dialects import ErrorRates, Limits, Refused
from llmsim.providers.faults import Abort, Delay, Fault, ModelDrift, Scale, Stall, StreamBreak
from llmsim.providers.sim.congestion_spec import Congestion
from llmsim.providers.sim.latency import Load, LoadPoint, Prefill, PromptCache, StreamStall
from llmsim.providers.sim.outputs import JsonDefects, Output
from llmsim.providers.sim.serving_spec import Serving
from llmsim.providers.sim.spec import Queue, SimProvider

CALLS = 40
LIMITS = {
    "generic": {"requests": 5.0, "tokens": 500.0},
    "openai": {"requests": 5.0, "tokens": 1000.0},
    "azure": {"requests": 5.0, "tokens": 1000.0},
    "anthropic": {"requests": 5.0, "input_tokens": 500.0, "output_tokens": 300.0},
    "gemini": {"requests": 5.0, "input_tokens": 500.0},
    "bedrock": {"requests": 5.0, "tokens": 70_000.0, "output_weight": 5.0},
    "groq": {"requests": 5.0, "tokens": 1000.0},
}


def _engine(luck):
    steps = {"prefill_step": luck.choice([0.0, 0.01]), "decode_step": luck.choice([0.0, 0.01])}
    batch = luck.choice([16, 2048])
    return {
        "serving": Serving(
            slots=luck.choice([1, 3, 8]), prefill_token=5e-4, decode_sequence=2e-3, batch_tokens=batch, **steps
        )
    }


def _slots(luck):
    words = {
        "ttft": luck.choice([Constant(0.2), Lognormal(0.2, 1.0), Constant(0.0)]),
        "inter_token": luck.choice([Constant(0.01), Exponential(0.02), Constant(0.0)]),
        "concurrency": luck.choice([None, 1, 3]),
    }
    maybe = {
        "flush": luck.choice([0.3, 1.0]),
        "pace": Lognormal(1.0, 2.0),
        "stall": StreamStall(probability=0.3, per=luck.choice(["gap", "answer"]), duration=Constant(1.0)),
        "congestion": Congestion(p99=2.0, memory=60.0, inter_token=0.5),
        "prefill": Prefill(per_1k=0.1),
    }
    if words["concurrency"] is not None:
        maybe["load"] = Load(points=(LoadPoint(at=0.1), LoadPoint(at=1.0, ttft=3.0, inter_token=2.0)))
    return words | _some(luck, maybe)


def _some(luck, words, share=0.35):
    return {word: value for word, value in words.items() if luck.random() < share}


def _provider(luck):
    dialect = luck.choice(list(LIMITS))
    limited = {"dialect": dialect, "rate_limit": Limits(**LIMITS[dialect])}
    output = Output(
        length=luck.choice([0.1, 1.0, 2.0]),
        variation=0.3,
        refusals=0.2,
        json_defects=JsonDefects(prose=0.3, cut=0.2),
    )
    maybe = {
        "queue": Queue(limit=luck.choice([0, 2, 5])),
        "prompt_cache": PromptCache(share=0.6, min_tokens=luck.choice([0, 50]), ttl=luck.choice([1.0, 300.0])),
        "errors": ErrorRates(in_stream=luck.choice([0.3, 0.1]), server_error=0.1),
        "output": output,
        "network": luck.choice([Constant(0.1), Exponential(0.5)]),
    }
    return SimProvider(
        **(_engine(luck) if luck.random() < 0.4 else _slots(luck)),
        **_some(luck, maybe),
        **(limited if luck.random() < 0.7 else {}),
        on_cancel=luck.choice(["free", "finish_prefill", "continue"]),
        answer_time=luck.choice([Constant(0.0), Constant(0.03)]),
    )


def _faults(luck):
    kinds = {
        "latency": Scale(multiplier=luck.choice([0.0, 0.5, 3.0])),
        "capacity": Scale(multiplier=luck.choice([0.0, 0.3, 2.0])),
        "rate_limit": Scale(multiplier=luck.choice([0.0, 0.3])),
        "drift": ModelDrift(output_tokens=2.0, latency=1.5, refusals=2.0, model="x"),
        "abort": Abort(status=503, percentage=0.3),
        "delay": Delay(time=Constant(0.3), percentage=0.5),
        "stall": Stall(after_tokens=luck.choice([0, 3]), percentage=0.5, time=Constant(1.0)),
        "break_": StreamBreak(after_tokens=luck.choice([0, 4]), percentage=0.5),
        "outage": True,
        "sequence": (429, "ok", 500),
    }
    return [
        Fault(
            name=kind,
            provider="p",
            at=luck.choice([0.0, 0.2, 1.0, 2.0]),
            duration=luck.choice([0.1, 1.0, 5.0]),
            **{kind: kinds[kind]},
        )
        for kind in luck.sample(list(kinds), luck.choice([0, 0, 1, 2, 4]))
    ]


class Auditor:
    """Looks over an account's shoulder."""

    def __init__(self, account):
        self.account = account
        self.admitted = {}
        self.settled = Counter()

    def __getattr__(self, name):
        return getattr(self.account, name)

    def admit(self, *call):
        outcome = self.account.admit(*call)
        if type(outcome) is not Refused:
            self.admitted[id(outcome)] = outcome
        self.look()
        return outcome

    def settle(self, ticket, usage, now):
        self.settled[id(ticket)] += 1
        assert 0 <= usage.cached_input_tokens <= usage.input_tokens
        assert usage.output_tokens >= 0
        self.account.settle(ticket, usage, now)
        self.look()

    def look(self):
        for meter in self.account.meters:
            assert meter.level <= meter.capacity + 1e-6


async def _client(bench, number, luck, at):
    """One call, and what it was billed, as the gateway's innermost link asks for it."""
    seen = await bench.visit(
        number,
        at=at,
        tokens=luck.choice([1, 2, 5, 40, 100]),
        input_tokens=luck.choice([1, 60, 200]),
        stream=luck.random() < 0.7,
        how=luck.choice(["read", "iterate"]),
        pause_s=luck.choice([0.0, 0.0, 0.05]),
        leave_at=at + luck.choice([math.inf, math.inf, 0.0, 0.05, 0.2, 0.5, 2.0]),
        gap_s=luck.choice([None, None, 0.05, 0.5]),
        until_s=luck.choice([None, None, at + 0.3, at + 3.0]),
    )
    if seen.response is not None:
        seen.response.close()  # left between two reads
        seen.usage = seen.response.usage
    elif seen.word == "stream_broken":
        seen.usage = bench.provider.cancelled_usage(bench.request(number))
    return seen


def _check(seed):
    luck = random.Random(seed)
    spec, faults, books = _provider(luck), _faults(luck), []

    async def script(bench):
        sim = bench.sim
        if sim._account is not None:
            sim._account = Auditor(sim._account)
        books.append(sim)
        plans = [(number, random.Random(f"{seed}/{number}"), luck.random() * 4) for number in range(CALLS)]
        seen = await asyncio.gather(*(_client(bench, *plan) for plan in plans))
        await asyncio.sleep(1e5)  # whatever goes on without its caller comes to an end
        return seen

    for visit in play(spec, script, faults, seed=seed, zero_s=luck.choice([0.0, 1.0])):
        usage = visit.usage
        if usage is None:
            continue
        assert 0 <= usage.cached_input_tokens <= usage.input_tokens
        delivered = visit.response.tokens_delivered if visit.response is not None else 0
        assert usage.output_tokens >= delivered
        if visit.word == "ok":
            assert usage.output_tokens == delivered
    sim = books[0]
    assert not sim._latest
    if sim.settles:
        assert dict(sim._account.settled) == dict.fromkeys(sim._account.admitted, 1)
    if spec.serving is None:
        assert (sim.server.busy, sim.server.waiting, len(sim.server._active or ())) == (0, 0, 0)
    else:
        engine = sim.server._server._engine
        assert (engine.busy, engine.waiting, len(engine._jobs), engine._decoding, engine._to_prefill) == (0, 0, 0, 0, 0)
        assert not sim.server._server._readers


@pytest.mark.matrix
@pytest.mark.parametrize("block", range(5))
def test_the_books_balance(block):
    for seed in range(16 * block, 16 * (block + 1)):
        _check(seed)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [pytest.param(block, marks=[pytest.mark.long] if block > 8 else []) for block in range(1, 21)]
)
def test_the_books_balance_in_many_worlds(block):
    for seed in range(100 * block, 100 * (block + 1)):
        _check(seed)
