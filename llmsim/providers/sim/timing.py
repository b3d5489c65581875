"""The latency model at work: coefficients and tables made once, so that a call costs a few float operations.

Everything random comes in as an argument, and everything but the arrival rate and the prompt cache is pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmsim.distributions import Constant, Distribution, Mixture, Part
from llmsim.providers.sim.latency import Load, PromptCache, StreamStall

if TYPE_CHECKING:
    from llmsim.providers.sim.spec import SimProvider
    from llmsim.types import Request

__all__ = ["PromptCacheState", "RateMeter", "Timing", "mean_service_s"]


class PromptCacheState:
    """What one provider has in its prompt cache."""

    __slots__ = ("_increment", "_key", "_least", "_share", "_ttl", "_written")

    def __init__(self, spec: PromptCache) -> None:
        self._key = attrgetter(spec.prefix)
        self._share = spec.share
        self._least = spec.min_tokens
        self._increment = spec.increment
        self._ttl = spec.ttl
        # By prefix: usable from, last used, tokens that are there, last used when it took its place in the dict.
        self._written: dict[str, list[Any]] = {}

    def cached(
        self, request: Request, now: float, shared_tokens: int | None = None, fixed_tokens: int | None = None
    ) -> int:
        """Input tokens of this request that are read from the cache at loop time `now`.

        Parameters
        ----------
        shared_tokens
            Length of the common prefix where the traffic knows it; None: `share` of the prompt.
        fixed_tokens
            For a step of a session: `shared_tokens` is what it has in common with the step before, which only who
            answered that step can have; this part of it all prompts of the route begin with. None: no session.
        """
        tokens = request.input_tokens
        shared = int(tokens * self._share) if shared_tokens is None else min(shared_tokens, tokens)
        if fixed_tokens is None:
            return self._found(self._key(request), shared, now)
        return self._found(_session(request), shared, now) or self._found(
            self._key(request), min(fixed_tokens, shared), now
        )

    def _found(self, key: str, shared: int, now: float) -> int:
        entry = self._written.get(key)
        if entry is None or now < entry[0] or now > entry[1] + self._ttl:
            return 0
        there = entry[2]
        shared = shared if shared < there else there
        shared -= shared % self._increment
        if shared < self._least:
            return 0
        entry[1] = now
        return shared

    def wrote(
        self,
        request: Request,
        first_token_s: float,
        now: float,
        shared_tokens: int | None = None,
        fixed_tokens: int | None = None,
    ) -> None:
        """The prompt of this request was read; from its first token on, others find what they share with it.

        That is `share` of it, and where the traffic knows what prompts have in common, all of it. A shorter prompt than
        is there adds nothing, and one that is too short to be cached is not.
        """
        tokens = request.input_tokens
        length = int(tokens * self._share) if shared_tokens is None else tokens
        if length < self._least:
            return
        if fixed_tokens is not None:
            self._write(_session(request), length, first_token_s, now)
        self._write(self._key(request), length, first_token_s, now)

    def _write(self, key: str, length: int, first_token_s: float, now: float) -> None:
        written = self._written
        entry = written.get(key)
        usable = first_token_s
        if entry is not None and now <= entry[1] + self._ttl:
            if entry[2] >= length and entry[0] <= usable:
                return  # reading it has refreshed it
            usable, length = min(usable, entry[0]), max(length, entry[2])
        last = max(now, first_token_s)
        written.pop(key, None)
        written[key] = [usable, last, length, last]
        # Forget what expired, so that a long run with many sessions stays small. Being read moves nothing in the dict
        # (it happens at every call): what is found at its head and was read since goes to the end now.
        while True:
            oldest = next(iter(written))
            entry = written[oldest]
            if oldest == key or entry[1] == entry[3] >= now - self._ttl:
                break
            del written[oldest]
            if now <= entry[1] + self._ttl:
                entry[3] = entry[1]
                written[oldest] = entry
                break


def _session(request: Request) -> str:
    """The key of a session: no route or tenant is called so."""
    return f"session\0{request.session}"


class RateMeter:
    """Arrivals per second, exponentially averaged."""

    __slots__ = ("_last", "_rate", "_tau")

    def __init__(self, averaged_over_s: float) -> None:
        self._tau = averaged_over_s
        self._rate = 0.0
        self._last = 0.0

    def rate(self, now: float) -> float:
        """At `now`. Just before an arrival its mean is the true rate of a Poisson stream."""
        return self._rate * math.exp((self._last - now) / self._tau)

    def arrival(self, now: float) -> None:
        """Count an arrival at `now`."""
        self._rate = self.rate(now) + 1 / self._tau
        self._last = now


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


@dataclass(frozen=True)
class _Silence:
    """Seconds that one answer falls silent: `duration` with this probability, else 0. Falls and rises with `u`."""

    probability: float
    duration: Distribution

    @property
    def mean(self) -> float:
        return self.probability * self.duration.mean

    def quantile(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        seconds, silent = np.zeros_like(u), u < self.probability
        seconds[silent] = self.duration.quantile(u[silent] / self.probability)
        return seconds


@lru_cache(maxsize=64)
def _by_slots(load: Load, slots: int) -> list[tuple[float, float]]:
    """The multipliers with so many slots in use."""
    return [load.multipliers(busy / slots) for busy in range(slots + 1)]


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
    reading
        Distribution of a call's multiplier of these; None: always 1.
    silence
        Distribution of the stall that may come once an answer, in seconds (0: none); None: there never is one.
    """

    __slots__ = (
        "_by_slots",
        "_load",
        "_meter",
        "base",
        "gaps",
        "linear",
        "network",
        "pace",
        "reading",
        "silence",
        "squared",
    )

    def __init__(self, spec: SimProvider) -> None:
        self.network: Distribution | None = None if spec.network == Constant(0.0) else spec.network
        self.base: Distribution = spec.ttft
        plain = not spec.flush and spec.pace == Constant(1.0)
        self.pace: Distribution | None = None if plain else _Pace(spec.flush, spec.pace)
        self.linear = spec.prefill.per_1k / 1e3
        self.squared = spec.prefill.per_1k_squared / 1e6
        self.reading: Distribution | None = None if spec.prefill.pace == Constant(1.0) else spec.prefill.pace
        self.gaps, self.silence = _gaps(spec.inter_token, spec.stall)
        self._load = load = spec.load
        self._by_slots: list[tuple[float, float]] | None = None
        self._meter: RateMeter | None = None
        if load is not None and load.of == "slots":
            assert spec.concurrency is not None, "SimProvider sees to that"
            self._by_slots = _by_slots(load, spec.concurrency)
        elif load is not None:
            self._meter = RateMeter(load.averaged_over)

    def prefill(self, input_tokens: int, cached_tokens: int) -> float:
        """Seconds that reading a prompt takes, of which so much is in the prompt cache."""
        return (input_tokens - cached_tokens) * (self.linear + self.squared * (input_tokens + cached_tokens))

    def load_factors(self, busy: int, now: float) -> tuple[float, float]:
        """Multipliers of TTFT and of gaps for a call that starts now.

        Parameters
        ----------
        busy
            Slots in use, this call's included.
        now
            Loop time, in seconds.
        """
        by_slots = self._by_slots
        if by_slots is not None:
            return by_slots[busy] if busy < len(by_slots) else by_slots[-1]
        if self._meter is None or self._load is None or self._load.capacity is None:
            return 1.0, 1.0
        return self._load.multipliers(self._meter.rate(now) / self._load.capacity)

    @property
    def counts_arrivals(self) -> bool:
        """Whether `arrived` has any effect."""
        return self._meter is not None

    def arrived(self, now: float) -> None:
        """A call has come, and started or queued. To be told after `load_factors` was asked for one that starts."""
        if self._meter is not None:
            self._meter.arrival(now)


def mean_service_s(spec: SimProvider, input_tokens: float, output_tokens: float, *, full: bool = False) -> float:
    """Mean seconds of a slot that a call takes, with prompts and answers of mean length, nothing cached.

    Parameters
    ----------
    spec
        Of the provider.
    input_tokens, output_tokens
        Means.
    full
        With all slots in use, instead of alone: slots over this is the most that the provider can carry.
    """
    gaps = max(output_tokens - 1, 0.0)
    engine = spec.serving
    if engine is not None:
        # Calls in company share the decode steps, and wait for the prompts of all others.
        company = engine.slots if full else 1
        prefill_s = engine.prefill_step + engine.prefill_token * input_tokens
        sequence_s = engine.decode_sequence + engine.decode_context * (input_tokens + gaps / 2)
        return company * prefill_s + gaps * (engine.decode_step + company * sequence_s)
    timing = Timing(spec)
    pace = 1.0 if timing.pace is None else timing.pace.mean
    stall = timing.silence.mean if timing.silence is not None else 0.0
    slower = spec.load.multipliers(1.0) if full and spec.load is not None and spec.load.of == "slots" else (1.0, 1.0)
    reading = 1.0 if timing.reading is None else timing.reading.mean
    prefill_s = reading * input_tokens * (timing.linear + timing.squared * input_tokens)
    first = (spec.ttft.mean + prefill_s) * slower[0]
    return first + gaps * timing.gaps.mean * pace * slower[1] + (stall * (1 - spec.flush) if gaps else 0.0)


def _gaps(inter_token: Distribution, stall: StreamStall | None) -> tuple[Distribution, Distribution | None]:
    """Gaps with the stalls that may come with any of them, and the silences that are left to each answer."""
    if stall is None or not stall.probability:
        return inter_token, None
    if stall.per == "answer":
        return inter_token, _Silence(stall.probability, stall.duration)
    parts = (Part(1 - stall.probability, inter_token), Part(stall.probability, stall.duration))
    return Mixture(parts), None
