"""What an upstream had to bear at one moment: calls under way, and retries that came as one."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.telemetry.sample import Sample

__all__ = ["AT_ONCE_S", "most_calls", "most_retries"]

#: Chosen: the least wait before a retry that is in use is 50 ms (botocore 1.44.5), so that what jitter spreads over it
#: or more is apart; what has none comes within the time that a wave of failures itself took.
AT_ONCE_S = 0.01

_ADDRESS = ("session", "step", "user_retry")


def most_retries(sample: Sample) -> float:
    """Most retries that began at one upstream within `AT_ONCE_S`; NaN without requests."""
    if not sample.height:
        return math.nan
    retries = _by_upstream(sample, "start_s", which=pl.col("cause") == "retry")
    return max((_within(_sorted(one, "start_s"), AT_ONCE_S) for one in retries), default=0.0)


def most_calls(sample: Sample) -> float:
    """Most calls that were under way at one upstream at the same time; NaN without requests."""
    if not sample.height:
        return math.nan
    return max((_together(one) for one in _by_upstream(sample, "start_s", "end_s")), default=0.0)


def _by_upstream(sample: Sample, *names: str, which: pl.Expr | None = None) -> list[pl.DataFrame]:
    """The attempts of these requests, upstream by upstream."""
    found = []
    for requests, attempts in sample.pieces(_ADDRESS, (*_ADDRESS, "upstream", "cause", *names)):
        calls = attempts.join(requests.select(_ADDRESS), on=_ADDRESS, how="semi")
        found.append((calls if which is None else calls.filter(which)).select("upstream", *names))
    whole = pl.concat(found)
    return whole.partition_by("upstream") if whole.height else []


def _sorted(calls: pl.DataFrame, column: str) -> NDArray[np.float64]:
    times = calls[column].to_numpy().astype(np.float64)  # a copy
    times.sort()
    return times


def _within(times: NDArray[np.float64], span_s: float) -> float:
    """Most of these ascending times in ``[t, t + span_s]``."""
    last = np.searchsorted(times, times + span_s, side="right")
    return float((last - np.arange(len(times))).max())


def _together(calls: pl.DataFrame) -> float:
    """Most of them under way as one begins: an end at that very moment has made room."""
    starts, ends = _sorted(calls, "start_s"), _sorted(calls, "end_s")  # those without an end are NaN, and come last
    under_way = np.searchsorted(ends, starts, side="right")
    np.subtract(np.arange(1, len(starts) + 1), under_way, out=under_way)
    return float(under_way.max())
