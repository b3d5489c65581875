"""The folder in which somebody works on the notebooks: a copy that is theirs, and that nothing writes over."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from llmsim.errors import LlmsimError
from llmsim.scenario.shipped import shipped

__all__ = ["FIRST", "LabFolder", "next_free", "open_folder"]

#: What is copied, side by side: notebooks name scenarios as ``../scenarios/…``.
_PARTS = ("notebooks", "scenarios")
#: Opened first.
FIRST = "notebooks/01_quickstart.ipynb"
#: Says that a folder is a copy, and what was copied into it.
_MARK = ".llmsim-lab.json"


class LabFolder(NamedTuple):
    """A copy, and what became of it."""

    path: Path
    new: bool  #: it was made just now
    files: int  #: that were copied
    version: str  #: of the llmsim it was copied from
    changed: tuple[str, ...] = ()  #: of the copied files, those that are different now, or gone
    added: tuple[str, ...] = ()  #: notebooks and scenarios that are not copies
    newer: tuple[str, ...] = ()  #: shipped files that are not, or not like that, in the copy's original


def open_folder(path: Path) -> LabFolder:
    """The copy at `path`, made if there is none; one that is there stays as it is, to the last byte.

    Raises
    ------
    LlmsimError
        If something else is there, or it cannot be written.
    """
    mark = path / _MARK
    if mark.is_file():
        return _known(path, mark)
    if path.is_dir() and not any(path.iterdir()):
        return _made(path)
    if path.exists() or path.is_symlink():
        what = "a folder with other things in it" if path.is_dir() else "no folder"
        raise LlmsimError(f"{path} is {what}; name one that is new: llmsim lab {next_free(path)}")
    return _made(path)


def next_free(path: Path) -> Path:
    """The first of ``lab-2``, ``lab-3``, … that does not exist."""
    number = 2
    path = path if path.name else path.resolve()
    while (found := path.with_name(f"{path.name}-{number}")).exists():
        number += 1
    return found


def _made(path: Path) -> LabFolder:
    """Copy everything, elsewhere first: an interrupt leaves nothing that is half there."""
    from llmsim import __version__

    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".llmsim-lab-", dir=path.parent) as scratch:
            copy = Path(scratch) / "copy"
            files = {}
            for name, source in _shipped_files():
                target = copy / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)  # not copy2: what is installed may be read-only
                files[name] = _sum(target)
            text = json.dumps({"llmsim": __version__, "files": files}, indent=1)
            (copy / _MARK).write_text(text + "\n", encoding="utf-8")
            _move(copy, path)
    except OSError as error:
        raise LlmsimError(
            f"cannot write {path}: {error.strerror or error}; name another folder: llmsim lab DIR"
        ) from error
    return LabFolder(path, new=True, files=len(files), version=__version__)


def _move(copy: Path, path: Path) -> None:
    """Put it in its place; an empty folder there, perhaps somebody's current one, stays that folder."""
    if not path.exists():
        copy.rename(path)
        return
    for part in (*_PARTS, _MARK):
        (copy / part).rename(path / part)


def _known(path: Path, mark: Path) -> LabFolder:
    """What somebody has made of a copy, and what llmsim has made of its original since."""
    try:
        told = json.loads(mark.read_text(encoding="utf-8"))
        version, files = str(told["llmsim"]), {str(name): str(of) for name, of in told["files"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LlmsimError(f"{mark} cannot be read ({error}); start anew with: llmsim lab {path} --fresh") from error
    here = {name: _sum(file) for name, file in _files(path)}
    now = {name: _sum(source) for name, source in _shipped_files()}
    return LabFolder(
        path.resolve(),
        new=False,
        files=len(files),
        version=version,
        changed=tuple(name for name in files if here.get(name) != files[name]),
        added=tuple(name for name in here if name not in files),
        newer=tuple(name for name in now if files.get(name) != now[name]),
    )


def _shipped_files() -> Iterator[tuple[str, Path]]:
    for part in _PARTS:
        folder = shipped(part)
        yield from ((f"{part}/{name}", file) for name, file in _walk(folder))


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    for part in _PARTS:
        if (path / part).is_dir():
            yield from ((f"{part}/{name}", file) for name, file in _walk(path / part))


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Files by their name within the folder, without what editors and kernels leave behind."""
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if file.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield "/".join(parts), file


def _sum(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
