"""The contract between a caching policy and what keeps its answers: a store finds, the policy decides.

A store knows what was kept, for whom, and how near two questions are in meaning; it does not know what is near
enough. It reaches a policy through `Run.open_store`: in the lab it is a model with delays, losses and a similarity
that needs no vectors; in production memory with an embedder, or Redis. So that both fit, nothing here speaks of
vectors: the seam is ``nearest(question)``.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import nan
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from llmsim.errors import LlmsimError
from llmsim.types import Chunk, Request, Usage

if TYPE_CHECKING:
    from llmsim.gateway.contract import Run

__all__ = [
    "AnswerStore",
    "CacheUse",
    "Entry",
    "Incomparable",
    "Judge",
    "Match",
    "Question",
    "StoreError",
    "StoreOpener",
    "StoreSpec",
]


class StoreError(LlmsimError):
    """A store could not be asked, or did not answer in time. A policy treats it as a miss; no caller sees it."""


class Incomparable(StoreError):
    """There is no vector of this very question, and would be none a second time: it is too long, say.

    A store that says so is in no trouble. Answers are kept for those who ask the same to the letter.
    """


class Question:
    """A request, as a cache looks at it.

    Parameters
    ----------
    request
        What was asked.
    partition
        What must be equal for one answer to serve both: who may share, model, history, …
    words
        What may be said in other words: it is embedded, and compared.
    key
        Equal for two questions of a partition that are the same to the letter.
    """

    __slots__ = ("comparable", "key", "partition", "probe", "request", "words")

    def __init__(self, request: Request, partition: tuple[str, ...], words: str, key: Hashable) -> None:
        self.request = request
        self.partition = partition
        self.words = words
        self.key = key
        self.comparable = True  #: until it turns out that it is not
        self.probe: Any = None  #: what a store made of it to compare it by, so that `put` need not embed it again


class Entry(NamedTuple):
    """An answer that was kept, with all it takes to give it to somebody else."""

    id: str  #: unique in its store
    partition: tuple[str, ...]
    key: Hashable
    words: str
    chunks: tuple[Chunk, ...]
    usage: Usage
    model: str  #: that answered
    origin: str  #: upstream that answered
    request_id: str  #: of the request it was made for
    stored_s: float  #: when it was complete, in seconds since 1970
    expires_s: float  #: from then on it is gone
    cost_usd: float = 0.0  #: what the call cost

    @property
    def tokens(self) -> int:
        """Of the answer."""
        return sum(chunk.tokens for chunk in self.chunks)

    @property
    def bytes(self) -> int:
        """Of its texts in UTF-8: what was asked, where it stands, and the answer."""
        texts = "".join([*self.partition, str(self.key), self.words, *[chunk.text for chunk in self.chunks]])
        return len(texts) if texts.isascii() else len(texts.encode(errors="surrogatepass"))


class Match(NamedTuple):
    """What a store found."""

    entry: Entry
    similarity: float  #: cosine, in [-1, 1]


class CacheUse:
    """What caches did for one request; stands in its `Exchange`, and in the columns of its row."""

    __slots__ = (
        "embedded_tokens",
        "made_for",
        "made_s",
        "match",
        "nearest",
        "queries",
        "verifications",
        "verified",
        "writes",
    )

    def __init__(self) -> None:
        self.match = ""  #: ``exact``, ``semantic`` or ``negative`` if it was answered from a cache
        self.nearest = nan  #: cosine of the nearest entry that was found, served or not
        self.made_for = ""  #: id of the request whose answer it got
        self.made_s = nan  #: when that answer was complete, on the loop's clock
        self.verified = ""  #: ``accepted`` or ``rejected`` by the verifier, or ``failed``: it did not say
        self.embedded_tokens = 0
        self.queries = 0  #: searches in a vector store
        self.writes = 0  #: entries written into one; counted by the policy, which does not wait for them
        self.verifications = 0


class AnswerStore(Protocol):
    """Where answers are kept. Every method may raise `StoreError`, and none may answer across partitions.

    What is not `Question.comparable` is kept without a vector.

    Methods that cost something say so in `use`.
    """

    async def exact(self, question: Question, now_s: float) -> Entry | None:
        """The living entry of this very question."""

    async def nearest(self, question: Question, now_s: float, use: CacheUse) -> Match | None:
        """The living entry of the partition that is nearest in meaning; None if the partition is empty.

        Embeds the question if that has not been done yet.
        """

    async def put(self, question: Question, entry: Entry, use: CacheUse) -> None:
        """Keep an entry, in place of one with the same partition and key; others may have to go.

        Nobody waits for it: when it is over, the request may be, too, and its bill written. So `use` is not the
        request's own, and what is said in it is not billed.
        """

    async def touch(self, entry: Entry, now_s: float, expires_s: float | None = None) -> None:
        """It was used: that counts for what is evicted next. With `expires_s`, it lives on until then."""

    async def drop(self, entry: Entry) -> None:
        """Forget it (it turned out to be wrong, or outdated)."""

    async def aclose(self) -> None:
        """Let go of connections."""


class StoreSpec(NamedTuple):
    """What a policy asks of its store."""

    backend: str  #: ``memory``, ``redis`` or ``exact``
    capacity: int  #: most entries
    capacity_bytes: float = float("inf")
    eviction: str = "lru"  #: ``lru``, ``lfu`` or ``cost``
    name: str = "semantic_cache"  #: of the policy: what faults and reports call the store
    options: tuple[tuple[str, Any], ...] = ()  #: of the backend


class Judge(Protocol):
    """Tells whether a kept answer also answers a request."""

    async def __call__(self, request: Request, entry: Entry) -> bool: ...


class StoreOpener(Protocol):
    """What a `Runtime` has for policies that keep answers."""

    def open(self, spec: StoreSpec, run: Run) -> AnswerStore:
        """An empty store (or a connection to one that is not)."""

    def judge(self, run: Run) -> Judge | None:
        """The world's verifier, where it has one."""
