"""What is said about code that is not ours and breaks the contract, with what is usually behind it."""

from __future__ import annotations

import inspect
from typing import Any

from llmsim.luck import request_address
from llmsim.types import Request, Response

__all__ = ["GIVEN_TWICE", "WENT_ON", "hint", "no_response", "short", "somebody_elses", "used_up"]

WENT_ON = (
    "called on after it had been cancelled: it caught CancelledError (except BaseException: or a bare except: does), "
    "so its caller, who has left or ran out of time, goes on costing money; let it through with `raise` (where its own "
    "timer cancelled it: asyncio.timeout() takes that back, task.cancel() alone does not)"
)

GIVEN_TWICE = (
    "returned a Response that another request has been answered with: it is read once, so one of the two would wait "
    "for ever. Read it, and give each its own: Response(WholeAnswer(text, tokens, usage), upstream=response.upstream) "
    "(WholeAnswer is in llmsim.types); or use the policy single_flight, which shares streams as they come"
)

#: In what Python says of a coroutine or a task that is taken for what it will give.
_NOT_AWAITED = ("'coroutine' object", "got coroutine", "'_asyncio.Task' object", "'SimTask' object")


def hint(error: BaseException) -> str:
    """What is known about an error that many make."""
    text = str(error)
    if isinstance(error, BaseExceptionGroup):
        kinds = ", ".join(dict.fromkeys(f"{type(one).__name__} ({one})" for one in _leaves(error)))
        return (
            f": {kinds}; a TaskGroup wraps what its tasks raise and cancels the others. Catch it where it is raised "
            "(`except* ls.GatewayError:`), or let each task return its error"
        )
    if isinstance(error, RuntimeError) and ("different event loop" in text or "different loop" in text):
        return "; every replication has a loop of its own: make it in start(self, run) of a class"
    if isinstance(error, AttributeError | TypeError) and any(word in text for word in _NOT_AWAITED):
        return "; an await is missing"
    if isinstance(error, AttributeError) and text == "can't set attribute":
        return "; a Request is not changed: send request.to(upstream, model=...) or request._replace(max_tokens=...)"
    return ""


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for one in error.exceptions for leaf in _leaves(one)]


def somebody_elses(request: Request, response: Response, others: list[tuple[Request, Response]]) -> str:
    """What to say if `response` answers what another request of the scenario asked; empty if it does not.

    A policy may give what it sends an id of its own making: only the ids of a scenario's requests are known. And who
    sends the request of somebody who asks the same shares what may be shared.
    """
    parts = [response]
    for part in parts:
        parts.extend(part.parents)
    for asked, answer in others:
        if any(answer is part for part in parts) and _differ(request, asked):
            return (
                f"answered request {request.id} with what request {asked.id} had asked: they share a variable, and one "
                "changed it while the other was waiting; keep what belongs to one request in variables of the handler "
                "(if it was meant, send request._replace(messages=...), which has the right id)"
            )
    return ""


def _differ(one: Request, other: Request) -> bool:
    """Whether they are requests of the scenario that ask different things."""
    here, there = request_address(one.id), request_address(other.id)
    if here is None or there is None or here[:2] == there[:2]:  # the same step, which its user has sent again
        return False
    return not one.messages or one.messages != other.messages


def no_response(result: object, source: Any) -> str:
    """What to say about a handler, defined in `source`, that returned anything but a `Response`."""
    if inspect.isasyncgen(result):
        return "is an async generator: it has a yield where it should return a Response"
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()  # it would be warned of, too
        return f"returned a {type(result).__name__} instead of a Response: an await is missing"
    asynchronous = inspect.iscoroutinefunction(source) or inspect.iscoroutinefunction(getattr(source, "__call__", None))  # noqa: B004 - its code is wanted
    return f"returned {short(result)} instead of a Response" + ("" if asynchronous else "; write it as async def")


def used_up(response: Response) -> str:
    """What to say about an answer that was read, or closed, before it was returned."""
    return (
        f"returned {response!r}, whose end has come already: its caller would get nothing. To look at a whole answer "
        "first, return Response(WholeAnswer(text, tokens, usage), upstream=response.upstream, parents=(response,)) "
        "with what was read (WholeAnswer is in llmsim.types)"
    )


def short(value: object) -> str:
    """`repr`, of 60 characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
