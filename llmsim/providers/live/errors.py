"""What an OpenAI-compatible server (or the way to it) can answer, mapped onto the one error tree.

Status alone does not say what to do: a 429 may be cured by waiting or not at all, and an overload may come as an event
inside a 200. So the code and type in the error object are looked at first, the status second.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple

from llmsim.error_words import error_kind
from llmsim.errors import (
    AuthError,
    BadRequest,
    ContentFiltered,
    ContextTooLong,
    GatewayError,
    Overloaded,
    QuotaExhausted,
    RateLimited,
    ServerError,
)

__all__ = ["ErrorObject", "error_from_answer", "error_from_event", "error_object", "retry_after"]

#: Words in ``error.code`` or ``error.type`` and what they mean whatever the status. The billing codes are OpenAI's
#: (help.openai.com article 6614457), ``exceed_context_size_error`` is llama.cpp's, the rest OpenAI's and its copies'.
_WORDS: dict[str, type[GatewayError]] = {
    "insufficient_quota": QuotaExhausted,
    "credit_balance_exhausted": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
}
#: ``organization_spend_limit_exceeded``, ``project_spend_limit_exceeded``, ``organization_usage_limit_exceeded``.
_QUOTA_SUFFIXES = ("_spend_limit_exceeded", "_usage_limit_exceeded")

#: Words that stand in for a status where there is none: in an event after a 200.
_EVENT_WORDS: dict[str, type[GatewayError]] = {
    "rate_limit_exceeded": RateLimited,
    "rate_limit_error": RateLimited,
    "too_many_requests": RateLimited,
    "slow_down": RateLimited,
    "requests": RateLimited,  # with "tokens": OpenAI's types of a 429
    "tokens": RateLimited,
    "server_is_overloaded": Overloaded,
    "overloaded_error": Overloaded,
    "service_unavailable_error": Overloaded,
    "unavailable_error": Overloaded,
    "invalid_request_error": BadRequest,
    "not_found_error": BadRequest,
    "authentication_error": AuthError,
    "invalid_api_key": AuthError,
    "permission_error": AuthError,
}

#: vLLM says it only in words ("This model's maximum context length is 8192 tokens. However, you requested …").
_CONTEXT_MESSAGE = re.compile(r"maximum context length|exceeds the available context size", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(\.\d+)?")
_LONGEST_PLAIN_TEXT = 200  #: a longer body that is not JSON is a proxy's HTML page, and no message


class ErrorObject(NamedTuple):
    """The parts of a server's error object that decide."""

    message: str = ""
    code: str = ""
    type: str = ""
    status: int | None = None  #: where the code is an HTTP status (llama.cpp, vLLM, OpenRouter)


def error_object(answer: Any) -> ErrorObject | None:
    """Find the error in a decoded answer or event; None if it is none.

    Understood are ``{"error": {…}}``, ``{"error": "text"}``, vLLM's ``{"object": "error", …}``, FastAPI's
    ``{"detail": …}`` and a list around one of them (Gemini's compatible endpoint).
    """
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return None
    fields = answer.get("error") or (answer if answer.get("object") == "error" else answer.get("detail"))
    if not fields:
        return None
    if not isinstance(fields, dict):
        return ErrorObject(message=fields if isinstance(fields, str) else json.dumps(fields))
    code = fields.get("code")
    status = int(code) if isinstance(code, int | str) and re.fullmatch(r"[45]\d\d", str(code)) else None
    return ErrorObject(_text(fields.get("message")), _text(code), _text(fields.get("type")), status)


def error_from_answer(status: int, headers: Mapping[str, str], body: str, *, upstream: str) -> GatewayError:
    """The error for an HTTP answer that is not a 2xx.

    Parameters
    ----------
    status, headers, body
        What came: header names in lower case, the body as text.
    upstream
        Name of the provider.
    """
    found = error_object(_decoded(body)) or ErrorObject(body.strip() if len(body) <= _LONGEST_PLAIN_TEXT else "")
    if 300 <= status < 400:
        to = headers.get("location", "somewhere else")
        found = found._replace(message=f"redirected to {to}: write the final address as base_url")
    kind = _kind_by_words(found) or error_kind(status)
    return kind(
        found.message or f"HTTP {status}",
        upstream=upstream,
        status=status,
        headers=headers,
        body=body,
        retry_after_s=retry_after(headers),
    )


def error_from_event(found: ErrorObject, headers: Mapping[str, str], body: str, *, upstream: str) -> GatewayError:
    """The error for an error object that came after a 200 and before any content.

    Its status is the one it would have had as an answer, not 200: policies that look at the status must not miss it.
    """
    kind = _kind_by_words(found)
    if kind is None and found.status is not None:
        kind = error_kind(found.status)
    if kind is None:
        kind = next((_EVENT_WORDS[word] for word in (found.code, found.type) if word in _EVENT_WORDS), ServerError)
    return kind(
        found.message or "error event",
        upstream=upstream,
        status=found.status,
        headers=headers,
        body=body,
        retry_after_s=retry_after(headers),
    )


def _kind_by_words(found: ErrorObject) -> type[GatewayError] | None:
    for word in (found.code, found.type):
        if word in _WORDS:
            return _WORDS[word]
        if word.endswith(_QUOTA_SUFFIXES):
            return QuotaExhausted
    return ContextTooLong if _CONTEXT_MESSAGE.search(found.message) else None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the upstream asks to wait; None if it does not, or not understandably.

    ``retry-after-ms`` wins, since it is the finer of the two where both are sent (Azure). A date is taken relative to
    the answer's own ``date``, so that a wrong clock here does no harm.

    Examples
    --------
    >>> retry_after({"retry-after": "1.5"}), retry_after({"retry-after": "20", "retry-after-ms": "1250"})
    (1.5, 1.25)
    >>> retry_after({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"})
    30.0
    """
    in_ms = headers.get("retry-after-ms", "").strip()
    if _NUMBER.fullmatch(in_ms):
        return float(in_ms) / 1000
    text = headers.get("retry-after", "").strip()
    if _NUMBER.fullmatch(text):
        return float(text)
    until = _date(text)
    if until is None:
        return None
    now = _date(headers.get("date", "")) or datetime.now(UTC)
    return max(0.0, (until - now).total_seconds())


def _date(text: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _decoded(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
