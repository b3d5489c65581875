"""Stores for gateways that run for real."""

from __future__ import annotations

from llmsim.gateway.caching import AnswerStore, Judge, StoreSpec
from llmsim.gateway.contract import Run
from llmsim.stores.index import Embedder
from llmsim.stores.local import LocalStore

__all__ = ["LiveStores"]


class LiveStores:
    """What `Gateway.open` takes as ``stores``.

    Parameters
    ----------
    embedder
        Makes questions comparable; None: exact matches only.
    redis
        Address of a Redis 8 for policies with ``backend: redis``.
    judge
        The verifier of answers in the uncertainty band, where a policy brings none of its own.
    """

    def __init__(self, embedder: Embedder | None = None, *, redis: str = "", judge: Judge | None = None) -> None:
        self._embedder = embedder
        self._redis = redis
        self._judge = judge

    def open(self, spec: StoreSpec, run: Run) -> AnswerStore:
        if spec.backend == "exact":
            return LocalStore(spec)
        if spec.backend == "redis":
            from llmsim.stores.redis import RedisStore

            return RedisStore(spec, run, self._redis, self._embedder)
        raise NotImplementedError(spec.backend)

    def judge(self, run: Run) -> Judge | None:
        return self._judge
