"""Faults of a scenario as frozen values, and which of them are active when.

*Boundary* faults (abort, delay, stall, break, sequence) wrap any provider, simulated or live. *Intrinsic* ones change a
simulated provider from within. Of those, an outage and a cut of rate limits look the same from outside and can stand in
front of a live provider too; latency, capacity, price and drift are refused live.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from llmsim.distributions import Constant, DurationDistribution
from llmsim.units import BadValue, Count, Duration, Multiplier, PositiveDuration, Ratio, Unit

__all__ = ["Abort", "Delay", "Fault", "ModelDrift", "Scale", "Stall", "StreamBreak"]

FORBID: dict[str, Any] = {"extra": "forbid"}

_STATUS = Unit("an error status", ("503", "429"), lambda text: None, bare=True, low=400, high=599, whole=True)
Status = Annotated[int, _STATUS]

#: What cannot be had in front of a provider.
_FROM_WITHIN = ("latency", "capacity", "price", "drift")
#: What can go wrong with a store.
_OF_STORES = ("latency", "abort", "delay", "outage", "lose_state")
#: What is there or not, with nothing in between that a ramp could go through.
_ALL_OR_NOTHING = ("drift", "outage", "lose_state", "sequence")


@dataclass(frozen=True, kw_only=True)
class Abort:
    """Answer a share of the calls with this status instead of passing them on.

    Parameters
    ----------
    status
        Of the answers; a provider's needs one, a store's has none.
    percentage
        Which share.
    retry_after
        What the answer says about when to come back.
    """

    __pydantic_config__: ClassVar = FORBID

    status: Status | None = None
    percentage: Ratio = 1.0
    retry_after: Duration | None = None


@dataclass(frozen=True, kw_only=True)
class Delay:
    """Hold a share of the calls back before passing them on."""

    __pydantic_config__: ClassVar = FORBID

    time: DurationDistribution
    percentage: Ratio = 1.0


@dataclass(frozen=True, kw_only=True)
class Stall:
    """A share of the streams falls silent after this many tokens, for `time`."""

    __pydantic_config__: ClassVar = FORBID

    after_tokens: Count = 0
    percentage: Ratio = 1.0
    time: DurationDistribution = Constant(60.0)


@dataclass(frozen=True, kw_only=True)
class StreamBreak:
    """A share of the streams ends without an end after this many tokens."""

    __pydantic_config__: ClassVar = FORBID

    after_tokens: Count = 0
    percentage: Ratio = 1.0


@dataclass(frozen=True, kw_only=True)
class Scale:
    """Multiply a property of the simulated provider."""

    __pydantic_config__: ClassVar = FORBID

    multiplier: Multiplier


@dataclass(frozen=True, kw_only=True)
class ModelDrift:
    """The provider silently serves another version of the model.

    Parameters
    ----------
    ttft, latency
        Multipliers of the time to first token, and of all times.
    output_tokens
        Multiplier of the length of answers.
    json_defects, refusals
        Multipliers of the shares in the provider's `output`.
    model
        What answers call themselves from then on; empty: as before.
    """

    __pydantic_config__: ClassVar = FORBID

    ttft: Multiplier = 1.0
    latency: Multiplier = 1.0
    output_tokens: Multiplier = 1.0
    json_defects: Multiplier = 1.0
    refusals: Multiplier = 1.0
    model: str = ""

    def __post_init__(self) -> None:
        if all(value in (1.0, "") for value in vars(self).values()):
            raise ValueError(
                "this drift changes nothing; give it ttft, latency, output_tokens, json_defects, refusals or model, as "
                "in drift: {output_tokens: 1.4x}"
            )


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong with one provider, or with one store, for a while. Overlapping faults multiply.

    Parameters
    ----------
    name
        How reports call it.
    provider
        Name of a configured provider.
    store
        Or: name of the cache whose store it is on (its kind, ``semantic_cache``, unless it has a ``name:``), that of
        every replica. A store can have latency, delay, abort (operations that fail), outage and lose_state. Its
        embedder is another service, and not hit.
    at, duration
        When it begins on the scenario's clock (0 is the end of warm-up), and how long it has its full strength.
    ramp_up, ramp_down
        How long it takes to build up, from `at` on and before `duration` begins, and to fade away, after `duration` has
        passed; its strength goes in a straight line from nothing to full, and back. With a ramp_up and no duration it
        is there for good. At half strength half of the share of calls is hit (abort, stall, break), a delay holds them
        back half as long, and a multiplier is halfway between 1 and its value. It is over after at + ramp_up +
        duration + ramp_down: what is said of the time during and after it, and recovery_time, count both ramps as
        parts of it. What is there or not (outage, sequence, drift, lose_state) has no ramps. Calls meet the strength of
        their moment; slots, rate limits, prices and a serving engine's speed follow in a thousand steps a ramp.
    latency, capacity, rate_limit
        Multipliers of TTFT and token gaps, of slots (simulated providers only), and of every rate limit. `latency` is
        that of the moment a call gets its slot: its timeline is fixed then, so a slow answer stays slow after the
        window and one that had begun before it stays fast. (A serving engine changes speed with its next step.) In
        front of a live provider the scenario's limits, cut so, are kept by the lab; ``1x`` keeps them as they are.
    price
        Multiplier of its price per token (simulated providers only). A call is billed at the price of the moment it was
        sent. Policies that look at prices (route by cost, budget) see the new one from then on.
    drift
        The model changes under the same name, for good unless a duration is given (simulated providers only).
    abort, delay, stall, break
        Of calls and streams that start within the window.
    outage
        Every call is refused, and what was running is cut off.
    lose_state
        What a store kept is gone when the fault begins; without it an outage is only silence, and all is found again.
    sequence
        Scripted answers to the calls in the window, in the order they come: a status, or ``ok``; then as usual.
    sequence_per
        ``provider``: one script for all calls; ``request``: each request starts it anew.
    """

    # ``break`` is a Python keyword: the field is ``break_``, the key in a file is ``break``.
    __pydantic_config__: ClassVar = {**FORBID, "alias_generator": lambda name: name.rstrip("_")}

    name: str
    provider: str = ""
    store: str = ""
    at: Duration = 0.0
    duration: PositiveDuration = float("inf")
    ramp_up: Duration = 0.0
    ramp_down: Duration = 0.0
    latency: Scale | None = None
    capacity: Scale | None = None
    rate_limit: Scale | None = None
    price: Scale | None = None
    drift: ModelDrift | None = None
    abort: Abort | None = None
    delay: Delay | None = None
    stall: Stall | None = None
    break_: StreamBreak | None = None
    outage: bool = False
    lose_state: bool = False
    sequence: tuple[Status | Literal["ok"], ...] = ()
    sequence_per: Literal["provider", "request"] = "provider"

    def __post_init__(self) -> None:
        if bool(self.provider) == bool(self.store):
            raise ValueError(
                f"fault {self.name!r} needs one thing that it is a fault of; write provider: openai, or "
                "store: semantic_cache"
            )
        if not self.effects:
            words = (
                "latency, abort, delay, outage or lose_state"
                if self.store
                else "latency, capacity, rate_limit, price, drift, abort, delay, stall, break, outage or sequence"
            )
            raise ValueError(f"fault {self.name!r} does nothing; give it {words}")
        self._check_ramps()
        if self.store:
            self._check_store()
        elif self.lose_state:
            raise BadValue("a provider has no state to lose; write outage: true", "lose_state")
        elif self.abort is not None and self.abort.status is None:
            raise BadValue("an abort needs the status that is answered; write abort: {status: 503}", "abort")

    def _check_ramps(self) -> None:
        """Refuse to let grow or fade what cannot, or what never gets there."""
        for ramp in ("ramp_up", "ramp_down"):
            if not getattr(self, ramp):
                continue
            if not math.isfinite(getattr(self, ramp)):
                raise BadValue(f"a {ramp} has to get there some day; write {ramp}: 10m", ramp)
            for word in self.effects:
                if word in _ALL_OR_NOTHING:
                    raise BadValue(
                        f"{word} is there or not, with no strength to grow or fade; remove {ramp}, or give {word} "
                        "a fault of its own",
                        ramp,
                    )
        if self.ramp_down and math.isinf(self.duration):
            raise BadValue(
                "this fault keeps its full strength for ever, so it never fades; add duration: 7m, how long it has its "
                "full strength",
                "ramp_down",
            )

    def _check_store(self) -> None:
        """Refuse what makes no sense for a store."""
        for word in self.effects:
            if word not in _OF_STORES:
                raise BadValue(f"a store has no {word}; give it {', '.join(_OF_STORES[:-1])} or {_OF_STORES[-1]}", word)
        if self.abort is not None and (self.abort.status is not None or self.abort.retry_after is not None):
            raise BadValue("operations on a store have no status; write abort: {percentage: 20%}", "abort")

    @property
    def target(self) -> str:
        """What it is a fault of: the provider, or the store."""
        return self.provider or self.store

    @property
    def end_s(self) -> float:
        """When it is over, ramps and all; losing its state and nothing else is over at once."""
        at_once = self.lose_state and self.effects == ("lose_state",)
        return self.at if at_once else self.full_until_s + self.ramp_down

    @property
    def full_from_s(self) -> float:
        """From when on it has its full strength."""
        return self.at + self.ramp_up

    @property
    def full_until_s(self) -> float:
        """Until when it has its full strength."""
        return self.full_from_s + self.duration

    def strength(self, time_s: float) -> float:
        """How strong it is at a time of the scenario's clock, from 0 to 1.

        Examples
        --------
        >>> slow = Fault(name="f", provider="a", at=60.0, duration=30.0, ramp_down=60.0, abort=Abort(status=503))
        >>> slow.strength(59.0), slow.strength(60.0), slow.strength(135.0), slow.strength(150.0)
        (0.0, 1.0, 0.25, 0.0)
        """
        end_s = self.end_s
        if not self.at <= time_s < end_s:
            return 0.0
        if time_s < self.full_from_s:
            return (time_s - self.at) / self.ramp_up
        return 1.0 if time_s <= self.full_until_s else (end_s - time_s) / self.ramp_down

    def factor(self, word: str, time_s: float) -> float:
        """What it multiplies `word` (latency, capacity, rate_limit, price) by at a time of the scenario's clock."""
        scale: Scale | None = getattr(self, word)
        strength = 0.0 if scale is None else self.strength(time_s)
        if scale is None or not strength:
            return 1.0
        return scale.multiplier if strength == 1 else 1 + (scale.multiplier - 1) * strength

    @property
    def effects(self) -> tuple[str, ...]:
        """Names of what it does."""
        names = (
            "latency",
            "capacity",
            "rate_limit",
            "price",
            "drift",
            "abort",
            "delay",
            "stall",
            "break_",
            "outage",
            "lose_state",
            "sequence",
        )
        return tuple(name.rstrip("_") for name in names if getattr(self, name))

    @property
    def only_simulated(self) -> tuple[str, ...]:
        """Those of its effects that no live provider can be made to have."""
        return tuple(word for word in self.effects if word in _FROM_WITHIN)

    @property
    def intrinsic(self) -> bool:
        """Whether it needs a simulated provider, or a simulated store."""
        return bool(self.store) or any((self.latency, self.capacity, self.rate_limit, self.price, self.drift))
