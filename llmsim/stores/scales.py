"""What the thresholds of other caches are as cosines: 0.8 in one is 0.60, and 0.90 in another is 0.80."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["LIBRARIES", "SCALES", "Library", "Scale", "from_cosine", "library", "scale", "to_cosine"]


class Scale(NamedTuple):
    """How near two unit vectors are, as a number."""

    name: str
    formula: str  #: of the cosine
    low: float  #: least value it can have
    high: float
    nearer: str  #: ``above`` if a hit is at or above the threshold, ``below`` if at or below
    to_cosine: Callable[[float], float]
    from_cosine: Callable[[float], float]


class Library(NamedTuple):
    """Whose threshold it is."""

    name: str
    scale: str
    default: float | None  #: its own, on its own scale; None: it has none
    source: str  #: version, and where that stands

    @property
    def default_cosine(self) -> float | None:
        """Its default as a cosine."""
        return None if self.default is None else to_cosine(self.default, self.name)


# For unit vectors |a - b|² = 2 - 2 cos(a, b).
SCALES: dict[str, Scale] = {
    each.name: each
    for each in (
        Scale("cosine", "cos", -1.0, 1.0, "above", lambda value: value, lambda cosine: cosine),
        Scale("half", "(1 + cos) / 2", 0.0, 1.0, "above", lambda v: 2.0 * v - 1.0, lambda c: (1.0 + c) / 2.0),
        Scale("distance", "1 - cos", 0.0, 2.0, "below", lambda v: 1.0 - v, lambda c: 1.0 - c),
        Scale("squared-l2", "2 - 2 cos", 0.0, 4.0, "below", lambda v: 1.0 - v / 2.0, lambda c: 2.0 - 2.0 * c),
        Scale("l2", "sqrt(2 - 2 cos)", 0.0, 2.0, "below", lambda v: 1.0 - v * v / 2.0, lambda c: math.sqrt(2 - 2 * c)),
    )
}

LIBRARIES: dict[str, Library] = {
    each.name: each
    for each in (
        Library("llmsim", "cosine", 0.92, "semantic_cache, threshold"),
        Library(
            "gptcache",
            "half",
            0.8,
            "GPTCache 0.1.44, Config.similarity_threshold: a fraction of the range of SearchDistanceEvaluation, which "
            "is 4 - squared L2 (adapter.py, distance.py, faiss.py)",
        ),
        Library("redisvl", "distance", 0.1, "RedisVL 0.28.0, SemanticCache(distance_threshold)"),
        Library("langchain-redis", "distance", 0.2, "langchain-redis 0.2.6, RedisSemanticCache(distance_threshold)"),
        Library("litellm", "cosine", None, "LiteLLM 1.109.1, similarity_threshold: required; its docs write 0.8"),
        Library("betterdb", "distance", 0.1, "betterdb-semantic-cache 0.13.0, default_threshold"),
        Library("khazad", "half", 0.9, "khazad 0.1.3, threshold: compared with the score of Redis's VSIM as it is"),
        Library("redis-vsim", "half", None, "Redis 8.2.3, VSIM WITHSCORES: measured, 0.9994 for a cosine of 0.9988"),
        Library("vcache", "cosine", None, "vCache: learns a threshold for each entry"),
        Library("portkey", "cosine", None, "Portkey: a default is not stated in its documentation"),
    )
}


def scale(name: str) -> Scale:
    """The scale of this name, or that of the library of this name.

    Raises
    ------
    ValueError
        If there is none; says which there are.
    """
    known = LIBRARIES.get(name)
    found = SCALES.get(known.scale if known is not None else name)
    if found is None:
        raise ValueError(f"unknown scale {name!r}; write one of {', '.join([*LIBRARIES, *SCALES])}")
    return found


def library(name: str) -> Library | None:
    """The library of this name; None if it is the name of a scale."""
    return LIBRARIES.get(name)


def to_cosine(value: float, name: str) -> float:
    """A threshold on some scale as a cosine.

    Parameters
    ----------
    value
        The threshold.
    name
        Of a scale, or of a library.

    Raises
    ------
    ValueError
        If there is no such scale, or no such value on it.

    Examples
    --------
    >>> round(to_cosine(0.8, "gptcache"), 3), round(to_cosine(0.90, "khazad"), 3), to_cosine(0.25, "redisvl")
    (0.6, 0.8, 0.75)
    """
    of = scale(name)
    if not of.low <= value <= of.high:
        raise ValueError(f"{name} says {of.formula}, from {of.low:g} to {of.high:g}; {value:g} is outside")
    return _tidy(of.to_cosine(value))


def from_cosine(cosine: float, name: str) -> float:
    """A cosine as a threshold on some scale.

    Raises
    ------
    ValueError
        As `to_cosine`.

    Examples
    --------
    >>> round(from_cosine(0.92, "redisvl"), 3), round(from_cosine(0.92, "redis-vsim"), 3)
    (0.08, 0.96)
    """
    of = scale(name)
    if not -1.0 <= cosine <= 1.0:
        raise ValueError(f"a cosine is from -1 to 1; {cosine:g} is outside")
    return _tidy(of.from_cosine(cosine))


def _tidy(value: float) -> float:
    """Without the last digits of binary arithmetic: 2 * 0.8 - 1 is 0.6, and not a hit less."""
    return round(value, 12) + 0.0
