"""Azure OpenAI.

Counting
    A deployment has tokens and requests per minute (older chat models: 6 requests a minute for every 1,000 tokens). A
    call counts its prompt and ``max_tokens`` (and best_of) when it arrives, whatever it then uses, in a count that "is
    reset every minute"; requests are counted over 1 or 10 seconds, so that 600 a minute means ten in a second
    (learn.microsoft.com/azure/ai-services/openai/how-to/quota, answers 1689036, 1839866 and 1851574). The page says
    that calls are refused once the count has reached the limit; in fact one that does not fit is refused before that
    (2675 tokens left, a call of about 7,000 answered 429). Where the windows begin is not documented; here at multiples
    of their length [not confirmed]. A call without ``max_tokens`` counts 16, as at OpenAI [not confirmed].
Headers
    x-ratelimit-{limit,remaining}-{requests,tokens} (the limit of requests is that of the window; learn.microsoft.com
    answers 2265464); a 429 has retry-after and retry-after-ms, and x-ratelimit-reset-tokens in whole seconds
    (openai-python#937). A call that can never fit is told to come back after 86400 seconds (alex-wolf-ps/dbchatprov2#2,
    jasonacox/TinyLLM#17).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmsim.errors import RateLimited, ServerError
from llmsim.providers.dialects.account import Account, Accounting, Refused
from llmsim.providers.dialects.answers import Answer, in_ms, in_seconds, rendered
from llmsim.providers.dialects.dialect import KINDS, Dialect
from llmsim.providers.dialects.limits import Failure, Limits
from llmsim.providers.dialects.meters import REQUESTS, TOTAL, Meter, Window, every

__all__ = ["Azure"]

_UNSET = 16
_NEVER_S = 86400  #: what a call that cannot fit is told

#: status, code and words. Filter and auth: learn.microsoft.com (concepts/content-filter; "Access denied due to invalid
#: subscription key"). High demand is a 429 of its own: developersdigest.tech /errors/api/azure-openai. The words of the
#: 500 [not confirmed].
_FAILURES: dict[Failure, tuple[int, str, str]] = {
    "server_error": (500, "InternalServerError", "The server had an error while processing your request."),
    "overloaded": (503, "ServiceUnavailable", "The service is temporarily unable to process your request."),
    "slow_down": (429, "429", "System is experiencing high demand. Please retry later."),
    "quota": (429, "insufficient_quota", "You exceeded your current quota."),
    "auth": (401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
    "context_too_long": (400, "context_length_exceeded", ""),
    "content_filter": (
        400,
        "content_filter",
        "The response was filtered due to the prompt triggering content management.",
    ),
    "in_stream": (500, "InternalServerError", "The server had an error while processing your request."),
}
_SAFE = {"filtered": False, "severity": "safe"}


class Azure(Dialect):
    """See the module."""

    name = "azure"
    reads = frozenset({"requests", "tokens", "burst", "max_output_tokens"})

    def _meters(self, limits: Limits, epoch_s: float) -> list[Meter]:
        meters: list[Meter] = []
        if limits.requests is not None:
            meters.append(RequestWindow(limits.requests, limits.burst))
        if limits.tokens is not None:
            meters.append(Window("tokens", TOTAL, limits.tokens, limits.tokens * 60, every(60.0)))
        return meters

    def _accounting(self, limits: Limits) -> Accounting:
        return Accounting(unset_output=limits.max_output_tokens or _UNSET)

    def headers(self, account: Account, levels: Sequence[float], now: float) -> dict[str, str]:
        found = {}
        for meter, level in zip(account.meters, levels, strict=True):
            found[f"x-ratelimit-limit-{meter.name}"] = f"{meter.capacity:.0f}"
            found[f"x-ratelimit-remaining-{meter.name}"] = str(max(math.floor(level + 1e-9), 0))
        return found

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        never = refused.wait_s == math.inf
        wait_ms = _NEVER_S * 1000 if never else in_ms(refused.wait_s)
        seconds = str(_NEVER_S if never else in_seconds(refused.wait_s))
        what = "token" if refused.name == "tokens" else "call"
        message = (
            f"Requests to the ChatCompletions_Create Operation have exceeded {what} rate limit of your current "
            f"OpenAI S0 pricing tier. Please retry after {seconds} seconds."
        )
        more = {
            "retry-after": seconds,
            "retry-after-ms": str(wait_ms),
            f"x-ratelimit-reset-{refused.name}": seconds,
        }
        return Answer(
            kind=RateLimited,
            message=message,
            status=429,
            headers=self._with_limits(account, refused, more),
            body=rendered({"error": {"code": "429", "message": message}}),
            retry_after_s=wait_ms / 1000,
        )

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        status, code, message = _FAILURES[kind]
        if kind == "context_too_long":
            message = f"This model's maximum context length is {context_tokens} tokens, not {input_tokens}."
        error: dict[str, object] = {"code": code, "message": message}
        if kind == "content_filter":
            details = {"hate": _SAFE, "self_harm": _SAFE, "sexual": _SAFE}
            details["violence"] = {"filtered": True, "severity": "medium"}
            inner = {"code": "ResponsibleAIPolicyViolation", "content_filter_result": details}
            error |= {"type": None, "param": "prompt", "status": 400, "innererror": inner}
        body = rendered({"error": error})
        if kind == "in_stream":
            return Answer(kind=ServerError, message=message, status=200, body=body, event="", stands_for=status)
        return Answer(kind=KINDS[kind], message=message, status=status, body=body)


class RequestWindow(Window):
    """Requests, over a time that depends on how many of them are allowed; a quota cut may lengthen it."""

    __slots__ = ("_burst",)

    def __init__(self, per_s: float, burst: float | None) -> None:
        self._burst = burst
        span_s = burst or _request_window_s(per_s)
        super().__init__("requests", REQUESTS, per_s, max(per_s * span_s, 1.0), every(span_s))

    def scale(self, multiplier: float, now: float) -> None:
        self.refill(now)
        per_s = self._agreed[0] * multiplier
        span_s = self._burst or _request_window_s(per_s)
        self._boundary = every(span_s)
        self._until = min(self._until, self._boundary(now))
        self.rescale(per_s, max(per_s * span_s, 1.0) if per_s > 0 else 0.0, now)


def _request_window_s(per_s: float) -> float:
    """1 s where that is a request or more, else 10 s, else a minute."""
    return next((span_s for span_s in (1.0, 10.0) if per_s * span_s >= 1 - 1e-9), 60.0)
