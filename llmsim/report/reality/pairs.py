"""The requests of a simulated and of a live run, side by side: the same arrival, question and user in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["MEASURES", "Pairs", "pairs_of"]

_KEY = ("session", "step", "user_retry")

#: What is compared request by request: name → (column, unit).
MEASURES: dict[str, tuple[str, str]] = {
    "ttft": ("ttft_s", "s"),
    "tpot": ("tpot_s", "s"),
    "e2e": ("e2e_s", "s"),
    "input_tokens": ("input_tokens", "count"),
    "output_tokens": ("output_tokens", "count"),
    "cost": ("cost_usd", "usd"),
}


class Pairs(NamedTuple):
    """Requests that both runs had, and what one of them had alone.

    Attributes
    ----------
    table
        A row per pair, measured time only: the key, and each of `MEASURES` as ``NAME_sim`` and ``NAME_live``;
        ``outcome_*``, ``path_*`` (upstreams in the order they were called), ``attempts_*``, ``fallbacks_*``, ``hit_*``,
        ``sent_*`` (whether it went upstream), ``elsewhere_*`` (answered by another than the first choice), ``lag_s``
        (how much later than scheduled the live one was sent).
    only_sim, only_live
        Measured requests without a partner: user retries and turns that only one of the runs came to, and what a run
        that ended early did not get to.
    warm_up
        Live requests before time 0, which are left out.
    """

    table: pl.DataFrame
    only_sim: int
    only_live: int
    warm_up: int

    def both_ok(self) -> pl.DataFrame:
        """The pairs of which both were answered."""
        return self.table.filter((pl.col("outcome_sim") == "ok") & (pl.col("outcome_live") == "ok"))

    def values(self, measure: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A measure of both, of the pairs that were answered in both and have it."""
        names = [f"{measure}_sim", f"{measure}_live"]
        rows = self.both_ok().select(pl.col(names).cast(pl.Float64)).drop_nulls()
        rows = rows.filter(pl.all_horizontal(pl.all().is_finite()))
        return rows[names[0]].to_numpy(), rows[names[1]].to_numpy()


def pairs_of(sim: Result, live: Result) -> Pairs:
    """Pair the requests of replication 0 of `sim` with those of `live`.

    Requests of which the end of the live run is unknown (it was interrupted, or ran out of money) are left out.
    """
    ours, theirs = _requests(sim), _requests(live)
    warm_up = theirs.filter(pl.col("window") == "warm_up").height
    last_s = live.replications[0].simulated_s if live.partial else float("inf")
    known = (pl.col("window") == "measured") & (pl.col("outcome") != "unfinished")
    ours = ours.filter(known & (pl.col("arrival_s") < last_s)).drop("window")
    theirs = theirs.filter(known).drop("window")
    table = ours.join(theirs, on=_KEY, how="inner", suffix="_live", maintain_order="left")
    table = table.rename({name: f"{name}_sim" for name in ours.columns if name not in _KEY})
    lag = (pl.col("arrival_s_live") - pl.col("arrival_s_sim")).alias("lag_s")
    return Pairs(table.with_columns(lag), ours.height - table.height, theirs.height - table.height, warm_up)


def _requests(result: Result) -> pl.DataFrame:
    """Replication 0, with the names and columns of `MEASURES`, and the path of each request."""
    number = result.replications[0].number
    requests = result.requests.filter(pl.col("replication") == number)
    attempts = result.attempts.filter(pl.col("replication") == number)
    paths = (
        attempts.sort(*_KEY, "attempt")
        .group_by(*_KEY, maintain_order=True)
        .agg(pl.col("upstream").cast(pl.String).str.join(" > ").alias("path"))
    )
    chosen = [pl.col(column).alias(name) for name, (column, _) in MEASURES.items()]
    elsewhere = (pl.col("outcome") == "ok") & (pl.col("served_by") != pl.col("first_choice"))
    return (
        requests.select(
            *_KEY,
            "window",
            "arrival_s",
            pl.col("outcome").cast(pl.String),
            pl.col("route").cast(pl.String),
            pl.col("served_by").cast(pl.String),
            *chosen,
            "attempts",
            "fallbacks",
            hit=pl.col("served_from") == "cache",
            sent=pl.col("attempts") > 0,
            elsewhere=elsewhere & (pl.col("attempts") > 0) & (pl.col("served_from") == "upstream"),
        )
        .join(paths, on=_KEY, how="left")
        .with_columns(pl.col("path").fill_null(""))
    )
