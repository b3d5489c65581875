"""How similar a log's prompts are, as tables that a scenario can use without any vectors.

What was found on banking77 (all-MiniLM-L6-v2 int8; fitted on one half of the intents, compared on the other with a
cache over real vectors, LRU of 1000, 8,000 requests, 20 streams of each kind; `llmsim.calibrate.similarity_check` does
it again):

- Quantile tables of the nearest of k and of N, with frozen luck for each phrase on its own, are within 1 point of hit
  rate at .70 to .85 and 2 to 2.4 points too high at .90 and .92 where a stream spreads evenly over an intent; of wrong
  hits they have half at .90 and a quarter to a half at .95.
- What removes that is luck that phrases of an intent have in common (`llmsim.traffic.latents`): a tenth of the variance
  of the similarity to the same intent, and three tenths of that to others. How many phrases of an intent a cache has
  says how wide the intent is. By the mean over streams, fitted against real::

      threshold                          .70   .75   .80   .85   .88   .90   .92   .95
      Zipf(1.0) over sentences
        hit rate, real                  .942  .920  .890  .851  .819  .797  .773  .742
        fitted - real, points            -.5   -.6   -.4   -.2    .0   +.1   +.2   +.1
        wrong hits a stream, real        381   211    96    40    20    13     6     2
        fitted                           385   219   108    38    20    12     7     2
      Zipf(1.0) over intents, sentences evenly within them
        hit rate, real                  .930  .902  .860  .777  .708  .658  .607  .531
        fitted - real, points            -.8  -1.0  -1.1   -.6   -.2   +.1   +.1   +.3
        wrong hits a stream, real        418   262   136    64    33    23    11     3
        fitted                           499   310   163    68    39    22    14     3

- Single streams differ by up to 1.5 points and a factor of 2 in wrong hits (over sentences), or 4 points (over intents,
  where one intent has a fifth of the requests): which phrases are popular decides, and the fit does not know them.
- What did not help: to let phrases that are near to nobody count less as neighbours of others (hit rates fall by 2 to 4
  points at .80); to draw measured pairs of lucks in place of a correlation; a separate component of near duplicates
  (the tables' upper levels and the common luck have them).
- A cache of 1000 for exact matches alone has 64 to 65 % of Zipf(1.0) over all 10,003 sentences (5 streams), and 33 to
  38 % of the second kind of stream (4 streams).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.traffic.latents import Spread

__all__ = ["LEVELS", "Samples", "Similarity", "fit_similarity", "nearest_samples", "spread_of"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: As in the corpora that come with llmsim: percentiles, and finer ones in the tails.
LEVELS = np.array([0.0005, 0.005, *(n / 100 for n in range(1, 100)), 0.995, 0.998, 0.9995])
SAME_COUNTS = (1, 2, 4, 8, 16, 32, 64, 128)
OTHER_COUNTS = (1, 3, 10, 30, 100, 300, 1000, 3000)
#: Where lucks are compared: numbers of neighbours that a cache has of each (a thousand entries, some hundred intents).
SAME_AT, OTHER_AT = 8, 300
#: A row of a table stands on that share of all phrases at least: who has 128 others of its intent is not typical.
ENOUGH = 0.5
#: Similarities a row stands on, about: the highest level (.9995) is then between the 5th and the 10th highest.
DRAWS = 15_000
_MOST_ASKED = 20_000  #: phrases whose neighbours are looked for, of a large log
_AT_ONCE = 256

Progress = Callable[[int, int], object]


@dataclass(frozen=True, eq=False)
class Samples:
    """Similarities to the nearest of n random others, ``(phrases, draws)`` for each n; NaN where there are not n.

    Parameters
    ----------
    asked
        Numbers of the phrases.
    same, other
        By n: with the same meaning, and with another.
    """

    asked: Ints
    same: Mapping[int, Floats]
    other: Mapping[int, Floats]


@dataclass(frozen=True, eq=False)
class Similarity:
    """Fitted tables; `to_dict` is what ``topics.similarity`` reads.

    Parameters
    ----------
    same, other
        Cosines at `LEVELS`, by number of neighbours; `same` is empty for a log without labels.
    spread
        What phrases of a meaning have in common.
    correlation
        Of the normal scores of the two, over all phrases.
    sizes
        How many phrases each meaning has.
    source
        What it was measured on.
    meta
        Anything else that is known about the log.
    """

    same: Mapping[int, Floats]
    other: Mapping[int, Floats]
    spread: Spread
    correlation: float
    sizes: tuple[int, ...]
    source: str
    meta: Mapping[str, Any]

    @property
    def labelled(self) -> bool:
        """Whether it knows what means the same."""
        return bool(self.same)

    def quantiles(self, kind: str, n: int, levels: Sequence[float]) -> list[float]:
        """Cosines of a row (``same`` or ``other``) at some levels."""
        table = self.same if kind == "same" else self.other
        return [float(value) for value in np.interp(levels, LEVELS, table[n])]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""

        def rows(table: Mapping[int, Floats]) -> dict[str, list[float]]:
            return {str(n): [round(float(value), 4) for value in row] for n, row in table.items()}

        return {
            "source": self.source,
            "levels": LEVELS.tolist(),
            "same": rows(self.same),
            "other": rows(self.other),
            "correlation": round(self.correlation, 4),
            "intents": {name: round(float(value), 4) for name, value in self.spread._asdict().items()},
            "sizes": list(self.sizes),
            "meta": dict(self.meta),
        }


def nearest_samples(
    vectors: NDArray[np.float32], answer: Ints, *, seed: int = 0, progress: Progress | None = None
) -> Samples:
    """Similarities of phrases to the nearest of so many random others.

    Parameters
    ----------
    vectors
        Of unit length, shape ``(phrases, dimensions)``.
    answer
        Number of each one's meaning; -1 everywhere: nobody knows, all are others.
    seed
        Of the random others: those of a phrase depend on it and on the number of the phrase.
    progress
        Called with how many of how many phrases are done.
    """
    many = len(vectors)
    asked = np.arange(many)
    if many > _MOST_ASKED:
        asked = np.sort(np.random.default_rng([seed, many]).permutation(many)[:_MOST_ASKED])
    draws = max(1, math.ceil(DRAWS / len(asked)))
    members = {name: np.flatnonzero(answer == name) for name in np.unique(answer[answer >= 0]).tolist()}
    same = {n: np.full((len(asked), draws), np.nan) for n in SAME_COUNTS}
    other = {n: np.full((len(asked), draws), np.nan) for n in OTHER_COUNTS}
    # A window of a random order, from a random place on: as good as drawing them one by one, and 20 times as fast.
    orders = [np.random.default_rng([seed, 1, draw]).permutation(many) for draw in range(draws)]
    begins = np.random.default_rng([seed, 2]).integers(0, many, (len(asked), draws))
    for start in range(0, len(asked), _AT_ONCE):
        chunk = asked[start : start + _AT_ONCE]
        cosines = vectors[chunk] @ vectors.T
        for row, (phrase, name) in enumerate(zip(chunk.tolist(), answer[chunk].tolist(), strict=True), start):
            near = cosines[row - start]
            mates = members.get(name, chunk[:0])
            mates = mates[mates != phrase]
            random = np.random.default_rng([seed, 3, phrase])
            for draw in range(draws):
                _note(same, near[random.permutation(mates)], row, draw)
                others = _window(orders[draw], begins[row, draw], OTHER_COUNTS[-1] + len(mates) + 1)
                others = others[(others != phrase) & ((answer[others] != name) | (name < 0))]
                _note(other, near[others], row, draw)
        if progress is not None:
            progress(min(start + _AT_ONCE, len(asked)), len(asked))
    return Samples(asked, same, other)


def _window(order: Ints, begin: int, length: int) -> Ints:
    found = order[begin : begin + length]
    return found if len(found) == length else np.concatenate([found, order[: min(length - len(found), begin)]])


def _note(found: Mapping[int, Floats], cosines: NDArray[np.float32], row: int, draw: int) -> None:
    """The highest of the first n, for each n that there are so many of."""
    there = [n for n in found if n <= len(cosines)]
    if not there:
        return
    highest = np.maximum.accumulate(np.maximum.reduceat(cosines[: there[-1]], [0, *there[:-1]]))
    for n, value in zip(there, highest.tolist(), strict=True):
        found[n][row, draw] = value


def fit_similarity(
    vectors: NDArray[np.float32],
    answer: Ints,
    *,
    source: str = "",
    meta: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Similarity:
    """Tables of a corpus.

    Parameters
    ----------
    vectors, answer, seed, progress
        As in `nearest_samples`.
    source, meta
        See `Similarity`.

    Raises
    ------
    LlmsimError
        With too few phrases or meanings to tell anything.
    """
    labelled = bool((answer >= 0).all())
    if len(vectors) < 100 or (labelled and len(np.unique(answer)) < 4):
        raise LlmsimError(
            f"{len(vectors)} different prompts of {len(np.unique(answer))} intents tell too little about "
            "similarities; give at least 100 of at least 4"
        )
    samples = nearest_samples(vectors, answer, seed=seed, progress=progress)
    spread, correlation = spread_of(samples, answer) if labelled else (Spread(within=0.0), 0.0)
    return Similarity(
        _tables(samples.same) if labelled else {},
        _tables(samples.other),
        spread,
        correlation,
        tuple(sorted(np.bincount(answer).tolist())) if labelled else (),
        source,
        meta or {},
    )


def _tables(samples: Mapping[int, Floats]) -> dict[int, Floats]:
    found: dict[int, Floats] = {}
    for n, values in samples.items():
        known = values[~np.isnan(values)]
        if len(known) >= ENOUGH * values.size:
            found[n] = np.quantile(known, LEVELS)
    return found


def spread_of(samples: Samples, answer: Ints) -> tuple[Spread, float]:
    """What phrases of a meaning have in common, and the correlation over all phrases.

    Components of variance of the normal scores (one-way layout, by moments), of one draw a phrase: the tables are
    quantiles over phrases and draws, so a phrase's luck is that of both.
    """
    from scipy.special import ndtri
    from scipy.stats import rankdata

    at = [_column(samples.same, SAME_AT), _column(samples.other, OTHER_AT)]
    known = ~np.isnan(at[0] + at[1])
    names, group = np.unique(answer[samples.asked][known], return_inverse=True)
    if len(names) < 4:
        return Spread(), 0.25
    scores = np.stack([ndtri((rankdata(column[known]) - 0.5) / known.sum()) for column in at], axis=1)
    size = np.bincount(group)
    total, groups = len(group), len(names)
    means = np.stack([np.bincount(group, scores[:, side]) / size for side in (0, 1)], axis=1)
    rest = scores - means[group]
    within = rest.T @ rest / (total - groups)
    apart = means - scores.mean(axis=0)
    each = (total - (size**2).sum() / total) / (groups - 1)
    between = ((apart * size[:, None]).T @ apart / (groups - 1) - within) / each
    common = np.clip(np.diag(between), 0.0, None)
    share = common / (common + np.diag(within))
    product = math.sqrt(common[0] * common[1])
    spread = Spread(
        float(share[0]),
        float(share[1]),
        float(np.clip(between[0, 1] / product, -0.95, 0.95)) if product > 0 else 0.0,
        float(within[0, 1] / math.sqrt(within[0, 0] * within[1, 1])),
    )
    return spread, float(np.corrcoef(scores.T)[0, 1])


def _column(table: Mapping[int, Floats], at: int) -> Floats:
    """One draw of the row at `at`, or of the longest one below it that half of the phrases have."""
    usable = [n for n, values in table.items() if n <= at and np.isnan(values[:, 0]).mean() <= 1 - ENOUGH]
    return table[max(usable, default=min(table))][:, 0]
