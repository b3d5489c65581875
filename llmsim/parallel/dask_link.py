"""Dask."""

from __future__ import annotations

import queue
import warnings
from collections.abc import Collection
from typing import Any

from llmsim.errors import LlmsimError
from llmsim.parallel.at_worker import do, hold
from llmsim.parallel.cluster import Link

__all__ = ["DaskLink"]

_CONNECT_S = 10


class DaskLink(Link):
    """A client of a Dask scheduler; its futures stand for results by their keys."""

    start = "dask worker {} --nworkers 4 --nthreads 1"

    def __init__(self, scheduler: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise LlmsimError("backend dask needs Dask: pip install 'llmsim[dask]'") from None
        super().__init__(scheduler)
        self._futures: dict[str, Any] = {}
        try:
            # Not the default client: code beside this may have one of its own.
            connect: Any = Client
            self._client = connect(scheduler, timeout=_CONNECT_S, set_as_default=False, name="llmsim")
        except (OSError, TimeoutError, ValueError) as error:
            hint = f"start one (dask scheduler; {self.start.format('ADDRESS')}), or correct the address"
            raise LlmsimError(f"no scheduler answers at {scheduler} ({type(error).__name__}); {hint}") from None

    @property
    def open(self) -> bool:
        """Whether it can still be used."""
        return bool(self._client.status == "running")

    def begin(self) -> queue.SimpleQueue[Any]:
        """The futures that are ready."""
        return queue.SimpleQueue()

    def hold(self, digest: str, content: bytes) -> Any:
        """As a task: a worker that dies with it is no loss, since the scheduler can have it made again."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
            return self._client.submit(hold, content, key=f"llmsim-{digest}", pure=False)

    def holds(self, held: Any) -> bool:
        """Whether it is still there, as far as is known."""
        return held.status not in ("cancelled", "error", "lost")

    def submit(self, done: queue.SimpleQueue[Any], arguments: tuple[Any, ...]) -> str:
        """Have it done."""
        future = self._client.submit(do, *arguments, pure=False)
        self._futures[future.key] = future
        future.add_done_callback(done.put)
        return str(future.key)

    def wait(self, done: queue.SimpleQueue[Any], running: Collection[Any], timeout_s: float) -> str | None:
        """One that is ready."""
        try:
            return str(done.get(timeout=timeout_s).key)
        except queue.Empty:
            return None

    def result(self, future: str) -> Any:
        """Its result, or the error that it raised."""
        from distributed import CancelledError, KilledWorker

        try:
            return self._futures.pop(future).result()
        except KilledWorker:
            raise self.killed() from None
        except (CancelledError, OSError, TimeoutError) as error:
            raise self.lost(error) from None
        except ModuleNotFoundError as error:
            raise LlmsimError(f"a worker of the cluster has no module {error.name}; install it there") from None

    def cancel(self, running: Collection[Any]) -> None:
        """Give up those that run."""
        self._client.cancel([self._futures.pop(key) for key in running])

    def threads(self) -> int:
        """Threads of all workers."""
        try:
            return sum(self._client.nthreads().values())
        except (OSError, TimeoutError) as error:
            raise self.lost(error, "scheduler") from None
