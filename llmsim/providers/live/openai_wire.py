"""The words of the chat completions protocol: `Request` → JSON, and JSON → content, finish reason and usage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from llmsim.errors import BadRequest
from llmsim.types import Request, Usage

__all__ = ["Piece", "estimate_input", "estimate_tokens", "payload", "piece", "read_usage"]

#: Rule of thumb for English under the GPT tokenizers, used only where the server reports no usage.
_CHARACTERS_PER_TOKEN = 4


class Piece(NamedTuple):
    """What one chunk of a stream, or a whole completion, says."""

    text: str = ""
    finish_reason: str = ""
    usage: Usage | None = None


def payload(
    request: Request, model: str, *, upstream: str, include_usage: bool, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The JSON body of a call.

    Raises
    ------
    BadRequest
        The request cannot be said in this protocol; nothing is sent.
    """
    if request.messages is None:
        raise BadRequest(
            f"request {request.id!r} has no messages: a live upstream needs the prompt itself, not only its size. "
            "Set Request.messages",
            upstream=upstream,
        )
    if request.tools:
        raise BadRequest(f"request {request.id!r} has tools, which live upstreams are not sent yet", upstream=upstream)
    body: dict[str, Any] = {
        "model": request.model or model,
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "stream": request.stream,
    }
    if request.stream and include_usage:
        body["stream_options"] = {"include_usage": True}
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.response_schema is not None:
        schema = _schema(request, upstream)
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    body.update(extra)
    return body


def _schema(request: Request, upstream: str) -> Any:
    try:
        return json.loads(request.response_schema or "")
    except ValueError as error:
        raise BadRequest(f"response_schema of request {request.id!r} is not JSON: {error}", upstream=upstream) from None


def piece(answer: Mapping[str, Any]) -> Piece:
    """Read a ``chat.completion.chunk`` or a ``chat.completion``; only the first choice counts."""
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    said = choice.get("delta") or choice.get("message") or {}
    text = _content(said.get("content")) if isinstance(said, dict) else ""
    return Piece(text, str(choice.get("finish_reason") or ""), read_usage(answer.get("usage")))


def _content(content: Any) -> str:
    """Text of a content field: a string, or a list of typed parts of which only text is an answer (Mistral)."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    texts = (part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def read_usage(usage: Any) -> Usage | None:
    """A ``usage`` object; None where there is none (or only nulls, as before the end of a stream)."""
    if not isinstance(usage, dict):
        return None
    sent, received = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(sent, int) or not isinstance(received, int):
        return None
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    return Usage(sent, received, cached if isinstance(cached, int) else 0)


def estimate_tokens(text: str) -> int:
    """Roughly how many tokens a text is; at least one if there is any."""
    return -(-len(text) // _CHARACTERS_PER_TOKEN)


def estimate_input(request: Request) -> int:
    """Input tokens of a request: the caller's own estimate, else one from the length of the messages."""
    return request.input_tokens or sum(estimate_tokens(message.content) for message in request.messages or ())
