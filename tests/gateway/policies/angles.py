"""Meaning for tests: words that end in a number stand for a direction, and are as near as the cosine between two."""

import asyncio
import math

from gateway.policies.toys import ask

from llmsim.gateway.caching import Match, StoreError
from llmsim.stores.index import Found
from llmsim.stores.local import LocalStore
from llmsim.types import Message


def about(degrees, number=0, **fields):
    """A request in words that mean this direction."""
    return ask(number, **{"messages": (Message("user", f"about {degrees}"),), **fields})


def cosine(degrees):
    return math.cos(math.radians(degrees))


class AngleEmbedder:
    async def probe(self, question):
        return float(question.words.split()[-1])

    def tokens(self, question):
        return len(question.words.split())


class AngleIndex:
    """Looks at everything."""

    def __init__(self):
        self.entries = {}

    def add(self, partition, entry, probe):
        self.entries[entry] = (partition, probe)

    def remove(self, partition, entry):
        del self.entries[entry]

    def nearest(self, partition, probe):
        here = [(abs(probe - other), entry) for entry, (where, other) in self.entries.items() if where == partition]
        return Found(min(here)[1], cosine(min(here)[0])) if here else None


class MoodyStore(LocalStore):
    """One that can be made to fail or to be slow, operation by operation."""

    def __init__(self, *args):
        super().__init__(*args)
        self.trouble = {}  # operation: seconds, or an exception
        self.asked = []
        self.blind = False  #: to time and to who may share

    async def _mood(self, operation):
        self.asked.append(operation)
        trouble = self.trouble.get(operation)
        if isinstance(trouble, Exception):
            raise trouble
        if trouble:
            await asyncio.sleep(trouble)

    async def exact(self, question, now_s):
        await self._mood("exact")
        return await super().exact(question, -math.inf if self.blind else now_s)

    async def nearest(self, question, now_s, use):
        await self._mood("nearest")
        if self.blind and len(self):
            probe = await self._probe(question, use)
            distance, entry = min((abs(probe - other), entry) for entry, (_, other) in self._index.entries.items())
            return Match(self._entries[entry], cosine(distance))
        return await super().nearest(question, now_s, use)

    async def put(self, question, entry, use):
        await self._mood("put")
        await super().put(question, entry, use)

    async def touch(self, entry, now_s, expires_s=None):
        await self._mood("touch")
        await super().touch(entry, now_s, expires_s)

    async def drop(self, entry):
        await self._mood("drop")
        await super().drop(entry)


class Stores:
    """A `StoreOpener` of such stores; `made` are those it opened."""

    def __init__(self, judge=None):
        self.made = []
        self._judge = judge

    def open(self, spec, run):
        near = () if spec.backend == "exact" else (AngleEmbedder(), AngleIndex())
        self.made.append(MoodyStore(spec, *near))
        return self.made[-1]

    def judge(self, run):
        return self._judge

    @property
    def store(self):
        return self.made[-1]


DOWN = StoreError("down")
