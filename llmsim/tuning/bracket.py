"""Bisection where an answer can be PASS, FAIL or UNDECIDED, and where an honest end may be a bracket."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

__all__ = ["Bracket", "Word"]

Word = Literal["PASS", "FAIL", "UNDECIDED"]


class _Gap(NamedTuple):
    low: float
    high: float

    @property
    def ratio(self) -> float:
        return self.high / self.low


class Bracket:
    """Where a yes turns into a no, as the load grows.

    ::

        bracket = Bracket(tolerance=0.05)
        while (load := bracket.next()) is not None:
            bracket.tell(load, verdict_at(load))

    First it doubles (or halves) the load until there is a PASS below a FAIL. Then it halves, on a logarithmic scale,
    what lies between the highest PASS and the first answer that is no PASS, and what lies between the last answer that
    is no FAIL and the lowest FAIL: without UNDECIDED these are the same gap.

    Parameters
    ----------
    tolerance
        A gap is small enough at ``high <= low * (1 + tolerance)``.
    start, low, high
        The first load to try, and the least and the greatest.
    most
        The most loads to try.
    whole
        Loads are whole numbers.
    """

    def __init__(
        self,
        tolerance: float,
        *,
        start: float = 1.0,
        low: float = 0.0,
        high: float = math.inf,
        most: int = 32,
        whole: bool = False,
    ) -> None:
        self.tolerance, self._start, self._low, self._high = tolerance, start, low, high
        self._most, self._whole = most, whole
        self.answers: dict[float, Word] = {}

    def tell(self, load: float, answer: Word) -> None:
        """What came of a load."""
        self.answers[load] = answer

    @property
    def fails(self) -> float | None:
        """The lowest load that failed."""
        return min((load for load, answer in self.answers.items() if answer == "FAIL"), default=None)

    @property
    def passes(self) -> float | None:
        """The highest load that passed and below which none failed."""
        above = self.fails if self.fails is not None else math.inf
        return max((load for load, answer in self.answers.items() if answer == "PASS" and load < above), default=None)

    @property
    def unsure(self) -> list[float]:
        """Undecided loads between the two, ascending."""
        low, high = self.passes or 0.0, self.fails if self.fails is not None else math.inf
        return sorted(load for load, answer in self.answers.items() if answer == "UNDECIDED" and low < load < high)

    @property
    def contradictory(self) -> bool:
        """A load passed above one that failed: more load is not always worse here, so no single answer exists."""
        return self.fails is not None and any(
            answer == "PASS" and load > self.fails for load, answer in self.answers.items()
        )

    @property
    def resolved(self) -> bool:
        """Whether the highest PASS and the lowest FAIL are within the tolerance of each other."""
        return self.passes is not None and self.fails is not None and self._small(_Gap(self.passes, self.fails))

    def next(self) -> float | None:
        """The load to try next; None: there is nothing more to learn, or enough was tried."""
        if len(self.answers) >= self._most:
            return None
        if not self.answers:
            return self._start
        if self.passes is None:
            return self._step(min(self.answers), 0.5)
        if self.fails is None:
            return self._step(max(self.answers), 2.0)
        stops = [*self.unsure, self.fails]
        gaps = {_Gap(self.passes, stops[0]), _Gap([self.passes, *self.unsure][-1], self.fails)}
        wide = [gap for gap in gaps if not self._small(gap)]
        return self._middle(max(wide, key=lambda gap: gap.ratio)) if wide else None

    def _step(self, load: float, factor: float) -> float | None:
        """Half or twice as much, within the bounds; None once the bound itself has been tried."""
        further = load * factor
        if self._whole:
            further = float(math.floor(further) if factor < 1 else math.ceil(further))
        bounded = min(max(further, self._low), self._high)
        return None if bounded in self.answers or bounded <= 0 else bounded

    def _middle(self, gap: _Gap) -> float:
        middle = math.sqrt(gap.low * gap.high)
        return float(min(max(round(middle), gap.low + 1), gap.high - 1)) if self._whole else middle

    def _small(self, gap: _Gap) -> bool:
        if self._whole and gap.high - gap.low <= 1:
            return True
        return gap.high <= gap.low * (1 + self.tolerance) * (1 + 1e-12)
