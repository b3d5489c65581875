"""How long the service took to be itself again after the last fault."""

from __future__ import annotations

import math
from collections.abc import Callable

from llmsim.telemetry.sample import Condition, Sample

__all__ = ["CONSECUTIVE", "LEAST_S", "recovery_time"]

CONSECUTIVE = 3  #: windows in a row that make a recovery; one alone can be luck
_WINDOW_S = 10.0
LEAST_S = CONSECUTIVE * _WINDOW_S  #: of measured time after the last fault, to tell anything
_ENOUGH_REQUESTS = 10


def recovery_time(
    sample: Sample, measure: Callable[[Sample, Condition], float], consecutive: int = CONSECUTIVE
) -> float:
    """Seconds from the end of the last fault to the start of the recovery; +inf: it never came.

    The recovery is the first run of `consecutive` windows of 10 s inside the steady state after which the requests up
    to the end of the measured time, taken together, stay inside it. Windows are counted from the end of the last fault
    and hold the requests that arrived in them. A window with fewer than 10 requests, or fewer than a percentile
    of the steady state needs, is passed over: it neither makes nor breaks a run.

    Returns
    -------
    float
        NaN where it cannot be told: no steady state given, no fault, or too little time or traffic after the last one.
    """
    conditions = sample.steady_state
    origin = sample.last_fault_end_s
    if not conditions or math.isnan(origin):
        return math.nan

    def steady(part: Sample) -> bool | None:
        if part.height < _ENOUGH_REQUESTS:
            return None
        measured = [measure(part, condition) for condition in conditions]
        if any(math.isnan(value) for value in measured):
            return None
        return all(condition.holds(value) for condition, value in zip(conditions, measured, strict=True))

    run: list[float] = []  # starts of the windows of the run so far
    telling = 0
    for number in range(int((sample.end_s - origin) / _WINDOW_S + 1e-9)):
        start_s = origin + number * _WINDOW_S
        inside = steady(sample.between(start_s, start_s + _WINDOW_S))
        if inside is None:
            continue
        telling += 1
        run = [*run[-consecutive + 1 :], start_s] if inside else []
        if len(run) == consecutive and steady(sample.between(run[0], sample.end_s)):
            return run[0] - origin
    return math.inf if telling >= consecutive else math.nan
