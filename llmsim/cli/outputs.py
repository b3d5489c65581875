"""Where results go: checked before a run that may take minutes, written after it."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from llmsim.cli.terminal import put
from llmsim.errors import LlmsimError
from llmsim.report.result import Result

__all__ = ["Outputs"]


class Outputs:
    """``--json`` and ``--out`` of one command.

    Parameters
    ----------
    files
        The scenario files.
    json_to
        A file name, ``-`` for standard output, or None.
    out
        Directory for tables, or None.

    Raises
    ------
    LlmsimError
        If it is clear already that nothing can be written there.
    """

    def __init__(self, files: Sequence[Path], json_to: str | None, out: Path | None) -> None:
        self._one = len(files) == 1
        self._json = json_to
        self._folders = [None] * len(files) if out is None else _folders(files, out)
        if json_to not in (None, "-"):
            assert json_to is not None
            place = Path(json_to)
            if place.is_dir():
                raise LlmsimError(f"--json {json_to}: this is a directory; name a file, or - for standard output")
            if not place.absolute().parent.is_dir():
                raise LlmsimError(f"--json {json_to}: there is no directory {place.parent}; make it first")
        for folder in self._folders:
            if folder is not None:
                _make(folder)

    def save(self, number: int, result: Result) -> Path | None:
        """Write the tables of file `number`; where they are.

        Raises
        ------
        LlmsimError
            If that fails.
        """
        folder = self._folders[number]
        if folder is None:
            return None
        try:
            return result.save(folder)
        except OSError as error:
            raise LlmsimError(f"--out: cannot write {error.filename or folder}: {error.strerror or error}") from error

    def write(self, pages: Sequence[dict[str, Any]]) -> None:
        """Write the JSON: an object for one file, an array for several.

        Raises
        ------
        LlmsimError
            If that fails.
        """
        if self._json is None:
            return
        page = pages[0] if self._one and pages else list(pages)
        text = json.dumps(page, indent=2, allow_nan=False, ensure_ascii=False)
        if self._json == "-":
            put(text)
            return
        try:
            Path(self._json).write_text(text + "\n", encoding="utf-8")
        except OSError as error:
            raise LlmsimError(f"--json {self._json}: cannot be written: {error.strerror or error}") from error


def _folders(files: Sequence[Path], out: Path) -> list[Path | None]:
    """The directory itself for one file, else one inside it for each, by the file's name."""
    if len(files) == 1:
        return [out]
    folders: list[Path | None] = []
    for file in files:
        name, number = file.stem, 2
        while out / name in folders:
            name, number = f"{file.stem}-{number}", number + 1
        folders.append(out / name)
    return folders


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LlmsimError(f"--out {folder}: {error.strerror or error}; name a directory") from error
    if not os.access(folder, os.W_OK):
        raise LlmsimError(f"--out {folder}: nothing can be written there")
