"""What a bound can be about, as values: light enough to be read with every scenario."""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["Burn", "FaultWindow", "Phase", "When"]

When = Literal["before", "during", "after"]


class FaultWindow(NamedTuple):
    """When a fault was at work, on the scenario's clock."""

    name: str
    start_s: float
    end_s: float  #: inf: to the end


class Phase(NamedTuple):
    """A part of the measured time, told by faults. Requests belong to it by their arrival."""

    when: When
    fault: str = ""  #: name of one fault; empty: all of them (before the first, during any, after the last)


class Burn(NamedTuple):
    """What ``burn(99.9%, 5m, 30s)`` says."""

    promised: float  #: share of requests that succeed, in (0, 1)
    long_s: float
    short_s: float
