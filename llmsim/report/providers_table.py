"""What each provider was asked and what it answered, over all replications."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from llmsim.report.figures import count, figure, usd

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["HEAD", "provider_rows"]

#: What became of an attempt: every one is in one of these, so that the shares of a provider make up all of it.
_ENDS = ("ok", "429", "5xx", "no answer in time", "other errors", "cancelled")

HEAD = ("provider", "attempts", *_ENDS, "ttft p50", "ttft p95", "billed")


def provider_rows(result: Result) -> list[tuple[str, ...]]:
    """One row a provider, in the order of the scenario, as texts under `HEAD`.

    Attempts of requests that arrived in the measured time, per replication; times to first chunk are of attempts that
    had one.
    """
    made = max(len(result.replications), 1)
    attempts = (
        result.attempts.filter(pl.col("window") == "measured")
        if "window" in result.attempts.columns
        else (result.attempts.filter(pl.col("arrival_s") >= 0))
    )
    rows = []
    for name in result.scenario.providers:
        own = attempts.filter(pl.col("upstream") == name)
        if own.is_empty():
            rows.append((name, "0", *[""] * (len(HEAD) - 2)))
            continue
        shares = own.select(
            *((_end() == end).mean().alias(end) for end in _ENDS),
            p50=(pl.col("first_s") - pl.col("start_s")).quantile(0.5),
            p95=(pl.col("first_s") - pl.col("start_s")).quantile(0.95),
            cost=pl.col("cost_usd").sum() / made,
        ).row(0, named=True)
        rows.append((
            name,
            count(own.height / made),
            *(figure(shares[key], "ratio") for key in _ENDS),
            *(figure(float("nan") if shares[key] is None else shares[key], "s") for key in ("p50", "p95")),
            usd(shares["cost"]),
        ))  # fmt: skip
    return rows


def _end() -> pl.Expr:
    """Which of `_ENDS` an attempt came to; one that was running when the drain ended has been cancelled."""
    outcome, status = pl.col("outcome").cast(pl.String), pl.col("status")
    late = outcome.str.contains("timeout") | (outcome == "stream_stalled")
    return (
        pl.when(outcome.is_in(["ok", "cancelled"]))
        .then(outcome)
        .when(late)
        .then(pl.lit("no answer in time"))
        .when(status == 429)
        .then(pl.lit("429"))
        .when(status >= 500)
        .then(pl.lit("5xx"))
        .otherwise(pl.lit("other errors"))
    )
