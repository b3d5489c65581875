"""Settings and what their replications said: kept, counted, and run as far as they are asked for."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Literal

from llmsim.parallel import Workers
from llmsim.scenario.objectives import Objective
from llmsim.scenario.spec import Scenario
from llmsim.scenario.sums import Sum
from llmsim.tuning.journal import Journal
from llmsim.tuning.objective import Goal
from llmsim.tuning.running import Measured, Task, Work, in_order
from llmsim.tuning.space import Settings, Space, settings_key, shown

__all__ = ["Entry", "Luck", "Runs", "Stop", "told"]

Stop = Literal["", "worse", "infeasible", "halved"]


@dataclass(eq=False)
class Entry:
    """One setting under one luck.

    Parameters
    ----------
    settings
        By path; empty: the scenarios as they are.
    rows
        ``rows[replication][scenario]``: the goals' values, then the limits' of that scenario, then what else is asked.
    stopped
        Why no more replications were made of it; empty: it has all, or may still get some.
    """

    settings: Settings
    rows: list[list[list[Any]]] = field(default_factory=list)
    stopped: Stop = ""

    @property
    def done(self) -> int:
        """Replications there are."""
        return len(self.rows)


def told(settings: Settings) -> str:
    """Settings in one line.

    Examples
    --------
    >>> told({"gateway.retry.max_attempts": 2}), told({})
    ('gateway.retry.max_attempts=2', 'the settings as they are')
    """
    return ", ".join(f"{path}={shown(value)}" for path, value in settings.items()) or "the settings as they are"


class Luck:
    """All settings that were run under one seed, replication *r* of every one on the same luck.

    Parameters
    ----------
    runs
        Who runs them.
    name
        Names the luck in the journal.
    seeds
        One a scenario.
    most
        Replications of a setting that is run to its end.
    work
        What is wanted of a replication, by scenario.
    """

    def __init__(self, runs: Runs, name: str, seeds: Sequence[int], most: int, work: Sequence[Work]) -> None:
        self._runs, self.name, self._work = runs, name, tuple(work)
        self.most = most
        self._bases = [dataclasses.replace(base, seed=seed) for base, seed in zip(runs.scenarios, seeds, strict=True)]
        self._entries: dict[str, Entry] = {}
        self._settled: dict[tuple[str, int], Scenario] = {}
        self.made = 0  #: replications, of each scenario one, that were asked for

    def entry(self, settings: Settings) -> Entry:
        """The one entry of a setting."""
        return self._entries.setdefault(settings_key(settings), Entry(dict(settings)))

    def scenario(self, settings: Settings, index: int) -> Scenario:
        """A scenario with these settings, under this luck.

        Raises
        ------
        ScenarioError
            The values do not fit together.
        """
        at = (settings_key(settings), index)
        if at not in self._settled:
            self._settled[at] = self._runs.space.settled(self._bases[index], settings)
        return self._settled[at]

    def check(self, settings: Settings) -> None:
        """That the values fit together, in every scenario.

        Raises
        ------
        ScenarioError
            They do not.
        """
        for index in range(len(self._bases)):
            self.scenario(settings, index)

    @property
    def entries(self) -> list[Entry]:
        """All, in the order in which they were first asked for."""
        return list(self._entries.values())

    def ensure(self, entries: Sequence[Entry], upto: int) -> None:
        """Make the replications up to that many of each."""
        places = [
            (entry, number, index)
            for entry in entries
            for number in range(entry.done, upto)
            for index in range(len(self._bases))
        ]
        keys = [f"{self.name}|{index}|{number}|{settings_key(entry.settings)}" for entry, number, index in places]
        known = self._runs.journal.known
        missing = [place for place, key in zip(places, keys, strict=True) if key not in known]
        self._make(missing, [key for key in keys if key not in known])
        for (entry, number, index), key in zip(places, keys, strict=True):
            if index == 0:
                assert entry.done == number
                entry.rows.append([])
                self.made += len(self._bases)
            entry.rows[number].append(known[key])

    def _make(self, places: Sequence[tuple[Entry, int, int]], keys: Sequence[str]) -> None:
        if places and self._runs.began is None:
            self._runs.began = perf_counter()
        for index in range(len(self._bases)):
            mine = [(place, key) for place, key in zip(places, keys, strict=True) if place[2] == index]
            tasks = []
            for (entry, number, _), _key in mine:
                tasks.append(Task(self.scenario(entry.settings, index), number, told(entry.settings)))
            found = in_order(self._work[index], tasks, jobs=self._runs.jobs, tick=self._runs.tick)
            for (_, key), values in zip(mine, found, strict=True):
                self._runs.journal.add(key, values)


class Runs:
    """What all lucks of a tuning share.

    Parameters
    ----------
    scenarios
        That are tuned, all with the same settings.
    space
        What settings are of.
    journal
        Where answers are kept.
    jobs
        Processes, or a cluster.
    tick
        Called about ten times a second.
    work
        Makes of goals and limits what is run; for tests, in place of simulations.
    """

    def __init__(
        self,
        scenarios: Sequence[Scenario],
        space: Space,
        journal: Journal,
        *,
        jobs: Workers,
        tick: Callable[[], None],
        work: Callable[[tuple[Sum, ...], tuple[Objective, ...], bool], Work] | None = None,
    ) -> None:
        self.scenarios, self.space, self.journal, self.jobs, self.tick = tuple(scenarios), space, journal, jobs, tick
        self._work = work or _measured
        self.began: float | None = None  #: `perf_counter` as the first new replication began

    def luck(
        self,
        name: str,
        seeds: Sequence[int],
        most: int,
        goals: Sequence[Goal],
        limits: Sequence[Sequence[Objective]],
        *,
        held: bool = False,
    ) -> Luck:
        """A luck of its own; `held`: for the numbers that are shown in the end."""
        sums = tuple(goal.sum for goal in goals)
        return Luck(self, name, seeds, most, [self._work(sums, tuple(some), held) for some in limits])


def _measured(sums: tuple[Sum, ...], lines: tuple[Objective, ...], held: bool) -> Work:  # noqa: FBT001 - which luck
    return Measured(sums, lines, compared=held, hashed=not held)
