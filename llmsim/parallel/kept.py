"""A failure that waits for its turn."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from llmsim.errors import LlmsimError

__all__ = ["Failed", "Kept", "unwrapped"]

T = TypeVar("T")


class Failed(NamedTuple):
    """What a call raised."""

    error: LlmsimError
    told: str  #: its traceback, which does not travel


class _Elsewhere(Exception):
    """The traceback of another process, for `--traceback`."""


class Kept(Generic[T]):
    """A call whose error is a result, like any other."""

    def __init__(self, call: Callable[..., T]) -> None:
        self._call = call

    def __call__(self, *task: Any) -> T | Failed:
        """Call."""
        try:
            return self._call(*task)
        except LlmsimError as error:
            return Failed(error, "".join(traceback.format_exception(error)))


def unwrapped(result: T | Failed) -> T:
    """The result of a call that was `Kept`.

    Raises
    ------
    LlmsimError
        What it raised.
    """
    if isinstance(result, Failed):
        raise result.error from _Elsewhere(f"\n{result.told}")
    return result
