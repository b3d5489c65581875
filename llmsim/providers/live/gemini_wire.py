"""The words of Google's Gemini (ai.google.dev, "generateContent" and "streamGenerateContent")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmsim.providers.live.wire import Piece, Reader, checked_messages, count_of, objects_in, schema_of, split_system
from llmsim.types import Request, Usage

__all__ = ["GenerateContent"]

_ENDINGS = {"STOP": "stop", "MAX_TOKENS": "length"}
#: Reasons that are about what was said.
_FILTERED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"})


class GenerateContent:
    """``POST /models/NAME:generateContent``, with ``https://generativelanguage.googleapis.com/v1beta`` before it."""

    def path(self, model: str, *, stream: bool) -> str:
        call = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/models/{quote(model.removeprefix('models/'), safe='')}:{call}"

    def headers(self) -> Mapping[str, str]:
        return {}

    def payload(self, request: Request, model: str, *, upstream: str) -> dict[str, Any]:
        system, messages = split_system(checked_messages(request, upstream))
        body: dict[str, Any] = {
            "contents": [
                {"role": "model" if one.role == "assistant" else "user", "parts": [{"text": one.content}]}
                for one in messages
            ]
        }
        if system:
            body["systemInstruction"] = {"parts": [{"text": system}]}
        settings: dict[str, Any] = {}
        if request.max_tokens is not None:
            settings["maxOutputTokens"] = request.max_tokens
        if request.temperature is not None:
            settings["temperature"] = request.temperature
        schema = schema_of(request, upstream)
        if schema is not None:
            settings |= {"responseMimeType": "application/json", "responseJsonSchema": schema}
        if settings:
            body["generationConfig"] = settings
        return body

    def reader(self) -> Reader:
        return _Reader()


class _Reader:
    """Every event is an answer with more text; the last one has a finish reason, and the stream just ends."""

    def __init__(self) -> None:
        self._usage: Any = None
        self._ended = False

    def event(self, name: str, answer: Mapping[str, Any]) -> Piece:
        return self._piece(answer)

    def whole(self, answer: Mapping[str, Any]) -> Piece | None:
        return self._piece(answer) if isinstance(answer.get("candidates"), list) else None

    def _piece(self, answer: Mapping[str, Any]) -> Piece:
        first: Mapping[str, Any] = next(iter(objects_in(answer.get("candidates"))), {})
        content = first.get("content")
        parts = content.get("parts") if isinstance(content, dict) else None
        texts = [part.get("text") for part in objects_in(parts) if not part.get("thought")]
        reason = str(first.get("finishReason") or "")
        ending = "content_filter" if reason in _FILTERED else _ENDINGS.get(reason, reason.lower())
        text = "".join(one for one in texts if isinstance(one, str))
        # The usage so far stands in every event: what stands there at the end is the bill.
        self._usage = answer.get("usageMetadata") or self._usage
        self._ended = self._ended or bool(ending)
        billed = _usage(self._usage) if self._ended else None
        return Piece(text, ending, billed, count_of(self._usage, "thoughtsTokenCount"))


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict) or "promptTokenCount" not in usage:
        return None
    written = count_of(usage, "candidatesTokenCount") + count_of(usage, "thoughtsTokenCount")
    return Usage(count_of(usage, "promptTokenCount"), written, count_of(usage, "cachedContentTokenCount"))
