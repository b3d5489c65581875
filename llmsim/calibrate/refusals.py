"""What 429s tell: which limit they keep to, and how large it is; or only how many there are.

A limit is a bucket that holds a window's worth and refills evenly (as `llmsim.providers.dialects.dialect.Generic` has
it), full when the log begins. Of each call follows the smallest rate with which it would have been let in, given all
that was let in before: its *critical rate*. A limit that is there lies above the critical rates of the calls that were
let in, and below those of the refused ones. So it is enclosed without any statistics, and a wrong guess at what is
limited shows itself: it would have to lie above and below itself.

Where several limits hold at once (requests and tokens a minute), each still lies above the critical rates of all that
were let in, but only the calls that no other limit refuses lie above it. They are of one window, or one of them holds
requests to a second and the others to a longer one: that is what vendors document, and what `Limits` can say. Every
further guess is one more that may fit by chance, so that windows are not combined freely.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls

__all__ = ["FEWEST_REFUSED", "Limit", "critical_rates", "limits_of", "refused"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
What = Literal["requests", "tokens", "input_tokens", "output_tokens"]
Kind = tuple[What, float]  # and the window, in seconds

_WHAT: tuple[What, ...] = ("requests", "tokens", "input_tokens", "output_tokens")
_WINDOWS_S = (60.0, 10.0, 1.0)  #: tried in this order: what vendors document, and two that gateways use
_SECOND: Kind = ("requests", 1.0)  #: may stand beside limits of longer windows
FEWEST_REFUSED = 5  #: refused calls; with fewer, too many limits would explain them (chosen)
#: A limit has to explain so large a share of the refused calls, and of those that got through near them (chosen) …
_EXPLAINS = 0.95
#: … where a critical rate that is off by so much does not count against it: clocks differ by the network, and nobody
#: knows how long a refused answer would have been (chosen; a wrong kind of limit is off by more, unless all calls are
#: of one length).
_OFF = 0.02
#: By how much the shares, added, that several limits explain exactly have to pass those of fewer: they fit more easily.
#: In 72 simulated runs with one limit (with and without network and other failures) a pair passed it once, by 0.09; in
#: those with two, in which each refused five calls and more alone, by 0.06 to 0.5.
_BETTER = 0.05
#: Shares of the calls let in that limits which hold together may be wrong about: what is tried, from none on (chosen).
_SPARED = (0.0, 0.005, 0.01, 0.02, 0.04)
#: Calls that are looked at, up to the last refused one: more change nothing but the time it takes.
_MOST = 20_000


class Limit(NamedTuple):
    """A limit that explains which calls were refused.

    Attributes
    ----------
    what
        The word of ``rate_limit``.
    window_s
        A full bucket holds so much time's worth.
    per_s
        The limit.
    low, high
        It lies between these, if it is one of this kind; per second.
    explained
        Shares of the refused calls, and of the ones let in near them, for which it gives the right answer, or nearly.
    exact
        Sum of the shares for which it does so exactly.
    beside
        Others that hold at the same time, of the same window or, as the last one, of requests in a second; `explained`
        and `exact` are of all of them together.
    """

    what: What
    window_s: float
    per_s: float
    low: float
    high: float
    explained: tuple[float, float]
    exact: float
    beside: tuple[Limit, ...] = ()


def refused(calls: Calls) -> Bools:
    """Which calls got a 429 for a limit per time."""
    return np.array([word == "rate_limited" for word in calls.outcome], dtype=np.bool_)


def limits_of(calls: Calls) -> list[Limit]:
    """The limits that explain the refused calls, best first; empty if there is none, or too few were refused.

    Several together only where no single one explains as much, and then as few as do.
    """
    out = refused(calls)
    if out.sum() < FEWEST_REFUSED:
        return []
    # What failed by chance was refused before anybody counted it.
    counted = out | np.array([word not in ("server_error", "overloaded") for word in calls.outcome], dtype=np.bool_)
    last = int(np.flatnonzero(out)[-1]) + 1
    rows = np.flatnonzero(counted[:last])[-_MOST:]
    calls, out = calls.rows(rows), out[rows]
    if out.all() or not _near(calls.sent_s, out, min(_WINDOWS_S))[~out].any():
        return []
    found = []
    for window_s in _WINDOWS_S:
        for what in _WHAT:
            limit = _limit(calls, out, what, window_s)
            if limit is not None:
                found.append(limit)
    found += _together(calls, out, max((one.exact for one in found), default=0.0))
    # Sorting is stable: of two that explain as much, the one tried first.
    return sorted(found, key=lambda one: -one.exact)


def _together(calls: Calls, out: Bools, best: float) -> list[Limit]:
    """Limits of two things at once that explain clearly more than any of one, and of three that do more than of two."""
    amounts = {what: _amounts(calls, out, what) for what in _WHAT}
    rates = {
        (what, window_s): critical_rates(calls.sent_s, amounts[what][1], out, window_s)
        for window_s in _WINDOWS_S
        for what in _WHAT
    }
    near = {window_s: ~out & _near(calls.sent_s, out, window_s) for window_s in _WINDOWS_S}
    every: list[Limit] = []
    for size in (2, 3):
        found, doubtful = [], 0.0
        for kinds in _sets_of(size):
            widest_s = max(window_s for _, window_s in kinds)
            limits, alone = _joint(calls, out, near[widest_s], {kind: rates[kind] for kind in kinds}, amounts)
            if limits is None or limits.exact < best + _BETTER:
                continue
            if alone >= FEWEST_REFUSED:
                found.append(limits)
            elif alone:
                doubtful = max(doubtful, limits.exact)
        # Where one that explains clearly more refused too few calls to be believed, others are no better for that.
        found = [one for one in found if one.exact > doubtful - _BETTER]
        every += found
        best = max([best, doubtful, *(one.exact for one in found)])
    return every


def _sets_of(size: int) -> Iterator[tuple[Kind, ...]]:
    """So many limits that may hold together: of one window; then those with one of requests in a second besides."""
    for window_s in _WINDOWS_S:
        yield from combinations([(what, window_s) for what in _WHAT], size)
    for window_s in _WINDOWS_S[:-1]:
        for kinds in combinations([(what, window_s) for what in _WHAT], size - 1):
            yield (*kinds, _SECOND)


def _joint(
    calls: Calls,
    out: Bools,
    near: Bools,
    rates: Mapping[Kind, Floats],
    amounts: Mapping[What, tuple[Floats, Floats, Floats]],
) -> tuple[Limit | None, int]:
    """One limit of each of these things, if together they explain which calls were refused.

    And how many calls were refused for the sake of one of them alone: the fewest of them.
    """
    tried = []
    for spared in _SPARED:
        per_s = {
            kind: float(np.quantile(rate[near], 1 - spared, method="inverted_cdf")) for kind, rate in rates.items()
        }
        over = {kind: rates[kind] > per_s[kind] * (1 + 1e-9) for kind in rates}
        any_over = np.logical_or.reduce([*over.values()])
        exact = float(np.mean(any_over[out])) + float(np.mean(~any_over[near]))
        tried.append((exact, per_s, over))
    exact, per_s, over = max(tried, key=lambda one: one[0])
    hard = np.logical_or.reduce([rates[kind] > per_s[kind] * (1 - _OFF) for kind in rates])
    soft = np.logical_and.reduce([rates[kind] <= per_s[kind] * (1 + _OFF) for kind in rates])
    explained = (float(np.mean(hard[out])), float(np.mean(soft[near])))
    if min(explained) < _EXPLAINS:
        return None, 0
    found, fewest = [], len(out)
    for kind in rates:
        what, window_s = kind
        others = np.logical_or.reduce([over[other] for other in rates if other != kind])
        own = out & over[kind] & ~others  # refused for the sake of this limit alone
        fewest = min(fewest, int(own.sum()))
        if not fewest:
            return None, 0
        least, _, most = amounts[what]
        below = critical_rates(calls.sent_s, least, out, window_s)[~out].max()
        above = critical_rates(calls.sent_s, most, out, window_s)[own].min()
        low, high = sorted((float(below), float(above)))
        if exact < 2:
            call = float(np.median(amounts[what][1])) / window_s
            low, high = max(low - call, 0.0), high + call
        middle = (per_s[kind] + float(rates[kind][own].min())) / 2
        found.append(Limit(what, window_s, min(max(middle, low), high), low, high, explained, exact))
    return found[0]._replace(beside=tuple(found[1:])), fewest


def _limit(calls: Calls, out: Bools, what: What, window_s: float) -> Limit | None:
    least, usual, most = _amounts(calls, out, what)
    rates = critical_rates(calls.sent_s, usual, out, window_s)
    near = ~out & _near(calls.sent_s, out, window_s)
    per_s = _threshold(rates, out, near)
    explained = (float(np.mean(rates[out] > per_s * (1 - _OFF))), float(np.mean(rates[near] <= per_s * (1 + _OFF))))
    if min(explained) < _EXPLAINS:
        return None
    below = critical_rates(calls.sent_s, least, out, window_s)[~out].max()
    above = critical_rates(calls.sent_s, most, out, window_s)[out].min()
    low, high = sorted((float(below), float(above)))
    exact = float(np.mean(rates[out] > per_s)) + float(np.mean(rates[near] <= per_s * (1 + 1e-9)))
    if exact < 2:
        # Calls came in another order than they were sent (the network), or what they took is not known well: each end
        # may be off by one call.
        call = float(np.median(usual)) / window_s
        low, high = max(low - call, 0.0), high + call
    return Limit(what, window_s, min(max(per_s, low), high), low, high, explained, exact)


def _amounts(calls: Calls, out: Bools, what: What) -> tuple[Floats, Floats, Floats]:
    """What each call takes of a limit: at least, as usual, and at most.

    Nobody knows how long an answer would have been that was refused, or broke.
    """
    if what == "requests":
        ones = np.ones(len(out))
        return ones, ones, ones
    inputs, outputs = calls.input_tokens.astype(np.float64), calls.output_tokens.astype(np.float64)
    ended = np.array([word == "ok" for word in calls.outcome], dtype=np.bool_)
    whole = ended if ended.any() else ~out
    found = []
    for typical in (None, np.median, np.max):
        asked, wanted = inputs, outputs
        if typical is not None:
            asked = np.where(~ended & (inputs == 0), typical(inputs[whole]), inputs)
            wanted = np.where(~ended, np.maximum(outputs, typical(outputs[whole])), outputs)
        found.append({"tokens": asked + wanted, "input_tokens": asked, "output_tokens": wanted}[what])
    return found[0], found[1], found[2]


def critical_rates(sent_s: Floats, amounts: Floats, out: Bools, window_s: float) -> Floats:
    """The smallest limit with which each call would have been let in; per second, shape ``(calls,)``.

    The bucket's level before a call is ``min over earlier s of rate · (window + t - s) - let in from s on``, so that
    the call gets in if the rate is at least ``max over s of (let in from s on + its amount) / (window + t - s)``: the
    steepest line from a point to those before it. It touches their lower convex hull, where bisection finds it.

    Parameters
    ----------
    sent_s
        Ascending.
    amounts
        What each takes.
    out
        Which were refused, and took nothing.
    window_s
        Of the bucket, which is full at first.

    Examples
    --------
    >>> critical_rates(np.array([0.0, 0.0, 30.0]), np.ones(3), np.array([False, False, True]), 60.0) * 60
    array([1., 2., 2.])
    """
    at: list[float] = []  # the hull: times, and what was let in before them
    before: list[float] = []
    through, rates = 0.0, np.empty(len(sent_s))
    for number, (now, amount, refuses) in enumerate(zip(sent_s.tolist(), amounts.tolist(), out.tolist(), strict=True)):
        rates[number] = max(amount / window_s, _steepest(at, before, now + window_s, through + amount))
        if refuses:
            continue
        if not at or now > at[-1]:
            while len(at) > 1 and _above(at, before, now, through):
                at.pop()
                before.pop()
            at.append(now)
            before.append(through)
        through += amount
    return rates


def _above(at: Sequence[float], before: Sequence[float], now: float, through: float) -> bool:
    """Whether the last point of the hull lies on or above the line from the one before it to a new one."""
    run, rise = at[-1] - at[-2], before[-1] - before[-2]
    return rise * (now - at[-2]) >= (through - before[-2]) * run


def _steepest(at: Sequence[float], before: Sequence[float], x: float, y: float) -> float:
    """The steepest slope from a point of the hull to one on the right of all of them."""
    if not at:
        return 0.0
    low, high = 0, len(at) - 1
    while low < high:
        middle = (low + high) // 2
        # On to the next as long as the hull's edge is less steep than the line from here.
        edge = (before[middle + 1] - before[middle]) * (x - at[middle])
        if edge < (y - before[middle]) * (at[middle + 1] - at[middle]):
            low = middle + 1
        else:
            high = middle
    return (y - before[low]) / (x - at[low])


def _near(sent_s: Floats, out: Bools, window_s: float) -> Bools:
    """Which calls were sent within a window of a refused one: only they say anything about the limit."""
    at = sent_s[out]
    place = np.searchsorted(at, sent_s)
    later = np.append(at, np.inf)[place] - sent_s
    earlier = sent_s - np.concatenate([[-np.inf], at])[place]
    return np.asarray(np.minimum(earlier, later) <= window_s, dtype=np.bool_)


def _threshold(rates: Floats, out: Bools, near: Bools) -> float:
    """The limit that tells refused calls best from those let in near them."""
    refused_at, passed_at = np.sort(rates[out]), np.sort(rates[near])
    tried = np.unique(np.concatenate([passed_at, refused_at]))
    tried = np.concatenate([tried, (tried[1:] + tried[:-1]) / 2])
    # A call gets in with a limit of exactly its critical rate; sums of amounts are exact to about 1e-9 of it.
    passes = np.searchsorted(passed_at, tried * (1 + 1e-9), side="right") / len(passed_at)
    refuses = 1 - np.searchsorted(refused_at, tried * (1 + 1e-9), side="right") / len(refused_at)
    good = np.minimum(passes, refuses)
    best = np.sort(tried[good >= good.max() - 1e-12])
    return float(best[len(best) // 2])
