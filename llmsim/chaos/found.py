"""What came of a search, in the words of the field."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmsim.chaos.schedules import Schedule, Space
from llmsim.chaos.searching import Part, Searching, Stage
from llmsim.report.figures import clock, figure
from llmsim.report.grid import Grid
from llmsim.report.numbers import jsonable
from llmsim.report.result import Result
from llmsim.report.slo import SloResult
from llmsim.scenario.objectives import Objective
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.metrics import METRICS

__all__ = ["Searched"]

_STAGES: dict[Stage, str] = {
    "baseline": "checking that it holds without",
    "exploring": "looking for what breaks it",
    "shrinking": "making that small",
    "confirming": "its verdict",
    "parts": "its parts",
}


@dataclass(frozen=True, repr=False)
class Searched:
    """What came of a search; it shows itself as a table.

    Parameters
    ----------
    found
        Whether there is a schedule that breaks a line, and a verdict that says so.
    scenario
        With the faults of `schedule`; without such, as it was searched.
    schedule
        The smallest schedule; empty: none broke anything. Without `found` it was seen to, but not judged (interrupted).
    entries
        Its faults as a scenario file says them.
    words
        Its faults for people.
    line
        Which line breaks.
    result
        Of the verdict.
    parts
        What each fault alone does to the line, and all of them one after the other.
    overlap
        Seconds between which all of them are there; None: never.
    shrunk
        Nothing smaller is left to try; otherwise the budget ended that.
    unheld
        Schedules that broke the line in a few runs, but not in a verdict.
    left_out
        Lines that are undecided even without faults.
    spent
        Runs by stage.
    """

    found: bool
    scenario: Scenario
    schedule: Schedule
    entries: tuple[dict[str, Any], ...]
    words: tuple[str, ...]
    line: Objective | None
    result: Result | None
    parts: tuple[Part, ...]
    overlap: tuple[float, float] | None
    shrunk: bool
    unheld: int
    left_out: tuple[str, ...]
    spent: dict[Stage, int]
    budget: int
    tried: int
    breaking: int
    source: Path | None
    asked: tuple[str, ...]
    instead: bool
    partial: bool = False
    wall_s: float = 0.0

    @classmethod
    def of(
        cls,
        searching: Searching,
        left_out: tuple[str, ...],
        *,
        source: Path | None,
        asked: tuple[str, ...],
        instead: bool,
        partial: bool,
        wall_s: float,
    ) -> Searched:
        """What a search knows."""
        runs, best = searching.runs, searching.best
        space: Space = runs.space
        held = searching.result is not None
        # A schedule whose verdict did not hold up is no finding; one that was to be judged and was not is told as such.
        schedule = best.schedule if best is not None and (held or partial) else ()
        both = space.overlap(schedule)
        return cls(
            found=held,
            scenario=runs.scenario(schedule),
            schedule=schedule,
            entries=tuple(space.entries(schedule)),
            words=tuple(space.words(spell) for spell in schedule),
            line=runs.lines[best.line] if best is not None else None,
            result=searching.result,
            parts=tuple(searching.parts),
            overlap=None if both is None else (both[0] * space.grid.step_s, both[1] * space.grid.step_s),
            shrunk=searching.finished,
            unheld=searching.unheld,
            left_out=left_out,
            spent=dict(searching.spent),
            budget=runs.budget,
            tried=len(searching.tried),
            breaking=len(searching.broken),
            source=source,
            asked=asked,
            instead=instead,
            partial=partial,
            wall_s=wall_s,
        )

    @property
    def name(self) -> str:
        """What the scenario with these faults is called: ``checkout-stall-rate_limit``."""
        return "-".join([self.scenario.name, *dict.fromkeys(one.kind for one in self.schedule)])

    @property
    def runs(self) -> int:
        """Runs that were simulated."""
        return sum(self.spent.values())

    @property
    def broken(self) -> SloResult | None:
        """The line that breaks, as the verdict has it."""
        if self.result is None or self.line is None:
            return None
        wanted = (self.line.key, self.line.text)
        return next((one for one in self.result.slo if (one.objective.key, one.objective.text) == wanted), None)

    @property
    def advice(self) -> tuple[str, ...]:
        """Why, as the result of the verdict has it."""
        return tuple(self.result.advice) if self.result is not None else ()

    def shown(self, value: float) -> str:
        """A value of the line with its unit."""
        assert self.line is not None
        return figure(value, "factor" if self.line.burn is not None else METRICS[self.line.metric].unit)

    @property
    def headline(self) -> str:
        """The answer in a sentence."""
        name = self.scenario.name
        if not self.schedule:
            why = f" ({self.unheld} schedule(s) did in a few runs, but no verdict held up)" if self.unheld else ""
            stopped = "interrupted: " if self.partial else ""
            return f"{name}: {stopped}nothing found that breaks it in {self.runs} of {self.budget} runs{why}"
        assert self.line is not None
        line, broken = f"{self.line.key} {self.line.text}", self.broken
        number = len(self.schedule)
        it = "one fault breaks" if number == 1 else f"{number} faults together break"
        if broken is None:
            return f"{name}: interrupted; {it} {line}, as far as a few runs can tell"
        return f"{name}: {it} {line}: {broken.shown} ({broken.shown_interval})"

    @property
    def reasons(self) -> tuple[str, ...]:
        """Sentences on what it takes, in an order in which each can be understood."""
        told: list[str] = []
        single = [part for part in self.parts if len(part.schedule) == 1]
        if single and len(single) == len(self.schedule) and all(part.verdict == "PASS" for part in single):
            told.append("Each fault alone passes.")
        if self.overlap is not None:
            told.append(f"They overlap from {clock(self.overlap[0])} to {clock(self.overlap[1])}.")
        apart = next((part for part in self.parts if part.what == "one after the other"), None)
        if apart is not None:
            passes = {"PASS": "passes too", "FAIL": "fails as well", "UNDECIDED": "is undecided"}[apart.verdict]
            told.append(f"One after the other {passes} ({self.shown(apart.measured)}).")
        if self.schedule and self.found and not self.shrunk:
            told.append("The budget ended the search for something smaller: a larger one may find it.")
        return tuple(told)

    @property
    def notes(self) -> tuple[str, ...]:
        """The same, with why and how sure it is."""
        told = list(self.reasons)
        told += [f"Why: {self.advice[0]}"] if self.advice else []
        if self.left_out:
            told.append(f"Not counted, since undecided without any fault: {', '.join(self.left_out)}.")
        split = ", ".join(f"{number} {_STAGES[stage]}" for stage, number in self.spent.items() if number)
        told.append(
            f"{self.runs} of {self.budget} runs: {split}. {self.breaking} of {self.tried} schedules broke a line."
        )
        return tuple(told)

    @property
    def description(self) -> str:
        """What the scenario file says of itself."""
        told = [self.headline.partition(": ")[2].removeprefix("interrupted; ") + "."]
        told[0] = told[0][0].upper() + told[0][1:]
        told.append(f"It takes {' and '.join(self.words)}.")
        told += [f"Alone, {part.what}: {self.shown(part.measured)}, {part.verdict}." for part in self._alone()]
        told += self.reasons
        told.append("This is to stay red until the gateway is mended.")
        return " ".join(told)

    def _alone(self) -> list[Part]:
        return [part for part in self.parts if len(part.schedule) == 1 and len(self.schedule) > 1]

    @property
    def grid(self) -> Grid:
        """The faults, and what the line says to each part of them."""
        if not self.schedule:
            return Grid(self.headline, ("fault",), [], 1, self.notes)
        assert self.line is not None
        broken = self.broken
        name = "all of them" if len(self.schedule) > 1 else self.words[0]
        rows: list[tuple[str, str, str]] = [(name, "–", "not judged")]
        if broken is not None:
            rows = [(name, broken.shown, broken.verdict)]
        rows += [(part.what, self.shown(part.measured), part.verdict) for part in self.parts]
        if len(self.schedule) > 1 and not self.parts:
            rows += [(words, "–", "not judged") for words in self.words]
        return Grid(self.headline, ("", f"{self.line.key} {self.line.text}", "verdict"), rows, 1, self.notes)

    def save(self, place: str | Path) -> Path:
        """Write the scenario with these faults, and everything else as it stands in its file, as a regression.

        Raises
        ------
        LlmsimError
            Nothing was found, the scenario did not come from a file, or it cannot be written.
        """
        from llmsim.chaos.regression import save

        return save(self, Path(place))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a strict JSON encoder."""
        broken = self.broken
        told: dict[str, Any] = {
            "scenario": self.scenario.name,
            "seed": self.scenario.seed,
            "found": self.found,
            "partial": self.partial,
            "headline": self.headline,
            "line": None if self.line is None or not self.schedule else dataclasses.asdict(_Line.of(self.line)),
            "measured": broken.measured if broken is not None else None,
            "interval": broken.interval if broken is not None else None,
            "verdict": broken.verdict if broken is not None else None,
            "faults": list(self.entries),
            "overlap_s": self.overlap,
            "parts": [{"what": one.what, "measured": one.measured, "verdict": one.verdict} for one in self.parts],
            "shrunk": self.shrunk,
            "advice": list(self.advice),
            "left_out": list(self.left_out),
            "runs": {"budget": self.budget, "done": self.runs}
            | {str(stage): number for stage, number in self.spent.items()},
            "schedules": {"tried": self.tried, "breaking": self.breaking, "unheld": self.unheld},
            "wall_s": self.wall_s,
        }
        plain: dict[str, Any] = jsonable(told)
        return plain

    def __repr__(self) -> str:
        return str(self.grid)

    def _repr_html_(self) -> str:
        return self.grid._repr_html_()

    def _repr_markdown_(self) -> str:
        return self.grid._repr_markdown_()


@dataclass(frozen=True)
class _Line:
    metric: str
    expression: str
    line: int | None

    @classmethod
    def of(cls, line: Objective) -> _Line:
        return cls(line.key, line.text, line.line)
