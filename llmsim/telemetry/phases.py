"""Parts of a run that a bound can be about: before, during or after faults, and every window of some length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from llmsim.telemetry.parts import FaultWindow, Phase
from llmsim.telemetry.sample import Sample

__all__ = ["MIN_WINDOW_REQUESTS", "in_phase", "spans_of", "windows_of"]

#: A window with fewer requests says nothing about a rate: one request with three attempts is no retry storm.
MIN_WINDOW_REQUESTS = 10

#: How long before a fault the calm ends. What is asked then is still being answered when the fault begins, and would be
#: counted as a failure of the calm. All that arrived in this time is left out, however it ended: leaving out only what
#: was still under way would keep the quick ones and lose the slow. 10 s is the length of the windows that everything
#: else is told in; an answer of 220 tokens takes 3 to 6 s (the shipped profiles' 13 to 25 ms a token).
SETTLE_S = 10.0

#: Of a short calm no more than this share is left out, so that the 30 s it takes for a steady state lose 10 s.
_MOST_LEFT_OUT = 1 / 3


def in_phase(sample: Sample, phase: Phase) -> Sample | None:
    """The requests that arrived in this part of the measured time.

    Before a fault ends 10 s (of a calm below 30 s, a third of it) before the fault begins, so that a request belongs to
    the calm only if it had time to be answered in it. During and after begin at once: that a fault is also felt by
    what was already under way, and that its queue outlives it, is what it does.

    Returns
    -------
    Sample
        None if there is no such time: no fault, or one that covers all that is left.

    Examples
    --------
    >>> import polars as pl
    >>> from llmsim.telemetry.parts import FaultWindow
    >>> rows = pl.DataFrame({"arrival_s": [5.0, 45.0, 65.0, 85.0]})
    >>> one = Sample(rows, pl.DataFrame(), 90.0, faults=(FaultWindow("brown-out", 50.0, 70.0),))
    >>> [in_phase(one, Phase(when)).requests["arrival_s"].to_list() for when in ("before", "during", "after")]
    [[5.0], [65.0], [85.0]]
    """
    inside = spans_of(sample.faults, phase, sample.start_s, sample.end_s)
    return sample.within(inside) if inside else None


def spans_of(faults: Sequence[FaultWindow], phase: Phase, start_s: float, end_s: float) -> list[tuple[float, float]]:
    """The stretches of ``[start_s, end_s)`` that are this part of it, in order; none if there is no such time."""
    ours = [fault for fault in faults if phase.fault in ("", fault.name)]
    if not ours:
        return []
    if phase.when == "before":
        first_s = min(fault.start_s for fault in ours)
        spans = [(start_s, first_s - min(SETTLE_S, (first_s - start_s) * _MOST_LEFT_OUT))]
    elif phase.when == "after":
        spans = [(max(fault.end_s for fault in ours), end_s)]
    else:
        spans = [(fault.start_s, fault.end_s) for fault in ours]
    return _merged([(max(a, start_s), min(b, end_s)) for a, b in spans])


def _merged(spans: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Spans that do not overlap, in order, without empty ones."""
    merged: list[tuple[float, float]] = []
    for start_s, end_s in sorted(span for span in spans if span[0] < span[1]):
        if merged and start_s <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end_s))
        else:
            merged.append((start_s, end_s))
    return merged


def windows_of(sample: Sample, length_s: float) -> Iterator[Sample]:
    """The consecutive whole windows of this length that say something: with at least 10 requests.

    A window is never cut off: a rest shorter than `length_s` at the end of the measured time is left out, unless it is
    all there is.
    """
    arrivals = np.sort(sample.columns("arrival_s")["arrival_s"].to_numpy())
    for start_s, end_s in sample.spans:
        count = max(1.0, np.floor((end_s - start_s) / length_s + 1e-9))
        # Only those with enough in them are cut out: of a few microseconds each there can be millions.
        inside = arrivals[(arrivals >= start_s) & (arrivals < end_s)]
        numbers = np.unique(np.floor((inside - start_s) / length_s)[:, None] + (-1.0, 0.0, 1.0))  # for rounding
        first = start_s + numbers[(numbers >= 0) & (numbers < count)] * length_s
        last = np.minimum(first + length_s, end_s)
        enough = np.searchsorted(arrivals, last) - np.searchsorted(arrivals, first) >= MIN_WINDOW_REQUESTS
        for span in zip(first[enough].tolist(), last[enough].tolist(), strict=True):
            yield sample.between(*span)
