"""How near a phrase is to what a cache holds, from how many phrases of each sort it holds.

Everything here is a pure function of a `Meaning` (the latent luck of its words) and of `Company` (counts), so that a
store that goes one by one and a pass over many thresholds at once agree to the last bit.

What a phrase is compared with, and what that is measured on:

- the same question in other words (`Company.rephrased`): pairs that people marked as duplicates;
- other questions with the same meaning (`same`), and with any other meaning (`other`): nearest neighbours among
  sentences of an intent corpus;
- *traps*: what a trap is made to look like, and for who asks that question, the traps that look like it. Published for
  pairs, so a trap is as near to its question, in whatever words that stands in the cache, as to the words it was made
  from.

Who asks in words of their own is further from a trap than who uses the words it was made from. If the two ways in
which words were changed had nothing to do with each other, the cosines would multiply. For 999 paraphrases (GPTCache's
mock data, all-MiniLM-L6-v2) and the sentence most like the one that was paraphrased they nearly do: mean cosine .768,
product .750, correlation of the two .95. The product with the first factor to the power of .7 has the mean that was
measured.

It is a model of neighbours, not of vectors: the entries of a cache are taken for random ones. Real ones lie further
apart, since what is near to an entry is served and not kept. Against real vectors of banking77 (LRU 1000) hit rates
were within half a point at .70 to .95 for 8,000 questions of Zipf popularity; for 4,000 sentences that come once, they
were 2 to 3 points too low at .75 to .80, and right within one from .85 on.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.traffic.meanings import OWN_WORDS, TRAP, Meaning
from llmsim.traffic.similarity import CORPORA, TRAP_KINDS, Rows, SimilarityTables, similarity_tables

__all__ = ["Company", "Nearest", "Nearness", "Table", "nearness"]

Floats = NDArray[np.float64]

NOWHERE = -1.0  #: similarity to nothing
_SHARED = 0.7  #: power of the closeness to the usual words, see above
_MOST_PLACES = 20_000  #: that a table remembers, 120 bytes each
EVEN = (1.0,) * len(TRAP_KINDS)


class Company(NamedTuple):
    """How many entries of each sort there are in a cache, without those in the very words of the asker."""

    rephrased: int  #: that ask the same question; for a trap: the question that it looks like
    same: int  #: other questions with the same meaning
    other: int  #: anything with another meaning
    traps: int = 0  #: that look like the question


class Nearest(NamedTuple):
    """The nearest entry."""

    similarity: float  #: cosine; -1 of nothing
    sort: str  #: ``rephrased``, ``same``, ``other`` or ``trap``; empty of nothing
    right: bool  #: whether it has the answer that is asked for


# A NamedTuple's own constructor is Python code, and takes longer.
_nearest: Callable[[type[Nearest], tuple[Any, ...]], Nearest] = tuple.__new__


class _Place(NamedTuple):
    """A number of neighbours, seen from the rows of a table."""

    low: list[float]
    high: list[float]
    share: float  #: of the way from one to the other
    odds: float  #: by which the odds against are multiplied, beyond the last row


class Table:
    """Quantiles of the similarity to the nearest of n.

    Between the numbers n that were measured, interpolated in ln n; beyond them the logit goes on in proportion to ln n.
    Below the first level the lowest cosine holds; above the last one it rises to 1 (a near duplicate), since
    parametric tails understate wrong hits at .90 and above by 1.5 to 5 times. It never falls with n or with u:
    where the rows of a table cross by chance, the higher one counts.

    Parameters
    ----------
    rows
        What was measured.
    """

    __slots__ = ("_counts", "_growth", "_levels", "_logs", "_places", "_rows")

    def __init__(self, rows: Rows) -> None:
        levels = np.array(rows.levels)
        quantiles = np.maximum.accumulate(np.array(rows.quantiles, dtype=np.float64), axis=0)
        if levels[0] > 0:
            levels, quantiles = np.insert(levels, 0, 0.0), np.insert(quantiles, 0, quantiles[:, 0], axis=1)
        if levels[-1] < 1:
            levels, quantiles = np.append(levels, 1.0), np.append(quantiles, np.ones((len(quantiles), 1)), axis=1)
        self._levels: list[float] = levels.tolist()
        self._rows: list[list[float]] = quantiles.tolist()
        self._counts = rows.counts
        self._logs = [math.log(count) for count in rows.counts]
        self._growth = rows.growth
        self._places: dict[int, _Place] = {}

    def __call__(self, n: int, u: float) -> float:
        """The cosine at probability `u` of the nearest of `n`; -1 without any."""
        if n < 1:
            return NOWHERE
        low, high, share, odds = self._places.get(n) or self._place(n)
        levels = self._levels
        at = bisect_right(levels, u, 1, len(levels) - 1)
        under = levels[at - 1]
        weight = (u - under) / (levels[at] - under)
        value = low[at - 1]
        value += weight * (low[at] - value)
        if share:
            above = high[at - 1]
            return value + share * (above + weight * (high[at] - above) - value)
        if odds == 1.0 or not 0 < value < 1:  # what is not between 0 and 1 has no logit, and stays
            return value
        return 1 / (1 + (1 - value) / value * odds)

    def _place(self, n: int) -> _Place:
        """Where n lies between the rows, or how far beyond them."""
        counts, logs, rows = self._counts, self._logs, self._rows
        if counts[0] < n < counts[-1]:
            high = bisect_right(counts, n)
            share = (math.log(n) - logs[high - 1]) / (logs[high] - logs[high - 1])
            place = _Place(rows[high - 1], rows[high], share, 1.0)
        else:
            end = -1 if n >= counts[-1] else 0
            place = _Place(rows[end], rows[end], 0.0, math.exp(-self._growth * (math.log(n) - logs[end])))
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        self._places[n] = place
        return place


class Nearness:
    """Similarities of one corpus.

    Parameters
    ----------
    tables
        What was measured.
    trap_mix
        Shares of the kinds of traps in the traffic, in the order of `TRAP_KINDS`: what somebody finds who asks the
        question that they look like.
    """

    def __init__(self, tables: SimilarityTables, trap_mix: tuple[float, ...] = EVEN) -> None:
        self.same = Table(tables.same)
        self.other = Table(tables.other)
        self.rephrased = Table(tables.rephrased)
        self.traps = [Table(rows) for rows in tables.traps]
        self.any_trap = Table(_mixed(tables.traps, trap_mix))

    def to_right(self, meaning: Meaning, company: Company) -> float:
        """Similarity to the nearest entry whose answer is right; -1 without one."""
        if meaning.kind >= TRAP:
            return NOWHERE
        near = self.rephrased(company.rephrased, meaning.same_luck)
        return max(near, self.same(company.same, meaning.same_luck)) if company.same else near

    def to_wrong(self, meaning: Meaning, company: Company) -> float:
        """Similarity to the nearest entry whose answer is wrong; -1 without one."""
        return max(self.other(company.other, meaning.other_luck), self._to_trap(meaning, company))

    def _to_trap(self, meaning: Meaning, company: Company) -> float:
        """Between a trap and what it looks like, from either side."""
        if meaning.kind >= TRAP:
            return self.traps[meaning.kind - TRAP](min(company.rephrased, 1), meaning.trap_luck)
        if not company.traps:
            return NOWHERE
        near = self.any_trap(company.traps, meaning.trap_luck)
        return near * max(self.rephrased(1, meaning.same_luck), 0.0) ** _SHARED if meaning.kind == OWN_WORDS else near

    def similarity(self, meaning: Meaning, company: Company) -> Nearest:
        """The nearest of all.

        Parameters
        ----------
        meaning
            Of the asker.
        company
            What there is. The very words of the asker have similarity 1 and are not its business.
        """
        rephrased, same, other, _ = company
        best, sort = NOWHERE, ""
        if meaning.kind < TRAP:
            luck = meaning.same_luck
            if rephrased:
                best, sort = self.rephrased(rephrased, luck), "rephrased"
            if same and (cosine := self.same(same, luck)) > best:
                best, sort = cosine, "same"
        right = bool(sort)
        if other and (cosine := self.other(other, meaning.other_luck)) > best:
            best, sort, right = cosine, "other", False
        if (cosine := self._to_trap(meaning, company)) > best:
            best, sort, right = cosine, "trap", False
        return _nearest(Nearest, (best, sort, right))


def _mixed(kinds: tuple[Rows, ...], shares: tuple[float, ...]) -> Rows:
    """The quantiles of a mixture, at the levels of its parts."""
    there = [(rows, share) for rows, share in zip(kinds, shares, strict=True) if share > 0]
    levels = np.array(kinds[0].levels)
    fine = np.linspace(0.0, 1.0, 2001)
    cosines = np.concatenate([np.interp(fine, levels, rows.quantiles[0]) for rows, _ in there])
    weights = np.repeat([share / sum(shares) for _, share in there], len(fine))
    order = np.argsort(cosines, kind="stable")
    reached = np.cumsum(weights[order]) / len(fine)
    quantiles = np.interp(levels, reached, cosines[order])
    return Rows(kinds[0].levels, (1,), (tuple(quantiles.tolist()),), kinds[0].growth)


def nearness(name: str = CORPORA[0], trap_mix: tuple[float, ...] = EVEN) -> Nearness:
    """The similarities of a corpus that comes with llmsim (``banking77``, ``clinc150``), or of a file.

    Measured with all-MiniLM-L6-v2 (int8) on PolyAI's banking77 (CC BY 4.0) and on CLINC150 (CC BY 3.0).

    Raises
    ------
    ScenarioError
        For a file that cannot be read.
    """
    return _nearness(similarity_tables(name), trap_mix)


@lru_cache(maxsize=16)
def _nearness(tables: SimilarityTables, trap_mix: tuple[float, ...]) -> Nearness:
    return Nearness(tables, trap_mix)
