"""What is recorded: one documented row here per column of ``result.requests``, ``.attempts`` and ``.events``.

Times are seconds on the scenario's clock: 0 is the end of warm-up. ``NaN`` means "did not happen".
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["ADDED", "ATTEMPTS", "DTYPES", "EVENTS", "REQUESTS", "TABLES", "Column"]

Kind = Literal["i2", "i4", "i8", "f4", "f8", "bool", "maybe", "category", "text"]


#: How a column of a kind stands in an array. ``maybe`` is 1, 0, or -1 where nobody knows.
DTYPES = {"maybe": "i1"}


class Column(NamedTuple):
    """One column: its name (unit last), how it is stored, and what it means."""

    name: str
    kind: Kind
    meaning: str


_ADDRESS = (
    Column("session", "i8", "which arrival of the scenario, from 0: first part of the request id"),
    Column("step", "i4", "step of the session: second part of the request id"),
    Column("user_retry", "i4", "times the user pressed retry before this one: third part of the request id"),
)

REQUESTS: tuple[Column, ...] = (
    *_ADDRESS,
    Column("arrival_s", "f8", "when it reached the gateway"),
    Column("route", "category", "route of the traffic mix"),
    Column("feature", "category", "feature of the product that the route serves"),
    Column("tenant", "category", "tenant"),
    Column("user", "category", "user"),
    Column("replica", "i2", "gateway replica that handled it"),
    Column("outcome", "category", "ok, an error word, abandoned (the user left) or unfinished (drain ended first)"),
    Column(
        "finish_reason",
        "category",
        "how the answer ended: stop, length (cut at max_tokens), refusal; empty: it did not",
    ),
    Column("served_by", "category", "upstream that answered; cache for a cached answer; empty if none did"),
    Column("served_from", "category", "upstream, cache, flight (of a call that another request pays for) or empty"),
    Column(
        "cache_match", "category", "how a cache had the answer: exact, semantic, negative (a known error), or empty"
    ),
    Column("similarity", "f4", "cosine of the nearest question that a cache found, served or not"),
    Column("false_hit", "maybe", "the answer from the cache was to another question, or outdated"),
    Column(
        "false_hit_reason",
        "category",
        "other (to another question), outdated (right once, and no longer), unknown, or empty",
    ),
    Column("cross_scope", "bool", "the answer from the cache was made for somebody it may not be shared with"),
    Column("cross_tenant", "bool", "the answer from the cache was made for another tenant, whatever its scope says"),
    Column("made_for", "text", "id of the request that the answer from the cache was made for; empty: nothing tells"),
    Column("verified", "category", "what a verifier said of the cached answer: accepted, rejected, failed, or empty"),
    Column("embedding_tokens", "i4", "tokens embedded for it"),
    Column("vector_queries", "i2", "searches in a vector store for it"),
    Column("vector_writes", "i2", "entries written into a vector store for it"),
    Column("verifications", "i2", "times a verifier was asked whether a cached answer fits it"),
    Column("first_choice", "category", "upstream it was first routed to; empty if it went to none"),
    Column("attempts", "i4", "calls sent to upstreams"),
    Column("fallbacks", "i4", "times it was routed to another upstream than its first choice"),
    Column("ttft_s", "f8", "arrival to first chunk at the caller (whole answer, if not streamed)"),
    Column("e2e_s", "f8", "arrival to last chunk at the caller, or to the failure"),
    Column("max_inter_token_s", "f8", "longest gap between tokens of the answer"),
    Column("input_tokens", "i4", "tokens of the prompt"),
    Column("output_tokens", "i4", "tokens of the answer delivered to the caller"),
    Column("cost_usd", "f8", "billed for all its attempts, wasted ones included"),
    Column("saved_usd", "f8", "what an answer from the cache would have cost at the upstream that once gave it"),
    Column("leaked_streams", "i4", "responses neither read nor closed by the policies"),
    Column("duplicated_tokens", "i4", "tokens the caller had of an attempt that then failed and was tried again"),
    Column("non_retryable_retries", "i4", "retries on the same upstream after an error that retrying cannot cure"),
    Column(
        "retry_after_ignored",
        "i4",
        "attempts sent to an upstream before the Retry-After of its last refusal of this request was over",
    ),
    Column("idle_after_last_attempt_s", "f8", "for failures: time between the last attempt's end and the error"),
)

ATTEMPTS: tuple[Column, ...] = (
    *_ADDRESS,
    Column("arrival_s", "f8", "arrival of its request (an attempt belongs to the window of that)"),
    Column("attempt", "i4", "which attempt of its request, from 1"),
    Column("cause", "category", "first, retry (same upstream again), fallback (another) or hedge (while one runs)"),
    Column("upstream", "category", "where it was sent"),
    Column("model", "category", "model asked for"),
    Column("replica", "i2", "gateway replica that sent it"),
    Column("start_s", "f8", "sent"),
    Column("first_s", "f8", "first chunk received"),
    Column("end_s", "f8", "ended"),
    Column("queue_s", "f8", "waited for a slot at the upstream, where known"),
    Column("server_s", "f8", "of the time to the first chunk, what a live server says it took itself"),
    Column("outcome", "category", "ok, an error word, or cancelled (no longer wanted)"),
    Column("status", "i2", "HTTP status, 0 if none"),
    Column("won", "bool", "its answer, or part of it, went to the caller"),
    Column("input_tokens", "i4", "input tokens billed"),
    Column("cached_input_tokens", "i4", "of these, read from the provider's prompt cache"),
    Column("output_tokens", "i4", "output tokens billed"),
    Column("cost_usd", "f8", "billed"),
)

EVENTS: tuple[Column, ...] = (
    Column("time_s", "f8", "when"),
    Column(
        "kind",
        "category",
        "retry, fallback, circuit_breaker, fault, session (its end), runaway (an agent begins to loop), … or what a "
        "user policy emitted",
    ),
    Column("policy", "category", "policy that emitted it"),
    Column("upstream", "category", "upstream it is about; empty in gateway scope"),
    Column("replica", "i2", "gateway replica"),
    Column("request_id", "text", "request it is about; empty if none"),
    Column("detail", "text", "its fields as JSON"),
)

#: Columns that results saved by earlier versions do not have: nothing was told there.
ADDED: dict[str, tuple[str, ...]] = {"attempts": ("server_s",)}

TABLES: dict[str, tuple[Column, ...]] = {"requests": REQUESTS, "attempts": ATTEMPTS, "events": EVENTS}
