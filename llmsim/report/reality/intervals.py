"""Intervals of what two runs differ by: by resampling requests, in blocks where neighbours are alike.

How often they hold the truth was simulated, 400 or 500 draws a case; ``tests/report/reality/test_intervals.py`` repeats
some of it. Independent requests, medians of 12 to 300 and 95th percentiles of 72 to 300, equal and unequal shapes,
pairs and not: 94 to 100 %. Answers of which neighbours are alike (lag-1 correlation 0.7), medians of 30, 60, 150 and
300 of them: 79 to 86 % if requests are drawn one by one, in blocks 90, 91, 95 and 95 %.

Shares, 300 draws a case: independent requests, 60 and 300 of them: 97 and 95 %. Failures that come in bursts, a fifth
of the time, against independent ones, 60, 120 and 300 requests: in bursts of 5 requests on average, pairs 85, 97 and
98 %, as two samples 92, 99 and 99 %; in bursts of 15, 66, 80 and 91 % (71, 84 and 94 %); in bursts of 30, 44, 59 and
85 % (49, 64 and 88 %). What is missing are runs that saw no burst, or the tip of one: where anything failed it is 80 %
and more. If bursts were not looked at, only sums of equal parts, two samples of 300 would have 97, 86 and 81 %.

Latencies that a burst of calls shares (mood of a burst: standard deviation of logarithms 0.5, within it 0.2), medians,
400 draws a case: 4, 6, 10, 20 and 40 bursts of 8 calls that are drawn whole 93, 95, 97, 98 and 96 %; 6, 10, 20 and 40
of 8 on average (geometric) 95, 96, 94 and 96 %. If it were not seen when calls came, blocks found by neighbours would
hold 80, 89, 91 and 98 % of 4, 6, 10 and 20. 95th percentiles (300 draws) of 6, 10, 20 and 40 bursts of 15: 76, 74, 87
and 90 %, which is why they have no interval; of 110 bursts of 5: 95 %.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmsim.report.reality.bursts import Bursts, as_bursts
from llmsim.report.reality.neighbours import FEWEST, Likeness, likeness_of, next_alike

__all__ = [
    "FEWEST",
    "burst_sums",
    "bursts_needed",
    "fewest_of",
    "interval_of",
    "interval_of_independent_shares",
    "interval_of_shares",
    "pairs_needed",
    "reach_of",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Statistic = Callable[[Floats, Floats], Floats]

_RESAMPLES = 1000
_TAIL = 5  #: resamples beyond each end of an interval, at the least (chosen)
#: Times as much as independent requests have to tell, bursts with something in common have for a percentile in a tail
#: (chosen: at 1, p95s of 72 bursts of 15 requests held 89 %).
_MORE_IN_BURSTS = 1.5
_SEED = 20_240_601  #: of the resampling: equal results have equal intervals
_CELLS = 4_000_000  #: of one block of resamples, so that memory stays bounded
_PARTS = (20, 10, 6)  #: of a run, for how failures cluster; `llmsim.report.rates` too asks for 6 at the least …
_IN_PART = 5  #: … with so many requests in each
_IN_BURST = 3  #: failures so near each other are of one burst: two answers may come through in between (chosen)
_SEEN = 0.05  #: runs of independent requests that are taken for clustered
_MOST_NEEDED = 100  #: times as many pairs: what would take more is too near its tolerance to be told (chosen)


def fewest_of(percent: float) -> int:
    """Requests that a percentile needs for an interval.

    Below, even the largest of them is not above the true percentile in 97.5 of 100 samples, so no resampling can know
    how far up it may be; with 60 requests the bootstrap of a p95 held 93 % and less where it promised 95.

    Examples
    --------
    >>> fewest_of(50), fewest_of(95), fewest_of(99)
    (10, 72, 368)
    """
    tail = min(percent, 100 - percent) / 100
    return max(FEWEST, math.ceil(math.log(0.025) / math.log1p(-tail))) if tail > 0 else FEWEST


def interval_of(
    statistic: Statistic,
    sim: Floats,
    live: Floats,
    *,
    paired: bool = True,
    bursts: Sequence[Ints | None] = (None, None),
    fewest: int = FEWEST,
    miss: float = 0.05,
) -> tuple[float, float] | None:
    """Interval of a relative error by the percentile bootstrap (Efron 1979), in blocks (Künsch 1989) or whole bursts.

    It is widened as Student's t is against the normal distribution (Hesterberg 2015, "expanded percentile"), which
    small samples need. Where blocks or bursts are drawn, that may be further than anything that was drawn; then its
    ends are as many times as far from the error itself, as ratios.

    Parameters
    ----------
    statistic
        A ratio minus one, of two arrays of shape (resamples, requests), along the last axis.
    sim, live
        In the order of arrival.
    paired
        Whether the n-th of both are the same request, and stay together.
    bursts
        In which the requests of `sim` and of `live` came, as `llmsim.report.reality.bursts.bursts_of` has them.
    fewest
        Requests without which there is none (None); see `bursts_needed` for those that came in bursts. More than
        `FEWEST` are of a tail, which a burst reaches or not as a whole.
    miss
        Share of intervals that may miss the truth.
    """
    n, m = len(sim), len(live)
    if min(n, m) < fewest:
        return None
    alike = _alike(sim, live, bursts, paired=paired)
    if any(_bursts_needed(one, fewest) for one in alike):
        return None
    times = max(_RESAMPLES, math.ceil(2 * _TAIL / miss))
    generator = np.random.Generator(np.random.PCG64(_SEED))
    drawn: list[Floats] = []
    rows = max(1, min(times, _CELLS // max(n, m)))
    while sum(map(len, drawn)) < times:
        ours = alike[0].drawn(generator, n, rows)
        theirs = ours if paired else alike[1].drawn(generator, m, rows)
        drawn.append(statistic(sim[ours], live[theirs]))
    values = np.concatenate(drawn)
    values = values[~np.isnan(values)]
    if len(values) < times // 2:
        return None
    error = float(statistic(sim[None, :], live[None, :])[0])
    far = max(one.reach(miss) for one in alike)
    if far > 1 and -1 < error < math.inf:
        ends = np.quantile(values, [miss / 2, 1 - miss / 2], method="inverted_cdf")
        low, high = (_stretched(error, float(end), far) for end in ends)
        return low, high
    tail = _expanded(miss / 2, min(n, m)) if far == 1 else _beyond(far, miss)
    low, high = map(float, np.quantile(values, [tail, 1 - tail], method="inverted_cdf"))  # an end may be infinite
    return low, high


def _alike(
    sim: Floats, live: Floats, bursts: Sequence[Ints | None], *, paired: bool
) -> tuple[Likeness | Bursts, Likeness | Bursts]:
    """What requests have in common, of both sides; of pairs the same."""
    nobody = np.empty(0)
    if paired:
        one = as_bursts(sim, live, bursts[1]) or likeness_of(sim, live)
        return one, one
    return (
        as_bursts(sim, nobody, bursts[0]) or likeness_of(sim, nobody),
        as_bursts(nobody, live, bursts[1]) or likeness_of(nobody, live),
    )


def bursts_needed(
    sim: Floats, live: Floats, bursts: Sequence[Ints | None], fewest: int, *, paired: bool = True
) -> tuple[int, int] | None:
    """Why there is no interval although there are `fewest` requests: so many bursts, and about so many it takes."""
    alike = _alike(sim, live, bursts, paired=paired) if min(len(sim), len(live)) >= fewest else ()
    needed = [(len(np.bincount(one.numbers)), _bursts_needed(one, fewest)) for one in alike if isinstance(one, Bursts)]
    return max((one for one in needed if one[1]), key=lambda one: one[1], default=None)


def _bursts_needed(alike: Likeness | Bursts, fewest: int) -> int:
    """How many bursts like these a percentile of so many requests takes; 0: no more than there are."""
    if fewest <= FEWEST or not isinstance(alike, Bursts):
        return 0
    times = _MORE_IN_BURSTS * fewest / alike.pieces
    return math.ceil(times * len(np.bincount(alike.numbers))) if times > 1 else 0


def _beyond(far: float, miss: float) -> float:
    """The tail that is so many times as far out."""
    from scipy.special import ndtr

    return float(ndtr(-far * _normal(miss)))


def _expanded(tail: float, independent: float) -> float:
    """The tail of the bootstrap that holds `tail` for so many independent values."""
    from scipy.special import ndtr, stdtrit

    freedom = max(1.0, independent - 1)
    return float(ndtr(math.sqrt(independent / freedom) * stdtrit(freedom, tail)))


def _stretched(found: float, end: float, times: float) -> float:
    """An end of the interval of a relative error so many times as far from it, as a ratio; an infinite one stays."""
    if not -1 < end < math.inf:
        return end
    return (1 + found) * math.pow((1 + end) / (1 + found), times) - 1


def interval_of_shares(sim: Floats, live: Floats, *, miss: float = 0.05) -> tuple[float, float] | None:
    """Interval of the difference of two shares of the same requests; of values 0 and 1.

    Agresti and Min (2005, "Simple improved confidence intervals for comparing matched proportions"): half a pair is
    added to each of the four kinds, so that no difference among a few pairs is not taken for a proof of none, as
    resampling would have it. None for fewer than 10 pairs. Wider where differences come in clusters (`reach_of`).

    Parameters
    ----------
    sim, live
        In the order of arrival.
    miss
        Share of intervals that may miss the truth.

    Examples
    --------
    >>> low, high = interval_of_shares(np.zeros(98), np.zeros(98))
    >>> round(low, 4), round(high, 4)
    (-0.0196, 0.0196)
    """
    n = len(sim)
    if n < FEWEST:
        return None
    only_sim = float(np.sum(sim > live)) + 0.5
    only_live = float(np.sum(sim < live)) + 0.5
    difference = (only_sim - only_live) / (n + 2)
    error = math.sqrt(only_sim + only_live - (only_sim - only_live) ** 2 / (n + 2)) / (n + 2)
    reach = reach_of(sim - live, miss)
    return max(-1.0, difference - reach * error), min(1.0, difference + reach * error)


def interval_of_independent_shares(one: Floats, other: Floats, *, miss: float = 0.05) -> tuple[float, float] | None:
    """Interval of the difference of two shares of different requests; of values 0 and 1.

    Agresti and Caffo (2000): one success and one failure are added to each. Wider where either come in clusters.

    Examples
    --------
    >>> interval_of_independent_shares(np.zeros(5), np.zeros(50)) is None
    True
    """
    if min(len(one), len(other)) < FEWEST:
        return None
    p, q = ((float(values.sum()) + 1) / (len(values) + 2) for values in (one, other))
    errors = [
        reach_of(values, miss) * math.sqrt(share * (1 - share) / (len(values) + 2))
        for values, share in ((one, p), (other, q))
    ]
    reach = math.hypot(*errors)
    return max(-1.0, p - q - reach), min(1.0, p - q + reach)


def reach_of(values: Floats, miss: float) -> float:
    """Standard errors of independent values that an interval of their mean has to reach; more if they come in clusters.

    The values are cut into equal parts in their order. Where sums of parts vary more than those of independent values
    would (chi-squared, 5 %), as in outages, the interval is widened by the root of how much more, and by Student's t
    for as many parts. Many parts tell this well, few hold longer clusters: the widest of 20, 10 and 6 counts. Where
    neighbours are alike (one-sided 5 %), bursts are looked at besides, of which there may be too few for parts to tell:
    they come at random, and so few of them as there were may be far fewer than are to be expected.

    Examples
    --------
    >>> round(reach_of(np.arange(300) % 5 == 0.0, 0.05), 2), round(reach_of(np.arange(300) < 60.0, 0.05), 1)
    (1.96, 39.6)
    """
    from scipy.special import chdtri, stdtrit

    values = np.asarray(values, dtype=np.float64)
    n, centred = len(values), values - np.mean(values)
    variance, reach = float(np.mean(centred**2)), _normal(miss)
    if not variance:
        return reach
    for parts in _PARTS:
        if n < _IN_PART * parts:
            continue
        sums = np.array([part.sum() for part in np.array_split(centred, parts)])
        effect = float((sums**2).sum()) * parts / (parts - 1) / (n * variance)
        if effect > 1 and (parts - 1) * effect > chdtri(parts - 1, _SEEN):
            reach = max(reach, math.sqrt(effect) * float(stdtrit(parts - 1, 1 - miss / 2)))
    if next_alike(centred) > 1.645 / math.sqrt(n):
        sums = burst_sums(values)
        squares = float((sums**2).sum())
        bursts = max(1.0, squares**2 / float((sums**4).sum()))  # as many of one size vary as much (Satterthwaite)
        # How many standard deviations so many events may be below what is to be expected (exact interval of Poisson).
        far = (float(chdtri(2 * bursts + 2, miss / 2)) / 2 - bursts) / math.sqrt(bursts)
        reach = max(reach, math.sqrt(squares / (n * variance)) * far)
    return reach


def burst_sums(values: Floats) -> Floats:
    """Bursts of values other than the most frequent one, with at most two of that between two of them: their sums.

    Where bursts come at random, the variance of their total is the sum of these squared (compound Poisson).

    Examples
    --------
    >>> burst_sums(np.array([0.0, 1, 1, 0, 1, 0, 0, 0, 1, 0])).tolist()
    [3.0, 1.0]
    """
    found, counts = np.unique(values, return_counts=True)
    usual = found[counts.argmax()]
    at = np.flatnonzero(values != usual)
    begins = np.diff(at, prepend=-_IN_BURST - 1) > _IN_BURST
    sums: Floats = np.bincount(np.cumsum(begins) - 1, weights=(values - usual)[at]).astype(np.float64)
    return sums


def _normal(miss: float) -> float:
    from scipy.special import ndtri

    return -float(ndtri(miss / 2))


def pairs_needed(pairs: int, error: float, interval: tuple[float, float], tolerance: float) -> int | None:
    """About how many pairs would put the whole interval on one side of the tolerance; None: too near it to be told.

    The width of an interval goes with one over the root of the number of pairs.

    Examples
    --------
    >>> pairs_needed(50, 0.0, (-0.2, 0.2), 0.1), pairs_needed(50, 0.3, (0.0, 0.6), 0.1)
    (200, 120)
    >>> pairs_needed(50, 0.1, (0.0, 0.2), 0.1) is None
    True
    """
    low, high = interval
    if not all(map(math.isfinite, (error, low, high))):
        return None
    if abs(error) <= tolerance:
        reaches = [(high - error, tolerance - error), (error - low, tolerance + error)]
    else:
        reaches = [(error - low, error - tolerance) if error > 0 else (high - error, -tolerance - error)]
    times = max((reach / room) ** 2 if room > 0 else math.inf for reach, room in reaches)
    return _rounded_up(pairs * times) if times <= _MOST_NEEDED else None


def _rounded_up(value: float) -> int:
    """To two digits: it is an estimate."""
    unit = int(10 ** max(0, math.floor(math.log10(max(value, 1.0))) - 1))
    return math.ceil(value / unit - 1e-9) * unit
