"""Google Gemini (ai.google.dev/gemini-api/docs/rate-limits, unless another source is named).

Counting
    Requests a minute, *input* tokens a minute and requests a day, per project. The daily count starts anew at midnight
    Pacific time; the counts per minute at second 00 (discuss.ai.google.dev/t/6851 [not confirmed] by the
    documentation). "If your request fails with a 400 or 500 error, you won't be charged for the tokens used. However,
    the request will still count against your quota" (ai.google.dev billing FAQ): requests stay charged. Refused ones
    are not [not confirmed].
Answers
    No rate-limit headers and no Retry-After in any sample; the wait stands in the body's RetryInfo, cut to seconds, and
    in the message in full (google-gemini/gemini-cli#8437, continuedev/continue#11681). It is there for the *daily*
    quota too, where it is of no use: "limit: 20 … Please retry in 47.6s". Here it is then the time to the next minute.
    (Some bodies of late 2026 name the hours that are really left.) The quota that is exhausted is told by its quotaId.
    A prompt that is blocked is a 200 with promptFeedback and no candidates (ai.google.dev/api/generate-content).
    Bodies of 400, 403, 500 and 503: ai.google.dev/gemini-api/docs/troubleshooting, gemini-cli#4231 and #7227.
"""

from __future__ import annotations

import math

from llmsim.errors import ContentFiltered, GatewayError, Overloaded, QuotaExhausted, RateLimited
from llmsim.providers.dialects.account import Account, Accounting, Refused
from llmsim.providers.dialects.answers import Answer, rendered
from llmsim.providers.dialects.clock import next_pacific_midnight
from llmsim.providers.dialects.dialect import KINDS, Dialect
from llmsim.providers.dialects.limits import Failure, Limits
from llmsim.providers.dialects.meters import INPUT, REQUESTS, Meter, Window, every

__all__ = ["Gemini"]

_SERVICE = "generativelanguage.googleapis.com"
#: metric and id of each quota, as the free tier names them.
_QUOTAS = {
    "requests": ("generate_content_free_tier_requests", "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"),
    "input_tokens": (
        "generate_content_free_tier_input_token_count",
        "GenerateContentInputTokensPerModelPerMinute-FreeTier",
    ),
    "requests_per_day": ("generate_content_free_tier_requests", "GenerateRequestsPerDayPerProjectPerModel-FreeTier"),
}
_TYPE = "type.googleapis.com/google.rpc."

#: status, Google's word for it and words.
_FAILURES: dict[Failure, tuple[int, str, str]] = {
    "server_error": (500, "INTERNAL", "An internal error has occurred. Please retry."),
    "overloaded": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
    "slow_down": (429, "RESOURCE_EXHAUSTED", "Resource exhausted. Please try again later."),
    "quota": (
        429,
        "RESOURCE_EXHAUSTED",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "auth": (400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key."),
    "context_too_long": (400, "INVALID_ARGUMENT", ""),
    "content_filter": (200, "", "prompt blocked: PROHIBITED_CONTENT"),
    "in_stream": (503, "UNAVAILABLE", "The model is overloaded. Please try again later."),
}


class Gemini(Dialect):
    """See the module."""

    name = "gemini"
    reads = frozenset({"requests", "input_tokens", "requests_per_day"})

    def _meters(self, limits: Limits, epoch_s: float) -> list[Meter]:
        minute = every(60.0, epoch_s)
        meters: list[Meter] = []
        if limits.requests is not None:
            meters.append(Window("requests", REQUESTS, limits.requests, limits.requests * 60, minute))
        if limits.input_tokens is not None:
            meters.append(Window("input_tokens", INPUT, limits.input_tokens, limits.input_tokens * 60, minute))
        if limits.requests_per_day is not None:
            number = float(limits.requests_per_day)

            def midnight(now: float) -> float:
                return next_pacific_midnight(now + epoch_s + 2e-6) - epoch_s

            meters.append(Window("requests_per_day", REQUESTS, number / 86400, number, midnight))
        return meters

    def _accounting(self, limits: Limits) -> Accounting:
        return Accounting(reserves_output=False)

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        kind: type[GatewayError] = RateLimited
        wait_s = refused.wait_s
        if refused.name == "requests_per_day" or wait_s == math.inf:
            wall_s = refused.now + account.epoch_s
            wait_s = 60.0 - wall_s % 60.0
        if refused.name == "requests_per_day":
            kind = QuotaExhausted
        return _exhausted(kind, refused.name, f"{refused.limit:.0f}", wait_s, model)

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        if kind == "quota":
            return _exhausted(QuotaExhausted, "requests_per_day", "0", 22.0, model)  # 22 s: the sample at oppl.ai
        status, word, message = _FAILURES[kind]
        if kind == "content_filter":
            body = rendered({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}})
            return Answer(kind=ContentFiltered, message=message, status=status, body=body)
        if kind == "context_too_long":
            message = f"The input token count ({input_tokens}) exceeds the maximum number of tokens ({context_tokens})."
        error: dict[str, object] = {"code": status, "message": message, "status": word}
        if kind == "auth":
            error["details"] = [{"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}]
        body = rendered({"error": error})
        if kind == "in_stream":
            return Answer(kind=Overloaded, message=message, status=200, body=body, event="", stands_for=status)
        return Answer(kind=KINDS[kind], message=message, status=status, body=body)


def _exhausted(kind: type[GatewayError], name: str, value: str, wait_s: float, model: str) -> Answer:
    metric, quota = _QUOTAS[name]
    wait_s = math.ceil(wait_s)  # really cut to seconds in RetryInfo; a client that believes it would come too early
    message = (
        "You exceeded your current quota, please check your plan and billing details.\n"
        f"* Quota exceeded for metric: {_SERVICE}/{metric}, limit: {value}, model: {model}\nPlease retry in {wait_s}s."
    )
    violation = {
        "quotaMetric": f"{_SERVICE}/{metric}",
        "quotaId": quota,
        "quotaDimensions": {"location": "global", "model": model},
        "quotaValue": value,
    }
    details = [
        {"@type": f"{_TYPE}QuotaFailure", "violations": [violation]},
        {"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{wait_s}s"},
    ]
    error = {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": details}
    return Answer(kind=kind, message=message, status=429, body=rendered({"error": error}), retry_after_s=float(wait_s))
