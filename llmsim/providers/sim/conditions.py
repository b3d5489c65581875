"""What is wrong with one simulated provider at a given moment: the intrinsic faults, overlaps multiplied."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from llmsim.providers.faults import Fault
from llmsim.providers.ramps import steps

__all__ = ["HEALTHY", "Conditions", "Phase"]


class Phase(NamedTuple):
    """From `start_s` on, until the next phase."""

    start_s: float
    latency: float = 1.0
    capacity: float = 1.0
    rate_limit: float = 1.0
    ttft: float = 1.0
    length: float = 1.0
    defects: float = 1.0
    refusals: float = 1.0
    model: str = ""  # what it silently became; empty: what it was
    outage: bool = False
    latency_at: Callable[[float], float] | None = None  # its exact latency by loop time, where that changes within it


HEALTHY = Phase(0.0)


class Conditions:
    """The phases of one provider, in loop time.

    Parameters
    ----------
    faults
        All faults that name this provider.
    zero_s
        Loop time at which the scenario's clock reads 0.
    """

    def __init__(self, faults: Sequence[Fault], zero_s: float) -> None:
        changes = [fault for fault in faults if fault.intrinsic or fault.outage]
        self.phases = [
            self._phase(start_s, at_s, [f for f in changes if f.at <= at_s < f.end_s], zero_s)
            for start_s, at_s in steps(changes, zero_s, first_s=0.0)
        ]

    @staticmethod
    def _phase(start_s: float, at_s: float, active: list[Fault], zero_s: float) -> Phase:
        multipliers = dict.fromkeys(("latency", "capacity", "rate_limit", "ttft", "length", "defects", "refusals"), 1.0)
        model = ""
        for fault in active:
            for name in ("latency", "capacity", "rate_limit"):
                multipliers[name] *= fault.factor(name, at_s)
            drift = fault.drift
            if drift is not None:
                multipliers["latency"] *= drift.latency
                multipliers["ttft"] *= drift.ttft
                multipliers["length"] *= drift.output_tokens
                multipliers["defects"] *= drift.json_defects
                multipliers["refusals"] *= drift.refusals
                model = drift.model or model
        ramps = [fault for fault in active if fault.latency and 0 < fault.strength(at_s) < 1]
        rest = [fault for fault in active if fault not in ramps]
        return Phase(
            start_s,
            **multipliers,
            model=model,
            outage=any(fault.outage for fault in active),
            latency_at=partial(_latency, ramps, _steady(rest, at_s), zero_s) if ramps else None,
        )


def _steady(faults: list[Fault], at_s: float) -> float:
    """What those make of the latency that are at their full strength."""
    return math.prod(fault.factor("latency", at_s) * (fault.drift.latency if fault.drift else 1.0) for fault in faults)


def _latency(ramps: list[Fault], steady: float, zero_s: float, now: float) -> float:
    """What all make of it at a loop time."""
    return steady * math.prod(fault.factor("latency", now - zero_s) for fault in ramps)
