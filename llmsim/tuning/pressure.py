"""How much of each provider's limits a run really used, retries and fallbacks included: what binds shows here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.providers.faults import Fault
from llmsim.providers.ramps import mean_strength
from llmsim.report.figures import share
from llmsim.report.result import Result
from llmsim.scenario.preflight import Load, preflight

__all__ = ["BINDING", "Pressure", "pressures", "what_binds"]

Floats = NDArray[np.float64]

#: From this utilisation on a limit is said to bind. A queue's wait is 1 / (1 - ρ) services: ten of them here.
BINDING = 0.9
_THROTTLED, _FULL = [429], [503, 529]  # statuses of a rate limit, and of a queue that takes no more
_SLOT_WINDOW_S = 10.0


class Pressure(NamedTuple):
    """One limit of one provider under load."""

    provider: str
    limit: str  #: a word of `rate_limit`, or slots
    used: float  #: share of what there was of it in the busiest window; above 1: a full bucket on top of its refill
    offered: float  #: ρ at peak if there were no cache, retries and faults, from the preflight
    refused: float  #: share of the calls to this provider that got a 429 (slots: a 503 or 529)

    @property
    def binds(self) -> bool:
        """Whether there is next to nothing left of it."""
        return self.used >= BINDING


def pressures(result: Result) -> list[Pressure]:
    """Every limit there is, the fullest first."""
    found = []
    for load in preflight(result.scenario).loads:
        mine = result.attempts.filter((pl.col("upstream") == load.provider) & (pl.col("window") == "measured"))
        words = _FULL if load.limit == "slots" else _THROTTLED
        refused = int(mine["status"].is_in(words).sum()) / mine.height if mine.height else 0.0
        used = _busiest(result, mine, load)
        found.append(Pressure(load.provider, load.limit, used, load.rho_peak, refused))
    return sorted(found, key=lambda one: (-one.used, one.provider, one.limit))


def _busiest(result: Result, attempts: pl.DataFrame, load: Load) -> float:
    """Share of the limit used in the busiest window, mean over replications of the use in each window."""
    width_s = _SLOT_WINDOW_S if load.limit == "slots" else load.window_s
    end_s = max((sample.end_s for sample in result.samples), default=0.0)
    width_s = min(width_s, end_s)
    count = math.floor(end_s / width_s + 1e-9) if width_s > 0 else 0  # whole windows: half a one is not so telling
    if not count or attempts.is_empty():
        return 0.0
    edges: Floats = np.linspace(0.0, width_s * count, count + 1)
    measure = _held if load.limit == "slots" else _taken
    parts = attempts.partition_by("replication", include_key=False)
    used = sum((measure(part, edges, load.limit) for part in parts), np.zeros(count)) / len(result.replications)
    there = load.capacity * width_s * _left(result.scenario.faults, load, edges)
    return float(np.divide(used, there, out=np.zeros(count), where=there > 0).max())


def _left(faults: Sequence[Fault], load: Load, edges: Floats) -> Floats:
    """The share of a limit that faults leave, mean over each window."""
    left = np.ones(len(edges) - 1)
    for fault in faults:
        cut = fault.capacity if load.limit == "slots" else fault.rate_limit
        if fault.provider == load.provider and cut is not None:
            left *= 1 - (1 - cut.multiplier) * mean_strength(fault, edges)
    return np.asarray(left, dtype=np.float64)


def _taken(attempts: pl.DataFrame, edges: Floats, limit: str) -> Floats:
    """Calls or tokens by the window the call was sent in; one that was throttled took nothing."""
    kind = limit.removesuffix("_per_day").removesuffix("_per_second")
    if kind == "requests":
        amounts = ~attempts["status"].is_in(_THROTTLED)
    elif kind == "tokens":
        amounts = attempts["input_tokens"].cast(pl.Int64) + attempts["output_tokens"]
    else:
        amounts = attempts[kind]
    taken, _ = np.histogram(attempts["start_s"].to_numpy(), bins=edges, weights=amounts.cast(pl.Float64).to_numpy())
    return np.asarray(taken, dtype=np.float64)


def _held(attempts: pl.DataFrame, edges: Floats, _: str) -> Floats:
    """Slot-seconds by window: from getting a slot to the end."""
    ended = attempts.filter(pl.col("end_s").is_not_null())
    begin = (ended["start_s"] + ended["queue_s"].fill_null(0.0)).to_numpy()
    end = np.maximum(ended["end_s"].to_numpy(), begin)
    return np.asarray(np.diff(_since(begin, edges) - _since(end, edges)), dtype=np.float64)


def _since(times: Floats, at: Floats) -> Floats:
    """Sum of the time passed since each of `times` (0 before), at each of `at`."""
    ordered = np.sort(times)
    before = np.searchsorted(ordered, at)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    return np.asarray(before * at - sums[before], dtype=np.float64)


def what_binds(found: list[Pressure]) -> str:
    """A sentence on the limit that binds, or that none does."""
    full = [one for one in found if one.binds]
    if full:
        told = [
            f"{one.provider}'s {one.limit.replace('_', ' ')} ({share(one.used)} used at its busiest)" for one in full
        ]
        refused = [f"{one.provider} refused {share(one.refused)} of its calls" for one in full if one.refused >= 0.001]
        return f"What binds: {', '.join(told)}{'; ' + '; '.join(dict.fromkeys(refused)) if refused else ''}."
    if not found:
        return "No provider has a limit, so none binds."
    near = found[0]
    return (
        f"No provider's limit binds: the fullest is {near.provider}'s {near.limit.replace('_', ' ')}, at "
        f"{share(near.used)} at its busiest."
    )
