"""Other values in the text of a scenario, and every byte around them as it was: comments, quotes, line breaks.

Where a value stands is known from reading it (`Document.places`), so nothing is written anew but the value itself.
What comes out is read again, and must be what was wanted.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from llmsim.errors import Problem, ScenarioError
from llmsim.scenario.document import Document, Path, Spot, dotted
from llmsim.scenario.load import read_document, read_value
from llmsim.scenario.overrides import change, resolve

__all__ = ["rewritten"]

_CLOSES = {"{": "}", "[": "]"}


class _Edit(NamedTuple):
    start: int  #: in characters from the beginning of the text
    end: int
    text: str


def rewritten(text: str, values: Mapping[str, str], without: Sequence[str] = (), source: str = "scenario") -> str:
    """The text of a scenario with these values at their paths, and without these policies.

    Parameters
    ----------
    text
        A scenario as YAML.
    values
        By path (see `llmsim.scenario.overrides`), as YAML: ``{"gateway.retry.max_attempts": "5"}``.
    without
        Paths of policies that are taken out; where each has lines of its own, these become comments.
    source
        What messages call the scenario.

    Raises
    ------
    ScenarioError
        For text that is no YAML, a path that leads nowhere, and a value that cannot be put in its place alone (it
        stands behind an alias, or in a preset).

    Examples
    --------
    >>> print(rewritten("traffic: {base_rate: 4/s}  # calm", {"traffic.base_rate": "9/s"}))
    traffic: {base_rate: 9/s}  # calm
    """
    document, problems = read_document(text, source)
    if problems:
        raise ScenarioError(problems, source)
    wanted = change(document, {path: read_value(value) for path, value in values.items()}).document.data
    gone = [resolve(document, path)[:3] for path in without]
    page = _Page(text, document)
    edits = [page.put(resolve(document, path), value) for path, value in values.items()]
    edits += page.take_out(gone)
    for path in sorted(gone, reverse=True):
        del wanted[path[0]][path[1]][path[2]]
    result = text
    for edit in sorted(edits, reverse=True):
        result = result[: edit.start] + edit.text + result[edit.end :]
    if not _says(result, wanted):
        raise page.refused((*values, *without))
    return result


def _says(text: str, wanted: Any) -> bool:
    try:
        return bool(read_document(text)[0].data == wanted)
    except ScenarioError:
        return False


class _Page:
    """A text and where everything stands in it."""

    def __init__(self, text: str, document: Document) -> None:
        self.text = text
        self.document = document
        self.lines = [0, *(found.end() for found in re.finditer(r"\r\n|\n|\r", text))]

    def refused(self, paths: Sequence[str]) -> ScenarioError:
        """For what cannot be written in its place."""
        hint = "Write it out in the file (an alias, a merge or a preset stands there), or set it when you run it."
        return ScenarioError(
            [Problem("cannot be written in its place", path, hint=hint) for path in paths], self.document.source
        )

    def at(self, spot: Spot) -> int:
        """How many characters are before a spot."""
        return self.lines[spot.line - 1] + spot.column - 1

    def start(self, path: Path) -> int:
        """Where the value at a path begins, behind its anchor if it has one."""
        at = self.at(self.document.places[path].value)
        found = re.compile(r"&\S+\s+").match(self.text, at)
        return at if found is None else found.end()

    def put(self, path: Path, value: str) -> _Edit:
        """What makes `value` stand at `path`."""
        if path in self.document.places:
            start = self.start(path)
            end = self._end(start, in_brackets=self._in_brackets(path))
            return _Edit(start, end, value if self.text[start - 1 : start] != ":" else f" {value}")
        near = next(path[:n] for n in range(len(path), -1, -1) if path[:n] in self.document.places)
        rest = path[len(near) :]
        if any(isinstance(part, int) for part in rest):
            raise self.refused([dotted(path)])
        start, here = self.start(near), self.document.get(near)
        if not isinstance(here, dict):  # a policy without settings
            end = self._end(start, in_brackets=self._in_brackets(near))
            return _Edit(start, end, f"{' ' if self.text[start - 1 : start] == ':' else ''}{_nested(rest, value)}")
        new = _nested(rest, value)[1:-1]
        if self.text[start] == "{":
            return _Edit(start + 1, start + 1, f"{new}, " if here else new)
        line = self.lines[self.document.places[near].value.line - 1]
        return _Edit(start, start, f"{new}\n{' ' * (start - line)}")

    def take_out(self, paths: Sequence[Path]) -> list[_Edit]:
        """What takes these entries out of their lists."""
        edits = []
        for scope in sorted({path[:-1] for path in paths}, key=str):
            entries = [path for path in paths if path[:-1] == scope]
            place, size = self.document.places.get(scope), len(self.document.get(scope) or ())
            if place is None:
                raise self.refused([dotted(path) for path in entries])
            start = self.start(scope)
            if self.text[start] == "[":
                edits += [self._without(path, last=path[-1] == size - 1) for path in entries]
                continue
            for path in entries:
                edits += self._as_comments(path)
            if len(entries) == size:
                colon = self.text.index(":", self.at(place.key)) + 1
                edits.append(_Edit(colon, colon, " []"))
        return edits

    def _without(self, path: Path, *, last: bool) -> _Edit:
        start = self.start(path)
        end = self._end(start, in_brackets=True)
        found = re.compile(r"\s*,\s*").match(self.text, end)
        if found is not None and not last:
            return _Edit(start, found.end(), "")
        return _Edit(start, end, "")  # YAML allows a comma before the bracket

    def _as_comments(self, path: Path) -> list[_Edit]:
        """Every line of a list item behind a ``#``."""
        number = self.document.places[path].key.line - 1
        dash = len(self._line(number)) - len(self._line(number).lstrip())
        edits = []
        while True:
            edits.append(_Edit(self.lines[number] + dash, self.lines[number] + dash, "# "))
            number += 1
            if number >= len(self.lines):
                return edits
            line = self._line(number)
            if not line.strip() or len(line) - len(line.lstrip()) <= dash:
                return edits

    def _line(self, number: int) -> str:
        end = self.lines[number + 1] if number + 1 < len(self.lines) else len(self.text)
        return self.text[self.lines[number] : end]

    def _in_brackets(self, path: Path) -> bool:
        starts = [self.start(path[:n]) for n in range(len(path))]
        return any(self.text[start : start + 1] in _CLOSES for start in starts)

    def _end(self, start: int, *, in_brackets: bool) -> int:
        """Where the value ends that starts here."""
        first = self.text[start : start + 1]
        if first in ("'", '"'):
            return _after_quote(self.text, start)
        if first in _CLOSES:
            return _after_bracket(self.text, start)
        stop = re.compile(r"\s+#|\s*[\r\n]|\s*[,\]}]|\s*$" if in_brackets else r"\s+#|\s*[\r\n]|\s*$")
        found = stop.search(self.text, start)
        return found.start() if found is not None else len(self.text)


def _nested(keys: Sequence[Any], value: str) -> str:
    for key in reversed(keys):
        value = f"{{{key}: {value}}}"
    return value


def _after_quote(text: str, start: int) -> int:
    quote = text[start]
    pattern = r"'(?:[^']|'')*'" if quote == "'" else r'"(?:[^"\\]|\\.)*"'
    found = re.compile(pattern, re.DOTALL).match(text, start)
    assert found is not None, "it was read as YAML"
    return found.end()


def _after_bracket(text: str, start: int) -> int:
    depth, at = 0, start
    while at < len(text):
        one = text[at]
        if one in "'\"" and text[at - 1] in " \t\n,[{:":
            at = _after_quote(text, at)
            continue
        if one == "#" and text[at - 1] in " \t\n":
            at = text.find("\n", at)
            continue
        depth += (one in _CLOSES) - (one in _CLOSES.values())
        at += 1
        if depth == 0:
            return at
    return len(text)
