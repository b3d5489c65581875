"""Answers in this process: a shelf that decides what stays, and an index that knows what is near."""

from __future__ import annotations

from llmsim.algorithms.shelf import Shelf
from llmsim.gateway.caching import CacheUse, Entry, Match, Question, StoreSpec
from llmsim.stores.index import Embedder, Index, Probe

__all__ = ["LocalStore"]


class LocalStore:
    """Implements `AnswerStore` in memory.

    Parameters
    ----------
    spec
        How much it keeps.
    embedder, index
        What makes questions comparable, and finds the nearest. Both None: exact matches only.

    Attributes
    ----------
    bytes
        Of what it keeps: the texts of its entries in UTF-8, and their vectors. What Python needs besides, and rows that
        an index holds free, is not in it.
    """

    def __init__(self, spec: StoreSpec, embedder: Embedder | None = None, index: Index | None = None) -> None:
        self._shelf = Shelf(spec.capacity, spec.capacity_bytes, spec.eviction)
        self._entries: dict[str, Entry] = {}
        self._sizes: dict[str, int] = {}
        self._embedder = embedder
        self._index = index
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._shelf)

    async def exact(self, question: Question, now_s: float) -> Entry | None:
        entry = self._shelf.find((question.partition, question.key), now_s)
        return self._entries[entry] if entry is not None else None

    async def nearest(self, question: Question, now_s: float, use: CacheUse) -> Match | None:
        if self._index is None or self._embedder is None:
            return None
        probe = await self._probe(question, use)
        use.queries += 1
        # All that has expired, first: else a search would meet it one by one, thousands after a quiet night.
        for gone in self._shelf.expire(now_s):
            self._forget(gone)
        while (found := self._index.nearest(question.partition, probe)) is not None:
            if self._shelf.lives(found.id, now_s):
                return Match(self._entries[found.id], found.similarity)
            self._shelf.drop(found.id)  # it would hide what is second nearest
            self._forget(found.id)
        return None

    async def _probe(self, question: Question, use: CacheUse) -> Probe:
        if question.probe is None:
            assert self._embedder is not None
            question.probe = await self._embedder.probe(question)
            use.embedded_tokens += self._embedder.tokens(question)  # some know only now
        return question.probe

    async def put(self, question: Question, entry: Entry, use: CacheUse) -> None:
        size = entry.bytes
        probe = None
        comparable = self._index is not None and question.comparable
        if comparable:
            probe = await self._probe(question, use)
            size += getattr(probe, "nbytes", 0)
        # Nothing is awaited from here on, so that nobody sees half of it.
        await self.drop(entry)  # an id that comes again: the older one is outdated
        if comparable:
            assert self._index is not None
            self._index.add(entry.partition, entry.id, probe)
            use.writes += 1
        self._entries[entry.id] = entry
        self._sizes[entry.id] = size
        self.bytes += size
        room = {"now_s": entry.stored_s, "size": size, "cost": entry.cost_usd}
        for gone in self._shelf.put(entry.id, (entry.partition, entry.key), expires_s=entry.expires_s, **room):
            self._forget(gone)

    async def touch(self, entry: Entry, now_s: float, expires_s: float | None = None) -> None:
        kept = self._entries.get(entry.id)
        if kept is None:
            return
        if expires_s is None or expires_s <= kept.expires_s:
            self._shelf.touch(entry.id)
        else:
            self._shelf.touch(entry.id, expires_s)
            self._entries[entry.id] = kept._replace(expires_s=expires_s)

    async def drop(self, entry: Entry) -> None:
        if self._shelf.drop(entry.id):
            self._forget(entry.id)

    def _forget(self, entry: str) -> None:
        gone = self._entries.pop(entry)
        self.bytes -= self._sizes.pop(entry)
        if self._index is not None:
            self._index.remove(gone.partition, entry)

    async def aclose(self) -> None:
        """Nothing to let go of: who has the store still finds what it kept."""
