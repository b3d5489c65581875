"""Requests taken together by session: conversations, agents' chains, and whoever asked only once."""

from __future__ import annotations

from collections.abc import Collection

import polars as pl

from llmsim.report.columns import COLUMNS

__all__ = ["OF_REQUESTS", "sessions"]

_LAST = pl.col("outcome").cast(pl.String)

#: What the end of the last request makes of a session of which nothing else is known.
_DERIVED = (
    pl.when(_LAST == "ok")
    .then(pl.lit("completed"))
    .when(_LAST == "abandoned")
    .then(pl.lit("left"))
    .when(_LAST == "unfinished")
    .then(pl.lit("unfinished"))
    .otherwise(pl.lit("failed"))
)


#: What of requests is read.
OF_REQUESTS = (
    *("replication", "session", "step", "route", "feature", "tenant", "user", "arrival_s", "e2e_s", "outcome"),
    *("attempts", "input_tokens", "output_tokens", "cost_usd", "window"),
)


def sessions(
    requests: pl.DataFrame, events: pl.DataFrame, *, ongoing: Collection[str] = (), partial: Collection[int] = ()
) -> pl.DataFrame:
    """One row per session.

    Parameters
    ----------
    requests, events
        As `llmsim.report.tables.frame` makes them.
    ongoing
        Routes whose sessions can have several steps.
    partial
        Interrupted replications: a session of these routes whose end was not seen there is unfinished.
    """
    # A request of the session stands behind the one before it; sums of floats come out the same every time.
    whole = requests.group_by("replication", "session", maintain_order=True).agg(
        pl.col("route", "feature", "tenant", "user").first(),
        pl.col("arrival_s").min().alias("start_s"),
        (pl.col("arrival_s") + pl.col("e2e_s")).max().alias("end_s"),
        pl.col("step").n_unique().cast(pl.Int32).alias("steps"),
        (_LAST == "ok").sum().cast(pl.Int32).alias("ok_steps"),
        pl.len().cast(pl.Int32).alias("requests"),
        pl.col("attempts", "input_tokens", "output_tokens").cast(pl.Int64).sum(),
        pl.col("cost_usd").sum(),
        _DERIVED.last().alias("derived"),
        pl.col("window").first(),
    )
    whole = whole.join(_ends(events), on=["replication", "session"], how="left", maintain_order="left")
    whole = whole.join(_runaways(events), on=["replication", "session"], how="left", maintain_order="left")
    cut_off = (
        pl.col("replication").is_in([*partial])
        & pl.col("route").cast(pl.String).is_in([*ongoing])
        & (pl.col("derived") == "completed")
    )
    derived = pl.when(cut_off).then(pl.lit("unfinished")).otherwise(pl.col("derived"))
    whole = whole.with_columns(
        outcome=pl.coalesce("ended", derived).cast(pl.Categorical), runaway=pl.col("runaway").fill_null(value=False)
    )
    return whole.select(column.name for column in COLUMNS["sessions"])


def _of(events: pl.DataFrame, kind: str) -> pl.DataFrame:
    """Events of this kind that the users themselves reported, with the number of their session."""
    mine = events.filter((pl.col("kind").cast(pl.String) == kind) & (pl.col("policy").cast(pl.String) == ""))
    return mine.with_columns(session=pl.col("request_id").str.split("/").list.first().cast(pl.Int64))


def _ends(events: pl.DataFrame) -> pl.DataFrame:
    ended = pl.col("detail").str.json_path_match("$.outcome").alias("ended")
    return _of(events, "session").select("replication", "session", ended)


def _runaways(events: pl.DataFrame) -> pl.DataFrame:
    return _of(events, "runaway").select("replication", "session", pl.lit(value=True).alias("runaway"))
