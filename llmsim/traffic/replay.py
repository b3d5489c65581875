"""Replaying recorded traffic: what a scenario says about it, and the trace that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.units import MULTIPLIER, BadValue, Duration, PositiveCount, PositiveDuration

if TYPE_CHECKING:
    from llmsim.traffic.traces import Trace

__all__ = ["Format", "Sessions", "TracePart", "TraceReplay", "replayed", "sessions_of"]

Format = Literal["auto", "azure", "burstgpt", "mooncake", "ragpulse", "servegen", "llmsim"]
Faster = Annotated[float, replace(MULTIPLIER, above=True, examples=("2x", "0.5x"))]

FORBID = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class TracePart:
    """A piece of recorded traffic.

    Parameters
    ----------
    file
        A CSV or JSONL file, or a directory of ServeGen's. Relative to the scenario file.
    format
        ``auto`` tells by the columns: azure (2023 and 2024), burstgpt, mooncake, ragpulse, servegen, or llmsim's own,
        ``arrival_s, input_tokens, output_tokens`` with or without ``route, session, client, failed``.
    from, to
        The window of the trace that is replayed; times count from the first request (ServeGen: the first window).
    rate
        2x: the same requests in half the time. ServeGen says how often every client sends and not when: there,
        clients send twice as often.
    limit
        At most that many requests.
    repeat
        This often, one after the other.
    """

    # ``from`` is a Python keyword: the field is ``from_``, the key in a file is ``from``.
    __pydantic_config__: ClassVar = {**FORBID, "alias_generator": lambda name: name.rstrip("_")}

    file: str
    format: Format = "auto"
    from_: Duration = 0.0
    to: PositiveDuration = float("inf")
    rate: Faster = 1.0
    limit: PositiveCount | None = None
    repeat: PositiveCount = 1

    def __post_init__(self) -> None:
        if not self.file.strip():
            raise BadValue("the name of the file is empty; write file: trace.csv", "file")
        if self.to <= self.from_:
            raise BadValue("the window ends before it begins; write to: above from:", "to")


@dataclass(frozen=True, kw_only=True)
class TraceReplay(TracePart):
    """Recorded traffic that is sent as it came: times and lengths from the file, all else from the mix.

    Time 0 of the trace is the start of warm-up. What the file does not say (a route; the answer's length of a request
    that failed then) is drawn from the mix. Every replication replays the same requests.

    Parameters
    ----------
    file, format, from, to, rate, limit, repeat
        See `TracePart`.
    then
        Further pieces, played after this one.
    sessions
        What to do with requests that the trace says belong together (burstgpt, ragpulse and llmsim's format can).
        ``in_turn``: each is sent when it was then, but not before the one before it has ended, and they are the steps
        of one session. ``apart``: each is an arrival of its own.
    """

    sessions: Literal["in_turn", "apart"] = "in_turn"
    then: tuple[TracePart, ...] = field(default=())

    def below(self, folder: Path) -> TraceReplay:
        """The same with file names relative to `folder` (absolute ones stay)."""
        parts = tuple(replace(part, file=str(folder / part.file)) for part in self.then)
        return replace(self, file=str(folder / self.file), then=parts)


def replayed(spec: TraceReplay) -> Trace:
    """The requests it stands for, read once a process.

    Raises
    ------
    ScenarioError
        For a file that is not there or cannot be read, naming file and line.
    """
    return _replayed(spec, tuple(_stamp(part.file) for part in (spec, *spec.then)))


class Sessions(NamedTuple):
    """Which requests of a trace belong together, in the order in which the sessions begin."""

    rows: NDArray[np.int64]  #: shape ``(requests,)``: all rows, session by session
    starts: NDArray[np.int64]  #: shape ``(sessions + 1,)``: where each begins in `rows`

    @property
    def heads(self) -> NDArray[np.int64]:
        """The row of each session's first request, rising."""
        return self.rows[self.starts[:-1]]

    def of(self, index: int) -> NDArray[np.int64]:
        """The rows of a session."""
        return self.rows[self.starts[index] : self.starts[index + 1]]


def sessions_of(spec: TraceReplay) -> Sessions | None:
    """The sessions that are replayed in turn; None if every request stands alone."""
    trace = replayed(spec)
    return _sessions(trace) if spec.sessions == "in_turn" and trace.session is not None else None


@lru_cache(maxsize=2)
def _sessions(trace: Trace) -> Sessions:
    assert trace.session is not None
    count = len(trace)
    alone = int(trace.session.max(initial=-1)) + 1 + np.arange(count)
    _, head, session = np.unique(
        np.where(trace.session >= 0, trace.session, alone), return_index=True, return_inverse=True
    )
    head_of_row = head[session]
    rows = np.argsort(head_of_row, kind="stable")  # inside of a session in the order of time
    starts = np.flatnonzero(np.diff(head_of_row[rows], prepend=-1))
    return Sessions(rows.astype(np.int64), np.append(starts, count).astype(np.int64))


def _stamp(file: str) -> float:
    try:
        return Path(file).stat().st_mtime
    except OSError:
        return 0.0


@lru_cache(maxsize=2)
def _replayed(spec: TraceReplay, stamps: tuple[float, ...]) -> Trace:
    from llmsim.traffic.traces import Trace, load_trace

    pieces = []
    for part in (spec, *spec.then):
        trace = load_trace(part.file, part.format, from_s=part.from_, to_s=part.to, rate=part.rate, limit=part.limit)
        pieces += [trace] * part.repeat
    return Trace.concatenated(pieces)
