"""Netflix's adaptive limits on their own example: two slots, lognormal service of 20 ms on average, steps of load.

Netflix/concurrency-limits, `Example.java` and `TestServer.java` at 78a74b9: a server that works on two requests at a
time, these lognormal with σ = 1 scaled to a mean of 20 ms (so it can do 100/s), Poisson arrivals of 50, 90, 200 and
100 a second for 100 s each, a Gradient2 limit of defaults behind a window of 1 s and 10 samples. No results are
published; an independent simulation of a few lines is the reference here, and two laws: what comes out of a busy
server is 100/s whatever the limit, and Little's.
"""

import heapq
import math

import numpy as np
import pytest

import llmsim as ls
from llmsim.algorithms import Aimd, Gradient2, Vegas
from llmsim.distributions import Constant, Lognormal
from llmsim.gateway.policies import ConcurrencyLimit
from llmsim.providers.sim.spec import SimProvider
from llmsim.report.plots.limits import limit_steps, plot_limits
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Stage, Traffic

MEAN_S, SLOTS, RATES = 0.02, 2, (50, 90, 200, 100)
MEDIAN_S = MEAN_S / math.exp(0.5)

LIMITS = {
    "gradient2": ConcurrencyLimit(gradient2=Gradient2(min=20)),  # Netflix's own minimum
    "vegas": ConcurrencyLimit(vegas=Vegas()),
    "aimd": ConcurrencyLimit(aimd=Aimd(min=20)),
    "aimd, 200 ms": ConcurrencyLimit(aimd=Aimd(min=1, timeout=0.2)),
}


def _scenario(limit, step_s, number=0):
    stages = [Stage(duration=step_s, target=1.0)]
    for rate in RATES[1:]:
        jump = Stage(duration=0.001, target=rate / RATES[0])
        stages += [jump, Stage(duration=step_s - 0.001, target=rate / RATES[0])]
    return Scenario(
        version=1,
        name="step load",
        seed=number,
        replications=1,
        clock=Clock(duration=len(RATES) * step_s, drain=600.0),
        traffic=Traffic(
            executor="ramping-arrival-rate",
            base_rate=RATES[0],
            stages=tuple(stages),
            mix=(Route(output_tokens=Constant(1)),),
        ),
        providers={
            "llm": SimProvider(ttft=Lognormal(p50=MEDIAN_S, p99=MEDIAN_S * math.exp(2.326348)), concurrency=SLOTS)
        },
        gateway=ls.Gateway(upstream=(limit,)),
    )


def _phases(arrivals, ok, times, changes, step_s):
    """Of the second half of each step: mean limit, share dropped, mean time of those served. Shape ``(4, 3)``."""
    at, limits = np.array([time for time, _ in changes]), np.array([limit for _, limit in changes])
    rows = []
    for phase in range(len(RATES)):
        begin, end = (phase + 0.5) * step_s, (phase + 1) * step_s
        grid = np.linspace(begin, end, 2000)
        mine = (arrivals >= begin) & (arrivals < end)
        limit = limits[np.searchsorted(at, grid, side="right") - 1].mean()
        rows.append((limit, 1 - ok[mine].mean(), times[mine & ok].mean()))
    return np.array(rows)


def _simulated(limit, step_s, number):
    result = ls.run(_scenario(limit, step_s, number))
    table = result.requests
    ok = (table["outcome"] == "ok").to_numpy()
    assert set(table["outcome"].unique()) <= {"ok", "rejected"}
    changes = list(zip(*limit_steps(result, initial=20), strict=True))
    return _phases(table["arrival_s"].to_numpy(), ok, table["e2e_s"].to_numpy(), changes, step_s), result


# -- the oracle: everything of it once more, in a few lines ------------------------------------------------------------


def gradient2(state, rtt, flying, _drop, limit):
    n, long = state.get("n", 0), state.get("long", 0.0)
    long = (long * n + rtt) / (n + 1) if n < 10 else long * (1 - 2 / 601) + rtt * 2 / 601
    state["n"] = min(n + 1, 10)
    state["long"] = long * 0.95 if long / rtt > 2 else long
    if flying < limit / 2:
        return limit
    return max(20, min(200, 0.8 * limit + 0.2 * (limit * max(0.5, min(1, 1.5 * long / rtt)) + 4)))


def vegas(state, rtt, flying, _drop, limit):
    state["n"] = state.get("n", 0) + 1
    if state["n"] >= 22.5 * limit:
        state.update(n=0, best=rtt)
        return limit
    if rtt < state.get("best", math.inf):
        state["best"] = rtt
        return limit
    if 2 * flying < limit:
        return limit
    d, queued = max(1, int(math.log10(limit))), math.ceil(limit * (1 - state["best"] / rtt))
    step = 6 * d if queued <= d else d if queued < 3 * d else -d if queued > 6 * d else 0
    return max(1, min(1000, limit + step))


def aimd(timeout_s, least):
    def update(_state, rtt, flying, _drop, limit):
        if rtt > timeout_s:
            return max(least, int(limit * 0.9))
        return min(200, limit + 1) if 2 * flying >= limit else limit

    return update


def oracle(update, step_s, seed):
    """Poisson arrivals, two slots, first come first served, a limit that is updated once a second."""
    luck = np.random.default_rng(seed)
    now, arrivals = 0.0, []
    for phase, rate in enumerate(RATES):
        now = phase * step_s
        while (now := now + luck.exponential(1 / rate)) < (phase + 1) * step_s:
            arrivals.append(now)
    service = luck.lognormal(math.log(MEDIAN_S), 1.0, size=len(arrivals))
    free, ends, flying, limit, state, changes = [0.0] * SLOTS, [], 0, 20.0, {}, [(0.0, 20)]
    window, due, ok, times = [], 1.0, [], []
    for at, work in zip(arrivals, service, strict=True):
        while ends and ends[0][0] <= at:
            end, began, inside = heapq.heappop(ends)
            flying -= 1
            window.append((end - began, inside))
            if end > due and len(window) >= 10:
                due = end + 1.0
                rtts, insides = zip(*window, strict=True)
                limit, window = update(state, sum(rtts) / len(rtts), max(insides), False, limit), []
                changes.append((end, int(limit)))
        ok.append(flying < int(limit))
        times.append(math.nan)
        if ok[-1]:
            flying += 1
            end = max(at, heapq.heappop(free)) + work
            heapq.heappush(free, end)
            heapq.heappush(ends, (end, at, flying))
            times[-1] = end - at
    return _phases(np.array(arrivals), np.array(ok), np.array(times), changes, step_s)


ORACLES = {"gradient2": gradient2, "vegas": vegas, "aimd": aimd(5.0, 20), "aimd, 200 ms": aimd(0.2, 1)}


def _agree(name, step_s, runs, trials):
    ours = np.array([_simulated(LIMITS[name], step_s, number)[0] for number in range(runs)])
    theirs = np.array([oracle(ORACLES[name], step_s, seed) for seed in range(trials)])
    # The spread of one run is theirs: they are more. What hardly moves (a limit at its minimum) may be off by little.
    error = theirs.std(axis=0, ddof=1) * math.sqrt(1 / runs + 1 / trials) + np.array([0.1, 0.002, 0.001])
    z = (ours.mean(axis=0) - theirs.mean(axis=0)) / error
    assert np.abs(z).max() <= 4, f"{name}: {z.round(1)}\n{ours.mean(axis=0)}\n{theirs.mean(axis=0)}"
    return ours.mean(axis=0)


@pytest.mark.slow
def test_gradient2_on_a_short_step_load():
    limit, dropped, _ = _agree("gradient2", 16.0, 1, 6).T
    assert (limit >= 20).all()
    assert dropped[0] < 0.01 < 0.4 < dropped[2] < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", LIMITS)
def test_each_limit_on_netflix_example(name):
    limit, dropped, times = _agree(name, 100.0, 1, 8).T
    assert dropped[0] < 0.005
    # What a busy server does not do is turned away: half of 200/s. (±: 10,000 requests, and lognormal work.)
    assert dropped[2] == pytest.approx(0.5, abs=0.03)
    # Little's law at the full 100/s, for those inside: their time is about the limit's share of it.
    assert 0.7 * limit[2] / 100 < times[2] <= 1.05 * limit[2] / 100
    if name == "aimd":
        # Nothing is ever slower than its 5 s, so it grows to its maximum, and so does the wait. The others converge.
        assert limit[3] > 150
        assert times[2] > 0.8
    else:
        assert times.max() < 0.35
        assert limit.max() < 40


@pytest.mark.slow
def test_the_limits_in_one_picture():
    results = {name: _simulated(limit, 3.0, 0)[1] for name, limit in LIMITS.items()}
    picture = plot_limits(results)
    top, middle, bottom = picture.axes
    assert {line.get_label() for line in top.get_lines()} == set(LIMITS)
    for panel in (top, middle, bottom):
        assert len(panel.get_lines()) == len(LIMITS)
    drawn = {line.get_label(): line.get_ydata() for line in top.get_lines()}
    for name, result in results.items():
        assert list(drawn[name][:-1]) == list(limit_steps(result)[1])
    turned_away = {line.get_label(): np.nanmax(line.get_ydata()) for line in middle.get_lines()}
    assert all(0.2 < share <= 1 for share in turned_away.values())
    assert picture.alt.startswith("Concurrency limits of gradient2, vegas, aimd and aimd, 200 ms")
    assert picture.png().startswith(b"\x89PNG")
