"""A store in trouble: how long it is waited for, and when it is asked again."""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Awaitable
from typing import TypeVar

from llmsim.errors import LlmsimError
from llmsim.gateway.caching import Incomparable, StoreError
from llmsim.gateway.contract import Run
from llmsim.types import Request
from llmsim.units import format_duration

__all__ = ["Guard"]

T = TypeVar("T")

#: Failures in a row after which a store is left alone. With one, a store that loses 0.1 % of what it is asked would be
#: left alone for 5 s after each: with 200 requests a second, half of the time. Two in a row it
#: has once in a million; and of one that is dead it takes one more request to find out.
IN_A_ROW = 2


class Guard:
    """Stands before one thing a store can do (find what is equal; find what is near).

    After `IN_A_ROW` failures it lets nothing through for a while, then one request, which finds out for all: a store
    that is dead delays one request in each `cooldown_s`, and not every one.

    Parameters
    ----------
    what
        It is a guard of; for events.
    limit_s
        Longest that the store is waited for.
    cooldown_s
        How long it is left alone.

    Attributes
    ----------
    failures
        Times it failed, or took too long.
    """

    __slots__ = (
        "_cooldown_s",
        "_down",
        "_limit",
        "_limit_s",
        "_row",
        "_run",
        "_trying",
        "_until_s",
        "_what",
        "failures",
    )

    def __init__(self, run: Run, what: str, limit_s: float, cooldown_s: float) -> None:
        self._run = run
        self._what = what
        self._limit_s = limit_s
        self._limit = run.deadlines(limit_s, "store_timeout")
        self._cooldown_s = cooldown_s
        self._down = False
        self._until_s = 0.0
        self._trying = False
        self._row = 0  # failures since it last answered
        self.failures = 0

    @property
    def closed(self) -> bool:
        """Whether nothing gets through now."""
        return self._down and (self._trying or self._run.now() < self._until_s)

    async def ask(self, answer: Awaitable[T], request: Request) -> T:
        """The store's answer, if it is not `closed`.

        Raises
        ------
        StoreError
            It failed, or did not answer in time.
        """
        trying, limit = self._down, self._limit
        self._trying = self._trying or trying
        alarm = limit.enter(self._run.now() + self._limit_s)
        try:
            found = await answer
        except BaseException as error:
            failure = self._failure(error, late=limit.leave(alarm))
            if trying:
                self._trying = False
            if failure is None:
                raise
            self._failed(failure, request)
            raise failure from None
        limit.leave(alarm)
        self._row = 0
        if trying:
            self._down = self._trying = False
            self._run.emit("store_back", request, operation=self._what)
        return found

    def _failure(self, error: BaseException, *, late: bool) -> StoreError | None:
        """What went wrong with the store; None if something else did."""
        if isinstance(error, CancelledError):
            return StoreError(f"no answer within {format_duration(self._limit_s)}") if late else None
        if isinstance(error, StoreError):
            return error
        if isinstance(error, LlmsimError | AssertionError) or not isinstance(error, Exception):
            return None  # a broken contract, or the simulation cannot go on
        return StoreError(type(error).__name__)  # a library's. Not its words: an address may have a password in it

    def _failed(self, error: StoreError, request: Request) -> None:
        """Leave it alone for a while, if that was no accident."""
        if isinstance(error, Incomparable):
            return  # two long prompts, and nobody's questions would be compared
        self.failures += 1
        self._row += 1
        if self._row < IN_A_ROW and not self._down:
            return
        self._until_s = self._run.now() + self._cooldown_s
        if not self._down:
            self._down = True
            self._run.emit("store_failed", request, operation=self._what, why=str(error))
