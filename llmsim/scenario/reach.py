"""What a scenario that is right word for word cannot reach: an end, or a verdict. Told before anything runs."""

from __future__ import annotations

import math
from collections.abc import Iterator

from llmsim.errors import Problem
from llmsim.providers.sim.timing import mean_service_s
from llmsim.scenario.document import Document, Path
from llmsim.scenario.objectives import Objective, parse_objective
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.parts import FaultWindow
from llmsim.telemetry.phases import spans_of
from llmsim.telemetry.recovery import LEAST_S
from llmsim.traffic.clients import mixes
from llmsim.traffic.shape import RateShape
from llmsim.units import format_duration

__all__ = ["MAX_REQUESTS", "out_of_reach"]

#: Of one replication. A request and its attempts take 1.4 kB of memory (60,228 requests against 20,250, resident set)
#: and 50 µs of a core, so these are 14 GB and ten minutes; a simulated day at 115 requests a second.
MAX_REQUESTS = 10_000_000

#: A leap year. Everything is told in windows of 10 s: that are three million of them.
MAX_S = 366 * 86400.0

_MOST_PER_S = 1e12

_MOST_TOKENS = 100_000_000  #: as of any other number of tokens

_MOST_CHANGES = 1_000_000  #: of bursty arrivals: some seconds' work

#: What is built before the first request: lists and tables of that length. Each is at least ten times what anybody is
#: known to run, and takes seconds.
_MOST: tuple[tuple[Path, int, str], ...] = (
    (("replications",), 100_000, "replications"),
    (("gateway", "replicas"), 10_000, "replicas"),
    (("traffic", "vus"), 100_000, "virtual users"),
    (("traffic", "users"), 10_000_000, "users"),
    (("traffic", "topics", "zipf", "unique"), 10_000_000, "topics"),
    (("traffic", "topics", "meanings"), 10_000_000, "meanings"),
    (("traffic", "trace", "repeat"), 1_000, "times the same trace"),
)


def out_of_reach(scenario: Scenario, document: Document) -> list[Problem]:
    """Runs that no machine could hold or finish, and SLO lines that no run could decide.

    Parameters
    ----------
    scenario
        Valid otherwise.
    document
        Where it says so.
    """
    found = [*_too_many(scenario, document), *_too_long(scenario, document)]
    # The rate is worked out over the clock, so it is asked only where both are of a size that somebody can mean.
    found = found or [*_too_restless(scenario, document), *_too_busy(scenario, document)]
    return [*found, *_undecidable(scenario, document)]


def _too_many(scenario: Scenario, document: Document) -> Iterator[Problem]:
    for path, most, what in _MOST:
        value: object = scenario
        for key in path:
            value = getattr(value, str(key), None)
        if isinstance(value, int) and value > most:
            yield document.problem(
                path, f"{value:.3g} {what} are more than can be simulated", f"Write at most {most:,}."
            )
    for index, route in enumerate(scenario.traffic.mix):
        if route.system_tokens > _MOST_TOKENS:
            place: Path = ("traffic", "mix", index, "system_tokens")
            message = f"{route.system_tokens:.3g} tokens are no prompt"
            yield document.problem(place, message, f"Write at most {_MOST_TOKENS:,}.")


def _too_long(scenario: Scenario, document: Document) -> Iterator[Problem]:
    for key in ("warm_up", "duration", "drain"):
        length_s = getattr(scenario.clock, key)
        if length_s > MAX_S:
            message = f"{length_s / 86400:,.3g} days are more than can be simulated"
            yield document.problem(("clock", key), message, "Write at most 366d; a shorter time tells as much.")


def _too_restless(scenario: Scenario, document: Document) -> Iterator[Problem]:
    """What comes and goes more often than anybody could tell: arrivals, congestion, incidents."""
    clock = scenario.clock
    for path, every_s in _rhythms(scenario):
        changes = (clock.warm_up + clock.duration + clock.drain) / max(every_s, 1e-12)
        if changes > _MOST_CHANGES:
            message = f"what changes every {format_duration(every_s)} changes {changes:.3g} times in this run"
            yield document.problem(path, message, f"Write a longer time; {_MOST_CHANGES:,} changes are the most.")


def _rhythms(scenario: Scenario) -> Iterator[tuple[Path, float]]:
    """Everything that is drawn for all of the run before it begins, and how often it changes."""
    arrivals = scenario.traffic.arrivals
    if not isinstance(arrivals, str):
        if arrivals.mmpp:
            yield ("traffic", "arrivals"), min(state.stay for state in arrivals.mmpp)
        if arrivals.on_off is not None:
            yield ("traffic", "arrivals"), arrivals.on_off.burst.mean + arrivals.on_off.pause.mean
    for name, spec in scenario.providers.items():
        congestion, incidents = spec.congestion, spec.incidents
        if congestion is not None:
            if congestion.memory is not None:
                yield ("providers", name, "congestion", "memory"), congestion.memory
            if congestion.shocks is not None:
                yield ("providers", name, "congestion", "shocks", "every"), congestion.shocks.every
        if incidents is not None:
            # Of a preset the mean time between two is hours: a scale of 1e6 is one every few milliseconds.
            every_s = incidents.every if incidents.every is not None else 3600.0
            yield ("providers", name, "incidents"), every_s / max(incidents.scale, 1e-12)
            for index, one in enumerate(incidents.maintenance):
                if one.every is not None:
                    yield ("providers", name, "incidents", "maintenance", index, "every"), one.every


def _too_busy(scenario: Scenario, document: Document) -> Iterator[Problem]:
    traffic, clock = scenario.traffic, scenario.clock
    if traffic.trace is not None:
        return  # as many as the file has
    if traffic.executor == "constant-vus":
        yield from _never_waits(scenario, document)
        return
    peak_per_s = traffic.base_rate * max((stage.target for stage in traffic.stages), default=1.0)
    peak_per_s *= math.prod(max(crowd.peak, 1.0) for crowd in traffic.flash_crowds)
    if peak_per_s > _MOST_PER_S:  # nothing can be worked out with such numbers
        requests = peak_per_s * clock.duration
    else:
        requests = RateShape.of(traffic, clock.warm_up, clock.start_s).expected(clock.warm_up + clock.duration)
    requests *= max(route.mean_steps for route in mixes(traffic).routes)
    if not requests <= MAX_REQUESTS:
        message = (
            f"this makes about {requests:.3g} requests a replication; {MAX_REQUESTS:.3g} are the most that can be held"
        )
        hint = "Lower base_rate, stages or clock: {duration: …}; a tenth of traffic and limits tells the same story."
        yield document.problem(("traffic", "base_rate"), message, hint)


def _never_waits(scenario: Scenario, document: Document) -> Iterator[Problem]:
    """Virtual users that ask again at once, of a provider that answers at once: time would stand still."""
    traffic, clock = scenario.traffic, scenario.clock
    first = next(iter(scenario.providers.values()))
    tokens = [(max(r.input_tokens.mean, 1.0), max(r.output_tokens.mean, 1.0)) for r in mixes(traffic).routes]
    answer_s = min(mean_service_s(first, *one) for one in tokens) + first.network.mean
    turn_s = traffic.think_time.mean + answer_s
    requests = traffic.vus * (clock.warm_up + clock.duration) / max(turn_s, 1e-12)
    if first.concurrency is None and first.serving is None and not requests <= MAX_REQUESTS:
        message = f"{traffic.vus:,} users that ask every {format_duration(turn_s)} make about {requests:.3g} requests"
        hint = f"Give them think_time: 10s, or fewer users; {MAX_REQUESTS:.3g} requests are the most that can be held."
        yield document.problem(("traffic", "vus"), message, hint)


def _undecidable(scenario: Scenario, document: Document) -> Iterator[Problem]:
    end_s = scenario.clock.duration
    faults = [FaultWindow(fault.name, fault.at, fault.end_s) for fault in scenario.faults]
    for key, texts in scenario.slo.items():
        for index, text in enumerate(texts):
            problem = _never_told(parse_objective(key, text), faults, end_s)
            if problem:
                yield document.problem(("slo", key, index), *problem)


def _never_told(line: Objective, faults: list[FaultWindow], end_s: float) -> tuple[str, str] | None:
    """What keeps a line undecided for ever, and what to do; None if nothing does."""
    run = f"the run of {format_duration(end_s)}"
    spans = [(0.0, end_s)]
    if line.phase is not None:
        spans = spans_of(faults, line.phase, 0.0, end_s)
        if not spans:
            when = f"{line.phase.when} {line.phase.fault or 'fault'}"
            return f"there is no time {when} in {run}, so this can never be told", _more_time(line.phase.when)
    longest_s = max(last - first for first, last in spans)
    if line.burn is not None and line.burn.long_s > longest_s:
        there = format_duration(longest_s)
        message = f"a window of {format_duration(line.burn.long_s)} does not fit into the {there} there are"
        return message, "Write shorter windows, in the same proportion."
    if line.metric == "recovery_time" and faults:
        last_s = max(fault.end_s for fault in faults)
        if last_s + LEAST_S > end_s:
            left = f"{format_duration(max(0.0, end_s - last_s))} after the last fault in {run}"
            return f"a recovery shows in {format_duration(LEAST_S)}, and there are {left}", _more_time("after")
    return None


def _more_time(when: str) -> str:
    if when == "before":
        return "Give the first fault a later at:."
    if when == "after":
        return "End the last fault earlier (duration:, ramp_down:), or give clock: a longer duration."
    return "A fault that only loses state takes no time; write after, or give it a duration."
