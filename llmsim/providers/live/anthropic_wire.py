"""The words of Anthropic's messages (docs.anthropic.com, "Messages" and "Streaming messages")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmsim.providers.live.wire import Piece, Reader, checked_messages, count_of, objects_in, schema_of, split_system
from llmsim.types import Request, Usage

__all__ = ["Messages"]

#: The API's version, which every call names.
VERSION = "2023-06-01"
#: The protocol wants ``max_tokens``, always. What every model since Claude 3 can write in one answer.
DEFAULT_MAX_TOKENS = 4096

_ENDINGS = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "refusal": "refusal",
}


class Messages:
    """``POST /messages``. The base URL ends with ``/v1``: ``https://api.anthropic.com/v1``."""

    def path(self, model: str, *, stream: bool) -> str:
        return "/messages"

    def headers(self) -> Mapping[str, str]:
        return {"anthropic-version": VERSION}

    def payload(self, request: Request, model: str, *, upstream: str) -> dict[str, Any]:
        system, messages = split_system(checked_messages(request, upstream))
        body: dict[str, Any] = {
            "model": request.model or model,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "max_tokens": DEFAULT_MAX_TOKENS if request.max_tokens is None else request.max_tokens,
            "stream": request.stream,
        }
        if system:
            body["system"] = system
        if request.temperature is not None:
            body["temperature"] = request.temperature
        schema = schema_of(request, upstream)
        if schema is not None:  # structured outputs; models without them ignore or refuse it
            body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        return body

    def reader(self) -> Reader:
        return _Reader()


class _Reader:
    """Input tokens come with the first event, and what is known of all of them with the last but one.

    That one's counts are cumulative, and all but the output may be missing. Compatible servers say 0 input tokens at
    first and the number only there (OpenRouter: 0xPlaygrounds/rig#2236).
    """

    def __init__(self) -> None:
        self._usage: dict[str, Any] = {}

    def event(self, name: str, answer: Mapping[str, Any]) -> Piece:
        kind = answer.get("type", name)
        if kind == "message_start":
            message = answer.get("message")
            self._note(message.get("usage") if isinstance(message, dict) else None)
            return Piece()
        if kind == "content_block_delta":
            delta = answer.get("delta")
            text = delta.get("text") if isinstance(delta, dict) and delta.get("type") == "text_delta" else ""
            return Piece(text if isinstance(text, str) else "")
        if kind == "message_delta":
            delta, usage = answer.get("delta"), answer.get("usage")
            self._note(usage)
            reason = delta.get("stop_reason") if isinstance(delta, dict) else None
            told = isinstance(usage, dict) and isinstance(usage.get("output_tokens"), int)
            return self._said("", reason) if told else Piece("", _ending(reason))
        return Piece(done=kind == "message_stop")

    def whole(self, answer: Mapping[str, Any]) -> Piece | None:
        content = answer.get("content")
        if not isinstance(content, list):
            return None
        texts = [part.get("text") for part in objects_in(content) if part.get("type") == "text"]
        self._note(answer.get("usage"))
        return self._said("".join(one for one in texts if isinstance(one, str)), answer.get("stop_reason"))

    def _note(self, usage: Any) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value or name == "output_tokens"}

    def _said(self, text: str, reason: Any) -> Piece:
        hidden = count_of(self._usage.get("output_tokens_details"), "thinking_tokens")
        return Piece(text, _ending(reason), _usage(self._usage), hidden)


def _ending(reason: Any) -> str:
    return _ENDINGS.get(str(reason), str(reason)) if reason else ""


def _usage(usage: Mapping[str, Any]) -> Usage | None:
    """``input_tokens`` are the ones not read from the cache, nor written to it; all of them were the prompt."""
    if not usage:
        return None
    read, written = count_of(usage, "cache_read_input_tokens"), count_of(usage, "cache_creation_input_tokens")
    prompt = count_of(usage, "input_tokens") + written + read
    return Usage(prompt, count_of(usage, "output_tokens"), read, written)
