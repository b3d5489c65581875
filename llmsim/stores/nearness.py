"""How near a phrase is to the nearest of *n* others: quantile tables of similarities, measured on real sentences."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import NDArray

__all__ = ["Nearness", "Table", "nearness"]

Floats = NDArray[np.float64]


class Table:
    """Quantiles of the similarity to the nearest of `n`, for some n; between them, interpolated in ln n.

    Parameters
    ----------
    levels
        Probabilities, shape (L,), ascending.
    counts
        Numbers of neighbours, shape (R,), ascending.
    quantiles
        Cosines, shape (R, L).
    """

    def __init__(self, levels: Floats, counts: list[int], quantiles: Floats) -> None:
        self._levels = levels
        self._logs = [math.log(count) for count in counts]
        self._rows = quantiles

    def __call__(self, n: int, u: float) -> float:
        """The cosine at probability `u` of the nearest of `n` neighbours; -1 without any."""
        if n < 1:
            return -1.0
        log, logs = math.log(n), self._logs
        high = min(max(int(np.searchsorted(logs, log)), 1), len(logs) - 1)
        weight = (min(max(log, logs[0]), logs[-1]) - logs[high - 1]) / (logs[high] - logs[high - 1])
        low_value, high_value = (float(np.interp(u, self._levels, self._rows[row])) for row in (high - 1, high))
        return low_value + weight * (high_value - low_value)


class Nearness:
    """Similarity between what means the same, and what does not.

    Parameters
    ----------
    same, other
        To the nearest phrase with the same meaning, and with another one.
    """

    def __init__(self, same: Table, other: Table) -> None:
        self.same = same
        self.other = other


@cache
def nearness(name: str) -> Nearness:
    """The tables of a corpus that comes with llmsim: ``banking77`` or ``clinc150``.

    Measured with all-MiniLM-L6-v2 (int8) on PolyAI's banking77 (CC BY 4.0) and on CLINC150 (CC BY 3.0): 104 quantiles
    for 1 to 32 neighbours of the same intent, and for 30 to 1000 of any other.
    """
    text = resources.files("llmsim.stores").joinpath("corpora", f"{name}.json").read_text(encoding="utf-8")
    data = json.loads(text)
    levels = np.array(data["levels"])
    tables = [
        Table(levels, [int(n) for n in data[kind]], np.array(list(data[kind].values()))) for kind in ("same", "other")
    ]
    return Nearness(*tables)
