"""Hypothesis draws schedules, aims at the worse ones and makes the bad ones small.

What it draws is designed for how it shrinks: to fewer things first, and then each number as small as it can be, in the
order of drawing. So a fault is a place, a level, a length and a lag, the first of each being the mildest. All
lags are counted from one common beginning, which comes last: faults of a minimal schedule begin together, and early.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

from llmsim.chaos.schedules import Drawn, Schedule, Space

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Drawing", "Halt"]

_NUMBERS = 100
_STORAGE = "HYPOTHESIS_STORAGE_DIRECTORY"
# Hypothesis gives shrinking up after five minutes of real time. Begun anew it passes through what is known in no time,
# so that its answer does not depend on how fast the machine is; these are well below its limit.
_GIVES_UP_S = 240.0

Condition = Callable[[Schedule], bool]
Badness = Callable[[Schedule], float]


class Halt(BaseException):
    """Leave Hypothesis at once: it takes every `Exception` for what it looks for."""


class Drawing:
    """What there is to draw, from one seed.

    Parameters
    ----------
    space
        Which schedules there are.
    seed
        Of the draws.
    heard
        Called at each draw: there may be a hundred thousand before something is run.
    """

    def __init__(self, space: Space, seed: int, heard: Callable[[], None] = lambda: None) -> None:
        self._seed, self._strategy, self._heard = seed, _schedules(space), heard

    def drawn(self, most: int) -> list[Schedule]:
        """So many draws, each schedule once."""
        found: dict[Schedule, None] = {}

        def take(schedule: Schedule) -> bool:
            found[schedule] = None
            return False

        self._find(take, ("generate",), most)
        return list(found)

    def climb(self, most: int, badness: Badness, wanted: Condition) -> bool:
        """Draw, and from half of `most` on change what did worst a little at a time; whether one was wanted.

        Parameters
        ----------
        most
            The most draws.
        badness
            How far a schedule goes, finite: the higher the worse.
        wanted
            Asked after that. The first is the last.
        """
        return self._find(_aiming(badness, wanted), ("generate", "target"), most)

    def shrink(
        self, worst: Schedule, most: int, still: Condition, *, badness: Badness | None, fresh: Callable[[], int]
    ) -> None:
        """Draw until `worst` comes again, and make it smaller as long as it is `still` what is looked for.

        Parameters
        ----------
        worst
            One that was drawn before: by `drawn`, or by `climb`.
        most
            As it was then.
        still
            Whether a schedule still does it.
        badness
            As it was for `climb`, where it decides what is drawn; None: it was `drawn`.
        fresh
            How many runs there have been; it tells whether there was anything new.
        """

        def again(schedule: Schedule) -> bool:
            return schedule == worst

        until, phases = (again, ()) if badness is None else (_aiming(badness, again), ("target",))
        while True:
            before, started = fresh(), perf_counter()
            found = self._find(_From(worst, until, still), ("generate", *phases, "shrink"), most)
            assert found, "the same draws come again"
            if fresh() == before or perf_counter() - started < _GIVES_UP_S:
                return

    def _find(self, condition: Condition, phases: Sequence[str], most: int) -> bool:
        from hypothesis import HealthCheck, Phase, Verbosity, find, settings
        from hypothesis.errors import NoSuchExample

        how = settings(
            database=None,
            phases=[Phase[name] for name in phases],
            max_examples=most,
            deadline=None,
            derandomize=False,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
            verbosity=Verbosity.quiet,
            print_blob=False,
        )
        with _no_traces():
            try:
                # S311: chance that can be repeated is the point.
                find(self._strategy, self._hearing(condition), settings=how, random=Random(self._seed))  # noqa: S311
            except NoSuchExample:
                return False
        return True

    def _hearing(self, condition: Condition) -> Condition:
        def heard(schedule: Schedule) -> bool:
            self._heard()
            return condition(schedule)

        return heard


def _place(draw: Drawn) -> int:
    return draw.place


class _From:
    """Looks for one schedule, and from then on for that and for what is `then` looked for."""

    def __init__(self, worst: Schedule, until: Condition, then: Condition) -> None:
        self._worst, self._until, self._then = worst, until, then
        self._here = False

    def __call__(self, schedule: Schedule) -> bool:
        if self._here:
            return schedule == self._worst or self._then(schedule)
        self._here = self._until(schedule)
        return self._here


def _aiming(badness: Badness, wanted: Condition) -> Condition:
    from hypothesis import target

    def aim(schedule: Schedule) -> bool:
        target(badness(schedule))
        return wanted(schedule)

    return aim


def _schedules(space: Space) -> SearchStrategy[Schedule]:
    from hypothesis import strategies as st

    def numbers(table: Sequence[int]) -> SearchStrategy[int]:
        # Below 100 only: of larger ones Hypothesis prefers those that stand in modules that happen to be loaded.
        return st.sampled_from(table[:_NUMBERS])

    levels = max(len(kind.levels) for spot in space.spots for kind in spot.kinds)
    longest = space.grid.longest
    # Four numbers and the list's own "one more" make five, which is the most that Hypothesis deletes in one go.
    spell = st.builds(
        Drawn,
        place=numbers(range(len(space.places))),
        # What is strong and long and at one time breaks most, so that is drawn most. A number that stands several times
        # is as small as its first place.
        level=numbers([*range(levels), *[levels - 1] * 2 * levels]),
        steps=numbers([*range(longest), *[longest - 1] * longest]),
        lag=numbers([*[0] * 2 * longest, *range(1, longest + 1)]),
    )
    spells = st.lists(spell, min_size=1, max_size=min(space.most, len(space.places)), unique_by=_place)
    begins = numbers(range(space.begins))
    return st.tuples(spells, begins).map(lambda drawn: space.schedule(drawn[1], drawn[0]))


@contextmanager
def _no_traces() -> Iterator[None]:
    """Hypothesis keeps what it learns of the modules that are loaded in ``.hypothesis``: not where the user works."""
    before = os.environ.get(_STORAGE)
    with tempfile.TemporaryDirectory(prefix="llmsim-") as folder:
        os.environ[_STORAGE] = folder
        try:
            yield
        finally:
            if before is None:
                del os.environ[_STORAGE]
            else:
                os.environ[_STORAGE] = before
