"""Answers as each vendor's API makes them, for scripted servers: streams, whole answers, errors after the 200.

Shapes: openai-python 2.54 and anthropic 2.12 (their types), ai.google.dev (generateContent), and the captures named in
``llmsim/providers/dialects``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llmsim import errors as e
from llmsim.pricing import TokenPrice
from llmsim.providers.live.opened import live_provider
from llmsim.providers.live.spec import LiveProvider
from llmsim.providers.live.upstream import LiveUpstream

KEY_VARIABLE = "LLMSIM_TEST_KEY"
KEY = "sk-test-0123456789abcdef"

Event = tuple[str, Mapping[str, Any] | str]  #: name ("" for none) and data


@dataclass(frozen=True)
class Vendor:
    """One protocol, and how its answers look.

    Parameters
    ----------
    api
        As ``live.yaml`` calls it.
    key_header, path
        Where its key and its calls go; ``{stream}`` in the path stands for what is different in a stream.
    events
        ``events(pieces)``: an answer of those pieces, 12 input tokens (4 of them cached), and one output token a piece.
    whole
        The same in one piece.
    error
        An event that says the server is overloaded or the like, what it means, and with which status.
    more
        Further words of ``live.yaml``.
    """

    api: str
    key_header: str
    path: tuple[str, str]
    events: Callable[[Sequence[str]], list[Event]]
    whole: Callable[[str, int], dict[str, Any]]
    error: Event
    means: type[e.GatewayError]
    status: int
    request_id: str
    more: tuple[tuple[str, Any], ...] = ()

    def open(self, url: str, *, key: bool = False, **more: Any) -> LiveUpstream:
        """A provider of this protocol at `url`."""
        words = {**dict(self.more), **more}
        spec = LiveProvider(api=self.api, base_url=url, key_env=KEY_VARIABLE if key else None, **words)  # type: ignore[arg-type]
        return live_provider("primary", spec, model="m", price=TokenPrice())


def sse(event: Event) -> bytes:
    """On the wire."""
    name, data = event
    text = data if isinstance(data, str) else json.dumps(data)
    return (f"event: {name}\n" if name else "").encode() + f"data: {text}\n\n".encode()


# -- OpenAI chat completions -----------------------------------------------------------------------------------------

_CHAT_USAGE = {"prompt_tokens": 12, "prompt_tokens_details": {"cached_tokens": 4}}


def _chat(delta: Mapping[str, Any], finish: str | None = None) -> Event:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return "", {"object": "chat.completion.chunk", "choices": [choice], "usage": None}


def _chat_events(pieces: Sequence[str]) -> list[Event]:
    usage = {**_CHAT_USAGE, "completion_tokens": len(pieces)}
    return [
        _chat({"role": "assistant", "content": "", "refusal": None}),
        *(_chat({"content": piece}) for piece in pieces),
        _chat({}, "stop"),
        ("", {"object": "chat.completion.chunk", "choices": [], "usage": usage}),
        ("", "[DONE]"),
    ]


def _chat_whole(text: str, tokens: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {**_CHAT_USAGE, "completion_tokens": tokens},
    }


# -- OpenAI responses ------------------------------------------------------------------------------------------------


def typed(data: dict[str, Any]) -> Event:
    """An event whose name is in its data too."""
    return data["type"], data


def response(text: str, tokens: int, **more: Any) -> dict[str, Any]:
    """A response object."""
    part = {"type": "output_text", "text": text, "annotations": []}
    usage = {
        "input_tokens": 12,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
    }
    return {
        "object": "response",
        "status": "completed",
        "error": None,
        "incomplete_details": None,
        "output": [{"type": "message", "role": "assistant", "content": [part]}],
        "usage": usage,
        **more,
    }


def _responses_events(pieces: Sequence[str]) -> list[Event]:
    begun = {**response("", 0, status="in_progress", output=[]), "usage": None}
    return [
        typed({"type": "response.created", "response": begun}),
        typed({"type": "response.in_progress", "response": begun}),
        typed({"type": "response.output_item.added", "output_index": 0, "item": {"type": "message", "content": []}}),
        *(typed({"type": "response.output_text.delta", "delta": piece, "output_index": 0}) for piece in pieces),
        typed({"type": "response.output_text.done", "text": "".join(pieces)}),
        typed({"type": "response.completed", "response": response("".join(pieces), len(pieces))}),
    ]


# -- Anthropic messages ----------------------------------------------------------------------------------------------

_ANTHROPIC_INPUT = {"input_tokens": 8, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4}


def _anthropic_events(pieces: Sequence[str]) -> list[Event]:
    start = {"type": "message", "role": "assistant", "content": [], "usage": {**_ANTHROPIC_INPUT, "output_tokens": 1}}
    return [
        typed({"type": "message_start", "message": start}),
        typed({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        typed({"type": "ping"}),
        *(
            typed({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}})
            for piece in pieces
        ),
        typed({"type": "content_block_stop", "index": 0}),
        typed({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": len(pieces)}}),
        typed({"type": "message_stop"}),
    ]


def _anthropic_whole(text: str, tokens: int) -> dict[str, Any]:
    return {
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {**_ANTHROPIC_INPUT, "output_tokens": tokens},
    }


# -- Gemini ----------------------------------------------------------------------------------------------------------


def gemini(text: str, tokens: int, finish: str | None = None) -> dict[str, Any]:
    """An answer of generateContent, or an event of its stream."""
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    usage = {"promptTokenCount": 12, "cachedContentTokenCount": 4, "candidatesTokenCount": tokens}
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "m"}


def _gemini_events(pieces: Sequence[str]) -> list[Event]:
    said: list[Event] = [("", gemini(piece, number)) for number, piece in enumerate(pieces, 1)]
    return [*said, ("", gemini("", len(pieces), "STOP"))]


_EXHAUSTED = {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}

VENDORS = {
    vendor.api: vendor
    for vendor in (
        Vendor(
            "openai-chat", "authorization", ("/v1/chat/completions",) * 2, _chat_events, _chat_whole,
            ("", {"error": {"message": "slow", "type": "tokens", "code": "rate_limit_exceeded"}}), e.RateLimited, 429,
            "x-request-id",
        ),
        Vendor(
            "azure-chat", "api-key", ("/v1/chat/completions?api-version=2024-10-21",) * 2, _chat_events, _chat_whole,
            ("", {"error": {"code": "429", "message": "high demand"}}), e.RateLimited, 429, "apim-request-id",
            (("api_version", "2024-10-21"),),
        ),
        Vendor(
            "openai-responses", "authorization", ("/v1/responses",) * 2, _responses_events, response,
            typed({"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None}),
            e.RateLimited, 429, "x-request-id",
        ),
        Vendor(
            "anthropic", "x-api-key", ("/v1/messages",) * 2, _anthropic_events, _anthropic_whole,
            typed({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}),
            e.Overloaded, 529, "request-id",
        ),
        Vendor(
            "gemini", "x-goog-api-key",
            ("/v1/models/m:streamGenerateContent?alt=sse", "/v1/models/m:generateContent"),
            _gemini_events, lambda text, tokens: gemini(text, tokens, "STOP"), ("", {"error": _EXHAUSTED}),
            e.Overloaded, 503, "x-request-id",
        ),
    )
}  # fmt: skip
