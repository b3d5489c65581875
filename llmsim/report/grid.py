"""A table for people, as text, Markdown and HTML: words to the left, numbers to the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from llmsim.report.markdown import cell

__all__ = ["Grid"]


@dataclass(frozen=True)
class Grid:
    """A table that shows itself, in a notebook and elsewhere.

    Parameters
    ----------
    title
        What it is.
    head
        Column names.
    rows
        Cells, as many in each row as in `head`.
    words
        How many columns, from the left, hold words; the others hold numbers.
    notes
        Sentences below.

    Examples
    --------
    >>> print(Grid("Prices", ("what", "USD"), [("tea", "$2"), ("coffee", "$12")], 1, ("No VAT.",)))
    Prices
      what    USD
      tea      $2
      coffee  $12
    No VAT.
    """

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        table = [self.head, *self.rows]
        widths = [max(len(row[n]) for row in table) for n in range(len(self.head))]
        lines = []
        for row in table:
            cells = [
                text.ljust(width) if n < self.words else text.rjust(width)
                for n, (text, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append(("  " + "  ".join(cells)).rstrip())
        return "\n".join([self.title, *lines, *self.notes])

    __repr__ = __str__

    def _repr_markdown_(self) -> str:
        rule = ["---" if n < self.words else "---:" for n in range(len(self.head))]
        table = [self.head, rule, *self.rows]
        lines = ["| " + " | ".join(cell(text) for text in row) + " |" for row in table]
        return "\n\n".join([f"**{cell(self.title)}**", "\n".join(lines), *(cell(note) for note in self.notes)]) + "\n"

    def _repr_html_(self) -> str:
        # No colours and no styles, as in `llmsim.report.html`: a page inherits its own. Columns are told apart without.
        sides = ["left" if n < self.words else "right" for n in range(len(self.head))]

        def line(tag: str, row: Sequence[str]) -> str:
            cells = (
                f'<{tag} align="{side}" nowrap>{escape(text)}</{tag}>' for side, text in zip(sides, row, strict=True)
            )
            return f"<tr>{''.join(cells)}</tr>"

        body = "\n".join(line("td", row) for row in self.rows)
        notes = "".join(f"<p><small>{escape(note)}</small></p>" for note in self.notes)
        return (
            f'<div class="llmsim-table mathjax_ignore">\n<p><strong>{escape(self.title)}</strong></p>\n'
            '<table cellpadding="6">\n'
            f"<thead>{line('th', self.head)}</thead>\n<tbody>\n{body}\n</tbody></table>\n{notes}</div>\n"
        )
