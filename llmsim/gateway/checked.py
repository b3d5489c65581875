"""Code that is not ours: a layer around each user policy that names it, and its line, when it breaks the contract."""

from __future__ import annotations

import asyncio
import inspect
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CoroutineType, FrameType, TracebackType
from typing import Any, cast

from llmsim.errors import EngineError, GatewayError, LlmsimError, PolicyError
from llmsim.gateway.contract import FunctionPolicy, Handler, PolicySpec, Run
from llmsim.gateway.exchange import Attempt, Exchange, current_exchange
from llmsim.gateway.foreign import translated
from llmsim.gateway.hints import GIVEN_TWICE, WENT_ON, hint, no_response, short, somebody_elses, used_up
from llmsim.places import line_of
from llmsim.types import CallNext, Request, Response

__all__ = ["TOLL", "UnknownUpstream", "checked", "name_of", "refuse_no_policy", "start_policy"]

#: The methods of a `llmsim.gateway.contract.Toll`.
TOLL = ("before_attempt", "after_attempt")

_LIBRARIES = ("stdlib", "platstdlib", "purelib", "platlib")  # not "data": that is /usr, where programs are kept, too
_NOT_THEIRS = (str(Path(__file__).parents[1]), *{str(Path(sysconfig.get_path(name))) for name in _LIBRARIES})

_TYPED = ("<ipython-input", "<python-input", "<stdin>")  #: at a prompt, which has no files


class UnknownUpstream(PolicyError):
    """A request was addressed to an upstream that is not configured."""

    def __init__(self, upstream: str, known: Sequence[str]) -> None:
        super().__init__(f"sent a request to {upstream!r}; configured upstreams: {', '.join(known)}")
        self.upstream = upstream


def name_of(target: Any) -> str:
    """What a function or an object's class is called."""
    return str(getattr(target, "__name__", None) or type(target).__name__)


def refuse_no_policy(spec: Any) -> None:
    """Raise for what cannot be started.

    Raises
    ------
    PolicyError
        A class in place of one of its objects, a word, a number.
    """
    if isinstance(spec, type):
        raise PolicyError(f"{spec.__name__} is a class; write {spec.__name__}() for a policy with its defaults")
    if not isinstance(spec, PolicySpec) and not callable(spec):
        raise PolicyError(f"{spec!r} is no policy: it needs start(run) or to be an async def f(request, call_next)")


def start_policy(spec: Any, run: Run) -> Handler:
    """The spec's handler, checked unless it is one of the built-in policies."""
    if not isinstance(spec, PolicySpec):
        spec = FunctionPolicy(spec, name_of(spec))
        run.name = spec.name
    try:
        handler: Handler = spec.start(run)
    except LlmsimError:
        raise
    except Exception as error:
        message = f"start(run) raised {type(error).__name__}: {error}"
        raise PolicyError(message, policy=run.name, where=_raised_at(error) or _where(spec.start)) from error
    if not callable(handler):
        message = f"start(run) returned {short(handler)}, no async handler(request, call_next)"
        raise PolicyError(message, policy=run.name, where=_where(spec.start))
    if type(spec).__module__.startswith("llmsim.gateway.policies."):
        return handler
    wrapped = checked(handler, run.name, getattr(spec, "function", handler))
    for method in (*TOLL, "aclose"):
        if callable(getattr(handler, method, None)):
            setattr(wrapped, method, getattr(handler, method))
    return wrapped


def checked(handler: Callable[..., Any], name: str, source: Any) -> Handler:
    """`handler` with a layer that turns what it must not do into a `PolicyError`.

    Parameters
    ----------
    handler
        ``async def handler(request, call_next)``, or so it should be.
    name
        What the policy goes by.
    source
        The user's function or object, for the line where it begins.
    """
    who = f"{name} ({_where(source)})"
    loop: asyncio.AbstractEventLoop | None = None

    async def handle(request: Request, call_next: CallNext) -> Response:
        nonlocal loop
        # Without its loop current_task() asks for it, which on Python 3.11 is a system call every time.
        task = asyncio.current_task(loop)
        if loop is None or task is None:  # the first request, or the first on another loop
            loop = asyncio.get_running_loop()
            task = asyncio.current_task(loop)
        exchange = current_exchange.get()
        calls = _Calls(request, call_next, exchange, task)
        response: Any = None
        try:
            result = handler(request, calls.on)
            # isawaitable() takes longer than all else here, and nearly everything is a coroutine.
            response = await result if type(result) is CoroutineType or inspect.isawaitable(result) else result
        except BaseException as error:
            foreign = translated(error)
            if foreign is not None:
                raise foreign  # noqa: B904 - it is the reason of `error`, not what came of it
            problem = _problem(error, request, name, source)
            if calls.went_on is not None and not isinstance(problem or error, PolicyError | EngineError):
                problem = PolicyError(WENT_ON, policy=name, where=calls.went_on or _where(source))
            if problem is None:
                raise
            raise problem from error
        finally:
            if exchange.open:
                _blame(exchange.open, response, calls.before, calls.number, who)
        if type(response) is Response and response.outcome is None and calls.others is None and calls.went_on is None:
            for callback in response._callbacks or ():  # noqa: SLF001 - who waits for its end is nobody else's business
                if getattr(callback, "__func__", None) is Exchange.ended:
                    break  # as a rule there is none: the gateway adds it when all policies are through
            else:
                return response
        message, where = _wrong(response, calls, source)
        if message:
            raise PolicyError(message, policy=name, where=where or _where(source))
        return cast("Response", response)

    return handle


class _Calls:
    """What one handler calls on with for one request, and what it was seen to do.

    Attributes
    ----------
    number
        How often it has called.
    before
        Attempts that had been made when it was called.
    went_on
        The line that called after the request had been cancelled: it swallowed that. Empty if that line is not known,
        None if it did not.
    others
        Calls with another request than its own: that request, and the answer. None if there was none.
    """

    __slots__ = ("before", "cancelled", "exchange", "next", "number", "others", "request", "task", "went_on")

    def __init__(
        self, request: Request, call_next: CallNext, exchange: Exchange, task: asyncio.Task[Any] | None
    ) -> None:
        self.request = request
        self.next = call_next
        self.exchange = exchange
        self.task = task
        self.cancelled = 0 if task is None else task.cancelling()
        self.number = 0
        self.before = exchange.attempts
        self.went_on: str | None = None
        self.others: list[tuple[Request, Response]] | None = None

    def on(self, request: Request) -> Any:
        """Call on: the `call_next` of the handler."""
        self.number += 1
        task = self.task
        if task is not None and task.cancelling() > self.cancelled and asyncio.current_task() is task:
            self.went_on = _called_from() if self.went_on is None else self.went_on
        if current_exchange.get(None) is self.exchange and getattr(request, "id", "") == self.request.id:
            return self.next(request)
        return self._on_behalf(request)

    async def _on_behalf(self, request: Request) -> Response:
        """As a part of the request whose `call_next` this is, also in a task that another one has begun."""
        before = current_exchange.set(self.exchange)
        try:
            response = await self.next(request)
        finally:
            current_exchange.reset(before)
        if request.id != self.request.id:
            self.others = [*(self.others or ()), (request, response)]
        return response


def _wrong(response: Any, calls: _Calls, source: Any) -> tuple[str, str]:
    """What is wrong with what a handler returned, and in which line if that is known; empty if nothing is."""
    if not isinstance(response, Response):
        return no_response(response, source), ""
    if calls.went_on is not None:
        return WENT_ON, calls.went_on
    if any(_answers_another(callback, calls.exchange) for callback in response._callbacks or ()):  # noqa: SLF001
        return GIVEN_TWICE, ""
    if response.outcome is not None and not calls.exchange.settled:  # not a loser that the pipeline has closed
        return used_up(response), ""
    return (somebody_elses(calls.request, response, calls.others) if calls.others else ""), ""


def _answers_another(callback: object, exchange: Exchange) -> bool:
    """Whether it tells another request of the same gateway that it is over; a gateway may be another's provider."""
    other = getattr(callback, "__self__", None)
    return isinstance(other, Exchange) and other is not exchange and other.runtime is exchange.runtime


def _problem(error: BaseException, request: Request, name: str, source: Any) -> PolicyError | None:
    """What to raise in place of `error`; None if it may go on as it is."""
    if isinstance(error, UnknownUpstream) and not error.policy and request.upstream != error.upstream:
        where = _raised_at(error) or _where(source)  # it came in with another address, so this is who changed it
        return PolicyError(str(error), policy=name, where=where)
    if isinstance(error, GatewayError | PolicyError | EngineError | TimeoutError):
        return None
    if isinstance(error, Exception | SystemExit):  # sys.exit() would end the run as if the user had stopped it
        where = _raised_at(error) or _where(source)
        return PolicyError(f"raised {type(error).__name__}: {error}{hint(error)}", policy=name, where=where)
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling():
        message = "let a CancelledError out that nobody had asked for: of a task it cancelled itself, or its own"
        return PolicyError(message, policy=name, where=_raised_at(error) or _where(source))
    return None


def _blame(opened: list[Attempt], response: Any, before: int, calls: int, who: str) -> None:
    """Remember who lost track of what is open and is not part of `response`; it leaks unless it is closed in time."""
    kept = [response] if isinstance(response, Response) else []
    for one in kept:
        kept.extend(one.parents)
    one_by_one = calls <= 1 and any(attempt.response is one for attempt in opened for one in kept)
    for attempt in opened:
        # Who called once and hands out what came has lost nothing: what else is open is somebody else's.
        if not one_by_one and attempt.number > before and not any(attempt.response is one for one in kept):
            attempt.lost_by = attempt.lost_by or who


def _called_from() -> str:
    """The line of the user's own code that calls whoever calls this; empty if there is none."""
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001 - there is no other way
    while frame is not None:
        if _is_theirs(frame.f_code.co_filename):
            return line_of(frame.f_code.co_filename, frame.f_lineno)
        frame = frame.f_back
    return ""


def _is_theirs(file: str) -> bool:
    return not file.startswith(_NOT_THEIRS) and (not file.startswith("<") or file.startswith(_TYPED))


def _where(source: Any) -> str:
    code = getattr(inspect.unwrap(source), "__code__", None)
    code = code or getattr(getattr(type(source), "__call__", None), "__code__", None)  # noqa: B004 - its code is wanted
    return line_of(code.co_filename, code.co_firstlineno) if code is not None else ""


def _raised_at(error: BaseException) -> str:
    """The innermost line of the user's own code in the traceback: not llmsim's, not a library's."""
    place = ""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if _is_theirs(file):
            place = line_of(file, traceback.tb_lineno)
        traceback = traceback.tb_next
    return place
