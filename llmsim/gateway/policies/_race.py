"""Several attempts at once, of which one is to win and none is to be forgotten."""

from __future__ import annotations

import asyncio
from typing import Any

from llmsim.types import CallNext, Request, Response

__all__ = ["Race"]


class Race:
    """Attempts in tasks of their own. The first response wins; the others are cancelled, or closed if they answered.

    Whoever awaits `winner` gets the response or the error that decided; if it is cancelled itself, the attempts are
    cancelled with the same message (it may say which time limit passed, see `llmsim.gateway.deadlines`).
    """

    __slots__ = ("_error", "_future", "_response", "_tasks", "decided", "loop", "running")

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self._tasks: list[asyncio.Task[Response]] = []
        self._future: asyncio.Future[None] | None = None
        self._response: Response | None = None
        self._error: BaseException | None = None
        self.running = 0  #: attempts that have neither answered nor failed
        self.decided = False

    def failed(self, error: BaseException) -> bool:
        """An attempt failed; whether to go on waiting. May `send` another one."""
        return self.running > 0

    def send(self, call_next: CallNext, request: Request) -> None:
        """One more attempt."""
        task = self.loop.create_task(_attempt(call_next, request))
        self.running += 1
        self._tasks.append(task)
        task.add_done_callback(self._ended)

    def give_up(self) -> None:
        """There will be no more attempts: decide with the last error if none is running."""
        if not self.decided and not self.running and self._error is not None:
            self._decide()

    def _ended(self, task: asyncio.Task[Response]) -> None:
        self.running -= 1
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if self.decided:
            if error is None:
                task.result().close()  # it answered while it was being cancelled, or in the very same moment
            return
        if error is None:
            self._response = task.result()
            self._decide()
            return
        self._error = error
        if not self.failed(error) and not self.decided:
            self._decide()

    def _decide(self, message: Any = None) -> None:
        self.decided = True
        for task in self._tasks:
            # A task that has a response, but whose callback has not run yet, is closed by that callback.
            if not task.done():
                task.cancel(message)
        if self._future is not None and not self._future.done():
            self._future.set_result(None)

    async def winner(self) -> Response:
        """Wait for the decision."""
        self._future = self.loop.create_future()
        try:
            await self._future
            if self.running:
                # Losers take note of their cancellation now, so that their bills are in before the winner's ends.
                await asyncio.sleep(0)
        except BaseException as error:
            if self._response is not None:
                self._response.close()
            if not self.decided:
                self._decide(error.args[0] if error.args else None)
                # As above. (A second cancellation in this moment only skips it.)
                await asyncio.sleep(0)
            raise
        finally:
            self._tasks.clear()
            self._future = None
        if self._response is not None:
            return self._response
        failure, self._error = self._error, None
        assert failure is not None
        try:
            raise failure
        finally:
            del failure  # its traceback refers to this frame: a circle only the cyclic collector could free


async def _attempt(call_next: CallNext, request: Request) -> Response:
    return await call_next(request)  # also what call_next raises without being awaited belongs to this attempt
