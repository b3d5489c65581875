"""Results of a sweep on disk: kept one by one as they come, whatever ends the program, and a Parquet file at the end.

While a sweep runs, ``sweep.parquet.journal`` has a line for each finished run: a checksum and a JSON array, flushed to
the disk before the next one is counted. A line that was cut off has no good checksum and is not there. When all is
done the Parquet file takes the journal's place, in one rename; it says in its metadata which sweep it is of.
"""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import polars as pl

from llmsim import __version__
from llmsim.errors import LlmsimError
from llmsim.scenario.spec import Scenario
from llmsim.scenario.values import to_values
from llmsim.tuning.sweep_metrics import Measured
from llmsim.tuning.sweep_points import Point

__all__ = ["FORMAT", "Journal", "Row", "header_of"]

FORMAT = 1
_METADATA = "llmsim.sweep"
#: Of a scenario, what changes no run.
_BESIDE = ("name", "description", "replications", "expect", "seed")
#: What the parts of a header are called where they differ.
_WORDS = {
    "format": "the format",
    "version": "llmsim's version",
    "scenario": "the scenario",
    "seed": "the seed",
    "points": "what varies",
    "metrics": "what is measured",
}


class Row(NamedTuple):
    """What is kept of one run."""

    point: int
    replication: int
    values: tuple[float, ...]  #: of the metrics, in their order
    slo: tuple[float, ...]  #: of the SLO lines, in their order


def header_of(scenario: Scenario, points: Sequence[Point], metrics: Sequence[Measured]) -> dict[str, Any]:
    """What two sweeps must have in common for the results of one to be those of the other.

    Not among it are the number of replications, which can be raised later, and of processes.
    """
    values = {key: value for key, value in to_values(scenario).items() if key not in _BESIDE}
    return {
        "format": FORMAT,
        "version": __version__,
        "scenario": _digest([values, _files(scenario)]),
        "seed": scenario.seed,
        "points": _digest([one.settings for one in points]),
        "metrics": [one.name for one in metrics],
    }


def _digest(value: Any) -> str:
    text = json.dumps(value, default=_code, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _code(value: Any) -> Any:
    """Policies and gateways of one's own, by name and source text."""
    kind = value if inspect.isfunction(value) or inspect.isclass(value) else type(value)
    try:
        source = inspect.getsource(kind)
    except (OSError, TypeError):  # typed into a shell
        source = ""
    if value is kind:
        return [value.__name__, source]
    # Not where it lies in memory, which is another place next time.
    text: Any = type(value).__repr__
    settings = vars(value) if text is object.__repr__ and hasattr(value, "__dict__") else repr(value)
    return [kind.__name__, str(settings), source]


def _files(scenario: Scenario) -> list[str]:
    """Digests of the files that a scenario reads."""
    trace, topics = scenario.traffic.trace, scenario.traffic.topics
    names = [part.file for part in (trace, *trace.then)] if trace is not None else []
    names += [str(name) for name in (topics.prompts, topics.similarity) if name] if topics is not None else []
    return [hashlib.sha256(Path(name).read_bytes()).hexdigest() for name in names if Path(name).is_file()]


class Journal:
    """The results of a sweep in a file.

    Parameters
    ----------
    out
        The Parquet file that is to be; None: nothing is kept.
    header
        As `header_of` gives it.
    columns
        Of the metrics, in the Parquet file.

    Raises
    ------
    LlmsimError
        If there is something else in that place, or nothing can be written there.
    """

    def __init__(self, out: str | Path | None, header: Mapping[str, Any], columns: Sequence[str] = ()) -> None:
        self.out = Path(out) if out is not None else None
        self.header = dict(header)
        self.rows: dict[tuple[int, int], Row] = {}
        self._stored: frozenset[tuple[int, int]] = frozenset()  # what the Parquet file has
        self._file: BinaryIO | None = None
        if self.out is None:
            return
        if self.out.suffix != ".parquet":
            raise LlmsimError(f"out is {str(self.out)!r}; name a file that ends with .parquet")
        if not self.out.parent.is_dir():
            raise LlmsimError(f"out: there is no folder {self.out.parent}; make it, or name another file")
        if self.out.exists():
            self._take(_read_parquet(self.out, columns))
            self._stored = frozenset(self.rows)
        if self.path.exists():
            self._take(_read_journal(self.path))

    @property
    def path(self) -> Path:
        """Where results are kept until all are there."""
        assert self.out is not None
        return self.out.with_name(self.out.name + ".journal")

    @contextmanager
    def open(self) -> Iterator[None]:
        """Let results be kept; not by two programs at once."""
        if self.out is None:
            yield
            return
        try:
            self._file = self.path.open("ab")
        except OSError as error:
            raise LlmsimError(f"out: cannot write {self.path}: {error.strerror or error}") from None
        try:
            self._lock()
            self._mend()
            yield
        finally:
            self._file.close()
            self._file = None

    def _lock(self) -> None:
        assert self._file is not None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise LlmsimError(f"{self.path} is in use by another sweep; wait for it, or name another file") from None
        if not self.path.exists():  # that one has just come to its end
            raise LlmsimError(f"{self.out} was finished by another sweep just now; run this again")

    def _mend(self) -> None:
        """Begin with the header, and after a line that was cut off with a new one."""
        assert self._file is not None
        content = self.path.read_bytes()
        if not content or b"\n" not in content:  # nothing yet, or a header that was cut off
            self._file.truncate(0)
            self._write(self.header)
        elif not content.endswith(b"\n"):
            self._file.truncate(content.rindex(b"\n") + 1)

    def add(self, row: Row) -> None:
        """Keep a result; when this returns it is on the disk."""
        self.rows[row.point, row.replication] = row
        if self._file is not None:
            self._write(list(row))

    def _write(self, value: Any) -> None:
        assert self._file is not None
        text = json.dumps(value, separators=(",", ":")).encode()
        self._file.write(b"%08x %s\n" % (zlib.crc32(text), text))
        self._file.flush()
        os.fsync(self._file.fileno())

    def finish(self, table: pl.DataFrame) -> None:
        """Put the Parquet file in the journal's place, unless it has all of this already.

        Parameters
        ----------
        table
            A row for each run, with the columns of `Row` among its own.
        """
        if self.out is None:
            return
        wanted = set(zip(table["point"].to_list(), table["replication"].to_list(), strict=True))
        if not wanted <= self._stored:
            beside = self.out.with_name(self.out.name + ".part")
            metadata = {_METADATA: json.dumps(self.header)}
            table.rechunk().write_parquet(beside, compression="zstd", statistics=False, metadata=metadata)
            with beside.open("rb") as written:
                os.fsync(written.fileno())
            beside.replace(self.out)
            self._stored = frozenset(wanted)
        if self.rows.keys() <= self._stored:  # else it has what was asked for at another time
            self.path.unlink(missing_ok=True)

    def _take(self, found: tuple[Any, list[Row]] | None) -> None:
        if found is None:
            return
        header, rows = found
        if header != self.header:
            raise LlmsimError(
                f"{self.out} {self._other(header)}; name another file, or begin anew with: rm -f {self.out} {self.path}"
            )
        self.rows.update({(row.point, row.replication): row for row in rows})

    def _other(self, header: Any) -> str:
        if not isinstance(header, dict):
            return "is no sweep of llmsim"
        parts = [word for key, word in _WORDS.items() if header.get(key) != self.header[key]]
        return f"is of another sweep: {', '.join(parts)} differ{'s' if len(parts) == 1 else ''}"


def _read_journal(path: Path) -> tuple[Any, list[Row]] | None:
    """Header and rows; None where not even the header is whole."""
    lines = path.read_bytes().split(b"\n")[:-1]
    if not lines:
        return None
    header = _checked(lines[0])
    good = [line for line in map(_checked, lines[1:]) if line is not None]
    return header, [Row(point, number, tuple(values), tuple(slo)) for point, number, values, slo in good]


def _checked(line: bytes) -> Any:
    mark, _, text = line.partition(b" ")
    return json.loads(text) if mark == b"%08x" % zlib.crc32(text) else None


def _read_parquet(path: Path, columns: Sequence[str]) -> tuple[Any, list[Row]]:
    try:
        metadata = pl.read_parquet_metadata(path)
    except (pl.exceptions.PolarsError, OSError):
        return None, []
    if _METADATA not in metadata:
        return None, []
    header = json.loads(metadata[_METADATA])
    schema = pl.read_parquet_schema(path)
    if not {"point", "replication", "slo_values", *columns} <= schema.keys():
        return header, []  # of other metrics, which the header says
    table = pl.read_parquet(path)
    values = table.select(columns).rows() if columns else [()] * table.height
    runs = table.select("point", "replication", "slo_values").iter_rows()
    return header, [
        Row(point, number, tuple(row), tuple(slo)) for (point, number, slo), row in zip(runs, values, strict=True)
    ]
