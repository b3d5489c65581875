"""Schedules of faults on a grid of round times, bounded to what is plausible."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from llmsim.chaos.kinds import Kind, Spot
from llmsim.providers.faults import Fault
from llmsim.report.figures import clock
from llmsim.scenario.spec import Clock

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["Drawn", "Grid", "Schedule", "Space", "Spell", "entry_of"]

_PLAIN = re.compile(r"[A-Za-z][\w./-]*")

# Of 10 s, as the windows are that metrics look at, where a run takes minutes; a day is searched in half hours.
_STEPS_S = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_MINUTES = (60.0, 600.0)
_MOST_STEPS = 60

# Incidents last longer than most scenarios do (OpenAI 2021-24: median 1.24 h, p90 5.0 h; Anthropic 0.77 h, 4.1 h), so
# what bounds them here is that there must be a time before, between and after: a quarter of the run each.
_LONGEST = 0.25
_CALM_S = 30.0  # before the first fault: from there on a run is asked to have been in its steady state
_AFTER = 0.2  # of the measured time, so that there is something to recover in


class Spell(NamedTuple):
    """One fault: what happens to whom, how strongly, from when, how long. Times are in steps of the grid."""

    kind: str
    target: str
    level: int
    at: int
    steps: int


Schedule = tuple[Spell, ...]


class Drawn(NamedTuple):
    """One fault as a strategy draws it: numbers that are better the smaller they are."""

    place: int  #: which of `Space.places`
    level: int
    steps: int
    lag: int


class Grid(NamedTuple):
    """Times a fault can have. All but the step are in steps."""

    step_s: float
    first: int  #: the earliest beginning
    end: int  #: the latest end
    longest: int

    @classmethod
    def of(cls, measured: Clock) -> Grid:
        """The grid for a clock."""
        duration_s = measured.duration
        step_s = next((step for step in _STEPS_S if duration_s / step <= _MOST_STEPS), _STEPS_S[-1])
        if _MINUTES[0] <= duration_s <= _MINUTES[1]:
            step_s = 10
        calm_s = min(_CALM_S, duration_s / 10)
        first = math.ceil(calm_s / step_s)
        end = max(first + 1, math.floor(duration_s * (1 - _AFTER) / step_s))
        return cls(float(step_s), first, end, max(1, min(end - first, math.floor(duration_s * _LONGEST / step_s))))


class Space:
    """Which schedules there are.

    Parameters
    ----------
    spots
        Where something can go wrong, and what.
    measured
        The scenario's clock.
    most
        Faults in a schedule.
    time_share
        Of the measured time that may have a fault in it.
    taken
        Names that are in use.
    """

    def __init__(
        self, spots: Sequence[Spot], measured: Clock, *, most: int, time_share: float, taken: Sequence[str] = ()
    ) -> None:
        self.spots = tuple(spots)
        self.most = most
        self.grid = Grid.of(measured)
        self.time = max(1, math.floor(time_share * measured.duration / self.grid.step_s))
        self._taken = frozenset(taken)
        most_kinds = max(len(spot.kinds) for spot in spots)
        #: Where something can go wrong, and what: the mildest of every target first.
        self.places = [
            (spot, spot.kinds[number]) for number in range(most_kinds) for spot in spots if number < len(spot.kinds)
        ]
        self._kinds = {(spot.target, kind.name): (spot, kind) for spot, kind in self.places}

    @property
    def begins(self) -> int:
        """How many beginnings there are."""
        return self.grid.end - self.grid.first

    def kind(self, spell: Spell) -> Kind:
        """What a spell is one of."""
        return self._kinds[spell.target, spell.kind][1]

    def schedule(self, begin: int, drawn: Sequence[Drawn]) -> Schedule:
        """The plausible schedule that draws stand for.

        A second grave fault is made milder (incidents of two providers are independent: outage days of OpenAI's and
        Anthropic's API have phi -0.05, so both at once are 0.4 % of days), and what is longer than there is time for
        is cut.
        """
        spells: list[Spell] = []
        busy: set[int] = set()  # steps in which there is a fault
        grave = False
        for draw in drawn:
            spot, kind = self.places[draw.place]
            level = min(draw.level, len(kind.levels) - 1)
            if level >= kind.mild:
                level = min(level, kind.mild - 1) if grave else level
            if level < 0:
                continue
            steps = min(draw.steps + 1, self.grid.longest) if kind.lasts else 0
            at = min(self.grid.first + begin + draw.lag, self.grid.end - max(1, steps))
            while len(busy | {*range(at, at + steps)}) > self.time:
                steps -= 1
            if kind.lasts and steps < 1:
                continue
            grave |= level >= kind.mild
            busy |= {*range(at, at + steps)}
            spells.append(Spell(kind.name, spot.target, level, at, steps))
        return tuple(sorted(spells, key=self._order))

    def _order(self, spell: Spell) -> tuple[int, int, str]:
        spot = next(number for number, spot in enumerate(self.spots) if spot.target == spell.target)
        return spell.at, spot, spell.kind

    def entries(self, schedule: Schedule) -> list[dict[str, Any]]:
        """The faults as a scenario file says them."""
        return [self._entry(spell) for spell in schedule]

    def _entry(self, spell: Spell) -> dict[str, Any]:
        spot, kind = self._kinds[spell.target, spell.kind]
        name, number = f"{spell.kind}-{spell.target}", 2
        while name in self._taken:
            name, number = f"{spell.kind}-{spell.target}-{number}", number + 1
        entry = {"name": name, "store" if spot.store else "provider": spell.target, "at": self._time(spell.at)}
        if kind.lasts:
            entry["duration"] = self._time(spell.steps)
        return {**entry, **kind.levels[spell.level]}

    def _time(self, steps: int) -> str:
        seconds = round(steps * self.grid.step_s)
        if seconds >= 120 and seconds % 60 == 0:
            return f"{seconds // 60}m"
        return f"{seconds}s"

    def faults(self, schedule: Schedule) -> tuple[Fault, ...]:
        """The faults as a scenario has them."""
        return tuple(_adapter().validate_python(entry) for entry in self.entries(schedule))

    def words(self, spell: Spell) -> str:
        """``stall of openai (75%), 1:00 to 1:30``."""
        kind = self.kind(spell)
        said = next(iter(kind.levels[spell.level].values()))
        strength = (
            next((said[word] for word in ("percentage", "multiplier", "time") if word in said), "")
            if (isinstance(said, dict))
            else ""
        )
        begin, end = (steps * self.grid.step_s for steps in (spell.at, spell.at + spell.steps))
        when = f"{clock(begin)} to {clock(end)}" if kind.lasts else f"at {clock(begin)}"
        return f"{spell.kind} of {spell.target}{f' ({strength})' if strength else ''}, {when}"

    def name(self, spell: Spell) -> str:
        """What reports call a fault."""
        return str(self._entry(spell)["name"])

    def size(self, schedule: Schedule) -> tuple[int, ...]:
        """What a person calls small: few faults, short and weak, of a mild kind, early."""
        kinds = [self._kinds[one.target, one.kind] for one in schedule]
        return (
            len(schedule),
            sum(one.steps + one.level for one in schedule),
            sum(spot.kinds.index(kind) for spot, kind in kinds),
            sum(one.at for one in schedule),
            *(number for one in schedule for number in one[2:]),
        )

    def overlap(self, schedule: Schedule) -> tuple[int, int] | None:
        """When all of its faults are there, in steps; None: never all of them."""
        if len(schedule) < 2:
            return None
        begin, end = max(one.at for one in schedule), min(one.at + one.steps for one in schedule)
        return (begin, end) if begin < end else None

    def apart(self, schedule: Schedule) -> Schedule | None:
        """The same faults one after the other; None if there is no time for that, or they are so already."""
        if self.overlap(schedule) is None:
            return None
        at, moved = min(one.at for one in schedule), []
        for spell in schedule:
            moved.append(spell._replace(at=at))
            at += spell.steps
        return tuple(moved) if at <= self.grid.end else None


@cache
def _adapter() -> TypeAdapter[Fault]:
    from pydantic import TypeAdapter

    return TypeAdapter(Fault)


def entry_of(entry: dict[str, Any]) -> str:
    """A fault in one line of a scenario file.

    Examples
    --------
    >>> entry_of({"name": "outage-openai", "provider": "openai", "at": "60s", "duration": "2m", "outage": True})
    '{name: outage-openai, provider: openai, at: 60s, duration: 2m, outage: true}'
    """
    return "{" + ", ".join(f"{key}: {_value(value)}" for key, value in entry.items()) + "}"


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return entry_of(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    text = str(value)
    plain = _PLAIN.fullmatch(text) is not None or isinstance(value, int) or re.fullmatch(r"[\d.]+[a-z%]+", text)
    return text if plain and text not in ("true", "false", "null", "yes", "no", "on", "off") else json.dumps(text)
