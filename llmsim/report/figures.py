"""Numbers as a person reads them. Missing is a dash, never a 0."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.providers.faults import Fault

__all__ = ["clock", "count", "figure", "share", "span", "sparkline", "usd"]

MISSING = "–"

_BARS = "▁▂▃▄▅▆▇█"


def figure(value: float, unit: str) -> str:
    """A value of a metric with its unit.

    Examples
    --------
    >>> [figure(1.4321, "s"), figure(0.0123, "ratio"), figure(1.234, "factor"), figure(float("inf"), "s")]
    ['1.43s', '1.23 %', '1.23x', 'never']
    >>> [figure(4913, "count"), figure(0.00123, "usd"), figure(9.5, "per_s"), figure(float("nan"), "s")]
    ['4,913', '$0.00123', '9.5/s', '–']
    """
    if math.isnan(value):
        return MISSING
    if unit == "s":
        return format_duration(value)
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return {"ratio": share, "factor": _factor, "usd": usd, "per_s": _rate}.get(unit, count)(value)


def share(value: float) -> str:
    """A ratio in percent; what is not quite none or all never looks so.

    Examples
    --------
    >>> share(0.0), share(0.00001), share(0.005), share(0.61), share(0.99996), share(1.0)
    ('0 %', '<0.01 %', '0.5 %', '61 %', '>99.99 %', '100 %')
    """
    percent = value * 100
    if 0 < percent < 0.01:
        return "<0.01 %"
    if 99.99 < percent < 100:
        return ">99.99 %"
    return f"{percent:.3g} %" if percent < 99 else f"{percent:.2f} %".replace(".00", "")


def count(value: float) -> str:
    """A count; a mean of counts keeps a decimal where it matters."""
    if not math.isfinite(value):
        return MISSING if math.isnan(value) else "∞"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def usd(value: float) -> str:
    """Dollars with three digits that count.

    Examples
    --------
    >>> usd(0.0), usd(0.00123), usd(1.5), usd(1234.5), usd(-0.02)
    ('$0', '$0.00123', '$1.50', '$1,234.50', '-$0.02')
    """
    if not math.isfinite(value):
        return MISSING if math.isnan(value) else "∞"
    sign, size = ("-" if value < 0 else ""), abs(value)
    if size == 0:
        return "$0"
    if size >= 1:
        return f"{sign}${size:,.2f}"
    return f"{sign}${size:.{2 - math.floor(math.log10(size))}f}".rstrip("0")


def _factor(value: float) -> str:
    return f"{value:.3g}x"


def _rate(value: float) -> str:
    return f"{value:.3g}/s"


def span(fault: Fault) -> tuple[str, str, str]:
    """When a fault begins and ends, and, where it does so little by little, from and until when it is at its full.

    Examples
    --------
    >>> from llmsim.providers.faults import Abort, Fault
    >>> span(Fault(name="f", provider="a", at=60.0, duration=30.0, ramp_down=60.0, abort=Abort(status=503)))
    ('1:00', '2:30', ' (fades from 1:30)')
    >>> span(Fault(name="f", provider="a", at=60.0, ramp_up=60.0, abort=Abort(status=503)))
    ('1:00', 'the end', ' (grows until 2:00)')
    """
    ramps = [f"grows until {clock(fault.full_from_s)}"] if fault.ramp_up else []
    ramps += [f"fades from {clock(fault.full_until_s)}"] if fault.ramp_down else []
    until = clock(fault.end_s) if math.isfinite(fault.end_s) else "the end"
    return clock(fault.at), until, f" ({', '.join(ramps)})" if ramps else ""


def clock(seconds: float) -> str:
    """A time of the scenario, as on a stop watch.

    Examples
    --------
    >>> clock(130), clock(3725), clock(-5), clock(0)
    ('2:10', '1:02:05', '-0:05', '0:00')
    """
    sign, whole = ("-" if seconds < 0 else ""), round(abs(seconds))
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, whole % 60
    return f"{sign}{hours}:{minutes:02}:{rest:02}" if hours else f"{sign}{minutes}:{rest:02}"


def sparkline(values: Sequence[float], width: int = 48) -> str:
    """A series as a line of bars from 0 to its greatest value; gaps stay blank.

    Examples
    --------
    >>> sparkline([0, 1, 2, 4, 8, 4, float("nan"), 0])
    '▁▁▂▄█▄ ▁'
    """
    points = [float(value) for value in values]
    if len(points) > width:
        # The peak of each stretch: a spike must not be averaged away.
        edges = [round(number * len(points) / width) for number in range(width + 1)]
        points = [_peak(points[low:high]) for low, high in pairwise(edges)]
    finite = [value for value in points if math.isfinite(value)]
    top = max(finite, default=0.0)
    return "".join(_bar(value, top) for value in points)


def _peak(values: Sequence[float]) -> float:
    told = [value for value in values if not math.isnan(value)]
    return max(told) if told else math.nan


def _bar(value: float, top: float) -> str:
    if math.isnan(value):
        return " "
    if top <= 0 or value <= 0:
        return _BARS[0]
    return _BARS[-1] if math.isinf(value) else _BARS[min(7, int(value / top * 7.999))]
