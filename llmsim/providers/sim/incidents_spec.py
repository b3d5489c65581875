"""What a scenario says about the incidents of a provider, as frozen values."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from llmsim.distributions import DurationDistribution
from llmsim.providers.sim.incident_laws import PRESETS, IncidentLaw, PresetName
from llmsim.units import MULTIPLIER, Duration, Multiplier, PositiveDuration, Ratio, Unit

__all__ = ["Incidents", "Maintenance"]

FORBID: dict[str, Any] = {"extra": "forbid"}

_SHAPE = Unit("a Weibull shape", ("0.65", "1"), lambda text: None, bare=True, low=0.2, high=10.0)
Shape = Annotated[float, _SHAPE]
PositiveMultiplier = Annotated[float, dataclasses.replace(MULTIPLIER, above=True)]


@dataclass(frozen=True, kw_only=True)
class Maintenance:
    """A window that comes again and again, announced or not.

    Parameters
    ----------
    first, duration
        The first one, on the scenario's clock.
    every
        From the beginning of one to that of the next; None: only once.
    effect
        ``outage``: calls are refused. ``slow``: see `latency`. ``reduced``: see `capacity`.
    latency
        Multiplier of all latencies if it is ``slow``.
    capacity
        Share of the slots that is left if it is ``reduced``.
    """

    __pydantic_config__: ClassVar = FORBID

    first: Duration = 0.0
    duration: PositiveDuration
    every: PositiveDuration | None = None
    effect: Literal["outage", "slow", "reduced"] = "outage"
    latency: Multiplier = 2.0
    capacity: Ratio = 0.5

    def __post_init__(self) -> None:
        if self.every is not None and self.every < self.duration:
            raise ValueError(
                f"maintenance of {self.duration:g}s comes every {self.every:g}s; make `every` longer than `duration`"
            )


@dataclass(frozen=True, kw_only=True)
class Incidents:
    """Outages, brown-outs and slow spells by chance.

    Either a `preset`, the values of which can be overridden one by one, or at least `every`, `duration` and one of
    `outage`, `partial`, `slow`.

    Parameters
    ----------
    preset
        A published law.
    scale
        So many times more incidents per time.
    at_least_one
        If none that is felt begins while arrivals are measured (as in most runs of minutes), one drawn from the law
        begins at a random moment in it.
    every
        Mean time from the beginning of one incident to that of the next.
    shape
        Weibull shape of these times: 1 is Poisson, less comes in clusters (published: 0.6-0.8).
    duration
        For how long callers feel one.
    outage, partial, slow
        Shares of the incidents in which every call is refused; some are answered with errors; all are slow. The rest
        of them is not felt.
    error_rate
        Of partial outages; None: drawn from the rates that OpenAI's incident texts name, 30 % on average.
    status
        What those errors are.
    latency
        Multiplier in slow spells; None: drawn, 2x to 10x (see `llmsim.providers.sim.incidents`).
    spread
        How often an outage of one provider of an ``incident_group``, partial or not, is also one of another. A slow
        spell is common to all.
    maintenance
        Windows that are planned.
    """

    __pydantic_config__: ClassVar = FORBID

    preset: PresetName | None = None
    scale: PositiveMultiplier = 1.0
    at_least_one: bool = False
    every: PositiveDuration | None = None
    shape: Shape | None = None
    duration: DurationDistribution | None = None
    outage: Ratio | None = None
    partial: Ratio | None = None
    slow: Ratio | None = None
    error_rate: Ratio | None = None
    status: Literal[500, 502, 503, 504, 529] = 503
    latency: Multiplier | None = None
    spread: Ratio | None = None
    maintenance: tuple[Maintenance, ...] = ()

    def __post_init__(self) -> None:
        if self.preset is None:
            self._check_own()
        law = self.law
        if law is None:
            return
        total = law.outage + law.partial + law.slow
        if total > 1 + 1e-9:
            raise ValueError(f"outage, partial and slow are {total:.0%} of the incidents together; at most 100% can be")
        down = law.outage + law.partial
        least = down / (1 - law.slow) if down else 0.0
        if law.spread < least - 1e-9:
            raise ValueError(
                f"spread {law.spread:.0%} is too small: {down:.0%} of the incidents are outages of each provider of "
                f"the group, so they have more in common than that; write spread: {math.ceil(least * 100)}% or more"
            )

    def _check_own(self) -> None:
        shares = (self.outage, self.partial, self.slow)
        own = (self.every, self.duration, *shares)
        if own == (None,) * 5:
            if not self.maintenance or self.at_least_one:
                raise ValueError(f"incidents says nothing; write preset: {next(iter(PRESETS))}, or see `every`")
        elif self.every is None or self.duration is None or not any(shares):
            raise ValueError(
                "without a preset, incidents takes every, duration and one of outage, partial, slow; write it like "
                "{every: 12h, duration: 20m, partial: 100%}"
            )

    @property
    def law(self) -> IncidentLaw | None:
        """When, how long, and what; None if there is only maintenance."""
        if self.preset is None and self.every is None:
            return None
        base = IncidentLaw(gap_scale_s=1.0, gap_shape=1.0, duration=self.duration) if self.preset is None else None  # type: ignore[arg-type]  # checked above
        law = base or PRESETS[str(self.preset)]
        changes: dict[str, Any] = {
            name: value
            for name in ("outage", "partial", "slow", "spread")
            if (value := getattr(self, name)) is not None
        }
        if self.duration is not None:
            changes.update(duration=self.duration, felt=1.0)
        shape = self.shape if self.shape is not None else law.gap_shape
        mean_s = (self.every if self.every is not None else law.mean_gap_s) / self.scale
        changes.update(gap_shape=shape, gap_scale_s=mean_s / math.gamma(1 + 1 / shape))
        return dataclasses.replace(law, **changes)
