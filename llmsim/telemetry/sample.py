"""What metrics are computed from: the measured requests of one replication, with what a definition needs beside."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import polars as pl

from llmsim.pricing import PriceSteps, TokenPrice
from llmsim.telemetry.cost_model import NO_COSTS, CostModel
from llmsim.telemetry.parts import Burn, FaultWindow, Phase

__all__ = ["Condition", "Sample", "Tags"]

Tags = tuple[tuple[str, str], ...]

#: A tag selects by this. A failure belongs to the provider it was first routed to: to whom else?
_TAG_COLUMNS: dict[str, pl.Expr] = {
    "route": pl.col("route"),
    "tenant": pl.col("tenant"),
    "user": pl.col("user"),
    "provider": pl.when(pl.col("served_by") == "").then(pl.col("first_choice")).otherwise(pl.col("served_by")),
}


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
    requests
        Rows of ``result.requests`` of one replication whose window is ``measured``.
    attempts
        Rows of ``result.attempts`` of that replication: at least those of `requests`.
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

    requests: pl.DataFrame
    attempts: pl.DataFrame
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
            return replace(others, attempts=others.attempts.filter(sent), cache={})
        if not tags:
            return self
        known = self.cache.get(tags)
        if isinstance(known, Sample):
            return known
        requests = self.requests.filter([_TAG_COLUMNS[name] == value for name, value in tags])
        part = replace(self._part(requests, self.start_s, self.end_s), shared=0.0, spans_s=self.spans_s)
        self.cache[tags] = part
        return part

    def between(self, start_s: float, end_s: float) -> Sample:
        """The requests that arrived in ``[start_s, end_s)``."""
        ordered = self.cache.get("by arrival")
        if not isinstance(ordered, pl.DataFrame):
            ordered = self.cache["by arrival"] = self.requests.sort("arrival_s", maintain_order=True)
        arrivals = ordered["arrival_s"]
        first, last = arrivals.search_sorted(start_s, side="left"), arrivals.search_sorted(end_s, side="left")
        return self._part(ordered.slice(first, last - first), start_s, end_s)

    def within(self, spans: Sequence[tuple[float, float]]) -> Sample:
        """The requests that arrived in any of these stretches of time, which are in order and do not overlap."""
        if len(spans) == 1:
            return self.between(*spans[0])
        parts = [self.between(start_s, end_s) for start_s, end_s in spans]
        requests = pl.concat([part.requests for part in parts])
        whole = self._part(requests, spans[0][0], spans[-1][1])
        return replace(whole, shared=sum(part.shared for part in parts), spans_s=tuple(spans))

    def _part(self, requests: pl.DataFrame, start_s: float, end_s: float) -> Sample:
        inside = max(0.0, min(end_s, self.end_s) - max(start_s, self.start_s))
        shared = self.shared * inside / self.duration_s if self.duration_s > 0 else 0.0
        return replace(self, requests=requests, start_s=start_s, end_s=end_s, shared=shared, spans_s=(), cache={})
