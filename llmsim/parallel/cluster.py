"""A Dask cluster: tasks are sent a few at a time, and come back whoever dies meanwhile."""

from __future__ import annotations

import queue
import warnings
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from time import monotonic
from typing import Any, TypeVar

from llmsim.errors import LlmsimError
from llmsim.parallel.at_worker import do, hold
from llmsim.parallel.shipping import Shipping, here

__all__ = ["on_cluster"]

T = TypeVar("T")

_CONNECT_S = 10
_TICK_S = 0.1
_LOOK_S = 2.0  #: between two looks at how many workers there are
_NO_WORKERS_S = 60.0  #: without any worker: one that starts up again takes seconds, a new machine a minute
_AHEAD = 3  #: tasks sent per thread of the cluster: one runs, the next ones are there when it ends
_HELD = 256  #: contents kept on the cluster between calls: the scenarios of a tuning

_links: dict[str, _Link] = {}


def on_cluster(
    call: Callable[..., T], tasks: Sequence[tuple[Any, ...]], scheduler: str, tick: Callable[[], object]
) -> Generator[tuple[int, T]]:
    """Results with the numbers of their tasks, as they come; see `llmsim.parallel.as_they_come`."""
    link = _links.get(scheduler)
    if link is None or link.client.status != "running":
        link = _links[scheduler] = _Link(scheduler)
    return link.results(call, tasks, tick)


class _Link:
    """A connection, kept for the next call."""

    def __init__(self, scheduler: str) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise LlmsimError("backend dask needs Dask: pip install 'llmsim[dask]'") from None
        try:
            # Not the default client: code beside this may have one of its own.
            connect: Any = Client
            self.client = connect(scheduler, timeout=_CONNECT_S, set_as_default=False, name="llmsim")
        except (OSError, TimeoutError, ValueError) as error:
            hint = "start one (dask scheduler; dask worker ADDRESS --nworkers 4 --nthreads 1), or correct the address"
            raise LlmsimError(f"no scheduler answers at {scheduler} ({type(error).__name__}); {hint}") from None
        self._scheduler = scheduler
        self._held: OrderedDict[str, Any] = OrderedDict()
        self._threads, self._looked_s, self._seen_s = 0, -_LOOK_S, monotonic()

    def results(
        self, call: Callable[..., T], tasks: Sequence[tuple[Any, ...]], tick: Callable[[], object]
    ) -> Generator[tuple[int, T]]:
        """Send, wait, send more."""
        shipping, done, sent = Shipping(), queue.SimpleQueue[Any](), 0
        running: dict[str, tuple[int, Any]] = {}
        self._seen_s = monotonic()
        try:
            while sent < len(tasks) or running:
                while sent < len(tasks) and len(running) < max(1, _AHEAD * self._size()):
                    future = self._submit(shipping, call, tasks[sent])
                    running[future.key] = sent, future
                    future.add_done_callback(done.put)
                    sent += 1
                try:
                    future = done.get(timeout=_TICK_S)
                except queue.Empty:
                    self._size()
                    tick()
                    continue
                number, _ = running.pop(future.key)
                yield number, self._result(future)
        finally:
            if running and self.client.status == "running":
                # What has begun goes on to its end, there is no other way; what has not does not begin.
                self.client.cancel([future for _, future in running.values()])

    def _submit(self, shipping: Shipping, call: Callable[..., T], task: tuple[Any, ...]) -> Any:
        parcel = shipping.packed((call, task))
        digests = tuple(dict.fromkeys((*parcel.needs, *(n for d in parcel.needs for n in shipping.contents[d].needs))))
        held = [self._holding(digest, shipping) for digest in digests]
        return self.client.submit(do, here(), parcel.content, digests, *held, pure=False)

    def _holding(self, digest: str, shipping: Shipping) -> Any:
        """The content, on the cluster."""
        future = self._held.get(digest)
        if future is None or future.status in ("cancelled", "error", "lost"):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Sending large graph", UserWarning)
                content = shipping.contents[digest].content
                future = self.client.submit(hold, content, key=f"llmsim-{digest}", pure=False)
            self._held[digest] = future
            if len(self._held) > _HELD:
                self._held.popitem(last=False)
        self._held.move_to_end(digest)
        return future

    def _size(self) -> int:
        """Threads of the workers there are.

        Raises
        ------
        LlmsimError
            There has been none for a while, or the scheduler is gone.
        """
        now = monotonic()
        if now - self._looked_s >= _LOOK_S:
            self._looked_s = now
            try:
                self._threads = sum(self.client.nthreads().values())
            except (OSError, TimeoutError) as error:
                raise LlmsimError(f"lost the scheduler at {self._scheduler} ({type(error).__name__})") from None
        if self._threads:
            self._seen_s = now
        elif now - self._seen_s > _NO_WORKERS_S:
            hint = f"start some: dask worker {self._scheduler} --nworkers 4 --nthreads 1"
            raise LlmsimError(f"the cluster at {self._scheduler} has no workers; {hint}")
        return self._threads

    def _result(self, future: Any) -> Any:
        from distributed import CancelledError, KilledWorker

        try:
            return future.result()
        except KilledWorker:
            raise LlmsimError(
                "a run ended one worker of the cluster after the other: memory ran out there, or code in C crashed"
            ) from None
        except (CancelledError, OSError, TimeoutError) as error:
            raise LlmsimError(f"lost the cluster at {self._scheduler} ({type(error).__name__})") from None
        except ModuleNotFoundError as error:
            raise LlmsimError(f"a worker of the cluster has no module {error.name}; install it there") from None
