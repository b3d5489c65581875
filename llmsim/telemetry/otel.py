"""The one place where our words become OpenTelemetry's: GenAI semantic conventions, and our own where they have none.

Source: ``open-telemetry/semantic-conventions-genai`` (the GenAI conventions moved there from
``open-telemetry/semantic-conventions``), docs/gen-ai/gen-ai-metrics.md, gen-ai-token-metrics.md and gen-ai-spans.md as
published for schema ``gen-ai-dev/1.42.0-dev``. All have the status *Development*: names still move, and only here.

Superseded, and left out or marked below: ``gen_ai.system`` (now ``gen_ai.provider.name``),
``gen_ai.usage.prompt_tokens`` and ``completion_tokens`` (now ``input_tokens`` and ``output_tokens``),
``gen_ai.client.token.usage`` (now the ``gen_ai.client.inference`` instruments; kept, since dashboards know it).
The conventions have nothing for retries, fallbacks, caches in a gateway, or money: these are under ``llmsim.``.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

__all__ = ["ATTRIBUTES", "METRICS", "OPERATION", "SCHEMA_URL", "Instrument"]

SCHEMA_URL = "https://opentelemetry.io/schemas/gen-ai-dev/1.42.0-dev"

#: ``gen_ai.operation.name`` of everything here.
OPERATION = "chat"

#: What we call it → the attribute. Keys are columns of result.requests and result.attempts where there is one.
ATTRIBUTES: dict[str, str] = {
    "operation": "gen_ai.operation.name",
    "upstream": "gen_ai.provider.name",
    "model": "gen_ai.request.model",
    "max_tokens": "gen_ai.request.max_tokens",
    "temperature": "gen_ai.request.temperature",
    "finish_reasons": "gen_ai.response.finish_reasons",
    "input_messages": "gen_ai.input.messages",
    "output_messages": "gen_ai.output.messages",
    "response_model": "gen_ai.response.model",
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
    "first_chunk_s": "gen_ai.response.time_to_first_chunk",
    "token_type": "gen_ai.token.type",
    "modality": "gen_ai.token.modality",
    "session": "gen_ai.conversation.id",
    "error": "error.type",
    "status": "http.response.status_code",
    "user": "user.id",
    # Ours.
    "route": "llmsim.route",
    "tenant": "llmsim.tenant",
    "feature": "llmsim.feature",
    "outcome": "llmsim.outcome",
    "served_by": "llmsim.served_by",
    "served_from": "llmsim.served_from",
    "cache_match": "llmsim.cache.match",
    "similarity": "llmsim.cache.similarity",
    "false_hit": "llmsim.cache.false_hit",
    "false_hit_reason": "llmsim.cache.false_hit_reason",
    "made_for": "llmsim.cache.made_for",
    "verified": "llmsim.cache.verified",
    "embedding_tokens": "llmsim.cache.embedding_tokens",
    "first_choice": "llmsim.first_choice",
    "replica": "llmsim.replica",
    "request_id": "llmsim.request.id",
    "attempt": "llmsim.attempt.number",
    "cause": "llmsim.attempt.cause",
    "won": "llmsim.attempt.won",
    "queue_s": "llmsim.attempt.queue_time",
    "server_s": "llmsim.attempt.server_time",
    "cost_usd": "llmsim.cost",
    "saved_usd": "llmsim.saved",
    "event": "llmsim.event",
    "policy": "llmsim.policy",
    "fallbacks": "llmsim.fallbacks",
    "attempts": "llmsim.attempts",
    "leaked": "llmsim.leaked_streams",
    "duplicated_tokens": "llmsim.duplicated_tokens",
    "replication": "llmsim.replication",
}

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_TOKENS = tuple(4**power for power in range(14))  # 1, 4, 16, … 67108864
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)

Kind = Literal["histogram", "counter", "up_down_counter"]


class Instrument(NamedTuple):
    """One metric."""

    name: str
    kind: Kind
    unit: str  #: UCUM, as the conventions have it
    meaning: str
    bounds: tuple[float, ...] = ()  #: of the buckets of a histogram: those the conventions advise
    superseded: str = ""  #: what replaces it


#: What we call it → the metric.
METRICS: dict[str, Instrument] = {
    "duration": Instrument(
        "gen_ai.client.operation.duration", "histogram", "s", "Duration of a call to an upstream.", _SECONDS
    ),
    "first_chunk": Instrument(
        "gen_ai.client.operation.time_to_first_chunk", "histogram", "s",
        "From sending a call to its first chunk; streamed calls.", _SECONDS,
    ),
    "input_tokens": Instrument(
        "gen_ai.client.inference.usage.input_tokens", "counter", "{token}", "Input tokens billed, cached ones included."
    ),
    "cached_input_tokens": Instrument(
        "gen_ai.client.inference.usage.cache_read.input_tokens", "counter", "{token}",
        "Input tokens read from the provider's prompt cache.",
    ),
    "output_tokens": Instrument(
        "gen_ai.client.inference.usage.output_tokens", "counter", "{token}", "Output tokens billed."
    ),
    "input_tokens_each": Instrument(
        "gen_ai.client.inference.operation.input_tokens", "histogram", "{token}", "Input tokens of a call.", _TOKENS
    ),
    "output_tokens_each": Instrument(
        "gen_ai.client.inference.operation.output_tokens", "histogram", "{token}", "Output tokens of a call.", _TOKENS
    ),
    "token_usage": Instrument(
        "gen_ai.client.token.usage", "histogram", "{token}", "Tokens of a call, by type.", _TOKENS,
        "gen_ai.client.inference.usage.* and gen_ai.client.inference.operation.*",
    ),
    "server_first_token": Instrument(
        "gen_ai.server.time_to_first_token", "histogram", "s",
        "Queue and prefill at the upstream; streamed calls that succeeded.", _FIRST_TOKEN,
    ),
    "server_per_token": Instrument(
        "gen_ai.server.time_per_output_token", "histogram", "s",
        "Time per token after the first; streamed calls that succeeded.", _PER_TOKEN,
    ),
    "requests": Instrument("llmsim.requests", "counter", "{request}", "Requests that arrived at the gateway."),
    "request_duration": Instrument(
        "llmsim.request.duration", "histogram", "s", "From arrival to the last chunk or the failure.", _SECONDS
    ),
    "request_first_chunk": Instrument(
        "llmsim.request.time_to_first_chunk", "histogram", "s",
        "From arrival to the first chunk at the caller; successes.", _SECONDS,
    ),
    "fallbacks": Instrument("llmsim.fallbacks", "counter", "{fallback}", "Times a request was routed elsewhere."),
    "cost": Instrument("llmsim.cost", "counter", "USD", "Billed for calls to upstreams."),
    "false_hits": Instrument(
        "llmsim.cache.false_hits", "counter", "{request}", "Wrong answers from a cache, where it is known."
    ),
    "embedding_tokens": Instrument(
        "llmsim.cache.embedding_tokens", "counter", "{token}", "Tokens embedded to look for an answer in a cache."
    ),
    # Of gateways in production; the lab has its tables of events, and windows.
    "in_flight": Instrument(
        "llmsim.requests.in_flight", "up_down_counter", "{request}", "Requests that are being answered."
    ),
    "events": Instrument("llmsim.events", "counter", "{event}", "What policies reported."),
    "saved": Instrument("llmsim.saved", "counter", "USD", "What answers from the cache would have cost."),
}  # fmt: skip
