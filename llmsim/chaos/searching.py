"""The stages of a search: is all well without, what breaks it, how little does it take, does that hold up."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Literal, NamedTuple

from llmsim.chaos.drawing import Drawing
from llmsim.chaos.promising import promising
from llmsim.chaos.runs import OutOfRuns, Probe, Runs, badness
from llmsim.chaos.schedules import Schedule
from llmsim.report.figures import figure
from llmsim.report.result import Result
from llmsim.report.verdict import MINIMUM, looks
from llmsim.telemetry.metrics import METRICS

__all__ = ["Best", "Part", "Searching", "Stage"]

Stage = Literal["baseline", "exploring", "shrinking", "confirming", "parts"]

# What is left after the baseline and the reserve goes to finding something that breaks, and then to making it small.
_EXPLORE = 0.65
_DRAWS = 0.8  # of that, before those that did worst are changed a little at a time
_DRAWN = 10  # schedules for each that is tried: drawing takes 1 ms, a run many times that
_DRAWN_A_PAIR = 25  # and of few kinds there is less to choose from: one in four of these is strong and long
_CLIMBS = 20  # draws that a climb takes at least; half of them come before it begins
_CHUNK = 16  # schedules that are run at once, whatever the number of processes
_ENOUGH = 4  # that break something: the worst of them is bad enough
_RESERVE = 0.4  # of the budget at most, for verdicts


class Best(NamedTuple):
    """What was found, as far as it is known, and the line it breaks."""

    schedule: Schedule
    line: int
    badness: float
    measured: float  #: the line's value in the first replication


class Part(NamedTuple):
    """A part of the schedule by itself, or another arrangement of it, and what the line says to that."""

    what: str
    schedule: Schedule
    verdict: str
    measured: float


class Searching:
    """One search, and how far it is.

    Parameters
    ----------
    runs
        Runs what is tried.
    seed
        Of what is drawn.
    most
        Replications of a verdict.
    moved
        Called where something new is known.
    heard
        Called at each draw.
    """

    def __init__(self, runs: Runs, seed: int, most: int, moved: Callable[[], None], heard: Callable[[], None]) -> None:
        self.runs, self._most, self._moved = runs, most, moved
        self.stage: Stage = "baseline"
        self.spent: dict[Stage, int] = {}  #: runs by stage
        self.best: Best | None = None
        self.tried: set[Schedule] = set()
        self.broken: set[Schedule] = set()
        self.finished = False  #: nothing smaller is left to try
        self.result: Result | None = None  #: of the schedule that held up
        self.parts: list[Part] = []
        self.unheld = 0  #: schedules that broke the line in the probes, and not for sure in the verdict
        self._look = looks(most)[0].replications
        self._drawing = Drawing(runs.space, seed, heard)
        self._worst: Best | None = None  # as exploring found it
        self._draws = 0
        self._climbed = 0  # the most draws of the climb; 0: there was none

    def baseline(self) -> Result:
        """The scenario without what is searched for."""
        with _Stage(self, "baseline", self.runs.budget):
            result = self.runs.judge((), most=self._most, first=True)
        assert result is not None
        return result

    # -- exploring ---------------------------------------------------------------------------------------------

    @property
    def _reserve(self) -> int:
        """Runs kept for verdicts: of what is found (twice, as the first may not hold up), and of its parts."""
        return min(self._look * (self.runs.space.most + 3), math.floor(self.runs.budget * _RESERVE))

    def explore(self) -> None:
        """Draw schedules, and then change those that did worst, until there is one that breaks a line."""
        left = self.runs.budget - self._reserve - self.runs.done
        share = max(1, math.floor(left * _EXPLORE))
        with _Stage(self, "exploring", self.runs.done + share):
            end = self.runs.limit
            self.runs.limit = self.runs.done + max(1, math.floor(share * _DRAWS))
            count = self.runs.limit - self.runs.done
            pairs = math.comb(len(self.runs.space.places), 2)
            self._draws = max(2 * count, min(_DRAWN * count, _DRAWN_A_PAIR * pairs))
            self._draw(promising(self._drawing.drawn(self._draws), self.runs.space, count))
            self.runs.limit = end
            if self.best is None:
                self._climbed = max(_CLIMBS, end - self.runs.done)
                with suppress(OutOfRuns):  # then there is nothing within this budget
                    self._drawing.climb(self._climbed, self._badness, lambda one: bool(self._consider([one])))

    def _draw(self, drawn: Sequence[Schedule]) -> None:
        start = 0
        # Of a small budget one is enough: making it small takes runs, too.
        enough = min(_ENOUGH, max(1, (self.runs.limit - self.runs.done) // _CHUNK))
        while start < len(drawn):
            # At most half of what is left, should all of them look broken at first: what that says of a schedule is
            # worth nothing without the replications that make sure of it.
            size = (self.runs.limit - self.runs.done) // (2 * self.runs.replications)
            chunk = drawn[start : start + max(1, min(_CHUNK, size))]
            start += len(chunk)
            self._consider(self.runs.probe_all(chunk))
            if len(self.broken) >= enough or self.runs.done >= self.runs.limit:
                return

    def _badness(self, schedule: Schedule) -> float:
        return self.runs.probe(schedule).badness(self.runs.lines)

    def _consider(self, schedules: Iterable[Schedule]) -> int:
        """Keep the worst of these, if it is worse than what there is; how many break something."""
        broken = 0
        for schedule in schedules:
            probe = self.runs.known(schedule)
            self.tried.add(schedule)
            if not probe.broken:
                continue
            broken += 1
            self.broken.add(schedule)
            found = max((self._best(schedule, probe, line) for line in probe.broken), key=lambda one: one.badness)
            if self.best is None or self._rank(found) < self._rank(self.best):
                self.best = found
        self._moved()
        return broken

    def _best(self, schedule: Schedule, probe: Probe, line: int) -> Best:
        return Best(schedule, line, probe.badness(self.runs.lines, line), probe.values[0][line])

    def _rank(self, best: Best) -> tuple[float, object]:
        """The worst first, and of those that are equally bad the smallest."""
        return -best.badness, self.runs.space.size(best.schedule)

    # -- shrinking ---------------------------------------------------------------------------------------------

    def shrink(self) -> list[Schedule]:
        """Make the worst smaller while the same line is broken; all that broke it on the way, the smallest first."""
        assert self.best is not None
        self._worst = self._worst or self.best
        worst, line = self._worst.schedule, self._worst.line
        # What was drawn before the worst is out of reach for Hypothesis: it has been told that it is not looked for.
        held = {worst, *(one for one in self.broken if line in self.runs.known(one).broken)}

        def still(schedule: Schedule) -> bool:
            probe = self.runs.probe(schedule)
            if line not in probe.broken:
                return False
            held.add(schedule)
            smallest = self._smallest(held)[0]
            self.best = self._best(smallest, self.runs.known(smallest), line)
            self._moved()
            return True

        with _Stage(self, "shrinking", self.runs.budget - self._reserve), suppress(OutOfRuns):
            # Drawn once more, which costs nothing: Hypothesis makes smaller what it has drawn itself.
            self._drawing.shrink(
                worst,
                self._climbed or self._draws,
                still,
                badness=self._badness if self._climbed else None,
                fresh=lambda: self.runs.done,
            )
            self.finished = True
        return self._smallest(held)

    def _smallest(self, schedules: Iterable[Schedule]) -> list[Schedule]:
        return sorted(schedules, key=self.runs.space.size)

    def worst(self) -> str:
        """What was found so far, in words; empty: nothing."""
        if self.best is None:
            return ""
        line = self.runs.lines[self.best.line]
        unit = "factor" if line.burn is not None else METRICS[line.metric].unit
        number = len(self.best.schedule)
        faults = f"{number} fault{'s' if number > 1 else ''}"
        return f"{line.key} {line.text} at {figure(self.best.measured, unit)} under {faults}"

    # -- verdicts ----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Make the worst small, and take the smallest that a verdict holds up for.

        If that of a few runs does not, it was small by luck: what is looked for then must do it in more of them.
        """
        self._confirm(self.shrink()[:1])
        if self.result is None:
            self.runs.replications = max(self.runs.replications, MINIMUM)
            self._confirm(self.shrink())

    def _confirm(self, candidates: Sequence[Schedule]) -> None:
        assert self.best is not None
        line = self.best.line
        parts = self._look * max(0, self.runs.space.most + 1)
        with (
            _Stage(self, "confirming", max(self.runs.done + self._look, self.runs.budget - parts)),
            suppress(OutOfRuns),
        ):
            for schedule in candidates:
                self._moved()
                result = self.runs.judge(schedule, most=self._most, wanted=(line,))
                if result is not None and self.runs.failed(result, line) is not None:
                    self.result = result
                    self.best = self._best(schedule, self.runs.known(schedule), line)
                    return
                self.unheld += 1

    def look_at_parts(self) -> None:
        """What each fault does alone, and all of them one after the other; where one part is enough, that is it."""
        with _Stage(self, "parts", self.runs.budget), suppress(OutOfRuns):
            while self._a_part_is_enough():
                self.parts.clear()

    def _a_part_is_enough(self) -> bool:
        """Judge the parts until one of fewer faults fails: there may be one, as a small budget ends shrinking early."""
        assert self.best is not None
        schedule, number = self.best.schedule, self.best.line
        for what, part in self._parts_of(schedule):
            result = self.runs.judge(part, most=self._most, first=True)
            line = self.runs.line(result, number) if result is not None else None
            if line is not None and line.verdict == "FAIL" and len(part) < len(schedule):
                self.result = result
                self.best = Best(part, number, badness(line.objective, line.measured), line.measured)
                return True
            if line is not None:
                self.parts.append(Part(what, part, line.verdict, line.measured))
            self._moved()
        return False

    def _parts_of(self, schedule: Schedule) -> list[tuple[str, Schedule]]:
        assert self.best is not None
        if len(schedule) < 2:
            return []
        space = self.runs.space
        parts: list[tuple[str, Schedule]] = [(space.words(spell), (spell,)) for spell in schedule]
        if len(schedule) > 2:
            parts += [
                (f"without {space.name(spell)}", tuple(one for one in schedule if one != spell)) for spell in schedule
            ]
        apart = space.apart(schedule)
        if apart is not None and self.best.line not in self.runs.untold(apart):
            parts.append(("one after the other", apart))
        return parts


class _Stage:
    """Counts the runs of a stage, which may go up to a limit."""

    def __init__(self, search: Searching, name: Stage, limit: int) -> None:
        self._search, self._name, self._limit = search, name, limit

    def __enter__(self) -> None:
        runs = self._search.runs
        self._search.stage = self._name
        runs.limit = min(runs.budget, self._limit)
        self._began = runs.done

    def __exit__(self, *_: object) -> None:
        runs = self._search.runs
        spent = self._search.spent
        spent[self._name] = spent.get(self._name, 0) + runs.done - self._began
