"""SLO lines measured in every replication, judged over all of them, and when to stop making more."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from llmsim.report.figures import figure
from llmsim.report.numbers import jsonable
from llmsim.report.samples import last_fault_end_s, samples
from llmsim.report.verdict import MINIMUM, Judgement, Look, Word, judge, look_at, median, next_look
from llmsim.scenario.objectives import Objective, rehearsed
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.metrics import METRICS, evaluate_condition
from llmsim.telemetry.percentiles import samples_needed
from llmsim.telemetry.phases import MIN_WINDOW_REQUESTS
from llmsim.telemetry.recorder import Replication
from llmsim.telemetry.sample import Sample
from llmsim.units import format_duration

__all__ = [
    "Judge",
    "Overall",
    "SloResult",
    "measure",
    "measured_once",
    "overall",
    "rehearsal",
    "slo_results",
    "slo_row",
]

Overall = Literal["PASS", "FAIL", "UNDECIDED", "NONE"]  #: NONE: the scenario has no SLO, there is nothing to judge


_STOPPED = "; stopped before the next look"
_OTHER_FAILED = "; another line failed, so the run ended here"


class SloResult(NamedTuple):
    """One SLO line and what came of it."""

    objective: Objective
    verdict: Word
    measured: float  #: median over replications; NaN: could not be told in any
    interval: tuple[float, float] | None  #: of that median; None: too few replications
    reason: str  #: why it is UNDECIDED, or what is missing; empty if nothing needs saying
    values: tuple[float, ...]  #: per replication, in order

    @property
    def unit(self) -> str:
        """Unit of the values, as in `llmsim.telemetry.metrics.METRICS`."""
        return "factor" if self.objective.burn is not None else METRICS[self.objective.metric].unit

    @property
    def excess(self) -> float:
        """How many times the bound is exceeded, to sort by: 2.0 is twice as much, or half as much, as it may be."""
        measured, bound = self.measured, self.objective.bound
        if math.isnan(measured):
            return 0.0
        over, under = (measured, bound) if self.objective.low_is_good else (bound, measured)
        return over / under if under > 0 else math.inf

    @property
    def shown(self) -> str:
        """The measured value with its unit."""
        return figure(self.measured, self.unit)

    @property
    def shown_interval(self) -> str:
        """The interval with its unit; a dash where there is none."""
        if self.interval is None or math.isnan(self.interval[0]):
            return "–"
        return f"{figure(self.interval[0], self.unit)} … {figure(self.interval[1], self.unit)}"


def measure(lines: Sequence[Objective], sample: Sample) -> tuple[float, ...]:
    """The value of every line in one replication."""
    return tuple(evaluate_condition(sample, line) for line in lines)


def slo_results(
    scenario: Scenario,
    lines: Sequence[Objective],
    measured: Sequence[tuple[float, ...]],
    *,
    most: int,
    done: int | None = None,
) -> list[SloResult]:
    """Judge every line.

    Parameters
    ----------
    scenario
        What was run.
    lines
        Its objectives.
    measured
        Their values (as `measure` gives them) in each replication, in order.
    most
        The most replications this run was to make: what the looks are planned for.
    done
        How many of `measured`, from the first on, ran to their end; only these can decide anything. Default: all.
    """
    done = len(measured) if done is None else done
    look = look_at(done, most)
    results = []
    for number, line in enumerate(lines):
        values = tuple(of_replication[number] for of_replication in measured)
        if look is None:
            reason = f"stopped after {done} of {most} replications, before the first look"
            results.append(SloResult(line, "UNDECIDED", median(values), None, reason, values))
            continue
        judged = judge(values, [line.holds(value) for value in values], look)
        reason = _reason(line, judged, look, most, scenario)
        results.append(SloResult(line, judged.verdict, judged.measured, judged.interval, reason, values))
    if overall(results) == "FAIL":
        results = [one._replace(reason=one.reason.replace(_STOPPED, _OTHER_FAILED)) for one in results]
    return results


def slo_row(line: SloResult) -> dict[str, Any]:
    """A line as plain values, JSON-able by a strict encoder."""
    return {
        "metric": line.objective.key,
        "expression": line.objective.text,
        "measured": jsonable(line.measured),
        "interval": jsonable(line.interval),
        "verdict": line.verdict,
        "line": line.objective.line,
        "shown": f"{line.shown} ({line.shown_interval})" if line.interval is not None else line.shown,
        "excess": jsonable(line.excess),
        "reason": line.reason,
    }


def measured_once(results: Sequence[SloResult]) -> list[SloResult]:
    """Of a live run, which is one replication: what stays undecided says what was measured, and why that is no verdict.

    Requests of one run meet one hour of the provider. An interval from them would be one of that hour, so that there is
    none, and the line stays UNDECIDED.
    """
    told = []
    for one in results:
        if one.verdict == "UNDECIDED" and len(one.values) == 1 and not math.isnan(one.values[0]):
            side = "inside" if one.objective.holds(one.values[0]) else "outside"
            reason = f"measured once, {side} the bound; a live run is one replication, and other hours may differ"
            one = one._replace(reason=reason)  # noqa: PLW2901 - the same line, told otherwise
        told.append(one)
    return told


def overall(results: Sequence[SloResult]) -> Overall:
    """One failed line fails; all must pass to pass."""
    verdicts = {result.verdict for result in results}
    if not verdicts:
        return "NONE"
    return "FAIL" if "FAIL" in verdicts else "UNDECIDED" if "UNDECIDED" in verdicts else "PASS"


def rehearsal(results: Sequence[SloResult], expected: Sequence[str]) -> Overall:
    """As `overall`, for a story that is meant to end badly: PASS if a line of each of these keys broke and no others.

    Lines that are undecided by then stay so: nobody waits for what is not asked.
    """
    if not expected or not results:
        return overall(results)
    broken = {result.objective.key for result in results if result.verdict == "FAIL"}
    held = set(expected) - {result.objective.key for result in results if result.verdict != "PASS"}
    if held or not broken <= set(expected):
        return "FAIL"
    return "PASS" if broken >= set(expected) else "UNDECIDED"


def _reason(line: Objective, judged: Judgement, look: Look, most: int, scenario: Scenario) -> str:
    if judged.missing:
        share = f"{judged.missing} of {judged.replications} replications"
        why = _why_missing(line, scenario)
        return f"could not be told in {share}: {why}" if judged.verdict == "UNDECIDED" else f"without {share}: {why}"
    if judged.verdict != "UNDECIDED":
        return ""
    if not look.rank:
        return f"a verdict needs at least {MINIMUM} replications, this run has {judged.replications}"
    counts = f"{judged.inside} of {judged.replications} replications inside the bound, {look.needed} needed"
    if look.replications < most:
        return counts + _STOPPED
    if judged.likely_needed is None:
        return f"{counts}; too close to the bound for more replications to help"
    return f"{counts}; about {judged.likely_needed} replications would probably decide"


def _why_missing(line: Objective, scenario: Scenario) -> str:
    metric = line.metric
    if metric == "recovery_time":
        if not scenario.steady_state:
            return "the scenario says no steady_state"
        if math.isnan(last_fault_end_s(scenario, scenario.clock.duration)):
            return "no fault, or one that outlasts the measured time"
        return "too little time or traffic after the last fault"
    if line.phase is not None and not scenario.faults:
        return "the scenario has no faults"
    if line.burn is not None:
        return f"less time than its long window, {format_duration(line.burn.long_s)}"
    if line.window_s is not None:
        return f"no window of {format_duration(line.window_s)} had the requests it takes"
    if line.percentile is not None:
        return f"{metric} p({line.percentile:g}) needs {samples_needed(line.percentile)} requests that have one"
    if metric == "retry_amplification" and line.aggregate == "max":
        return f"no 10 s window had {MIN_WINDOW_REQUESTS} requests sent upstream"
    if metric == "false_hits_per_hit" and line.aggregate == "value":
        return "nothing was answered from a cache, or nothing tells whether the answers of your own were right"
    if metric in ("false_hit_rate", "exact_hit_rate", "semantic_hit_rate", "outdated_rate"):
        return "nothing tells whether the answers of your own cache were right"
    when = f" {line.phase.when} {line.phase.fault or 'the faults'}" if line.phase is not None else ""
    return f"no requests{' with these tags' if line.tags else ''}{when}"


class Judge:
    """Decides, while a run goes on, how many replications to make.

    ::

        judge = Judge(scenario, most)
        while (upto := judge.next_look()) is not None:
            judge.add([replicate(scenario, number) for number in range(judge.done, upto)])

    It looks at replications in their order, so workers that finish in another order change nothing. A run stops as
    soon as one line has failed or all have passed; without SLO lines it makes all its replications. Of a story that is
    meant to end badly it stops when that is decided.

    Parameters
    ----------
    scenario
        Whose SLOs.
    most
        The most replications to make; default: as many as the scenario says.
    """

    def __init__(self, scenario: Scenario, most: int | None = None) -> None:
        self.scenario = scenario
        self.most = most if most is not None else scenario.replications
        self.results: list[SloResult] = []
        self._lines = rehearsed(scenario)
        self._measured: list[tuple[float, ...]] = []

    @property
    def done(self) -> int:
        """Replications seen."""
        return len(self._measured)

    def next_look(self) -> int | None:
        """How many replications there must be at the next look; None: stop."""
        if self.done >= self.most or rehearsal(self.results, self.scenario.expect.fail) in ("PASS", "FAIL"):
            return None
        return next_look(self.done, self.most) if self._lines else self.most

    def add(self, replications: Sequence[Replication]) -> Overall:
        """Take the next replications, in order, and look."""
        for replication in replications:
            # One at a time: a sample holds a whole replication's frames.
            sample = samples(self.scenario, [replication])[0] if self._lines else None
            self._measured.append(measure(self._lines, sample) if sample is not None else ())
        self.results = slo_results(self.scenario, self._lines, self._measured, most=self.most)
        return overall(self.results)
