"""An LRU semantic cache in a few lines, and the policy run beside it: which request was given whose answer?"""

import asyncio
from collections import OrderedDict

import numpy as np

from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies.semantic_cache import SemanticCache
from llmsim.stores import LiveStores
from llmsim.stores.embedders import TextEmbedder
from llmsim.types import Message, Request, Response, Usage, WholeAnswer


class Similarities:
    """Of all sentences of a stream, in double precision.

    Parameters
    ----------
    stream
        Which sentence each request is, shape ``(n,)``.
    vectors
        Of all sentences.
    """

    def __init__(self, stream, vectors):
        self.stream = stream
        self.sentences, self.asked = np.unique(stream, return_inverse=True)
        rows = vectors[self.sentences].astype(np.float64)
        self.cosines = rows @ rows.T

    def lru(self, threshold, capacity):
        """By brute force: for each request, (how it was answered, index of the request whose answer it got)."""
        answers = []
        cached = OrderedDict()  # sentence -> index of the request it was asked in, the oldest use first
        slots = np.full(capacity, -1)
        slot_of, free = {}, list(range(capacity))[::-1]
        for index, sentence in enumerate(self.asked.tolist()):
            if sentence in cached:
                cached.move_to_end(sentence)
                answers.append(("exact", cached[sentence]))
                continue
            if cached:
                held = slots[slots >= 0]
                near = self.cosines[sentence, held]
                best = near.max()
                if best >= threshold:
                    # Sentences that differ in capitals have the same vector: the one that came first.
                    found = min(held[near >= best - 1e-12].tolist(), key=cached.__getitem__)
                    cached.move_to_end(found)
                    answers.append(("semantic", cached[found]))
                    continue
            if not free:
                free.append(slot_of.pop(cached.popitem(last=False)[0]))
            slot_of[sentence] = free.pop()
            slots[slot_of[sentence]] = sentence
            cached[sentence] = index
            answers.append(("", -1))
        return answers

    def rates(self, answers, meanings):
        """(hits, exact hits, wrong hits), each as a share of requests."""
        hits = np.array([how != "" for how, _ in answers])
        exact = np.array([how == "exact" for how, _ in answers])
        of = meanings[self.stream]
        wrong = hits & (of != of[[origin for _, origin in answers]])
        return float(hits.mean()), float(exact.mean()), float(wrong.mean())


class Known(TextEmbedder):
    """Looks vectors up."""

    name = "known"

    def __init__(self, texts, vectors):
        self.dimensions = vectors.shape[1]
        self._rows = dict(zip(texts, vectors, strict=True))

    async def embed(self, texts):
        return np.stack([self._rows[text] for text in texts])

    def count_tokens(self, text):
        return 1


class Instant:
    """Answers at once."""

    name = "a"

    async def send(self, request):
        return Response(WholeAnswer("yes", 1, Usage(1, 1)), upstream="a", model="m")

    def cancelled_usage(self, request):
        return Usage()

    async def aclose(self):
        pass


def play(stream, texts, vectors, **settings):
    """What `SemanticCache` does with a stream, one request after the other on an ordinary loop."""
    policy = SemanticCache(ttl=None, **settings)

    async def run():
        running = Gateway.of([policy]).open([Instant()], stores=LiveStores(Known(texts, vectors)))
        answers = []
        for index, sentence in enumerate(stream.tolist()):
            request = Request(f"{index}/0/0", messages=(Message("user", texts[sentence]),), stream=False)
            exchange = Exchange(request, running._runtime)
            response = await running.send(request, exchange)
            await response.read()
            for _ in range(3):  # its answer is kept off the caller's path
                await asyncio.sleep(0)
            use = exchange.cache
            answers.append((use.match, int(use.made_for.partition("/")[0]) if use.match else -1))
        return answers

    return asyncio.run(run())
