"""Two results side by side: which numbers moved, and where the runs part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmsim.errors import LlmsimError
from llmsim.report.figures import clock
from llmsim.report.grid import Grid
from llmsim.report.numbers import jsonable
from llmsim.report.paired import COMPARED, HOW, Difference, fewest_pairs, paired, values_by_metric
from llmsim.report.parting import Parting, parting
from llmsim.scenario.objectives import ObjectiveError
from llmsim.scenario.spec import Scenario
from llmsim.scenario.sum_text import parse_sum
from llmsim.scenario.sums import Sum
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["Comparison"]

_NUMBERS = ("before", "after", "change", "95 %", "p (Holm)")
_MARKS = {"worse": "✗", "better": "✓", "changed": "·", "same": " "}


@dataclass(frozen=True, repr=False)
class Comparison:
    """What `of` finds; shows itself as a table."""

    scenario: str
    pairs: int
    differences: tuple[Difference, ...]
    parts: Parting | None

    @classmethod
    def of(
        cls, before: Result, after: Result, *, least_effect: float = 0.05, metrics: Sequence[str] = ()
    ) -> Comparison:
        """Compare replication by replication; `metrics` are compared besides, as `llmsim.compare` takes them.

        Raises
        ------
        LlmsimError
            If the two did not meet the same luck: another seed, other traffic, or no whole replication in common; or
            something is no metric.
        """
        for what, ours, theirs in (
            ("seed", before.seed, after.seed),
            ("traffic", before.scenario.traffic, after.scenario.traffic),
            ("clock", before.scenario.clock, after.scenario.clock),
        ):
            if ours != theirs:
                told = f": {ours} and {theirs}" if what == "seed" else ""
                raise LlmsimError(
                    f"these two cannot be compared pair by pair, since they differ in {what}{told}; run both with the "
                    f"same scenario file and --seed"
                )
        pairs = min(before.complete, after.complete)
        if not pairs:
            raise LlmsimError("one of the two has no whole replication; run it again without an interrupt")
        compared = COMPARED | _asked(metrics, before.scenario)
        values = [values_by_metric(one, compared) for one in (before, after)]
        found = paired(*values, compared=compared, least_effect=least_effect)
        return cls(before.scenario.name, pairs, tuple(found), parting(before, after))

    def __str__(self) -> str:
        head = ("", "metric", *_NUMBERS)
        rows = [
            (_MARKS[one.verdict], one.name, *_cells(one), "" if one.verdict == "same" else one.verdict)
            for one in self.differences
        ]
        widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
        lines = [f"{self.scenario}: {counted(self.pairs, 'pair')} under the same luck", ""]
        for row in [(*head, ""), *rows]:
            mark, name, *cells, verdict = row
            told = "  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths[2:], strict=True))
            lines.append(f"  {mark:<1} {name:<{widths[1]}}  {told}  {verdict}".rstrip())
        return "\n".join([*lines, "", f"  {HOW}", *self._few(), *self._parting()])

    __repr__ = __str__

    @property
    def grid(self) -> Grid:
        """The table for a notebook, the verdict first."""
        rows = [(self._word(one), one.name, *_cells(one)) for one in self.differences]
        title = f"{self.scenario}: {counted(self.pairs, 'pair')} under the same luck"
        told = [line.strip() for line in (*self._few(), *self._parting())]
        return Grid(title, ("verdict", "metric", *_NUMBERS), rows, 2, (HOW, *told))

    def _repr_html_(self) -> str:
        return self.grid._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.grid._repr_markdown_()

    @property
    def _fewest(self) -> int:
        return fewest_pairs(len(self.differences))

    def _word(self, one: Difference) -> str:
        if one.change and one.verdict == "same" and self.pairs < self._fewest:
            return "not told"  # "same" would be a claim
        return f"{_MARKS[one.verdict]} {one.verdict}"

    def _few(self) -> list[str]:
        # Six pairs that all got worse have p = 1/32, and over eleven metrics 0.34: that reads as if nothing had moved.
        fewest = self._fewest
        if self.pairs >= fewest or self.parts is None:
            return []
        few = f"{counted(self.pairs, 'pair')} cannot tell a change from chance, however large it is"
        return [f"  {few}: it takes {fewest}, so run both with {fewest} replications or more."]

    def _parting(self) -> list[str]:
        if self.parts is None:
            return ["  The two runs are the same, attempt by attempt."]
        one = self.parts
        return [
            f"  They part at {clock(one.time_s)} of replication {one.replication}, with request {one.request_id}:",
            f"    before  {one.before}",
            f"    after   {one.after}",
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, JSON-able by a strict encoder."""
        return {
            "scenario": self.scenario,
            "pairs": self.pairs,
            "differences": [
                {key: jsonable(value) for key, value in one._asdict().items()} | {"relative": jsonable(one.relative)}
                for one in self.differences
            ],
            "parts": None if self.parts is None else self.parts._asdict(),
        }


def _cells(one: Difference) -> tuple[str, ...]:
    return *one.shown(), one.between(), f"{one.p:.2g}"


def _asked(metrics: Sequence[str], scenario: Scenario) -> dict[str, Sum]:
    found = {}
    for text in metrics:
        try:
            one = parse_sum(text, fault_names=[fault.name for fault in scenario.faults])
        except ObjectiveError as error:
            raise LlmsimError(f"metric {text!r}: {error}") from None
        found[one.name] = one
    return found
