"""Several attempts at once, of which one is to win and none is to be forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from llmsim.types import CallNext, Request, Response

__all__ = ["Race", "noted"]

_LAYERS = 8  #: of policies with tasks of their own, one in the other: each passes a cancellation on in its turn


async def noted(calls: Iterable[asyncio.Task[Response]]) -> None:
    """Let calls that were cancelled take note: their bills come in, and what they read of is closed.

    Otherwise an answer that a policy further in still reads is taken for forgotten when the gateway answers. A call
    that does not end when it is cancelled is not waited for.
    """
    for _ in range(_LAYERS):
        await asyncio.sleep(0)  # also for calls that are done: whoever closes their answers has his turn
        if all(call.done() for call in calls):
            return


class Race:
    """The first attempt in the caller's own task, later ones in tasks of theirs. The first response wins.

    The others are cancelled, or closed if they answered too. That the first attempt has no task is what makes a hedge
    cheap for the requests that need none, which are nearly all; so where another attempt wins, the caller's own task is
    cancelled, and the cancellation caught here and taken back, as `asyncio.timeout` does.

    Whoever cancels the caller cancels all attempts, with the same message (it may say which time limit passed, see
    `llmsim.gateway.deadlines`).
    """

    __slots__ = ("_decided_by", "_future", "_response", "_task", "_tasks", "decided", "loop", "running")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        task = asyncio.current_task(self.loop)
        assert task is not None, "a policy runs in a task"
        self._task: asyncio.Task[Any] = task
        self._tasks: list[asyncio.Task[Response]] = []  # of later attempts
        self._future: asyncio.Future[None] | None = None  # once the first attempt has failed
        self._response: Response | None = None  # of a later attempt that won
        self._decided_by: BaseException | None = None  # the error that ends all, or the last one
        self.running = 0  #: later attempts that have neither answered nor failed
        self.decided = False

    def failed(self, error: BaseException) -> bool:
        """An attempt failed; whether to go on waiting for others. May `send` another one."""
        return False

    def send(self, call_next: CallNext, request: Request) -> None:
        """A later attempt."""
        task = self.loop.create_task(_attempt(call_next, request))
        self.running += 1
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    def give_up(self) -> None:
        """There will be no more attempts: decide with the last error, if none is running."""
        if not self.decided and not self.running and self._future is not None:
            self._decide()
            self._interrupt()

    async def run_first(self, call_next: CallNext, request: Request) -> Response:
        """Make the first attempt; the response that wins, or the error that decides."""
        cancelling = self._task.cancelling()
        try:
            response = await call_next(request)
        except BaseException as error:
            if self.decided:
                return self._taken_back(cancelling, error)
            if isinstance(error, asyncio.CancelledError):
                await self._abandon(error)
                raise
            self._decided_by = error
            if not self.failed(error) and not self.decided:
                self._decide()
        else:
            if not self.decided:
                self._decide()
                return await self._settled(response)
            response.close()  # it answered although it was being cancelled
            return self._taken_back(cancelling, None)
        # Outside of the except block: what fails next is not "during handling of" this error.
        if not self.decided:
            self._future = self.loop.create_future()
            try:
                await self._future
            except BaseException as error:
                if self._response is not None:
                    self._response.close()
                await self._abandon(error)
                raise
        if self._response is not None:
            return await self._settled(self._response)
        if self.running:
            await noted(self._tasks)
        raise self._failure()

    def _ended(self, task: asyncio.Task[Response]) -> None:
        """A later attempt has."""
        self.running -= 1
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.decided:
            if error is None:
                task.result().close()  # it answered while it was being cancelled, or in the very same moment
            return
        if error is None:
            self._response = task.result()
        elif self.failed(error) or (self._future is None and self.curable(error)):
            return
        elif self._decided_by is None or not self.refused(error):
            self._decided_by = error
        if not self.decided:
            self._decide()
            self._interrupt()

    def curable(self, error: BaseException) -> bool:
        """Whether an attempt that runs may still do better than one that failed like this."""
        return False

    def refused(self, error: BaseException) -> bool:
        """Whether this says that an attempt was not made: then what an earlier one failed with says more."""
        return False

    def _decide(self, message: Any = None) -> None:
        self.decided = True
        for task in self._tasks:
            if not task.done():
                task.cancel(message)

    def _interrupt(self) -> None:
        """Wake the caller, who waits for the first attempt, or for the later ones alone."""
        if self._future is None:
            self._task.cancel()
        elif not self._future.done():
            self._future.set_result(None)

    def _taken_back(self, cancelling: int, error: BaseException | None) -> Response:
        """The caller was cancelled for a later attempt, or its error; somebody else may want it cancelled, too."""
        mine = self._task.uncancel() <= cancelling
        if not mine and isinstance(error, asyncio.CancelledError):
            if self._response is not None:
                self._response.close()
            raise error
        if self._response is not None:
            return self._response
        raise self._failure()

    async def _settled(self, response: Response) -> Response:
        """Losers take note of their cancellation first, so that their bills are in before the winner's answer ends."""
        if self.running:
            try:
                await noted(self._tasks)
            except BaseException:
                response.close()
                raise
        return response

    async def _abandon(self, error: BaseException) -> None:
        """The caller is cancelled: so are all attempts. (A second cancellation in this moment only skips the wait.)"""
        if not self.decided:
            self._decide(error.args[0] if error.args else None)
        if self.running:
            await noted(self._tasks)

    def _failure(self) -> BaseException:
        # Handed over and not kept: its traceback refers to frames that refer to this.
        error, self._decided_by = self._decided_by, None
        assert error is not None
        return error


async def _attempt(call_next: CallNext, request: Request) -> Response:
    return await call_next(request)  # also what call_next raises without being awaited belongs to this attempt
