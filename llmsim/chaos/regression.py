"""What a search found, as a scenario file that stays red until the gateway is mended."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING

from llmsim.chaos.schedules import entry_of
from llmsim.errors import LlmsimError, ScenarioError
from llmsim.scenario.document import Document
from llmsim.scenario.imports.splice import spliced
from llmsim.scenario.load import load_scenario, parse_scenario, read_document

if TYPE_CHECKING:
    from llmsim.chaos.found import Searched

__all__ = ["FOUND_BY", "regression", "save"]

FOUND_BY = "# Found by llmsim search"  #: how every such file begins, and which may be written over
_WIDTH = 116


def regression(found: Searched) -> str:
    """The text: the scenario's own, with the faults that were found, its seed and what breaks.

    Raises
    ------
    LlmsimError
        Nothing was found, or the scenario did not come from a file.
    """
    if not found.schedule:
        raise LlmsimError("nothing was found, so there is nothing to write")
    if found.source is None:
        raise LlmsimError("the scenario did not come from a file; .scenario of this result is it with the faults")
    text = found.source.read_text(encoding="utf-8-sig")
    source = str(found.source)
    document = read_document(text, source)[0]
    entries = [entry_of(entry) for entry in found.entries]
    sections: dict[str, str] = {
        "seed": "",
        "replications": "",
        "name": f"name: {json.dumps(found.name, ensure_ascii=False)}\n",
        "description": _folded("description", found.description),
        "faults": _faults(text, document, entries, instead=found.instead),
    }
    for key in ("seed", "replications"):
        value = getattr(found.scenario, key)
        if document.get((key,)) != value:
            # Where it has none, that goes to what it is called, and not to the end.
            sections[key if key in document.data else "description"] += f"{key}: {value}\n"
    if "expect" in document.data:
        sections["expect"] = "expect: {}  # red until the gateway is mended\n"
    try:
        return _head(found) + spliced(text, {key: one for key, one in sections.items() if one}, source)
    except ScenarioError as error:
        raise LlmsimError(f"the faults that were found cannot be written into {source}: {error}") from error


def _head(found: Searched) -> str:
    assert found.source is not None
    command = shlex.join(["llmsim", "search", found.source.name, *found.asked])
    again = f", as it can be again: {command}" if not found.partial else f", and interrupted: {command}"
    told = [f"{FOUND_BY} in {found.source.name}{again}"]
    if "--gateway" in found.asked:
        told.append(f"# It was {found.asked[found.asked.index('--gateway') + 1]} that broke; check it with --gateway.")
    return "\n".join(told) + "\n"


def _folded(key: str, text: str) -> str:
    return "\n".join([f"{key}: >-", *(f"  {line}" for line in wrap(text, _WIDTH, break_on_hyphens=False))]) + "\n"


def _faults(text: str, document: Document, entries: Sequence[str], *, instead: bool) -> str:
    """The section ``faults``: the scenario's own as they stand there, and the new ones after them."""
    new = [f"  - {entry}\n" for entry in entries]
    own = document.get(("faults",))
    if instead or not own:
        return "".join(["faults:\n", *new])
    begin, first = document.places["faults",].key.line, document.places["faults", 0].key
    if first.line == begin:  # in brackets, on the line of the key: there is nothing to add a line to
        return "".join(["faults:\n", *(f"  - {json.dumps(entry, ensure_ascii=False)}\n" for entry in own), *new])
    lines = text.splitlines()
    after = [place.key.line for path, place in document.places.items() if len(path) == 1 and place.key.line > begin]
    section = lines[begin - 1 : min(after, default=len(lines) + 1) - 1]
    while len(section) > 1 and (not section[-1].strip() or section[-1].startswith("#")):
        section.pop()
    indent = " " * (len(lines[first.line - 1]) - len(lines[first.line - 1].lstrip()))
    return "\n".join([*section, *(f"{indent}- {entry}" for entry in entries)]) + "\n"


def save(found: Searched, place: Path) -> Path:
    """Write it, and read it again: what stands there is what was judged.

    Raises
    ------
    LlmsimError
        It cannot be written, or would say something else there (files it names are relative to it).
    """
    text = regression(found)
    read = parse_scenario(text, str(place))
    wanted = dataclasses.replace(found.scenario, gateway=read.gateway, traffic=read.traffic)
    if read.faults != wanted.faults or (read.seed, read.replications) != (wanted.seed, wanted.replications):
        raise LlmsimError(f"{place}: the faults that were found read differently once written; nothing was")
    try:
        place.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise LlmsimError(f"--output {place}: cannot be written: {error.strerror or error}") from error
    try:
        load_scenario(place)
    except ScenarioError as error:
        raise LlmsimError(
            f"{place} was written, but cannot be run there (files it names are relative to it): {error}"
        ) from error
    return place
