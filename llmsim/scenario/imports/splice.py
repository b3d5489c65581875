"""Other sections in a scenario file, and every byte around them as it was.

A round trip through a YAML library keeps comments, but writes the rest anew: line breaks in long values, quotes,
indentation. Here nothing but the lines of the sections changes, and the file is read again before it is handed out.
"""

from __future__ import annotations

from collections.abc import Mapping

from llmsim.errors import Problem, ScenarioError
from llmsim.scenario.load import parse_scenario, read_document

__all__ = ["spliced"]


def spliced(text: str, sections: Mapping[str, str], source: str) -> str:
    """A scenario's text with these top-level sections in place of its own, or at its end where it has none.

    Parameters
    ----------
    text
        The scenario.
    sections
        Text by key, each beginning with ``key:`` and ending in a line break.
    source
        What messages call the scenario.

    Raises
    ------
    ScenarioError
        If it is no scenario in block style, or if it is wrong with the new sections (a fault or an SLO names a provider
        that is gone); lines are those of `text`.
    """
    line_end = "\r\n" if "\r\n" in text else "\n"
    sections = {key: section.replace("\n", line_end) for key, section in sections.items()}
    document, problems = read_document(text, source)
    if problems:
        raise ScenarioError(problems, source)
    lines = text.splitlines(keepends=True)
    starts = {str(key): document.places[(key,)].key for key in document.data}
    if any(spot.column != 1 for spot in starts.values()):
        hint = "Begin each of its top-level keys in a line of its own, at the left."
        raise ScenarioError(
            [Problem("the scenario is one bracket, in which no section can be replaced", "", 1, 1, hint)], source
        )
    marks = sorted(spot.line - 1 for spot in starts.values())
    origin: list[int | None] = []  # the old line of each new one
    out: list[str] = []
    owners = {spot.line - 1: key for key, spot in starts.items()}
    position = 0
    for begin, end in zip(marks, [*marks[1:], len(lines)], strict=True):
        out += lines[position:begin]
        origin += range(position, begin)
        position = begin
        if owners[begin] in sections:
            new = sections[owners[begin]].splitlines(keepends=True)
            out += new
            origin += [begin] * len(new)
            position = _end(lines, begin, end)
    out += lines[position:]
    origin += range(position, len(lines))
    if out and not out[-1].endswith("\n"):
        out[-1] += line_end
    for key, section in sections.items():
        if key not in starts:
            new = [line_end, *section.splitlines(keepends=True)]
            out += new
            origin += [None] * len(new)
    result = "".join(out)
    _check(result, origin, source)
    return result


def _end(lines: list[str], begin: int, end: int) -> int:
    """Where a section ends: comments at the left and empty lines before the next key belong to that."""
    while end > begin + 1 and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
        end -= 1
    return end


def _check(text: str, origin: list[int | None], source: str) -> None:
    try:
        parse_scenario(text, source)
    except ScenarioError as error:
        moved = []
        for problem in error.problems:
            old = origin[problem.line - 1] if problem.line is not None and problem.line <= len(origin) else None
            moved.append(problem._replace(line=None if old is None else old + 1))
        hint = "Nothing was written. Mend these in the scenario first, or import without --into."
        raise ScenarioError(
            [*moved, Problem("it would be wrong with the imported sections", hint=hint)], source
        ) from None
