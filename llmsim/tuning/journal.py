"""Finished replications in a file, one a line: what was killed goes on where it was.

A tuning and a sweep are pure functions of what is asked and of what their replications say. So nothing else is kept: to
resume is to ask the same again and to find most of the answers here. A line is JSON, ``[checksum, key, answer]``, and
on the disk before the next one begins; one that was cut off, or does not check, is not there. The first says what is
asked.
"""

from __future__ import annotations

import json
import math
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from llmsim.errors import LlmsimError
from llmsim.tuning.asked import differing

__all__ = ["Journal"]

_FORMAT = 1
#: How studies and journals of sweeps began before they had one form.
_EARLIER = re.compile(rb'\{"llmsim_study":|[0-9a-f]{8} \{"format":')


class Journal:
    """Answers by key, in memory, and in a file if one is named.

    Parameters
    ----------
    place
        The file; None: memory only.
    what
        It is a journal of: ``study``, ``sweep``. A file of anything else is refused.
    asked
        As `llmsim.tuning.asked.asked` gives it: a file of another one is refused.

    Raises
    ------
    LlmsimError
        There is something else in that place, another process writes to it, or it cannot be written.
    """

    def __init__(self, place: Path | None, what: str, asked: Mapping[str, Any]) -> None:
        self.known: dict[str, Any] = {}
        self.resumed = 0  #: answers that were in the file
        self.fresh = 0  #: answers that were added
        self._place, self._what = place, what
        self._file: IO[bytes] | None = None
        if place is not None:
            self._file = _locked(place)
            try:
                self._begin(self._file, place, {"format": _FORMAT, **asked})
            except BaseException:
                self.close()
                raise

    def _begin(self, file: IO[bytes], place: Path, head: dict[str, Any]) -> None:
        first = _line(f"llmsim {self._what}", head)
        file.seek(0)
        content = file.read()
        lines = content.split(b"\n")[:-1]
        if lines:
            self._read(lines, _read(json.loads(first)[2]), place)
            file.truncate(sum(len(line) + 1 for line in lines))  # a line that a kill cut off was not finished
        elif first.startswith(content):  # nothing yet, or a first line that was cut off
            file.truncate(0)
            self._write(first)
        else:
            raise LlmsimError(self._other(place, content))

    def _read(self, lines: list[bytes], head: Any, place: Path) -> None:
        was, *answers = map(_checked, lines)
        if was is None or was[0] != f"llmsim {self._what}":
            raise LlmsimError(self._other(place, lines[0]))
        if was[1] != head:
            differ = differing(was[1], head) or "the format differs"
            raise LlmsimError(
                f"{place} is of another {self._what}: {differ}; name another file, or begin anew with: rm -f {place}"
            )
        for answer in answers:
            if answer is not None:
                self.known[answer[0]] = answer[1]
        self.resumed = len(self.known)

    def _other(self, place: Path, first: bytes) -> str:
        if _EARLIER.match(first):
            return (
                f"{place} was written by an earlier llmsim, in a form that this one does not read; name another file, "
                f"or begin anew with: rm -f {place}"
            )
        return f"{place} is no {self._what} of llmsim; name another file"

    @property
    def kept(self) -> bool:
        """Whether answers outlive this process."""
        return self._file is not None

    def add(self, key: str, answer: Any) -> None:
        """Keep an answer, on the disk too before this returns."""
        self.known[key] = answer
        self.fresh += 1
        if self._file is not None:
            self._write(_line(key, answer))

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        self._file.write(line)
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def remove(self) -> None:
        """The same, and take it away: something else has all of it."""
        if self._file is not None and self._place is not None:
            self._place.unlink(missing_ok=True)  # before it can be another's
        self.close()


def _line(key: str, answer: Any) -> bytes:
    told = json.dumps([key, _told(answer)], ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    return b'["%08x",%s\n' % (zlib.crc32(told), told[1:])


def _checked(line: bytes) -> tuple[str, Any] | None:
    """Key and answer of a line; None if it is not as it was written."""
    told = b"[" + line[12:]
    if not line.startswith(b'["%08x",' % zlib.crc32(told)):
        return None
    key, answer = json.loads(told)
    return key, _read(answer)


def _told(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if isinstance(value, dict):
        return {key: _told(one) for key, one in value.items()}
    return [_told(one) for one in value] if isinstance(value, list | tuple) else value


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return float(value["float"]) if value.keys() == {"float"} else {key: _read(one) for key, one in value.items()}
    return [_read(one) for one in value] if isinstance(value, list) else value


def _locked(place: Path) -> IO[bytes]:
    """The file, for one process at a time: two would write into each other's lines."""
    import fcntl

    while True:
        try:
            file = place.open("a+b")
        except OSError as error:
            raise LlmsimError(f"{place} cannot be written: {error.strerror or error}") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise LlmsimError(f"{place} is in use by another process; wait for it, or name another file") from None
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()  # whoever had it has just come to its end, and taken it away
