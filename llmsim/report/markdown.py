"""A result as Markdown, for job summaries and pull requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmsim.report.layout import common_reason, headline, key_numbers, provenance, series, slo_rows

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["cell", "to_markdown"]


def to_markdown(result: Result) -> str:
    """Verdict, SLO lines, why, what happened over time, and the key numbers."""
    blocks = [f"### {cell(headline(result))}", cell(provenance(result))]
    rows = slo_rows(result)
    if rows:
        told = [(f"{mark} {verdict}", f"`{slo}`", *cells, reason) for mark, slo, *cells, verdict, reason in rows]
        blocks.append(_table(("verdict", "SLO", "measured", "95 % interval", ""), told))
    if common_reason(result):
        blocks.append(cell(common_reason(result)))
    if result.advice:
        blocks.append("**Why:**\n\n" + "\n".join(f"- {cell(line)}" for line in result.advice))
    bars = [(one.label, f"`{one.bars}`", one.peak) for one in series(result)]
    if bars:
        blocks.append(_table(("over time", "", ""), bars))
    blocks.append(_table(("", "per replication"), key_numbers(result)))
    blocks += [f"> {cell(note)}" for note in result.notes]
    return "\n\n".join(blocks) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: str) -> str:
    """Text that cannot end its cell, its line, or turn into a tag."""
    return (
        text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") if "`" not in text else text.replace("|", "¦")
    )
