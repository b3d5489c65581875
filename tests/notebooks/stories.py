"""What the tests of all notebooks need: a notebook as committed, as it comes out now, and what it found.

A notebook says what it found in cells tagged ``facts``, by lines ``name: value``. Its text speaks of these, its test
asserts them, and a fresh run must give the same. Its first code cell is tagged ``parameters``, for papermill.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import notebook_tools

__all__ = ["FOLDER", "committed", "facts", "figure", "fresh", "with_parameters"]

FOLDER = Path(__file__).parents[2] / "notebooks"

_FACT = re.compile(r"^([a-z][^:]*): (.+)$")


def committed(name: str) -> Any:
    """The notebook as it is in the repository."""
    import nbformat  # takes a second

    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def fresh(name: str) -> Any:
    """The notebook after a run of all its cells in a new kernel."""
    return notebook_tools.executed(FOLDER / f"{name}.ipynb")


def with_parameters(name: str, folder: Path, **parameters: Any) -> Any:
    """The notebook after papermill ran it with other parameters; the file stays in `folder` if a cell fails."""
    import papermill

    return papermill.execute_notebook(
        str(FOLDER / f"{name}.ipynb"),
        str(folder / f"{name}.ipynb"),
        parameters=parameters,
        cwd=str(FOLDER),
        progress_bar=False,
    )


def facts(notebook: Any) -> dict[str, str]:
    """What the cells tagged ``facts`` printed, by name."""
    found: dict[str, str] = {}
    for cell in notebook.cells:
        if cell.cell_type != "code" or "facts" not in cell.metadata.get("tags", ()):
            continue
        for line in "".join(output.get("text", "") for output in cell.outputs).splitlines():
            if match := _FACT.match(line):
                assert match[1] not in found, f"{match[1]} is told twice"
                found[match[1]] = match[2]
    assert found, "no cell tagged facts says anything"
    return found


def figure(text: str) -> float:
    """The first number of a fact: ``3.4 %`` is 3.4, ``$1,200`` 1200."""
    found = re.search(r"-?\d[\d,]*\.?\d*(?:e-?\d+)?", text)
    assert found, f"no number in {text!r}"
    return float(found[0].replace(",", ""))
