"""Why a simulation may be off: a client that was late, a server at its limit, or the model of the provider."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import polars as pl

from llmsim.report.figures import figure, share
from llmsim.report.reality.distances import ranks
from llmsim.report.reality.pairs import Pairs
from llmsim.report.reality.rows import Line

__all__ = ["LATE_S", "Cause", "cause_of", "client_of", "lag_told"]

Word = Literal["client overloaded", "server saturated", "model wrong", "model wrong or server saturated", ""]

#: Sent so much later than scheduled (p95), the client could not keep up: no scheduler of an idle machine is late by
#: more than a few milliseconds (chosen: five times that) …
LATE_S = 0.025
#: … unless it is nothing beside what answers take: a fifth of what medians may be off by.
LATE_SHARE = 0.02
#: Answers take so many times as long, against the simulation, later in the run or with many requests under way, as they
#: do early and with few: they queue up somewhere (chosen).
_GROWN = 1.5
#: Rank correlation of how much later than simulated an answer ended with the requests under way when it was asked for,
#: from which it waited behind them. Of a server with too few slots, full for a while or throughout, it was 0.86 to 0.99
#: in fifteen simulated runs; of one that is slower than assumed, -0.04 to 0.06 in five.
_BEHIND = 0.5
#: Share of their time that answers wait for a slot (median), from which a server is full (chosen).
_WAITED = 0.2
#: Loads this much alike (90th percentile against 10th of requests under way) tell nothing of what load does (chosen).
_STEADY = 1.25
_FEWEST = 30  #: pairs, for thirds that mean anything


class Cause(NamedTuple):
    """What is to blame, if anything is off, and what was measured that says so."""

    word: Word
    told: str


def cause_of(pairs: Pairs, lines: Sequence[Line]) -> Cause:
    """The first that the measurements name: a late client spoils everything, a full server what is behind it.

    The client is asked for the lag of its sends; the server for waits for a slot, where it tells them, and for
    latencies that grew over the run, or with the number of requests under way, more than the simulation's. None of
    these, and a metric is off: then it is the model, unless load never varied, so that nobody can know.
    """
    found = client_of(pairs) or _waited(pairs) or _over_time(pairs) or _under_load(pairs)
    if found is not None:
        return found
    if any(line.verdict == "off" for line in lines):
        steady = _steady(pairs)
        if steady is not None:
            return steady
        return Cause(
            "model wrong", "The client kept up and the server did not queue: what is off is the model of the provider."
        )
    return Cause("", "")


def client_of(pairs: Pairs) -> Cause | None:
    """Whether requests were sent too late to be compared."""
    lag = pairs.table["lag_s"].drop_nulls().to_numpy()
    if not len(lag):
        return None
    late_s = float(np.quantile(lag, 0.95, method="inverted_cdf"))
    _, live = pairs.values("e2e")
    if late_s <= max(LATE_S, LATE_SHARE * float(np.median(live)) if len(live) else 0.0):
        return None
    told = f"Client overloaded: requests were {lag_told(pairs)}."
    return Cause("client overloaded", f"{told} Latencies of this run say as much about it as the server.")


def lag_told(pairs: Pairs) -> str:
    """How late requests were sent; empty if nothing was scheduled."""
    lag = pairs.table["lag_s"].drop_nulls().to_numpy()
    if not len(lag):
        return ""
    p50, p95, most = (figure(float(one), "s") for one in np.quantile(lag, [0.5, 0.95, 1.0], method="inverted_cdf"))
    return f"sent {p50} after their time (median), p95 {p95}, at most {most}"


def _over_time(pairs: Pairs) -> Cause | None:
    """Whether answers took longer and longer, beyond what the simulation says."""
    table = pairs.both_ok()
    if table.height < _FEWEST:
        return None
    third = table.height // 3
    grown = {who: _median(table.tail(third), f"e2e_{who}") / _median(table.head(third), f"e2e_{who}")
             for who in ("sim", "live")}  # fmt: skip
    if not (grown["live"] > _GROWN and grown["live"] > _GROWN * grown["sim"]):
        return None
    return Cause(
        "server saturated",
        f"Server saturated: the last third of the requests took {grown['live']:.1f}x as long as the first (median), "
        f"simulated {grown['sim']:.1f}x. It has less room than the simulation gives it.",
    )


def _waited(pairs: Pairs) -> Cause | None:
    """Whether answers waited for a slot, where the server tells (``head_waits_for_slot``)."""
    table = pairs.both_ok().filter(pl.col("queue_live").is_finite())
    if table.height < _FEWEST:
        return None
    live_s, sim_s = _median(table, "queue_live"), _median(table, "queue_sim")
    part = float((table["queue_live"] / table["e2e_live"]).median() or 0.0)  # type: ignore[arg-type]
    if not (part > _WAITED and live_s > _GROWN * sim_s):
        return None
    return Cause(
        "server saturated",
        f"Server saturated: answers waited {figure(live_s, 's')} for a slot (median), {share(part)} of the time they "
        f"took; simulated {figure(sim_s, 's')}. It has less room than the simulation gives it.",
    )


def _under_load(pairs: Pairs) -> Cause | None:
    """Whether answers take the longer, against the simulation, the more requests are under way."""
    table = pairs.both_ok().filter(pl.col("e2e_sim") > 0).sort("in_flight_live", maintain_order=True)
    if table.height < _FEWEST:
        return None
    table = table.with_columns(
        slower=pl.col("e2e_live") / pl.col("e2e_sim"), later=pl.col("e2e_live") - pl.col("e2e_sim")
    )
    later, busy = (table[name].cast(pl.Float64).to_numpy() for name in ("later", "in_flight_live"))
    if not (np.ptp(later) and np.ptp(busy)):
        return None
    behind = float(np.corrcoef(ranks(later), ranks(busy))[0, 1])
    third = table.height // 3
    quiet, full = table.head(third), table.tail(third)
    ratios = _median(quiet, "slower"), _median(full, "slower")
    if not (behind >= _BEHIND and ratios[1] > _GROWN):
        return None
    return Cause(
        "server saturated",
        f"Server saturated: with {_median(quiet, 'in_flight_live'):.0f} other requests under way (median of the "
        f"quietest third) answers took {ratios[0]:.2g}x what was simulated, with {_median(full, 'in_flight_live'):.0f} "
        f"(busiest third) {ratios[1]:.2g}x. It has less room than the simulation gives it.",
    )


def _steady(pairs: Pairs) -> Cause | None:
    """Whether the load was too even to tell a slow server from a full one."""
    table = pairs.both_ok()
    low, high = (float(table["in_flight_live"].quantile(place) or 0.0) for place in (0.1, 0.9))
    if not (table.height >= _FEWEST and low >= 1 and high <= _STEADY * low):
        return None
    return Cause(
        "model wrong or server saturated",
        f"As many requests were under way all the time ({low:.0f} to {high:.0f} others): a server that was full "
        "throughout, and one that is slower than its model, look the same. A run with less load tells them apart.",
    )


def _median(table: pl.DataFrame, name: str) -> float:
    return float(table[name].median() or 0.0)  # type: ignore[arg-type]
