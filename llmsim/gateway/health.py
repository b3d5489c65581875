"""Which upstreams are refused now: posted by the policies that refuse, read by those that choose."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, TypeVar

__all__ = ["Health"]

T = TypeVar("T")


class Health:
    """What the policies of one replica know about its upstreams; every policy reaches it as ``run.health``.

    A policy that leaves an upstream alone (breaker, ejection, cooldown) posts until when; a policy that chooses among
    upstreams (fallback, routing) asks before it sends. A post is a hint and no lock: whoever asks an upstream all the
    same gets the `CircuitOpen` of the policy in front of it. Where only some calls are refused (half-open, a ramp)
    nothing is posted.

    A policy that says ``shared: true`` posts on one board for all replicas, which the board of each replica includes;
    it reads that one only, as it belongs to no replica.

    Parameters
    ----------
    wider
        The board that all replicas share; what is posted there counts here too.

    Examples
    --------
    >>> health = Health()
    >>> health.refuse("openai", "circuit_breaker", until_s=40.0)
    >>> health.refuse("openai", "cooldown", until_s=25.0)
    >>> health.refused_until_s("openai"), health.refused_until_s("anthropic")
    (40.0, -inf)
    >>> [name for name in ("openai", "anthropic") if health.refused_until_s(name) <= 30.0]  # who can be asked at 30 s
    ['anthropic']
    """

    __slots__ = ("_common", "_posted", "_wider")

    def __init__(self, wider: Health | None = None) -> None:
        self._wider = wider
        self._posted: dict[str, dict[str, float]] = {}
        self._common: dict[str, Any] = {}

    @property
    def silent(self) -> bool:
        """Whether nothing was ever posted, as in a gateway without such policies: nobody need be asked about."""
        return not self._posted and (self._wider is None or self._wider.silent)

    def refuse(self, upstream: str, policy: str, until_s: float) -> None:
        """`policy` refuses all calls to `upstream` until this loop time (-inf: no longer). Replaces its last word."""
        self._posted.setdefault(upstream, {})[policy] = until_s

    def refused_until_s(self, upstream: str) -> float:
        """Loop time before which every call to `upstream` would be refused; in the past, or -inf: it is not.

        The latest that any policy has posted. Once that has passed, the next call is what finds out whether the
        upstream is back, so somebody has to make it.
        """
        posted = self._posted.get(upstream)
        until_s = max(posted.values()) if posted else -inf
        return until_s if self._wider is None else max(until_s, self._wider.refused_until_s(upstream))

    def common(self, policy: str, make: Callable[[], T]) -> T:
        """One object for the instances of an upstream-scope policy in front of all upstreams; made at first use."""
        if policy not in self._common:
            self._common[policy] = make()
        found: T = self._common[policy]
        return found
