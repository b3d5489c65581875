"""Who does the work: so many processes of this machine, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass

from llmsim.errors import LlmsimError

__all__ = ["BACKENDS", "Cluster", "Workers", "alone", "workers_of"]

#: What can be asked for.
BACKENDS = ("processes", "dask")


@dataclass(frozen=True)
class Cluster:
    """The workers of a Dask cluster, however many there are at the time."""

    scheduler: str  #: its address, ``tcp://host:8786``


#: A number of processes on this machine (1: this one), or a cluster.
Workers = int | Cluster


def alone(workers: Workers) -> bool:
    """Whether this process does it all."""
    return not isinstance(workers, Cluster) and workers <= 1


def workers_of(backend: str | None, scheduler: str | None, jobs: int | None = None) -> Cluster | None:
    """The cluster that is asked for; None: processes of this machine.

    Parameters
    ----------
    backend
        ``processes`` or ``dask``; None: the latter where a scheduler is named.
    scheduler
        ``tcp://host:port``.
    jobs
        What was said about processes: nothing (None or 1) with a cluster.

    Raises
    ------
    LlmsimError
        The words do not fit together.

    Examples
    --------
    >>> workers_of(None, None), workers_of("dask", "tcp://127.0.0.1:8786")
    (None, Cluster(scheduler='tcp://127.0.0.1:8786'))
    """
    if backend is not None and backend not in BACKENDS:
        raise LlmsimError(f"backend is {backend!r}; use {' or '.join(BACKENDS)}")
    if backend == "processes" and scheduler:
        raise LlmsimError(f"backend is processes and scheduler is {scheduler}; use backend dask, or no scheduler")
    if not scheduler:
        if backend == "dask":
            raise LlmsimError("backend dask needs the address of a scheduler: --scheduler tcp://127.0.0.1:8786")
        return None
    if "://" not in scheduler:
        raise LlmsimError(f"scheduler is {scheduler!r}; write it like tcp://127.0.0.1:8786")
    if jobs not in (None, 1):
        raise LlmsimError(f"jobs is {jobs}, and that is about this machine; a cluster has the workers it has")
    return Cluster(scheduler)
