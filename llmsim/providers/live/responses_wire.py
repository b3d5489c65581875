"""The words of OpenAI's responses (platform.openai.com, "Responses" and "Streaming events")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsim.providers.live.errors import ErrorObject
from llmsim.providers.live.wire import Piece, Reader, checked_messages, count_of, objects_in, schema_of, split_system
from llmsim.types import Request, Usage

__all__ = ["Responses"]

#: Events after which nothing follows.
_LAST = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_ENDINGS = {"max_output_tokens": "length", "max_tokens": "length", "content_filter": "content_filter"}


class Responses:
    """``POST /responses``; nothing is stored at the provider."""

    def path(self, model: str, *, stream: bool) -> str:
        return "/responses"

    def headers(self) -> Mapping[str, str]:
        return {}

    def payload(self, request: Request, model: str, *, upstream: str) -> dict[str, Any]:
        system, messages = split_system(checked_messages(request, upstream))
        body: dict[str, Any] = {
            "model": request.model or model,
            "input": [{"role": message.role, "content": message.content} for message in messages],
            "stream": request.stream,
            "store": False,
        }
        if system:
            body["instructions"] = system
        if request.max_tokens is not None:
            body["max_output_tokens"] = request.max_tokens
        if request.temperature is not None:
            body["temperature"] = request.temperature
        schema = schema_of(request, upstream)
        if schema is not None:
            body["text"] = {"format": {"type": "json_schema", "name": "answer", "schema": schema}}
        return body

    def reader(self) -> Reader:
        return _Reader()


class _Reader:
    """Text comes as deltas; the last event has the whole response, with its usage.

    A response that failed is an error (`llmsim.providers.live.errors`), streamed or whole.
    """

    def __init__(self) -> None:
        self._refused = False

    def event(self, name: str, answer: Mapping[str, Any]) -> Piece:
        kind = answer.get("type", name)
        if kind in ("response.output_text.delta", "response.refusal.delta"):
            self._refused = self._refused or kind == "response.refusal.delta"
            text = answer.get("delta")
            return Piece(text if isinstance(text, str) else "")
        if kind in _LAST:
            response = answer.get("response")
            ended = self._ended(response if isinstance(response, dict) else {}, kind.removeprefix("response."))
            return ended._replace(text="", done=True)
        return Piece()

    def whole(self, answer: Mapping[str, Any]) -> Piece | None:
        if not isinstance(answer.get("output"), list) and answer.get("status") not in ("failed", "cancelled"):
            return None
        return self._ended(answer, "completed")

    def _ended(self, response: Mapping[str, Any], by_event: str) -> Piece:
        status = response.get("status") or by_event
        if status in ("failed", "cancelled"):
            return Piece(failed=ErrorObject(f"the response was {status}" if status == "cancelled" else "it failed"))
        text, refused = _text(response.get("output"))
        ending = "refusal" if refused or self._refused else "stop"
        if status == "incomplete":
            details = response.get("incomplete_details")
            reason = str(details.get("reason") or status) if isinstance(details, dict) else status
            ending = _ENDINGS.get(reason, reason)
        usage = response.get("usage")
        hidden = count_of(usage.get("output_tokens_details"), "reasoning_tokens") if isinstance(usage, dict) else 0
        return Piece(text, ending, _usage(usage), hidden)


def _text(output: Any) -> tuple[str, bool]:
    """What the messages say, and whether some of it is a refusal."""
    messages = [item for item in objects_in(output) if item.get("type") == "message"]
    parts = [part for item in messages for part in objects_in(item.get("content"))]
    words = {"output_text": "text", "refusal": "refusal"}
    said = [(part["type"], part.get(words[part["type"]])) for part in parts if part.get("type") in words]
    return "".join(str(text or "") for _, text in said), any(kind == "refusal" for kind, _ in said)


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict) or not isinstance(usage.get("output_tokens"), int):
        return None
    details = usage.get("input_tokens_details")
    read, written = count_of(details, "cached_tokens"), count_of(details, "cache_write_tokens")
    return Usage(count_of(usage, "input_tokens"), usage["output_tokens"], read, written)
