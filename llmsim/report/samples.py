"""From frames and a scenario to the samples that metrics are computed from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import polars as pl

from llmsim.report.recorded import Recorded, is_large
from llmsim.scenario.objectives import objectives_of
from llmsim.scenario.prices import price_steps
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.parts import FaultWindow
from llmsim.telemetry.recorder import Replication, rows_of
from llmsim.telemetry.rows import pieces_of
from llmsim.telemetry.sample import Sample

__all__ = ["last_fault_end_s", "measured_until_s", "parts_of", "sample_of", "samples"]

_TABLES = ("requests", "attempts")


def measured_until_s(scenario: Scenario, replication: Replication) -> float:
    """End of the measured time: of the scenario's, or of what an interrupted replication got to."""
    duration_s = scenario.clock.duration
    return max(0.0, min(duration_s, replication.simulated_s)) if replication.partial else duration_s


def last_fault_end_s(scenario: Scenario, end_s: float) -> float:
    """End of the last fault; NaN without faults, and where one outlasts the measured time (nothing can recover)."""
    last = max((fault.end_s for fault in scenario.faults), default=math.nan)
    return last if last < end_s else math.nan


def sample_of(
    scenario: Scenario, replication: Replication, requests: pl.DataFrame | Recorded, attempts: pl.DataFrame | Recorded
) -> Sample:
    """The measured part of one replication, of whose tables these are the rows."""
    end_s = measured_until_s(scenario, replication)
    measured = _measured(requests)
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


def parts_of(whole: pl.DataFrame, replications: Sequence[Replication], table: str) -> list[pl.DataFrame]:
    """The rows of each replication: they stand one after the other, so nothing has to be looked for."""
    counts = [rows_of(one.tables[table]) for one in replications]
    return [whole.slice(end - count, count) for end, count in zip(accumulate(counts), counts, strict=True)]


def samples(scenario: Scenario, replications: Sequence[Replication]) -> list[Sample]:
    """One sample per replication."""
    duration_s = scenario.clock.duration
    return [sample_of(scenario, one, *(_rows(one, name, duration_s) for name in _TABLES)) for one in replications]


def _rows(replication: Replication, table: str, duration_s: float) -> pl.DataFrame | Recorded:
    recorded = Recorded(replication, table, duration_s)
    return recorded if is_large(replication) else recorded.frame()


def _measured(requests: pl.DataFrame | Recorded) -> pl.DataFrame | Recorded:
    measured = pl.col("window") == "measured"
    if isinstance(requests, pl.DataFrame):
        return requests.filter(measured)
    which = [piece.select(measured).to_series().to_numpy() for piece in pieces_of(requests, ["window"])]
    chosen = np.concatenate(which)
    return requests if chosen.all() else requests.take(np.flatnonzero(chosen))
