"""What real people asked: a log of prompts, and the meanings of arrivals that ask what stands in it."""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import Problem, ScenarioError
from llmsim.luck import Luck
from llmsim.traffic.arrivals import BLOCK

if TYPE_CHECKING:
    from llmsim.traffic.spec import Topics

__all__ = ["Prompt", "PromptLog", "PromptMeanings", "prompt_log", "read_prompts"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TEXT = ("text", "prompt")
_LABEL = ("intent", "label", "category")
_NAMES = {"count": ("count",), "time_s": ("time_s",), "tenant": ("tenant",)}
_MOST_PROBLEMS = 20  #: shown of a file; more of them is the wrong file
_MOST_PROMPTS = 200_000  #: different ones: a brute-force look at each would take minutes a request beyond
_MOST_BLOCKS = 1024  #: that are kept, 8 kB each; older ones are drawn again
_CSV_FIELD_BYTES = 10_000_000


class Prompt(NamedTuple):
    """What an arrival asks."""

    answer: int  #: equal: one answer serves both; the number of its label, -1 if nobody said
    phrase: int  #: number of the text
    topic: int  #: the same

    @property
    def known(self) -> bool:
        """Whether it has a label."""
        return self.answer >= 0


@dataclass(frozen=True, eq=False)
class PromptLog:
    """Prompts that were asked.

    Parameters
    ----------
    name
        Of the file.
    texts
        Different texts, in the order in which they first stand there.
    labels
        Names of the intents; empty if the log has none.
    answer
        Number of each text's intent, -1 without; shape ``(texts,)``. Of a text with several, the first.
    count
        How often each was asked; shape ``(texts,)``.
    rows
        Which text each row has, by time if there are times, in the order of the file otherwise; shape ``(n,)``.
    tenants
        Of each row, or empty.
    counted
        Whether the log says how often something was asked, by a column.
    contradictions
        Texts that have two labels.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    answer: Ints
    count: Ints
    rows: Ints
    tenants: tuple[str, ...] = ()
    counted: bool = False
    contradictions: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def labelled(self) -> bool:
        """Whether all texts have an intent."""
        return bool(len(self.answer)) and bool((self.answer >= 0).all())


def _stop(path: Path, message: str, hint: str, line: int | None = None) -> NoReturn:
    raise ScenarioError([Problem(message, "", line, None, hint)], str(path))


def prompt_log(path: str | Path) -> PromptLog:
    """`read_prompts`, once for a file that does not change."""
    path = Path(path)
    try:
        status = path.stat()
    except OSError:
        return read_prompts(path)
    return _remembered(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=4)
def _remembered(path: Path, modified_ns: int, size: int) -> PromptLog:
    return read_prompts(path)


def read_prompts(path: str | Path, *, text: str = "", label: str = "") -> PromptLog:
    """Prompts from a CSV or JSONL file.

    Columns: ``text`` or ``prompt``; if known ``intent``, ``label`` or ``category``: prompts with the same one can be
    given the same answer; if known ``count`` (how often it was asked), ``time_s`` (rows are put in this order) and
    ``tenant``.

    Parameters
    ----------
    path
        The file.
    text, label
        Names of these columns, if they are others.

    Raises
    ------
    ScenarioError
        For a file that cannot be read or has bad rows, naming their lines.
    """
    path = Path(path)
    table = _Table(path, text, label)
    texts: dict[str, int] = {}
    labels: dict[str, int] = {}
    answer: list[int] = []
    rows, counts, times, tenants = [], [], [], []
    contradictions: set[int] = set()
    for row in table:
        number = texts.setdefault(row.text, len(texts))
        intent = labels.setdefault(row.label, len(labels)) if row.label else -1
        if number == len(answer):
            answer.append(intent)
        elif answer[number] < 0:
            answer[number] = intent
        elif intent >= 0 and answer[number] != intent:
            contradictions.add(number)
        rows.append(number)
        counts.append(row.times)
        times.append(row.time_s)
        tenants.append(row.tenant)
    table.report()
    if not rows:
        _stop(path, "there are no prompts in it", "Give a CSV or JSONL file with one prompt a row.")
    if len(texts) > _MOST_PROMPTS:
        _stop(path, f"{len(texts):,} different prompts are too many", f"Give at most {_MOST_PROMPTS:,}.")
    order = np.argsort(np.array(times), kind="stable") if table.has("time_s") else np.arange(len(rows))
    asked = np.bincount(np.array(rows), np.array(counts, dtype=np.float64), len(texts))
    return PromptLog(
        path.name,
        tuple(texts),
        tuple(labels),
        np.array(answer, dtype=np.int64),
        np.rint(asked).astype(np.int64),
        np.array(rows, dtype=np.int64)[order],
        tuple(tenants[at] for at in order.tolist()) if table.has("tenant") else (),
        table.has("count"),
        len(contradictions),
    )


class _Row(NamedTuple):
    text: str
    label: str
    times: int
    time_s: float
    tenant: str


class _Table:
    """Rows of a file, one by one; what is wrong with some is kept until all have been looked at."""

    def __init__(self, path: Path, text: str, label: str) -> None:
        self._path = path
        self._problems: list[Problem] = []
        self._bad = 0
        self._first = next(self._lines(), None)
        if self._first is None:
            _stop(path, "the file is empty", "Give a CSV or JSONL file with one prompt a row.")
        self._json = self._first[1].lstrip().startswith("{")
        written = list(self._object(*self._first) or ()) if self._json else next(csv.reader([self._first[1]]))
        plain = {_plain(name): name for name in written}
        wanted = {"text": (text,) if text else _TEXT, "label": (label,) if label else _LABEL, **_NAMES}
        self._column = {
            kind: next((plain[_plain(name)] for name in names if _plain(name) in plain), None)
            for kind, names in wanted.items()
        }
        have = f"there are {', '.join(written)}" if written else "there are none"
        if self._column["text"] is None:
            _stop(path, f"there is no column {text or 'text'}; {have}", "Name the column with the prompts text.", 1)
        if label and self._column["label"] is None:
            _stop(path, f"there is no column {label}; {have}", "Name the column with the intents.", 1)

    def has(self, kind: str) -> bool:
        """Whether there is such a column."""
        return self._column[kind] is not None

    def _lines(self, *, blank: bool = False) -> Iterator[tuple[int, str]]:
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                yield from ((number, line) for number, line in enumerate(file, 1) if blank or line.strip())
        except UnicodeDecodeError:
            _stop(self._path, "this is not text in UTF-8", "Give a CSV or JSONL file, unpacked.")
        except FileNotFoundError:
            _stop(self._path, "there is no such file", _near(self._path))
        except OSError as error:
            _stop(self._path, f"cannot be read: {error.strerror or error}", "Check the file.")

    def __iter__(self) -> Iterator[_Row]:
        for line, values in self._objects() if self._json else self._records():
            row = self._row(line, values)
            if row is not None:
                yield row

    def _objects(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        for number, line in self._lines():
            found = self._object(number, line)
            if found is not None:
                yield number, found

    def _object(self, number: int, line: str) -> dict[str, Any] | None:
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        self._wrong(number, "this line is no JSON object", 'Write one a line: {"text": "…", "intent": "…"}.')
        return None

    def _records(self) -> Iterator[tuple[int, Mapping[str, Any]]]:
        csv.field_size_limit(_CSV_FIELD_BYTES)
        line = 0
        first = self._first[0] if self._first is not None else 1

        def lines() -> Iterator[str]:
            nonlocal line
            for number, text in self._lines(blank=True):  # a prompt may have blank lines in it
                if number >= first:
                    line = number
                    yield text

        reader = csv.reader(lines(), strict=True)
        header = next(reader)
        try:
            for values in reader:
                if values and len(values) != len(header):
                    many = f"{len(values)} values for {len(header)} columns"
                    self._wrong(line, many, 'A prompt with a comma in it stands in quotes: "one, two".')
                elif values:
                    yield line, dict(zip(header, values, strict=True))
        except csv.Error as error:
            self._wrong(line, f"this is no CSV: {error}", 'A quote within quotes is doubled: "he said ""no""".')

    def _row(self, line: int, values: Mapping[str, Any]) -> _Row | None:
        found = {kind: values.get(name) if name is not None else None for kind, name in self._column.items()}
        text = found["text"]
        if not isinstance(text, str) or not text.strip():
            self._wrong(line, "there is no prompt", "Remove the line, or say what was asked.")
            return None
        count = _number(found["count"], 1.0)
        if not (count >= 1 and count == int(count)):
            self._wrong(line, f"count {found['count']!r} is no number of times", "Write a whole number from 1.")
            return None
        time_s = _number(found["time_s"], 0.0)
        if not math.isfinite(time_s) or (self.has("time_s") and found["time_s"] in (None, "")):
            self._wrong(line, f"time_s {found['time_s']!r} is no number of seconds", "Write a number, as 12.5.")
            return None
        label, tenant = (str(found[kind]) if found[kind] is not None else "" for kind in ("label", "tenant"))
        return _Row(text, label.strip(), int(count), time_s, tenant)

    def _wrong(self, line: int, message: str, hint: str) -> None:
        self._bad += 1
        if self._bad <= _MOST_PROBLEMS:
            self._problems.append(Problem(message, "", line, None, hint))

    def report(self) -> None:
        """Raise what was wrong."""
        if self._bad > len(self._problems):
            more = f"and {self._bad - len(self._problems)} more lines"
            self._problems.append(Problem(more, hint="Is this the right file?"))
        if self._problems:
            raise ScenarioError(self._problems, str(self._path))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", name.strip().lstrip("\ufeff").lower()).strip("_")


def _number(value: Any, missing: float) -> float:
    """A number, `missing` where there is none, NaN where there is something else (or infinity)."""
    if value is None or value == "":
        return missing
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) and not isinstance(value, bool) else math.nan


def _near(path: Path) -> str:
    from difflib import get_close_matches

    beside = [other.name for other in path.parent.glob("*")] if path.parent.is_dir() else []
    found = get_close_matches(path.name, beside, n=1)
    return f"Did you mean {path.parent / found[0]}?" if found else "Check the path."


class PromptMeanings:
    """What arrivals mean that ask what stands in a log; addressed, with the interface of `Meanings`.

    Parameters
    ----------
    topics
        With ``prompts``.
    luck
        Where the numbers come from.

    Notes
    -----
    With ``order: file`` row *i* is asked by arrival *i*, and the first again after the last, in every replication. Else
    arrivals draw their texts: by Zipf's law over an order that is random in each replication, or by count.
    """

    def __init__(self, topics: Topics, luck: Luck) -> None:
        assert topics.prompts is not None
        self.topics = topics
        self.log = prompt_log(topics.prompts)
        self._series = luck.series("workload.topic")
        self._in_turn = topics.order == "file"
        self._popularity = None if self._in_turn else _popularity(self.log, topics, luck)
        self._blocks: dict[int, Ints] = {}
        answer = self.log.answer.tolist()
        self._prompts = [Prompt(answer[number], number, number) for number in range(len(answer))]

    def texts(self, first: int) -> list[str]:
        """The words of a block of arrivals."""
        texts = self.log.texts
        return [texts[number] for number in self.block(first // BLOCK).tolist()]

    def tenants(self, first: int) -> list[str] | None:
        """Who asks them, if the log says so: only in turn, a text drawn by popularity is nobody's."""
        tenants = self.log.tenants
        if not tenants or not self._in_turn:
            return None
        return [tenants[index % len(tenants)] for index in range(first, first + BLOCK)]

    def __call__(self, index: int) -> Prompt:
        """What arrival `index` means."""
        return self._prompts[self.block(index // BLOCK).item(index % BLOCK)]

    def block(self, number: int) -> Ints:
        """Numbers of the texts that arrivals ``number * BLOCK`` and on ask, shape ``(BLOCK,)``."""
        found = self._blocks.get(number)
        if found is None:
            first = number * BLOCK
            if self._popularity is None:
                found = self.log.rows[np.arange(first, first + BLOCK) % len(self.log)]
            else:
                edges, ranked = self._popularity
                found = ranked[np.searchsorted(edges, self._series.array(first, BLOCK))]
            if len(self._blocks) >= _MOST_BLOCKS:
                del self._blocks[next(iter(self._blocks))]
            self._blocks[number] = found
        return found


def _popularity(log: PromptLog, topics: Topics, luck: Luck) -> tuple[Floats, Ints]:
    """Where in [0, 1] each text ends, and which texts these are."""
    many = len(log.texts)
    if topics.order == "count":
        mass, ranked = log.count.astype(np.float64), np.arange(many)
    else:
        ranked = np.argsort(luck.series("workload.prompts").array(0, -(-many // 4) * 4)[:many], kind="stable")
        mass = np.arange(1, many + 1, dtype=np.float64) ** -topics.zipf.s
    edges = np.cumsum(mass / mass.sum())
    edges[-1] = 1.0
    return edges, ranked
