"""A semantic cache to play with.

Words that end in a number stand for a direction, and are as near as the cosine between two.
"""

import asyncio
import math

from gateway.policies.toys import ask
from gateway.site import Site, play

from llmsim.gateway.caching import Match, StoreError
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
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
        self.entries.pop(entry, None)  # what has no vector never came in

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
    """A `StoreOpener` of such stores; `made` are those it opened, `specs` what was asked of each."""

    def __init__(self, judge=None):
        self.made = []
        self.specs = []
        self._judge = judge

    def open(self, spec, run):
        near = () if spec.backend == "exact" else (AngleEmbedder(), AngleIndex())
        self.made.append(MoodyStore(spec, *near))
        self.specs.append(spec)
        return self.made[-1]

    def judge(self, run):
        return self._judge

    @property
    def store(self):
        return self.made[-1]


DOWN = StoreError("down")


class Lab(Site):
    """A site with a semantic cache; `served` tells what each request got, and from where."""

    def __init__(self, spec, *providers, stores=None, inside=(), **fields):
        self.stores = stores or Stores()
        gateway = Gateway(policies=(spec, *inside), **fields)
        super().__init__(gateway, *providers, stores=self.stores)

    async def ask(self, request):
        """What became of it: what the cache did, and its response."""
        exchange = Exchange(request, self.running._runtime)
        response = await self.send(request, exchange)
        return exchange.cache, response

    async def served(self, *requests, wait_s=0.0):
        matches = []
        for request in requests:
            use, response = await self.ask(request)
            assert (response.served_from == "cache") is bool(use and use.match)
            matches.append(use.match if use else "skipped")
            await asyncio.sleep(wait_s)
        return matches

    def told(self, kind):
        return [fields for name, fields in self.events if name == kind]


def served(spec, *requests, wait_s=0.0, provider=None, **more):
    async def script():
        return await Lab(spec, *[provider] if provider else (), **more).served(*requests, wait_s=wait_s)

    return play(script)
