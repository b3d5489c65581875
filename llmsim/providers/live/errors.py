"""What a server (or the way to it) can answer, mapped onto the one error tree.

Status alone does not say what to do: a 429 may be cured by waiting or not at all, and an overload may come as an event
inside a 200. So the code and type in the error object are looked at first, the message second, the status last. The
bodies of Anthropic, Google and AWS are understood beside OpenAI's, since compatible endpoints pass them on
(`llmsim.providers.dialects` renders them all, and its tests hold both to the same errors).
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

__all__ = ["ErrorObject", "error_from_answer", "error_from_event", "error_in_event", "error_object", "retry_after"]

#: Words in ``error.code`` or ``error.type`` and what they mean whatever the status. The billing codes are OpenAI's
#: (help.openai.com article 6614457), ``exceed_context_size_error`` is llama.cpp's, ``enforced_spend_limit_reached`` and
#: ``billing_error`` Anthropic's, ``API_KEY_INVALID`` Google's, ``capacity_exceeded`` Groq's (with its own status 498),
#: ``bio_policy`` that of a failed response (openai-python 2.54, ``ResponseError.code``), the rest OpenAI's and its
#: copies'.
_WORDS: dict[str, type[GatewayError]] = {
    "insufficient_quota": QuotaExhausted,
    "credit_balance_exhausted": QuotaExhausted,
    "billing_hard_limit_reached": QuotaExhausted,
    "context_length_exceeded": ContextTooLong,
    "exceed_context_size_error": ContextTooLong,
    "content_filter": ContentFiltered,
    "content_policy_violation": ContentFiltered,
    "invalid_prompt": ContentFiltered,
    "bio_policy": ContentFiltered,
    "enforced_spend_limit_reached": QuotaExhausted,
    "billing_error": QuotaExhausted,
    "API_KEY_INVALID": AuthError,
    "capacity_exceeded": Overloaded,
}
#: ``organization_spend_limit_exceeded``, ``project_spend_limit_exceeded``, ``organization_usage_limit_exceeded``.
_QUOTA_SUFFIXES = ("_spend_limit_exceeded", "_usage_limit_exceeded")

#: Words that stand in for a status where there is none: in an event after a 200. Those in camel case name the
#: exceptions of an AWS event stream (docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html).
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
    "request_too_large": BadRequest,
    "data_residency_mismatch": BadRequest,
    "timeout_error": ServerError,
    "throttlingException": RateLimited,
    "serviceUnavailableException": Overloaded,
    "validationException": BadRequest,
}
#: The status such a word has as an answer, where it is not that of its error (docs.claude.com/en/api/errors).
_EVENT_STATUS = {
    "billing_error": 402,
    "not_found_error": 404,
    "overloaded_error": 529,
    "permission_error": 403,
    "request_too_large": 413,
    "timeout_error": 504,
}

#: What is said in words only. Context: vLLM, llama.cpp, Anthropic ("prompt is too long: 210000 tokens > …"), Bedrock,
#: Google. Quota: Anthropic's prepaid credit and spending limits, which are 400s, and Bedrock's tokens per day.
_MESSAGES: tuple[tuple[re.Pattern[str], type[GatewayError]], ...] = (
    (
        re.compile(
            r"maximum context length|exceeds the available context size|prompt is too long|input is too long for"
            r"|input token count .* exceeds the maximum number of tokens",
            re.IGNORECASE,
        ),
        ContextTooLong,
    ),
    (
        re.compile(
            r"credit balance is too low|reached your specified (workspace )?API usage limits|too many tokens per day",
            re.IGNORECASE,
        ),
        QuotaExhausted,
    ),
    (re.compile(r"blocked by content filtering policy", re.IGNORECASE), ContentFiltered),
)
_RETRY_DELAY = re.compile(r"(\d+(?:\.\d+)?)s")  #: google.protobuf.Duration as JSON
_NUMBER = re.compile(r"\d+(\.\d+)?")
_LONGEST_PLAIN_TEXT = 200  #: a longer body that is not JSON is a proxy's HTML page, and no message


class ErrorObject(NamedTuple):
    """The parts of a server's error object that decide."""

    message: str = ""
    code: str = ""
    type: str = ""
    status: int | None = None  #: where the code is an HTTP status (llama.cpp, vLLM, OpenRouter, Google)
    reason: str = ""  #: a finer word in the details (Anthropic, Google)
    retry_after_s: float | None = None  #: Google's RetryInfo


def error_object(answer: Any) -> ErrorObject | None:
    """Find the error in a decoded answer or event; None if it is none.

    Understood are ``{"error": {…}}``, ``{"error": "text"}``, vLLM's ``{"object": "error", …}``, the events
    ``{"type": "error", "code": …, "message": …}`` and ``{"type": "response.failed", …}`` of OpenAI's responses,
    FastAPI's ``{"detail": …}``, Google's ``{"promptFeedback": {"blockReason": …}}`` and a list around one of them
    (Gemini's compatible endpoint).
    """
    if isinstance(answer, list) and answer:
        answer = answer[0]
    if not isinstance(answer, dict):
        return None
    if answer.get("type") == "response.failed" and not answer.get("error"):
        return error_object(answer.get("response")) or ErrorObject("the response failed")
    fields = answer.get("error") or _flat(answer) or answer.get("detail")
    if not fields:
        return _blocked(answer.get("promptFeedback"))
    if not isinstance(fields, dict):
        return ErrorObject(message=fields if isinstance(fields, str) else json.dumps(fields))
    code = fields.get("code")
    status = int(code) if isinstance(code, int | str) and re.fullmatch(r"[45]\d\d", str(code)) else None
    kind = fields.get("type") or (fields["status"] if isinstance(fields.get("status"), str) else None)
    reason, wait_s = _details(fields.get("details"))
    return ErrorObject(_text(fields.get("message")), _text(code), _text(kind), status, reason, wait_s)


def error_in_event(name: str, data: str, answer: Any) -> ErrorObject | None:
    """The error that a server-sent event holds; None if it is none. `answer` is its data, decoded."""
    found = error_object(answer)
    if found is None and name.endswith("Exception"):  # of an AWS event stream, converted
        message = answer.get("message") if isinstance(answer, dict) else None
        return ErrorObject(_text(message) or data, type=name)
    return ErrorObject(data) if found is None and name == "error" else found


def _flat(answer: dict[str, Any]) -> dict[str, Any] | None:
    """An error whose fields are not in an object of their own."""
    if answer.get("object") == "error":
        return answer
    if answer.get("type") == "error":
        return {name: value for name, value in answer.items() if name != "type"}
    return None


def _blocked(feedback: Any) -> ErrorObject | None:
    reason = feedback.get("blockReason") if isinstance(feedback, dict) else None
    return ErrorObject(f"prompt blocked: {reason}", code="content_filter") if reason else None


def _details(details: Any) -> tuple[str, float | None]:
    """The finer word and the wait in ``error.details``: an object of Anthropic's or a list of Google's."""
    if isinstance(details, dict):
        return _text(details.get("error_code")), None
    reason, wait_s = "", None
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        reason = reason or _text(detail.get("reason"))
        violations = detail.get("violations")
        if isinstance(violations, list) and any("PerDay" in json.dumps(violation) for violation in violations):
            reason = "insufficient_quota"  # a day's quota: RetryInfo names a minute all the same
        delay = detail.get("retryDelay")
        found = _RETRY_DELAY.fullmatch(delay) if isinstance(delay, str) else None
        wait_s = float(found[1]) if found else wait_s
    return reason, wait_s


def error_from_answer(status: int, headers: Mapping[str, str], body: str, *, upstream: str) -> GatewayError:
    """The error for an HTTP answer that is not a 2xx.

    Parameters
    ----------
    status, headers, body
        What came: header names in lower case, the body as text.
    upstream
        Name of the provider.
    """
    answer = _decoded(body)
    found = error_object(answer)
    if found is None and isinstance(answer, dict) and isinstance(answer.get("message"), str):  # AWS
        found = ErrorObject(answer["message"], type=headers.get("x-amzn-errortype", "").partition(":")[0])
    if found is None:
        found = ErrorObject(body.strip() if len(body) <= _LONGEST_PLAIN_TEXT else "")
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
        retry_after_s=_first(retry_after(headers), found.retry_after_s),
    )


def error_from_event(found: ErrorObject, headers: Mapping[str, str], body: str, *, upstream: str) -> GatewayError:
    """The error for an error object that came after a 200 and before any content.

    Its status is the one it would have had as an answer, not 200: policies that look at the status must not miss it.
    """
    kind = _kind_by_words(found)
    if kind is None and found.status is not None:
        kind = error_kind(found.status)
    words = (found.code, found.type)
    status = found.status or next((_EVENT_STATUS[word] for word in words if word in _EVENT_STATUS), None)
    if kind is None:
        kind = next((_EVENT_WORDS[word] for word in words if word in _EVENT_WORDS), ServerError)
    return kind(
        found.message or "error event",
        upstream=upstream,
        status=status,
        headers=headers,
        body=body,
        retry_after_s=_first(retry_after(headers), found.retry_after_s),
    )


def _kind_by_words(found: ErrorObject) -> type[GatewayError] | None:
    for word in (found.reason, found.code, found.type):
        if word in _WORDS:
            return _WORDS[word]
        if word.endswith(_QUOTA_SUFFIXES):
            return QuotaExhausted
    return next((kind for pattern, kind in _MESSAGES if pattern.search(found.message)), None)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the upstream asks to wait; None if it does not, or not understandably.

    ``retry-after-ms`` wins, since it is the finer of the two where both are sent (Azure, which has it as
    ``x-ms-retry-after-ms`` too: Portkey-AI/gateway reads both). A date is taken relative to the answer's own ``date``,
    so that a wrong clock here does no harm.

    Examples
    --------
    >>> retry_after({"retry-after": "1.5"}), retry_after({"retry-after": "20", "retry-after-ms": "1250"})
    (1.5, 1.25)
    >>> retry_after({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT", "date": "Mon, 23 Nov 2026 10:00:00 GMT"})
    30.0
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        in_ms = headers.get(name, "").strip()
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


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _decoded(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)
