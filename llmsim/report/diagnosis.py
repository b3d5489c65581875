"""Late first tokens or long answers? Two different troubles, told apart by which part of the time grew.

First tokens come late because requests wait in the gateway (for other attempts that failed), in the provider's queue,
or for prefill (which longer prompts make longer). Generation takes longer because answers have more tokens, or because
tokens come slower. Each is somebody else's to mend, so each is said in its own words.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import polars as pl

from llmsim.report.figures import clock
from llmsim.report.telemetry import answers, windows_of
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["diagnosis"]

_WINDOW_S = 10.0

# Medians of windows with 40 answers vary by 10 to 15 % (one standard error) from luck alone. Half as much again, three
# windows in a row, is no luck; a fifth is. Where requests are few, windows are longer; those with fewer answers yet
# (at night) say nothing.
_ENOUGH = 40
_HIGH = 1.5
_CALM = 1.2
_IN_A_ROW = 3
_BUSY = 1.5  # times the base rate: more is a spike, and not a time to compare with
_LONGER = 1.2  # times as many tokens as before: no longer "as long as before"
_ALSO = 0.2  # of the increase: what has a smaller share in it is not worth a word


def diagnosis(result: Result) -> list[str]:
    """Sentences on the times when first tokens came late, and on those when answers took long.

    Calm windows (of 10 s, or as long as 40 answers take) are those without fault or spike whose median is less than 1.2
    times the lower quartile of these; bad ones are three in a row or more whose median is 1.5 times that of the calm
    ones.
    """
    if not result.samples:
        return []
    every = answers(result)
    rows = every.filter(pl.col("generation_s").is_not_null())
    width_s = _WINDOW_S * max(1, math.ceil(_ENOUGH * result.scenario.clock.duration / _WINDOW_S / max(rows.height, 1)))
    numbered = rows.with_columns(start_s=(pl.col("arrival_s") / width_s).floor() * width_s)
    told = numbered.group_by("start_s").len().filter(pl.col("len") >= _ENOUGH)
    table = windows_of(result, every, (), width_s).join(told, on="start_s", how="semi", maintain_order="left")
    found = [_late(result, table, numbered), _long(result, table, numbered)]
    return [sentence for sentence in found if sentence]


def _split(
    result: Result, table: pl.DataFrame, rows: pl.DataFrame, what: str
) -> tuple[pl.DataFrame, pl.DataFrame, str] | None:
    """Answers of the calm and of the bad windows, and when the latter were."""
    told = table.filter(pl.col(f"{what}_p50_s") > 0).with_columns(value=pl.col(f"{what}_p50_s"))
    quiet = _quiet(result, told)
    low = quiet["value"].quantile(0.25)
    if low is None:
        return None
    calm = quiet.filter(pl.col("value") < _CALM * low)
    usual = calm["value"].median()
    bad = _in_a_row(told.with_columns(bad=pl.col("value") >= _HIGH * pl.lit(usual)))
    if calm.height < _IN_A_ROW or bad.is_empty():
        return None
    before = rows.filter(pl.col("start_s").is_in(calm["start_s"].implode()))
    during = rows.filter(pl.col("start_s").is_in(bad["start_s"].implode()))
    when = f"between {clock(float(bad['start_s'][0]))} and {clock(float(bad['end_s'][-1]))}"
    return before, during, when


def _quiet(result: Result, table: pl.DataFrame) -> pl.DataFrame:
    """Windows without a fault or a spike; all, where there are next to none."""
    base = result.scenario.traffic.base_rate
    quiet = table if base <= 0 else table.filter(pl.col("offered_per_s") <= _BUSY * base)
    for fault in result.scenario.faults:
        quiet = quiet.filter((pl.col("end_s") <= fault.at) | (pl.col("start_s") >= fault.end_s))
    return quiet if quiet.height >= _IN_A_ROW else table


def _in_a_row(table: pl.DataFrame) -> pl.DataFrame:
    """The bad windows that have enough of their kind beside them."""
    runs = table.with_columns(run=(pl.col("bad") != pl.col("bad").shift(1)).fill_null(value=True).cum_sum())
    return runs.filter(pl.col("bad") & (pl.len().over("run") >= _IN_A_ROW))


def _late(result: Result, table: pl.DataFrame, rows: pl.DataFrame) -> str:
    split = _split(result, table, rows, "ttft")
    if split is None:
        return ""
    before, during, when = split
    grown = {part: _mean(during, f"{part}_s") - _mean(before, f"{part}_s") for part in ("gateway", "queue", "prefill")}
    whole = sum(max(0.0, more) for more in grown.values())
    if whole <= 0:
        return ""
    words = {
        "gateway": "the time before the attempt that answered (waits, retries and fallbacks in the gateway)",
        "queue": "waiting for a slot at the provider: its queue",
        "prefill": _prefill(before, during),
    }
    causes = _causes({part: more / whole for part, more in grown.items()}, words)
    early, late = (format_duration(_median(part, "ttft_s")) for part in (before, during))
    return f"First tokens of answers came late {when} (median {late}, in calm times {early}): {causes}."


def _prefill(before: pl.DataFrame, during: pl.DataFrame) -> str:
    early, late = _median(before, "input_tokens"), _median(during, "input_tokens")
    if late >= _LONGER * early:
        return f"prefill of longer prompts ({late:,.0f} tokens, before {early:,.0f})"
    return (
        f"the provider's time to a first token (prefill and network), at prompts as long as before ({late:,.0f} tokens)"
    )


def _long(result: Result, table: pl.DataFrame, rows: pl.DataFrame) -> str:
    split = _split(result, table, rows.filter(pl.col("tpot_s").is_not_null()), "generation")
    if split is None:
        return ""
    before, during, when = split
    tokens = _median(before, "output_tokens"), _median(during, "output_tokens")
    pace = _median(before, "tpot_s"), _median(during, "tpot_s")
    # Time is tokens times pace, so logarithms of their growth add up to that of the time.
    grown = {"tokens": math.log(tokens[1] / tokens[0]), "pace": math.log(pace[1] / pace[0])}
    whole = sum(max(0.0, more) for more in grown.values())
    if whole <= 0:
        return ""
    words = {
        "tokens": f"answers were longer ({tokens[1]:,.0f} tokens, before {tokens[0]:,.0f})",
        "pace": f"tokens came slower ({format_duration(pace[1])} each, before {format_duration(pace[0])})",
    }
    causes = _causes({part: more / whole for part, more in grown.items()}, words)
    if grown["pace"] < _ALSO * whole:
        causes += f", at the same {format_duration(pace[1])} a token"
    elif grown["tokens"] < _ALSO * whole:
        causes += ", in answers as long as before"
    early, late = (format_duration(_median(part, "generation_s")) for part in (before, during))
    return f"Answers took long to generate {when} (median {late}, in calm times {early}): {causes}."


def _causes(shares: dict[str, float], words: dict[str, str]) -> str:
    """The parts that grew, the largest first, with their shares where there are several."""
    ranked = sorted(((portion, part) for part, portion in shares.items() if portion >= _ALSO), reverse=True)
    if len(ranked) == 1 or ranked[0][0] > 1 - _ALSO:
        return words[ranked[0][1]]
    return "; ".join(f"{portion:.0%} of it {words[part]}".replace("%", " %") for portion, part in ranked)


def _mean(rows: pl.DataFrame, column: str) -> float:
    return float(rows[column].mean())  # type: ignore[arg-type]


def _median(rows: pl.DataFrame, column: str) -> float:
    return float(rows[column].median())  # type: ignore[arg-type]
