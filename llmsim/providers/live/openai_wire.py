"""The words of OpenAI's chat completions, and of everything that copies them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from llmsim.providers.live.errors import ErrorObject
from llmsim.providers.live.wire import Piece, Reader, checked_messages, count_of, objects_in, schema_of
from llmsim.types import Request, Usage

__all__ = ["ChatCompletions", "MaxTokensField"]

#: Where the longest answer stands. ``max_completion_tokens`` is OpenAI's newer one, and the only one that its reasoning
#: models take (platform.openai.com/docs/api-reference/chat/create); most copies know ``max_tokens`` only.
MaxTokensField = Literal["max_tokens", "max_completion_tokens"]


class ChatCompletions:
    """``POST /chat/completions``.

    Parameters
    ----------
    include_usage
        Ask for usage at the end of a stream.
    api_version
        Azure's older paths take it as a query: ``2024-10-21``. Empty: none.
    max_tokens_field
        Where the longest answer stands.
    """

    def __init__(
        self, *, include_usage: bool = True, api_version: str = "", max_tokens_field: MaxTokensField = "max_tokens"
    ) -> None:
        self._max_tokens_field = max_tokens_field
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
            body[self._max_tokens_field] = request.max_tokens
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

    def __init__(self) -> None:
        self._refused = False

    def event(self, name: str, answer: Mapping[str, Any]) -> Piece:
        return self._piece(answer)

    def whole(self, answer: Mapping[str, Any]) -> Piece | None:
        return self._piece(answer) if answer.get("choices") else None

    def _piece(self, answer: Mapping[str, Any]) -> Piece:
        choice = _first(answer.get("choices"))
        said = choice.get("delta") or choice.get("message") or {}
        text = refusal = ""
        if isinstance(said, dict):
            text, refusal = _content(said.get("content")), _content(said.get("refusal"))
        self._refused = self._refused or bool(refusal)
        ending = str(choice.get("finish_reason") or "")
        if ending == "error":  # OpenRouter; the error itself usually stands beside it
            return Piece(failed=ErrorObject("finish reason 'error'"))
        if ending == "stop" and self._refused:
            ending = "refusal"
        usage = answer.get("usage")
        details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
        return Piece(text + refusal, ending, _usage(usage), count_of(details, "reasoning_tokens"))


def _first(choices: Any) -> Mapping[str, Any]:
    """The choice number 0: with ``n``, a chunk may be about another."""
    return next((choice for choice in objects_in(choices) if not choice.get("index")), {})


def _content(content: Any) -> str:
    """Text of a content field: a string, or a list of typed parts of which only text is an answer (Mistral)."""
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in objects_in(content) if part.get("type") == "text")
    return "".join(text for text in texts if isinstance(text, str))


def _usage(usage: Any) -> Usage | None:
    """A ``usage`` object; None where there is none (or only nulls, as before the end of a stream)."""
    if not isinstance(usage, dict):
        return None
    sent, received = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(sent, int) or not isinstance(received, int):
        return None
    details = usage.get("prompt_tokens_details")
    # DeepSeek's own word for it (api-docs.deepseek.com, "Context Caching").
    cached = count_of(details, "cached_tokens") or count_of(usage, "prompt_cache_hit_tokens")
    return Usage(sent, received, cached, count_of(details, "cache_write_tokens"))
