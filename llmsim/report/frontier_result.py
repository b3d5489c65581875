"""What thresholds are worth, side by side, and which of them is recommended."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from llmsim.report.figures import MISSING, figure, share, usd
from llmsim.report.frontier_notes import left_out
from llmsim.report.frontier_runs import Tally, cache_of
from llmsim.report.frontier_words import Tolerance, known_share
from llmsim.report.grid import Grid
from llmsim.report.numbers import jsonable
from llmsim.report.rates import ENOUGH, Share, Spread, share_of
from llmsim.scenario.spec import Scenario
from llmsim.units import counted, format_duration

if TYPE_CHECKING:
    from llmsim.report.plots.canvas import Picture

__all__ = ["Frontier", "Point"]

#: Share of the TTFT that is waiting for a slot. At 70 % of it the pass gave a mean TTFT of 1.27 s where whole runs had
#: 0.38 s (concurrency 30 at 10 requests/s); hits differed by 0.1 points, wrong answers by 0.01.
_QUEUED = 0.05


class Point(NamedTuple):
    """A cache, and what came of it."""

    threshold: float  #: inf: equal questions only
    ttl_s: float  #: inf: for ever
    tallies: tuple[Tally, ...]  #: of each replication
    spread: Spread = Spread()  #: of its wrong answers among requests
    spread_of_hits: Spread = Spread()  #: of its wrong answers among hits

    def total(self, name: str) -> float:
        """Sum of a field of `Tally` over the replications."""
        return math.fsum(getattr(one, name) for one in self.tallies)

    def _counts(self, name: str) -> list[int]:
        return [int(getattr(one, name)) for one in self.tallies]

    def _share(self, name: str, of: str, spread: Spread | None = None) -> Share:
        return share_of(self._counts(name), self._counts(of), spread)

    @property
    def hit_rate(self) -> Share:
        """Answered from the cache, of all requests."""
        return self._share("hits", "requests")

    @property
    def exact_rate(self) -> Share:
        """Of all requests, those answered from the cache by equal words."""
        return self._share("exact", "requests")

    @property
    def wrong(self) -> Share:
        """Of all requests, those that got a wrong answer from the cache."""
        return self._judged("requests", self.spread)

    @property
    def wrong_of_hits(self) -> Share:
        """The same, of the hits."""
        return self._judged("hits", self.spread_of_hits)

    def _judged(self, of: str, spread: Spread) -> Share:
        """The share of wrong answers; where nobody can tell of some, between none and all of them."""
        known = self._share("wrong", of, spread)
        if not self.total("unknown"):
            return known
        wrong = [one.wrong + one.unknown for one in self.tallies]
        return known._replace(value=math.nan, high=share_of(wrong, self._counts(of)).high)

    @property
    def outdated(self) -> Share:
        """Of all requests, those that got an answer that had been right once."""
        return self._share("outdated", "requests")

    @property
    def saved_ratio(self) -> float:
        """What is saved, the cache itself paid, of the bill without a cache; NaN where nothing is billed."""
        bill = self.total("bill_usd")
        return self.total("net_usd") / bill if bill else math.nan

    def mean(self, name: str) -> float:
        """Mean of a field of `Tally` over the replications."""
        return self.total(name) / len(self.tallies) if self.tallies else math.nan


@dataclass(frozen=True, repr=False, eq=False)
class Frontier:
    """What each threshold is worth, and the one that is recommended; it shows itself as a table.

    Parameters
    ----------
    scenario
        Whose cache it is.
    points
        By threshold, ascending.
    exact_only, nothing
        What a cache that knows equal words alone would have done on the same stream, and no cache at all.
    ttls
        The recommended threshold (without one, the scenario's own) under other times to live, ascending.
    tolerance
        Of wrong answers.
    failed, queue_s
        Share of the measured requests that failed without the cache, and what a call then waited for a slot upstream.
    partial
        It was interrupted; some replications are missing.
    """

    scenario: Scenario
    points: tuple[Point, ...]
    exact_only: Point
    nothing: Point
    ttls: tuple[Point, ...]
    tolerance: Tolerance
    failed: float = 0.0
    queue_s: float = 0.0
    partial: bool = False

    # -- the choice --------------------------------------------------------------------------------------------

    @cached_property
    def recommended(self) -> Point | None:
        """The lowest threshold whose wrong answers are inside the tolerance, to the upper end of their interval.

        Going down from the strictest threshold and ending at the first that is not inside: so all of them together
        have the error of one (fixed-sequence testing). Thresholds with too few samples for any claim are passed over.
        """
        best = None
        for point in reversed(self.points):
            wrong = self.measured(point)
            if not self.tolerance.admits(wrong.least_claim):
                continue
            if not self.tolerance.admits(wrong.high):
                break
            best = point
        return best

    @property
    def too_few(self) -> bool:
        """Whether no threshold has as many samples as it takes to show that it keeps the tolerance, and one may."""
        found = [self.measured(point) for point in self.points]
        short = not any(self.tolerance.admits(share.least_claim) for share in found)
        return short and any(self.tolerance.admits(share.low) for share in found)

    def measured(self, point: Point) -> Share:
        """What the tolerance is about."""
        return point.wrong_of_hits if self.tolerance.of_hits else point.wrong

    @property
    def own(self) -> Point:
        """The threshold that is tried nearest to the scenario's own."""
        threshold = cache_of(self.scenario).threshold
        return min(self.points, key=lambda point: abs(point.threshold - threshold))

    @property
    def headline(self) -> str:
        """The answer in a sentence or two."""
        name, best = self.scenario.name, self.recommended
        if best is None:
            strictest = self.points[-1]
            wrong = self.measured(strictest)
            if self.too_few:
                least, unit = share(wrong.least_claim), self.tolerance.unit
                return (
                    f"{name}: too few samples for {self.tolerance.text}: {wrong.of:,} {unit} without one wrong answer "
                    f"show no less than {least}; run longer, or more replications"
                )
            alone, old = self.exact_only, self.measured(self.exact_only)
            mend = (
                ""
                if self.tolerance.admits(old.value)
                else (f", {share(old.value)} wrong: outdated, which a shorter ttl mends and no threshold does")
            )
            return (
                f"{name}: no threshold keeps {self.tolerance.text}; at {strictest.threshold:.3g} up to "
                f"{share(wrong.high)} are wrong. Exact matches alone hit {share(alone.hit_rate.value)}{mend}"
            )
        wrong, hits = self.measured(best), best.hit_rate.value
        gain = 100 * (hits - self.exact_only.hit_rate.value)
        return (
            f"{name}: threshold {best.threshold:.3g} for {self.tolerance.text}: {share(hits)} hits, {gain:+.1f} points "
            f"over exact matches alone; wrong {known_share(wrong.value)}, at most {share(wrong.high)}"
        )

    @property
    def notes(self) -> list[str]:
        """What to know beside the numbers."""
        replications = len(self.nothing.tallies)
        told = []
        if self.partial:
            told.append(f"Interrupted: {counted(replications, 'replication')} only.")
        if replications < ENOUGH:
            told.append(
                f"{counted(replications, 'replication')}: what differs from one to the next is not in the intervals; "
                f"{ENOUGH} or more show it."
            )
        unknown = max(point.total("unknown") for point in self.points)
        if unknown:
            told.append(
                f"Nobody can tell whether answers in other words were right (up to {unknown:,.0f} of them): prompts "
                "without intents. Upper ends take all of them for wrong."
            )
        clock = self.scenario.clock
        if len([point for point in self.ttls if point.ttl_s >= clock.warm_up + clock.duration]) > 1:
            span = format_duration(clock.warm_up + clock.duration)
            told.append(f"{span} are simulated: times to live that are longer look all alike.")
        told += left_out(self.scenario, cache_of(self.scenario))
        if self.failed > 0.01:
            told.append(
                f"Without a cache {share(self.failed)} of the requests fail. With one the upstreams have less to do: "
                "judge that by full runs."
            )
        if self.queue_s > _QUEUED * self.nothing.mean("ttft_mean_s"):
            told.append(
                f"Without a cache calls wait {format_duration(self.queue_s)} for a slot upstream. With one they wait "
                "less, so times to the first token are better than they say here; hits and wrong answers hold."
            )
        if self.recommended is not None and self.recommended is self.points[0]:
            told.append(f"It is the lowest that was tried ({self.points[0].threshold:.3g}): try lower ones.")
        return told

    # -- for people and programs -------------------------------------------------------------------------------

    @property
    def table(self) -> pl.DataFrame:
        """One row per threshold (inf: exact matches alone), then per time to live; shares of requests unless said."""
        rows = [_row(point, "threshold", self.nothing) for point in self.points]
        rows.append(_row(self.exact_only, "exact_only", self.nothing))
        rows += [_row(point, "ttl", self.nothing) for point in self.ttls]
        return pl.DataFrame(rows)

    @property
    def grid(self) -> Grid:
        """The table for people."""
        head = (
            "threshold", "hits", "of them exact", "wrong", "95 % interval", "wrong of hits", "95 % interval",
            "saved, net", "of the bill", "TTFT mean", "TTFT p95",
        )  # fmt: skip
        rows = [_cells(point, self.nothing, chosen=point is self.recommended) for point in self.points]
        rows.append(_cells(self.exact_only, self.nothing, label="exact only"))
        ttls = [
            f"Time to live {_length(point.ttl_s)}: hits {share(point.hit_rate.value)}, "
            f"outdated {share(point.outdated.value)} (at most {share(point.outdated.high)}), "
            f"wrong {known_share(point.wrong.value)}."
            for point in self.ttls
        ]
        told = [self.headline + ".", *(f"Note: {note}" for note in self.notes)]
        if ttls:
            told += [f"At threshold {self.ttls[0].threshold:.3g}:", *ttls]
        title = f"{self.scenario.name}: what a threshold is worth ({self._size()})"
        return Grid(title, head, rows, 1, told)

    def _size(self) -> str:
        tallies = self.nothing.tallies
        return f"{sum(one.requests for one in tallies):,} requests in {counted(len(tallies), 'replication')}"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, JSON-able by a strict encoder."""
        best = self.recommended
        return {
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "replications": len(self.nothing.tallies),
            "requests": sum(one.requests for one in self.nothing.tallies),
            "partial": self.partial,
            "tolerance": self.tolerance.text,
            "recommended": None if best is None else best.threshold,
            "headline": self.headline,
            "notes": self.notes,
            "points": [jsonable(row) for row in self.table.to_dicts()],
        }

    def plot(self, *, ax: Any = None) -> Picture | Any:
        """Its picture: `llmsim.report.plots.cache_frontier`."""
        from llmsim.report.plots.cache_frontier import cache_frontier

        return cache_frontier(self, ax=ax)

    def __repr__(self) -> str:
        return str(self.grid)

    def _repr_html_(self) -> str:
        return self.grid._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.grid._repr_markdown_()


def _row(point: Point, sweep: str, nothing: Point) -> dict[str, Any]:
    shares = {
        "hit_rate": point.hit_rate,
        "exact_hit_rate": point.exact_rate,
        "false_hit_rate": point.wrong,
        "false_hits_of_hits": point.wrong_of_hits,
        "outdated_rate": point.outdated,
    }
    row: dict[str, Any] = {"sweep": sweep, "threshold": point.threshold, "ttl_s": point.ttl_s}
    for name, one in shares.items():
        row |= {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}
    for name in ("requests", "hits", "exact", "wrong", "unknown"):
        row[name] = int(point.total(name))
    money = ("saved_usd", "embedding_usd", "store_usd", "net_usd")
    row |= {name: point.mean(name) for name in money} | {"net_saved_ratio": point.saved_ratio}
    for name in ("ttft_mean_s", "ttft_p95_s"):
        row |= {name: point.mean(name), name.replace("_s", "_saved_s"): nothing.mean(name) - point.mean(name)}
    return row


def _cells(point: Point, nothing: Point, *, label: str = "", chosen: bool = False) -> tuple[str, ...]:
    wrong, of_hits = point.wrong, point.wrong_of_hits
    return (
        label or f"{point.threshold:.3f}{' ←' if chosen else ''}",
        share(point.hit_rate.value),
        share(point.exact_rate.value),
        known_share(wrong.value),
        f"{share(wrong.low)} to {share(wrong.high)}",
        known_share(of_hits.value) if of_hits.of else MISSING,
        f"{share(of_hits.low)} to {share(of_hits.high)}" if of_hits.of else MISSING,
        usd(point.mean("net_usd")),
        _signed(point.saved_ratio),
        figure(point.mean("ttft_mean_s"), "s"),
        figure(point.mean("ttft_p95_s"), "s"),
    )


def _signed(ratio: float) -> str:
    return f"-{share(-ratio)}" if ratio < 0 else MISSING if math.isnan(ratio) else share(ratio)


def _length(ttl_s: float) -> str:
    return "for ever" if math.isinf(ttl_s) else format_duration(ttl_s)
