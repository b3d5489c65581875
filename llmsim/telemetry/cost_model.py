"""What a gateway costs beside tokens: the prices of a scenario's ``costs:`` section, and what they are multiplied by.

Nothing here has a price unless the scenario says one: bills differ too much for a default to be anybody's. For
orientation: AWS CloudWatch Logs lists $0.50 for a GB it ingests (us-east-1, as third parties quoted it in 2026); vector
stores list theirs per GB-month and per million operations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from llmsim.units import BadValue, BytePrice, Bytes, EventPrice, Price, StoragePrice

__all__ = [
    "EMBEDDING_TOKENS",
    "NO_COSTS",
    "STORED_BYTE_S",
    "VECTOR_QUERIES",
    "VECTOR_WRITES",
    "VERIFICATIONS",
    "CostModel",
    "Embeddings",
    "Observability",
    "VectorStore",
]

FORBID = {"extra": "forbid"}

# What embeddings and vector stores are multiplied by.
EMBEDDING_TOKENS = "embedding_tokens"  #: column of requests: tokens embedded for it
VECTOR_QUERIES = "vector_queries"  #: column of requests: searches in a vector store for it
VECTOR_WRITES = "vector_writes"  #: column of requests: entries written into a vector store for it
VERIFICATIONS = "verifications"  #: column of requests: times a verifier was asked about it
STORED_BYTE_S = "vector_store_byte_s"  #: counter of a replication: ∫ stored bytes dt over the measured time


@dataclass(frozen=True, kw_only=True)
class Observability:
    """What is logged, and what a logged byte costs.

    Parameters
    ----------
    price
        Per byte logged, ingestion and retention together.
    bytes_per_request
        Logged once for each request: the access log line, the root span.
    bytes_per_attempt
        Logged for each call to an upstream: its span, its metrics.
    bytes_per_token
        Logged for each token of the prompt and of the answer that was delivered, once a request; 0: content is not
        logged.
    """

    __pydantic_config__: ClassVar = FORBID

    price: BytePrice = 0.0
    bytes_per_request: Bytes = 0.0
    bytes_per_attempt: Bytes = 0.0
    bytes_per_token: Bytes = 0.0

    def __post_init__(self) -> None:
        logged = self.bytes_per_request or self.bytes_per_attempt or self.bytes_per_token
        if self.price and not logged:
            raise BadValue("observability has a price and logs nothing; write bytes_per_request: 2kB", "price")
        if logged and not self.price:
            raise BadValue("observability logs without a price; write price: $0.50/GB")


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """What turning text into vectors costs.

    Parameters
    ----------
    price
        Per token embedded.
    """

    __pydantic_config__: ClassVar = FORBID

    price: Price = 0.0


@dataclass(frozen=True, kw_only=True)
class VectorStore:
    """What keeping and searching vectors costs.

    Parameters
    ----------
    storage
        Per byte and time.
    queries
        Per search.
    writes
        Per entry written.
    """

    __pydantic_config__: ClassVar = FORBID

    storage: StoragePrice = 0.0
    queries: EventPrice = 0.0
    writes: EventPrice = 0.0


@dataclass(frozen=True, kw_only=True)
class CostModel:
    """Prices of what is not tokens; the tokens' stand with the providers.

    Parameters
    ----------
    observability
        Logs, spans and metrics.
    embeddings
        Vectors of prompts.
    vector_store
        Where the vectors are kept.
    """

    __pydantic_config__: ClassVar = FORBID

    observability: Observability = Observability()
    embeddings: Embeddings = Embeddings()
    vector_store: VectorStore = VectorStore()


NO_COSTS = CostModel()
