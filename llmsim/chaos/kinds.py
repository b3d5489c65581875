"""What a search may let go wrong, and how badly: a few levels of each fault, the mildest first.

A search that answers "everything was down all the time" is worthless, so strengths stop where incidents do. Shares of
calls that fail are those that OpenAI's incident texts quote: 5-10 % (all models), about 20 % (twice), 75 % at the peak.
How much slower a brown-out is and how deep quotas are cut nobody publishes: those levels are chosen, and are those of
the scenarios in ``scenarios/``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llmsim.scenario.spec import Scenario

__all__ = ["KINDS", "STORE_KINDS", "Kind", "Spot", "spots_of"]

_SHARES = ("5%", "10%", "20%", "75%")
_STALLED_AFTER = 10  # tokens: the caller has the beginning of an answer, which is the case that is hard to handle


class Kind(NamedTuple):
    """A way to fail."""

    name: str
    levels: tuple[dict[str, Any], ...]  #: what a scenario file says, the weakest first
    grave: int = 0  #: how many of the last levels are whole incidents: no two of these at once
    lasts: bool = True  #: False: it happens at one moment

    @property
    def mild(self) -> int:
        """Levels that are no incident of their own."""
        return len(self.levels) - self.grave


class Spot(NamedTuple):
    """A provider or a store, and what can happen to it."""

    target: str
    kinds: tuple[Kind, ...]
    store: bool = False


def _shares(word: str, **others: Any) -> tuple[dict[str, Any], ...]:
    return tuple({word: {**others, "percentage": share}} for share in _SHARES)


def _scales(word: str, *multipliers: str) -> tuple[dict[str, Any], ...]:
    return tuple({word: {"multiplier": multiplier}} for multiplier in multipliers)


_OUTAGE = Kind("outage", ({"outage": True},), grave=1)

#: Of providers, the mildest first: a search ends with the first of them that does it.
KINDS: tuple[Kind, ...] = (
    Kind("latency", _scales("latency", "2x", "4x", "8x")),
    Kind("rate_limit", _scales("rate_limit", "0.5x", "0.25x", "0.1x")),
    Kind("capacity", _scales("capacity", "0.5x", "0.25x")),
    Kind("throttle", _shares("abort", status=429), grave=1),
    Kind("abort", _shares("abort", status=503), grave=1),
    Kind("stall", _shares("stall", after_tokens=_STALLED_AFTER), grave=1),
    Kind("break", _shares("break", after_tokens=_STALLED_AFTER), grave=1),
    _OUTAGE,
)
#: Of the stores of semantic caches.
STORE_KINDS: tuple[Kind, ...] = (
    Kind("delay", tuple({"delay": {"time": time}} for time in ("50ms", "200ms", "1s"))),
    Kind("abort", _shares("abort"), grave=1),
    Kind("lose_state", ({"lose_state": True},), lasts=False),
    _OUTAGE,
)


def spots_of(scenario: Scenario) -> list[Spot]:
    """Where something can go wrong in a scenario, in its order: providers, then stores."""
    spots = []
    for name, spec in scenario.providers.items():
        absent = set()
        if spec.rate_limit is None:
            absent.add("rate_limit")
        if spec.concurrency is None and spec.serving is None:
            absent.add("capacity")
        spots.append(Spot(name, tuple(kind for kind in KINDS if kind.name not in absent)))
    stores = {
        getattr(policy, "name", "") or policy.kind: None
        for policy in (*scenario.gateway.policies, *scenario.gateway.upstream)
        if getattr(policy, "kind", "") == "semantic_cache"
    }
    return [*spots, *(Spot(name, STORE_KINDS, store=True) for name in stores)]
