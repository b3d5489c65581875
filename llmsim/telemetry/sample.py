"""What metrics are computed from: the measured requests of one replication, with what a definition needs beside."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.pricing import PriceSteps, TokenPrice
from llmsim.telemetry.cost_model import NO_COSTS, CostModel
from llmsim.telemetry.parts import Burn, FaultWindow, Phase
from llmsim.telemetry.rows import PIECE_ROWS, Rows, columns_of, pieces_of

__all__ = ["Condition", "Sample", "Tags", "counted"]

Tags = tuple[tuple[str, str], ...]

#: A tag selects by this. A failure belongs to the provider it was first routed to: to whom else?
_TAG_COLUMNS: dict[str, pl.Expr] = {
    "route": pl.col("route"),
    "tenant": pl.col("tenant"),
    "user": pl.col("user"),
    "provider": pl.when(pl.col("served_by") == "").then(pl.col("first_choice")).otherwise(pl.col("served_by")),
}


_COUNTED: list[pl.Expr] = []


def counted(which: pl.Expr) -> pl.Expr:
    """Declare that metrics count this (the very object); see `Sample.count_at_once`."""
    if all(which is not one for one in _COUNTED):
        _COUNTED.append(which)
    return which


class Condition(Protocol):
    """A bound on a metric; `llmsim.scenario.objectives.Objective` is one."""

    @property
    def metric(self) -> str: ...
    @property
    def tags(self) -> Tags: ...
    @property
    def aggregate(self) -> str: ...
    @property
    def percentile(self) -> float | None: ...
    @property
    def phase(self) -> Phase | None: ...
    @property
    def window_s(self) -> float | None: ...
    @property
    def burn(self) -> Burn | None: ...
    @property
    def low_is_good(self) -> bool: ...
    def holds(self, measured: float) -> bool:
        """Whether a measured value is inside the bound."""


@dataclass(frozen=True, eq=False)
class Sample:
    """Measured requests (by arrival) of one replication, or a part of them.

    Parameters
    ----------
    asked
        Rows of ``result.requests`` of one replication whose window is ``measured``: a frame, or of large ones `Rows`.
    calls
        Rows of ``result.attempts`` of that replication: at least those of `asked`.
    start_s, end_s
        The time these requests arrived in.
    counters
        Scalars of the run, such as ``max_in_flight``.
    prices
        Per upstream; for what the first choice would have charged.
    price_steps
        Of those whose price changes.
    last_fault_end_s
        NaN without faults, or where a fault outlasts the measured time.
    faults
        When which fault was at work.
    steady_state
        What "recovered" means.
    costs
        Prices of what is not tokens.
    verdict_usd
        Price of a verifier's verdict on a cached answer.
    shared
        Which share of what belongs to no request (the vector store's storage) counts here: in a part of the time that
        part, in a selection of requests nothing.
    spans_s
        Where these requests arrived in several stretches of time: each of them. Empty: all the time between.
    """

    asked: pl.DataFrame | Rows
    calls: pl.DataFrame | Rows
    end_s: float
    start_s: float = 0.0
    counters: Mapping[str, float] = field(default_factory=dict)
    prices: Mapping[str, TokenPrice] = field(default_factory=dict)
    price_steps: Mapping[str, PriceSteps] = field(default_factory=dict)
    last_fault_end_s: float = math.nan
    faults: tuple[FaultWindow, ...] = ()
    steady_state: tuple[Condition, ...] = ()
    costs: CostModel = NO_COSTS
    verdict_usd: float = 0.0
    shared: float = 1.0
    spans_s: tuple[tuple[float, float], ...] = ()
    cache: dict[object, object] = field(default_factory=dict, repr=False)  # what was computed already

    @property
    def requests(self) -> pl.DataFrame:
        """The requests with all their columns; of a large sample, metrics read what they need by the methods below."""
        return self._whole("requests", self.asked)

    @property
    def attempts(self) -> pl.DataFrame:
        """The attempts, in the same way."""
        return self._whole("attempts", self.calls)

    def _whole(self, name: str, table: pl.DataFrame | Rows) -> pl.DataFrame:
        if isinstance(table, pl.DataFrame):
            return table
        known = self.cache.get(name)
        if not isinstance(known, pl.DataFrame):
            known = self.cache[name] = table.frame()
        return known

    @property
    def height(self) -> int:
        """Number of requests."""
        return self.asked.height

    def columns(self, *names: str) -> pl.DataFrame:
        """These columns of the requests."""
        return columns_of(self.asked, *names)

    def counts(self, *which: pl.Expr) -> tuple[int, ...]:
        """Sums of whole numbers, or of how many requests each of these is true."""
        known = self.cache.get("counts")
        if isinstance(known, dict):
            there = [known.get(id(one), (None, 0)) for one in which]
            # The very objects: a sample that comes from another process has what was counted by addresses of there.
            if all(one is other for one, (other, _) in zip(which, there, strict=True)):
                return tuple(many for _, many in there)
        sums = [0] * len(which)
        wanted = [expression.cast(pl.Int64).sum().alias(str(n)) for n, expression in enumerate(which)]
        for piece in pieces_of(self.asked, _roots(which)):
            sums = [one + other for one, other in zip(sums, piece.select(wanted).row(0), strict=True)]
        return tuple(sums)

    def count_at_once(self) -> None:
        """Count what `counts` is going to be asked, one `counted` expression after the other.

        In a small sample a question of polars takes longer than the counting; a large one has no such columns at hand.
        """
        if isinstance(self.asked, pl.DataFrame):
            sums = zip(_COUNTED, self.counts(*_COUNTED), strict=True)
            self.cache["counts"] = {id(one): (one, many) for one, many in sums}

    def values(self, expression: pl.Expr) -> NDArray[np.float64]:
        """A number for each request that has one, in the order of requests."""
        found = np.empty(self.height)
        filled = 0
        for piece in pieces_of(self.asked, _roots([expression])):
            some = piece.select(expression.cast(pl.Float64).alias("value"))["value"].drop_nulls().to_numpy()
            found[filled : filled + len(some)] = some
            filled += len(some)
        return found[:filled]

    def pieces(self, requests: Sequence[str], attempts: Sequence[str]) -> Iterator[tuple[pl.DataFrame, pl.DataFrame]]:
        """Some requests and the attempts of these (and maybe of others), until all were there: never all at once.

        A small sample is one piece, as are requests in another order than that of their sessions.
        """
        asked, calls = self.asked, self.calls
        if isinstance(asked, pl.DataFrame) or isinstance(calls, pl.DataFrame):
            yield self.requests, self.attempts
            return
        sessions = asked.frame(["session"])["session"].to_numpy()
        of_calls = calls.frame(["session"])["session"].to_numpy()
        if (sessions[1:] < sessions[:-1]).any() or (of_calls[1:] < of_calls[:-1]).any():
            yield asked.frame(requests), calls.frame(attempts)
            return
        first = 0
        while True:  # a session is never cut: its retries and steps belong together
            at = first + PIECE_ROWS
            last = len(sessions) if at >= len(sessions) else int(np.searchsorted(sessions, sessions[at], side="right"))
            low, high = 0, 0
            if last > first:
                low = int(np.searchsorted(of_calls, sessions[first], side="left"))
                high = int(np.searchsorted(of_calls, sessions[last - 1], side="right"))
            yield asked.slice(first, last).frame(requests), calls.slice(low, high).frame(attempts)
            first = last
            if first >= len(sessions):
                return

    @property
    def duration_s(self) -> float:
        """How long requests arrived."""
        return sum(end_s - start_s for start_s, end_s in self.spans)

    @property
    def spans(self) -> tuple[tuple[float, float], ...]:
        """The stretches of time in which these requests arrived."""
        return self.spans_s or ((self.start_s, self.end_s),)

    def tagged(self, tags: Tags, *, of_calls: bool = False) -> Sample:
        """The requests with these tags.

        Parameters
        ----------
        tags
            Names and values.
        of_calls
            ``provider`` selects the attempts sent to it, whoever answered in the end: for what is about calls.

        Raises
        ------
        KeyError
            For a tag that does not exist.
        """
        if of_calls and (upstreams := [value for name, value in tags if name == "provider"]):
            others = self.tagged(tuple(tag for tag in tags if tag[0] != "provider"))
            sent = pl.all_horizontal(pl.col("upstream") == upstream for upstream in upstreams)
            return replace(others, calls=_filtered(others.calls, [sent]), cache={})
        if not tags:
            return self
        known = self.cache.get(tags)
        if isinstance(known, Sample):
            return known
        requests = _filtered(self.asked, [_TAG_COLUMNS[name] == value for name, value in tags])
        part = replace(self._part(requests, self.start_s, self.end_s), shared=0.0, spans_s=self.spans_s)
        self.cache[tags] = part
        return part

    def between(self, start_s: float, end_s: float) -> Sample:
        """The requests that arrived in ``[start_s, end_s)``."""
        ordered, arrivals = self._by_arrival()
        first, last = arrivals.search_sorted(start_s, side="left"), arrivals.search_sorted(end_s, side="left")
        rows = ordered.slice(first, last - first if isinstance(ordered, pl.DataFrame) else last)
        return self._part(rows, start_s, end_s)

    def _by_arrival(self) -> tuple[pl.DataFrame | Rows, pl.Series]:
        known = self.cache.get("by arrival")
        if isinstance(known, tuple):
            return known
        ordered: pl.DataFrame | Rows
        if isinstance(self.asked, pl.DataFrame):
            ordered = self.asked.sort("arrival_s", maintain_order=True)
            arrivals = ordered["arrival_s"]
        else:
            times = self.columns("arrival_s")["arrival_s"].to_numpy()
            order = np.argsort(times, kind="stable")
            ordered, arrivals = self.asked.take(order), pl.Series(times[order])
        self.cache["by arrival"] = ordered, arrivals
        return ordered, arrivals

    def within(self, spans: Sequence[tuple[float, float]]) -> Sample:
        """The requests that arrived in any of these stretches of time, which are in order and do not overlap."""
        if len(spans) == 1:
            return self.between(*spans[0])
        parts = [self.between(start_s, end_s) for start_s, end_s in spans]
        requests = pl.concat([part.requests for part in parts])
        whole = self._part(requests, spans[0][0], spans[-1][1])
        return replace(whole, shared=sum(part.shared for part in parts), spans_s=tuple(spans))

    def _part(self, requests: pl.DataFrame | Rows, start_s: float, end_s: float) -> Sample:
        inside = max(0.0, min(end_s, self.end_s) - max(start_s, self.start_s))
        shared = self.shared * inside / self.duration_s if self.duration_s > 0 else 0.0
        return replace(self, asked=requests, start_s=start_s, end_s=end_s, shared=shared, spans_s=(), cache={})


def _roots(expressions: Sequence[pl.Expr]) -> list[str]:
    return [*dict.fromkeys(name for expression in expressions for name in expression.meta.root_names())]


def _filtered(table: pl.DataFrame | Rows, which: Sequence[pl.Expr]) -> pl.DataFrame | Rows:
    if isinstance(table, pl.DataFrame):
        return table.filter(which)
    chosen = [piece.select(pl.all_horizontal(which).fill_null(value=False)).to_series().to_numpy()
              for piece in pieces_of(table, _roots(which))]  # fmt: skip
    return table.take(np.flatnonzero(np.concatenate(chosen)))
