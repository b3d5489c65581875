"""A simulated provider's rate limits as the spine words them: the dialect `generic`."""

from __future__ import annotations

from llmsim.errors import GatewayError
from llmsim.providers.dialects import DIALECTS, Limits, Refused
from llmsim.providers.sim.spec import RateLimit

__all__ = ["RateLimits"]

_GENERIC = DIALECTS["generic"]


class RateLimits:
    """All limits of one account.

    A call is charged its input and output tokens when it is admitted (as if its reservation were settled at
    once); a refused call is charged nothing.
    """

    def __init__(self, spec: RateLimit, upstream: str) -> None:
        self._upstream = upstream
        self._account = _GENERIC.account(
            Limits(
                requests=spec.requests,
                tokens=spec.tokens,
                input_tokens=spec.input_tokens,
                output_tokens=spec.output_tokens,
                window=spec.window,
                retry_after=spec.retry_after,
            )
        )

    def rescale(self, multiplier: float, now: float) -> None:
        """Multiply the agreed limits (a quota cut)."""
        self._account.rescale(multiplier, now)

    def admit(self, input_tokens: int, output_tokens: int, now: float) -> GatewayError | None:
        """Charge the call and return None, or charge nothing and return its 429."""
        outcome = self._account.admit(input_tokens, output_tokens, 0, now)
        if not isinstance(outcome, Refused):
            return None
        return _GENERIC.refusal(self._account, outcome).error(self._upstream)
