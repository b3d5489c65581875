"""What a comparison with a live run says, put together once for terminal, notebook and page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from llmsim.report.figures import figure, share
from llmsim.report.reality.rows import Line

__all__ = [
    "MARKS",
    "Table",
    "Told",
    "bursts_told",
    "error_told",
    "interval_told",
    "line_row",
    "listed",
    "needed_told",
    "signed",
    "to_text",
]

MARKS = {"good": "✓", "same": "✓", "better": "✓", "off": "✗", "worse": "✗", "changed": "·", "unsure": "?",
         "not seen": " ", "not judged": " "}  # fmt: skip


class Table(NamedTuple):
    """Rows of texts, the verdict first; columns from `numbers` on are numbers."""

    caption: str
    head: tuple[str, ...]
    rows: list[tuple[str, ...]]
    numbers: int = 2


class Told(NamedTuple):
    """Everything, the most important first."""

    title: str
    verdict: str
    glance: str  #: what was held together
    tables: list[Table]
    facts: list[str]
    notes: list[str]


def to_text(told: Told) -> str:
    """As a terminal shows it."""
    parts = [told.title, *(_table(one) for one in told.tables)]
    parts += ["\n".join(f"  {line}" for line in lines) for lines in (told.facts, told.notes) if lines]
    return "\n\n".join(parts)


def _table(table: Table) -> str:
    rows = [(MARKS.get(first, first), *rest) for first, *rest in table.rows]
    everything = [("", *table.head[1:]), *rows]
    widths = [max(len(row[column]) for row in everything) for column in range(len(table.head))]
    shown = []
    for row in everything:
        cells = [
            cell.ljust(width) if number < table.numbers or number == len(widths) - 1 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        shown.append(f"  {'  '.join(cells)}".rstrip())
    caption = [f"  {table.caption}"] if table.caption else []
    return "\n".join([*caption, *shown])


def line_row(line: Line, verdict: str = "") -> tuple[str, ...]:
    """Verdict, name, both values, error, interval, tolerance, and what an unsure line needs."""
    if math.isinf(line.tolerance):
        may = "not judged"
    else:
        may = f"±{share(line.tolerance)}" if line.relative else f"±{100 * line.tolerance:g} points"
    values = (figure(line.sim, line.unit), figure(line.live, line.unit))
    return (verdict or line.verdict, line.name, *values, error_told(line, line.error), interval_told(line), may,
            needed_told(line))  # fmt: skip


def error_told(line: Line, error: float) -> str:
    """An error of this line: in percent of what was live, or in points."""
    if math.isnan(error):
        return "–"
    if math.isinf(error):
        return "never" if error > 0 else "-∞"
    return signed(error) if line.relative else f"{_points(error)} points"


def interval_told(line: Line) -> str:
    """Its interval, or a dash."""
    if line.interval is None:
        return "–"
    if not line.relative:
        return f"{' to '.join(map(_points, line.interval))} points"
    return " to ".join(error_told(line, end) for end in line.interval)


def _points(error: float) -> str:
    return f"{100 * error:+.1f}".replace("-", "−").replace("+0.0", "0.0").replace("−0.0", "0.0")


def needed_told(line: Line) -> str:
    """How many pairs would probably decide a line that is unsure."""
    if line.verdict != "unsure":
        return ""
    if line.bursts is not None:
        return bursts_told(line.bursts)
    if line.interval is None:
        return f"needs {line.fewest:,} pairs"
    return "too near to be told" if line.needed is None else f"needs about {line.needed:,} pairs"


def bursts_told(bursts: tuple[int, int]) -> str:
    """How many bursts there are of how many that a tail takes."""
    there, takes = bursts
    return f"needs about {takes:,} bursts like these {there:,}"


def signed(error: float) -> str:
    """A relative error in percent."""
    if math.isnan(error):
        return "–"
    sign = "" if abs(error) < 1e-4 else "+" if error > 0 else "−"
    return f"{sign}{size(abs(error))}"


def size(error: float) -> str:
    """A relative error without its sign; unlike a share it may pass 100 %.

    Examples
    --------
    >>> size(0.0123), size(2.2946), size(45.67)
    ('1.23 %', '229 %', '4,567 %')
    """
    if error < 1e-9:  # of two equal numbers that were added up in another order
        return "0 %"
    return f"{100 * error:,.0f} %" if error >= 0.995 else share(error)


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    Examples
    --------
    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else "".join(names)
