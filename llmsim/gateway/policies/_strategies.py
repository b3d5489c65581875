"""How a `route` chooses: one small class for each strategy, over the cores in `llmsim.algorithms`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, Protocol

from llmsim.algorithms.balance import least, two_choices, weighted
from llmsim.algorithms.ewma import Ewma, PeakEwma
from llmsim.algorithms.quantile import RecentQuantile
from llmsim.algorithms.quota import Amounts, QuotaBook
from llmsim.algorithms.sticky import Rendezvous, bounded
from llmsim.types import Request, Usage

if TYPE_CHECKING:
    from llmsim.gateway.contract import Run
    from llmsim.gateway.policies.route import Routing

__all__ = ["Ask", "Outputs", "Place", "Strategy", "strategy"]

#: The default decay of Finagle's (twitter/finagle) and brpc's (apache/brpc#3367) peak EWMA.
_DECAY_S = 10.0
#: Share of greedy choices that explore: Sutton & Barto, Reinforcement Learning (2nd ed.), section 2.3.
_EXPLORE = 0.1
#: The window of a live quantile: a minute, as rate limits and dashboards have.
_WINDOW_S = 60.0
#: Bounded loads: "reasonable values are from 125 to 200" per cent (HAProxy, hash-balance-factor).
_BOUND = 1.25
#: OpenAI routes by a hash of about the first 256 tokens of a prompt (its prompt caching guide, quoted in
#: community.openai.com/t/1267103), here at four characters a token.
_PREFIX_CHARACTERS = 256 * 4


class Latency(Protocol):
    """What is known of how long a place takes."""

    def observe(self, latency_s: float, now: float) -> None: ...

    def at_least(self, latency_s: float, now: float) -> None: ...

    def score(self, now: float, in_flight: int) -> float: ...


class Place:
    """One upstream, as its router sees it."""

    __slots__ = ("book", "group", "in_flight", "latency", "name", "weight")

    def __init__(self, name: str) -> None:
        self.name = name
        self.in_flight = 0  # calls whose response has not ended
        self.weight = 1.0
        self.group = 0
        self.latency: Latency | None = None
        self.book: QuotaBook | None = None


class Ask(NamedTuple):
    """A request that is to be routed for the `turn`-th time."""

    request: Request
    now: float
    turn: int
    run: Run
    tell: bool  #: whether it goes where it is sent, or somebody only wants to know

    def luck(self, purpose: str) -> float:
        """A number in (0, 1) of this turn's own."""
        return self.run.luck(purpose, self.request, self.turn)

    def spilled(self, wanted: Place, chosen: Place) -> None:
        """Say that it goes past where it should have gone."""
        if self.tell:
            self.run.emit("spill", self.request, **{"from": wanted.name, "to": chosen.name})


class Outputs:
    """How long answers are: as assumed, or as they were so far on average (0 before the first)."""

    __slots__ = ("_assumed", "_ended", "_tokens")

    def __init__(self, assumed: int | None) -> None:
        self._assumed = assumed
        self._ended = self._tokens = 0

    def ended(self, tokens: int) -> None:
        """An answer was complete."""
        self._ended += 1
        self._tokens += tokens

    def expected(self, request: Request) -> float:
        """Output tokens of this request, at most those that it allows."""
        mean = self._assumed if self._assumed is not None else self._tokens / max(self._ended, 1)
        return mean if request.max_tokens is None else min(mean, request.max_tokens)

    def amounts(self, request: Request) -> Amounts:
        """What the request draws from limits. Vendors count ``max_tokens`` where it is given, so that is taken."""
        output = self.expected(request) if request.max_tokens is None else request.max_tokens
        return Amounts(1.0, request.input_tokens + output, request.input_tokens, output)


class Strategy(Protocol):
    """Chooses among places, none of which is known to be refused, at least one."""

    def pick(self, places: Sequence[Place], ask: Ask) -> Place | None:
        """The place to ask; None if every one of them would be asked beyond its limits."""


def _lowest(places: Sequence[Place], loads: list[float], ask: Ask) -> Place:
    lowest = min(loads)
    if loads.count(lowest) == 1:  # luck takes longer than all else here
        return places[loads.index(lowest)]
    return places[least(loads, ask.luck("tie"))]


def _least_busy(places: Sequence[Place], ask: Ask) -> Place:
    return _lowest(places, [place.in_flight for place in places], ask)


class _Ordered:
    def pick(self, places: Sequence[Place], ask: Ask) -> Place:
        return places[0]


class _Weighted:
    def pick(self, places: Sequence[Place], ask: Ask) -> Place:
        return places[weighted([place.weight for place in places], ask.luck("pick"))]


class _LeastBusy:
    def pick(self, places: Sequence[Place], ask: Ask) -> Place:
        return _least_busy(places, ask)


def _scores(places: Sequence[Place], now: float) -> list[float]:
    return [place.latency.score(now, place.in_flight) if place.latency else 0.0 for place in places]


class _PeakEwma:
    def pick(self, places: Sequence[Place], ask: Ask) -> Place:
        return _lowest(places, _scores(places, ask.now), ask)


class _TwoChoices:
    def __init__(self, *, by_latency: bool) -> None:
        self._by_latency = by_latency

    def pick(self, places: Sequence[Place], ask: Ask) -> Place:
        loads = _scores(places, ask.now) if self._by_latency else [place.in_flight for place in places]
        # Which one of n, and where in its n-th of (0, 1): two independent numbers for the price of one.
        first = ask.luck("pick")
        return places[two_choices(loads, first, first * len(places) % 1.0)]


class _Measured:
    """A live average or quantile. A place that never answered, or not lately, comes first, one call at a time."""

    __slots__ = ("_stat", "_value")

    def __init__(self, decay_s: float, quantile: float | None, window_s: float) -> None:
        if quantile is None:
            mean = Ewma(decay_s)
            self._stat: Ewma | RecentQuantile = mean
            self._value: Callable[[float], float] = lambda now: mean.value
        else:
            self._stat = recent = RecentQuantile(quantile, window_s)
            self._value = recent.value

    def observe(self, latency_s: float, now: float) -> None:
        self._stat.observe(latency_s, now)

    def at_least(self, latency_s: float, now: float) -> None:
        if not latency_s <= self._value(now):  # NaN: nothing is known, and now this
            self._stat.observe(latency_s, now)

    def score(self, now: float, in_flight: int) -> float:
        value = self._value(now)
        return value if not math.isnan(value) else math.inf if in_flight else 0.0


class _Latency:
    def __init__(self, explore: float) -> None:
        self._explore = explore

    def pick(self, places: Sequence[Place], ask: Ask) -> Place:
        best = _lowest(places, _scores(places, ask.now), ask)
        if self._explore and len(places) > 1 and ask.luck("explore") < self._explore:
            others = [place for place in places if place is not best]
            return others[int(ask.luck("which") * len(others))]
        return best


class _Cost:
    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs

    def pick(self, places: Sequence[Place], ask: Ask) -> Place:
        usage = Usage(ask.request.input_tokens, round(self._outputs.expected(ask.request)))
        return min(places, key=lambda place: ask.run.cost(place.name, usage))  # the first of equals


class _Quota:
    def __init__(self, outputs: Outputs, headroom: float) -> None:
        self._outputs = outputs
        self._headroom = headroom

    def roomy(self, places: Sequence[Place], ask: Ask) -> list[Place]:
        """Those whose limits have room for this request."""
        amounts, now, headroom = self._outputs.amounts(ask.request), ask.now, self._headroom
        return [place for place in places if place.book is None or place.book.wait_s(amounts, now, headroom) <= 0]

    def pick(self, places: Sequence[Place], ask: Ask) -> Place | None:
        roomy = self.roomy(places, ask)
        if not roomy:
            return None
        emptiest = max(_share(place, ask.now) for place in roomy)
        return _least_busy([place for place in roomy if _share(place, ask.now) == emptiest], ask)


def _share(place: Place, now: float) -> float:
    return 1.0 if place.book is None else place.book.share(now)


class _Priority:
    def __init__(self, quota: _Quota, full_at: int | None) -> None:
        self._quota = quota
        self._full_at = full_at

    def pick(self, places: Sequence[Place], ask: Ask) -> Place | None:
        roomy = self._quota.roomy(places, ask)
        full_at = self._full_at
        open_ = [place for place in roomy if full_at is None or place.in_flight < full_at]
        if not open_:  # all full: nothing here may hold it back, a concurrency limit below can
            return _least_busy(roomy, ask) if roomy else None
        first = min(place.group for place in open_)
        chosen = _least_busy([place for place in open_ if place.group == first], ask)
        wanted = min(places, key=lambda place: place.group)
        if wanted.group < first:
            ask.spilled(wanted, chosen)
        return chosen


class _Sticky:
    def __init__(self, names: Sequence[str], key: str, bound: float | None) -> None:
        self._ranks = Rendezvous(names)
        self._key = key
        self._bound = bound

    def pick(self, places: Sequence[Place], ask: Ask) -> Place:
        by_name = {place.name: place for place in places}
        ranked = [by_name[name] for name in self._ranks.ranked(self._key_of(ask.request)) if name in by_name]
        chosen = ranked[bounded([place.in_flight for place in ranked], self._bound)]
        if chosen is not ranked[0]:
            ask.spilled(ranked[0], chosen)
        return chosen

    def _key_of(self, request: Request) -> str:
        if self._key == "prefix" and request.messages:
            prefix = ""
            for message in request.messages:
                prefix += f"{message.role}\x1f{message.content}\x1e"
                if message.role != "system" or len(prefix) >= _PREFIX_CHARACTERS:
                    break  # what follows differs from turn to turn
            return prefix[:_PREFIX_CHARACTERS]
        owner = getattr(request, self._key, "") if self._key != "prefix" else ""
        return owner or request.session or request.id


def strategy(spec: Routing, places: Sequence[Place], outputs: Outputs) -> Strategy:
    """What chooses among these places, which get whatever it keeps of each."""
    decay_s = spec.decay or _DECAY_S
    kind = spec.strategy
    if kind == "ordered":
        return _Ordered()
    if kind == "weighted":
        for place in places:
            place.weight = spec.weights.get(place.name, 1.0)
        return _Weighted()
    if kind == "cost":
        return _Cost(outputs)
    if kind == "sticky":
        bound = _BOUND if spec.bound is None else spec.bound
        return _Sticky([place.name for place in places], spec.key or "session", bound)
    if kind in ("quota", "priority"):
        return _with_books(spec, places, outputs)
    if kind == "latency":
        for place in places:
            place.latency = _Measured(decay_s, spec.quantile, spec.window or _WINDOW_S)
        return _Latency(_EXPLORE if spec.explore is None else spec.explore)
    if kind == "peak_ewma" or spec.over == "peak_ewma":
        for place in places:
            place.latency = PeakEwma(decay_s)
    if kind == "p2c":
        return _TwoChoices(by_latency=spec.over == "peak_ewma")
    return _PeakEwma() if kind == "peak_ewma" else _LeastBusy()


def _with_books(spec: Routing, places: Sequence[Place], outputs: Outputs) -> Strategy:
    groups = {name: number for number, group in enumerate(spec.groups) for name in group}
    for number, place in enumerate(places):
        place.book = QuotaBook()
        place.group = groups.get(place.name, number if not groups else len(groups))
    quota = _Quota(outputs, spec.headroom or 0.0)
    return quota if spec.strategy == "quota" else _Priority(quota, spec.full_at)
