"""Anthropic (platform.claude.com/docs/en/api/rate-limits, as of June 2026, unless another source is named).

Counting
    Requests, input and output tokens per minute, each a token bucket that is "continuously replenished up to your
    maximum limit". Input that is read from the cache does not count (but for the models marked †:
    `Limits.count_cached`); the input is estimated when the request begins and adjusted while it runs. Output is counted
    as it is produced and ``max_tokens`` "does not factor into" it: a call gets in while something is left, and what it
    produced is charged when it ends (really: bit by bit), so that many long answers at once can leave a debt. Up to
    2025 ``max_tokens`` was charged at the start and adjusted at the end
    (docs.anthropic.com/{es,fr,it,id}/api/rate-limits): `Limits.reserve_output`. 60 requests a minute "might be enforced
    as 1 request per second": `Limits.burst`. A sharp increase in usage meets an acceleration limit: `Limits.ramp`.
    Whether refused requests count is not documented; here they do not [not confirmed].
Headers
    anthropic-ratelimit-{requests,input-tokens,output-tokens,tokens}-{limit,remaining,reset}: a reset is the moment when
    the limit is full again (RFC 3339), tokens that remain are rounded to thousands, "tokens" is the sum of both kinds.
    A 429 has retry-after in seconds; "earlier retries will fail". The 429 of the monthly spending cap has none, and is
    told by ``error.details.error_code``.
Errors
    docs.claude.com/en/api/errors; in the stream: platform.claude.com/docs/en/build-with-claude/streaming ("would
    normally correspond to an HTTP 529"). Prompts: getappmap/appmap-js#2091. Words of the output filter as widely quoted
    with status 400. The id of a request is left to whoever puts HTTP around this.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from llmsim.errors import Overloaded, RateLimited
from llmsim.providers.dialects.account import Account, Accounting, Refused
from llmsim.providers.dialects.answers import NO_HEADERS, Answer, in_seconds, rendered
from llmsim.providers.dialects.clock import rfc3339
from llmsim.providers.dialects.dialect import KINDS, Dialect
from llmsim.providers.dialects.limits import Failure, Limits
from llmsim.providers.dialects.meters import INPUT, OUTPUT, REQUESTS, Bucket, Growth, Meter

__all__ = ["Anthropic"]

#: Reserved for a call that names no max_tokens, if output is reserved; the API itself wants it named. Sonnet's maximum.
_UNSET = 64_000

#: status, type and words.
_FAILURES: dict[Failure, tuple[int, str, str]] = {
    "server_error": (500, "api_error", "Internal server error"),
    "overloaded": (529, "overloaded_error", "Overloaded"),
    "slow_down": (429, "rate_limit_error", "Your usage has increased too fast (acceleration limit)."),
    "quota": (429, "rate_limit_error", "You have reached your API usage limits: the monthly threshold of your tier."),
    "auth": (401, "authentication_error", "invalid x-api-key"),
    "context_too_long": (400, "invalid_request_error", ""),
    "content_filter": (400, "invalid_request_error", "Output blocked by content filtering policy"),
    "in_stream": (529, "overloaded_error", "Overloaded"),
}
_NAMES = {"requests": "requests", "input_tokens": "input tokens", "output_tokens": "output tokens"}


class Anthropic(Dialect):
    """See the module."""

    name = "anthropic"
    reads = frozenset({
        "requests", "input_tokens", "output_tokens", "burst", "max_output_tokens", "reserve_output", "count_cached",
        "ramp",
    })  # fmt: skip

    def _meters(self, limits: Limits, epoch_s: float) -> list[Meter]:
        meters: list[Meter] = []
        if limits.requests is not None:
            meters.append(Bucket("requests", REQUESTS, limits.requests, 60))
            if limits.burst is not None:
                meters.append(Bucket("requests", REQUESTS, limits.requests, limits.burst))
        if limits.input_tokens is not None:
            meters.append(Bucket("input_tokens", INPUT, limits.input_tokens, 60))
        if limits.output_tokens is not None:
            meters.append(Bucket("output_tokens", OUTPUT, limits.output_tokens, 60))
        if limits.ramp is not None:
            meters.append(Growth(limits.ramp))
        return meters

    def _accounting(self, limits: Limits) -> Accounting:
        free = not limits.count_cached
        return Accounting(
            reserves_output=bool(limits.reserve_output),
            unset_output=limits.max_output_tokens or _UNSET,
            cache_free=free,
            settles=True,
            settled_cache_free=free,
        )

    def headers(self, account: Account, levels: Sequence[float], now: float) -> dict[str, str]:
        found: dict[str, str] = {}
        sums, reset_s = [0.0, 0.0], 0.0
        for meter, level in zip(account.meters, levels, strict=True):
            word = meter.name.replace("_", "-")
            if meter.name == "ramp" or f"anthropic-ratelimit-{word}-limit" in found:
                continue
            left = max(level, 0.0)
            shown = math.floor(left + 1e-9) if meter.draws == REQUESTS else _thousands(left)
            full_s = meter.full_s(level, now)
            _put(found, word, meter.capacity, shown, account.epoch_s + now + full_s)
            if meter.draws != REQUESTS:
                sums[0] += meter.capacity
                sums[1] += left
                reset_s = max(reset_s, full_s)
        if sums[0]:
            _put(found, "tokens", sums[0], _thousands(sums[1]), account.epoch_s + now + reset_s)
        return found

    def refusal(self, account: Account, refused: Refused, *, model: str = "") -> Answer:
        if refused.name == "ramp":
            message = _FAILURES["slow_down"][2]
        else:
            limit = f"{refused.limit:,.0f} {_NAMES[refused.name]} per minute"
            message = f"This request would exceed your organization's rate limit of {limit} (model: {model})."
        wait_s = None if refused.wait_s == math.inf else in_seconds(refused.wait_s)
        more = {} if wait_s is None else {"retry-after": str(wait_s)}
        return Answer(
            kind=RateLimited,
            message=message,
            status=429,
            headers=self._with_limits(account, refused, more),
            body=_body("rate_limit_error", message),
            retry_after_s=wait_s,
        )

    def failure(
        self, kind: Failure, *, model: str = "", input_tokens: int = 0, context_tokens: int = 0, output_tokens: int = 0
    ) -> Answer:
        status, word, message = _FAILURES[kind]
        if kind == "context_too_long":
            message = f"prompt is too long: {input_tokens} tokens > {context_tokens} maximum"
        body = _body(word, message, "enforced_spend_limit_reached" if kind == "quota" else "")
        if kind == "in_stream":
            return Answer(kind=Overloaded, message=message, status=200, body=body, event="error", stands_for=status)
        return Answer(kind=KINDS[kind], message=message, status=status, headers=NO_HEADERS, body=body)


def _body(word: str, message: str, code: str = "") -> str:
    error: dict[str, object] = {"type": word, "message": message}
    if code:
        error["details"] = {"error_code": code}
    return rendered({"type": "error", "error": error})


def _put(found: dict[str, str], word: str, limit: float, left: int, full_at_s: float) -> None:
    found[f"anthropic-ratelimit-{word}-limit"] = f"{limit:.0f}"
    found[f"anthropic-ratelimit-{word}-remaining"] = str(left)
    if full_at_s < math.inf:
        found[f"anthropic-ratelimit-{word}-reset"] = rfc3339(full_at_s)


def _thousands(tokens: float) -> int:
    return round(tokens / 1000) * 1000
