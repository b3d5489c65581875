"""The words of OpenAI's responses (platform.openai.com, "Responses" and "Streaming events")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsim.providers.live.wire import Piece, Reader, checked_messages, count_of, schema_of, split_system
from llmsim.types import Request, Usage

__all__ = ["Responses"]

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
    """Text comes as deltas; the last event has the whole response, with its usage."""

    def event(self, name: str, answer: Mapping[str, Any]) -> Piece:
        kind = answer.get("type", name)
        if kind == "response.output_text.delta":
            text = answer.get("delta")
            return Piece(text if isinstance(text, str) else "")
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            response = answer.get("response")
            return _ended(response if isinstance(response, dict) else {})._replace(text="", done=True)
        return Piece()

    def whole(self, answer: Mapping[str, Any]) -> Piece | None:
        return _ended(answer) if isinstance(answer.get("output"), list) or answer.get("status") == "failed" else None


def _ended(response: Mapping[str, Any]) -> Piece:
    status = response.get("status")
    if status == "failed":
        error = response.get("error")
        return Piece(failed=str(error.get("message") or error.get("code")) if isinstance(error, dict) else "failed")
    details = response.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    ending = _ENDINGS.get(str(reason), str(reason)) if status == "incomplete" and reason else "stop"
    usage = response.get("usage")
    hidden = count_of(usage.get("output_tokens_details"), "reasoning_tokens") if isinstance(usage, dict) else 0
    return Piece(_text(response.get("output")), ending, _usage(usage), hidden)


def _text(output: Any) -> str:
    messages = [item for item in output or () if isinstance(item, dict) and item.get("type") == "message"]
    parts = [part for item in messages for part in item.get("content") or () if isinstance(part, dict)]
    return "".join(str(part.get("text", "")) for part in parts if part.get("type") == "output_text")


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict) or not isinstance(usage.get("output_tokens"), int):
        return None
    cached = count_of(usage.get("input_tokens_details"), "cached_tokens")
    return Usage(count_of(usage, "input_tokens"), usage["output_tokens"], cached)
