"""What is to be expected of a setting that was not tried, from those near it that were.

All settings meet the same luck, so costs and limits are next to smooth in the settings, and a Gaussian process of fixed
width interpolates them well enough to choose among steps from the best so far (Jones, Schonlau & Welch 1998; limits as
in Gardner et al. 2014: a model of each).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmsim.tuning.space import Settings, Space, settings_key

__all__ = ["Guess"]

Floats = NDArray[np.float64]

_NEAREST = 32  # answers around the best: what is far away says little of it, and a step takes no time with these
#: Width of the process, as a share of every range (all of them, times √dimensions); chosen: a step is .02 to .2.
_WIDTH = 0.3
_NUGGET = 1e-3  # variance of what is not smooth, as a share of the variance among the answers
_APART = 0.5  # distance between two choices that are in no order


class Guess:
    """Costs and limits around the best, as shares of what they are there.

    Parameters
    ----------
    space
        What settings are of.
    best
        Where it is to be good.
    answers
        Settings, their costs (finite), and how far each limit is outside.
    """

    def __init__(
        self, space: Space, best: Settings, answers: Sequence[tuple[Settings, float, Sequence[float]]]
    ) -> None:
        self._space = space
        told, here = list(answers), self._places([best])
        places = self._places([one for one, *_ in told])
        near = np.argsort(_distances(here, places)[0], kind="stable")[:_NEAREST]
        self._at = places[near]
        key = settings_key(best)
        own = next((cost for one, cost, _ in told if settings_key(one) == key), min(cost for _, cost, _ in told))
        scale = abs(own) or 1.0
        # What is twice as dear or half as dear is far away; how far does not matter.
        values = np.array(
            [[min(max(told[n][1] / scale - own / scale, -1.0), 1.0), *told[n][2]] for n in near], dtype=np.float64
        )
        self._mean = values.mean(axis=0)
        kernel = self._kernel(self._at, self._at) + _NUGGET * np.eye(len(near))
        self._weights = np.linalg.solve(kernel, values - self._mean)

    def of(self, settings: Sequence[Settings]) -> Floats:
        """Of each, the cost less that of the best as a share of it, and how far each limit is outside."""
        found: Floats = self._mean + self._kernel(self._places(settings), self._at) @ self._weights
        return found

    def _kernel(self, one: Floats, other: Floats) -> Floats:
        width = _WIDTH * math.sqrt(len(self._space.dimensions))
        found: Floats = np.exp(-0.5 * (_distances(one, other) / width) ** 2)
        return found

    def _places(self, settings: Sequence[Mapping[str, Any]]) -> Floats:
        """Where they lie, shape ``(settings, coordinates)``: one a dimension, or a choice without order."""
        rows = []
        for one in settings:
            row: list[float] = []
            for dimension in self._space.dimensions:
                value = one[dimension.path]
                if dimension.ordered:
                    row.append(dimension.place(value))
                else:
                    index = int(dimension.number(value))
                    row += [_APART / math.sqrt(2) * (n == index) for n in range(len(dimension.choices))]
            rows.append(row)
        return np.array(rows, dtype=np.float64)


def _distances(one: Floats, other: Floats) -> Floats:
    found: Floats = np.sqrt(((one[:, None, :] - other[None, :, :]) ** 2).sum(axis=2))
    return found
