"""The bill of a replication, item by item, and what a month of it would come to."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.report.figures import count, share, usd
from llmsim.report.grid import Grid
from llmsim.report.numbers import over_replications
from llmsim.telemetry.cost_model import NO_COSTS, STORED_BYTE_S
from llmsim.telemetry.cost_tables import token_costs
from llmsim.telemetry.costs import COST_PARTS, SIDE_PARTS, cost_parts, side_uses
from llmsim.telemetry.sample import Sample
from llmsim.units import MONTH_S

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["Bill", "Item", "Monthly", "bill", "monthly"]

_UNIT = {"embeddings": "tokens", "observability": "bytes"}


class Item(NamedTuple):
    """One line of a bill."""

    part: str  #: one of `llmsim.telemetry.costs.COST_PARTS`
    what: str  #: kind of token, or what was used
    quantity: float
    unit: str  #: of the quantity; empty where there is none
    usd: float


@dataclass(frozen=True, repr=False)
class Bill:
    """What a replication cost, item by item; it shows itself as a table.

    Parameters
    ----------
    items
        Means of the replications; their costs add up to `total_usd`.
    total_usd
        ``result.metrics["cost_usd"]["total"]``.
    saved_usd
        What answers from the cache would have cost; not part of the total.
    title
        Above the table.
    unused
        Parts that have a price in the scenario and were not used: those whose item one looks for in vain.
    """

    items: tuple[Item, ...]
    total_usd: float
    saved_usd: float
    title: str
    unused: tuple[str, ...] = ()

    @property
    def table(self) -> pl.DataFrame:
        """The items as a frame, with their share of the total."""
        frame = pl.DataFrame(self.items, schema=[*Item._fields], orient="row")
        portion = pl.col("usd") / self.total_usd if self.total_usd else pl.lit(None, dtype=pl.Float64)
        return frame.with_columns(share=portion)

    @property
    def grid(self) -> Grid:
        """The table for people."""
        rows, before = [], ""
        for one in self.items:
            name = one.part.replace("_", " ") if one.part != before else ""
            before = one.part
            rows.append((name, one.what, _quantity(one), usd(one.usd), self._share(one.usd)))
        rows.append(("total", "", "", usd(self.total_usd), self._share(self.total_usd)))
        notes = [f"Beside it, answers from the cache saved {usd(self.saved_usd)}."] if self.saved_usd > 0 else []
        if self.unused:
            notes.append(f"Priced, but nothing used it: {', '.join(self.unused).replace('_', ' ')}.")
        return Grid(self.title, ("", "", "quantity", "USD", "share"), rows, 2, notes)

    def _share(self, cost: float) -> str:
        if not self.total_usd:
            return ""
        portion = cost / self.total_usd
        return share(portion) if portion >= 0 else f"-{share(-portion)}"

    def __repr__(self) -> str:
        return str(self.grid)

    def _repr_html_(self) -> str:
        return self.grid._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.grid._repr_markdown_()


def _quantity(item: Item) -> str:
    if not item.unit:
        return ""
    if item.unit == "bytes":
        return _size(item.quantity)
    if item.unit == "byte-s":  # as price lists have it
        return f"{item.quantity / 1e9 / MONTH_S:.3g} GB-month"
    return f"{count(item.quantity)} {item.unit}"


def _size(size: float) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.3g} {unit}"
    return f"{size:.3g} B"


def bill(result: Result) -> Bill:
    """The bill of a replication: means over all of them."""
    samples = result.samples
    told = [[*_items(sample)] for sample in samples]
    items = []
    for lines in zip(*told, strict=True):
        first = lines[0]
        amount = over_replications([line.quantity for line in lines], "count")
        item = first._replace(quantity=amount, usd=over_replications([line.usd for line in lines], "usd"))
        if item.quantity or item.usd:
            items.append(item)
    total = over_replications([cost_parts(sample)["total"] for sample in samples], "usd") if samples else 0.0
    saved = over_replications([float(sample.requests["saved_usd"].sum()) for sample in samples], "usd")
    saved = 0.0 if math.isnan(saved) else saved
    costs = result.scenario.costs
    used = {item.part for item in items}
    priced = [part for part in SIDE_PARTS if getattr(costs, part, None) != getattr(NO_COSTS, part, None)]
    if result.scenario.store.judge is not None and result.scenario.store.judge.price:
        priced.append("verification")
    unused = tuple(part for part in priced if part not in used)
    return Bill(tuple(items), total, saved, f"{result.scenario.name}: cost of a replication", unused)


def _items(sample: Sample) -> Iterator[Item]:
    """Every line a bill can have, in the same order for every sample."""
    for part, kinds in token_costs(sample).items():
        if part == "fallback_difference":
            yield Item(part, "dearer or cheaper", 0.0, "", math.fsum(cost for _, cost in kinds.values()))
            continue
        for kind, (tokens, cost) in kinds.items():
            what = "beyond its tokens" if kind == "other" else kind.replace("_", " ")
            yield Item(part, what, float(tokens), "" if kind == "other" else "tokens", cost)
    for part, uses in side_uses(sample).items():
        for what, (amount, cost) in uses.items():
            unit = _UNIT.get(part) or ("byte-s" if what == "storage" else what)
            yield Item(part, what, amount, unit, cost)


@dataclass(frozen=True, repr=False)
class Monthly:
    """What a month like the measured time costs; it shows itself as a table.

    Parameters
    ----------
    requests
        In that month.
    parts
        USD of each of `llmsim.telemetry.costs.COST_PARTS`; they add up to `total_usd`.
    total_usd
        Mean of the replications' projections.
    interval_usd
        95 % interval of that mean; None with fewer than two replications.
    assumptions
        What was taken for granted.
    title
        Above the table.
    """

    requests: float
    parts: dict[str, float]
    total_usd: float
    interval_usd: tuple[float, float] | None
    assumptions: tuple[str, ...]
    title: str

    @property
    def grid(self) -> Grid:
        """The table for people."""
        rows = [(name.replace("_", " "), usd(cost)) for name, cost in self.parts.items() if cost]
        rows.append(("total", usd(self.total_usd)))
        if self.interval_usd is not None:
            low, high = self.interval_usd
            rows.append(("95 % interval of the total", f"{usd(low)} … {usd(high)}"))
        return Grid(self.title, ("", "USD a month"), rows, 1, self.assumptions)

    def __repr__(self) -> str:
        return str(self.grid)

    def _repr_html_(self) -> str:
        return self.grid._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.grid._repr_markdown_()


def monthly(result: Result, requests: float | None = None) -> Monthly:
    """Scale the measured cost to a month; see `llmsim.report.result.Result.monthly`."""
    samples = [sample for sample in result.samples if sample.requests.height]
    if not samples:
        raise LlmsimError("no request was measured, so there is no cost to project")
    if requests is not None and not requests > 0:
        raise LlmsimError(f"requests is {requests:g}; give the requests of a month, e.g. requests=10e6")
    volume, where = _volume(result, samples, requests)
    projected = [_month_of(sample, volume) for sample in samples]
    parts = {name: over_replications([one[name] for one in projected], "usd") for name in COST_PARTS}
    totals = [math.fsum(one.values()) for one in projected]
    measured = sum(sample.requests.height for sample in samples)
    runs = f"{len(samples)} replication{'s' if len(samples) != 1 else ''}"
    faults = ", and the faults as often as in this scenario" if result.scenario.faults else ""
    like = f"Each costs what the {count(measured)} requests measured in {runs} cost on average"
    notes = [
        f"{count(volume)} requests in a month of 730 hours: {where}.",
        f"{like}: same mix, same share of peaks{faults}.",
    ]
    if any(sample.counters.get(STORED_BYTE_S) for sample in samples):
        notes.append("The vector store holds all month what it held on average over the measured time.")
    return Monthly(
        volume,
        parts,
        math.fsum(totals) / len(totals),
        _interval_of_mean(totals),
        tuple(notes),
        f"{result.scenario.name}: a month",
    )


def _volume(result: Result, samples: Sequence[Sample], requests: float | None) -> tuple[float, str]:
    if requests is not None:
        return float(requests), "as asked for"
    rate = result.scenario.traffic.base_rate
    if rate > 0:
        return rate * MONTH_S, f"the base rate of {rate:.3g}/s all the time"
    rate = math.fsum(sample.requests.height for sample in samples) / math.fsum(sample.duration_s for sample in samples)
    return rate * MONTH_S, f"the measured rate of {rate:.3g}/s all the time"


def _month_of(sample: Sample, volume: float) -> dict[str, float]:
    """Every part scaled by requests; storage, which is not paid per request, by time."""
    _, storage = side_uses(sample)["vector_store"]["storage"]
    parts = {name: cost_parts(sample)[name] for name in COST_PARTS}
    parts["vector_store"] -= storage
    scaled = {name: cost / sample.requests.height * volume for name, cost in parts.items()}
    scaled["vector_store"] += storage * MONTH_S / sample.duration_s if storage else 0.0
    return scaled


def _interval_of_mean(values: Sequence[float]) -> tuple[float, float] | None:
    """Student's interval. A replication's cost is a sum over its requests, so its distribution is near normal."""
    if len(values) < 2:
        return None
    from scipy.special import stdtrit

    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    reach = float(stdtrit(len(values) - 1, 0.975)) * math.sqrt(variance / len(values))
    return mean - reach, mean + reach
