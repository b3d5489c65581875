"""`llmsim.compare`: two results side by side, whichever two they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from llmsim.errors import LlmsimError
from llmsim.report.comparison import Comparison
from llmsim.report.reality.check import RealityCheck
from llmsim.report.reality.drift import Drift

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
    baseline: Sequence[Result] = (),
    run_to_run: float | None = None,
    metrics: Sequence[str] = (),
) -> Comparison | RealityCheck | Drift:
    """Two results of one scenario.

    Two simulations (two gateways, two commits) are compared replication by replication: a `Comparison`. A simulation
    and a live run are compared request by request: a `RealityCheck`. Two live runs (last week's and this week's) tell
    what changed: a `Drift`.

    Parameters
    ----------
    one, other
        Before and after; the simulation and the live run; or the earlier and the later live run.
    again
        Another live run of the same: then the simulation's errors stand beside what the machine itself repeats.
    tolerances
        What a simulation may be off by, by metric (`llmsim.report.reality.rows.TOLERANCES`).
    least_effect
        Of two simulations or two live runs: share by which a metric must have moved to be called worse or better.
    baseline
        Of two live runs: more earlier ones of the same, which tell what runs differ by when nothing changed.
    run_to_run
        Of two live runs, where there are no more: the share by which latencies of two runs are known to differ.
    metrics
        Of two simulations: what is compared besides, as `llmsim.tune` takes its goals: ``ttft{route:chat} p(95)``,
        ``cost_per_ok + 0.02*false_hit_rate``.

    Raises
    ------
    LlmsimError
        The two did not meet the same requests, or are of kinds that cannot be compared.
    """
    if (baseline or run_to_run is not None) and not (one.live and other.live):
        raise LlmsimError("baseline and run_to_run are about two live runs; leave them out")
    if not one.live and not other.live:
        return Comparison.of(one, other, least_effect=least_effect, metrics=metrics)
    if metrics:
        raise LlmsimError("metrics are what two simulations are compared in; with a live run leave them out")
    if one.live and not other.live:
        raise LlmsimError("the simulation comes first: compare(sim, live)")
    if one.live:
        if again is not None or tolerances:
            raise LlmsimError("again and tolerances are about a simulation; of two live runs give least_effect")
        return Drift.of(one, other, least_effect=least_effect, baseline=baseline, run_to_run=run_to_run)
    return RealityCheck.of(one, other, again=again, tolerances_by_metric=tolerances)
