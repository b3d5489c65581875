"""OpenAI.

Counting
    Requests and tokens per minute, and per day, are buckets with continuous refill that hold one minute's (one day's)
    worth. The refusals tell: "Limit 30000, Used 14567, Requested 24754. Please try again in 18.642s"
    (semanser/codel#72) is (14567 + 24754 - 30000) / 500 per second; so are openai/codex#88,
    FoundationAgents/MetaGPT#523, BuilderIO/micro-agent#86 and continuedev/continue#11472. ``x-ratelimit-reset-requests:
    12ms`` after one call of 5000 a minute is 60/5000 s (community.openai.com/t/1268905), and a day's 200 had 197 left
    and 19m45.394s to go. A call counts as the larger of ``max_tokens`` and an estimate of its prompt, when it is
    admitted (developers.openai.com/api/docs/guides/rate-limits, "Reduce the max_tokens"); see `Limits.count_tokens`.
    Without ``max_tokens`` it counts 16 (the guide's own example leaves 149984 of 150000). Nothing is given back [not
    confirmed]. "Unsuccessful requests contribute to your per-minute limit, so continuously resending a request won't
    work" (help.openai.com 5955604): a refused call uses up a request, if there is one; nobody gets in who comes more
    often than the bucket refills. Whether it can leave a debt is not documented [not confirmed]; here it does not.
    Limits "can be applied over shorter periods" (ibid.): `Limits.burst`; no observed 429 shows it, so off by default.
Headers
    x-ratelimit-{limit,remaining,reset}-{requests,tokens}; resets are durations until the limit is full, cut to
    milliseconds (120ms after 1 of 500; 913ms after 4568 of 300000). Requests are those per day where there is such a
    limit (limit 10000, reset 24h6m34s on a 429). A 429 also carries retry-after-ms and retry-after, which the SDK reads
    (openai-python 2.54.0 _base_client.py) and the guide does not mention.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llmsim.errors import RateLimited, ServerError
from llmsim.providers.dialects.account import Account, Accounting, Refused
from llmsim.providers.dialects.answers import Answer, in_ms, rendered
from llmsim.providers.dialects.clock import go_duration
from llmsim.providers.dialects.dialect import KINDS, Dialect
from llmsim.providers.dialects.limits import Failure, Limits
from llmsim.providers.dialects.meters import REQUESTS, TOTAL, Bucket, Growth, Meter

__all__ = ["OpenAI", "limit_headers", "openai_body", "too_fast"]

DAY_S = 86400.0
_UNSET = 16  #: output tokens a call counts that names no max_tokens

#: status, type, code and words. 500 as seen with its headers in 2024; 503 and slow_down: developersdigest.tech
#: /errors/api/openai-api; quota: langchain-ai/langchainjs#1929; auth: easychen/openai-api-proxy#33; the prompt filter's
#: code as the reasoning models answer it [not confirmed].
_FAILURES: dict[Failure, tuple[int, str, str | None, str]] = {
    "server_error": (500, "server_error", None, "The server had an error while processing your request."),
    "overloaded": (503, "service_unavailable_error", "server_is_overloaded", "Our servers are currently overloaded."),
    "slow_down": (429, "rate_limit_error", "slow_down", "Your request rate grows too fast; slow down."),
    "quota": (
        429,
        "insufficient_quota",
        "insufficient_quota",
        "You exceeded your current quota, please check billing.",
    ),
    "auth": (401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    "context_too_long": (400, "invalid_request_error", "context_length_exceeded", ""),
    "content_filter": (400, "invalid_request_error", "invalid_prompt", "Your prompt was flagged."),
    "in_stream": (500, "server_error", None, "The server had an error while processing your request."),
}

#: How refusals name the limits.
_NAMES = {
    "requests": ("requests", "requests per min (RPM)"),
    "tokens": ("tokens", "tokens per min (TPM)"),
    "requests_per_day": ("requests", "requests per day (RPD)"),
    "tokens_per_day": ("tokens", "tokens per day (TPD)"),
}


def openai_body(message: str, kind: str, code: str | None, param: str | None = None) -> str:
    """An error object as OpenAI writes it."""
    error: dict[str, Any] = {"message": message, "type": kind, "param": param, "code": code}
    return rendered({"error": error})


class OpenAI(Dialect):
    """See the module."""

    name = "openai"
    reads = frozenset({
        "requests", "tokens", "requests_per_day", "tokens_per_day", "burst", "failed_requests", "max_output_tokens",
        "count_tokens", "ramp",
    })  # fmt: skip

    def _meters(self, limits: Limits, epoch_s: float) -> list[Meter]:
        meters: list[Meter] = []
        if limits.requests is not None:
            meters.append(Bucket("requests", REQUESTS, limits.requests, 60))
            if limits.burst is not None:
                meters.append(Bucket("requests", REQUESTS, limits.requests, limits.burst))
        if limits.tokens is not None:
            meters.append(Bucket("tokens", TOTAL, limits.tokens, 60))
        if limits.requests_per_day is not None:
            meters.append(Bucket("requests_per_day", REQUESTS, limits.requests_per_day / DAY_S, DAY_S))
        if limits.tokens_per_day is not None:
            meters.append(Bucket("tokens_per_day", TOTAL, limits.tokens_per_day / DAY_S, DAY_S))
        if limits.ramp is not None:
            meters.append(Growth(limits.ramp))
        return meters

    def _accounting(self, limits: Limits) -> Accounting:
        return Accounting(
            unset_output=limits.max_output_tokens or _UNSET,
            larger=limits.count_tokens != "sum",
            counts_failures=limits.failed_requests != "free",
        )

    def headers(self, account: Account, levels: Sequence[float], now: float) -> dict[str, str]:
        return limit_headers(account, levels, now, requests=("requests_per_day", "requests"), tokens=("tokens",))

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        if refused.name == "ramp":
            return self.failure("slow_down", model=model)
        kind, name = _NAMES[refused.name]
        message, wait_ms = too_fast(refused, f"{model} in organization org-sim", name)
        more = {}
        if wait_ms is not None:
            more = {"retry-after-ms": str(wait_ms), "retry-after": str(-(-wait_ms // 1000))}
        return Answer(
            kind=RateLimited,
            message=message,
            status=429,
            headers=self._with_limits(account, refused, more),
            body=openai_body(message, kind, "rate_limit_exceeded"),
            retry_after_s=None if wait_ms is None else wait_ms / 1000,
        )

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        status, word, code, message = _FAILURES[kind]
        param = None
        if kind == "context_too_long":
            param = "messages"
            message = (
                f"This model's maximum context length is {context_tokens} tokens. "
                f"However, your messages resulted in {input_tokens} tokens."
            )
        body = openai_body(message, word, code, param)
        if kind == "in_stream":
            return Answer(kind=ServerError, message=message, status=200, body=body, event="", stands_for=status)
        return Answer(kind=KINDS[kind], message=message, status=status, body=body)


def too_fast(refused: Refused, whom: str, limit: str) -> tuple[str, int | None]:
    """What a 429 says, and the milliseconds to wait; None: it cannot get in at all.

    Without a wait, there is no "Used", and it is another sentence ("Request too large for gpt-4o …: Limit 30000,
    Requested 31538", TheR1D/shell_gpt#653).
    """
    if refused.wait_s == math.inf:
        return (
            f"Request too large for {whom} on {limit}: Limit {refused.limit:.0f}, Requested {refused.requested:.0f}.",
            None,
        )
    numbers = f"Limit {refused.limit:.0f}, Used {math.ceil(refused.used)}, Requested {refused.requested:.0f}"
    wait = go_duration(refused.wait_s)  # cut, too: 1.574s of 1.5744 (openai/codex#88)
    return f"Rate limit reached for {whom} on {limit}: {numbers}. Please try again in {wait}.", in_ms(refused.wait_s)


def limit_headers(
    account: Account, levels: Sequence[float], now: float, *, requests: Sequence[str], tokens: Sequence[str]
) -> dict[str, str]:
    """``x-ratelimit-*`` of the first limit of each kind that there is."""
    found: dict[str, str] = {}
    for kind, names in (("requests", requests), ("tokens", tokens)):
        for name in names:
            place = next((place for place, meter in enumerate(account.meters) if meter.name == name), None)
            if place is None:
                continue
            meter, level = account.meters[place], levels[place]
            found[f"x-ratelimit-limit-{kind}"] = f"{meter.capacity:.0f}"
            found[f"x-ratelimit-remaining-{kind}"] = str(max(math.floor(level + 1e-9), 0))
            reset_s = meter.full_s(level, now)
            if reset_s < math.inf:
                found[f"x-ratelimit-reset-{kind}"] = go_duration(reset_s)
            break
    return found
