"""The plain part of asyncio's interface: tasks, handlers, debug mode, asynchronous generators."""

from __future__ import annotations

import asyncio
import itertools
import weakref
from collections.abc import Callable
from typing import Any

from llmsim.engine.refused import RefusedIo
from llmsim.engine.tasks import SimTask

__all__ = ["PlainLoop"]

ExceptionHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


class PlainLoop(RefusedIo):
    """Base of the loop: everything that neither waits nor runs."""

    _current_handle = None  #: asyncio's default exception handler asks for it in debug mode

    def __init__(self) -> None:
        self._closed = False
        self._debug = False
        self._exception_handler: ExceptionHandler | None = None
        self._task_factory: Any = None
        self._task_number = itertools.count(1).__next__
        self._asyncgens: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self._asyncgen_number = itertools.count().__next__
        self.set_debug(False)

    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._closed

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("Event loop is closed")

    def next_task_number(self) -> int:
        """Count the tasks of the run (see `llmsim.engine.tasks`)."""
        return self._task_number()

    def create_task(self, coro: Any, *, name: str | None = None, **kwargs: Any) -> Any:
        """Make a task that hashes by its number (see `llmsim.engine.tasks`)."""
        self._check_open()
        if self._task_factory is None:
            return SimTask(coro, loop=self, name=name, **kwargs)
        task = self._task_factory(self, coro, **kwargs)
        if name is not None:
            task.set_name(name)
        return task

    def set_task_factory(self, factory: Any) -> None:
        """Let `factory` make the tasks; None: the default."""
        if factory is not None and not callable(factory):
            raise TypeError("task factory must be a callable or None")
        self._task_factory = factory

    def get_task_factory(self) -> Any:
        """Return what makes the tasks, None for the default."""
        return self._task_factory

    def create_future(self) -> asyncio.Future[Any]:
        """Make a future of this loop (a C callable on the instance stands in front of this method)."""
        return asyncio.Future(loop=self)

    def get_exception_handler(self) -> ExceptionHandler | None:
        """Return what is told about exceptions in callbacks, None for the default."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Tell `handler` about exceptions in callbacks; None: log them."""
        self._exception_handler = handler

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log, as asyncio does."""
        asyncio.BaseEventLoop.default_exception_handler(self, context)  # type: ignore[arg-type]

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an exception in a callback, or one that nobody looked at."""
        if self._exception_handler is None:
            self.default_exception_handler(context)
            return
        about = context.get("task", context.get("future"))
        get_context = getattr(about, "get_context", None)  # from Python 3.12 on: the handler runs where it happened
        try:
            if get_context is not None and (where := get_context()) is not None:
                where.run(self._exception_handler, self, context)
            else:
                self._exception_handler(self, context)
        except Exception as error:  # a handler that fails must not hide what it was told
            self.default_exception_handler(
                {"message": "Unhandled error in exception handler", "exception": error, "context": context}
            )

    def get_debug(self) -> bool:
        """Whether asyncio's debug mode is on (a C callable on the instance stands in front of this method)."""
        return self._debug

    def set_debug(self, enabled: bool) -> None:  # noqa: FBT001 - asyncio's signature
        """Switch asyncio's debug mode."""
        self._debug = enabled
        # Every new future asks; `bool()` is False, and a C call.
        self.get_debug = (lambda: True) if enabled else bool  # type: ignore[method-assign]

    def _asyncgen_born(self, agen: Any) -> None:
        self._asyncgens[self._asyncgen_number()] = agen

    def _asyncgen_dropped(self, agen: Any) -> None:
        if not self._closed:
            self.call_soon(self.create_task, agen.aclose())

    def has_open_asyncgens(self) -> bool:
        """Whether asynchronous generators are still open."""
        return bool(self._asyncgens)

    async def shutdown_asyncgens(self) -> None:
        """Close the asynchronous generators that are still open, in order of birth."""
        open_ones = list(self._asyncgens.values())
        self._asyncgens.clear()
        results = await asyncio.gather(*[agen.aclose() for agen in open_ones], return_exceptions=True)
        for result, agen in zip(results, open_ones, strict=True):
            if isinstance(result, Exception):
                message = f"an error occurred during closing of asynchronous generator {agen!r}"
                self.call_exception_handler({"message": message, "exception": result, "asyncgen": agen})

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Do nothing: there is no executor."""
