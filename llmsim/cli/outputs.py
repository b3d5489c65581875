"""Where results go: checked before a run that may take minutes, written after it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsim.cli.failures import BAD_INPUT
from llmsim.cli.terminal import put
from llmsim.errors import LlmsimError
from llmsim.report.result import Result

__all__ = ["Outputs", "check_file", "names_of"]


class Outputs:
    """``--json``, ``--out``, ``--otlp``, ``--prometheus`` and ``--html`` of one command.

    Parameters
    ----------
    files
        The scenario files.
    json_to
        A file name, ``-`` for standard output, or None.
    out
        Directory for tables, or None.
    exports
        By option the file name, or None; several scenario files get one each, with their name in it.
    stream
        Directory that tables are written into while it runs, or None.

    Raises
    ------
    LlmsimError
        If it is clear already that nothing can be written there.
    """

    def __init__(
        self,
        files: Sequence[Path],
        json_to: str | None,
        out: Path | None,
        exports: Mapping[str, Path | None],
        stream: Path | None = None,
    ) -> None:
        self._one = len(files) == 1
        self._json = json_to
        self._folders = [None] * len(files) if out is None else _folders(files, out)
        #: for each file the directory that it is streamed into, if it is
        self.streams = [None] * len(files) if stream is None else _folders(files, stream)
        self._exports = {option: _places(files, place) for option, place in exports.items()}
        if json_to is not None and json_to != "-":
            check_file("--json", Path(json_to), "name a file, or - for standard output")
        for option, place in exports.items():
            if place is not None:
                check_file(option, place, "name a file")
        for folder in (*self._folders, *self.streams):
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

    def export(self, number: int, result: Result, again: str) -> list[Path]:
        """Write what other tools and people read of file `number`, with the command for the same again; where it is.

        Raises
        ------
        LlmsimError
            If that fails.
        """
        written: list[Path] = []
        for option, places in self._exports.items():
            place = places[number]
            try:
                if place is not None:
                    written += _export(option, place, result, again)
            except OSError as error:
                raise LlmsimError(f"{option}: cannot write {error.filename}: {error.strerror or error}") from error
        return written

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
            Path(self._json).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        except OSError as error:
            raise LlmsimError(f"--json {self._json}: cannot be written: {error.strerror or error}") from error


def _export(option: str, place: Path, result: Result, again: str) -> list[Path]:
    if option == "--otlp":
        return [*result.to_otlp(place)]
    if option == "--prometheus":
        return [result.to_prometheus(place)]
    from llmsim.report.page import to_page

    place.write_text(to_page(result, again), encoding="utf-8", errors="replace")
    return [place]


def check_file(option: str, place: Path, instead: str = "name a file") -> None:
    """That a file can be written there, as far as can be told before it is.

    Raises
    ------
    LlmsimError
        If it cannot.
    """
    if place.is_dir():
        raise LlmsimError(f"{option} {place}: this is a directory; {instead}")
    if not place.absolute().parent.is_dir():
        raise LlmsimError(f"{option} {place}: there is no directory {place.parent}; make it first")


def _places(files: Sequence[Path], place: Path | None) -> list[Path | None]:
    """The file itself for one scenario, else one for each, with the scenario's name in it."""
    if place is None or len(files) == 1:
        return [place] * len(files)
    folders = [folder for folder in _folders(files, place.parent) if folder is not None]
    return [place.with_name(f"{place.stem}-{folder.name}{place.suffix}") for folder in folders]


def _folders(files: Sequence[Path], out: Path) -> list[Path | None]:
    """The directory itself for one file, else one inside it for each, by the file's name."""
    if len(files) == 1:
        return [out]
    return [out / name for name in names_of(files)]


def write_json(to: str, page: Any, code: int) -> int:
    """Write a page where ``--json`` says, ``-`` being standard output; the exit code, which is 2 if that fails."""
    text = json.dumps(page, indent=2, allow_nan=False, ensure_ascii=False)
    if to == "-":
        put(text)
        return code
    try:
        Path(to).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        put(f"--json {to}: cannot be written: {error.strerror or error}", "stderr")
        return BAD_INPUT
    return code


def names_of(files: Sequence[Path], taken: Sequence[str] = ()) -> list[str]:
    """A name for each file's results: its own, without what stands behind the first dot, and a number where it must be.

    `taken` are names that none of them may have.

    Examples
    --------
    >>> names_of([Path("a/spike.yaml"), Path("b/spike.scenario.yaml"), Path("calm.yaml")])
    ['spike', 'spike-2', 'calm']
    """
    names: list[str] = []
    for file in files:
        stem, number = file.name.partition(".")[0] or file.name, 2
        name = stem
        while name in names or name in taken:
            name, number = f"{stem}-{number}", number + 1
        names.append(name)
    return names


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LlmsimError(f"--out {folder}: {error.strerror or error}; name a directory") from error
    if not os.access(folder, os.W_OK):
        raise LlmsimError(f"--out {folder}: nothing can be written there")
