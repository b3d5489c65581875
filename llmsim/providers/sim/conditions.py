"""What is wrong with one simulated provider at a given moment: the intrinsic faults, overlaps multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from llmsim.providers.faults import Fault

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
        edges = sorted({0.0, *(zero_s + f.at for f in changes), *(zero_s + f.end_s for f in changes)})
        self.phases = [
            self._phase(edge, [f for f in changes if zero_s + f.at <= edge < zero_s + f.end_s]) for edge in edges
        ]

    @staticmethod
    def _phase(start_s: float, active: list[Fault]) -> Phase:
        multipliers = dict.fromkeys(("latency", "capacity", "rate_limit", "ttft", "length", "defects", "refusals"), 1.0)
        model = ""
        for fault in active:
            for name in ("latency", "capacity", "rate_limit"):
                scale = getattr(fault, name)
                multipliers[name] *= scale.multiplier if scale else 1.0
            drift = fault.drift
            if drift is not None:
                multipliers["latency"] *= drift.latency
                multipliers["ttft"] *= drift.ttft
                multipliers["length"] *= drift.output_tokens
                multipliers["defects"] *= drift.json_defects
                multipliers["refusals"] *= drift.refusals
                model = drift.model or model
        return Phase(start_s, **multipliers, model=model, outage=any(fault.outage for fault in active))
