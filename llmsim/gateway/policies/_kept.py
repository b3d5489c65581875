"""Upstreams that are asked one after the other and all kept: the first to answer wins."""

from __future__ import annotations

import asyncio

from llmsim.errors import TtftTimeout
from llmsim.gateway.policies._course import Course
from llmsim.gateway.policies._race import noted
from llmsim.types import Request, Response

__all__ = ["cancel", "race"]

_Call = asyncio.Task[Response]


async def race(course: Course, request: Request, ttft_s: float) -> Response:
    """The first answer, of `request` or of what the course goes on to, with another one started every `ttft_s`.

    Raises
    ------
    GatewayError
        What the course does not catch, or `AllUpstreamsFailed`.
    """
    running: dict[_Call, str] = {_start(course, request): course.asked[-1]}
    word, answer = "", None
    try:
        answer = await _first(course, running, ttft_s)
    except asyncio.CancelledError as error:
        word = error.args[0] if error.args else ""
        raise
    finally:
        course.causes.clear()  # their tracebacks refer to this frame
        unfinished = [call for call in running if not call.done()]
        for call in running:
            cancel(call, word)
        if unfinished:
            try:
                await noted(unfinished)
            except BaseException:
                if answer is not None:
                    answer.close()
                raise
    return answer


async def _first(course: Course, running: dict[_Call, str], ttft_s: float) -> Response:
    """The first answer; `running`, the calls by their upstreams, is left with those that nobody has looked at."""
    while True:
        further = course.next(TtftTimeout())
        done, _ = await asyncio.wait(
            running, timeout=None if further is None else ttft_s, return_when="FIRST_COMPLETED"
        )
        for call in [call for call in running if call in done]:  # in the order they were started
            upstream = running.pop(call)
            if call.cancelled():
                raise asyncio.CancelledError  # somebody inside cancelled its own task
            error = call.exception()
            if error is None:
                course.answered(upstream, {running[other] for other in running if not _failed(other)})
                return call.result()
            if not course.rules.catches(error):
                raise error
            course.failed(error)
        # Anew, since who is running may only have been known by now.
        further = course.next() if done else course.next(TtftTimeout())
        if further is not None:
            late = None if done else TtftTimeout()
            request = course.enter(further, late)
            first = next(iter(running), None)
            if first is not None and not running[first]:  # a router's choice, which is known by now
                running[first] = course.asked[0]
            running[_start(course, request)] = further
        elif not running:
            raise course.exhausted()


def _start(course: Course, request: Request) -> _Call:
    async def call() -> Response:
        return await course.call_next(request)

    return asyncio.get_running_loop().create_task(call())


def _failed(call: _Call) -> bool:
    return call.done() and (call.cancelled() or call.exception() is not None)


def cancel(call: _Call, word: str = "") -> None:
    """Cancel a call and close its answer, should that have come already."""
    if call.done():
        _close(call)  # at once: the request may be over before any callback runs
    elif word:
        call.cancel(word)  # tells those inside which time limit it was
        call.add_done_callback(_close)
    else:
        call.cancel()
        call.add_done_callback(_close)


def _close(call: _Call) -> None:
    if not call.cancelled() and call.exception() is None:
        call.result().close()
