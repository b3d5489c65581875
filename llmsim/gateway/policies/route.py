"""Choose who is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal, get_args

from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._router import RouteHandler
from llmsim.gateway.policies._words import Names, known_upstreams, tables
from llmsim.gateway.registry import register
from llmsim.units import Multiplier, PositiveCount, PositiveDuration, Ratio, Unit

__all__ = ["Routing"]

StrategyName = Literal[
    "ordered", "weighted", "least_busy", "peak_ewma", "p2c", "latency", "cost", "quota", "priority", "sticky"
]
Weight = Annotated[float, Unit("a weight", ("3", "0.7"), lambda text: None, bare=True, low=0.0)]

#: Which strategies read a word, besides those that all read.
_READ_BY: dict[str, tuple[str, ...]] = {
    "weights": ("weighted",),
    "over": ("p2c",),
    "measure": ("peak_ewma", "p2c", "latency"),
    "decay": ("peak_ewma", "p2c", "latency"),
    "quantile": ("latency",),
    "window": ("latency",),
    "explore": ("latency",),
    "output_tokens": ("cost", "quota", "priority"),
    "headroom": ("quota", "priority"),
    "groups": ("priority",),
    "full_at": ("priority",),
    "key": ("sticky",),
    "bound": ("sticky",),
}


@register("route")
@dataclass(frozen=True, kw_only=True)
class Routing:
    """Choose the upstream for every request that names none.

    **Protects from** one upstream's limits being everybody's, from waiting at a slow one while another is idle, and
    from paying more than needed.

    **Costs** comparability, since answers come from different models; prompt caches, which every upstream then fills
    for itself (`sticky` keeps them); and luck, where the choice is drawn.

    **Makes things worse** when it follows a number that a failing upstream makes look good: one that refuses at once is
    the fastest and the least busy of all. So a failed call never improves an average here; and put a circuit breaker
    (or a cooldown) in upstream scope, since upstreams that are known to be refused are passed over. And of several
    replicas each knows only its own calls: with ten upstreams at 80 % load, ``least_busy`` takes 1.39 times the service
    time with one replica or ``shared: true``, 2.2 with four, 2.7 with eight, and chance 4.6
    (``tests/gateway/policies/test_route_replicas.py``).

    List it innermost, after `fallback`, `retry` and `hedge`: then it chooses for every attempt, an upstream that this
    request has not been sent to before if there is one. (A policy after it, say a retry, stays with what it chose.)
    What it chooses first is the request's first choice: a weighted share is no fallback. A `fallback` without an
    ``order`` goes on to what this would choose next. A request that names an upstream goes there, and is counted.

    Parameters
    ----------
    to
        Upstreams it chooses among; default: all.
    strategy
        ``ordered``: the first of `to` that is not refused. ``weighted``: by chance, in proportion to `weights`
        (the default, as LiteLLM's simple-shuffle and Portkey's loadbalance). ``least_busy``: the fewest calls under
        way, which last until their *response* ends. ``peak_ewma``: the lowest latency times calls under way
        (`llmsim.algorithms.ewma.PeakEwma`). ``p2c``: the better of two drawn at random. ``latency``: the lowest live
        average or `quantile`. ``cost``: the cheapest for this request's tokens. ``quota``: the one with most left of
        its rate limits, as its answers tell, and none beyond them. ``priority``: the first of `groups` that is not
        full. ``sticky``: the same `key` to the same upstream.
    weights
        weighted: by upstream, 1 where not named; 0: only when all others have been tried.
    over
        p2c: what makes one of two better, ``least_busy`` (default) or ``peak_ewma``.
    measure
        Of latencies: ``ttft`` (default; also e2e where nothing is streamed) or ``e2e``, which mostly says how long the
        answers are.
    decay
        Of averages: after this time an observation weighs 1/e. Default 10 s (Finagle, brpc).
    quantile, window
        latency: a quantile of the latencies of this long (default 1m), instead of an average.
    explore
        latency: share of requests that go to another than the best, so that one that got better is found. Default 10%
        (Sutton & Barto, section 2.3).
    output_tokens
        cost, quota, priority: length of an answer, for want of ``max_tokens``. Default: the average so far.
    headroom
        quota, priority: share of each limit to leave to others on the same account. Default 0%.
    groups
        priority: lists of upstreams, first choice first; default: each of `to` by itself. In a group, the least busy.
    full_at
        priority: calls under way at which an upstream is full; default: only its rate limits say so.
    key
        sticky: ``session`` (default), ``prefix`` (the system prompt and the first message, at most some 256 tokens,
        which is what OpenAI itself routes by), ``user`` or ``tenant``. Without one, the session, or each request for
        itself.
    bound
        sticky: at most so many times the average of calls under way; beyond, a hot key spills to its next upstream.
        Default 1.25x (HAProxy: "reasonable values are from 125 to 200" per cent); a large one: no bound.
    models
        Model to ask for, by upstream; else the one the request names.
    shared
        One state for all replicas of the gateway instead of one each. It knows of refusals only from policies that are
        shared, too.

    Notes
    -----
    Emits ``spill`` (``from``, ``to``) when `priority` or `sticky` goes past its first choice (on the way of a fallback,
    the ``fallback`` event says it all). Raises `RateLimited`,
    with ``retry_after_s``, when `quota` or `priority` knows of no upstream that has room. If all upstreams are refused,
    it asks the one that will be back first, whose breaker says so. Upstreams whose context window is known to be too
    small are passed over.

    Examples
    --------
    >>> Routing(strategy="weighted", weights={"openai": 3, "azure": 1}).weights["openai"]
    3
    >>> Routing(strategy="cost", bound=1.5)
    Traceback (most recent call last):
    ValueError: bound has no effect with strategy: cost; it is for sticky
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    to: Names | None = None
    strategy: StrategyName = "weighted"
    weights: Mapping[str, Weight] = field(default_factory=dict)
    over: Literal["least_busy", "peak_ewma"] | None = None
    measure: Literal["ttft", "e2e"] | None = None
    decay: PositiveDuration | None = None
    quantile: Ratio | None = None
    window: PositiveDuration | None = None
    explore: Ratio | None = None
    output_tokens: PositiveCount | None = None
    headroom: Ratio | None = None
    groups: tuple[Names, ...] = ()
    full_at: PositiveCount | None = None
    key: Literal["session", "prefix", "user", "tenant"] | None = None
    bound: Multiplier | None = None
    models: Mapping[str, str] = field(default_factory=dict)
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.strategy not in get_args(StrategyName):
            raise ValueError(f"unknown strategy {self.strategy!r}; write one of {', '.join(get_args(StrategyName))}")
        for key in ("to", "groups"):
            if isinstance(getattr(self, key), str):
                raise ValueError(f"{key} takes a list; write {key}: [{getattr(self, key)}]")
        if self.to is not None:
            object.__setattr__(self, "to", tuple(self.to))
        object.__setattr__(self, "groups", tuple(tuple(group) for group in self.groups))
        tables(self, "weights", "models")
        self._check_words()
        self._check_numbers()
        self._check_names()

    def _check_words(self) -> None:
        for word, strategies in _READ_BY.items():
            if getattr(self, word) not in (None, (), {}) and self.strategy not in strategies:
                users = " and ".join(strategies)
                raise ValueError(f"{word} has no effect with strategy: {self.strategy}; it is for {users}")
        if self.strategy == "p2c" and self.over != "peak_ewma" and (self.decay or self.measure):
            word = "decay" if self.decay else "measure"
            raise ValueError(f"{word} has no effect where calls under way are compared; write over: peak_ewma")
        if self.window is not None and self.quantile is None:
            raise ValueError("window has no effect on an average, which has decay; write quantile: 50% beside it")
        if self.decay is not None and self.quantile is not None:
            raise ValueError("decay has no effect on a quantile; write window: 1m instead")

    def _check_numbers(self) -> None:
        for key in ("decay", "window"):
            value = getattr(self, key)
            if value is not None and not value > 0:
                raise ValueError(f"route {key} must be above 0, not {value!r}; write it like 10s")
        for key in ("output_tokens", "full_at"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"route {key} must be at least 1, not {value!r}")
        for key in ("quantile", "explore", "headroom"):
            value = getattr(self, key)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"route {key} is a share, 0% to 100%, not {value:g}; write it like 10%")
        if self.headroom == 1:
            raise ValueError("headroom of 100% leaves nothing to send with; write it like 10%")
        if self.bound is not None and self.bound < 1:
            raise ValueError(f"bound must be at least 1x, not {self.bound:g}; below, not all calls would fit anywhere")
        if self.weights and (min(self.weights.values()) < 0 or not any(self.weights.values())):
            raise ValueError("weights must not be negative, nor all 0; write weights: {openai: 3, azure: 1}")

    def _check_names(self) -> None:
        if self.to is not None and not self.to:
            raise ValueError(
                "to is empty; write to: [openai, azure] with names from providers, or leave it out for all"
            )
        grouped = [name for group in self.groups for name in group]
        for key, names in (("to", self.to or ()), ("groups", grouped)):
            for name in names:
                if list(names).count(name) > 1:
                    raise ValueError(f"route {key} names {name!r} twice")
        if self.groups and self.to is not None:
            raise ValueError("groups name the upstreams already; leave to: out")
        for key in ("weights", "models"):
            strange = [name for name in getattr(self, key) if self.to is not None and name not in self.to]
            if strange:
                raise ValueError(f"{key} names {strange[0]!r}, which is not in to: {', '.join(self.to or ())}")

    def start(self, run: Run) -> Handler:
        """Fresh state: calls under way, averages, and what is known of limits.

        Raises
        ------
        PolicyError
            If it names an upstream that is not configured.
        """
        for key in ("to", "weights", "models"):
            known_upstreams(run, getattr(self, key) or (), key)
        known_upstreams(run, (name for group in self.groups for name in group), "groups")
        return RouteHandler(self, run)
