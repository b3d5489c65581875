"""The requests of a simulated and of a live run, side by side: the same arrival, question and user in both."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.report.reality.bursts import bursts_of

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["MEASURES", "Pairs", "pairs_of", "requests_of"]

_KEY = ("session", "step", "user_retry")
INF = pl.lit(float("inf"))

#: What is compared request by request: name → (column, unit).
MEASURES: dict[str, tuple[str, str]] = {
    "ttft": ("ttft_s", "s"),
    "tpot": ("tpot_s", "s"),
    "max_inter_token": ("max_inter_token_s", "s"),
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
        ``sent_*`` (whether it went upstream), ``elsewhere_*`` (answered by another than the first choice),
        ``queue_*`` (seconds it waited for a slot upstream; null where nobody knows), ``in_flight_*`` (other requests
        under way at its arrival), ``cold_*`` (it made the first call of the run to its first upstream), ``lag_s`` (how
        much later than scheduled the live one was sent; null where the schedule depends on earlier answers: turns of a
        conversation, user retries, virtual users). In the order of live arrivals.
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

    def values(self, measure: str, *, failures: bool = False) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A measure of both, in the order of live arrivals.

        Parameters
        ----------
        measure
            One of `MEASURES`.
        failures
            False: of the pairs that were answered in both. True: of all, and what failed counts as +inf (DESIGN 7).
        """
        rows = self._rows(measure, failures=failures)
        return rows["sim"].to_numpy(), rows["live"].to_numpy()

    def bursts(self, measure: str, *, failures: bool = False) -> NDArray[np.int64] | None:
        """The burst in which each of `values` came; None: they do not come in bursts."""
        rows = self._rows(measure, failures=failures)
        return bursts_of(rows["at"].to_numpy())

    def _rows(self, measure: str, *, failures: bool) -> pl.DataFrame:
        """Columns ``sim`` and ``live`` of what has both, and when the live one came."""
        at = pl.col("arrival_s_live").cast(pl.Float64).alias("at")
        if not failures:
            both = (pl.col(f"{measure}_{who}").cast(pl.Float64).alias(who) for who in ("sim", "live"))
            rows = self.both_ok().select(*both, at).drop_nulls()
            return rows.filter(pl.all_horizontal(pl.all().is_finite()))
        rows = self.table.select(
            *(
                pl.when(pl.col(f"outcome_{who}") == "ok").then(pl.col(f"{measure}_{who}").cast(pl.Float64))
                .otherwise(INF).fill_nan(None).alias(who)
                for who in ("sim", "live")
            ),
            at,
        ).drop_nulls()  # fmt: skip
        nobody = not (rows["sim"].is_finite().any() or rows["live"].is_finite().any())
        return rows.clear() if nobody else rows  # nothing was streamed, or nothing answered

    def every(self, measure: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """A measure of both, of all pairs, failed or not."""
        rows = self.table.select(pl.col(f"{measure}_sim", f"{measure}_live").cast(pl.Float64)).drop_nulls()
        return rows[f"{measure}_sim"].to_numpy(), rows[f"{measure}_live"].to_numpy()

    @property
    def failed(self) -> bool:
        """Whether any request of a pair was not answered."""
        return self.both_ok().height < self.table.height

    def only(self, route: str) -> Pairs:
        """Those of one route."""
        return self._replace(table=self.table.filter(pl.col("route_live") == route))


def pairs_of(sim: Result, live: Result) -> Pairs:
    """Pair the requests of replication 0 of `sim` (or of an earlier live run) with those of `live`.

    Requests of which the end of the live run is unknown (it was interrupted, or ran out of money) are left out.
    """
    ours, theirs = requests_of(sim), requests_of(live)
    warm_up = theirs.filter(pl.col("window") == "warm_up").height
    ends_s = [one.replications[0].simulated_s for one in (sim, live) if one.live and one.partial]
    known = (pl.col("window") == "measured") & (pl.col("outcome") != "unfinished")
    known &= pl.col("arrival_s") < min(ends_s, default=float("inf"))
    ours, theirs = ours.filter(known).drop("window"), theirs.filter(known).drop("window")
    table = ours.join(theirs, on=_KEY, how="inner", suffix="_live", maintain_order="left")
    table = table.rename({name: f"{name}_sim" for name in ours.columns if name not in _KEY})
    scheduled = (pl.col("step") == 0) & (pl.col("user_retry") == 0) & (live.scenario.traffic.executor != "constant-vus")
    lag = pl.when(scheduled).then(pl.col("arrival_s_live") - pl.col("arrival_s_sim")).alias("lag_s")
    table = table.with_columns(lag).sort("arrival_s_live", *_KEY)
    return Pairs(table, ours.height - table.height, theirs.height - table.height, warm_up)


def requests_of(result: Result) -> pl.DataFrame:
    """Replication 0, with the names and columns of `MEASURES`, and the path of each request."""
    number = result.replications[0].number
    requests = result.requests.filter(pl.col("replication") == number)
    requests = requests.with_columns(in_flight=_in_flight(requests))
    attempts = result.attempts.filter(pl.col("replication") == number)
    first = attempts.sort("start_s", *_KEY).unique("upstream", keep="first", maintain_order=True)
    paths = (
        attempts.sort(*_KEY, "attempt")
        .group_by(*_KEY, maintain_order=True)
        .agg(
            pl.col("upstream").cast(pl.String).str.join(" > ").alias("path"),
            pl.col("input_tokens").filter(pl.col("won")).sum().alias("billed_tokens"),
            pl.col("queue_s").filter(pl.col("won")).fill_nan(None).sum().alias("queue"),
            pl.col("queue_s").filter(pl.col("won")).fill_nan(None).is_not_null().any().alias("queue_known"),
        )
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
            "in_flight",
            hit=pl.col("served_from") == "cache",
            sent=pl.col("attempts") > 0,
            elsewhere=elsewhere & (pl.col("attempts") > 0) & (pl.col("served_from") == "upstream"),
        )
        .join(paths, on=_KEY, how="left")
        .join(first.select(*_KEY, cold=pl.lit(value=True)).unique(_KEY), on=_KEY, how="left")
        .with_columns(
            pl.col("path").fill_null(""),
            pl.col("cold").fill_null(value=False),
            # As whoever answered counted them: of a live run, the column of requests has what was asked for.
            input_tokens=pl.when(pl.col("billed_tokens") > 0).then("billed_tokens").otherwise("input_tokens"),
        )
        .with_columns(queue=pl.when("queue_known").then("queue").otherwise(None))
        .drop("billed_tokens", "queue_known")
    )


def _in_flight(requests: pl.DataFrame) -> pl.Series:
    """Other requests that had arrived and not ended when each arrived."""
    arrivals = requests["arrival_s"].to_numpy()
    ends = np.sort((requests["arrival_s"] + requests["e2e_s"].fill_null(float("inf"))).to_numpy())
    before = np.searchsorted(np.sort(arrivals), arrivals, side="left")
    return pl.Series("in_flight", before - np.searchsorted(ends, arrivals, side="right"))
