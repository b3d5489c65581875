"""The simulated provider is the queue it says it is: Erlang's formulas, Little's law, and an exact recursion.

Everything runs as a scenario does: users, a gateway with an asyncio policy, provider, recorder.
"""

import math
from dataclasses import replace
from heapq import heapify, heapreplace

import numpy as np
import pytest
from theory.queueing import Estimate, erlang_b, erlang_c, lindley, mean_wait, mmck

from llmsim.distributions import Constant, Exponential, Lognormal
from llmsim.engine.driver import simulate
from llmsim.gateway.contract import policy
from llmsim.gateway.pipeline import Gateway
from llmsim.luck import Luck
from llmsim.providers.sim.provider import SimulatedProvider
from llmsim.providers.sim.spec import Queue, SimProvider
from llmsim.scenario.replicate import replicate
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Traffic
from llmsim.traffic.workload import Truth, World
from llmsim.types import Request


@policy
async def pass_through(request, call_next):
    return await call_next(request)


ONE_TOKEN = (Route(output_tokens=Constant(1)),)


def _mmc(rho, c, customers, seed=0, service=None, relaxations=10, **provider):
    """λ = ρc, μ = 1; warm-up 10/(cμ(1−√ρ)²), ten relaxation times of the queue."""
    rate = rho * c
    return Scenario(
        version=1,
        seed=seed,
        clock=Clock(warm_up=relaxations / (c * (1 - math.sqrt(rho)) ** 2), duration=customers / rate, drain=1e6),
        traffic=Traffic(base_rate=rate, mix=ONE_TOKEN),
        providers={"llm": SimProvider(ttft=service or Exponential(1.0), concurrency=c, **provider)},
        gateway=Gateway(policies=(pass_through,)),
    )


def _row(scenario, number):
    """Of one replication: mean wait, share that waited, and the controls: arrivals, mean service time, and both waits
    of a queue with one server that the same calls go through and whose means are known (`_expected`).

    With c slots that server is c times as fast as one of them: under load the two queues rise and fall together, which
    takes nine tenths of the error off a mean wait. With one slot it would be the queue itself; there all calls take
    it as long (M/D/1).
    """
    provider = scenario.providers["llm"]
    table = replicate(scenario, number).tables["attempts"]
    order = np.argsort(table["start_s"].values, kind="stable")
    arrival, start, end, wait = (table[name].values[order] for name in ("arrival_s", "start_s", "end_s", "queue_s"))
    service = end - start - wait
    work = service / provider.concurrency if provider.concurrency > 1 else np.ones_like(service)
    relative = lindley(start, work)
    measured = arrival >= 0
    wait, relative, count = wait[measured], relative[measured], float(measured.sum())
    return wait.mean(), (wait > 0).mean(), count, service[measured].mean(), relative.mean(), (relative > 0).mean()


def _expected(rho, c, customers):
    """What the controls of a `_row` are on average: M/M/1 with a server of rate c, or M/D/1 (Pollaczek-Khinchine)."""
    relative = mean_wait(1, rho, mu=c) if c > 1 else rho / (2 * (1 - rho))
    return np.array([customers, 1.0, relative, rho])


def _against_erlang_c(rho, c, customers, rows, controls):
    """Means and P(wait) as they are and with as many of the `controls`; and the controls themselves, as they are.

    Those last lines are what gives the others their power: services that took 2 % longer than they say would move a
    mean wait and its controls alike.
    """
    rows = np.array(rows)
    expected = _expected(rho, c, customers)
    lines = []
    for column, name, theory in ((0, "mean wait", mean_wait(c, rho * c)), (1, "P(wait)", erlang_c(c, rho * c))):
        for kind, estimate in (
            ("plain", Estimate.of(rows[:, column])),
            ("with controls", Estimate.controlled(rows[:, column], rows[:, 2 : 2 + controls], expected[:controls])),
        ):
            lines.append((name, kind, estimate, theory, estimate.z(theory)))
    for column, name in enumerate(("arrivals", "mean service", "mean wait of one server", "P(wait) of one server")):
        estimate = Estimate.of(rows[:, 2 + column])
        lines.append((name, "plain", estimate, expected[column], estimate.z(expected[column])))
    text = "\n".join(f"{n} {k}: {e}, theory {t:.6g}, z {z:+.2f}" for n, k, e, t, z in lines)
    print(f"rho {rho}, c {c}, {len(rows)} x {customers}\n{text}")
    assert max(abs(line[-1]) for line in lines) <= 4, text
    return {(name, kind): estimate for name, kind, estimate, *_ in lines}


def test_the_formulas_are_right():
    """Values from the literature, so that a slip here cannot hide one there."""
    assert erlang_c(5, 2.5) == pytest.approx(0.130371, abs=1e-6)  # Brooker's 13 %
    assert erlang_c(10, 5.0) == pytest.approx(0.036105, abs=1e-6)  # and 3.6 %
    assert mean_wait(1, 0.8) == pytest.approx(4.0)
    assert mean_wait(10, 9.0) == pytest.approx(0.668732, abs=1e-6)
    assert erlang_b(10, 8.0) == pytest.approx(0.121661, abs=1e-6)
    assert mmck(10, 10, 8.0)[-1] == pytest.approx(erlang_b(10, 8.0))


@pytest.mark.parametrize(
    ("rho", "c", "customers", "replications"),
    [(0.5, 5, 2_000, 8), pytest.param(0.8, 1, 4_000, 8, marks=pytest.mark.slow)],
)
def test_mmc_in_short(rho, c, customers, replications):
    scenario = _mmc(rho, c, customers)
    rows = [_row(scenario, number) for number in range(replications)]
    found = _against_erlang_c(rho, c, customers, rows, controls=2)  # eight rows bear no more
    # Its own honest error: seven degrees of freedom and some per cent; the version below is the real one.
    assert found["mean wait", "plain"].error / found["mean wait", "plain"].mean < 0.1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rho", "c", "customers", "replications"),
    [
        (0.5, 5, 8_000, 34),
        (0.8, 1, 10_000, 34),
        (0.9, 10, 5_000, 20),
        # Between and beyond: the recursion below holds every wait of 20 slots under such a load, too.
        pytest.param(0.8, 10, 4_000, 40, marks=pytest.mark.long),
        pytest.param(0.95, 20, 8_000, 30, marks=pytest.mark.long),
    ],
)
def test_mmc_to_a_standard_error_of_one_and_a_half_per_cent(rho, c, customers, replications):
    # Six relaxation times: what is left of the empty start is a quarter of a per cent of where the run begins to count.
    scenario = _mmc(rho, c, customers, seed=1, relaxations=6)
    rows = [_row(scenario, number) for number in range(replications)]
    found = _against_erlang_c(rho, c, customers, rows, controls=4)
    for name in ("mean wait", "P(wait)"):
        best = found[name, "with controls"]
        assert best.error / best.mean <= 0.015


@pytest.mark.parametrize("customers", [1500, pytest.param(8000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("c", [1, 3, 20])
@pytest.mark.parametrize(
    "service", [Exponential(1.0), Lognormal(p50=0.5, p99=9.0), Constant(1.0)], ids=["exp", "ln", "det"]
)
def test_every_single_wait_is_that_of_an_exact_recursion(c, service, customers):
    """Given when calls come and how long each is served, first come first served leaves nothing to chance."""
    rho = 0.9 / service.mean
    scenario = _mmc(rho, c, customers, service=service)
    from_empty = replace(scenario, clock=replace(scenario.clock, warm_up=0.0))
    table = replicate(from_empty, 0).tables["attempts"]
    start, end, queue = (table[name].values for name in ("start_s", "end_s", "queue_s"))
    order = np.argsort(start, kind="stable")
    free = [-math.inf] * c
    heapify(free)
    for i in order:
        begins = max(start[i], free[0])
        assert queue[i] == pytest.approx(begins - start[i], abs=1e-9)
        heapreplace(free, begins + (end[i] - start[i] - queue[i]))
    assert (queue > 0).mean() > 0.3


# -- bounded queues ----------------------------------------------------------------------------------------------------


class _Counted:
    """A provider that counts who is inside and integrates it, on its own clock readings."""

    def __init__(self, inner, loop):
        self.name, self.inner, self.loop = inner.name, inner, loop
        self.inside, self.area, self.last = 0, 0.0, 0.0

    def change(self, by):
        now = self.loop.time()
        self.area += self.inside * (now - self.last)
        self.inside, self.last = self.inside + by, now

    async def send(self, request):
        self.change(+1)
        try:
            response = await self.inner.send(request)
        except BaseException:
            self.change(-1)
            raise
        response.on_end(lambda *_: self.change(-1))
        return response

    def cancelled_usage(self, request):
        return self.inner.cancelled_usage(request)

    async def aclose(self):
        """Nothing to close."""


def _observe(spec, rate, duration, seed, every=0.25, tokens=1):
    """Poisson arrivals from numpy; a SimPy process looks at the provider again and again. From empty to empty.

    Returns attempts, the sampled (busy, waiting), the counted area under the number inside, and the time at the end.
    """

    async def main(loop):
        world, attempts, samples = World(), [], []
        provider = SimulatedProvider("llm", spec, loop=loop, luck=Luck(seed), world=world)
        counted = _Counted(provider, loop)
        gateway = Gateway(policies=(pass_through,)).open([counted], on_attempt=attempts.append, seed=seed)
        rng = np.random.default_rng(seed)
        times = np.cumsum(rng.exponential(1 / rate, int(2 * rate * duration)))

        async def visit(number):
            request = Request(f"{number}/0/0")
            world.truths[request.id] = Truth(number, tokens, math.inf)
            try:
                await (await gateway.send(request)).read()
            except Exception:
                assert attempts[-1].outcome == "overloaded"

        def look():
            while True:
                yield loop.env.timeout(every)
                samples.append((provider.server.busy, provider.server.waiting))

        loop.env.process(look())
        tasks = []
        for number, at in enumerate(times[times < duration]):
            loop.at(float(at), lambda n=number: tasks.append(loop.create_task(visit(n))))
        await_until = duration + 1.0
        await _sleep(loop, await_until)
        for task in tasks:
            await task
        return attempts, np.array(samples), counted, loop.time()

    return simulate(main)


async def _sleep(loop, until):
    import asyncio

    await asyncio.sleep(until - loop.time())


@pytest.mark.parametrize(
    ("c", "limit", "load"),
    [
        pytest.param(3, 5, 3.0, marks=pytest.mark.slow),
        pytest.param(1, 4, 1.5, marks=pytest.mark.slow),
        pytest.param(10, 0, 8.0, marks=pytest.mark.slow),
        pytest.param(4, 0, 2.0, marks=pytest.mark.slow),
    ],
)
def test_mmck_loses_what_it_should(c, limit, load):
    """M/M/c/K, and Erlang-B at queue limit 0: share lost, and the mean number inside seen by a SimPy process."""
    spec = SimProvider(ttft=Exponential(1.0), concurrency=c, queue=Queue(limit=limit), answer_time=Constant(0.0))
    theory = mmck(c, c + limit, load)
    lost, inside, served = [], [], []
    for seed in range(8):
        attempts, samples, _, _ = _observe(spec, load, 1000.0 / load, seed)
        samples = samples[40:]  # 10 s: a system of ten servers has forgotten that it began empty
        lost.append(np.mean([attempt.outcome == "overloaded" for attempt in attempts if attempt.start_s > 10]))
        inside.append(samples.sum(axis=1).mean())
        served.append(samples[:, 0].mean())
    numbers = np.arange(c + limit + 1)
    for name, values, expected in (
        ("share lost", lost, theory[-1]),
        ("mean number", inside, theory @ numbers),
        ("mean busy", served, theory @ np.minimum(numbers, c)),
    ):
        estimate = Estimate.of(values)
        assert abs(estimate.z(expected)) < 4, f"{name}: {estimate}, theory {expected:.5g}"
        assert estimate.error / estimate.mean < 0.1
    if limit == 0:
        assert theory[-1] == pytest.approx(erlang_b(c, load))


# -- Little's law ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("tokens", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_littles_law_on_an_uncut_run(tokens):
    """From empty to empty L = λW holds exactly: W from the attempts, L from somebody else's count."""
    spec = SimProvider(ttft=Exponential(1.0), inter_token=Exponential(0.01), concurrency=4)
    attempts, samples, counted, end_s = _observe(spec, 3.4, 400.0, seed=3, every=0.01, tokens=tokens)
    assert counted.inside == 0
    spent = sum(attempt.end_s - attempt.start_s for attempt in attempts)
    assert counted.area == pytest.approx(spent, rel=1e-12)
    assert len({attempt.outcome for attempt in attempts}) == 1
    # The queue alone, from the SimPy process: it looks every 10 ms, so the area is good to about that.
    waited = sum(attempt.response.queue_s for attempt in attempts)
    assert samples[:, 1].sum() * 0.01 == pytest.approx(waited, rel=0.01)
    # And the slots: what is left is service.
    assert samples[:, 0].sum() * 0.01 == pytest.approx(spent - waited, rel=0.01)
    assert waited / end_s > 0.2, "there was a queue"
