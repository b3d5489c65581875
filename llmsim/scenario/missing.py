"""A scenario file that is not there, and the nearest that is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path

from llmsim.errors import LlmsimError, Problem, ScenarioError
from llmsim.scenario.shipped import shipped

__all__ = ["missing_file", "missing_scenario", "scenario_files"]


def missing_file(path: Path) -> ScenarioError | None:
    """The error for a file that is not there, with the nearest that is; None if there is something of that name."""
    return None if os.path.lexists(path) else missing_scenario(path)


def missing_scenario(path: Path) -> ScenarioError:
    """The error itself: files beside it, here and in ``scenarios`` are what may have been meant."""
    near: dict[str, Path] = {}
    for place in dict.fromkeys((path.parent, Path())):
        for candidate in scenario_files(place):
            near.setdefault(candidate.name, candidate)
            near.setdefault(candidate.stem, candidate)
    found = get_close_matches(path.name, near, n=1) or get_close_matches(path.stem, near, n=1)
    hint = f"Did you mean {near[found[0]]}?" if found else _of_ours(path)
    return ScenarioError([Problem("there is no such file", hint=hint)], str(path))


def _of_ours(path: Path) -> str:
    """Where a scenario of the README and of ``--help`` is, for those who have no clone; else what can be done."""
    with suppress(LlmsimError):
        ours = shipped("scenarios")
        if path.name == ours.name and path.suffix == "":
            return f"Name a folder that is there; what llmsim comes with is in {ours}, and `llmsim init` writes one."
        if (ours / path.name).is_file() or (ours / f"{path.name}.yaml").is_file():
            return f"llmsim comes with it: {ours / path.with_suffix('.yaml').name} (copy it here to change it)."
    return "Check the path."


def scenario_files(place: Path) -> Iterator[Path]:
    """What is in a folder, and in a folder ``scenarios`` below it."""
    for folder in (place, place / "scenarios"):
        if folder.is_dir():
            yield from sorted(folder.glob("*.y*ml"))
