"""Finished replications in a file, one a line: what was killed goes on where it was.

A study is a pure function of what is asked and of what its replications say. So nothing else is kept: to resume is to
ask the same again and to find most of the answers here. Lines are written in the order of the tasks, whatever the
number of processes, so a study that was killed and resumed ends with the same bytes as one that was not.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import IO, Any

from llmsim.errors import LlmsimError

__all__ = ["Journal"]

_FORMAT = 1
_BEGIN = b'{"llmsim_study"'


class Journal:
    """Answers by key, in memory, and in a file if one is named.

    Parameters
    ----------
    place
        The file; None: memory only.
    asked
        What the study is of, for people and for equality: a file of another one is refused.
    """

    def __init__(self, place: Path | None, asked: dict[str, Any]) -> None:
        self.known: dict[str, list[Any]] = {}
        self.resumed = 0  #: answers that were in the file
        self.fresh = 0  #: answers that were added
        self._file: IO[bytes] | None = None
        if place is not None:
            self._open(place, {"llmsim_study": _FORMAT, **asked})

    def _open(self, place: Path, head: dict[str, Any]) -> None:
        try:
            file = place.open("a+b")
        except OSError as error:
            raise LlmsimError(f"{place} cannot be written: {error.strerror or error}") from None
        try:
            _lock(file, place)
            self._file = file
            self._begin(file, place, head)
        except LlmsimError:
            self._file = None
            file.close()
            raise

    def _begin(self, file: IO[bytes], place: Path, head: dict[str, Any]) -> None:
        file.seek(0)
        content = file.read()
        whole = content[: content.rfind(b"\n") + 1]  # a line that a kill cut off was not finished
        lines = whole.splitlines()
        if lines:
            self._read(lines, head, place)
            file.truncate(len(whole))
            return
        if not (content.startswith(_BEGIN) or _BEGIN.startswith(content)):
            raise LlmsimError(f"{place} is no study; name another file")
        file.truncate(0)
        self._write(head)

    def _read(self, lines: list[bytes], head: dict[str, Any], place: Path) -> None:
        try:
            first, *rows = [json.loads(line) for line in lines]
            was = first.pop("llmsim_study")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise LlmsimError(f"{place} is no study; name another file") from None
        now = json.loads(_text({key: value for key, value in head.items() if key != "llmsim_study"}))
        if was != _FORMAT or first != now:
            differ = sorted(key for key in {*first, *now} if first.get(key) != now.get(key))
            raise LlmsimError(
                f"{place} is a study of something else ({', '.join(differ) or 'another version'} differ): ask the same "
                "as then, or name another file"
            )
        for key, values in rows:
            self.known[key] = [_read(value) for value in values]
        self.resumed = len(self.known)

    @property
    def kept(self) -> bool:
        """Whether answers outlive this process."""
        return self._file is not None

    def add(self, key: str, values: list[Any]) -> None:
        """Keep an answer, on the disk too before this returns."""
        self.known[key] = values
        self.fresh += 1
        if self._file is not None:
            self._write([key, values])

    def _write(self, value: Any) -> None:
        assert self._file is not None
        self._file.write(_text(value).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _text(value: Any) -> str:
    return json.dumps(_told(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _told(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, dict):
        return {key: _told(one) for key, one in value.items()}
    return [_told(one) for one in value] if isinstance(value, list | tuple) else value


def _read(value: Any) -> Any:
    return float(value["float"]) if isinstance(value, dict) else value


def _lock(file: IO[bytes], place: Path) -> None:
    """One process at a time: two would write into each other's lines."""
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise LlmsimError(f"{place} is in use by another process; wait for it, or name another file") from None
