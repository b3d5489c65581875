"""What else decides whether a comparison with a live run can be believed: what was left out, cold calls, errors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from llmsim.report.figures import figure
from llmsim.report.reality.causes import lag_told
from llmsim.report.reality.pairs import Pairs

if TYPE_CHECKING:
    from llmsim.report.result import Result

_COLD = 1.5  #: times the median of the others, from which a first call is called cold (chosen)

__all__ = ["cold_told", "errors_told", "left_out", "on_time"]


def on_time(pairs: Pairs) -> list[str]:
    """How well the client kept to the schedule."""
    told = lag_told(pairs)
    return [f"Requests were {told}."] if told else []


def left_out(pairs: Pairs, live: Result, names: tuple[str, str]) -> list[str]:
    """What is in one of the runs and not compared; `names` are what the two are called."""
    parts = []
    if pairs.warm_up:
        parts.append(f"{pairs.warm_up} of the warm-up")
    if pairs.only_sim:
        parts.append(f"{pairs.only_sim} that were only {names[0]}")
    if pairs.only_live:
        parts.append(f"{pairs.only_live} that were only {names[1]}")
    words = [f"Left out: {', '.join(parts)}."] if parts else []
    if live.partial:
        words.append("The live run ended early; requests of which the end is unknown are left out.")
    return words


def cold_told(pairs: Pairs, live: Result) -> list[str]:
    """What the first call to each upstream took, which had to connect, and whether it is among the pairs."""
    answered = live.attempts.filter(pl.col("first_s").is_not_null()).with_columns(
        took=pl.col("first_s") - pl.col("start_s"), upstream=pl.col("upstream").cast(pl.String)
    )
    words = []
    for (name,), rows in answered.sort("start_s").group_by("upstream", maintain_order=True):
        if rows.height < 3:
            continue
        first, rest = rows["took"][0], float(rows["took"][1:].median())  # type: ignore[arg-type]
        if first >= _COLD * rest:
            words.append(f"The first call to {name} took {first / rest:.2g}x the median of the others: it was cold.")
    answered_cold = pairs.both_ok().filter(pl.col("cold_live"))
    if words and not answered_cold.height:
        words.append("No first call is among the pairs: they were all in the warm-up, or failed.")
    elif words:
        warm = pairs.both_ok().filter(~pl.col("cold_live"))
        took = [figure(float(one["ttft_live"].median() or 0.0), "s") for one in (answered_cold, warm)]  # type: ignore[arg-type]
        words.append(
            f"Cold pairs: {answered_cold.height}, live ttft {took[0]}; of the {warm.height} warm ones {took[1]}."
        )
    return words


def errors_told(sim: Result, live: Result, names: tuple[str, str]) -> list[str]:
    """What calls to upstreams failed with, kind by kind, in both."""
    counts = [_errors(sim), _errors(live)]
    kinds = sorted({*counts[0], *counts[1]})
    if not kinds or counts[0] == counts[1]:
        return []
    told = ", ".join(f"{kind} {counts[0].get(kind, 0)} and {counts[1].get(kind, 0)}" for kind in kinds)
    return [f"Failed calls to upstreams, {names[0]} and {names[1]}: {told}."]


def _errors(result: Result) -> dict[str, int]:
    number = result.replications[0].number
    rows = result.attempts.filter((pl.col("replication") == number) & (pl.col("window") == "measured"))
    rows = rows.filter(~pl.col("outcome").cast(pl.String).is_in(["ok", "cancelled", "unfinished", ""]))
    return dict(rows["outcome"].cast(pl.String).value_counts().iter_rows())
