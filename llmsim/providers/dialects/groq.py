"""Groq (console.groq.com/docs/rate-limits and /errors, unless another source is named).

Counting
    Requests and tokens per minute and per day, input and output tokens per minute for some; cached tokens do not count.
    All refill continuously, those per day too: "Limit 100000, Used 97050, Requested 3619. Please try again in
    9m38.016s" (continuedev/continue#10920) is 669 / 100000 of a day, and 58 requests of 1000 a day had 1h23m31s to go.
    ``max_tokens`` counts at admission (Alishahryar1/free-claude-code#1633, zeeyado/koassistant.koplugin#106); that it
    is settled afterwards follows from a count above its limit ("Limit 5000, Used 5747", crewAIInc/crewAI#494) [not
    confirmed]. A call without ``max_tokens`` counts its prompt and 16 [not confirmed].
Headers
    x-ratelimit-*-requests are always those per *day*, x-ratelimit-*-tokens those per minute; a limit of requests per
    minute is told nowhere but in a refusal. retry-after (whole seconds; 2 for a wait of exactly 2 s, where 3 is
    sent here so that nobody is too early by a rounding error) only on a refusal.
Errors
    A call larger than the limit of a minute is a 413 with code rate_limit_exceeded and a useless retry-after
    (continuedev/continue#10218; retry-after 9 was seen; how it comes about is [not confirmed]). 498 capacity_exceeded
    is the flex tier's; here it is `slow_down`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmsim.errors import BadRequest, Overloaded, RateLimited, ServerError
from llmsim.providers.dialects.account import Account, Accounting, Refused
from llmsim.providers.dialects.answers import Answer, in_seconds, rendered
from llmsim.providers.dialects.dialect import KINDS, Dialect
from llmsim.providers.dialects.limits import Failure, Limits
from llmsim.providers.dialects.meters import INPUT, OUTPUT, REQUESTS, TOTAL, Bucket, Meter
from llmsim.providers.dialects.openai import limit_headers, too_fast

__all__ = ["Groq"]

_UNSET = 16

#: status, type, code and words; the codes of 400 and 401 as Groq's OpenAI-like bodies carry them [not confirmed].
_FAILURES: dict[Failure, tuple[int, str, str | None, str]] = {
    "server_error": (500, "internal_server_error", None, "Internal Server Error"),
    "overloaded": (503, "internal_server_error", None, "The model is over capacity. Please try again later."),
    "slow_down": (498, "service_unavailable", "capacity_exceeded", "Flex tier capacity exceeded."),
    "quota": (402, "insufficient_quota", "insufficient_quota", "Your spend limit has been reached."),
    "auth": (401, "invalid_request_error", "invalid_api_key", "Invalid API Key"),
    "context_too_long": (400, "invalid_request_error", "context_length_exceeded", ""),
    "content_filter": (400, "invalid_request_error", "content_filter", "The prompt was blocked."),
    "in_stream": (500, "internal_server_error", None, "Internal Server Error"),
}
_NAMES = {
    "requests": ("requests", "requests per minute (RPM)"),
    "tokens": ("tokens", "tokens per minute (TPM)"),
    "input_tokens": ("tokens", "input tokens per minute (ITPM)"),
    "output_tokens": ("tokens", "output tokens per minute (OTPM)"),
    "requests_per_day": ("requests", "requests per day (RPD)"),
    "tokens_per_day": ("tokens", "tokens per day (TPD)"),
}


class Groq(Dialect):
    """See the module."""

    name = "groq"
    reads = frozenset({
        "requests", "tokens", "input_tokens", "output_tokens", "requests_per_day", "tokens_per_day",
        "max_output_tokens", "count_cached",
    })  # fmt: skip

    def _meters(self, limits: Limits, epoch_s: float) -> list[Meter]:
        drawn = {"requests": REQUESTS, "tokens": TOTAL, "input_tokens": INPUT, "output_tokens": OUTPUT}
        rates = [(word, draws, getattr(limits, word)) for word, draws in drawn.items()]
        meters: list[Meter] = [Bucket(word, draws, rate, 60) for word, draws, rate in rates if rate is not None]
        for word, draws, number in (
            ("requests_per_day", REQUESTS, limits.requests_per_day),
            ("tokens_per_day", TOTAL, limits.tokens_per_day),
        ):
            if number is not None:
                meters.append(Bucket(word, draws, number / 86400, 86400))
        return meters

    def _accounting(self, limits: Limits) -> Accounting:
        free = not limits.count_cached
        return Accounting(
            unset_output=limits.max_output_tokens or _UNSET, cache_free=free, settles=True, settled_cache_free=free
        )

    def headers(self, account: Account, levels: Sequence[float], now: float) -> dict[str, str]:
        return limit_headers(account, levels, now, requests=("requests_per_day",), tokens=("tokens",))

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        kind, name = _NAMES[refused.name]
        whom = f"model `{model}` in organization `org_sim` service tier `on_demand`"
        message, _ = too_fast(refused, whom, name)
        body = rendered({"error": {"message": message, "type": kind, "code": "rate_limit_exceeded"}})
        large = refused.wait_s == math.inf and refused.limit > 0
        wait_s: int | None = None
        if large:
            wait_s = in_seconds((refused.requested - refused.limit) / (refused.limit / 60))
        elif refused.wait_s < math.inf:
            wait_s = in_seconds(refused.wait_s)
        return Answer(
            kind=BadRequest if large else RateLimited,
            message=message,
            status=413 if large else 429,
            headers=self._with_limits(account, refused, {} if wait_s is None else {"retry-after": str(wait_s)}),
            body=body,
            retry_after_s=wait_s,
        )

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        status, word, code, message = _FAILURES[kind]
        if kind == "context_too_long":
            message = f"Please reduce the length of the messages: {input_tokens} tokens, maximum {context_tokens}."
        error = {"message": message, "type": word} | ({"code": code} if code else {})
        body = rendered({"error": error})
        if kind == "in_stream":
            return Answer(kind=ServerError, message=message, status=200, body=body, event="", stands_for=status)
        return Answer(kind=Overloaded if status == 498 else KINDS[kind], message=message, status=status, body=body)
