"""Figures that show themselves in notebooks with alt text, and colours that hold on white, on black and in print."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MultipleLocator

from llmsim.report.colours import CLASS_STYLE, KEY_STYLE, LOAD, PART_STYLE
from llmsim.report.figures import clock

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CLASS_STYLE",
    "INK",
    "KEY_STYLE",
    "LINES",
    "LOAD",
    "MUTED",
    "PART_STYLE",
    "Picture",
    "bare",
    "height_of",
    "ink_on",
    "is_small",
    "key",
    "say",
    "side_size",
    "time_axis",
    "width_of",
    "words",
]

#: Text and axes: 4.5 to 1 against white and 4.2 to 1 against JupyterLab's dark #111, on a transparent ground.
INK = "#777777"
MUTED = "#999999"

_LETTER_IN = 0.07  # along text of 9 points; measured 0.069 of names of providers
_SMALL_IN = 4.5  # two beside each other in a figure as wide as a notebook have less

#: Lines that are told apart without colour.
LINES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (5, 1.5, 1, 1.5)))

_RC: Any = {
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "font.size": 9,
}


class Picture(Figure):
    """A figure made without pyplot: nothing to close, no backend needed, shown by a notebook as PNG with alt text.

    Attributes
    ----------
    alt
        What it shows, in words.
    """

    alt: str = ""

    def png(self, dpi: float = 110) -> bytes:
        """The picture on a transparent ground; equal for equal results."""
        buffer = BytesIO()
        with style():
            self.savefig(buffer, format="png", dpi=dpi, transparent=True, metadata={"Software": None})
        return buffer.getvalue()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        image = base64.b64encode(self.png()).decode()
        return {"image/png": image, "text/plain": self.alt}, {"image/png": {"alt": self.alt}}


def style() -> Any:
    """Our settings, for the length of a ``with`` and nowhere else."""
    return mpl.rc_context(_RC)


def bare(width: float, height: float) -> Picture:
    """An empty picture of that size in inches; call within `style`."""
    return Picture(figsize=(width, height), layout="constrained")


def width_of(ax: Axes) -> float:
    """Inches that a panel has across before words take their part."""
    figure = ax.get_figure(root=True)
    return 6.0 if figure is None else float(ax.get_position().width * figure.get_figwidth())


def height_of(ax: Axes) -> float:
    """Inches that a panel has from bottom to top before words take their part."""
    figure = ax.get_figure(root=True)
    return 2.0 if figure is None else float(ax.get_position().height * figure.get_figheight())


def is_small(ax: Axes) -> bool:
    """Whether a panel is one of several beside each other: then words beside it would leave nothing of it."""
    return width_of(ax) < _SMALL_IN


def key(ax: Axes, **options: Any) -> None:
    """A legend beside the panel; of a small one, in it."""
    if is_small(ax):
        ax.legend(**{**options, "loc": "best", "fontsize": 6, "handlelength": 1.4})
    else:
        ax.legend(**{"loc": "upper left", "bbox_to_anchor": (1.0, 1.04), **options})


def side_size(ax: Axes, name: str) -> float:
    """Points in which a name fits beside a panel, standing on its side; long ones would run into each other."""
    return float(min(9.0, max(4.0, 9.0 * height_of(ax) / (_LETTER_IN * (len(name) + 1)))))


def say(ax: Axes, text: str) -> None:
    """Words in place of data there is none of, and of marks for it."""
    ax.set_yticks([])
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=9)


def ink_on(colour: str) -> str:
    """Black or white, whichever has more contrast with a colour (WCAG 2's relative luminance).

    Examples
    --------
    >>> ink_on("#4477aa"), ink_on("#ccbb44"), ink_on("#88888833") == INK  # it lets the page through
    ('#ffffff', '#000000', True)
    """
    if len(colour) > 7:
        return INK
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return "#000000" if 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] > 0.179 else "#ffffff"


def words(name: str) -> str:
    """A name of code as words: ``half_open`` is half open."""
    return name.replace("_", " ")


def time_axis(ax: Axes, end_s: float) -> None:
    """Minutes and seconds, at round steps."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
    most = max(2, min(10, int(width_of(ax) / 0.6)))  # a time takes half an inch
    step = next((one for one in steps if end_s / one <= most), 86400 * max(1, round(end_s / 86400 / most)))
    ax.xaxis.set_major_locator(MultipleLocator(step))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
    ax.set_xlim(0, end_s)
