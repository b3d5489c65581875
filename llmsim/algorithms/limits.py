"""What every adaptive concurrency limit can do."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ConcurrencyLimiter"]


class ConcurrencyLimiter(Protocol):
    """A limit on calls in flight that learns from the calls that ended."""

    @property
    def limit(self) -> int:
        """Calls that may be in flight now, at least 1."""

    def sample(self, rtt_s: float, in_flight: int, *, dropped: bool) -> None:
        """A call took `rtt_s` seconds.

        Parameters
        ----------
        rtt_s
            Seconds, above 0.
        in_flight
            How many were in flight when it was let in, itself included.
        dropped
            It failed in a way that means too much load.
        """
