"""The committed notebook: in good form, and still what comes out when it is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import notebook_tools
import pytest

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
QUICKSTART = next(path for path in NOTEBOOKS if path.name == "01_quickstart.ipynb")

_MACHINE = re.compile(r"/root/|/home/|/work/|/tmp/|/Users/|ipykernel_\d|site-packages")


def read(path: Path) -> Any:
    import nbformat  # takes a second

    return nbformat.read(path, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_form(path: Path) -> None:
    import nbformat

    notebook = read(path)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    assert path.stat().st_size < 1_000_000
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs, "commit it executed: python tests/notebook_tools.py"
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom in a fresh kernel"
    found = _MACHINE.search(path.read_text(encoding="utf-8"))
    assert found is None, f"{found[0]} is a path of some machine"


def key_facts(notebook: Any) -> list[list[str]]:
    """Verdict and SLO lines of each result, and the last table: what the text around them speaks of."""
    kept = re.compile(r"^[✓✗?·] |^  [✓✗?] |^│|the same people")
    return [
        [re.sub(r"\s+", " ", line) for line in text.splitlines() if kept.match(line)]
        for text in notebook_tools.texts(notebook)
    ]


@pytest.mark.slow
def test_it_comes_out_as_committed(recwarn: pytest.WarningsRecorder) -> None:
    committed, again = read(QUICKSTART), notebook_tools.executed(QUICKSTART)
    assert key_facts(again) == key_facts(committed), "run python tests/notebook_tools.py notebooks/01_quickstart.ipynb"


def test_its_story_holds() -> None:
    verdicts = [facts[0].split(": ")[1] for facts in key_facts(read(QUICKSTART)) if facts and facts[0][0] in "✓✗"]
    assert verdicts == ["PASS", "FAIL", "FAIL", "FAIL", "FAIL", "PASS"]
