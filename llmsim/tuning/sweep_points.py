"""The points of a sweep: designs over its parameters, and the scenario that each point stands for."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import LlmsimError, Problem, ScenarioError
from llmsim.luck import Luck
from llmsim.scenario.spec import Scenario
from llmsim.tuning.settled import document_of, with_settings
from llmsim.tuning.sweep_space import SOURCE, Parameter

__all__ = ["DESIGNS", "Design", "Point", "points_of", "scenarios_of"]

Design = Literal["grid", "latin-hypercube", "sobol"]
DESIGNS: tuple[str, ...] = get_args(Design)

Floats = NDArray[np.float64]

_MOST_POINTS = 100_000  # a grid of more is a slip: at 0.1 s a run it would take a day on one core
_SHOWN_PROBLEMS = 20
_BITS = 30  # of Sobol points, as many as scipy gives by default


class Point(NamedTuple):
    """One setting of all parameters."""

    number: int  #: from 0, in the order of the design
    values: tuple[Any, ...]  #: one for each parameter
    settings: tuple[str, ...]  #: the same as ``path=value``, for ``--set``


def points_of(
    parameters: Sequence[Parameter], design: str, points: int | None, seed: int
) -> tuple[tuple[Point, ...], int]:
    """The points of a design, each once, and how many were left out for being there already.

    Parameters
    ----------
    parameters
        What varies.
    design
        ``grid``: every combination of all values. ``latin-hypercube``: every parameter's range is cut into as many
        parts as there are points, each of which has one. ``sobol``: points that fill the space evenly, however many
        of its parameters matter; best with 2, 4, 8, … of them.
    points
        How many; not for a grid.
    seed
        Of the draw: same seed, same points.

    Raises
    ------
    LlmsimError
        If the design is unknown, or does not fit.
    """
    if design not in DESIGNS:
        raise LlmsimError(f"design is {design!r}; use {', '.join(DESIGNS)}")
    rows = _grid(parameters, points) if design == "grid" else _drawn(parameters, design, points, seed)
    unique: dict[tuple[str, ...], tuple[Any, ...]] = {}
    total = 0
    for row in rows:
        total += 1
        named = zip(parameters, row, strict=True)
        unique.setdefault(tuple(f"{one.path}={one.text(value)}" for one, value in named), tuple(row))
    found = tuple(Point(number, row, texts) for number, (texts, row) in enumerate(unique.items()))
    return found, total - len(found)


def _grid(parameters: Sequence[Parameter], points: int | None) -> Sequence[tuple[Any, ...]]:
    if points is not None:
        raise LlmsimError("points are for latin-hypercube and sobol; a grid has as many as its values make")
    open_ended = [one for one in parameters if one.range is not None]
    if open_ended:
        one = open_ended[0]
        assert one.range is not None
        text = f"{one.text(one.range.low)}..{one.text(one.range.high)} in 5"
        raise ScenarioError(
            [Problem("a grid needs values, not a range", one.path, hint=f"Write {text}, or take a design that draws.")],
            SOURCE,
        )
    size = math.prod(len(one.levels) for one in parameters)
    if size > _MOST_POINTS:
        raise LlmsimError(f"this grid has {size:,} points; take fewer values, or a latin-hypercube with --points")
    return list(itertools.product(*(one.levels for one in parameters)))


def _drawn(parameters: Sequence[Parameter], design: str, points: int | None, seed: int) -> list[tuple[Any, ...]]:
    if points is None or not 1 <= points <= _MOST_POINTS:
        told = "" if points is None else f", not {points:,}"
        raise LlmsimError(f"design {design} needs points, 1 to {_MOST_POINTS:,}{told}: points=64, or --points 64")
    shares = (_latin if design == "latin-hypercube" else _sobol)(points, len(parameters), Luck(seed))
    return [tuple(one.at(float(share)) for one, share in zip(parameters, row, strict=True)) for row in shares]


def _latin(points: int, dimensions: int, luck: Luck) -> Floats:
    """Shares of shape ``(points, dimensions)``; in each column one in every n-th part (McKay, Beckman & Conover 1979).

    Drawn from addressed luck and not with ``scipy.stats.qmc.LatinHypercube``, whose draws may differ between versions:
    a sweep that is resumed years later must know its points again.
    """
    columns = []
    for number in range(dimensions):
        order = np.argsort(luck.series("sweep order", number).array(0, points), kind="stable")
        inside = luck.series("sweep place", number).array(0, points)
        columns.append((order + inside) / points)
    return np.array(columns).T


def _sobol(points: int, dimensions: int, luck: Luck) -> Floats:
    """Shares of shape ``(points, dimensions)``: Sobol's sequence under a digital shift, which leaves it as even."""
    from scipy.stats import qmc

    if dimensions > qmc.Sobol.MAXDIM:
        raise LlmsimError(f"sobol has up to {qmc.Sobol.MAXDIM:,} parameters, these are {dimensions:,}")
    whole = qmc.Sobol(dimensions, scramble=False, bits=_BITS).random_base2(math.ceil(math.log2(points)))[:points]
    shifts = luck.series("sweep shift").array(0, 4 * math.ceil(dimensions / 4))[:dimensions]
    digits = (whole * 2**_BITS).astype(np.int64) ^ (shifts * 2**_BITS).astype(np.int64)
    shares: Floats = (digits + 0.5) / 2**_BITS
    return shares


def scenarios_of(scenario: Scenario, parameters: Sequence[Parameter], points: Sequence[Point]) -> list[Scenario]:
    """The scenario of every point.

    Raises
    ------
    ScenarioError
        With all that is wrong at any of them, each problem once.
    """
    base = document_of(scenario)
    paths, switches = [one.path for one in parameters], {one.path for one in parameters if one.switch}
    found: list[Scenario] = []
    problems: dict[tuple[str, str], Problem] = {}
    for point in points:
        try:
            found.append(with_settings(scenario, dict(zip(paths, point.values, strict=True)), switches, SOURCE, base))
        except ScenarioError as error:
            for problem in error.problems:
                where = f" (at {', '.join(point.settings)})" if len(parameters) > 1 else ""
                problems.setdefault((problem.path, problem.message), problem._replace(message=problem.message + where))
            if len(problems) >= _SHOWN_PROBLEMS:
                break
    if problems:
        raise ScenarioError(list(problems.values())[:_SHOWN_PROBLEMS], SOURCE)
    return found
