"""The same scenario in less time, or with fewer requests: what a live run of it can be afforded at."""

from __future__ import annotations

import dataclasses

from llmsim.errors import ScenarioError
from llmsim.providers.faults import Fault
from llmsim.scenario.spec import Scenario

__all__ = ["scaled"]


def scaled(scenario: Scenario, *, time: float = 1.0, rate: float = 1.0) -> Scenario:
    """A scenario whose course is `time` times as long, and whose arrivals are `rate` times as many per second.

    What belongs to requests stays as it is: latencies, time limits, patience, lengths, limits of providers. So a course
    of half the length is another, harder storm, not the same one seen faster; a simulation to compare it with has to be
    scaled alike.

    Parameters
    ----------
    scenario
        Any but one that replays a trace, which has its own ``speed``.
    time
        Multiplies warm-up, duration, stages, and the beginnings, lengths and ramps of faults. The drain stays.
    rate
        Multiplies the base rate.

    Raises
    ------
    ScenarioError
        For factors that are not above zero, a closed loop with `rate`, or a trace.
    """
    for word, factor in (("time-scale", time), ("rate-scale", rate)):
        if not 0 < factor < float("inf"):
            raise ScenarioError(f"{word} is {factor:g}; use a number above 0, such as 0.1", word)
    if time == rate == 1:
        return scenario
    traffic, clock = scenario.traffic, scenario.clock
    if traffic.executor == "trace":
        raise ScenarioError("a trace is replayed at its own speed; set traffic.trace.speed instead", "time-scale")
    if traffic.diurnal or traffic.weekly or traffic.flash_crowds:
        raise ScenarioError(
            "days and weeks have their own length; a scenario with such traffic cannot be scaled", "time-scale"
        )
    if rate != 1 and traffic.executor == "constant-vus":
        raise ScenarioError("virtual users have no rate; set traffic.vus instead", "rate-scale")
    stages = tuple(dataclasses.replace(stage, duration=stage.duration * time) for stage in traffic.stages)
    return dataclasses.replace(
        scenario,
        clock=dataclasses.replace(clock, warm_up=clock.warm_up * time, duration=clock.duration * time),
        traffic=dataclasses.replace(traffic, base_rate=traffic.base_rate * rate, stages=stages),
        faults=tuple(_longer(fault, time) for fault in scenario.faults),
    )


def _longer(fault: Fault, time: float) -> Fault:
    lengths = {word: getattr(fault, word) * time for word in ("at", "ramp_up", "duration", "ramp_down")}
    return dataclasses.replace(fault, **lengths)
