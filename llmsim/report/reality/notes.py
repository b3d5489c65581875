"""What decides whether a reality check can be believed: a late client, a server at its limit, missing pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from llmsim.report.figures import figure, share
from llmsim.report.reality.pairs import Pairs
from llmsim.report.reality.rows import Line

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["notes_of"]

#: Sent so much later than scheduled (p95), the client could not keep up: no scheduler of an idle machine is late by
#: more than a few milliseconds (chosen: five times that).
_LATE_S = 0.025
#: The last third of the requests taking so many times as long as the first, at the same rate of arrivals, says that
#: they queue up somewhere (chosen).
_GROWN = 1.5
_FEWEST = 30  #: pairs, for thirds that mean anything


def notes_of(pairs: Pairs, sim: Result, live: Result, lines: Sequence[Line]) -> list[str]:
    """Sentences, the most important first."""
    off = any(line.verdict == "off" for line in lines)
    found = [*_client(pairs), *_server(pairs)]
    if off and not any(words.startswith(("Client", "Server")) for words in found):
        found.append("The client kept up and the server did not queue: what is off is the model of the provider.")
    return [*found, *_excluded(pairs, live), *_cold(live)]


def _client(pairs: Pairs) -> list[str]:
    """Whether requests were sent when they should have been."""
    lag = pairs.table["lag_s"].to_numpy()
    if not len(lag):
        return []
    p50, p95, most = np.quantile(lag, [0.5, 0.95, 1.0], method="inverted_cdf")
    told = f"sent {figure(p50, 's')} after their time (median), p95 {figure(p95, 's')}, at most {figure(most, 's')}"
    if p95 > _LATE_S:
        return [f"Client overloaded: requests were {told}. Latencies of this run say as much about it as the server."]
    return [f"Requests were {told}."]


def _server(pairs: Pairs) -> list[str]:
    """Whether answers took longer and longer, beyond what the simulation says."""
    table = pairs.both_ok().sort("arrival_s_live")
    if table.height < _FEWEST:
        return []
    third = table.height // 3
    grown = {}
    for who in ("sim", "live"):
        values = table[f"e2e_{who}"]
        grown[who] = float(values.tail(third).median() / values.head(third).median())  # type: ignore[operator,arg-type]
    if grown["live"] > _GROWN and grown["live"] > _GROWN * grown["sim"]:
        words = (
            f"Server saturated: the last third of the requests took {grown['live']:.1f}x as long as the first "
            f"(median), simulated {grown['sim']:.1f}x. It has less room than the simulation gives it."
        )
        return [words]
    return []


def _excluded(pairs: Pairs, live: Result) -> list[str]:
    parts = []
    if pairs.warm_up:
        parts.append(f"{pairs.warm_up} of the warm-up")
    if pairs.only_sim:
        parts.append(f"{pairs.only_sim} that were only simulated")
    if pairs.only_live:
        parts.append(f"{pairs.only_live} that there were only live")
    words = [f"Left out: {', '.join(parts)}."] if parts else []
    if live.partial:
        words.append("The live run ended early; requests of which the end is unknown are left out.")
    return words


def _cold(live: Result) -> list[str]:
    """What the first call to each upstream took, which had to connect."""
    answered = live.attempts.filter(pl.col("first_s").is_not_null()).with_columns(
        took=pl.col("first_s") - pl.col("start_s"), upstream=pl.col("upstream").cast(pl.String)
    )
    words = []
    for (name,), rows in answered.sort("start_s").group_by("upstream", maintain_order=True):
        if rows.height >= 3:
            first, rest = rows["took"][0], rows["took"][1:].median()
            cold = first / rest - 1
            if abs(cold) >= 0.1:
                sign = "+" if cold > 0 else "−"
                words.append(
                    f"The first call to {name} took {sign}{share(abs(cold))} against the median of the others."
                )
    return words
