"""Hypothesis draws schedules, aims at the worse ones and makes the bad ones small.

What it draws is designed for how it shrinks: to fewer things first, and then each number as small as it can be, in the
order of drawing. So a fault is a spot, a kind, a level, a length and a lag, the first of each being the mildest. All
lags are counted from one common beginning, which comes last: faults of a minimal schedule begin together, and early.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

from llmsim.chaos.schedules import Drawn, Schedule, Space

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["Drawing", "Halt"]

_STORAGE = "HYPOTHESIS_STORAGE_DIRECTORY"
# Hypothesis gives shrinking up after five minutes of real time. Begun anew it passes through what is known in no time,
# so that its answer does not depend on how fast the machine is; these are well below its limit.
_GIVES_UP_S = 240.0

Condition = Callable[[Schedule], bool]


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
    most
        The most draws; after half of them those that did worst are changed a little at a time.
    """

    def __init__(self, space: Space, seed: int, most: int) -> None:
        self.space, self._seed, self._most = space, seed, most
        self._strategy = _schedules(space)

    def drawn(self, count: int) -> list[Schedule]:
        """The first schedules, each once. Looking for the worst later on draws the same ones."""
        found: dict[Schedule, None] = {}

        def take(schedule: Schedule) -> bool:
            found[schedule] = None
            if len(found) >= count:
                raise Halt
            return False

        with suppress(Halt):
            self._find(take, ("generate",))
        return list(found)

    def climb(self, badness: Callable[[Schedule], float], wanted: Condition) -> bool:
        """Draw, and change what did worst, until one is wanted; whether there was one.

        Parameters
        ----------
        badness
            How far a schedule goes, finite: the higher the worse.
        wanted
            Asked after that.
        """
        return self._find(_aiming(badness, wanted), ("generate", "target"))

    def shrink(
        self, worst: Schedule, badness: Callable[[Schedule], float], still: Condition, fresh: Callable[[], int]
    ) -> None:
        """Draw until `worst` comes again, and make it smaller as long as it is `still` what is looked for.

        Parameters
        ----------
        worst
            One that was drawn before.
        badness
            As it was then: it decides what is drawn.
        still
            Whether a schedule still does it.
        fresh
            How many runs there have been; it tells whether there was anything new.
        """
        while True:
            before, started = fresh(), perf_counter()
            found = self._find(
                _From(_aiming(badness, lambda schedule: schedule == worst), still), ("generate", "target", "shrink")
            )
            assert found, "the same draws come again"
            if fresh() == before or perf_counter() - started < _GIVES_UP_S:
                return

    def _find(self, condition: Condition, phases: tuple[str, ...]) -> bool:
        from hypothesis import HealthCheck, Phase, Verbosity, find, settings
        from hypothesis.errors import NoSuchExample

        how = settings(
            database=None,
            phases=[Phase[name] for name in phases],
            max_examples=self._most,
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
                find(self._strategy, condition, settings=how, random=Random(self._seed))  # noqa: S311
            except NoSuchExample:
                return False
        return True


class _From:
    """Looks for one schedule, and from then on for what comes of it."""

    def __init__(self, until: Condition, then: Condition) -> None:
        self._until, self._then = until, then
        self._here = False

    def __call__(self, schedule: Schedule) -> bool:
        if self._here:
            return self._then(schedule)
        self._here = self._until(schedule)
        return self._here


def _aiming(badness: Callable[[Schedule], float], wanted: Condition) -> Condition:
    from hypothesis import target

    def aim(schedule: Schedule) -> bool:
        target(badness(schedule))
        return wanted(schedule)

    return aim


def _schedules(space: Space) -> SearchStrategy[Schedule]:
    from hypothesis import strategies as st

    # Numbers below 100 only: of larger ones Hypothesis prefers those that stand in modules that happen to be loaded.
    kinds = max(len(spot.kinds) for spot in space.spots)
    levels = max(len(kind.levels) for spot in space.spots for kind in spot.kinds)
    spell = st.builds(
        Drawn,
        spot=st.integers(0, len(space.spots) - 1),
        kind=st.integers(0, kinds - 1),
        level=st.integers(0, levels - 1),
        steps=st.integers(0, space.grid.longest - 1),
        lag=st.integers(0, space.grid.longest),
    )
    spells = st.lists(spell, min_size=1, max_size=space.most)
    begins = st.integers(0, space.begins - 1)
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
