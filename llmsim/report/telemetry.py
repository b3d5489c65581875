"""``result.telemetry()``: tokens, waiting and answering over time, for whatever a request has.

What a person waits for is taken apart where the parts mean different things to whoever has to act::

    e2e = gateway (waits and attempts that failed) + queue (for a slot at the provider) + prefill (slot to first token)
          + generation (first to last token) = ttft + generation

so that *first tokens come late* is not mistaken for *answers take long*, nor longer answers for slower ones.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.report.costs import width_of
from llmsim.report.tables import quantile
from llmsim.telemetry.columns import Column
from llmsim.telemetry.cost_tables import group_columns
from llmsim.telemetry.costs import ADDRESS
from llmsim.telemetry.outcomes import ANSWERED_ELSEWHERE, HIT, SEMANTIC_HIT, UNTOLD_HIT

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["PARTS", "TELEMETRY", "answers", "telemetry"]

#: Parts of the time to an answer, in their order; means of them add up to the mean of the whole.
PARTS = ("gateway", "queue", "prefill", "generation")

TELEMETRY: tuple[Column, ...] = (
    Column("start_s", "f8", "start of the window; a request and its attempts belong to it by the request's arrival"),
    Column("end_s", "f8", "its end"),
    Column("offered_per_s", "f8", "requests that arrived, per second and replication"),
    Column("goodput_per_s", "f8", "of these, those that got their answer"),
    Column("error_rate", "f8", "failures / requests"),
    Column("input_tokens_per_s", "f8", "input tokens billed, per second and replication"),
    Column("cached_input_tokens_per_s", "f8", "of these, read from a provider's prompt cache"),
    Column("output_tokens_per_s", "f8", "output tokens billed"),
    Column("delivered_tokens_per_s", "f8", "tokens of answers delivered to callers, those from the cache too"),
    Column("cache_hit_rate", "f8", "answered from the cache / requests"),
    Column("semantic_hit_rate", "f8", "of these, by meaning / requests"),
    Column("false_hit_rate", "f8", "of these, wrong answers / requests; null: nothing tells"),
    Column("fallback_rate", "f8", "answered by other than their first choice / sent upstream"),
    Column("fallbacks_per_s", "f8", "times a request was routed to another upstream, per second and replication"),
    Column("wait_p50_s", "f8", "p(50) of upstream successes: to the first chunk (the whole, if not streamed)"),
    Column("wait_p95_s", "f8", "p(95) of it"),
    Column("whole_p50_s", "f8", "p(50) of the same if nothing were streamed: to the last chunk"),
    Column("whole_p95_s", "f8", "p(95) of it"),
    Column("streamed_share", "f8", "upstream successes that came in more than one piece / all of them"),
    Column("ttft_p50_s", "f8", "p(50) of ttft_s; from here on: over streamed answers from upstreams"),
    Column("ttft_p95_s", "f8", "p(95) of ttft_s"),
    Column("generation_p50_s", "f8", "p(50) of first to last chunk"),
    Column("generation_p95_s", "f8", "p(95) of it"),
    Column("gateway_mean_s", "f8", "mean time from arrival to the start of the attempt that answered"),
    Column("queue_mean_s", "f8", "mean wait for a slot at the upstream"),
    Column("prefill_mean_s", "f8", "mean of the rest up to the first chunk: prompt processing and network"),
    Column("generation_mean_s", "f8", "mean of first to last chunk"),
    Column("tpot_p50_s", "f8", "p(50) of time per output token"),
    Column("input_tokens_p50", "f8", "p(50) of tokens of the prompt"),
    Column("output_tokens_p50", "f8", "p(50) of tokens of the answer"),
)  # fmt: skip

_OK = pl.col("outcome") == "ok"


def telemetry(
    result: Result,
    by: str | Sequence[str] | None = None,
    *,
    window: str | float = "10s",
    replications: bool = False,
) -> pl.DataFrame:
    """Windows of the measured time; see `llmsim.report.result.Result.telemetry`."""
    width_s = width_of(window)
    if width_s is None:
        raise LlmsimError("window is None; write it like window='10s'")
    names = group_columns(result.requests, by)
    if any(name not in result.requests.columns for name in names):
        raise LlmsimError(f"{by!r} is of attempts, not of requests; costs(by={by!r}) splits tokens and money by it")
    return windows_of(result, answers(result), names, width_s, replications=replications)


def windows_of(
    result: Result, rows: pl.DataFrame, names: Sequence[str], width_s: float, *, replications: bool = False
) -> pl.DataFrame:
    """The same of rows that `answers` gave."""
    rows = rows.with_columns(
        *(pl.col(name).cast(pl.String) for name in names),
        number=(pl.col("arrival_s") / width_s).floor().cast(pl.Int64),
    )
    keys = [*(["replication"] if replications else ()), *names]
    seconds = _seconds(result, width_s, each=replications)
    grid = seconds.join(rows.select(names).unique(maintain_order=True), how="cross") if names else seconds
    counted = rows.group_by([*keys, "number"], maintain_order=True).agg(_aggregates())
    table = grid.join(counted, on=[*keys, "number"], how="left", nulls_equal=True, maintain_order="left")
    table = table.with_columns(pl.col(_SUMS).fill_null(0))
    table = table.with_columns(
        *(_per_second(name, f"{name}_per_s") for name in _RATES),
        offered_per_s=pl.col("requests") / pl.col("seconds"),
        goodput_per_s=pl.col("ok") / pl.col("seconds"),
        error_rate=_ratio(pl.col("requests") - pl.col("ok"), "requests"),
        cache_hit_rate=_ratio(pl.col("hits"), "requests"),
        semantic_hit_rate=_ratio(pl.col("by_meaning"), "requests"),
        false_hit_rate=pl.when(pl.col("untold") == 0).then(_ratio(pl.col("wrong"), "requests")),
        fallback_rate=_ratio(pl.col("elsewhere"), "sent"),
        streamed_share=(pl.col("in_pieces") / (pl.col("ok") - pl.col("hits"))).fill_nan(None),
    )
    ordered = table.sort([*keys, "number"], nulls_last=True, maintain_order=True)
    return ordered.select(*keys, *(column.name for column in TELEMETRY))


def answers(result: Result) -> pl.DataFrame:
    """Measured requests with what their attempts used, and the parts of the time of streamed answers from upstreams.

    Returns
    -------
    DataFrame
        The columns of requests and: ``used_input_tokens``, ``used_cached_input_tokens``, ``used_output_tokens`` of all
        attempts; ``gateway_s``, ``queue_s``, ``prefill_s``, ``generation_s``, null for other than streamed answers.
    """
    measured = result.requests.filter(pl.col("window") == "measured")
    attempts = result.attempts
    places = _places(measured, attempts)
    mine = places >= 0
    sent = np.bincount(places[mine], minlength=measured.height) > 0
    used = {}
    for name in ("input_tokens", "cached_input_tokens", "output_tokens"):
        # Sums of whole numbers below 2**53: exact as floats.
        sums = np.bincount(places[mine], weights=attempts[name].to_numpy()[mine], minlength=measured.height)
        used[f"used_{name}"] = pl.Series(sums.astype(np.int64))
    # Where several attempts each gave a part of the answer, the first of them gave the first chunk.
    answered = mine & (attempts["won"] & attempts["first_s"].is_not_null()).to_numpy()
    at, first = np.unique(places[answered], return_index=True)
    chosen = np.full(measured.height, -1, dtype=np.int64)
    chosen[at] = np.flatnonzero(answered)[first]
    of_first = pl.Series(chosen).replace(-1, None).cast(pl.UInt32)
    rows = measured.with_columns(
        *(pl.when(pl.Series(sent)).then(sums).alias(name) for name, sums in used.items()),
        attempts["start_s"].gather(of_first).alias("sent_s"),
        attempts["queue_s"].gather(of_first).alias("queue_s"),
    )
    # What came whole has no first chunk of its own: its parts cannot be told apart.
    streamed = _OK & ~HIT & ((pl.col("e2e_s") > pl.col("ttft_s")) | (pl.col("output_tokens") <= 1))
    known = streamed & pl.col("sent_s").is_not_null()
    gateway = pl.col("sent_s") - pl.col("arrival_s")
    queue = pl.col("queue_s").fill_null(0.0)
    parts = {
        "gateway": gateway,
        "queue": queue,
        "prefill": pl.col("ttft_s") - gateway - queue,
        "generation": pl.col("e2e_s") - pl.col("ttft_s"),
    }
    return rows.with_columns(pl.when(known).then(part).alias(f"{name}_s") for name, part in parts.items())


def _places(requests: pl.DataFrame, attempts: pl.DataFrame) -> NDArray[np.int64]:
    """For each attempt the row of its request, -1 where that is not there; a join of a million rows takes longer."""
    # A call that none of the lab's users sent has session -1.
    spans = [max(_most(table, name) for table in (requests, attempts)) + 2 for name in ADDRESS]

    def packed(table: pl.DataFrame) -> NDArray[np.int64]:
        key = table["replication"].to_numpy().astype(np.int64)
        for name, span in zip(ADDRESS, spans, strict=True):
            key = key * span + table[name].to_numpy() + 1
        return key

    known, wanted = packed(requests), packed(attempts)
    if not len(known):
        return np.full(len(wanted), -1, dtype=np.int64)
    order = np.argsort(known, kind="stable")
    at = order[np.minimum(np.searchsorted(known, wanted, sorter=order), len(known) - 1)]
    return np.where(known[at] == wanted, at, -1)


def _most(table: pl.DataFrame, name: str) -> int:
    return int(table[name].to_numpy().max(initial=0))


_RATES = ("input_tokens", "cached_input_tokens", "output_tokens", "delivered_tokens", "fallbacks")
_SUMS = ["requests", "ok", "hits", "by_meaning", "wrong", "untold", "elsewhere", "sent", "in_pieces", *_RATES]


def _aggregates() -> list[pl.Expr]:
    streamed = pl.col("generation_s").is_not_null()
    upstream = pl.when(_OK & ~HIT)  # nobody looks at a spinner before an answer from the cache
    return [
        pl.len().cast(pl.Int64).alias("requests"),
        *(
            which.sum().cast(pl.Int64).alias(name)
            for name, which in {
                "ok": _OK,
                "hits": HIT,
                "by_meaning": SEMANTIC_HIT,
                "wrong": HIT & pl.col("false_hit"),
                "untold": UNTOLD_HIT,
                "elsewhere": ANSWERED_ELSEWHERE,
                "sent": pl.col("attempts") > 0,
                "in_pieces": _OK & ~HIT & (pl.col("e2e_s") > pl.col("ttft_s")),
            }.items()
        ),
        *(pl.col(f"used_{name}").sum().alias(name) for name in _RATES[:3]),
        pl.when(_OK).then(pl.col("output_tokens")).cast(pl.Int64).sum().alias("delivered_tokens"),
        pl.col("fallbacks").cast(pl.Int64).sum(),
        *(quantile(upstream.then(pl.col("ttft_s")), p).alias(f"wait_p{p}_s") for p in (50, 95)),
        *(quantile(upstream.then(pl.col("e2e_s")), p).alias(f"whole_p{p}_s") for p in (50, 95)),
        *(quantile(pl.when(streamed).then(pl.col("ttft_s")), p).alias(f"ttft_p{p}_s") for p in (50, 95)),
        *(quantile(pl.col("generation_s"), p).alias(f"generation_p{p}_s") for p in (50, 95)),
        *(pl.col(f"{part}_s").mean().alias(f"{part}_mean_s") for part in PARTS),
        quantile(pl.when(streamed).then(pl.col("tpot_s")), 50).alias("tpot_p50_s"),
        *(
            quantile(pl.when(streamed).then(pl.col(name)).cast(pl.Float64), 50).alias(f"{name}_p50")
            for name in ("input_tokens", "output_tokens")
        ),
    ]


def _seconds(result: Result, width_s: float, *, each: bool) -> pl.DataFrame:
    """The windows, and for how many seconds replications were in each (an interrupted one is in fewer)."""
    ends = [sample.end_s for sample in result.samples]
    last = max(ends, default=0.0)
    number = np.arange(math.ceil(last / width_s - 1e-9), dtype=np.int64)
    low, high = number * width_s, np.minimum((number + 1) * width_s, last)
    frames = []
    for one, end_s in zip(result.replications, ends, strict=True):
        inside = np.clip(np.minimum(high, end_s) - low, 0.0, None)
        columns = {"number": number, "start_s": low, "end_s": high, "seconds": inside}
        frames.append(pl.DataFrame({"replication": np.full(len(number), one.number, dtype=np.int32), **columns}))
    if not frames:
        raise LlmsimError("this result has no replication, so there is nothing to see over time")
    whole = pl.concat(frames)
    if each:
        return whole.filter(pl.col("seconds") > 0)
    return whole.group_by("number", "start_s", "end_s", maintain_order=True).agg(pl.col("seconds").sum())


def _ratio(part: pl.Expr, whole: str) -> pl.Expr:
    return pl.when(pl.col(whole) > 0).then(part / pl.col(whole))


def _per_second(name: str, alias: str) -> pl.Expr:
    return (pl.col(name) / pl.col("seconds")).alias(alias)
