"""Workers that share a line of waiting calls and nothing else: how long calls waited, and how many workers there are.

Each takes a call as if it were alone, first come first served. So the moment at which a call got its worker follows
from when those before it ended, for any number of workers; what is left of its time to first token is its own. With the
right number that is what the prompt explains. With too many, waits are left in it. With too few, calls would have
begun after their first token.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapreplace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.errors import LlmsimError
from llmsim.luck import Luck
from llmsim.units import counted

__all__ = ["Workers", "waited", "waits", "workers_of"]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Calls that waited; fewer do not tell how many workers there are (chosen, as in `llmsim.calibrate.company`).
_FEWEST = 8
_MOST = 2000  #: calls that are looked at: they are gone through once for every number of workers
_ALL_UP_TO = 32  #: numbers of workers that are all tried; above, in steps of a tenth, and then those around the best
_RESAMPLES = 200  #: of calls, for the interval of the number


class Workers(NamedTuple):
    """How many calls are served at once."""

    number: int
    low: int  #: 95 % interval, from resampling calls; equal to `number` where that was told
    high: int


def waits(sent_s: Floats, take_s: Floats, workers: int) -> Floats:
    """How long each call waits for a worker, if they take so long each; in the order of sending.

    Examples
    --------
    >>> waits(np.array([0.0, 1.0, 2.0]), np.array([4.0, 4.0, 4.0]), 2)
    array([0., 0., 2.])
    """
    free = [-np.inf] * workers
    found = np.empty(len(sent_s))
    for number, (sent, take) in enumerate(zip(sent_s.tolist(), take_s.tolist(), strict=True)):
        start = max(sent, free[0])
        heapreplace(free, start + take)
        found[number] = start - sent
    return found


def waited(calls: Calls, workers: int) -> Floats:
    """How long each call must have waited, going by when those before it ended."""
    free = [-np.inf] * workers
    found = np.empty(len(calls.sent_s))
    ends = (calls.sent_s + np.nan_to_num(calls.e2e_s)).tolist()
    for number, (sent, end) in enumerate(zip(calls.sent_s.tolist(), ends, strict=True)):
        start = max(sent, free[0])
        heapreplace(free, max(start, end))
        found[number] = start - sent
    return found


def workers_of(calls: Calls, train: Bools, own_s: Callable[[Calls, Bools, Floats], Floats]) -> Workers:
    """The number of workers with which times to first token are explained best.

    Parameters
    ----------
    calls, train
        All of them, and which of them may be looked at.
    own_s
        Of calls, which of them may be looked at, and how long they waited: the times to first token that their prompts
        explain, without the wait; shape ``(calls,)``.

    Raises
    ------
    LlmsimError
        Too few calls waited, whatever the number.
    """
    part = calls.busiest(_MOST)
    calls, train = calls.only(part), train[part]
    most = int(calls.busy.max(initial=1))

    def off(count: int) -> Floats:
        wait_s = waited(calls, count)
        return np.abs(calls.ttft_s - wait_s - own_s(calls, train, wait_s))[train]

    tried = {count: off(count) for count in _coarse(most)}
    best = min(tried, key=lambda count: float(tried[count].mean()))
    for count in range(max(1, round(0.85 * best)), min(most, round(1.15 * best)) + 1):
        if count not in tried:
            tried[count] = off(count)
    best = min(tried, key=lambda count: float(tried[count].mean()))
    if best >= most or (waited(calls, best)[train] > 0).sum() < _FEWEST:
        raise LlmsimError(
            f"up to {counted(most, 'call')} at once, and too few of them waited for another to end: how many are "
            "served at once is not known"
        )
    return Workers(best, *_interval(tried))


def _coarse(most: int) -> list[int]:
    """Numbers of workers to try at first; the last of them lets nobody wait."""
    found = [*range(1, min(most, _ALL_UP_TO) + 1)]
    while found[-1] < most:
        found.append(min(most, int(1.1 * found[-1]) + 1))
    return found


def _interval(tried: dict[int, Floats]) -> tuple[int, int]:
    """What resampled calls would say."""
    counts = np.array(sorted(tried))
    off = np.array([tried[count] for count in counts.tolist()])
    n, luck = off.shape[1], Luck("workers")
    found = []
    for number in range(_RESAMPLES):
        rows = (luck.series("resample", number).array(0, n) * n).astype(np.int64)
        found.append(counts[int(off[:, rows].mean(axis=1).argmin())])
    low, high = np.quantile(found, [0.025, 0.975], method="inverted_cdf").tolist()
    return int(low), int(high)
