"""Stores for gateways that run for real."""

from __future__ import annotations

from functools import partial

from llmsim.gateway.caching import AnswerStore, Judge, StoreSpec
from llmsim.gateway.contract import Run
from llmsim.stores.index import Embedder
from llmsim.stores.local import LocalStore
from llmsim.stores.vectors import VectorIndex

__all__ = ["LiveStores"]


class LiveStores:
    """What `Gateway.open` takes as ``stores``.

    Parameters
    ----------
    embedder
        Makes questions comparable (`llmsim.stores.embedders`); None: exact matches only.
    redis
        Address of a Redis 8 for policies with ``backend: redis``: ``redis://127.0.0.1:6379``.
    judge
        The verifier of answers in the uncertainty band, where a policy brings none of its own.

    Examples
    --------
    A gateway with a cache in memory, and a real model for what is asked in other words::

        from llmsim.stores import LiveStores
        from llmsim.stores.embedders import MiniLm

        async with gateway.open(providers, stores=LiveStores(MiniLm())) as running:
            response = await running.send(request)
    """

    def __init__(self, embedder: Embedder | None = None, *, redis: str = "", judge: Judge | None = None) -> None:
        self._embedder = embedder
        self._redis = redis
        self._judge = judge

    def open(self, spec: StoreSpec, run: Run) -> AnswerStore:
        """A store for one policy of one replica.

        Raises
        ------
        ValueError
            If what its backend needs was not given; says what to write.
        """
        if spec.backend == "exact":
            return LocalStore(spec)
        if spec.backend not in ("memory", "redis"):
            raise ValueError(f"{run.name}: unknown backend {spec.backend!r}; write memory, redis or exact")
        if self._embedder is None:
            raise ValueError(
                f"{run.name} with backend: {spec.backend} compares questions by their meaning, and LiveStores was "
                "given no embedder; write LiveStores(MiniLm()), from llmsim.stores.embedders, or backend: exact"
            )
        if spec.backend == "redis":
            if not self._redis:
                raise ValueError(
                    f"{run.name} with backend: redis needs the address of a Redis 8; write "
                    'LiveStores(..., redis="redis://127.0.0.1:6379"), or backend: memory'
                )
            from llmsim.stores.redis import RedisStore

            return RedisStore(spec, run, self._redis, self._embedder)
        index = VectorIndex(capacity=spec.capacity, say=partial(_say, run))
        return LocalStore(spec, self._embedder, index)

    def judge(self, run: Run) -> Judge | None:
        return self._judge


def _say(run: Run, text: str) -> None:
    """What the operator of a store should know: an event, as everything else that a gateway has to say."""
    run.emit("store_notice", text=text)
