"""The words of OpenAI's chat completions, and of everything that copies them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsim.providers.live.wire import Piece, Reader, checked_messages, count_of, schema_of
from llmsim.types import Request, Usage

__all__ = ["ChatCompletions", "read_usage"]


class ChatCompletions:
    """``POST /chat/completions``.

    Parameters
    ----------
    include_usage
        Ask for usage at the end of a stream.
    api_version
        Azure's older paths take it as a query: ``2024-10-21``. Empty: none.
    """

    def __init__(self, *, include_usage: bool = True, api_version: str = "") -> None:
        self._include_usage = include_usage
        self._query = f"?api-version={api_version}" if api_version else ""

    def path(self, model: str, *, stream: bool) -> str:
        return f"/chat/completions{self._query}"

    def headers(self) -> Mapping[str, str]:
        return {}

    def payload(self, request: Request, model: str, *, upstream: str) -> dict[str, Any]:
        messages = checked_messages(request, upstream)
        body: dict[str, Any] = {
            "model": request.model or model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "stream": request.stream,
        }
        if request.stream and self._include_usage:
            body["stream_options"] = {"include_usage": True}
        if request.max_tokens is not None:
            body["max_tokens"] = request.max_tokens
        if request.temperature is not None:
            body["temperature"] = request.temperature
        schema = schema_of(request, upstream)
        if schema is not None:
            body["response_format"] = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        return body

    def reader(self) -> Reader:
        return _Reader()


class _Reader:
    """Of a ``chat.completion`` or its chunks; only the first choice counts."""

    def event(self, name: str, answer: Mapping[str, Any]) -> Piece:
        piece = _piece(answer)
        return piece._replace(failed="finish reason 'error'") if piece.finish_reason == "error" else piece

    def whole(self, answer: Mapping[str, Any]) -> Piece | None:
        return _piece(answer) if answer.get("choices") else None


def _piece(answer: Mapping[str, Any]) -> Piece:
    choices = answer.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    said = choice.get("delta") or choice.get("message") or {}
    text = _content(said.get("content")) if isinstance(said, dict) else ""
    usage = answer.get("usage")
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    return Piece(text, str(choice.get("finish_reason") or ""), read_usage(usage), count_of(details, "reasoning_tokens"))


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
    return Usage(sent, received, count_of(usage.get("prompt_tokens_details"), "cached_tokens"))
