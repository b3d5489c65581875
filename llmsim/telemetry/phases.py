"""Parts of a run that a bound can be about: before, during or after faults, and every window of some length."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from llmsim.telemetry.parts import Phase
from llmsim.telemetry.sample import Sample

__all__ = ["MIN_WINDOW_REQUESTS", "in_phase", "windows_of"]

#: A window with fewer requests says nothing about a rate: one request with three attempts is no retry storm.
MIN_WINDOW_REQUESTS = 10


def in_phase(sample: Sample, phase: Phase) -> Sample | None:
    """The requests that arrived in this part of the measured time.

    Returns
    -------
    Sample
        None if there is no such time: no fault, or one that covers all that is left.

    Examples
    --------
    >>> import polars as pl
    >>> from llmsim.telemetry.parts import FaultWindow
    >>> rows = pl.DataFrame({"arrival_s": [5.0, 15.0, 25.0]})
    >>> one = Sample(rows, pl.DataFrame(), 30.0, faults=(FaultWindow("brown-out", 10.0, 20.0),))
    >>> [in_phase(one, Phase(when)).requests["arrival_s"].to_list() for when in ("before", "during", "after")]
    [[5.0], [15.0], [25.0]]
    """
    faults = [fault for fault in sample.faults if phase.fault in ("", fault.name)]
    if not faults:
        return None
    if phase.when == "before":
        spans = [(sample.start_s, min(fault.start_s for fault in faults))]
    elif phase.when == "after":
        spans = [(max(fault.end_s for fault in faults), sample.end_s)]
    else:
        spans = [(fault.start_s, fault.end_s) for fault in faults]
    inside = _merged([(max(a, sample.start_s), min(b, sample.end_s)) for a, b in spans])
    return sample.within(inside) if inside else None


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
    for start_s, end_s in sample.spans:
        count = max(1, math.floor((end_s - start_s) / length_s + 1e-9))
        for number in range(count):
            first = start_s + number * length_s
            part = sample.between(first, min(first + length_s, end_s))
            if part.requests.height >= MIN_WINDOW_REQUESTS:
                yield part
