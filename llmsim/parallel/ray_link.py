"""Ray.

Not through joblib (``ray.util.joblib.register_ray``): that backend hands back all results at the end, so that nothing
could be kept, shown or stopped on the way.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from llmsim.errors import LlmsimError
from llmsim.parallel.at_worker import do
from llmsim.parallel.cluster import Link

__all__ = ["RayLink"]

#: Times a task is begun again whose worker died, as Dask does it.
_RETRIES = 3


class RayLink(Link):
    """A driver of a Ray cluster."""

    start = "ray start --address {}"

    def __init__(self, scheduler: str) -> None:
        try:
            import ray
        except ImportError:
            raise LlmsimError("backend ray needs Ray: pip install 'llmsim[ray]'") from None
        super().__init__(scheduler)
        self._ray: Any = ray
        try:
            if not ray.is_initialized():
                ray.init(address=scheduler, log_to_driver=False, logging_level=logging.ERROR)
            elif ray.get_runtime_context().gcs_address != scheduler:
                raise LlmsimError(f"this process is connected to another Ray cluster than {scheduler}; ray.shutdown()")
        except (ConnectionError, OSError, RuntimeError, ValueError) as error:
            hint = "start one (ray start --head), or correct the address"
            raise LlmsimError(f"no Ray cluster answers at {scheduler} ({type(error).__name__}); {hint}") from None
        self._do = ray.remote(num_cpus=1, max_retries=_RETRIES)(do)

    @property
    def open(self) -> bool:
        """Whether it can still be used."""
        return bool(self._ray.is_initialized())

    def begin(self) -> None:
        """Nothing: who is ready is asked for."""

    def hold(self, digest: str, content: bytes) -> Any:
        """In the object store of this machine, from where every other gets it once."""
        return self._ray.put(content)

    def holds(self, held: Any) -> bool:
        """It is there as long as this process is."""
        return True

    def submit(self, done: None, arguments: tuple[Any, ...]) -> Any:
        """Have it done."""
        return self._do.remote(*arguments)

    def wait(self, done: None, running: Collection[Any], timeout_s: float) -> Any:
        """One that is ready."""
        ready, _ = self._ray.wait(list(running), num_returns=1, timeout=timeout_s)
        return ready[0] if ready else None

    def result(self, future: Any) -> Any:
        """Its result, or the error that it raised."""
        errors = self._ray.exceptions
        try:
            return self._ray.get(future)
        except errors.RayTaskError as error:
            cause = error.cause if isinstance(error.cause, Exception) else error
            if isinstance(cause, ModuleNotFoundError):
                raise LlmsimError(f"a worker of the cluster has no module {cause.name}; install it there") from None
            raise cause from None
        except (errors.WorkerCrashedError, errors.OutOfMemoryError):
            raise self.killed() from None
        except errors.RayError as error:
            raise self.lost(error) from None

    def cancel(self, running: Collection[Any]) -> None:
        """Give up those that run."""
        for future in running:
            self._ray.cancel(future)

    def threads(self) -> int:
        """Processors of all nodes."""
        try:
            return int(self._ray.cluster_resources().get("CPU", 0))
        except self._ray.exceptions.RayError as error:
            raise self.lost(error) from None
