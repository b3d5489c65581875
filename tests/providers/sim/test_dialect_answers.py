"""A simulated provider speaks its dialect: headers, refusals, failures before and after the 200, settling."""

import math
from itertools import pairwise

import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant
from llmsim.providers.dialects import Accounts, ErrorRates, Limits
from llmsim.providers.faults import Fault, Scale
from llmsim.providers.sim.provider import SimulatedProvider
from llmsim.providers.sim.serving_spec import Serving
from llmsim.providers.sim.spec import Queue, SimProvider
from llmsim.scenario.load import load_scenario
from llmsim.types import Usage

FAST = {"ttft": Constant(0.1), "inter_token": Constant(0.01), "answer_time": Constant(0.0)}


def _spec(**settings):
    return SimProvider(**{**FAST, **settings})


def test_an_answer_carries_the_headers_of_its_dialect():
    spec = _spec(dialect="openai", rate_limit=Limits(requests=500 / 60, tokens=500.0), model="gpt-4o-mini")
    seen = play(spec, lambda bench: [bench.go(0, input_tokens=100, tokens=5), bench.go(1, tokens=5, stream=False)])
    for number, visit in enumerate(seen):
        assert visit.response.headers["x-ratelimit-limit-requests"] == "500"
        assert visit.response.headers["x-ratelimit-remaining-requests"] == str(499 - number)
    assert not dict(play(_spec(), lambda bench: bench.go(0))[0].response.headers)


def test_a_refusal_is_the_vendors():
    spec = _spec(dialect="openai", rate_limit=Limits(requests=1 / 60), model="gpt-4o-mini")
    refused = play(spec, lambda bench: [bench.go(0), bench.go(1)])[1].error
    assert (refused.word, refused.status, refused.upstream) == ("rate_limited", 429, "p")
    assert '"code": "rate_limit_exceeded"' in refused.body
    assert "requests per min (RPM)" in str(refused)


@pytest.mark.parametrize(
    ("kind", "dialect", "word", "status"),
    [
        ("quota", "openai", "quota_exhausted", 429),
        ("slow_down", "openai", "rate_limited", 429),
        ("overloaded", "anthropic", "overloaded", 529),
        ("auth", "anthropic", "auth_error", 401),
        ("content_filter", "azure", "content_filtered", 400),
        ("server_error", "gemini", "server_error", 500),
        ("overloaded", "vllm", "overloaded", 503),
    ],
)
def test_each_kind_of_failure_is_answered_as_the_dialect_does(kind, dialect, word, status):
    seen = play(_spec(dialect=dialect, errors=ErrorRates(**{kind: 1.0})), lambda bench: bench.go(0))
    assert (seen[0].word, seen[0].error.status) == (word, status)
    assert seen[0].error.body


def test_a_prompt_that_does_not_fit_and_a_full_queue():
    long = play(_spec(dialect="openai", context_window=1000), lambda bench: bench.go(0, input_tokens=1001))
    assert (long[0].word, long[0].error.status) == ("context_too_long", 400)
    assert "1001 tokens" in str(long[0].error)
    seen = play(_spec(context_window=1000), lambda bench: bench.go(0, input_tokens=999, tokens=5))[0]
    assert (seen.word, seen.usage.output_tokens, seen.response.finish_reason) == ("ok", 1, "length")
    spec = _spec(dialect="anthropic", concurrency=1, queue=Queue(limit=0))
    full = play(spec, lambda bench: [bench.go(0), bench.go(1)])
    assert [visit.word for visit in full] == ["ok", "overloaded"]
    assert full[1].error.status == 529


@pytest.mark.parametrize(("dialect", "last"), [("openai", "rate_limited"), ("anthropic", "ok")])
def test_calls_that_fail_count_where_the_vendor_says_so(dialect, last):
    spec = _spec(dialect=dialect, rate_limit=Limits(requests=3 / 60), context_window=1000)
    seen = play(spec, lambda bench: [bench.go(n, at=n / 10, input_tokens=1001 if n < 3 else 10) for n in range(4)])
    assert [visit.word for visit in seen] == ["context_too_long"] * 3 + [last]


@pytest.mark.parametrize("how", ["read", "iterate"])
def test_a_stream_that_fails_after_its_200_delivers_what_came_before(how):
    spec = _spec(dialect="anthropic", errors=ErrorRates(in_stream=1.0), concurrency=1)
    tokens = 101
    seen = play(spec, lambda bench: [bench.go(number, tokens=tokens, how=how) for number in range(40)])
    early = [visit for visit in seen if visit.response is None]
    broken = [visit for visit in seen if visit.response is not None]
    assert {visit.word for visit in early} <= {"overloaded"}
    assert {visit.word for visit in broken} == {"stream_broken"}
    for visit in broken:
        made = visit.error.tokens_delivered
        assert 0 < made < tokens
        assert visit.tokens == made == visit.usage.output_tokens
        assert visit.end_s == pytest.approx(visit.first_s + (made - 1) * 0.01)
    places = sorted(visit.error.tokens_delivered for visit in broken)
    assert places[0] < 25
    assert places[-1] > 75
    starts = sorted(visit.first_s for visit in broken)
    assert min(b - a for a, b in pairwise(starts)) >= 0.1, "one slot: each gave it back"


@pytest.mark.parametrize("serving", [None, Serving(slots=90, prefill_token=0.01, decode_sequence=0.01)])
@pytest.mark.parametrize("tokens", [1, 3])
def test_an_error_before_any_token_is_the_error_and_no_answer_at_all(tokens, serving):
    """There was no first chunk, so no time to it, and a policy may send the call elsewhere."""
    spec = SimProvider(
        dialect="anthropic", errors=ErrorRates(in_stream=1.0), serving=serving, ttft=Constant(0.5 if serving else 0.1)
    )
    seen = play(spec, lambda bench: [bench.go(n, tokens=tokens, stream=n % 2 == 0) for n in range(80)])
    early = [visit for visit in seen if visit.word == "overloaded"]
    # One in three fails before its first token; the 40 that are not streamed get no token in any case.
    assert len(early) == 80 if tokens == 1 else 47 <= len(early) <= 60
    for visit in early:
        assert (visit.response, visit.error.status) == (None, 529)
        if serving is None and tokens == 1:
            assert visit.end_s == pytest.approx(0.1)
    assert {visit.word for visit in seen} <= {"overloaded", "stream_broken"}


@pytest.mark.parametrize(
    ("dialect", "word", "status"), [("anthropic", "overloaded", 529), ("openai", "server_error", 500)]
)
def test_without_a_stream_a_failure_in_the_middle_is_the_answer_it_stands_for(dialect, word, status):
    spec = _spec(dialect=dialect, errors=ErrorRates(in_stream=1.0))

    async def script(bench):
        seen = [await bench.visit(number, tokens=100, stream=False) for number in range(20)]
        assert not any(bench.provider.cancelled_usage(bench.request(number)) != Usage() for number in range(20))
        return seen

    seen = play(spec, script)
    assert {(visit.word, visit.error.status) for visit in seen} == {(word, status)}
    assert all(visit.error.body for visit in seen)
    assert len({round(visit.end_s - visit.start_s, 6) for visit in seen}) > 10, "not before the middle"


def test_which_calls_fail_does_not_depend_on_the_other_kinds():
    def failed(**rates):
        seen = play(_spec(errors=ErrorRates(**rates)), lambda bench: [bench.go(n, tokens=9) for n in range(200)])
        return {n for n, visit in enumerate(seen) if visit.word == "server_error"}

    assert failed(server_error=0.2) == failed(server_error=0.2, overloaded=0.3) != set()


BEDROCK = {"dialect": "bedrock", "rate_limit": Limits(tokens=1000 / 60, max_output_tokens=900)}


@pytest.mark.parametrize("leave_at", [math.inf, 0.15], ids=["answered", "cancelled"])
def test_what_was_reserved_and_not_used_comes_back_when_the_call_ends(leave_at):
    """Bedrock reserves 10 + 900 of 1000 tokens; a second call gets in once the first has ended or was cancelled."""

    def script(bench):
        bench.go(0, tokens=50, leave_at=leave_at)
        bench.go(1, at=0.14, tokens=50)  # the first has used 5 of its 900 by now
        bench.go(2, at=0.7, tokens=50)

    seen = play(_spec(**BEDROCK), script)
    assert [visit.word for visit in seen] == ["ok" if leave_at == math.inf else "left", "rate_limited", "ok"]


def test_an_outage_gives_back_what_was_reserved():
    outage = Fault(name="down", provider="p", at=0.2, duration=0.1, outage=True)
    seen = play(_spec(**BEDROCK), lambda bench: [bench.go(0, tokens=500), bench.go(1, at=0.4, tokens=5)], [outage])
    assert [visit.word for visit in seen] == ["stream_broken", "ok"]


def _two(bench, spec, **more):
    accounts = Accounts()
    return [
        SimulatedProvider(name, spec, loop=bench.loop, luck=bench.luck, world=bench.world, accounts=accounts, **more)
        for name in ("a", "b")
    ]


@pytest.mark.parametrize(("group", "lets_in"), [(None, 4), ("team", 2)])
def test_providers_of_one_quota_group_share_its_limits(group, lets_in):
    async def script(bench):
        spec = _spec(rate_limit=Limits(requests=2 / 60), quota_group=group)
        outcomes = []
        for number, provider in enumerate(_two(bench, spec) * 2):
            try:
                await (await provider.send(bench.request(number))).read()
                outcomes.append("ok")
            except Exception as error:
                outcomes.append(error.word)
        return outcomes

    assert play(_spec(), script).count("ok") == lets_in


def test_quota_cuts_of_several_providers_of_a_group_multiply_and_end_one_by_one():
    async def script(bench):
        spec = _spec(rate_limit=Limits(requests=1.0), quota_group="team")
        cuts = [
            Fault(name=name, provider=name, at=at, duration=duration, rate_limit=Scale(multiplier=0.5))
            for name, at, duration in (("a", 1.0, 2.0), ("b", 2.0, 2.0))
        ]
        accounts = Accounts()
        a, _ = (
            SimulatedProvider(
                name, spec, loop=bench.loop, luck=bench.luck, world=bench.world, accounts=accounts,
                faults=[cut for cut in cuts if cut.provider == name],
            )
            for name in ("a", "b")
        )  # fmt: skip
        capacities = []
        for when in (0.5, 1.5, 2.5, 3.5, 4.5):
            future = bench.loop.create_future()
            bench.loop.wake_at(when, future)
            await future
            capacities.append(a._account.meters[0].capacity)
        return capacities

    assert play(_spec(), script) == [60.0, 30.0, 15.0, 30.0, 60.0]


def test_a_scenario_says_which_word_its_dialect_does_not_know():
    document = {
        "version": 1,
        "traffic": {"base_rate": "1/s"},
        "providers": {"a": {"dialect": "anthropic", "rate_limit": {"requests": "50/min", "tokens_per_day": 10}}},
    }
    with pytest.raises(Exception, match="dialect anthropic does not know tokens_per_day") as caught:
        load_scenario(document)
    assert caught.value.problems[0].path == "providers.a.rate_limit"
