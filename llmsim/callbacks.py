"""Calling back: every callback is called, whatever another one does, and a bad one is named."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from llmsim.errors import PolicyError
from llmsim.places import line_of

__all__ = ["run_callbacks"]


def run_callbacks(callbacks: Iterable[Callable[..., Any]], outcome: object, usage: object) -> None:
    """Call each with ``(outcome, usage)``.

    Raises
    ------
    PolicyError
        After all were called (the others have permits to give back), for the first one that raised or is async.
    """
    failure: PolicyError | None = None
    for callback in callbacks:
        try:
            result = callback(outcome, usage)
            if result is not None:
                _refuse_coroutine(callback, result)
        except Exception as error:  # it is the user's code
            failure = failure or _failed(callback, error)
    if failure is not None:
        raise failure


def _failed(callback: Callable[..., Any], error: Exception) -> PolicyError:
    name = getattr(callback, "__qualname__", type(callback).__qualname__).partition(".<locals>")[0]
    code = getattr(callback, "__code__", None)
    where = line_of(code.co_filename, code.co_firstlineno) if code is not None else ""
    traceback = error.__traceback__ and error.__traceback__.tb_next
    if traceback is not None and traceback.tb_frame.f_code.co_filename != __file__:
        where = line_of(traceback.tb_frame.f_code.co_filename, traceback.tb_lineno)
    failure = PolicyError(f"its on_end callback raised {type(error).__name__}: {error}", policy=name, where=where)
    failure.__cause__ = error
    return failure


def _refuse_coroutine(callback: Callable[..., Any], result: Any) -> None:
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"on_end takes a plain function and {callback!r} is async: a call being closed cannot wait")
