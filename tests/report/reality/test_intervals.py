"""Intervals against how often they hold the truth, and how many pairs they say it takes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from llmsim.report.reality.bursts import as_bursts, bursts_of
from llmsim.report.reality.intervals import (
    bursts_needed,
    fewest_of,
    interval_of,
    interval_of_independent_shares,
    interval_of_shares,
    pairs_needed,
)
from llmsim.report.reality.neighbours import ALONE, likeness_of
from llmsim.report.reality.rows import percentile


def error_of(percent: float):
    return lambda sim, live: percentile(sim, percent) / percentile(live, percent) - 1


def coverage(percent: float, n: int, draws: int, kind: str, z: float) -> float:
    """How often the interval holds the true error of a percentile; `z` is its normal quantile."""
    held = 0
    for draw in range(draws):
        rng = np.random.default_rng([draw, n, int(percent)])
        noise = rng.normal(size=n)
        if kind == "queue":  # neighbours are alike: lag-1 correlation 0.7
            for k in range(1, n):
                noise[k] = 0.7 * noise[k - 1] + math.sqrt(1 - 0.49) * noise[k]
            live, sim = np.exp(0.6 * noise), 1.1 * rng.lognormal(0.0, 0.6, size=n)
            truth = 0.1
        else:  # pairs of which the simulated one varies less
            live, sim = np.exp(0.6 * noise), 1.1 * np.exp(0.3 * noise + 0.1 * rng.normal(size=n))
            truth = 1.1 * math.exp(z * (math.sqrt(0.1) - 0.6)) - 1
        found = interval_of(error_of(percent), sim, live, fewest=fewest_of(percent))
        assert found is not None
        held += found[0] <= truth <= found[1]
    return held / draws


@pytest.mark.parametrize(("percent", "n", "z"), [(50, 12, 0.0), (95, 72, 1.6449)])
def test_percentiles_of_few_pairs(percent: float, n: int, z: float) -> None:
    assert coverage(percent, n, 100, "pairs", z) >= 0.90  # 94 % or more; chance of 100 draws: 2.2 points


@pytest.mark.slow
@pytest.mark.parametrize(("percent", "n", "z"), [(50, 12, 0.0), (50, 100, 0.0), (95, 72, 1.6449), (95, 150, 1.6449)])
def test_percentiles_hold_in_93_of_100(percent: float, n: int, z: float) -> None:
    assert coverage(percent, n, 500, "pairs", z) >= 0.93


@pytest.mark.slow
def test_answers_that_queue_up_are_drawn_in_blocks() -> None:
    """One by one it would be 79 %."""
    assert coverage(50, 150, 300, "queue", 0.0) >= 0.89


def test_blocks_only_where_neighbours_are_alike() -> None:
    rng = np.random.default_rng(1)
    live = np.repeat(rng.lognormal(size=30), 10)
    assert likeness_of(rng.lognormal(size=300), live).block > 5
    assert likeness_of(live * rng.lognormal(0, 0.1, size=300), live) is ALONE  # alike in both: the error is not
    found = [likeness_of(*np.random.default_rng(k).lognormal(size=(2, 300))) for k in range(100)]
    assert np.mean([one is ALONE for one in found]) > 0.88  # 95 % by its test, chance 2.2 points


def of_bursts(bursts: int, size: int, draw: int, *, equal: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Simulated and live latencies of calls that come in bursts, each of which has a mood live; and when they came."""
    rng = np.random.default_rng([draw, bursts, size, int(equal)])
    sizes = np.full(bursts, size) if equal else rng.geometric(1 / size, bursts)
    n = int(sizes.sum())
    live = np.exp(np.repeat(rng.normal(0, 0.5, bursts), sizes) + rng.normal(0, 0.2, n))
    at = np.repeat(np.cumsum(rng.uniform(20, 60, bursts)), sizes) + np.sort(rng.uniform(0, 0.3, n))
    return 1.1 * rng.lognormal(0, 0.5, n), live, np.sort(at)


def held_in_bursts(bursts: int, draws: int, *, equal: bool = True, told: bool = True) -> float:
    """How often the interval of the medians holds the truth, which is 10 %; `told`: it is known when calls came."""
    held = 0
    for draw in range(draws):
        sim, live, at = of_bursts(bursts, 8, draw, equal=equal)
        found = interval_of(error_of(50), sim, live, bursts=(bursts_of(at),) * 2 if told else (None, None))
        assert found is not None
        held += found[0] <= 0.1 <= found[1]
    return held / draws


def test_few_bursts_are_drawn_whole() -> None:
    assert held_in_bursts(6, 60) >= 0.92  # of 400 draws 95 %; 89 % in blocks found by neighbours


@pytest.mark.parametrize("equal", [True, False])
@pytest.mark.parametrize(
    "bursts", [*(pytest.param(many, marks=pytest.mark.slow) for many in (6, 10)),
               *(pytest.param(many, marks=pytest.mark.long) for many in (20, 40))],
)  # fmt: skip
def test_bursts_hold_the_truth_however_few_they_are(bursts: int, equal: bool) -> None:
    assert 0.93 <= held_in_bursts(bursts, 150, equal=equal) <= 0.99


@pytest.mark.slow
def test_many_bursts_make_no_interval_wider_that_have_nothing_in_common() -> None:
    ratios = []
    for draw in range(60):
        rng = np.random.default_rng(draw)
        sim, live = rng.lognormal(0, 0.5, size=(2, 320))
        bursts = np.repeat(np.arange(40), 8)
        whole, plain = (interval_of(error_of(50), sim, live, bursts=(one, one)) for one in (bursts, None))
        assert whole is not None and plain is not None
        ratios.append((whole[1] - whole[0]) / (plain[1] - plain[0]))
    assert np.mean(ratios) < 1.05


def test_what_is_a_burst() -> None:
    rng = np.random.default_rng(5)
    assert all(
        bursts_of(np.cumsum(rng.exponential(size=n))) is None for n in (10, 30, 100, 300, 1000) for _ in range(20)
    )
    assert bursts_of(np.repeat([0.0, 1.0, 9.0], 8)) is None  # a break or two, and not a run of bursts
    assert bursts_of(np.array([])) is None
    _, _, at = of_bursts(6, 8, 0)
    found = bursts_of(at)
    assert found is not None
    assert np.bincount(found).tolist() == [8] * 6
    weekend = np.where(np.arange(len(at)) < 24, at, at + 2 * 86_400)  # far longer than the other breaks
    assert bursts_of(weekend).tolist() == found.tolist()


@pytest.mark.slow
def test_a_tail_of_few_bursts_has_no_interval_and_says_how_many_it_takes() -> None:
    sim, live, at = of_bursts(10, 15, 1)
    bursts = (bursts_of(at),) * 2
    assert len(sim) > fewest_of(95)
    assert interval_of(error_of(95), sim, live, bursts=bursts, fewest=fewest_of(95)) is None
    needed = bursts_needed(sim, live, bursts, fewest_of(95))
    assert needed is not None
    there, takes = needed
    assert there == 10
    assert 72 < takes < 150  # a burst says a little more than one call does, and a tail of bursts takes more than 72
    assert bursts_needed(sim, live, bursts, fewest_of(50)) is None
    sim, live, at = of_bursts(2 * takes, 15, 2)  # twice: what bursts have in common is estimated
    assert interval_of(error_of(95), sim, live, bursts=(bursts_of(at),) * 2, fewest=fewest_of(95)) is not None
    assert as_bursts(sim, live, None) is None


def test_too_few_have_no_interval() -> None:
    rng = np.random.default_rng(4)
    sim, live = rng.lognormal(size=(2, 71))
    assert interval_of(error_of(95), sim, live, fewest=fewest_of(95)) is None
    assert interval_of(error_of(50), sim[:9], live[:9]) is None
    assert interval_of(error_of(50), sim[:10], live[:10]) is not None
    # 1 - 0.95^n >= 97.5 %: the largest is above the true p95 often enough.
    assert 1 - 0.95 ** fewest_of(95) >= 0.975 > 1 - 0.95 ** (fewest_of(95) - 1)


def test_a_rarer_miss_is_a_wider_interval_and_unpaired_ignores_order() -> None:
    rng = np.random.default_rng(2)
    live = rng.lognormal(0, 0.6, size=80)
    sim = live * rng.lognormal(0, 0.05, size=80)
    paired = interval_of(error_of(50), sim, live)
    rare = interval_of(error_of(50), sim, live, miss=0.004)
    alone = interval_of(error_of(50), sim, live, paired=False)
    assert paired is not None and rare is not None and alone is not None
    assert rare[1] - rare[0] > paired[1] - paired[0]
    assert alone[1] - alone[0] > 2 * (paired[1] - paired[0])


def test_ends_may_be_infinite() -> None:
    sim, live = np.full(20, np.inf), np.linspace(1, 2, 20)
    assert interval_of(error_of(50), sim, live) == (math.inf, math.inf)


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.01, 0.2])
def test_intervals_of_shares_hold_the_truth(share: float) -> None:
    rng = np.random.default_rng(3)
    held, apart = [], []
    for _ in range(500):
        both = rng.uniform(size=(2, 120))
        other = rng.uniform(size=200) < share
        both[1] = np.where(rng.uniform(size=120) < 0.5, both[0], both[1])  # half of the requests meet the same fate
        sim, live = (both < [[share + 0.03], [share]]).astype(float)
        found, unpaired = interval_of_shares(sim, live), interval_of_independent_shares(sim, other.astype(float))
        assert found is not None and unpaired is not None
        held.append(found[0] <= 0.03 <= found[1])
        apart.append(unpaired[0] <= 0.03 <= unpaired[1])
    assert np.mean(held) >= 0.93
    assert np.mean(apart) >= 0.93


def in_bursts(rng: np.random.Generator, n: int, length: float) -> np.ndarray:
    """A fifth of the time bad, in bursts of so many requests on average, in which nine of ten fail."""
    bad, found = rng.random() < 0.2, np.zeros(n)
    for number in range(n):
        found[number] = bad and rng.random() < 0.9
        bad = rng.random() >= 1 / length if bad else rng.random() < 0.25 / length
    return found


@pytest.mark.parametrize(("length", "at_least"), [(5, 0.88), pytest.param(15, 0.77, marks=pytest.mark.slow)])
def test_failures_in_bursts_have_wider_intervals(length: float, at_least: float) -> None:
    """Of 600 draws each it was 95 and 86 %; as if they were independent 66 and 44 %."""
    held, apart, as_independent = [], [], []
    for draw in range(100):
        rng = np.random.default_rng([draw, int(length)])
        live, sim = in_bursts(rng, 300, length), (rng.random(300) < 0.15).astype(float)
        found, unpaired = interval_of_shares(sim, live), interval_of_independent_shares(sim, live)
        mixed = rng.permutation(300)  # the same, without their order
        narrow = interval_of_shares(sim[mixed], live[mixed])
        assert found is not None and unpaired is not None and narrow is not None
        held.append(found[0] <= -0.03 <= found[1])
        apart.append(unpaired[0] <= -0.03 <= unpaired[1])
        as_independent.append(narrow[0] <= -0.03 <= narrow[1])
    assert np.mean(held) >= at_least
    assert np.mean(apart) >= at_least
    assert np.mean(as_independent) < 0.78


def test_one_burst_may_be_one_of_none_or_of_several_and_many_failures_apart_may_not() -> None:
    """Of one event, five may have been to be expected, or none (exact interval of Poisson: 0.03 to 5.6)."""
    none, burst, apart = np.zeros(300), np.zeros(300), np.zeros(300)
    burst[100:120] = apart[::15] = 1.0
    for interval in (interval_of_shares, interval_of_independent_shares):
        together, single = interval(burst, none), interval(apart, none)
        assert together is not None and single is not None
        assert together[0] < 0.0 < 5 * 20 / 300 < together[1] + 0.05
        assert 0.0 < single[0] < single[1] < 2 * 20 / 300
    every = interval_of_shares(np.repeat([1.0, 0.0], 150), none)
    assert every == (-1.0, 1.0)


@pytest.mark.slow
def test_as_many_pairs_as_it_says_decide() -> None:
    """An interval that straddles its tolerance, with as many pairs as are said to be needed, does so no more."""
    rng = np.random.default_rng(6)

    def drawn(n: int) -> tuple[float, tuple[float, float]]:
        live = rng.lognormal(0, 0.5, size=n)
        sim = live * rng.lognormal(0, 0.4, size=n)
        found = interval_of(error_of(50), sim, live)
        assert found is not None
        return float(error_of(50)(sim, live)), found

    needed = []
    for _ in range(60):
        error, interval = drawn(40)
        if abs(error) < 0.05 and max(abs(interval[0]), abs(interval[1])) > 0.1:
            needed.append(pairs_needed(40, error, interval, 0.1))
    assert needed
    assert None not in needed
    wide = [max(map(abs, drawn(int(np.median(needed)))[1])) for _ in range(20)]  # type: ignore[arg-type]
    assert np.median(wide) == pytest.approx(0.1, rel=0.5)
