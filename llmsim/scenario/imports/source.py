"""A gateway's configuration file that knows what of it has been read, so that nothing is left out in silence.

Values are copied only where somebody asks for them by key: keys, addresses and headers never reach the output.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from llmsim.errors import Problem, ScenarioError
from llmsim.scenario.document import Document, Path, dotted
from llmsim.scenario.imports.plan import Note, NoteKind, Said
from llmsim.scenario.load import read_document

__all__ = ["Section", "SourceFile", "leftovers", "shown", "snake"]

_ENVIRONMENT = "os.environ/"
#: Keys whose values are secrets or addresses, in either spelling of words.
SECRET = re.compile(
    r"""(api|access|master|secret|salt|virtual|license|public|private|account)_?key|secret|passw|credential|authori
    |headers?$|(api|base|custom|redis|callback|webhook)_?(base|url|host|port|endpoint|version)|_url$|^url|_host$|_port$
    |(auth|access|session|bearer|ad|id)_?token|_arn$|organization|resource_?name|deployment_?id|tenant|client_id
    |(aws|azure|vertex|watsonx|workers|snowflake|google|redis)_""",
    re.IGNORECASE | re.VERBOSE,
)


def shown(text: object) -> str:
    """Words of a file as they may stand in a comment or a message: one line, printable, not long."""
    clean = "".join(c if c.isprintable() else " " for c in " ".join(str(text).split()))
    return clean if len(clean) <= 80 else clean[:77] + "..."


def snake(key: str) -> str:
    """``onStatusCodes`` as ``on_status_codes``."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).lower()


class SourceFile:
    """One file, what has been read of it, and what is to be said about it.

    Parameters
    ----------
    text
        YAML or JSON.
    source
        What messages call it.

    Raises
    ------
    ScenarioError
        If it is no mapping in YAML or JSON.
    """

    def __init__(self, text: str | bytes, source: str) -> None:
        if text.lstrip()[:1] in ("{", b"{"):  # JSON may be indented by tabs, YAML may not
            text = text.replace("\t", " ") if isinstance(text, str) else text.replace(b"\t", b" ")
        self.source = source
        self.document, unread = read_document(text, source, top_level_mapping=False)
        self.problems: list[Problem] = []
        self.notes: list[Note] = []
        self.asked: set[str] = set()  #: keys that somebody looked for, here or elsewhere
        self._read: set[Path] = set()
        if not isinstance(self.document.data, dict):
            what = "a list" if isinstance(self.document.data, list) else "no keys"
            hint = "Give LiteLLM's config.yaml (model_list: …) or a Portkey config (targets: …)."
            raise ScenarioError([Problem(f"the file holds {what}", "", 1, 1, hint)], source)
        for problem in unread:
            # Their message may show the value, and a date (api_version: 2024-10-21) is as good as any text here.
            if "is a date" not in problem.message:
                self.notes.append(Note("unknown key", problem.line, shown(problem.path), "cannot be read; left out"))

    @property
    def top(self) -> Section:
        """All of it."""
        return Section(self, ())

    def line(self, path: Path) -> int | None:
        """Where a key stands."""
        place = self.document.places.get(path)
        return place.key.line if place else None

    def note(self, kind: NoteKind, path: Path, text: str) -> None:
        """Say something about what stands at `path`."""
        self.notes.append(Note(kind, self.line(path), shown(dotted(path)), text))

    def problem(self, path: Path, message: str, hint: str) -> None:
        """Something makes the file unreadable for whoever wrote it."""
        self.problems.append(self.document.problem(path, message, hint, at_key=True))

    def check(self) -> None:
        """Raise if there were problems.

        Raises
        ------
        ScenarioError
            With all of them.
        """
        if self.problems:
            raise ScenarioError(sorted(dict.fromkeys(self.problems), key=lambda p: p.line or 0), self.source)

    def mark(self, path: Path, *, whole: bool = False) -> None:
        """Remember that a key has been read (`whole`: with all that stands below it)."""
        self._read.add(path)
        if whole:
            self._read.update(place for place in self.document.places if place[: len(path)] == path)

    def unread(self) -> Iterator[Path]:
        """What nobody has read: the topmost keys of it."""
        yield from _unread(self.document, (), self.document.data, self._read)


def _unread(document: Document, path: Path, value: Any, read: set[Path]) -> Iterator[Path]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        below = (*path, key)
        if below in read or isinstance(key, int):
            yield from _unread(document, below, inner, read)
        else:
            yield below


class Section:
    """A mapping of the file; keys may be written in snake_case or camelCase.

    Parameters
    ----------
    file
        What it is of.
    path
        Where it stands. Where nothing is there it is an empty mapping.
    """

    def __init__(self, file: SourceFile, path: Path) -> None:
        self.file = file
        self.path = path
        value = file.document.get(path) if path else file.document.data
        self._data: dict[str, Any] = value if isinstance(value, dict) else {}
        self._keys = {snake(key): key for key in self._data}
        if path:
            file.mark(path)
        if value is not None and not isinstance(value, dict):
            file.problem(path, "this takes keys with values", f"Write {dotted(path)}: {{key: value}}.")

    def __bool__(self) -> bool:
        return bool(self._data)

    def __contains__(self, key: str) -> bool:
        self.file.asked.add(key)
        return self._data.get(self._keys.get(key, key)) is not None

    @property
    def keys(self) -> list[str]:
        """As they are written."""
        return list(self._data)

    def at(self, key: str) -> Path:
        """The path of a key."""
        return (*self.path, self._keys.get(key, key))

    def get(self, key: str) -> Any:
        """The value of a key as it is, None where there is none."""
        self.file.mark(self.at(key))
        self.file.asked.add(key)
        return self._data.get(self._keys.get(key, key))

    def peek(self, key: str) -> str:
        """The text at a key that is only looked at: it counts as not read, and is listed."""
        value = self._data.get(self._keys.get(key, key))
        return value if isinstance(value, str) else ""

    def why(self, key: str) -> str:
        """``line 12: router_settings.num_retries``."""
        at = self.at(key)
        return f"line {self.file.line(at)}: {shown(dotted(at))}"

    def said(self, key: str, value: Any) -> Said:
        """A setting that comes from a key of this section."""
        return Said(value, self.why(key))

    def number(self, key: str, *, low: float = 0.0, whole: bool = False) -> float | None:
        """The number at `key`; a problem where there is something else."""
        value = self.get(key)
        if value is None:
            return None
        if isinstance(value, str) and value.startswith(_ENVIRONMENT):
            self.note("not expressed", key, "its value is in the environment, where it is not looked for")
            return None
        number = _number(value)
        if number is None or number < low or (whole and number != int(number)):
            bound = f"of at least {low:g}" if low else "that is not negative"
            example = "3" if whole else "30"
            kind = "a whole number" if whole else "a number"
            self.file.problem(self.at(key), f"needs {kind} {bound}", f"Write {key}: {example}.")
            return None
        return number

    def flag(self, key: str) -> bool | None:
        """True or false at `key`."""
        value = self.get(key)
        if value is None or isinstance(value, bool):
            return value
        if str(value).lower() in ("true", "false"):
            return str(value).lower() == "true"
        self.file.problem(self.at(key), "needs true or false", f"Write {key}: true.")
        return None

    def text(self, key: str) -> str | None:
        """The text at `key`; None where it is in the environment."""
        value = self.get(key)
        if value is None or isinstance(value, dict | list):
            if value is not None:
                self.file.problem(self.at(key), "needs a text", f"Write {key}: name.")
            return None
        text = str(value)
        if text.startswith(_ENVIRONMENT):
            self.note("not expressed", key, "its value is in the environment, where it is not looked for")
            return None
        return text

    def numbers(self, key: str) -> list[int]:
        """A list of whole numbers at `key`, [] where there is none."""
        value = self.get(key)
        self.file.mark(self.at(key), whole=True)
        if value is None:
            return []
        found = [_number(item) for item in value] if isinstance(value, list) else [None]
        if any(number is None for number in found):
            self.file.problem(self.at(key), "needs a list of numbers", f"Write {key}: [429, 503].")
            return []
        return [int(number) for number in found if number is not None]

    def sub(self, key: str) -> Section:
        """The mapping at `key`."""
        return Section(self.file, self.at(key))

    def subs(self, key: str) -> list[Section]:
        """The mappings of the list at `key`."""
        value = self.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.file.problem(self.at(key), "needs a list", f"Begin each entry of {key}: in a line of its own with -.")
            return []
        return [Section(self.file, (*self.at(key), index)) for index in range(len(value))]

    def idle(self, keys: tuple[str, ...], text: str) -> None:
        """Say of those of these keys that are there why they change nothing."""
        for key in keys:
            if key in self:
                self.note("not copied", key, text)

    def note(self, kind: NoteKind, key: str, text: str) -> None:
        """Say something about a key of this section."""
        self.file.mark(self.at(key), whole=True)
        self.file.note(kind, self.at(key), text)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(str(value).replace("_", ""))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def leftovers(
    file: SourceFile, reason: Callable[[Path], tuple[NoteKind, str] | None], known: Iterable[str] = ()
) -> None:
    """A note for everything that was not read.

    Parameters
    ----------
    reason
        Kind and text for a path, or None for a key that is not known at all. Paths of one text share a note.
    known
        Keys that may have been meant, besides those that are read.
    """
    together: dict[tuple[NoteKind, str], list[Path]] = {}
    for path in file.unread():
        name = str(path[-1])
        if SECRET.search(snake(name)):
            found: tuple[NoteKind, str] | None = ("not copied", "keys, addresses and headers are not copied")
        else:
            found = reason(path)
        if found is None:
            near = get_close_matches(snake(name), sorted({*file.asked, *known}), n=1)
            hint = f". Did you mean {near[0]}?" if near else ""
            file.note("unknown key", path, f"this importer does not know it; left out{hint}")
        else:
            together.setdefault(found, []).append(path)
    for (kind, text), paths in together.items():
        lines: dict[str, list[str]] = {}
        for path in paths:
            lines.setdefault(shown(path[-1]), []).append(str(file.line(path)))
        names = [
            name if len(lines) == len(own) == 1 else f"{name} ({', '.join(dict.fromkeys(own))})"
            for name, own in lines.items()
        ]
        file.notes.append(Note(kind, file.line(paths[0]), ", ".join(names), text))
