"""Turn away what matters least, before everything suffers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.algorithms.shedding import RecentMean, Shedding
from llmsim.constructors import checked_values
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.policies._line import turned_away
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import PositiveCount, PositiveDuration, Ratio

__all__ = ["LoadShedding", "ShedLevel"]


@checked_values
@dataclass(frozen=True, kw_only=True)
class ShedLevel:
    """A priority, and the utilisation above which it begins to be rejected."""

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    priority: int
    above: Ratio


@register("load_shedding")
@dataclass(frozen=True, kw_only=True)
class LoadShedding:
    """Above a utilisation, reject requests by priority: the least important first, the most important last.

    **Protects from** overload that would make all requests late: those that matter go on as if nothing were. The idea
    is Google's criticality (SRE book, "Handling Overload": a class is rejected only when all below it already are) and
    Netflix's prioritized load shedding (at the API gateway 2020, per service 2024).

    **Costs** the requests it rejects, some of which could have been served: below full utilisation by choice.

    **Makes things worse** when rejected callers retry at once and so make the load, or when everybody calls himself
    important: then it rejects at random. Give ``priority`` by route, in the gateway and not by the caller.

    Which request goes is its own luck: the chance grows from 0 where its priority begins to be rejected to 1 where the
    next does, without thresholds at which everything flips, and so without hysteresis.

    Parameters
    ----------
    levels
        Which priority begins to be rejected above which utilisation: ``[{priority: 0, above: 60%}, {priority: 10,
        above: 95%}]``. Where the next higher priority begins, all of it is rejected; at 100% all of the highest.
        Requests with a priority between two go with the lower. No default fits; the highest should begin close to 100%.
    at_once
        Calls under way that are full utilisation. At least one of `at_once` and `delay`; the busier one counts.
    delay
        Time to the first chunk that is full utilisation, as a mean of late: a queue at the upstream shows in it. Who
        gave up or failed without one counts with the time until then, if that is longer than the mean.
    window
        How late that is: samples lose weight by 1/e in it. Without any, what is known fades, so that some are let in to
        see. Shorter reacts faster and to chance; 10 s are Finagle's and this library's windows elsewhere.
    shared
        One count for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `Rejected` (without ``retry_after_s``: nobody knows when there will be less). Emits ``rejected`` (``reason``:
    ``shed``, ``priority``, ``utilisation``).

    Examples
    --------
    >>> levels = (ShedLevel(priority=0, above=0.6), ShedLevel(priority=10, above=0.95))
    >>> LoadShedding(at_once=100, levels=levels).window
    10.0
    >>> LoadShedding(levels=levels)
    Traceback (most recent call last):
    ValueError: load_shedding cannot tell how busy it is; write at_once: 100, delay: 2s, or both
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    levels: tuple[ShedLevel, ...]
    at_once: PositiveCount | None = None
    delay: PositiveDuration | None = None
    window: PositiveDuration = 10.0
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        if self.at_once is None and self.delay is None:
            raise ValueError("load_shedding cannot tell how busy it is; write at_once: 100, delay: 2s, or both")
        for word in ("at_once", "delay", "window"):
            value = getattr(self, word)
            if value is not None and not value > 0:
                raise ValueError(f"load_shedding {word} must be above 0, not {value!r}")
        if self.delay is None and self.window != 10.0:
            raise ValueError("window has no effect without delay; remove it, or write delay: 2s")
        object.__setattr__(self, "levels", tuple(self.levels))
        example = "[{priority: 0, above: 60%}, {priority: 10, above: 95%}]"
        if not self.levels:
            raise ValueError(f"levels is empty, so nothing would ever be rejected; write levels: {example}")
        last: ShedLevel | None = None
        for level in self.levels:
            if last is not None and not (last.priority < level.priority and last.above < level.above):
                raise ValueError(
                    f"priority {level.priority} above {level.above:.0%} comes after priority {last.priority} above "
                    f"{last.above:.0%}; both must rise from level to level, as in {example}"
                )
            if not 0 <= level.above < 1:
                raise ValueError(f"priority {level.priority} begins at {level.above:.0%}; write less than 100%")
            last = level

    def start(self, run: Run) -> Handler:
        """Fresh state: nothing under way."""
        return _LoadSheddingHandler(self, run)


class _LoadSheddingHandler:
    __slots__ = ("_at_once", "_delay", "_ended_", "_in_flight", "_now", "_recent", "_run", "_shedding")

    def __init__(self, spec: LoadShedding, run: Run) -> None:
        self._run = run
        self._now = run.now
        self._shedding = Shedding({level.priority: level.above for level in spec.levels})
        self._at_once = spec.at_once or float("inf")
        self._delay = spec.delay
        self._recent = RecentMean(spec.window)
        self._in_flight = 0
        self._ended_ = self._ended

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        began = self._now()
        utilisation = self._in_flight / self._at_once
        if self._delay is not None:
            utilisation = max(utilisation, self._recent.value(began) / self._delay)
        chance = self._shedding.chance(request.priority, utilisation)
        if chance > 0 and self._run.luck("shed", request) < chance:
            raise turned_away(
                self._run, request, "shed: too busy for its priority", "shed", 0.0,
                priority=request.priority, utilisation=round(utilisation, 4),
            )  # fmt: skip
        self._in_flight += 1
        try:
            response = await call_next(request)
        except BaseException:
            self._in_flight -= 1
            now = self._now()
            # It would have taken longer still; what failed sooner than others answer says nothing.
            if self._delay is not None and now - began > self._recent.value(now):
                self._recent.add(now - began, now)
            raise
        if self._delay is not None:
            now = self._now()
            self._recent.add(now - began, now)
        response.on_end(self._ended_)
        return response

    def _ended(self, outcome: Outcome, usage: Usage) -> None:
        self._in_flight -= 1
