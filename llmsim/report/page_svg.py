"""Drawings as SVG that stands in a page: text stays text, colours follow light, dark and print, nothing is loaded."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from llmsim.report.colours import CLASS_STYLE, COST_STYLE, KEY_STYLE, PART_STYLE
from llmsim.report.figures import clock
from llmsim.units import format_duration

__all__ = ["Drawing", "fill_of", "patterns", "provider_style", "time_steps"]

#: Width of a letter as a share of its height: of DejaVu Sans, the widest of the fonts that `system-ui` may be.
_LETTER = 0.6
_TEXT = 12.0  # px, as in the style of the page

#: What the hatches of matplotlib look like in a tile of 8 by 8.
_HATCHES = {
    "/": '<path d="M-2 2 2 -2M0 8 8 0M6 10 10 6"/>',
    "\\": '<path d="M-2 6 2 10M0 0 8 8M6 -2 10 2"/>',
    "x": '<path d="M0 8 8 0M0 0 8 8"/>',
    "+": '<path d="M0 4H8M4 0V8"/>',
    ".": '<circle cx="2" cy="2" r=".7"/><circle cx="6" cy="6" r=".7"/>',
    "|": '<path d="M2 0V8M6 0V8"/>',
    "-": '<path d="M0 2H8M0 6H8"/>',
    "o": '<circle cx="4" cy="4" r="2"/>',
}
_STEPS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800)
_LONG_STEPS_S = (3600, 7200, 10800, 21600, 43200, 86400)


def fill_of(style: tuple[str, str]) -> str:
    """What to fill a shape with: the colour, or the pattern that `patterns` defines for it."""
    colour, hatch = style
    return f"url(#{_name(style)})" if hatch else colour


def _name(style: tuple[str, str]) -> str:
    return f"hatch-{style[0][1:]}-{ord(style[1][0])}-{len(style[1])}"


def provider_style(number: int) -> tuple[str, str]:
    """Colour and hatch of the provider that stands there in the scenario."""
    return KEY_STYLE[number % len(KEY_STYLE)]


def patterns() -> str:
    """The patterns of all hatched colours; one such drawing, which shows nothing, serves all others of a page."""
    styles = {*CLASS_STYLE.values(), *KEY_STYLE, *PART_STYLE.values(), *COST_STYLE.values()}
    tiles = "".join(
        f'<pattern id="{_name(one)}" width="8" height="8" patternUnits="userSpaceOnUse">'
        f'<rect width="8" height="8" fill="{one[0]}"/><g class="hatch">{_HATCHES[one[1][0]]}</g></pattern>'
        for one in sorted(styles)
        if one[1]
    )
    return f'<svg class="patterns" width="0" height="0" aria-hidden="true"><defs>{tiles}</defs></svg>'


def time_steps(end_s: float, most: int = 10) -> float:
    """A round distance between the marks of a time axis."""
    known = (*_STEPS_S, *_LONG_STEPS_S)
    return next((one for one in known if end_s / one <= most), 86400.0 * max(1, round(end_s / 864000)))


class Drawing:
    """Shapes in the order in which they lie on each other.

    Parameters
    ----------
    name
        Of the drawing, unlike any other's in the page.
    width, height
        Size in px at which text has the size of the page's.
    title, told
        What it is, and what it shows, in words, for those who do not see it.
    """

    def __init__(self, name: str, width: float, height: float, title: str, told: str) -> None:
        self._name, self.width, self.height = name, width, height
        self._title, self._told = title, told
        self._parts: list[str] = []

    def rect(
        self, x: float, y: float, width: float, height: float, *, fill: str = "", look: str = "", hint: str = ""
    ) -> None:
        """A box; `look` is a class of the page's style, `hint` is shown under the mouse."""
        inside = f"<title>{escape(hint)}</title>" if hint else ""
        self._parts.append(
            f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0.0))}" height="{_n(height)}"{_look(fill, look)}>'
            f"{inside}</rect>"
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, look: str) -> None:
        """A straight line."""
        self._parts.append(f'<path d="M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}"{_look("", look)}/>')

    def path(
        self, points: Sequence[tuple[float, float]], *, fill: str = "", look: str = "", closed: bool = False
    ) -> None:
        """A line through points; a NaN interrupts it."""
        told, pen = [], "M"
        for x, y in points:
            if math.isnan(y):
                pen = "M"
                continue
            told.append(f"{pen}{_n(x)} {_n(y)}")
            pen = "L"
        if told:
            self._parts.append(f'<path d="{"".join(told)}{"Z" if closed else ""}"{_look(fill, look)}/>')

    def shape(self, d: str, *, x: float, y: float, look: str, hint: str = "") -> None:
        """A path of one's own around a point."""
        inside = f"<title>{escape(hint)}</title>" if hint else ""
        self._parts.append(f'<path transform="translate({_n(x)} {_n(y)})" d="{d}"{_look("", look)}>{inside}</path>')

    def text(self, x: float, y: float, text: str, *, anchor: str = "start", look: str = "") -> None:
        """Words whose baseline begins (or, by `anchor`, has its middle or end) there."""
        at = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self._parts.append(f'<text x="{_n(x)}" y="{_n(y)}"{at}{_look("", look)}>{escape(text)}</text>')

    def time_axis(
        self, left: float, right: float, y: float, end_s: float, *, above: float, since: bool = False
    ) -> None:
        """Marks at round times, with lines up to `above`; minutes and seconds, or (`since`) what has passed."""
        step = time_steps(end_s)
        self.line(left, y, right, y, "axis")
        for number in range(math.floor(end_s / step + 1e-9) + 1):
            at = left + (right - left) * number * step / end_s
            self.line(at, above, at, y + 4, "grid")
            label = f"+{format_duration(number * step)}" if since else clock(number * step)
            self.text(at, y + 17, label, anchor="middle", look="small")

    def levels(
        self, left: float, right: float, top: float, bottom: float, highest: float, shown: Callable[[float], str]
    ) -> None:
        """Lines at round values from 0 up, and what they stand for."""
        power = 10.0 ** math.floor(math.log10(highest))
        step = next((power * one for one in (0.2, 0.25, 0.5, 1.0, 2.0) if highest / (power * one) <= 5), power * 2)
        for number in range(math.floor(highest / step + 1e-9) + 1):
            y = bottom - (bottom - top) * number * step / highest
            self.line(left, y, right, y, "grid")
            self.text(left - 8, y + 4, shown(number * step) if number else "0", anchor="end", look="small")

    def key(self, x: float, y: float, style: tuple[str, str], label: str) -> float:
        """A swatch and what it stands for; where the next has room."""
        self.rect(x, y - 9, 14, 10, fill=fill_of(style))
        self.text(x + 20, y, label, look="small")
        return x + 20 + self.width_of(label) + 18

    @staticmethod
    def width_of(text: str) -> float:
        """About as wide as the text gets, rather more."""
        return len(text) * _TEXT * _LETTER

    def svg(self) -> str:
        """The whole drawing."""
        name = self._name
        return (
            f'<svg class="drawing" viewBox="0 0 {_n(self.width)} {_n(self.height)}" role="img" '
            f'aria-labelledby="{name}-title {name}-told"><title id="{name}-title">{escape(self._title)}</title>'
            f'<desc id="{name}-told">{escape(self._told)}</desc>{"".join(self._parts)}</svg>'
        )


def _n(value: float) -> str:
    """A coordinate to a tenth of a px, without what says nothing."""
    return f"{value:.1f}".removesuffix(".0")


def _look(fill: str, look: str) -> str:
    return (f' fill="{fill}"' if fill else "") + (f' class="{look}"' if look else "")
