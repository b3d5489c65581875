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
        kinds = {
            "requests": (spec.requests, (1.0, 0.0, 0.0)),
            "tokens": (spec.tokens, (0.0, 1.0, 1.0)),
            "input_tokens": (spec.input_tokens, (0.0, 1.0, 0.0)),
            "output_tokens": (spec.output_tokens, (0.0, 0.0, 1.0)),
        }
        self._buckets = [
            (name, rate, weights, TokenBucket(rate, rate * spec.window))
            for name, (rate, weights) in kinds.items()
            if rate is not None
        ]

    def rescale(self, multiplier: float, now: float) -> None:
        """Multiply the agreed limits (a quota cut)."""
        for _, rate, _, bucket in self._buckets:
            bucket.rescale(rate * multiplier, rate * multiplier * self._spec.window, now)

    def admit(self, input_tokens: int, output_tokens: int, now: float) -> RateLimited | None:
        """Charge the call and return None, or charge nothing and return its 429."""
        worst, which = 0.0, ""
        charges = []
        for name, _, (per_call, per_input, per_output), bucket in self._buckets:
            amount = per_call + per_input * input_tokens + per_output * output_tokens
            wait_s = bucket.wait_s(amount, now)
            if wait_s > worst:
                worst, which = wait_s, name
            charges.append((bucket, amount))
        if worst > 0:
            return self._refusal(which, worst)
        for bucket, amount in charges:
            bucket.level -= amount  # `wait_s` has brought the level up to now
        return None

    def _refusal(self, which: str, wait_s: float) -> RateLimited:
        message = f"rate limit reached on {which} per {self._spec.window:g}s"
        if not self._spec.retry_after or wait_s == float("inf"):
            return RateLimited(message, upstream=self._upstream)
        # Whole milliseconds and one more: who comes back at the exact second may be short by a rounding error.
        wait_ms = round(wait_s * 1000) + 1
        headers = {"retry-after-ms": str(wait_ms)}
        return RateLimited(message, upstream=self._upstream, headers=headers, retry_after_s=wait_ms / 1000)
