"""Code that is not ours: a layer around each user policy that names it, and its line, when it breaks the contract."""

from __future__ import annotations

import asyncio
import inspect
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CoroutineType, TracebackType
from typing import Any

from llmsim.errors import EngineError, GatewayError, LlmsimError, PolicyError
from llmsim.gateway.contract import FunctionPolicy, Handler, PolicySpec, Run
from llmsim.gateway.exchange import Attempt, current_exchange
from llmsim.gateway.foreign import translated
from llmsim.types import CallNext, Request, Response

__all__ = ["TOLL", "UnknownUpstream", "checked", "name_of", "start_policy"]

#: The methods of a `llmsim.gateway.contract.Toll`.
TOLL = ("before_attempt", "after_attempt")

_NOT_THEIRS = (str(Path(__file__).parents[1]), *{str(Path(path)) for path in sysconfig.get_paths().values()})


class UnknownUpstream(PolicyError):
    """A request was addressed to an upstream that is not configured."""

    def __init__(self, upstream: str, known: Sequence[str]) -> None:
        super().__init__(f"sent a request to {upstream!r}; configured upstreams: {', '.join(known)}")
        self.upstream = upstream


def name_of(target: Any) -> str:
    """What a function or an object's class is called."""
    return str(getattr(target, "__name__", None) or type(target).__name__)


def start_policy(spec: Any, run: Run) -> Handler:
    """The spec's handler, checked unless it is one of the built-in policies."""
    if not isinstance(spec, PolicySpec):
        if not callable(spec):
            raise PolicyError(f"{spec!r} is no policy: it needs start(run) or to be an async def f(request, call_next)")
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
        message = f"start(run) returned {_short(handler)}, no async handler(request, call_next)"
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

    async def handle(request: Request, call_next: CallNext) -> Response:
        exchange = current_exchange.get()
        calls, before = 0, exchange.attempts

        def counted(request: Request) -> Any:
            nonlocal calls
            calls += 1
            return call_next(request)

        response: Any = None
        try:
            result = handler(request, counted)
            # isawaitable() takes longer than all else here, and nearly everything is a coroutine.
            response = await result if type(result) is CoroutineType or inspect.isawaitable(result) else result
        except BaseException as error:
            foreign = translated(error)
            if foreign is not None:
                raise foreign  # noqa: B904 - it is the reason of `error`, not what came of it
            problem = _problem(error, request, name, source)
            if problem is None:
                raise
            raise problem from error
        finally:
            if exchange.open:
                _blame(exchange.open, response, before, calls, f"{name} ({_where(source)})")
        if not isinstance(response, Response):
            raise PolicyError(_no_response(response, source), policy=name, where=_where(source))
        if response.outcome is not None and not exchange.settled:  # not a loser that the pipeline has closed
            raise PolicyError(_used_up(response), policy=name, where=_where(source))
        return response

    return handle


def _problem(error: BaseException, request: Request, name: str, source: Any) -> PolicyError | None:
    """What to raise in place of `error`; None if it may go on as it is."""
    if isinstance(error, UnknownUpstream) and not error.policy and request.upstream != error.upstream:
        where = _raised_at(error) or _where(source)  # it came in with another address, so this is who changed it
        return PolicyError(str(error), policy=name, where=where)
    if isinstance(error, GatewayError | PolicyError | EngineError | TimeoutError):
        return None
    if isinstance(error, Exception | SystemExit):  # sys.exit() would end the run as if the user had stopped it
        where = _raised_at(error) or _where(source)
        return PolicyError(f"raised {type(error).__name__}: {error}", policy=name, where=where)
    task = asyncio.current_task()
    if isinstance(error, asyncio.CancelledError) and task is not None and not task.cancelling():
        message = "let a CancelledError out that nobody had asked for: of a task it cancelled itself, or its own"
        return PolicyError(message, policy=name, where=_raised_at(error) or _where(source))
    return None


def _no_response(result: object, source: Any) -> str:
    if inspect.isasyncgen(result):
        return "is an async generator: it has a yield where it should return a Response"
    asynchronous = inspect.iscoroutinefunction(source) or inspect.iscoroutinefunction(getattr(source, "__call__", None))  # noqa: B004 - its code is wanted
    return f"returned {_short(result)} instead of a Response" + ("" if asynchronous else "; write it as async def")


def _used_up(response: Response) -> str:
    return (
        f"returned {response!r}, whose end has come already: its caller would get nothing. To look at a whole answer "
        "first, return Response(WholeAnswer(text, tokens, usage), upstream=response.upstream, parents=(response,)) "
        "with what was read (WholeAnswer is in llmsim.types)"
    )


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


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def _where(source: Any) -> str:
    code = getattr(inspect.unwrap(source), "__code__", None)
    code = code or getattr(getattr(type(source), "__call__", None), "__code__", None)  # noqa: B004 - its code is wanted
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def _raised_at(error: BaseException) -> str:
    """The innermost line of the user's own code in the traceback: not llmsim's, not a library's."""
    place = ""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if not file.startswith(("<", *_NOT_THEIRS)):
            place = f"{file}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place
