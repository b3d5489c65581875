"""The words of Google's Gemini (ai.google.dev, "generateContent" and "streamGenerateContent")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from llmsim.providers.live.wire import Piece, Reader, checked_messages, count_of, schema_of, split_system
from llmsim.types import Request, Usage

__all__ = ["GenerateContent"]

_ENDINGS = {"STOP": "stop", "MAX_TOKENS": "length"}
#: Reasons that are about what was said.
_FILTERED = frozenset({"SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE"})


class GenerateContent:
    """``POST /models/NAME:generateContent``, with ``https://generativelanguage.googleapis.com/v1beta`` before it."""

    def path(self, model: str, *, stream: bool) -> str:
        call = "streamGenerateContent?alt=sse" if stream else "generateContent"
        return f"/models/{quote(model, safe='')}:{call}"

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

    def event(self, name: str, answer: Mapping[str, Any]) -> Piece:
        return _piece(answer)

    def whole(self, answer: Mapping[str, Any]) -> Piece | None:
        return _piece(answer) if isinstance(answer.get("candidates"), list) else None


def _piece(answer: Mapping[str, Any]) -> Piece:
    candidates = answer.get("candidates")
    first = candidates[0] if isinstance(candidates, list) and candidates and isinstance(candidates[0], dict) else {}
    content = first.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    texts = [part.get("text") for part in parts or () if isinstance(part, dict) and not part.get("thought")]
    reason = str(first.get("finishReason") or "")
    ending = "content_filter" if reason in _FILTERED else _ENDINGS.get(reason, reason.lower())
    usage = answer.get("usageMetadata")
    text = "".join(one for one in texts if isinstance(one, str))
    # The usage so far stands in every event: only the last one is a bill.
    billed = _usage(usage) if ending else None
    return Piece(text, ending, billed, count_of(usage, "thoughtsTokenCount"))


def _usage(usage: Any) -> Usage | None:
    if not isinstance(usage, dict) or "promptTokenCount" not in usage:
        return None
    written = count_of(usage, "candidatesTokenCount") + count_of(usage, "thoughtsTokenCount")
    return Usage(count_of(usage, "promptTokenCount"), written, count_of(usage, "cachedContentTokenCount"))
