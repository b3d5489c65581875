"""Shapes of the load that come from people's days, as frozen values: hours, weekends, crowds.

They multiply each other and the stages. ``base_rate`` is the mean over a whole day or week, so hours and weekends move
load around and add none; a flash crowd adds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from llmsim.units import RATIO, BadValue, Duration, Multiplier, PositiveDuration, Unit

__all__ = ["DAY_S", "WEEK_S", "Diurnal", "FlashCrowd", "HourOfDay", "Weekly", "seconds_of_week"]

Floats = NDArray[np.float64]

FORBID = {"extra": "forbid"}

HOUR_S, DAY_S, WEEK_S = 3600.0, 86400.0, 604800.0
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def _clock(text: str) -> float | None:
    hours, colon, minutes = text.removesuffix("h").partition(":")
    if not hours.isdigit() or len(hours) > 2 or (colon and (not minutes.isdigit() or len(minutes) != 2)):
        return None
    return int(hours) * HOUR_S + int(minutes or 0) * 60.0


#: Time of the day in seconds after midnight.
_HOUR = Unit("an hour of the day", ("14:30", "14h"), _clock, high=DAY_S, pattern=r"^\d{1,2}(:\d\d|h)$")
HourOfDay = Annotated[float, _HOUR]
_AMPLITUDE = replace(RATIO, examples=("50%", "0.5"))


@dataclass(frozen=True, kw_only=True)
class Diurnal:
    """The day: a wave, or a factor for every hour. Its mean over 24 hours is 1.

    Parameters
    ----------
    amplitude
        Of the wave: at the peak the rate is 1 + amplitude times the mean, twelve hours later 1 − amplitude.
        Published first harmonics: .07 to .23 for large services used all over the world, .52 for one of reasoning
        (ServeGen, arXiv 2505.09999).
    peak
        Hour of the day at which the wave is highest.
    hours
        Instead of a wave: 24 factors from midnight on, each met in the middle of its hour, straight lines between
        them. They are scaled to a mean of 1.
    """

    __pydantic_config__: ClassVar = FORBID

    amplitude: Annotated[float, _AMPLITUDE] = 0.0
    peak: HourOfDay = 15 * HOUR_S
    hours: tuple[Multiplier, ...] = ()

    def __post_init__(self) -> None:
        if self.hours and self.amplitude:
            raise BadValue("the day is a wave or a list of hours, not both; remove amplitude or hours", "hours")
        if self.hours and (len(self.hours) != 24 or not any(self.hours)):
            raise BadValue(
                f"a day has 24 hours, here are {len(self.hours)}; write one factor for each, not all of them 0", "hours"
            )
        if not self.hours and not self.amplitude:
            raise BadValue("nothing is said about the day; write {amplitude: 50%, peak: 15h}, or hours: [24 factors]")

    def knots(self) -> tuple[Floats, Floats]:
        """Seconds after midnight from 0 to 24 hours, and the factors there."""
        if self.hours:
            factors = np.array(self.hours) / np.mean(self.hours)
            midnight = (factors[0] + factors[-1]) / 2
            times = (np.arange(24) + 0.5) * HOUR_S
            return np.concatenate([[0.0], times, [DAY_S]]), np.concatenate([[midnight], factors, [midnight]])
        # Straight lines over a quarter of an hour: off the cosine by less than 0.06 % of the amplitude.
        times = np.linspace(0.0, DAY_S, 97)
        wave = np.cos((times - self.peak) * (2 * math.pi / DAY_S))
        return times, np.asarray(1 + self.amplitude * wave, dtype=np.float64)


@dataclass(frozen=True, kw_only=True)
class Weekly:
    """The week: quieter weekends, or a factor for every day. Its mean over the week is 1.

    Parameters
    ----------
    weekend
        Rate on Saturday and Sunday, relative to a working day.
    days
        Instead: 7 factors from Monday on, scaled to a mean of 1. One day turns into the next within an hour around
        midnight.
    """

    __pydantic_config__: ClassVar = FORBID

    weekend: Multiplier | None = None
    days: tuple[Multiplier, ...] = ()

    def __post_init__(self) -> None:
        if (self.weekend is None) == (not self.days):
            raise BadValue("the week is one of weekend and days; write {weekend: 0.4x}, or days: [7 factors]")
        if self.days and (len(self.days) != 7 or not any(self.days)):
            raise BadValue(
                f"a week has 7 days, here are {len(self.days)}; write one factor for each, not all of them 0", "days"
            )

    def knots(self) -> tuple[Floats, Floats]:
        """Seconds after Monday 0:00 from 0 to a week, and the factors there."""
        days = np.array(self.days if self.days else (*[1.0] * 5, self.weekend, self.weekend), dtype=np.float64)
        days /= days.mean()
        turn = HOUR_S / 2
        edges = np.arange(8) * DAY_S
        times = np.column_stack([edges[:-1] + turn, edges[1:] - turn]).ravel()
        monday = (days[0] + days[-1]) / 2
        factors = np.repeat(days, 2)
        return np.concatenate([[0.0], times, [WEEK_S]]), np.concatenate([[monday], factors, [monday]])


@dataclass(frozen=True, kw_only=True)
class FlashCrowd:
    """A crowd that comes at once and goes slowly: up in a straight line, then an exponential decay to 1x.

    Parameters
    ----------
    at
        When it begins, on the scenario's clock.
    rise
        Time to the peak.
    peak
        Rate at the peak, in multiples of what it would be without the crowd.
    hold
        How long it stays at the peak.
    decay
        Time in which what the crowd adds falls to 1/e.
    """

    __pydantic_config__: ClassVar = FORBID

    peak: Multiplier
    at: Duration = 0.0
    rise: Duration = 30.0
    hold: Duration = 0.0
    decay: PositiveDuration = 300.0

    def knots(self) -> tuple[Floats, Floats]:
        """Seconds on the scenario's clock, and the factors there; 1 before the first and after the last."""
        top = self.at + max(self.rise, 1e-3)  # no jump: factors are multiplied where all of them have one value
        # Steps of 0.05: straight lines are off the curve by 0.03 %. After 7 time constants less than 0.1 % is left.
        fade = np.arange(0.0, 7.0 + 1e-9, 0.05)
        times = np.concatenate([[self.at, top], top + self.hold + fade * self.decay])
        left = np.exp(-fade)
        left[-1] = 0.0
        return times, 1 + (self.peak - 1) * np.concatenate([[0.0, 1.0], left])


def seconds_of_week(text: str) -> float | None:
    """``"2026-11-23 08:00"`` or ``"monday 08:00"`` as seconds after Monday 0:00; None if it is neither.

    Examples
    --------
    >>> seconds_of_week("2026-11-24 01:00") == seconds_of_week("tue 01:00") == 25 * 3600
    True
    """
    from datetime import date

    day, _, hour = text.strip().casefold().replace("t", " ", text[:1].isdigit()).partition(" ")
    after_midnight = _clock(hour.strip() or "0")
    if after_midnight is None or after_midnight >= DAY_S:
        return None
    named = [number for number, name in enumerate(_DAYS) if len(day) >= 3 and name.startswith(day)]
    if named:
        return named[0] * DAY_S + after_midnight
    try:
        return date.fromisoformat(day).weekday() * DAY_S + after_midnight
    except ValueError:
        return None
