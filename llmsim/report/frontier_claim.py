"""Whether a cache saves as many calls as somebody says: for which popularity, at which threshold, and how rightly."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import polars as pl

from llmsim.report.figures import MISSING, share
from llmsim.report.frontier_result import Frontier, Point
from llmsim.report.frontier_words import known_share
from llmsim.report.grid import Grid
from llmsim.scenario.spec import Scenario

__all__ = ["Claim", "ClaimTable"]


class Claim(NamedTuple):
    """One popularity."""

    skew: float  #: exponent of Zipf's law; 0: all questions are asked alike
    unique: int  #: questions there are
    frontier: Frontier


@dataclass(frozen=True, repr=False, eq=False)
class ClaimTable:
    """It shows itself as a table; ``.table`` is the frame.

    Parameters
    ----------
    scenario
        Whose traffic it is, but for the popularity of its questions.
    wanted
        Share of the calls that is said to be saved.
    claims
        By popularity.
    """

    scenario: Scenario
    wanted: float
    claims: tuple[Claim, ...]

    def enough(self, claim: Claim) -> Point | None:
        """The strictest threshold that saves as many calls."""
        reached = [point for point in claim.frontier.points if point.hit_rate.value >= self.wanted]
        return reached[-1] if reached else None

    @property
    def table(self) -> pl.DataFrame:
        """One row per popularity and threshold; null: exact matches alone."""
        rows = [
            self._row(claim, point)
            for claim in self.claims
            for point in (*claim.frontier.points, claim.frontier.exact_only)
        ]
        return pl.DataFrame(rows)

    def _row(self, claim: Claim, point: Point) -> dict[str, Any]:
        alone = claim.frontier.exact_only
        return {
            "zipf_s": claim.skew,
            "unique": claim.unique,
            "threshold": point.threshold if point is not alone else None,
            "hit_rate": point.hit_rate.value,
            "exact_only_hit_rate": alone.hit_rate.value,
            "false_hit_rate": point.wrong.value,
            "false_hit_rate_high": point.wrong.high,
            "net_saved_ratio": point.saved_ratio,
            "holds": point.hit_rate.value >= self.wanted,
            "holds_net": point.saved_ratio >= self.wanted,
        }

    @property
    def grid(self) -> Grid:
        """The table for people: a row per popularity, three columns per threshold."""
        head = ["Zipf s", "questions", "exact only: hits", "net"]
        for point in self.claims[0].frontier.points:
            head += [f"{point.threshold:.3g}: hits", "wrong", "net"]
        head += [f"{share(self.wanted)} from", "wrong there"]
        rows = [self._cells(claim) for claim in self.claims]
        title = f"{self.scenario.name}: where {share(self.wanted)} of the calls are saved (✓)"
        what = "hits: calls saved, of all requests. net: money saved after embeddings and store, of the bill without."
        where = f"{share(self.wanted)} from: the strictest of these thresholds that saves as many; exact: equal words."
        return Grid(title, head, rows, 0, (what, where))

    def _cells(self, claim: Claim) -> list[str]:
        alone, found = claim.frontier.exact_only, self.enough(claim)
        cells = [f"{claim.skew:g}", f"{claim.unique:,}", self._marked(alone.hit_rate.value), _net(alone)]
        for point in claim.frontier.points:
            cells += [self._marked(point.hit_rate.value), known_share(point.wrong.value), _net(point)]
        if alone.hit_rate.value >= self.wanted:
            return [*cells, "exact", share(0.0)]
        if found is None:
            return [*cells, "none", MISSING]
        return [*cells, f"{found.threshold:.3g}", f"{known_share(found.wrong.value)} (≤ {share(found.wrong.high)})"]

    def _marked(self, value: float) -> str:
        return f"{share(value)}{' ✓' if value >= self.wanted else ''}"

    def __repr__(self) -> str:
        return str(self.grid)

    def _repr_html_(self) -> str:
        return self.grid._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.grid._repr_markdown_()


def _net(point: Point) -> str:
    value = point.saved_ratio
    return MISSING if math.isnan(value) else share(value) if value >= 0 else f"-{share(-value)}"
