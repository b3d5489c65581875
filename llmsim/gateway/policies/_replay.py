"""A kept answer as a stream: at once, or at the pace of a model."""

from __future__ import annotations

import asyncio
import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.constructors import checked_values
from llmsim.errors import StreamStalled
from llmsim.gateway.caching import Entry
from llmsim.types import NO_LIMITS, Chunk, Limits, Request, Response, Usage, WholeAnswer
from llmsim.units import PositiveRate

__all__ = ["Pace", "replay"]

#: A paced chunk carries no more than this much time, so that an interface that shows it looks fluent: 20 a second.
_FLUENT_S = 0.05


@checked_values
@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast kept answers come.

    Parameters
    ----------
    tokens
        … a second, after the first chunk, which comes at once.
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    tokens: PositiveRate

    def __post_init__(self) -> None:
        if not self.tokens > 0:
            raise ValueError(f"replay tokens must be above 0, not {self.tokens:g}; write 200/s, or leave replay out")


def replay(entry: Entry, request: Request, pace: Pace | None, now: Callable[[], float]) -> Response:
    """The response that gives `entry` to `request`.

    Parameters
    ----------
    pace
        None: at once.
    now
        The loop's clock.
    """
    chunks = entry.chunks
    stream: WholeAnswer | _AtOnce | _Paced
    if not request.stream:
        stream = WholeAnswer("".join(chunk.text for chunk in chunks), entry.tokens, entry.usage)
    elif pace is None:
        stream = _AtOnce(chunks, entry.usage)
    else:
        stream = _Paced(chunks, entry.usage, pace.tokens, now)
    return Response(stream, upstream="cache", model=entry.model, served_from="cache", origin=entry.origin)


def _joined(chunks: tuple[Chunk, ...] | list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    return Chunk("".join(chunk.text for chunk in chunks), sum(chunk.tokens for chunk in chunks))


class _AtOnce:
    """Chunks as they came, with no time between them."""

    __slots__ = ("_at", "_chunks", "finish_reason", "usage")

    def __init__(self, chunks: tuple[Chunk, ...], usage: Usage) -> None:
        self._chunks = chunks
        self._at = 0
        self.usage = usage
        self.finish_reason = "" if chunks else "stop"

    @property
    def longest_gap_s(self) -> float:
        """Of several tokens that come at once: none. NaN where there are not several."""
        return 0.0 if sum(chunk.tokens for chunk in self._chunks) > 1 else math.nan

    async def next(self, limits: Limits) -> Chunk | None:
        """See `Stream.next`."""
        if self._at == len(self._chunks):
            return None
        self._at += 1
        if self._at == len(self._chunks):
            self.finish_reason = "stop"
        return self._chunks[self._at - 1]

    async def rest(self, limits: Limits) -> Chunk | None:
        """See `Stream.rest`."""
        left, self._at = self._chunks[self._at :], len(self._chunks)
        self.finish_reason = "stop"
        return _joined(left) if left else None

    def close(self) -> None:
        """See `Stream.close`."""
        self._at = len(self._chunks)


class _Paced:
    """A timeline that is known from the start: who reads to the end is woken once, who iterates once a chunk."""

    __slots__ = ("_at", "_closed", "_failure", "_now", "_pieces", "_times", "finish_reason", "longest_gap_s", "usage")

    def __init__(self, chunks: tuple[Chunk, ...], usage: Usage, per_s: float, now: Callable[[], float]) -> None:
        self._pieces = pieces = [piece for chunk in chunks for piece in _cut(chunk, max(1, int(per_s * _FLUENT_S)))]
        begin, made = now(), 0
        self._times: list[float] = []  #: when each piece is there: the first at once
        for number, piece in enumerate(pieces):
            made += piece.tokens if number else 0
            self._times.append(begin + made / per_s)
        self._at = 0
        self._now = now
        self._closed = False
        self._failure: Exception | None = None  # what the next read raises
        self.usage = usage
        self.finish_reason = "" if pieces else "stop"
        gaps = [piece.tokens / per_s for piece in pieces[1:]]
        #: Longest silence between two tokens: pieces are what a reader sees.
        self.longest_gap_s = max(gaps) if gaps else math.nan

    async def next(self, limits: Limits) -> Chunk | None:
        """See `Stream.next`."""
        return await self._take(self._at + 1, limits)

    async def rest(self, limits: Limits) -> Chunk | None:
        """See `Stream.rest`."""
        return await self._take(len(self._pieces), limits)

    async def _take(self, upto: int, limits: Limits) -> Chunk | None:
        """Pieces up to this one, and all that are there besides; before an error, what came until then."""
        if self._failure is not None:
            raise self._failure
        if self._closed or self._at == len(self._pieces):
            return None
        when = self._times[upto - 1]
        if limits is not NO_LIMITS:
            when = self._allowed(when, upto, limits)
        wait_s = when - self._now()
        if wait_s > 0:
            await asyncio.sleep(wait_s)
            if self._closed:
                return None
        failed = self._failure is not None
        there = bisect_right(self._times, when if failed else max(when, self._now()))
        taken, self._at = self._pieces[self._at : there], max(self._at, there)
        if failed and not taken:
            assert self._failure is not None
            raise self._failure
        if not failed and self._at == len(self._pieces):
            self.finish_reason = "stop"
        return _joined(taken)

    def _allowed(self, when: float, upto: int, limits: Limits) -> float:
        """When to stop waiting; sets the failure if that is before `when`."""
        gap_s, until_s, late = limits
        if gap_s is not None and self.longest_gap_s > gap_s:
            for number in range(max(self._at, 1), upto):
                before = self._times[number - 1]
                if self._times[number] - before > gap_s and before + gap_s > self._now():
                    when = before + gap_s
                    self._failure = StreamStalled(
                        f"no token for {gap_s:g}s", tokens_delivered=self._made(when), upstream="cache", status=200
                    )
                    break
        if until_s is not None and until_s < when:
            assert late is not None, "a limit in time comes with the error to raise"
            when, self._failure = until_s, late(self._made(until_s))
        return when

    def _made(self, when: float) -> int:
        return sum(piece.tokens for piece in self._pieces[: bisect_right(self._times, when)])

    def close(self) -> None:
        """See `Stream.close`."""
        self._closed = True


def _cut(chunk: Chunk, most: int) -> list[Chunk]:
    """A chunk in pieces of so many tokens at most."""
    text, tokens = chunk
    if tokens <= most:
        return [chunk]
    ends = [*range(most, tokens, most), tokens]
    places = [0, *[len(text) * end // tokens for end in ends]]
    return [
        Chunk(text[places[number] : places[number + 1]], end - (ends[number - 1] if number else 0))
        for number, end in enumerate(ends)
    ]
