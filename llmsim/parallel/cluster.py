"""A cluster: tasks are sent a few at a time, and come back whoever dies meanwhile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Sequence
from time import monotonic
from typing import Any, ClassVar, TypeVar

from llmsim.errors import LlmsimError
from llmsim.parallel.shipping import Shipping, here
from llmsim.parallel.workers import Cluster

__all__ = ["Link", "on_cluster"]

T = TypeVar("T")

_TICK_S = 0.1
_LOOK_S = 2.0  #: between two looks at how many workers there are
_NO_WORKERS_S = 60.0  #: without any worker: one that starts up again takes seconds, a new machine a minute
_AHEAD = 3  #: tasks sent per thread of the cluster: one runs, the next ones are there when it ends
_HELD = 256  #: contents kept on the cluster between calls: the scenarios of a tuning

_links: dict[Cluster, Link] = {}


def on_cluster(
    call: Callable[..., T], tasks: Sequence[tuple[Any, ...]], cluster: Cluster, tick: Callable[[], object]
) -> Generator[tuple[int, T]]:
    """Results with the numbers of their tasks, as they come; see `llmsim.parallel.as_they_come`."""
    link = _links.get(cluster)
    if link is None or not link.open:
        link = _links[cluster] = _opened(cluster)
    return link.results(call, tasks, tick)


def _opened(cluster: Cluster) -> Link:
    if cluster.backend == "ray":
        from llmsim.parallel.ray_link import RayLink

        return RayLink(cluster.scheduler)
    from llmsim.parallel.dask_link import DaskLink

    return DaskLink(cluster.scheduler)


class Link(ABC):
    """A connection, kept for the next call.

    Parameters
    ----------
    scheduler
        The address.
    """

    start: ClassVar[str]  #: how workers are started, with the address in braces

    def __init__(self, scheduler: str) -> None:
        self.scheduler = scheduler
        self._held: OrderedDict[str, Any] = OrderedDict()
        self._threads, self._looked_s, self._seen_s = 0, -_LOOK_S, monotonic()

    def results(
        self, call: Callable[..., T], tasks: Sequence[tuple[Any, ...]], tick: Callable[[], object]
    ) -> Generator[tuple[int, T]]:
        """Send, wait, send more."""
        shipping, done, sent = Shipping(), self.begin(), 0
        running: dict[Any, int] = {}
        self._seen_s = monotonic()
        try:
            while sent < len(tasks) or running:
                while sent < len(tasks) and len(running) < max(1, _AHEAD * self._size()):
                    running[self._submit(done, shipping, call, tasks[sent])] = sent
                    sent += 1
                future = self.wait(done, running, _TICK_S)
                if future is None:
                    self._size()
                    tick()
                    continue
                yield running.pop(future), self.result(future)
        finally:
            if running and self.open:
                # What has begun goes on to its end, there is no other way; what has not does not begin.
                self.cancel(running)

    def _submit(self, done: Any, shipping: Shipping, call: Callable[..., T], task: tuple[Any, ...]) -> Any:
        parcel = shipping.packed((call, task))
        digests = tuple(dict.fromkeys((*parcel.needs, *(n for d in parcel.needs for n in shipping.contents[d].needs))))
        held = [self._holding(digest, shipping) for digest in digests]
        return self.submit(done, (here(), parcel.content, digests, *held))

    def _holding(self, digest: str, shipping: Shipping) -> Any:
        """The content, on the cluster."""
        future = self._held.get(digest)
        if future is None or not self.holds(future):
            future = self._held[digest] = self.hold(digest, shipping.contents[digest].content)
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
            self._looked_s, self._threads = now, self.threads()
        if self._threads:
            self._seen_s = now
        elif now - self._seen_s > _NO_WORKERS_S:
            start = self.start.format(self.scheduler)
            raise LlmsimError(f"the cluster at {self.scheduler} has no workers; start some: {start}")
        return self._threads

    def lost(self, error: BaseException, what: str = "cluster") -> LlmsimError:
        """What to say when nobody answers any more."""
        return LlmsimError(f"lost the {what} at {self.scheduler} ({type(error).__name__})")

    def killed(self) -> LlmsimError:
        """What to say of a task that cannot be done anywhere."""
        return LlmsimError(
            "a run ended one worker of the cluster after the other: memory ran out there, or code in C crashed"
        )

    @property
    @abstractmethod
    def open(self) -> bool:
        """Whether it can still be used."""

    @abstractmethod
    def begin(self) -> Any:
        """What `submit` and `wait` of one call share."""

    @abstractmethod
    def hold(self, digest: str, content: bytes) -> Any:
        """Put a content on the cluster; what stands for it among the arguments of a task."""

    @abstractmethod
    def holds(self, held: Any) -> bool:
        """Whether it is still there, as far as is known."""

    @abstractmethod
    def submit(self, done: Any, arguments: tuple[Any, ...]) -> Any:
        """Have `llmsim.parallel.at_worker.do` called there; something hashable that stands for the result."""

    @abstractmethod
    def wait(self, done: Any, running: Collection[Any], timeout_s: float) -> Any:
        """One of those that run and are ready now; None: none in that time."""

    @abstractmethod
    def result(self, future: Any) -> Any:
        """Its result, or the error that it raised."""

    @abstractmethod
    def cancel(self, running: Collection[Any]) -> None:
        """Give up those that run."""

    @abstractmethod
    def threads(self) -> int:
        """How many tasks can run at once."""
