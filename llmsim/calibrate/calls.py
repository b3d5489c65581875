"""Calls that were really made to one upstream, as a table that a profile can be fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.errors import LlmsimError

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["Calls", "calls_of"]

Floats = NDArray[np.float64]


class Calls(NamedTuple):
    """Calls to one upstream in the order they were sent; arrays of shape ``(calls,)``.

    Attributes
    ----------
    upstream, model
        Whose they are.
    sent_s
        On any clock, ascending.
    ttft_s, e2e_s
        From there to the first content and to the end; NaN where it did not come to that.
    input_tokens, cached_tokens, output_tokens
        As billed.
    outcome
        ``ok`` or an error word.
    cost_usd
        NaN where nobody said.
    status
        HTTP status; 0 where nobody said.
    retry_after_s
        How long a refusal asked to wait; inf: it did not say. NaN: not known whether it did.
    server_s
        Of the time to first content, what the server says it took itself; NaN where it says nothing.
    connect_s
        Of it, for a new connection; 0 where there was none, or nobody said.
    """

    upstream: str
    model: str
    sent_s: Floats
    ttft_s: Floats
    e2e_s: Floats
    input_tokens: NDArray[np.int64]
    cached_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    outcome: tuple[str, ...]
    cost_usd: Floats
    status: NDArray[np.int64]
    retry_after_s: Floats
    server_s: Floats
    connect_s: Floats

    @property
    def ok(self) -> NDArray[np.bool_]:
        """Which were answered in full."""
        answered = np.array([word == "ok" for word in self.outcome], dtype=np.bool_)
        return answered & np.isfinite(self.ttft_s) & np.isfinite(self.e2e_s)

    @property
    def gap_s(self) -> Floats:
        """Mean time between tokens of each answer; NaN for fewer than two tokens, and for answers that came whole."""
        streamed = (self.output_tokens > 1) & (self.e2e_s > self.ttft_s)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(streamed, (self.e2e_s - self.ttft_s) / (self.output_tokens - 1), np.nan)

    @property
    def busy(self) -> NDArray[np.int64]:
        """How many calls were under way when each was sent, itself included."""
        ends = np.sort(self.sent_s + np.nan_to_num(self.e2e_s))
        gone = np.searchsorted(ends, self.sent_s, side="right")
        return np.arange(1, len(self.sent_s) + 1) - np.minimum(gone, np.arange(len(self.sent_s)))

    @property
    def period(self) -> NDArray[np.int64]:
        """Number of the busy period of each: between two of them, nothing was under way."""
        ends_s = self.sent_s + np.nan_to_num(self.e2e_s)
        before_s = np.concatenate([[-np.inf], np.maximum.accumulate(ends_s)[:-1]])
        return np.cumsum(before_s <= self.sent_s) - 1

    @property
    def alone(self) -> NDArray[np.bool_]:
        """Which had the server for themselves, from first to last."""
        period = self.period
        return np.asarray(np.bincount(period, minlength=1)[period] == 1, dtype=np.bool_)

    @property
    def whole(self) -> NDArray[np.bool_]:
        """Which answers of several tokens came all at once, as those that are not streamed do."""
        return self.ok & (self.output_tokens > 1) & (self.e2e_s - self.ttft_s <= 1e-6)

    def apart(self) -> Calls:
        """The same calls, with an hour and more between busy periods.

        Who waits for an answer before the next call (a probe, a closed loop) cannot run into it. A prediction that is a
        little too long would, and all that follow would inherit the error.
        """
        period = self.period
        hour_s = 3600.0 + float(np.nanmax(self.e2e_s, initial=0.0))
        return self._replace(sent_s=self.sent_s + hour_s * period)

    def busiest(self, most: int) -> NDArray[np.bool_]:
        """At most so many in a row, with the most company; from the beginning of a busy period if it can be."""
        n = len(self.sent_s)
        chosen = np.zeros(n, dtype=np.bool_)
        if n <= most:
            return ~chosen
        company = np.convolve(self.busy > 1, np.ones(most), mode="valid")
        first = int(np.argmax(company))
        period = self.period
        begin = int(np.searchsorted(period, period[first], side="left"))
        begin = begin if first - begin < most else first
        chosen[begin : begin + most] = True
        return chosen

    def only(self, which: NDArray[np.bool_]) -> Calls:
        """Some of them."""
        return self.rows(np.flatnonzero(which))

    def rows(self, numbers: NDArray[np.int64]) -> Calls:
        """Those with these numbers, in this order."""
        arrays = [np.asarray(value)[numbers] for value in self[2:]]
        found = Calls(self.upstream, self.model, *arrays)  # type: ignore[arg-type]
        return found._replace(outcome=tuple(str(word) for word in found.outcome))

    @classmethod
    def of(cls, upstream: str, model: str, rows: pl.DataFrame) -> Calls:
        """From a frame with the columns of the attributes, in any order of rows; the last four may be missing."""
        rows = rows.sort("sent_s", maintain_order=True)
        absent = {"status": 0, "retry_after_s": None, "server_s": None, "connect_s": 0.0}
        rows = rows.with_columns(
            pl.lit(value).alias(name) for name, value in absent.items() if name not in rows.columns
        )

        def floats(name: str) -> Floats:
            return rows[name].cast(pl.Float64).fill_null(float("nan")).to_numpy().astype(np.float64)

        def counts(name: str) -> NDArray[np.int64]:
            return rows[name].cast(pl.Int64).fill_null(0).to_numpy().astype(np.int64)

        return cls(
            upstream,
            model,
            floats("sent_s"),
            floats("ttft_s"),
            floats("e2e_s"),
            counts("input_tokens"),
            counts("cached_tokens"),
            counts("output_tokens"),
            tuple(rows["outcome"].cast(pl.String).fill_null("error").to_list()),
            floats("cost_usd"),
            counts("status"),
            floats("retry_after_s"),
            floats("server_s"),
            floats("connect_s"),
        )


def calls_of(results: Sequence[Result], upstream: str) -> Calls:
    """The calls that live runs made to an upstream, without those that injected faults could have touched.

    Parameters
    ----------
    results
        From `llmsim.run_live` or `llmsim.load_result`. Each run, and each replication of one that was simulated, stands
        an hour behind the last call of the one before it: they do not overlap.
    upstream
        Its name in the scenarios.

    Raises
    ------
    LlmsimError
        It was never called.
    """
    frames, model, begin_s = [], "", 0.0
    for result in results:
        attempts = result.attempts.filter(pl.col("upstream").cast(pl.String) == upstream)
        for fault in result.scenario.faults:
            if fault.provider == upstream:
                until_s = pl.col("end_s").fill_null(pl.col("start_s"))
                attempts = attempts.filter((until_s < fault.at) | (pl.col("start_s") > fault.end_s))
        asked = result.requests.select("replication", "request_id", asked="input_tokens")
        attempts = attempts.join(asked, on=["replication", "request_id"], how="left", maintain_order="left")
        for run in attempts.partition_by("replication", maintain_order=True):
            model = model or str(run["model"][0])
            frames.append(_run(run, begin_s))
            begin_s = float(frames[-1]["sent_s"].max()) + 3600.0  # type: ignore[arg-type]
    if not frames:
        raise LlmsimError(f"nobody called {upstream!r} outside of faults in these results; write another --provider")
    return Calls.of(upstream, model, pl.concat(frames))


def _run(attempts: pl.DataFrame, begin_s: float) -> pl.DataFrame:
    """The calls of one run, the first of them at this time."""
    word = pl.col("outcome").cast(pl.String)
    return attempts.select(
        sent_s=pl.col("start_s") - pl.col("start_s").min() + begin_s,
        ttft_s=pl.col("first_s") - pl.col("start_s"),
        e2e_s=pl.col("end_s") - pl.col("start_s"),
        # Nothing is billed of what was refused; what it asked for decides whether it was.
        input_tokens=pl.when(word == "rate_limited").then("asked").otherwise("input_tokens"),
        cached_tokens="cached_input_tokens",
        output_tokens="output_tokens",
        outcome=word,
        cost_usd="cost_usd",
        status="status",
        server_s="server_s",
    )
