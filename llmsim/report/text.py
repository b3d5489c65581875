"""A result as text, for terminals and logs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmsim.report.layout import common_reason, headline, key_numbers, provenance, series, slo_rows

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["columns", "to_text"]


def to_text(result: Result) -> str:
    """Verdict, SLO lines, what happened over time, why, and the key numbers."""
    blocks = [[headline(result), f"  {provenance(result)}"]]
    rows = slo_rows(result)
    if rows:
        table = columns([("", "SLO", "measured", "95 % interval", "verdict"), *(row[:5] for row in rows)])
        lines = [table[0]]
        for line, row in zip(table[1:], rows, strict=True):
            lines.append(line)
            if row[5]:
                lines.append(f"      {row[5]}")
        if common_reason(result):
            lines.append(f"  {common_reason(result)}")
        blocks.append(lines)
    if result.advice:
        blocks.append([f"  {'Why:' if number == 0 else '    '} {line}" for number, line in enumerate(result.advice)])
    blocks.append(columns([(one.label, one.bars, one.peak) for one in series(result)]))
    blocks.append(columns(key_numbers(result)))
    blocks.append([f"  Note: {note}" for note in result.notes])
    return "\n\n".join("\n".join(block) for block in blocks if block)


def columns(rows: Sequence[Sequence[str]], indent: str = "  ") -> list[str]:
    """Cells in columns as wide as their widest.

    Examples
    --------
    >>> columns([("a", "bc", "d"), ("abc", "d", "e")])
    ['  a    bc  d', '  abc  d   e']
    """
    if not rows:
        return []
    widths = [max(len(row[number]) for row in rows) for number in range(len(rows[0]))]
    return [
        (indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip()
        for row in rows
    ]
