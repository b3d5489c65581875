"""How similar phrases are: tables that were measured on real sentences, from a corpus that comes along or from a file.

A file is what ``llmsim cache fit`` writes, JSON with these keys::

    levels       probabilities, ascending, each in [0, 1]
    same         {"1": […], "2": […], …}: for a number of phrases with the same meaning, the cosine to the nearest of
                 them at each level
    other        {"30": […], "1000": […], …}: to the nearest of so many with other meanings
    rephrased    {"1": […], …}: to the nearest of so many that ask the same question in other words (optional)
    traps        {"negation": […], "number": […], "entity": […], "scope": […]}: to what it looks like (optional)
    correlation  between the two of one phrase (Gaussian copula; optional, .26)
    growth       {"same": .447, "other": .182}: of the logit, a unit of ln n, where the tables end (optional)
    sizes        [35, 36, …]: how many questions each meaning has; only their proportions count (optional: all equal)
    source, meta anything

What is optional and missing is as in the corpora that come along.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from llmsim.errors import Problem, ScenarioError

__all__ = ["CORPORA", "TRAP_KINDS", "Rows", "SimilarityTables", "parse_tables", "similarity_tables"]

#: Corpora that come with llmsim.
CORPORA = ("banking77", "clinc150")
TRAP_KINDS = ("negation", "number", "entity", "scope")

#: Of the two similarities of one query: .25 on banking77, .27 on CLINC150.
_CORRELATION = 0.26
#: Of the mean logit, a unit of ln n, on banking77 (logit-normal fits; CLINC150: .467 and .205).
_GROWTH = {"same": 0.447, "other": 0.182}
_KEYS = ("levels", "same", "other", "rephrased", "traps", "correlation", "growth", "sizes", "source", "meta")


class Rows(NamedTuple):
    """Quantiles of the similarity to the nearest of n, for some n."""

    levels: tuple[float, ...]
    counts: tuple[int, ...]  #: ascending
    quantiles: tuple[tuple[float, ...], ...]  #: a row a count, a column a level
    growth: float  #: of the logit, a unit of ln n, beyond the counts


@dataclass(frozen=True, kw_only=True)
class SimilarityTables:
    """What is known about the similarity of phrases.

    Parameters
    ----------
    same, other
        To the nearest of n phrases with the same meaning, and of n with another.
    rephrased
        To the nearest of n that ask the same question in other words.
    traps
        In the order of `TRAP_KINDS`: to the question that it looks like.
    correlation
        Of the normal scores of the first two, for one phrase.
    sizes
        Of meanings, in questions; empty: all are equal.
    """

    same: Rows
    other: Rows
    rephrased: Rows
    traps: tuple[Rows, ...]
    correlation: float
    sizes: tuple[float, ...]


def similarity_tables(name: str) -> SimilarityTables:
    """The tables of a corpus that comes with llmsim, or of a file; read once a process.

    Raises
    ------
    ScenarioError
        For a file that is not there, or is no such file: what is wrong with it, and where.
    """
    if name in CORPORA:
        return _shipped(name)
    try:
        status = Path(name).stat()
        return _of_file(name, (status.st_mtime_ns, status.st_size))
    except OSError as error:
        hint = f"Write {', '.join(CORPORA)}, or the name of a file that llmsim cache fit made."
        raise ScenarioError([Problem(f"cannot be read: {error.strerror}", hint=hint)], name) from None


@lru_cache(maxsize=len(CORPORA))
def _shipped(name: str) -> SimilarityTables:
    return parse_tables(_resource(name), name)


@lru_cache(maxsize=1)
def _phrases() -> Any:
    return _resource("phrases")


def _resource(name: str) -> Any:
    found = resources.files("llmsim.stores").joinpath("corpora", f"{name}.json")
    return json.loads(found.read_text(encoding="utf-8"))


@lru_cache(maxsize=8)
def _of_file(name: str, stamp: tuple[int, int]) -> SimilarityTables:
    try:
        data = json.loads(Path(name).read_bytes())
    except ValueError as error:  # also of text that is not UTF-8
        _refuse(name, "", f"is not JSON: {error}")
    return parse_tables(data, name)


def _refuse(source: str, place: str, message: str, hint: str = "") -> NoReturn:
    hint = hint or "llmsim cache fit PROMPTS --out FILE writes such a file."
    raise ScenarioError([Problem(message, place, hint=hint)], source)


def parse_tables(data: Any, source: str) -> SimilarityTables:
    """Tables from the plain values of a file.

    Parameters
    ----------
    data
        What the JSON holds.
    source
        What messages call it.

    Raises
    ------
    ScenarioError
        With the first thing that is wrong, and where it stands.
    """
    if not isinstance(data, dict):
        _refuse(source, "", "holds no mapping of tables")
    for key in data:
        if key not in _KEYS:
            _refuse(source, key, f"unknown key {key!r}", f"Known: {', '.join(_KEYS)}.")
    for key in ("levels", "same", "other"):
        if key not in data:
            _refuse(source, key, f"{key} is missing")
    levels = _numbers(data["levels"], source, "levels", 0.0, 1.0, at_least=2)
    if any(high <= low for low, high in pairwise(levels)):
        _refuse(source, "levels", "levels must ascend")
    growth = _growth(data.get("growth", {}), source)
    own = dict.fromkeys(("rephrased", "traps"), levels)
    for key in ("rephrased", "traps"):
        if key not in data:
            data = {**data, key: _phrases()[key]}
            own[key] = tuple(_phrases()["levels"])
    traps = data["traps"]
    if not isinstance(traps, dict) or set(traps) != set(TRAP_KINDS):
        _refuse(source, "traps", f"traps must have the keys {', '.join(TRAP_KINDS)}")
    correlation = data.get("correlation", _CORRELATION)
    if not _is_number(correlation) or not -1 < correlation < 1:
        _refuse(source, "correlation", f"{correlation!r} is no correlation; it lies between -1 and 1")
    return SimilarityTables(
        same=_rows(data["same"], levels, growth["same"], source, "same"),
        other=_rows(data["other"], levels, growth["other"], source, "other"),
        # What is asked in more words, and looked like by more traps, comes nearer as what means the same does.
        rephrased=_rows(data["rephrased"], own["rephrased"], growth["same"], source, "rephrased"),
        traps=tuple(
            _rows({"1": traps[kind]}, own["traps"], growth["same"], source, "traps", kind) for kind in TRAP_KINDS
        ),
        correlation=float(correlation),
        sizes=_numbers(data.get("sizes", []), source, "sizes", 0.0, math.inf, above=True),
    )


def _rows(data: Any, levels: tuple[float, ...], growth: float, source: str, key: str, kind: str = "") -> Rows:
    if not isinstance(data, dict) or not data:
        _refuse(source, key, f'{key} must be a mapping of counts, as in {{"1": […], "2": […]}}')
    rows = {}
    for count, values in data.items():
        place = f"{key}.{kind or count}"
        if not str(count).isdecimal() or int(count) < 1:
            _refuse(source, place, f"{count!r} is no number of phrases")
        row = _numbers(values, source, place, -1.0, 1.0)
        if len(row) != len(levels):
            _refuse(source, place, f"there are {len(row)} cosines for {len(levels)} levels")
        if any(high < low for low, high in pairwise(row)):
            _refuse(source, place, "cosines must not fall from one level to the next")
        rows[int(count)] = row
    counts = tuple(sorted(rows))
    return Rows(levels, counts, tuple(rows[count] for count in counts), growth)


def _growth(data: Any, source: str) -> dict[str, float]:
    if not isinstance(data, dict) or not set(data) <= set(_GROWTH):
        _refuse(source, "growth", f"growth must be a mapping with the keys {', '.join(_GROWTH)}")
    for key, value in data.items():
        if not _is_number(value) or not 0 <= value <= 2:
            _refuse(source, f"growth.{key}", f"{value!r} is no growth of a logit; it lies between 0 and 2")
    return {**_GROWTH, **data}


def _numbers(
    values: Any, source: str, place: str, low: float, high: float, *, at_least: int = 0, above: bool = False
) -> tuple[float, ...]:
    if not isinstance(values, list) or len(values) < at_least:
        _refuse(source, place, "must be a list of numbers")
    for at, value in enumerate(values):
        if not _is_number(value) or not low <= value <= high or (above and value == low):
            bounds = f"above {low:g}" if above else f"from {low:g} to {high:g}"
            _refuse(source, f"{place}[{at}]", f"{value!r} is not a number {bounds}")
    return tuple(float(value) for value in values)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
