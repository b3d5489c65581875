"""The pictures of a comparison in its page: as `llmsim.report.plots.reality` has them, as SVG."""

from __future__ import annotations

import numpy as np

from llmsim.report.figures import share
from llmsim.report.page_svg import Drawing
from llmsim.report.reality.curves import (
    LABELS,
    Axis,
    Sides,
    ecdf,
    ecdf_told,
    label_places,
    qq_told,
    quantiles,
    tolerance_of,
)
from llmsim.units import format_duration

__all__ = ["pictures"]

_WIDTH, _HEIGHT = 1120.0, 360.0
_TOP, _BOTTOM = 34.0, 300.0
_ECDF = (60.0, 570.0)  # px: where the axis of values lies
_QQ = (740.0, 740.0 + _BOTTOM - _TOP)  # beside it is room for what the band is


def pictures(sides: Sides, latency: str) -> str:
    """Distribution functions, and quantiles against quantiles beside them."""
    told = f"{ecdf_told(sides, latency)} {qq_told(sides, latency)}"
    drawing = Drawing(f"picture-{latency}", _WIDTH, _HEIGHT, f"{LABELS[latency]}, {' and '.join(sides.names)}", told)
    _ecdf(drawing, sides, latency)
    _qq(drawing, sides, latency)
    return drawing.svg()


def _ecdf(drawing: Drawing, sides: Sides, latency: str) -> None:
    both = sides.of(latency, answered=False)
    axis, (left, right) = Axis.of(*both), _ECDF
    labels = label_places(both, axis)
    drawing.text(0, _TOP - 16, f"Share of requests whose {LABELS[latency]} was no longer", look="head")
    drawing.levels(left, right, _TOP, _BOTTOM, 1.0, share)
    _marks(drawing, axis, left, right)
    scale = ", log scale" if axis.log else ""
    drawing.text((left + right) / 2, _BOTTOM + 38, f"{LABELS[latency]}{scale}", anchor="middle", look="small")
    for number, (name, values) in enumerate(zip(sides.names, both, strict=True)):
        xs, ys = ecdf(values)
        points, level = [(left + (right - left) * max(axis.place(float(xs[0])), 0.0), _BOTTOM)], 0.0
        for x, y in zip(xs, ys, strict=True):
            at = left + (right - left) * axis.place(float(x))
            points += [(at, _y(level)), (at, _y(float(y)))]
            level = float(y)
        drawing.path([*points, (right, _y(level))], look=f"line{number}")
        value, at, side = labels[number]
        x = left + (right - left) * axis.place(value)
        drawing.text(x + 8 * side, _y(at) + 4, name, anchor="start" if side > 0 else "end")
        if level < 1:
            drawing.text(right + 8, _y(level) + 4 + 14 * number, f"{name}: {share(1 - level)} never", look="small")


def _y(level: float) -> float:
    return _BOTTOM - (_BOTTOM - _TOP) * level


def _qq(drawing: Drawing, sides: Sides, latency: str) -> None:
    one, other = quantiles(*sides.of(latency, answered=True))
    axis, band, (left, right) = Axis.of(one, other), tolerance_of(sides, latency), _QQ
    drawing.text(left - 50, _TOP - 16, "Quantiles, of answered requests", look="head")
    line = np.geomspace(axis.low, axis.high, 60) if axis.log else np.linspace(axis.low, axis.high, 60)

    def at(x: float, y: float) -> tuple[float, float]:
        inside = min(max(axis.place(y) if y > 0 or not axis.log else 0.0, 0.0), 1.0)
        return left + (right - left) * axis.place(x), _y(inside)

    low, high = ([at(float(x), float(x) * by) for x in line] for by in (1 - band, 1 + band))
    drawing.path([*low, *reversed(high)], look="thinband", closed=True)
    drawing.path([at(float(x), float(x)) for x in line], look="axis")
    _marks(drawing, axis, left, right)
    for mark in axis.marks:
        drawing.text(left - 8, _y(axis.place(mark)) + 4, _value(mark), anchor="end", look="small")
    for x, y in zip(other, one, strict=True):
        cx, cy = at(float(x), float(y))
        drawing.shape("M-2.5 0A2.5 2.5 0 1 0 2.5 0A2.5 2.5 0 1 0 -2.5 0", x=cx, y=cy, look="dot")
    drawing.text(right + 8, _TOP + 10, f"band: ±{share(band)}", look="small")
    drawing.text(right + 8, _TOP + 26, f"up: {sides.names[0]}", look="small")
    scale = ", log scales" if axis.log else ""
    drawing.text((left + right) / 2, _BOTTOM + 38, f"{sides.names[1]}{scale}", anchor="middle", look="small")


def _marks(drawing: Drawing, axis: Axis, left: float, right: float) -> None:
    drawing.line(left, _BOTTOM, right, _BOTTOM, "axis")
    for mark in axis.marks:
        x = left + (right - left) * axis.place(mark)
        drawing.line(x, _BOTTOM, x, _BOTTOM + 4, "axis")
        drawing.text(x, _BOTTOM + 18, _value(mark), anchor="middle", look="small")


def _value(mark: float) -> str:
    return format_duration(mark) if mark else "0"
