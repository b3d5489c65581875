"""A store as a cache sees it: what goes wrong with it is a miss, and writing is done in the background."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from llmsim.gateway.caching import CacheUse, Entry, Incomparable, Match, Question, StoreError, StoreSpec
from llmsim.gateway.contract import Run
from llmsim.gateway.policies._guard import Guard
from llmsim.types import Request

if TYPE_CHECKING:
    from llmsim.gateway.policies.semantic_cache import SemanticCache

__all__ = ["GuardedStore"]


class GuardedStore:
    """The store of a semantic cache.

    Attributes
    ----------
    background
        Tasks that nobody waits for but `aclose`. Each ends by itself: writes within `store_timeout`.
    stored, unkept
        Answers that were to be kept, and those of them that the store did not take.
    """

    __slots__ = (
        "_equal",
        "_far",
        "_going",
        "_lasting",
        "_near",
        "_not_begun",
        "_run",
        "_store",
        "_touch",
        "_vectors",
        "_write",
        "background",
        "stored",
        "unkept",
    )

    def __init__(self, spec: SemanticCache, run: Run) -> None:
        self._run = run
        options = StoreSpec(spec.backend, spec.capacity, spec.capacity_bytes or math.inf, spec.eviction, run.name)
        self._store = run.open_store(options)
        self._vectors = spec.backend != "exact"
        self._far = spec.backend == "redis"
        times = (spec.store_timeout, spec.store_cooldown)
        # Apart, since one can fail without the others: who embeds; who has memory left for what is new; and a Redis
        # that only reads fails in every touch, and none of the answers it has should be lost for that.
        self._equal, self._near, self._write, self._touch = (
            Guard(run, word, *times) for word in ("exact", "nearest", "put", "touch")
        )
        self._going: set[str] = set()  # entries that are being dropped
        self._not_begun = 0  # writes whose task has not had its first turn
        self.background: set[asyncio.Task[None]] = set()
        self._lasting: set[asyncio.Task[None]] = set()  # those of them that are no use any more when it is closed
        self.stored = 0
        self.unkept = 0

    @property
    def failures(self) -> int:
        """Times it failed, or took too long."""
        return sum(guard.failures for guard in (self._equal, self._near, self._write, self._touch))

    def now(self) -> float:
        """Seconds since 1970: what entries are dated with."""
        return self._run.epoch_s + self._run.now()

    # -- reading -------------------------------------------------------------------------------------------------------

    async def exact(self, question: Question) -> Entry | None:
        """The entry of this very question."""
        if self._equal.closed:
            return None
        if self._not_begun:  # what has just been answered is found, if its store need not wait for anything
            await asyncio.sleep(0)
        try:
            entry = await self._equal.ask(self._store.exact(question, self.now()), question.request)
        except StoreError:
            return None
        return entry if entry is not None and entry.key == question.key else None

    async def nearest(self, question: Question, use: CacheUse) -> Match | None:
        """The entry that is nearest in meaning."""
        if not self._vectors or self._near.closed or self._equal.closed:
            return None
        try:
            return await self._near.ask(self._store.nearest(question, self.now(), use), question.request)
        except StoreError as error:
            question.comparable = not isinstance(error, Incomparable)
            return None

    # -- writing -------------------------------------------------------------------------------------------------------

    async def touch(self, entry: Entry, request: Request, expires_s: float | None) -> None:
        """Note that it was used. Of a store in this process that is done at once."""
        if self._touch.closed or self._equal.closed:
            return
        if self._far:
            self.begin(self._note_use(entry, request, expires_s), "touch", request)
        else:
            await self._note_use(entry, request, expires_s)

    async def _note_use(self, entry: Entry, request: Request, expires_s: float | None) -> None:
        try:
            await self._touch.ask(self._store.touch(entry, self.now(), expires_s), request)
        except StoreError:
            pass  # it is served all the same

    def forget(self, entry: Entry, request: Request) -> bool:
        """Drop it; whether that is news."""
        if self._write.closed or entry.id in self._going:
            return False
        self._going.add(entry.id)
        self.begin(self._drop(entry, request), "forget", request)
        return True

    async def _drop(self, entry: Entry, request: Request) -> None:
        try:
            await self._write.ask(self._store.drop(entry), request)
        except StoreError:
            pass  # it is not served all the same
        finally:
            self._going.discard(entry.id)

    def keeps(self, question: Question) -> bool:
        """Whether it would take an answer now: it is in no trouble, or at least need not embed what cannot be."""
        if self._write.closed or self._equal.closed:
            return False
        return question.probe is not None or not self._vectors or not question.comparable or not self._near.closed

    def keep(self, question: Question, entry: Entry, use: CacheUse) -> None:
        """Write it; counts what that costs."""
        if self._vectors and question.comparable:
            use.writes += 1  # now: when it has been written, the bill may be
        self.stored += 1
        self._not_begun += 1
        self.begin(self._put(question, entry), "keep", question.request)

    async def _put(self, question: Question, entry: Entry) -> None:
        self._not_begun -= 1
        try:
            await self._write.ask(self._store.put(question, entry, CacheUse()), question.request)
        except StoreError:
            self.unkept += 1

    def begin(self, work: Coroutine[Any, Any, None], what: str, request: Request, *, lasting: bool = False) -> None:
        """Do it in the background; what is `lasting` is not waited for in the end but cancelled."""
        task = asyncio.get_running_loop().create_task(work, name=f"{self._run.name} {what} {request.id}")
        self.background.add(task)
        task.add_done_callback(self.background.discard)
        if lasting:
            self._lasting.add(task)
            task.add_done_callback(self._lasting.discard)

    async def aclose(self) -> None:
        """End what was begun: writes within `store_timeout`, calls that were to renew an answer at once."""
        for task in self._lasting:
            task.cancel()
        while self.background:
            await asyncio.wait(self.background)
        await self._store.aclose()
