"""Simulated runs of one scenario under many schedules: counted, remembered, in processes if that is worth it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from llmsim.chaos.drawing import Halt
from llmsim.chaos.schedules import Schedule, Space
from llmsim.chaos.workers import Measured, Task, Whole, in_order
from llmsim.parallel import Workers
from llmsim.report.result import Result
from llmsim.report.samples import last_fault_end_s, samples
from llmsim.report.slo import Judge, SloResult, measure
from llmsim.report.verdict import looks
from llmsim.scenario.objectives import Objective
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.recorder import Replication
from llmsim.telemetry.recovery import LEAST_S

__all__ = ["OutOfRuns", "Probe", "Runs", "badness"]


class OutOfRuns(Halt):
    """The budget is spent."""


class Probe(NamedTuple):
    """What a few runs said of a schedule."""

    values: tuple[tuple[float, ...], ...]  #: of every line, in each replication there was
    broken: tuple[int, ...]  #: lines that were broken in all of them
    ignored: frozenset[int] = frozenset()  #: lines that do not count

    def badness(self, lines: Sequence[Objective], line: int | None = None) -> float:
        """How far the worst line (or that one) goes, in the replication in which it goes least far."""
        chosen = [one for one in range(len(lines)) if one not in self.ignored] if line is None else [line]
        return max((min(badness(lines[one], values[one]) for values in self.values) for one in chosen), default=0.0)


def badness(line: Objective, value: float) -> float:
    """Where a value lies: 1 is on its bound, below holds, 2 is infinitely far outside. It is always finite.

    Examples
    --------
    >>> from llmsim.scenario.objectives import parse_objective
    >>> line = parse_objective("error_rate", "value < 1%")
    >>> [badness(line, value) for value in (0.0, 0.005, 0.02, float("inf"), float("nan"))]
    [0.0, 0.5, 1.5, 2.0, 0.0]
    """
    if math.isnan(value):
        return 0.0
    high, low = (value, line.bound) if line.low_is_good else (line.bound, value)
    if line.holds(value):
        return min(high / low, 1.0) if low > 0 else 0.0
    return 2.0 - (low / high if 0 < high < math.inf else 0.0)


class Runs:
    """Runs of a scenario, within a budget.

    Parameters
    ----------
    base
        The scenario under the faults that are not searched for.
    space
        Where the others come from.
    lines
        What must break.
    budget
        The most runs; each replication of each schedule is one, however often it is asked for.
    replications
        Runs a schedule gets at most in `probe`.
    jobs
        Processes, or a cluster.
    tick
        Called about ten times a second.
    """

    def __init__(
        self,
        base: Scenario,
        space: Space,
        lines: Sequence[Objective],
        *,
        budget: int,
        replications: int,
        jobs: Workers,
        tick: Callable[[], None],
    ) -> None:
        self.base, self.space, self.lines = base, space, tuple(lines)
        self.budget, self.replications = budget, replications
        self.done = 0
        self.limit = budget  #: the part of the budget that may be spent now
        self._jobs, self._tick = jobs, tick
        self._values: dict[tuple[Schedule, int], tuple[float, ...]] = {}
        self._ignored: frozenset[int] = frozenset()
        self._untold: dict[Schedule, frozenset[int]] = {}

    def scenario(self, schedule: Schedule) -> Scenario:
        """The scenario under a schedule."""
        return dataclasses.replace(self.base, faults=(*self.base.faults, *self.space.faults(schedule)))

    def ignore(self, lines: Iterable[int]) -> None:
        """Lines, by index, that count as holding from now on."""
        self._ignored = frozenset(lines)

    def untold(self, schedule: Schedule) -> frozenset[int]:
        """Lines that say nothing of a schedule: the run ends before the time is over that it gives for a recovery."""
        if schedule not in self._untold:
            end_s = self.base.clock.duration
            left_s = end_s - last_fault_end_s(self.scenario(schedule), end_s)
            self._untold[schedule] = frozenset(
                index
                for index, line in enumerate(self.lines)
                if line.metric == "recovery_time" and left_s < line.bound + LEAST_S
            )
        return self._untold[schedule]

    def index(self, found: SloResult) -> int:
        """Which of the lines a result is of."""
        wanted = (found.objective.key, found.objective.text)
        return [(line.key, line.text) for line in self.lines].index(wanted)

    # -- probing -----------------------------------------------------------------------------------------------

    def probe(self, schedule: Schedule) -> Probe:
        """Run a schedule until a replication shows no line broken that was broken before, or there are enough.

        Raises
        ------
        OutOfRuns
            There is no budget for that.
        """
        while (number := self._next(schedule)) is not None:
            self._run([(schedule, number)])
        return self.known(schedule)

    def probe_all(self, schedules: Iterable[Schedule]) -> dict[Schedule, Probe]:
        """The same for many at once; as far as the budget goes, those without a probe are left out."""
        wanted = list(dict.fromkeys(schedules))
        while True:
            tasks = [(one, number) for one in wanted if (number := self._next(one)) is not None]
            affordable = tasks[: max(0, self.limit - self.done)]
            if not affordable:
                break
            self._run(affordable)
        return {one: self.known(one) for one in wanted if self._next(one) is None}

    def known(self, schedule: Schedule) -> Probe:
        """What has been seen of a schedule."""
        values = []
        ignored = self._ignored | self.untold(schedule)
        for number in range(self.replications):
            found = self._values.get((schedule, number))
            if found is None:
                break
            values.append(found)
        broken = tuple(
            index
            for index, line in enumerate(self.lines)
            if values
            and index not in ignored
            and all(not math.isnan(row[index]) and not line.holds(row[index]) for row in values)
        )
        return Probe(tuple(values), broken, ignored)

    def _next(self, schedule: Schedule) -> int | None:
        """Number of the replication a schedule needs; None: it has enough."""
        known = self.known(schedule)
        made = len(known.values)
        return made if made < self.replications and (not made or known.broken) else None

    def _run(self, tasks: Sequence[tuple[Schedule, int]]) -> None:
        if self.done + len(tasks) > self.limit:
            raise OutOfRuns
        faulty = (Task(self.scenario(schedule), number, schedule) for schedule, number in tasks)
        ran = in_order(Measured(self.lines), list(faulty), jobs=self._jobs, tick=self._tick)
        for task, values in zip(tasks, ran, strict=True):
            self._values[task] = values
            self.done += 1

    # -- judging -----------------------------------------------------------------------------------------------

    def judge(self, schedule: Schedule, *, most: int, wanted: Sequence[int] = (), first: bool = False) -> Result | None:
        """Run a schedule as ``llmsim run`` does, until there is a verdict.

        Parameters
        ----------
        schedule
            Which.
        most
            The most replications.
        wanted
            Lines that must fail: as soon as that is out of the question at the first look there is no result.
        first
            Stop at the first look whatever it says.
        """
        scenario = self.scenario(schedule)
        judge = Judge(scenario, most)
        done: list[Replication] = []
        while (upto := judge.next_look()) is not None:
            for batch in self._batches(len(done), upto, early=bool(wanted)):
                tasks = [Task(scenario, number, schedule) for number in batch]
                if self.done + len(tasks) > self.limit:
                    raise OutOfRuns
                for one in in_order(Whole(), tasks, jobs=self._jobs, tick=self._tick):
                    self.done += 1
                    done.append(one)
                if wanted and not self._can_fail(scenario, done, most, wanted):
                    return None
            judge.add(done[judge.done : upto])
            if first:
                break
        return Result(scenario, done, requested=most)

    def _batches(self, begin: int, end: int, *, early: bool) -> Iterator[range]:
        """All at once, but a few at a time where they may show that the rest is not needed."""
        size = 2 if early else end - begin
        return (range(start, min(start + size, end)) for start in range(begin, end, size))

    def _can_fail(self, scenario: Scenario, done: Sequence[Replication], most: int, wanted: Sequence[int]) -> bool:
        first = looks(most)[0]
        if len(done) > first.replications:
            return True
        rows = [measure(self.lines, sample) for sample in samples(scenario, done)]
        held = [sum(math.isnan(row[one]) or self.lines[one].holds(row[one]) for row in rows) for one in wanted]
        return min(held) <= first.replications - first.needed

    def failed(self, result: Result, line: int) -> SloResult | None:
        """That line of a result, if its verdict is that it is broken."""
        found = self.line(result, line)
        return found if found is not None and found.verdict == "FAIL" else None

    def line(self, result: Result, line: int) -> SloResult | None:
        """That line of a result."""
        wanted = self.lines[line]
        return next((s for s in result.slo if (s.objective.key, s.objective.text) == (wanted.key, wanted.text)), None)
