"""What every concurrency limit can do, and the one that never moves."""

from __future__ import annotations

from typing import Protocol

__all__ = ["ConcurrencyLimiter", "FixedLimit"]


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


class FixedLimit:
    """Always the same."""

    __slots__ = ("limit",)

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def sample(self, rtt_s: float, in_flight: int, *, dropped: bool) -> None:
        """Nothing to learn."""
