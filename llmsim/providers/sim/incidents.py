"""Incidents by chance: when they begin, how long they last, whom they hit, as `Fault` values.

They belong to a *group* of providers (the models of one vendor): an incident of the group has a time, a duration and a
severity, and each provider of the group is hit by it or not. Groups have nothing to do with each other. Everything is
addressed by (seed, group, number of the incident), and whom it hits by the provider's name besides, so
that a longer run, another provider or another policy changes none of it.

Gaps are Weibull in *operational* time, which runs faster in the hours and on the days in which more begins and stands
almost still at weekends. The gaps in wall-clock time are still that Weibull, to a KS distance of .03.
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.luck import Luck, Series
from llmsim.providers.faults import Abort, Fault, Scale
from llmsim.providers.sim.incident_laws import ERROR_RATES, PARTIAL_WEIGHT, IncidentLaw, tilted
from llmsim.providers.sim.incidents_spec import Incidents, Maintenance

__all__ = ["Incident", "IncidentProcess", "incident_faults"]

Floats = NDArray[np.float64]

_BLOCK = 256  # incidents drawn at once
# The process begins this many mean gaps before the run, at a random point of one: at shape 0.6 the gap that the run
# begins in then has its stationary length (test_incidents).
_BEFORE = 50
_WEEK_S = 7 * 86400.0
# How slow a slow spell is: of 5,984 daily measurements of TTFT by thefastest.ai (2024), 7.3 % took more than 2x and
# 1.35 % more than 5x the median of their model: a Pareto tail from 2x with exponent ln(7.3/1.35)/ln(2.5).
_SLOW_FROM, _SLOW_TO, _SLOW_EXPONENT = 2.0, 10.0, 1.84


class Incident(NamedTuple):
    """One incident of a group, as those feel it whom it hits."""

    number: int
    start_s: float
    duration_s: float
    kind: Literal["outage", "partial", "slow", ""]
    error_rate: float
    latency: float

    @property
    def end_s(self) -> float:
        return self.start_s + self.duration_s


class _Clock:
    """Wall-clock time from operational time, seconds on the scenario's clock.

    Parameters
    ----------
    law
        For its hours and days.
    week_s
        Seconds since Monday 00:00 UTC at the scenario's 0; None: all hours are alike.
    """

    def __init__(self, law: IncidentLaw, week_s: float | None) -> None:
        self._week_s = week_s
        if week_s is None:
            return
        first, hours = law.peak_hours
        day = np.full(24, (1 - law.peak_share) / (24 - hours) if hours < 24 else 0.0)
        day[[(first + n) % 24 for n in range(hours)]] = law.peak_share / hours
        week = np.concatenate([day * (1 - law.weekend_share) / 5] * 5 + [day * law.weekend_share / 2] * 2)
        self._operational = np.concatenate([[0.0], np.cumsum(week)]) * _WEEK_S
        self._operational[-1] = _WEEK_S  # not a sum in another order
        self._wall = np.arange(169) * 3600.0

    def operational(self, wall_s: float) -> float:
        if self._week_s is None:
            return wall_s
        weeks, rest = divmod(wall_s + self._week_s, _WEEK_S)
        return weeks * _WEEK_S + float(np.interp(rest, self._wall, self._operational))

    def wall(self, operational_s: Floats) -> Floats:
        if self._week_s is None:
            return operational_s
        weeks = np.floor(operational_s / _WEEK_S) * _WEEK_S
        return np.asarray(
            weeks + np.interp(operational_s - weeks, self._operational, self._wall) - self._week_s, dtype=np.float64
        )


class IncidentProcess:
    """The incidents of one group, drawn as far as somebody looks.

    Parameters
    ----------
    spec
        With a law.
    luck, group
        Their address.
    week_s
        Seconds since Monday 00:00 UTC at the scenario's 0; None: hours and days do not matter.
    """

    def __init__(self, spec: Incidents, luck: Luck, group: str, *, week_s: float | None = None) -> None:
        law = spec.law
        assert law is not None, "only maintenance needs no process"
        self.spec, self.law = spec, law
        self._luck, self._group = luck, group
        self._clock = _Clock(law, week_s)
        self._gap, self._duration, self._kind, self._how = (
            self._series(what) for what in ("gap", "duration", "kind", "how")
        )
        phase = luck.uniform("incident.phase", "", group)
        self._drawn_to = self._clock.operational(0.0) - (_BEFORE + phase) * law.mean_gap_s
        self._drawn: list[Incident] = []
        # What each provider has as often as the law says, somebody in the group has 1/spread as often.
        self._edges = np.cumsum([law.outage / law.spread, law.partial / law.spread, law.slow])
        self._rates = np.array(ERROR_RATES), np.cumsum(tilted(ERROR_RATES, PARTIAL_WEIGHT))

    def _series(self, what: str) -> Series:
        return self._luck.series(f"incident.{what}", self._group, block=_BLOCK)

    def overlapping(self, start_s: float, end_s: float) -> list[Incident]:
        """Those that are not over at `start_s` and begin before `end_s`, felt ones and others, in order of time."""
        while not self._drawn or self._drawn[-1].start_s < end_s:
            self._draw()
        return [one for one in self._drawn if one.start_s < end_s and one.end_s > start_s]

    def hits(self, incident: Incident, provider: str) -> bool:
        """Whether `provider` is among those whom it hits."""
        if incident.kind in ("", "slow"):
            return incident.kind == "slow"
        number, spread = incident.number, self.law.spread
        return spread >= 1 or self._luck.uniform("incident.hit", f"{number}/0/0", self._group, provider) < spread

    def forced(self, start_s: float, end_s: float) -> Incident:
        """One that is felt, from the same law, that begins evenly between these times: number -1."""
        uniforms = self._luck.series("incident.forced", self._group, block=4).array(0, 4)
        when, duration, kind, how = (uniforms[n : n + 1] for n in range(4))
        shares = np.cumsum([self.law.outage, self.law.partial, self.law.slow])  # it hits whoever asks for it
        kinds = np.searchsorted(shares, kind * shares[-1], side="right")
        return self._incidents(-1, start_s + when * (end_s - start_s), duration, kinds, how)[0]

    def _draw(self) -> None:
        law, first = self.law, len(self._drawn)
        gaps = law.gap_scale_s * (-np.log1p(-self._gap.array(first, _BLOCK))) ** (1 / law.gap_shape)
        operational = self._drawn_to + np.cumsum(gaps)
        self._drawn_to = float(operational[-1])
        duration, kind, how = (one.array(first, _BLOCK) for one in (self._duration, self._kind, self._how))
        kinds = np.searchsorted(self._edges, kind, side="right")
        self._drawn += self._incidents(first, self._clock.wall(operational), duration, kinds, how)

    def _incidents(
        self, first: int, start_s: Floats, duration: Floats, kinds: NDArray[np.intp], how: Floats
    ) -> list[Incident]:
        """`duration` and `how` are uniforms."""
        law, spec = self.law, self.spec
        names: tuple[Literal["outage", "partial", "slow", ""], ...] = ("outage", "partial", "slow", "")
        duration_s = law.felt * law.duration.quantile(duration)
        values, cumulative = self._rates
        rates = values[np.minimum(np.searchsorted(cumulative, how), len(values) - 1)]
        if spec.error_rate is not None:
            rates = np.full_like(how, spec.error_rate)
        slow = np.minimum(_SLOW_FROM * (1 - how) ** (-1 / _SLOW_EXPONENT), _SLOW_TO)
        if spec.latency is not None:
            slow = np.full_like(how, spec.latency)
        columns = (column.tolist() for column in (start_s, duration_s, kinds, rates, slow))
        return [
            Incident(first + n, start, length, names[which], rate if which == 1 else 0.0, factor if which == 2 else 1.0)
            for n, (start, length, which, rate, factor) in enumerate(zip(*columns, strict=True))
        ]


def incident_faults(
    spec: Incidents,
    provider: str,
    group: str,
    luck: Luck,
    *,
    begin_s: float,
    duration_s: float,
    end_s: float,
    week_s: float | None = None,
) -> tuple[Fault, ...]:
    """What happens to one provider in one replication.

    Parameters
    ----------
    spec
        As the scenario says it.
    provider
        Whom the faults are to name.
    group
        Its ``incident_group``; its own name if it is in none. Providers of a group have one `spec` in common: their
        incidents are the same as far as their laws are.
    luck
        Of the replication.
    begin_s, duration_s, end_s
        The run on the scenario's clock: its beginning (minus warm-up), the end of measured arrivals, that of the drain.
    week_s
        Seconds since Monday 00:00 UTC at the scenario's 0, for hours and weekends; None: they do not matter.

    Returns
    -------
    tuple of Fault
        In order of time, names unique within the provider. What began before the run is cut to it.
    """
    faults = []
    if spec.law is not None:
        process = IncidentProcess(spec, luck, group, week_s=week_s)
        felt = [one for one in process.overlapping(begin_s, end_s) if process.hits(one, provider)]
        if spec.at_least_one and not any(0 <= one.start_s < duration_s for one in felt):
            felt = sorted([*felt, process.forced(0.0, duration_s)], key=lambda one: one.start_s)
        faults = [_fault(one, provider, spec, begin_s) for one in felt]
    for number, window in enumerate(spec.maintenance):
        faults += _maintenance(window, provider, number, begin_s, end_s)
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _fault(one: Incident, provider: str, spec: Incidents, begin_s: float) -> Fault:
    start_s = max(one.start_s, begin_s)
    what = {"outage": "outage", "partial": "partial outage", "slow": "slow spell"}[one.kind]
    return Fault(
        name=f"{provider} {what} {'by arrangement' if one.number < 0 else one.number}",
        provider=provider,
        at=start_s,
        duration=one.end_s - start_s,
        outage=one.kind == "outage",
        abort=Abort(status=spec.status, percentage=one.error_rate) if one.kind == "partial" else None,
        latency=Scale(multiplier=one.latency) if one.kind == "slow" else None,
    )


def _maintenance(window: Maintenance, provider: str, number: int, begin_s: float, end_s: float) -> list[Fault]:
    every = window.every if window.every is not None else math.inf
    if window.every is None:
        starts = [window.first]
    else:  # also back into the warm-up
        first = math.ceil((begin_s - window.duration - window.first) / every)
        starts = [window.first + n * every for n in range(first, math.ceil((end_s - window.first) / every))]
    return [
        Fault(
            name=f"{provider} maintenance {number}.{n}",
            provider=provider,
            at=max(start_s, begin_s),
            duration=start_s + window.duration - max(start_s, begin_s),
            outage=window.effect == "outage",
            latency=Scale(multiplier=window.latency) if window.effect == "slow" else None,
            capacity=Scale(multiplier=window.capacity) if window.effect == "reduced" else None,
        )
        for n, start_s in enumerate(starts)
        if start_s < end_s and start_s + window.duration > begin_s
    ]
