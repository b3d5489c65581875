"""Where a provider's time goes: network, prefill by prompt length, load, flushed and paced streams, prompt caching.

    ttft = network + (base + prefill of the uncached prompt) * load

Specs here are what a scenario says. `Timing` and `PromptCacheState` are what a provider keeps of them: coefficients and
tables made once, so that a request costs a few float operations. Everything random comes in as an argument.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np

from llmsim.distributions import Constant, Distribution, DurationDistribution, Mixture, Part
from llmsim.units import (
    RATIO,
    Count,
    Duration,
    Multiplier,
    PositiveCount,
    PositiveDuration,
    PositiveRate,
    Ratio,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from llmsim.providers.sim.spec import SimProvider
    from llmsim.types import Request

__all__ = [
    "Load",
    "LoadPoint",
    "Prefill",
    "PromptCache",
    "PromptCacheState",
    "RateMeter",
    "StreamStall",
    "Timing",
    "mean_service_s",
]

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
    """

    __pydantic_config__: ClassVar = FORBID

    per_1k: Duration = 0.0
    per_1k_squared: Duration = 0.0


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
        Of a prompt, how much it has in common with the earlier ones.
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


class PromptCacheState:
    """What one provider has in its prompt cache."""

    __slots__ = ("_field", "_increment", "_least", "_share", "_ttl", "_written")

    def __init__(self, spec: PromptCache) -> None:
        self._field = spec.prefix
        self._share = spec.share
        self._least = spec.min_tokens
        self._increment = spec.increment
        self._ttl = spec.ttl
        self._written: dict[str, tuple[float, float]] = {}  # prefix: usable from, last used

    def cached(self, request: Request, now: float, shared_tokens: int | None = None) -> int:
        """Input tokens of this request that are read from the cache at loop time `now`.

        Parameters
        ----------
        shared_tokens
            Length of the common prefix where the traffic knows it (a chat that grows); None: `share` of the prompt.
        """
        tokens = request.input_tokens
        shared = min(int(tokens * self._share) if shared_tokens is None else shared_tokens, tokens)
        shared -= shared % self._increment
        if shared < self._least:
            return 0
        key = getattr(request, self._field)
        entry = self._written.get(key)
        if entry is None or now < entry[0] or now > entry[1] + self._ttl:
            return 0
        del self._written[key]  # to the end of the dict: the first is always the one unused for longest
        self._written[key] = (entry[0], now)
        return shared

    def wrote(self, request: Request, first_token_s: float, now: float) -> None:
        """The prompt of this request was read in full; from its first token on, others find its prefix."""
        key = getattr(request, self._field)
        written = self._written
        entry = written.pop(key, None)
        usable = first_token_s
        if entry is not None and now <= entry[1] + self._ttl:
            usable = min(usable, entry[0])
        written[key] = (usable, max(now, first_token_s))
        while True:  # forget what expired, so that a long run with many sessions stays small
            oldest = next(iter(written))
            if oldest == key or now <= written[oldest][1] + self._ttl:
                break
            del written[oldest]


class RateMeter:
    """Arrivals per second, exponentially averaged."""

    __slots__ = ("_last", "_rate", "_tau")

    def __init__(self, averaged_over_s: float) -> None:
        self._tau = averaged_over_s
        self._rate = 0.0
        self._last = 0.0

    def arrival(self, now: float) -> float:
        """Count an arrival at `now`; the rate just before it (its mean is the true rate of a Poisson stream)."""
        before = self._rate * math.exp((self._last - now) / self._tau)
        self._rate = before + 1 / self._tau
        self._last = now
        return before


@dataclass(frozen=True)
class _Pace:
    """One answer's multiplier of its gaps: 0 with probability `flush`, else drawn from `paced`. Rises with `u`."""

    flush: float
    paced: Distribution

    @property
    def mean(self) -> float:
        return (1 - self.flush) * self.paced.mean

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        if not self.flush:
            return self.paced.quantile(u)
        if self.flush == 1:
            return np.zeros_like(u)
        inner = np.maximum((u - self.flush) / (1 - self.flush), 2.0**-54)
        return np.where(u < self.flush, 0.0, self.paced.quantile(inner))


class Timing:
    """What a provider prepares from its spec, once.

    Attributes
    ----------
    network, base
        Distributions to draw per call, in seconds; `network` is None where it takes no time.
    pace
        Distribution of a call's gap multiplier (0: the whole answer comes with the first token); None: always 1.
    gaps
        Distribution of the gaps of an answer of usual pace, stalls per gap included.
    linear, squared
        Seconds of prefill per token and per squared token.
    per_answer
        The stall that may come once an answer, if there is one.
    """

    __slots__ = ("_by_slots", "_load", "_meter", "base", "gaps", "linear", "network", "pace", "per_answer", "squared")

    def __init__(self, spec: SimProvider) -> None:
        self.network: Distribution | None = None if spec.network == Constant(0.0) else spec.network
        self.base: Distribution = spec.ttft
        plain = not spec.flush and spec.pace == Constant(1.0)
        self.pace: Distribution | None = None if plain else _Pace(spec.flush, spec.pace)
        self.linear = spec.prefill.per_1k / 1e3
        self.squared = spec.prefill.per_1k_squared / 1e6
        self.gaps, self.per_answer = _gaps(spec.inter_token, spec.stall)
        self._load = load = spec.load
        self._by_slots: list[tuple[float, float]] | None = None
        self._meter: RateMeter | None = None
        if load is not None and load.of == "slots":
            assert spec.concurrency is not None, "SimProvider sees to that"
            slots = spec.concurrency
            self._by_slots = [load.multipliers(busy / slots) for busy in range(slots + 1)]
        elif load is not None:
            self._meter = RateMeter(load.averaged_over)

    def ttft(
        self, base_s: float, input_tokens: int, cached_tokens: int = 0, *, load: float = 1.0, network_s: float = 0.0
    ) -> float:
        """Seconds from the start of service to the first token at the caller; arrays give arrays.

        Parameters
        ----------
        base_s, network_s
            This call's draws from `base` and `network`.
        input_tokens, cached_tokens
            Of the prompt; how many of these are in the prompt cache.
        load
            The multiplier `load_factors` gave.
        """
        fresh = input_tokens - cached_tokens
        prefill_s = fresh * (self.linear + self.squared * (input_tokens + cached_tokens))
        return network_s + (base_s + prefill_s) * load

    def load_factors(self, busy: int, now: float) -> tuple[float, float]:
        """Multipliers of TTFT and of gaps for a call that starts now. To be asked once per call: it is counted.

        Parameters
        ----------
        busy
            Slots in use, this call's included.
        now
            Loop time, in seconds.
        """
        if self._by_slots is not None:
            return self._by_slots[min(busy, len(self._by_slots) - 1)]
        if self._meter is None or self._load is None or self._load.capacity is None:
            return 1.0, 1.0
        return self._load.multipliers(self._meter.arrival(now) / self._load.capacity)

    def stall(self, u: float, place: float, gaps: int) -> tuple[int, float] | None:
        """A stall per answer, if this call has one: after how many gaps, and its seconds on top.

        Parameters
        ----------
        u, place
            This call's uniforms: whether and how long, and where.
        gaps
            Of its answer; 0 if it is flushed (its pace is 0), as there is nothing to stall in.
        """
        if self.per_answer is None or not gaps or u >= self.per_answer.probability:
            return None
        inner = np.array([u / self.per_answer.probability])
        return int(place * gaps), float(self.per_answer.duration.quantile(inner)[0])


def mean_service_s(spec: SimProvider, input_tokens: float, output_tokens: float) -> float:
    """Mean seconds a call holds its slot: at low load, with prompts and answers of mean length, nothing cached."""
    timing = Timing(spec)
    pace = 1.0 if timing.pace is None else timing.pace.mean
    gaps = max(output_tokens - 1, 0.0)
    stall = timing.per_answer.probability * timing.per_answer.duration.mean if timing.per_answer is not None else 0.0
    first = spec.ttft.mean + input_tokens * (timing.linear + timing.squared * input_tokens)
    return first + gaps * timing.gaps.mean * pace + (stall * (1 - spec.flush) if gaps else 0.0)


def _gaps(inter_token: Distribution, stall: StreamStall | None) -> tuple[Distribution, StreamStall | None]:
    """Gaps with the stalls that may come with any of them, and the stall that is left to each answer."""
    if stall is None or not stall.probability:
        return inter_token, None
    if stall.per == "answer":
        return inter_token, stall
    parts = (Part(1 - stall.probability, inter_token), Part(stall.probability, stall.duration))
    return Mixture(parts), None
