"""Where a provider's time goes: network, prefill by prompt length, load, flushed and paced streams, prompt caching.

    ttft = network + (base + prefill of the uncached prompt) * load

What a scenario says about it; `llmsim.providers.sim.timing` is what a provider makes of it.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal

from llmsim.distributions import Constant, DurationDistribution, MultiplierDistribution
from llmsim.units import (
    RATIO,
    BadValue,
    Count,
    Duration,
    Multiplier,
    PositiveCount,
    PositiveDuration,
    PositiveRate,
    Ratio,
)

__all__ = ["Load", "LoadPoint", "Prefill", "PromptCache", "StreamStall"]

FORBID: dict[str, Any] = {"extra": "forbid"}

Utilisation = Annotated[float, replace(RATIO, name="a utilisation", high=100.0)]  # a rate can be above its capacity


@dataclass(frozen=True, kw_only=True)
class Prefill:
    """Time to read the prompt.

    Epoch (Aug 2026, prompts of 50k to 900k tokens) published 5.5 to 22 ms per 1,000 tokens, and for GPT models 8 to
    10 us per squared 1,000 tokens on top; its Claude curves are straight.

    Parameters
    ----------
    per_1k
        Per 1,000 input tokens that are not in the prompt cache.
    per_1k_squared
        Per 1,000 tokens squared: attention of every token over all before it. A cached prefix of C tokens of T saves
        C squared of the T squared.
    pace
        Multiplier of all this, drawn for each call: where reading takes longer than everything else, its spread grows
        with the prompt.
    """

    __pydantic_config__: ClassVar = FORBID

    per_1k: Duration = 0.0
    per_1k_squared: Duration = 0.0
    pace: MultiplierDistribution = Constant(1.0)

    def __post_init__(self) -> None:
        if self.pace != Constant(1.0) and not (self.per_1k or self.per_1k_squared):
            raise BadValue("there is nothing for it to multiply; write per_1k: 20ms beside it", "pace")


@dataclass(frozen=True, kw_only=True)
class LoadPoint:
    """Multipliers at one utilisation; straight lines between points, flat outside of them."""

    __pydantic_config__: ClassVar = FORBID

    at: Utilisation
    ttft: Multiplier = 1.0
    inter_token: Multiplier = 1.0


@dataclass(frozen=True, kw_only=True)
class Load:
    """How a busy server slows down.

    Parameters
    ----------
    of
        What is busy: ``slots`` (share of `concurrency` in use, the starting call included) or ``requests`` (arrivals
        per time against `capacity`).
    capacity
        Arrivals per time that count as 100 %; needed for ``requests``.
    averaged_over
        Time constant of the arrival rate: after a jump, 63 % of it is seen after this long.
    points
        The curve, by rising utilisation.
    """

    __pydantic_config__: ClassVar = FORBID

    of: Literal["slots", "requests"] = "slots"
    capacity: PositiveRate | None = None
    averaged_over: PositiveDuration = 10.0
    points: tuple[LoadPoint, ...]

    def __post_init__(self) -> None:
        ats = [point.at for point in self.points]
        if not ats or ats != sorted(set(ats)):
            raise ValueError(
                "the points of load must rise; write them like [{at: 50%, ttft: 1x}, {at: 100%, ttft: 3x}]"
            )
        if (self.of == "requests") != (self.capacity is not None):
            raise ValueError("load of requests needs a capacity and load of slots none; write capacity: 40/s")

    def multipliers(self, utilisation: float) -> tuple[float, float]:
        """Of TTFT and of gaps at this utilisation."""
        points = self.points
        place = bisect_right(points, utilisation, key=_at)
        if place in (0, len(points)):
            edge = points[min(place, len(points) - 1)]
            return edge.ttft, edge.inter_token
        low, high = points[place - 1], points[place]
        share = (utilisation - low.at) / (high.at - low.at)
        return low.ttft + share * (high.ttft - low.ttft), low.inter_token + share * (high.inter_token - low.inter_token)


_at = attrgetter("at")


@dataclass(frozen=True, kw_only=True)
class StreamStall:
    """A paced stream falls silent now and then.

    Parameters
    ----------
    probability
        Of a stall, `per` answer or per gap.
    per
        ``gap``: any gap may be one, so long answers have more. ``answer``: at most one, at any place.
    duration
        Of the silence; per gap it takes the place of the gap, per answer it comes on top.
    """

    __pydantic_config__: ClassVar = FORBID

    probability: Ratio
    per: Literal["gap", "answer"] = "gap"
    duration: DurationDistribution


@dataclass(frozen=True, kw_only=True)
class PromptCache:
    """Prompts that begin like an earlier one are read faster, and that part is billed as cached input.

    Parameters
    ----------
    prefix
        Which requests begin alike: those of one ``route`` (a system prompt), ``session`` (a chat) or ``tenant``.
    share
        Of a prompt, how much it has in common with the earlier ones (as far as any of those was that long).
    min_tokens
        Shorter prefixes are not cached. 1024 at OpenAI and for most Claude models, 2048 for Haiku 3 and 3.5
        (developers.openai.com/api/docs/guides/prompt-caching, docs.orq.ai/docs/proxy/prompt-caching; 2026).
    increment
        Cached lengths are multiples of this; 128 at OpenAI (openai-cookbook, Prompt_Caching_201).
    ttl
        After its last use. 5 minutes at Anthropic; 5 to 10 minutes of inactivity at OpenAI and Azure.
    """

    __pydantic_config__: ClassVar = FORBID

    prefix: Literal["route", "session", "tenant"] = "route"
    share: Ratio = 1.0
    min_tokens: Count = 1024
    increment: PositiveCount = 1
    ttl: PositiveDuration = 300.0
