"""Which files of the paths that were named are scenarios."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = ["Discovered", "discover", "looks_like_one"]

#: What every scenario has at the beginning of a line, and hardly another YAML file has both of.
_SECTIONS = (re.compile(r"^traffic\s*:", re.MULTILINE), re.compile(r"^providers\s*:", re.MULTILINE))
_LARGEST = 5_000_000  #: bytes; nobody writes a longer one, and traces lie beside them


class Discovered(NamedTuple):
    """What was found."""

    files: list[Path]  #: each once, by the first path that led there; in the order of the paths, folders sorted
    skipped: list[Path]  #: YAML files in folders that are no scenarios


def discover(paths: Sequence[Path]) -> Discovered:
    """Scenario files: those that are named, and in folders (and theirs) what looks like one.

    A file named ``*.scenario.yaml`` is one; any other ``*.yaml`` or ``*.yml`` if it has the sections ``traffic`` and
    ``providers``. A file that is named is taken for one without a look. A file that two paths lead to, be it by a link,
    ``..`` or a name and its folder, is one file.
    """
    found: dict[str, Path] = {}  # by where it really is
    skipped: dict[str, Path] = {}
    for path in paths:
        if not path.is_dir():
            found.setdefault(os.path.realpath(path), path)
            continue
        for file in _yaml_files(path):
            taken = ".scenario." in file.name or looks_like_one(file)
            (found if taken else skipped).setdefault(os.path.realpath(file), file)
    return Discovered([*found.values()], [file for place, file in skipped.items() if place not in found])


def _yaml_files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():  # a link can lead round in a circle
            yield from _yaml_files(path)
        elif path.suffix in (".yaml", ".yml") and path.is_file():
            yield path


def looks_like_one(file: Path) -> bool:
    """Whether a YAML file has the sections of a scenario."""
    try:
        if file.stat().st_size > _LARGEST:
            return False
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return all(section.search(text) for section in _SECTIONS)
