"""From frames and a scenario to the samples that metrics are computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence

import polars as pl

from llmsim.report.tables import frame
from llmsim.scenario.objectives import objectives_of
from llmsim.scenario.prices import price_steps
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.parts import FaultWindow
from llmsim.telemetry.recorder import Replication
from llmsim.telemetry.sample import Sample

__all__ = ["last_fault_end_s", "measured_until_s", "sample_of", "samples"]


def measured_until_s(scenario: Scenario, replication: Replication) -> float:
    """End of the measured time: of the scenario's, or of what an interrupted replication got to."""
    duration_s = scenario.clock.duration
    return max(0.0, min(duration_s, replication.simulated_s)) if replication.partial else duration_s


def last_fault_end_s(scenario: Scenario, end_s: float) -> float:
    """End of the last fault; NaN without faults, and where one outlasts the measured time (nothing can recover)."""
    last = max((fault.end_s for fault in scenario.faults), default=math.nan)
    return last if last < end_s else math.nan


def sample_of(scenario: Scenario, replication: Replication, requests: pl.DataFrame, attempts: pl.DataFrame) -> Sample:
    """The measured part of one replication, of whose frames these are the rows."""
    end_s = measured_until_s(scenario, replication)
    measured = requests.filter(pl.col("window") == "measured")
    if replication.partial:
        # The interrupt cut them off, not the gateway: what would have become of them is unknown.
        measured = measured.filter(pl.col("outcome") != "unfinished")
    return Sample(
        measured,
        attempts,
        end_s,
        counters=replication.counters,
        prices={name: provider.price for name, provider in scenario.providers.items()},
        price_steps=price_steps(scenario),
        faults=tuple(FaultWindow(fault.name, fault.at, fault.end_s) for fault in scenario.faults),
        last_fault_end_s=last_fault_end_s(scenario, end_s),
        steady_state=tuple(objectives_of(scenario, "steady_state")),
        costs=scenario.costs,
        verdict_usd=0.0 if scenario.store.judge is None else scenario.store.judge.price,
    )


def samples(scenario: Scenario, replications: Sequence[Replication]) -> list[Sample]:
    """One sample per replication."""
    duration_s = scenario.clock.duration
    return [
        sample_of(
            scenario,
            replication,
            frame([replication], "requests", duration_s),
            frame([replication], "attempts", duration_s),
        )
        for replication in replications
    ]
