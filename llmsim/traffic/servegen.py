"""ServeGen's client data: how often each client sends in every ten minutes, how unevenly, and what lengths.

A directory holds ``chunk-N-trace.csv`` for client *N*, without a header: start of the window in seconds, requests per
second, cv of the gaps, family (Gamma or Weibull), its shape and scale; and perhaps ``chunk-N-dataset.json`` with
distributions of token counts. It says nothing about single requests: they are drawn. Source: alibaba/ServeGen, arXiv
2505.09999.
"""

from __future__ import annotations

import ast
import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Distribution, Gamma
from llmsim.errors import Problem, ScenarioError
from llmsim.luck import Luck
from llmsim.traffic.gaps import WeibullGaps, first_gap
from llmsim.traffic.traces import Trace

__all__ = ["ServeGen", "read_clients"]

Floats = NDArray[np.float64]

_MOST = 20_000_000  # requests that one call draws; more would not fit into memory with their columns
_CV_STEP = 0.05  # of ln cv: gaps with nearly one cv share a quantile table
_CV_RANGE = (0.05, 10.0)  # what the families take; in the data 99 % of windows are below 13 to 31
_FIELDS = {"input": "input_tokens", "output": "output_tokens"}


@dataclass(frozen=True, eq=False)
class ServeGen:
    """Clients by windows.

    Parameters
    ----------
    folder
        Where the data is.
    names
        Of the clients, ``chunk-0`` and so on.
    starts_s
        Of the windows; shape ``(windows,)``.
    rates_per_s, cvs
        Of each client in each window; shape ``(clients, windows)``.
    weibull
        Where gaps are Weibull instead of gamma; the same shape.
    """

    folder: Path
    names: tuple[str, ...]
    starts_s: Floats
    rates_per_s: Floats
    cvs: Floats
    weibull: NDArray[np.bool_]

    @property
    def window_s(self) -> float:
        """Length of a window."""
        return float(self.starts_s[1] - self.starts_s[0]) if len(self.starts_s) > 1 else 600.0

    def draw(
        self, from_s: float = 0.0, to_s: float = math.inf, rate: float = 1.0, *, limit: int | None = None
    ) -> Trace:
        """Requests of some windows, each client's gaps drawn with its own rate, cv and family.

        Parameters
        ----------
        from_s, to_s
            In seconds from the first window on.
        rate
            Every client sends this many times as often.
        limit
            Draw no more windows than are needed for this many requests.

        Raises
        ------
        ScenarioError
            If there are too many requests for memory, or none.
        """
        offsets = self.starts_s - self.starts_s[0]
        span_s = float(offsets[-1]) + self.window_s
        to_s = min(to_s, span_s)
        chosen = np.flatnonzero((offsets < to_s) & (offsets + self.window_s > from_s))
        expected = self.rates_per_s[:, chosen].sum(axis=0) * (rate * self.window_s)
        if limit is not None:
            chosen = chosen[np.cumsum(expected) - expected < limit * 1.1 + 1000]
            expected = expected[: len(chosen)]
            if len(chosen):
                to_s = min(to_s, float(offsets[chosen[-1]]) + self.window_s)
        if expected.sum() > _MOST:
            hint = f"Cut it with from: and to:, or thin it: rate: {_MOST / 2 / expected.sum():.1g}x."
            message = f"these are some {expected.sum():.3g} requests, {expected.mean():.3g} in ten minutes"
            raise ScenarioError([Problem(message, hint=hint)], str(self.folder))
        luck = Luck("servegen")  # a trace is the same in every replication, and this is to be used like one
        parts: list[tuple[Floats, int, NDArray[np.int64], NDArray[np.int64]]] = []
        for client in np.flatnonzero(self.rates_per_s[:, chosen].sum(axis=1) > 0).tolist():
            lengths = _Lengths(self.folder / f"{self.names[client]}-dataset.json", luck, self.names[client])
            for window in chosen[self.rates_per_s[client, chosen] > 0].tolist():
                times = self._window(luck, client, window, rate)
                parts.append((times + offsets[window], client, *lengths.draw(float(self.starts_s[window]), times)))
        return self._trace(parts, from_s, to_s)

    def _window(self, luck: Luck, client: int, window: int, rate: float) -> Floats:
        """Arrivals of one client in one window, from its start."""
        cv = self.cvs[client, window]
        cv = (
            math.exp(round(math.log(min(max(cv, _CV_RANGE[0]), _CV_RANGE[1])) / _CV_STEP) * _CV_STEP) if cv > 0 else 1.0
        )
        cv = min(cv, _CV_RANGE[1])
        family: Distribution = WeibullGaps(cv) if self.weibull[client, window] else Gamma(1.0, cv)
        address = (self.names[client], window)
        mean_gap_s = 1 / (self.rates_per_s[client, window] * rate)
        u, v = luck.series("servegen.first", *address).array(0, 4)[:2].tolist()
        series = luck.series("servegen.gap", *address, through=family)
        want = self.window_s / mean_gap_s
        block = 4 * math.ceil((want + 3 * math.sqrt(want) * max(cv, 1.0) + 8) / 4)
        first = first_gap(family, u, v)
        assert first is not None
        kept = [np.array([first])]
        drawn = 0
        while kept[-1][-1] < want:
            kept.append(kept[-1][-1] + np.cumsum(series.array(drawn, block)))
            drawn += block
        masses = np.concatenate(kept)
        return np.asarray(masses[masses < want] * mean_gap_s, dtype=np.float64)

    def _trace(
        self, parts: list[tuple[Floats, int, NDArray[np.int64], NDArray[np.int64]]], from_s: float, to_s: float
    ) -> Trace:
        if not parts:
            hint = "Choose another window: `llmsim trace describe` shows when there is traffic."
            raise ScenarioError([Problem("nobody sends anything in this window", hint=hint)], str(self.folder))
        times = np.concatenate([part[0] for part in parts])
        order = np.argsort(times, kind="stable")
        client = np.repeat(np.array([part[1] for part in parts]), [len(part[0]) for part in parts])
        inputs, outputs = (np.concatenate([part[k] for part in parts]) for k in (2, 3))
        whole = Trace(
            times[order],
            inputs[order],
            outputs[order],
            np.zeros(len(times), dtype=np.bool_),
            to_s,
            client=client[order].astype(np.int64),
            clients=self.names,
        )
        return whole.cut(from_s, to_s)


class _Lengths:
    """Token counts of one client, by inversion of what its file says about the time; 0 without a file."""

    def __init__(self, path: Path, luck: Luck, name: str) -> None:
        self._path = path
        self._luck = luck
        self._name = name
        self._windows: dict[float, dict[str, str]] = {}
        if path.is_file():
            try:
                self._windows = {float(key): value for key, value in json.loads(path.read_text("utf-8")).items()}
            except (ValueError, AttributeError) as error:
                _bad(path, f"cannot be read: {error}")
        self._starts = np.array(sorted(self._windows))

    def draw(self, start_s: float, times: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Input and output tokens for arrivals of the window that starts at `start_s`."""
        place = int(np.searchsorted(self._starts, start_s, side="right")) - 1
        zero = np.zeros(len(times), dtype=np.int64)
        if place < 0:
            return zero, zero
        about = self._windows[float(self._starts[place])]
        found = []
        for side, field in _FIELDS.items():
            values, edges = self._pmf(about[field]) if field in about else (zero, np.zeros(0))
            if not len(edges) or not len(times):
                found.append(zero)
                continue
            block = 4 * math.ceil(len(times) / 4)
            u = self._luck.series(f"servegen.{side}", self._name, start_s).array(0, block)[: len(times)]
            found.append(values[np.searchsorted(edges, u)])
        return found[0], found[1]

    def _pmf(self, text: str) -> tuple[NDArray[np.int64], Floats]:
        try:
            table: dict[Any, float] = ast.literal_eval(text)
            values, weights = np.array([*table], dtype=np.int64), np.array([*table.values()], dtype=np.float64)
        except (ValueError, SyntaxError, TypeError) as error:
            _bad(self._path, f"a distribution of tokens cannot be read: {error}")
        if not len(values):
            return values, weights
        edges = np.cumsum(weights / weights.sum())
        edges[-1] = 1.0
        return values, edges


def _bad(path: Path, message: str, line: int | None = None) -> NoReturn:
    raise ScenarioError([Problem(message, "", line, None, "Is this the data of ServeGen?")], str(path))


def read_clients(folder: Path) -> ServeGen:
    """The clients in a directory.

    Raises
    ------
    ScenarioError
        If it holds none, or a row cannot be read.
    """
    if not folder.is_dir():
        hint = "Name the directory of a model, with its chunk-0-trace.csv and so on."
        raise ScenarioError([Problem("ServeGen's data is a directory, and this is a file", hint=hint)], str(folder))
    files = sorted(folder.glob("chunk-*-trace.csv"), key=lambda path: [int(n) for n in re.findall(r"\d+", path.name)])
    if not files:
        inner = [path.parent for path in sorted(folder.glob("**/chunk-0-trace.csv"))]
        hint = f"Did you mean {inner[0]}?" if inner else "Name the directory of a model."
        raise ScenarioError([Problem("there is no chunk-N-trace.csv here", hint=hint)], str(folder))
    tables = [_windows(path) for path in files]
    starts = np.unique(np.concatenate([starts for starts, _ in tables]))
    shape = (len(files), len(starts))
    rates, cvs, weibull = np.zeros(shape), np.zeros(shape), np.zeros(shape, dtype=np.bool_)
    for row, (known, values) in enumerate(tables):
        places = np.searchsorted(starts, known)
        rates[row, places], cvs[row, places], weibull[row, places] = values[0], values[1], values[2] > 0
    names = tuple(path.name.removesuffix("-trace.csv") for path in files)
    return ServeGen(folder, names, starts, rates, cvs, weibull)


def _windows(path: Path) -> tuple[Floats, Floats]:
    """Starts of the windows; rates, cvs and whether Weibull, shape ``(3, windows)``."""
    starts, rows = [], []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        cells = line.split(",")
        try:
            start, rate, cv = (float(cell) for cell in cells[:3])
            if not (math.isfinite(start) and math.isfinite(rate) and rate >= 0):
                raise ValueError(line)
        except ValueError:
            _bad(path, f"this is no window: {line[:60]!r}; it is written like 600,1.25,1.4,Gamma,0.51,1.57", number)
        starts.append(start)
        rows.append((rate, cv if math.isfinite(cv) else 1.0, float(len(cells) > 3 and cells[3] == "Weibull")))
    if not starts:
        _bad(path, "the file is empty")
    return np.array(starts), np.array(rows).T
