"""Whether fitted similarities do to a cache what the real ones do: the same streams through both.

Fitted on one half of the intents and compared on the other, so that nothing is known about the phrases beforehand but
who means the same. Both sides go through the same loop: exact first, then the nearest, least recently used out first.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.similarity import LEVELS, Samples, Similarity, fit_similarity, nearest_samples
from llmsim.traffic.latents import lucks

__all__ = [
    "THRESHOLDS",
    "Check",
    "Count",
    "Row",
    "check_similarity",
    "fitted_finder",
    "popular",
    "real_finder",
    "replay",
]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Progress = Callable[[int, int], object]

THRESHOLDS = (0.70, 0.75, 0.80, 0.85, 0.88, 0.90, 0.92, 0.95)
#: Of wrong hits that a factor is told of: from fewer it would be noise.
ENOUGH_WRONG = 100
#: Of the logit, a unit of ln n, beyond the last row (measured on banking77; see `llmsim.stores.nearness`).
_GROWTH = (0.447, 0.182)
_STEPS = 16  #: of the grid of ln n, a factor of e


class Count(NamedTuple):
    """What a cache did to a stream."""

    hits: int
    exact: int
    wrong: int


class Finder(Protocol):
    """What finds the nearest of the phrases that are kept."""

    def add(self, phrase: int) -> None: ...

    def remove(self, phrase: int) -> None: ...

    def nearest(self, phrase: int) -> tuple[float, int]:
        """Similarity, and which; -1 and -1 of nothing."""


def replay(stream: Sequence[int], answer: Sequence[int], finder: Finder, threshold: float, capacity: int) -> Count:
    """A stream of phrases through a cache, least recently used out first.

    Parameters
    ----------
    stream
        Numbers of phrases.
    answer
        Of each phrase.
    finder
        Empty.
    threshold, capacity
        Of the cache.
    """
    kept: OrderedDict[int, None] = OrderedDict()
    hits = exact = wrong = 0
    for phrase in stream:
        if phrase in kept:
            exact += 1
            kept.move_to_end(phrase)
            continue
        similarity, entry = finder.nearest(phrase)
        if similarity >= threshold:
            hits += 1
            wrong += answer[entry] != answer[phrase]
            kept.move_to_end(entry)
            continue
        if len(kept) >= capacity:
            finder.remove(kept.popitem(last=False)[0])
        kept[phrase] = None
        finder.add(phrase)
    return Count(hits + exact, exact, wrong)


class _Vectors:
    """By brute force over real vectors."""

    def __init__(self, cosines: NDArray[np.float32], capacity: int) -> None:
        self._cosines = cosines
        self._kept = np.zeros(capacity, dtype=np.int64)
        self._place: dict[int, int] = {}

    def add(self, phrase: int) -> None:
        self._kept[len(self._place)] = phrase
        self._place[phrase] = len(self._place)

    def remove(self, phrase: int) -> None:
        at = self._place.pop(phrase)
        last = len(self._place)
        if at != last:
            moved = self._kept[at] = self._kept[last]
            self._place[int(moved)] = at

    def nearest(self, phrase: int) -> tuple[float, int]:
        if not self._place:
            return -1.0, -1
        kept = self._kept[: len(self._place)]
        near = self._cosines[phrase].take(kept)
        best = int(near.argmax())
        return float(near[best]), int(kept[best])


class _Fitted:
    """By tables and frozen luck."""

    def __init__(self, same: Floats, other: Floats, answer: list[int], luck: list[float]) -> None:
        self._same, self._other = same, other
        self._answer, self._luck = answer, luck
        self._by: dict[int, list[int]] = {}
        self._all: list[int] = []
        self._place: dict[int, tuple[int, int]] = {}

    def add(self, phrase: int) -> None:
        mates = self._by.setdefault(self._answer[phrase], [])
        self._place[phrase] = len(self._all), len(mates)
        self._all.append(phrase)
        mates.append(phrase)

    def remove(self, phrase: int) -> None:
        at, among = self._place.pop(phrase)
        mates = self._by[self._answer[phrase]]
        moved, mate = self._all.pop(), mates.pop()
        if moved != phrase:
            self._all[at] = moved
            self._place[moved] = at, self._place[moved][1]
        if mate != phrase:
            mates[among] = mate
            self._place[mate] = self._place[mate][0], among

    def nearest(self, phrase: int) -> tuple[float, int]:
        mates = self._by.get(self._answer[phrase], [])
        others = len(self._all) - len(mates)
        same = self._same[phrase, _place(len(mates))] if mates else -1.0
        other = self._other[phrase, _place(others)] if others else -1.0
        luck = self._luck[phrase]
        if same >= other:
            return float(same), mates[int(luck * len(mates))] if mates else -1
        for turn in range(len(self._all)):
            entry = self._all[(int(luck * len(self._all)) + turn) % len(self._all)]
            if self._answer[entry] != self._answer[phrase]:
                return float(other), entry
        return -1.0, -1


_PLACES = [0, *(round(_STEPS * math.log(n)) for n in range(1, 4097))]


def _place(n: int) -> int:
    """Column of a grid for n neighbours."""
    return _PLACES[min(n, 4096)]


def real_finder(vectors: NDArray[np.float32], capacity: int) -> Callable[[], Finder]:
    """Makes finders that compare real vectors."""
    # Rounded: decisions must not depend on the order in which a library adds.
    cosines = np.round(vectors @ vectors.T, 6)
    return lambda: _Vectors(cosines, capacity)


def fitted_finder(fitted: Similarity, answer: Ints, seed: int) -> Callable[[], Finder]:
    """Makes finders that draw the luck of each phrase, and know nothing else about it."""
    random = np.random.default_rng([seed, 2])
    meanings = random.random((2, int(answer.max()) + 1))
    own = random.random((3, len(answer)))
    same, other = lucks(fitted.spread, (meanings[0][answer], meanings[1][answer]), (own[0], own[1]))
    grids = [_grid(table, luck, growth) for table, luck, growth in
             ((fitted.same, same, _GROWTH[0]), (fitted.other, other, _GROWTH[1]))]  # fmt: skip
    known, luck = answer.tolist(), own[2].tolist()
    return lambda: _Fitted(grids[0], grids[1], known, luck)


def _grid(table: Mapping[int, Floats], luck: Floats, growth: float) -> Floats:
    """Cosines by phrase and place of n, as `llmsim.stores.nearness.Table` has them; ``(phrases, places)``."""
    if not table:  # nobody knows what means the same
        return np.full((len(luck), _PLACES[-1] + 1), -1.0)
    counts = sorted(table)
    logs = np.log(counts)
    rows = np.array([np.interp(luck, LEVELS, table[n]) for n in counts])
    rows = np.maximum.accumulate(rows, axis=0)
    at = np.arange(_PLACES[-1] + 1) / _STEPS
    inside = np.clip(at, logs[0], logs[-1])
    high = np.clip(np.searchsorted(logs, inside), 1, len(logs) - 1)
    share = (inside - logs[high - 1]) / (logs[high] - logs[high - 1])
    values = rows[high - 1].T * (1 - share) + rows[high].T * share
    odds = np.exp(-growth * (at - inside))
    between = (values > 0) & (values < 1)
    safe = np.where(between, values, 0.5)
    return np.where(between, 1 / (1 + (1 - safe) / safe * odds), values)


def popular(count: int, requests: int, seed: int, s: float = 1.0, weights: Ints | None = None) -> list[int]:
    """A stream of phrases: by Zipf's law over a random order, or by `weights`."""
    random = np.random.default_rng([seed, 3])
    if weights is None:
        mass = np.arange(1, count + 1, dtype=np.float64) ** -s
        order = random.permutation(count)
    else:
        mass, order = weights.astype(np.float64), np.arange(count)
    edges = np.cumsum(mass / mass.sum())
    edges[-1] = 1.0
    return [int(number) for number in order[np.searchsorted(edges, random.random(requests))]]


class Row(NamedTuple):
    """One threshold: shares of requests, by stream."""

    threshold: float
    requests: int
    real: tuple[Count, ...]
    fitted: tuple[Count, ...]

    def rate(self, field: str, *, of_fit: bool = False) -> float:
        """Mean share of requests: ``hits``, ``exact`` or ``wrong``."""
        counts = self.fitted if of_fit else self.real
        return float(np.mean([getattr(count, field) for count in counts])) / self.requests

    def difference(self, field: str) -> tuple[float, float, float]:
        """Fitted minus real, and its 95 % interval over streams (Student's t)."""
        from scipy.stats import t

        pairs = zip(self.fitted, self.real, strict=True)
        gaps = np.array([getattr(one, field) - getattr(other, field) for one, other in pairs]) / self.requests
        wide = (
            float(t.ppf(0.975, len(gaps) - 1) * gaps.std(ddof=1) / math.sqrt(len(gaps))) if len(gaps) > 1 else math.inf
        )
        return float(gaps.mean()), float(gaps.mean()) - wide, float(gaps.mean()) + wide

    @property
    def factor(self) -> float:
        """Wrong hits by the fit, over real ones; NaN where a stream has fewer than 100 of them."""
        real = self.rate("wrong")
        return self.rate("wrong", of_fit=True) / real if real * self.requests >= ENOUGH_WRONG else math.nan


@dataclass(frozen=True, eq=False)
class Check:
    """How good a fit is, out of sample.

    Parameters
    ----------
    ks
        Distance of each row's distribution (``same``, ``other``) from that of the phrases it was not fitted on, mean
        over the splits.
    rows
        A threshold each.
    streams
        How many.
    """

    ks: dict[tuple[str, int], float]
    rows: tuple[Row, ...]
    streams: int


def check_similarity(
    vectors: NDArray[np.float32],
    answer: Ints,
    *,
    streams: int = 6,
    requests: int = 8000,
    capacity: int = 1000,
    thresholds: Sequence[float] = THRESHOLDS,
    weights: Ints | None = None,
    stream: Callable[[Ints, int], list[int]] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Check:
    """Fit halves of the intents, and compare on the others.

    Parameters
    ----------
    vectors, answer
        As in `nearest_samples`.
    streams
        How many, each on another half.
    requests, capacity, thresholds
        Of a stream, and of its cache.
    weights
        How often each phrase is asked; without, Zipf(1.0).
    stream
        Makes another one of the answers of a half's phrases and a seed.
    seed
        Of halves, luck and streams.
    progress
        Called with how many of how many streams are done.
    """
    labelled = bool((answer >= 0).all())
    real: list[list[Count]] = []
    fitted: list[list[Count]] = []
    distances: dict[tuple[str, int], list[float]] = {}
    for number in range(streams):
        one, other = _halves(answer, seed + number // 2)
        known, asked = (one, other) if number % 2 == 0 else (other, one)
        fit = fit_similarity(vectors[known], _numbered(answer[known]), seed=seed)
        names = _numbered(answer[asked])
        held = nearest_samples(vectors[asked], names, seed=seed + 1)
        for key, distance in _distances(fit, held):
            distances.setdefault(key, []).append(distance)
        own = seed * 1000 + number
        asks = stream(names, own) if stream is not None else popular(
            len(asked), requests, own, weights=None if weights is None else weights[asked]
        )  # fmt: skip
        if not labelled:
            names = np.arange(len(asked))
        finders = real_finder(vectors[asked], capacity), fitted_finder(fit, names, own)
        for make, into in zip(finders, (real, fitted), strict=True):
            into.append([replay(asks, names.tolist(), make(), threshold, capacity) for threshold in thresholds])
        if progress is not None:
            progress(number + 1, streams)
    rows = [
        Row(threshold, requests, tuple(counts[at] for counts in real), tuple(counts[at] for counts in fitted))
        for at, threshold in enumerate(thresholds)
    ]
    return Check({key: float(np.mean(found)) for key, found in distances.items()}, tuple(rows), streams)


def _halves(answer: Ints, seed: int) -> tuple[Ints, Ints]:
    """Phrases of one half of the meanings, and of the other (without labels, of the phrases themselves)."""
    unit = answer if (answer >= 0).all() else np.arange(len(answer))
    order = np.random.default_rng([seed, 4]).permutation(int(unit.max()) + 1)
    first = np.isin(unit, order[: len(order) // 2])
    return np.flatnonzero(first), np.flatnonzero(~first)


def _numbered(answer: Ints) -> Ints:
    return np.unique(answer, return_inverse=True)[1] if (answer >= 0).all() else answer


def _distances(fit: Similarity, held: Samples) -> list[tuple[tuple[str, int], float]]:
    found = []
    for kind, tables, samples in (("same", fit.same, held.same), ("other", fit.other, held.other)):
        for n, row in tables.items():
            values = samples[n][~np.isnan(samples[n])]
            if len(values) >= 100:
                ranks = np.interp(np.sort(values), row, LEVELS)
                steps = np.arange(len(values) + 1) / len(values)
                found.append(((kind, n), float(max((ranks - steps[:-1]).max(), (steps[1:] - ranks).max()))))
    return found
