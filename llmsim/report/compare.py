"""`llmsim.compare`: two results side by side, whichever two they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmsim.errors import LlmsimError
from llmsim.report.comparison import Comparison
from llmsim.report.reality.check import RealityCheck

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["compare"]


def compare(
    one: Result,
    other: Result,
    *,
    again: Result | None = None,
    tolerances: Mapping[str, float] | None = None,
    least_effect: float = 0.05,
) -> Comparison | RealityCheck:
    """Two results of one scenario and seed.

    Two simulations (two gateways, two commits) are compared replication by replication: a `Comparison`. A simulation
    and a live run are compared request by request: a `RealityCheck`.

    Parameters
    ----------
    one, other
        Before and after; or the simulation and the live run.
    again
        Another live run of the same: then the simulation's errors stand beside what the machine itself repeats.
    tolerances
        What a simulation may be off by, by metric (`llmsim.report.reality.rows.TOLERANCES`).
    least_effect
        Of two simulations: share by which a metric must have moved to be called worse or better.

    Raises
    ------
    LlmsimError
        The two did not meet the same requests, or are of kinds that cannot be compared.
    """
    if not one.live and not other.live:
        return Comparison.of(one, other, least_effect=least_effect)
    if one.live and not other.live:
        raise LlmsimError("the simulation comes first: compare(sim, live)")
    if one.live:
        raise LlmsimError("two live runs meet different luck; compare each with the simulation of its scenario")
    return RealityCheck.of(one, other, again=again, tolerances_by_metric=tolerances)
