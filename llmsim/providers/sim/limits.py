"""A simulated provider's rate limits: which buckets a call draws on, and when it may come back."""

from __future__ import annotations

from llmsim.algorithms.buckets import TokenBucket
from llmsim.errors import RateLimited
from llmsim.providers.sim.spec import RateLimit

__all__ = ["RateLimits"]


class RateLimits:
    """All buckets of one account.

    A call is charged its input and output tokens when it is admitted (as if its reservation were settled at
    once); a refused call is charged nothing.
    """

    def __init__(self, spec: RateLimit, upstream: str) -> None:
        self._spec = spec
        self._upstream = upstream
        rates = {
            "requests": spec.requests,
            "tokens": spec.tokens,
            "input_tokens": spec.input_tokens,
            "output_tokens": spec.output_tokens,
        }
        self._buckets = [
            (name, rate, kind, TokenBucket(rate, rate * spec.window))  # `kind`: which of the amounts of a call
            for kind, (name, rate) in enumerate(rates.items())
            if rate is not None
        ]

    def rescale(self, multiplier: float, now: float) -> None:
        """Multiply the agreed limits (a quota cut)."""
        for _, rate, _, bucket in self._buckets:
            bucket.rescale(rate * multiplier, rate * multiplier * self._spec.window, now)

    def admit(self, input_tokens: int, output_tokens: int, now: float) -> RateLimited | None:
        """Charge the call and return None, or charge nothing and return its 429."""
        worst, which = 0.0, ""
        amounts = (1.0, float(input_tokens + output_tokens), float(input_tokens), float(output_tokens))
        for name, _, kind, bucket in self._buckets:
            wait_s = bucket.wait_s(amounts[kind], now)
            if wait_s > worst:
                worst, which = wait_s, name
        if worst > 0:
            return self._refusal(which, worst)
        for _, _, kind, bucket in self._buckets:
            bucket.level -= amounts[kind]  # `wait_s` has brought the level up to now
        return None

    def _refusal(self, which: str, wait_s: float) -> RateLimited:
        message = f"rate limit reached on {which} per {self._spec.window:g}s"
        if not self._spec.retry_after or wait_s == float("inf"):
            return RateLimited(message, upstream=self._upstream)
        # Whole milliseconds and one more: who comes back at the exact second may be short by a rounding error.
        wait_ms = round(wait_s * 1000) + 1
        headers = {"retry-after-ms": str(wait_ms), "retry-after": str(-(-wait_ms // 1000))}  # as OpenAI says it
        return RateLimited(message, upstream=self._upstream, headers=headers, retry_after_s=wait_ms / 1000)
