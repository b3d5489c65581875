"""Recorded traffic as columns: reading it, cutting it, playing it faster, putting pieces one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import Problem, ScenarioError
from llmsim.traffic.replay import Format

__all__ = ["Trace", "load_trace"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests in the order in which they came. Every column has shape ``(n,)``.

    Parameters
    ----------
    times_s
        Arrivals, from 0 on, not decreasing.
    input_tokens, output_tokens
        Lengths; 0 where the source does not say.
    failed
        Requests that got no answer.
    span_s
        How much time it covers, the silence after the last request included.
    session, client, route
        Numbers of what requests belong together, −1 for none; None where the source knows no such thing.
    clients, routes
        Their names, by number.
    name, format
        Where it comes from.
    """

    times_s: Floats
    input_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    failed: NDArray[np.bool_]
    span_s: float
    session: NDArray[np.int64] | None = None
    client: NDArray[np.int64] | None = None
    clients: tuple[str, ...] = ()
    route: NDArray[np.int64] | None = None
    routes: tuple[str, ...] = ()
    name: str = ""
    format: str = ""

    def __post_init__(self) -> None:
        assert not len(self.times_s) or self.times_s[0] >= 0
        assert np.all(np.diff(self.times_s) >= 0), "times are in order"

    def __len__(self) -> int:
        return len(self.times_s)

    @classmethod
    def of(
        cls, times_s: Floats, input_tokens: NDArray[np.int64], output_tokens: NDArray[np.int64], **more: object
    ) -> Trace:
        """Rows in any order, with any origin of time, as a trace that begins at 0."""
        order = np.argsort(times_s, kind="stable")
        columns = {
            name: value[order] if isinstance(value, np.ndarray) and name not in ("clients", "routes") else value
            for name, value in more.items()
        }
        times_s = times_s[order] - (times_s[order[0]] if len(order) else 0.0)
        count = len(times_s)
        # Nobody recorded the silence after the last request: it is taken to be as long as the mean gap.
        span_s = float(times_s[-1]) * count / (count - 1) if count > 1 else 1.0
        columns.setdefault("failed", np.zeros(count, dtype=np.bool_))
        columns.setdefault("span_s", span_s or 1.0)
        return cls(times_s, input_tokens[order], output_tokens[order], **columns)  # type: ignore[arg-type]

    def rows(self, which: slice | NDArray[np.bool_]) -> Trace:
        """Some of the requests, at their times."""

        def of(column: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
            return None if column is None else column[which]

        return replace(
            self,
            times_s=self.times_s[which],
            input_tokens=self.input_tokens[which],
            output_tokens=self.output_tokens[which],
            failed=self.failed[which],
            session=of(self.session),
            client=of(self.client),
            route=of(self.route),
        )

    def cut(self, from_s: float = 0.0, to_s: float = float("inf")) -> Trace:
        """The requests of a window, whose start becomes time 0."""
        first, last = np.searchsorted(self.times_s, [from_s, to_s])
        inside = self.rows(slice(int(first), int(last)))
        span_s = max(min(to_s, self.span_s) - from_s, 0.0)
        return replace(inside, times_s=inside.times_s - from_s, span_s=span_s)

    def limited(self, count: int) -> Trace:
        """The first `count` requests, and the time until the next."""
        if count >= len(self):
            return self
        return replace(self.rows(slice(0, count)), span_s=float(self.times_s[count]))

    def faster(self, rate: float) -> Trace:
        """The same requests, this many times as fast."""
        return replace(self, times_s=self.times_s / rate, span_s=self.span_s / rate)

    @classmethod
    def concatenated(cls, pieces: Sequence[Trace]) -> Trace:
        """Pieces played one after the other. Sessions of different pieces are different sessions."""
        if len(pieces) == 1:
            return pieces[0]
        start_s = np.concatenate([[0.0], np.cumsum([piece.span_s for piece in pieces])])
        times = [piece.times_s + start for piece, start in zip(pieces, start_s, strict=False)]
        session, _ = _joined([piece.session for piece in pieces], None)
        client, clients = _joined([piece.client for piece in pieces], [piece.clients for piece in pieces])
        route, routes = _joined([piece.route for piece in pieces], [piece.routes for piece in pieces])
        return cls(
            np.concatenate(times),
            np.concatenate([piece.input_tokens for piece in pieces]),
            np.concatenate([piece.output_tokens for piece in pieces]),
            np.concatenate([piece.failed for piece in pieces]),
            float(start_s[-1]),
            session,
            client,
            clients,
            route,
            routes,
            ", ".join(dict.fromkeys(piece.name for piece in pieces)),
            ", ".join(dict.fromkeys(piece.format for piece in pieces)),
        )

    def rate_per_minute(self) -> tuple[Floats, Floats]:
        """Knots of a staircase, times and rates per second, with the mean rate of every minute; 0 after the end."""
        edges = np.append(np.arange(0.0, self.span_s, 60.0), self.span_s)
        counts = np.histogram(self.times_s, edges)[0]
        rates = counts / np.maximum(np.diff(edges), 1e-9)
        return np.append(np.repeat(edges, 2)[1:-1], edges[-1]), np.append(np.repeat(rates, 2), 0.0)


def _joined(
    columns: Sequence[NDArray[np.int64] | None], names: Sequence[tuple[str, ...]] | None
) -> tuple[NDArray[np.int64] | None, tuple[str, ...]]:
    """Numbers of several pieces as one column: equal names get one number; without names none are equal."""
    if any(column is None for column in columns):
        return None, ()
    known = [column for column in columns if column is not None]
    if names is None:
        found, after = [], 0
        for column in known:
            found.append(np.where(column >= 0, column + after, -1))
            after = max(after, int(found[-1].max(initial=-1)) + 1)
        return np.concatenate(found), ()
    number = {name: place for place, name in enumerate(dict.fromkeys(name for some in names for name in some))}
    found = []
    for column, some in zip(known, names, strict=True):
        table = np.array([*(number[name] for name in some), -1], dtype=np.int64)
        found.append(table[column])
    return np.concatenate(found), tuple(number)


def load_trace(
    path: str | Path,
    format: Format = "auto",
    *,
    from_s: float = 0.0,
    to_s: float = float("inf"),
    rate: float = 1.0,
    limit: int | None = None,
) -> Trace:
    """Recorded traffic from a file.

    Parameters
    ----------
    path
        A CSV or JSONL file, or a directory of ServeGen's.
    format
        See `TracePart`; ``auto`` tells by the columns.
    from_s, to_s, limit
        Which part of it.
    rate
        Play it this many times as fast, after cutting. (ServeGen: clients send this many times as often.)

    Raises
    ------
    ScenarioError
        For a file that is not there, of an unknown format or with bad rows, naming the lines; or if nothing is left.
    """
    from llmsim.traffic import servegen
    from llmsim.traffic.trace_formats import detect, read

    path = Path(path)
    if not path.exists():
        raise ScenarioError([Problem("there is no such file", hint=_near(path))], str(path))
    found = detect(path) if format == "auto" else format
    if found == "servegen":
        trace = servegen.read_clients(path).draw(from_s, to_s, rate, limit=limit)
    else:
        trace = read(path, found)
        whole_s = trace.span_s
        if from_s or to_s < float("inf"):
            trace = trace.cut(from_s, to_s)
        if not len(trace):
            hint = f"It covers {whole_s:.6g}s from its first request on."
            raise ScenarioError([Problem(f"no request is between {from_s:g}s and {to_s:g}s", hint=hint)], str(path))
        trace = trace.faster(rate) if rate != 1 else trace
    trace = trace.limited(limit) if limit is not None else trace
    return replace(trace, name=path.name, format=found)


def _near(path: Path) -> str:
    from difflib import get_close_matches

    beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
    found = get_close_matches(path.name, beside, n=1)
    return f"Did you mean {path.parent / found[0]}?" if found else "Check the path."
