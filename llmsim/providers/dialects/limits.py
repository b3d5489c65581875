"""What a scenario says about an account's limits and about a provider's failures, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, get_args

from llmsim.units import Multiplier, PositiveCount, PositiveDuration, PositiveRate, Ratio

__all__ = ["FAILURES", "ErrorRates", "Failure", "Limits", "Ramp"]

FORBID: dict[str, Any] = {"extra": "forbid"}

#: What can go wrong with a call besides its rate limits. ``in_stream``: an error event after the 200.
Failure = Literal[
    "server_error", "overloaded", "slow_down", "quota", "auth", "context_too_long", "content_filter", "in_stream"
]
FAILURES: tuple[Failure, ...] = get_args(Failure)


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """How fast traffic may grow before it is refused although it is within its limits.

    The defaults are OpenAI's rule of thumb for 429 ``slow_down``: above 1M input tokens a minute, at most 50 % more
    every 15 minutes (developersdigest.tech/errors/api/openai-api/429-slow-down, which quotes OpenAI's guide). Anthropic
    has an "acceleration limit" too (platform.claude.com/docs/en/api/rate-limits), but publishes no figures.

    Parameters
    ----------
    above
        Input tokens per time that nobody is refused for.
    growth
        How much more than the busiest minute of the period before is allowed.
    every
        Length of a period.
    """

    __pydantic_config__: ClassVar = FORBID

    above: PositiveRate = 1e6 / 60
    growth: Ratio = 0.5
    every: PositiveDuration = 900.0


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of one account. Each dialect reads some of the words and refuses the others (`Dialect.reads`).

    =================== ======= ====== ===== ========= ====== ======= ====
    word                generic openai azure anthropic gemini bedrock groq
    =================== ======= ====== ===== ========= ====== ======= ====
    requests            x       x      x     x         x      x       x
    tokens              x       x      x                      x       x
    input_tokens        x                    x         x              x
    output_tokens       x                    x                        x
    requests_per_second x
    requests_per_day            x                      x              x
    tokens_per_day              x                             x       x
    window              x
    burst                       x      x     x
    retry_after         x
    failed_requests             x
    max_output_tokens           x      x     x                x       x
    reserve_output                           x
    count_cached                             x                        x
    output_weight                                             x
    count_tokens                x
    ramp                        x            x
    =================== ======= ====== ===== ========= ====== ======= ====

    vllm has no limits and reads none.

    Parameters
    ----------
    requests, tokens, input_tokens, output_tokens
        Per time (``500/min``). `tokens` are input and output together; how output is counted before it exists is the
        dialect's affair.
    requests_per_second, requests_per_day, tokens_per_day
        A second limit beside those per minute. Per second: a bucket that holds so many, whatever `window` says.
    window
        A full bucket holds this much time's worth, at least one request.
    burst
        Requests are also held to this much time's worth at a time: 60 a minute "may be enforced as 1 per second"
        (OpenAI and Anthropic say so in nearly the same words). For azure: the length of its counting window.
    retry_after
        Whether the 429 says when to come back.
    failed_requests
        Whether a refused or failed request counts against the requests per minute; default: as the dialect documents.
    max_output_tokens
        What is reserved for a call that names no ``max_tokens``; default: the dialect's.
    reserve_output
        anthropic: charge ``max_tokens`` at admission and settle at the end (its documentation up to 2025) instead of
        counting what is produced (since 2026).
    count_cached
        Whether input tokens read from the provider's cache count (Anthropic's models marked †).
    output_weight
        Quota tokens that an output token costs when the call is settled (Bedrock's burndown rate: 1, 5, 10 or 15).
    count_tokens
        openai: whether a call counts as the larger of its prompt and its ``max_tokens`` (``maximum``, as OpenAI's guide
        says) or as both together (``sum``, as its help article 6891753 and most gateways have it).
    ramp
        Refuse traffic that grows too fast.
    """

    __pydantic_config__: ClassVar = FORBID

    requests: PositiveRate | None = None
    tokens: PositiveRate | None = None
    input_tokens: PositiveRate | None = None
    output_tokens: PositiveRate | None = None
    requests_per_second: PositiveCount | None = None
    requests_per_day: PositiveCount | None = None
    tokens_per_day: PositiveCount | None = None
    window: PositiveDuration | None = None
    burst: PositiveDuration | None = None
    retry_after: bool | None = None
    failed_requests: Literal["count", "free"] | None = None
    max_output_tokens: PositiveCount | None = None
    reserve_output: bool | None = None
    count_cached: bool | None = None
    output_weight: Multiplier | None = None
    count_tokens: Literal["maximum", "sum"] | None = None
    ramp: Ramp | None = None

    def words(self) -> tuple[str, ...]:
        """The words that are written, in the order of the table."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name) is not None)


@dataclass(frozen=True, kw_only=True)
class ErrorRates:
    """Shares of calls that fail, whatever the load: ``errors: {server_error: 0.1%, overloaded: 0.2%, in_stream:
    0.05%}``.

    Parameters
    ----------
    server_error, overloaded, slow_down, quota, auth, context_too_long, content_filter
        Answered instead of an answer.
    in_stream
        Streams that break off with an error event after their 200.

    Examples
    --------
    >>> rates = ErrorRates(server_error=0.01, in_stream=0.02)
    >>> rates.pick(0.005), rates.pick(0.02), rates.pick(0.5)
    ('server_error', 'in_stream', None)
    """

    __pydantic_config__: ClassVar = FORBID

    server_error: Ratio = 0.0
    overloaded: Ratio = 0.0
    slow_down: Ratio = 0.0
    quota: Ratio = 0.0
    auth: Ratio = 0.0
    context_too_long: Ratio = 0.0
    content_filter: Ratio = 0.0
    in_stream: Ratio = 0.0

    def __post_init__(self) -> None:
        if self.total > 1 + 1e-9:
            raise ValueError(f"errors add up to {self.total:.4g}; together they must not be more than 100%")

    @cached_property
    def total(self) -> float:
        """Share of calls that fail in any of these ways."""
        return float(sum(getattr(self, kind) for kind in FAILURES))

    def pick(self, u: float) -> Failure | None:
        """Which failure a call has whose (addressed) luck is `u` in [0, 1); None: none.

        One draw decides among all kinds, in the order of `FAILURES`: a scenario that adds another kind takes calls that
        went well; those that failed before still fail, and as they did if the new kind comes after theirs.
        """
        if u >= self.total:  # nearly always
            return None
        for kind in FAILURES:
            u -= getattr(self, kind)
            if u < 0:
                return kind
        return None
