"""Decorators of other libraries as policies: tenacity, stamina, purgatory, or a function of one's own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from llmsim.errors import CircuitOpen, GatewayError
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.whole import read_whole
from llmsim.types import CallNext, Request, Response

__all__ = ["Around", "translated"]


@dataclass(frozen=True, kw_only=True)
class Around:
    """A decorator for async functions, put around the rest of the gateway.

    **Protects from** rewriting what already works: the decorator runs as it does in production, and a run starts with
    a fresh one, as a breaker that was left open would spoil the next run.

    **Costs** what the library costs. It also sees less than a policy: a call is over for it when the first chunk is
    there, so a stream that breaks later is a success in its eyes. With `whole` it sees all of it, and the caller
    gets nothing before the end.

    **Makes things worse** where the library retries everything, errors that waiting does not cure included: tell it
    which (``retry_if_exception_type(ls.GatewayError)`` is not enough; ``llmsim.errors`` has the tree).

    A decorated ``async def policy(request, call_next)`` under ``@llmsim.policy`` works as well, but keeps its state
    from run to run.

    Parameters
    ----------
    make
        Called once per run and replica; returns the decorator.
    whole
        Whether the decorator sees the call until its last token.
    name
        What the policy goes by.

    Notes
    -----
    What these libraries raise of their own becomes the error it stands for: tenacity's ``RetryError`` the last
    attempt's, purgatory's ``OpenedState`` `CircuitOpen`.

    Examples
    --------
    >>> import tenacity
    >>> policy = Around(make=lambda: tenacity.retry(stop=tenacity.stop_after_attempt(3)), name="tenacity")
    >>> policy.whole
    False
    """

    make: Callable[[], Callable[[Any], Any]]
    whole: bool = False
    name: str = "around"

    @property
    def function(self) -> Callable[[], Any]:
        """Where the user's code is, for messages."""
        return self.make

    def start(self, run: Run) -> Handler:
        """A fresh decorator."""
        around: Callable[[Request, CallNext], Awaitable[Response]] = self.make()(_whole if self.whole else _first)
        return around  # type: ignore[return-value]  # the same call


async def _first(request: Request, call_next: CallNext) -> Response:
    return await call_next(request)


async def _whole(request: Request, call_next: CallNext) -> Response:
    return await read_whole(await call_next(request))


def translated(error: BaseException) -> BaseException | None:
    """The error that another library's own stands for; None if it is none of those.

    By name, so that nobody needs these libraries.
    """
    kind = type(error)
    library = kind.__module__.partition(".")[0]
    if library == "tenacity" and kind.__name__ == "RetryError":
        last = error.last_attempt.exception()  # type: ignore[attr-defined]  # a concurrent.futures.Future, done
        return last if isinstance(last, GatewayError | TimeoutError) else None
    if library == "purgatory" and kind.__name__ == "OpenedState":
        return CircuitOpen(str(error))
    return None
