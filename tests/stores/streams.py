"""Questions in a row, asked of a cache: by the policy itself, or by the shortest loop that should do the same."""

import asyncio
from collections import OrderedDict

import numpy as np
from gateway.policies.toys import Toy

from llmsim.engine.driver import simulate
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import SemanticCache
from llmsim.stores.local import LocalStore
from llmsim.stores.synthetic import SyntheticIndex, TruthEmbedder
from llmsim.traffic.meanings import Meaning, correlated
from llmsim.traffic.similarity import similarity_tables
from llmsim.traffic.truth import World
from llmsim.types import Message, Request


def of_intents(name, requests, sizes, *, repeats=True, seed=1):
    """Sentences of intents with Zipf(1.0) popularity, each intent's sentences alike: as research measured caches."""
    rng = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    same, other, trap = rng.random((3, starts[-1]))
    other = correlated(same, other, similarity_tables(name).correlation)
    popularity = 1 / np.arange(1, len(sizes) + 1)
    order = rng.permutation(len(sizes))
    left = [list(start + rng.permutation(size)) for start, size in zip(starts[:-1], sizes, strict=True)]
    stream = []
    while len(stream) < requests:
        intent = int(order[rng.choice(len(sizes), p=popularity / popularity.sum())])
        if not repeats and not left[intent]:
            continue
        sentence = int(starts[intent] + rng.integers(sizes[intent]) if repeats else left[intent].pop())
        stream.append(
            Meaning(intent, sentence, sentence, 0, float(same[sentence]), float(other[sentence]), float(trap[sentence]))
        )
    return stream


def looped(stream, threshold, capacity, near):
    """``(match, made for)`` of each question: exact, semantic, or neither and -1; least recently used goes first."""
    index, kept, exact, told = SyntheticIndex(near), OrderedDict(), {}, []
    for number, meaning in enumerate(stream):
        entry = exact.get(meaning.phrase)
        found = None if entry is not None else index.nearest((), meaning)
        if entry is None and found is not None and found.similarity >= threshold:
            entry = found.id
        if entry is not None:
            kept.move_to_end(entry)
            told.append(("semantic" if found else "exact", int(entry)))
            continue
        told.append(("", -1))
        entry = exact[meaning.phrase] = str(number)
        kept[entry] = meaning
        index.add((), entry, meaning)
        if len(kept) > capacity:
            gone, before = kept.popitem(last=False)
            del exact[before.phrase]
            index.remove((), gone)
    return told


def rates(stream, threshold, capacity, near):
    """Shares of hits, of exact hits and of wrong ones."""
    told = looped(stream, threshold, capacity, near)
    hits = [
        (match, stream[made].answer != asked.answer) for asked, (match, made) in zip(stream, told, strict=True) if match
    ]
    count = len(stream)
    return np.array([len(hits), sum(match == "exact" for match, _ in hits), sum(wrong for _, wrong in hits)]) / count


class _Stores:
    def __init__(self, world, near):
        self.world, self.near = world, near

    def open(self, spec, run):
        return LocalStore(spec, TruthEmbedder(self.world), SyntheticIndex(self.near))

    def judge(self, run):
        return None


def by_policy(stream, threshold, capacity, near):
    """The same of the policy `SemanticCache`, over a `LocalStore`, one question after the other."""
    world = World()
    world.meanings = stream.__getitem__
    spec = SemanticCache(threshold=threshold, capacity=capacity, ttl=None)
    told = []

    async def script():
        running = Gateway.of([spec]).open([Toy()], stores=_Stores(world, near))
        for number, meaning in enumerate(stream):
            words = (Message("user", f"sentence {meaning.phrase}"),)
            request = Request(id=f"{number}/0/0", messages=words)
            exchange = Exchange(request, running._runtime)
            await (await running.send(request, exchange)).read()
            await asyncio.sleep(0.001)  # what is kept is kept in the background
            use = exchange.cache
            told.append((use.match, int(use.made_for.partition("/")[0]) if use.match else -1))

    simulate(lambda loop: script(), event_budget=10_000_000)
    return told


def any_meaning(**fields):
    """A meaning for which only these fields matter."""
    usual = {"answer": 1, "phrase": 1, "topic": 1, "kind": 0, "same_luck": 0.5, "other_luck": 0.5, "trap_luck": 0.5}
    return Meaning(**(usual | fields))


def tiny(**more):
    """The smallest file of similarities."""
    return {"levels": [0.0, 0.5, 1.0], "same": {"1": [0.2, 0.6, 0.9]}, "other": {"10": [0.1, 0.3, 0.7]}, **more}
