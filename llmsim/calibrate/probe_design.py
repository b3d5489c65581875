"""Which calls a probe makes, and in which order: every prompt length with every answer length, alone and in company."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from llmsim.errors import LlmsimError
from llmsim.luck import Luck
from llmsim.pricing import TokenPrice
from llmsim.types import Usage

__all__ = ["Design", "Round"]


@dataclass(frozen=True)
class Round:
    """Calls that are under way together; the next round begins when all have ended.

    Attributes
    ----------
    sizes
        Tokens of prompt and answer, call by call.
    delays
        When each is sent, from 0 to 1 of the usual length of a call after the round begins; rising from 0.
    warm_up
        Not to be counted: connections are opened, caches filled.
    """

    sizes: tuple[tuple[int, int], ...]
    delays: tuple[float, ...]
    warm_up: bool = False


@dataclass(frozen=True)
class Design:
    """What a probe tries.

    Rounds of several calls do not begin at one instant: what a server does with a burst depends on the order in which
    it happens to take the calls, and tells little about the rest of the day.

    Parameters
    ----------
    input_tokens, output_tokens
        Lengths; every prompt length comes with every answer length.
    concurrency
        How many calls are under way at once.
    repeats
        How often every pair of lengths is tried with each of these numbers of calls.
    warm_up
        Calls that come first and are not counted.
    seed
        Of the order.

    Examples
    --------
    >>> design = Design(input_tokens=(50, 400), output_tokens=(16,), concurrency=(1, 2), repeats=3, warm_up=1)
    >>> sorted(len(one.sizes) for one in design.rounds()), design.calls
    ([1, 1, 1, 1, 1, 1, 1, 2, 2, 2], 13)
    """

    input_tokens: tuple[int, ...] = (100, 400, 1600)
    output_tokens: tuple[int, ...] = (16, 64)
    concurrency: tuple[int, ...] = (1, 2, 4)
    repeats: int = 3
    warm_up: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        for word in ("input_tokens", "output_tokens", "concurrency"):
            values = getattr(self, word)
            if not values or min(values) < 1:
                raise LlmsimError(f"--{word.partition('_')[0]} {values}: write at least one number above 0")
        if self.repeats < 1 or self.warm_up < 0:
            raise LlmsimError("--repeats is at least 1, and --warm-up at least 0")

    def rounds(self) -> list[Round]:
        """In the order in which they are made: the same for the same seed."""
        luck = Luck(self.seed)
        cells = list(product(self.input_tokens, self.output_tokens))
        found = []
        for company in sorted(set(self.concurrency)):
            wanted = cells * self.repeats
            wanted = [wanted[place] for place in _order(luck, len(wanted), "cells", company)]
            short = -len(wanted) % company  # the last round is as full as the others
            wanted += [cells[place % len(cells)] for place in _order(luck, short, "more", company)]
            for first in range(0, len(wanted), company):
                sizes = tuple(wanted[first : first + company])
                delays = np.sort(luck.series("delays", company, first).array(0, company - 1))
                found.append(Round(sizes, (0.0, *delays.tolist())))
        found = [found[place] for place in _order(luck, len(found), "rounds")]
        warm = [cells[place % len(cells)] for place in _order(luck, self.warm_up, "warm-up")]
        return [Round((size,), (0.0,), warm_up=True) for size in warm] + found

    @property
    def calls(self) -> int:
        """How many in all."""
        return sum(len(one.sizes) for one in self.rounds())

    def cost_usd(self, price: TokenPrice) -> float:
        """What they cost if every prompt and answer is as long as it should be."""
        return sum(price.cost(Usage(*size)) for one in self.rounds() for size in one.sizes)


def _order(luck: Luck, n: int, *address: str | int) -> list[int]:
    found: list[int] = np.argsort(luck.series("probe", *address).array(0, n), kind="stable").tolist()
    return found
