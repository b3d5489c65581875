"""All committed notebooks: executed from top to bottom, with pictures, and with nothing of the machine they ran on."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from notebooks.stories import FOLDER, committed

NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))

_MACHINE = re.compile(r"/root/|/home/|/work/|/tmp/|/Users/|ipykernel_\d|site-packages")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_form(path: Path) -> None:
    import nbformat

    notebook = committed(path.stem)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    assert "widgets" not in notebook.metadata
    assert path.stat().st_size < 1_000_000
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert outputs, "commit it executed: python tests/notebook_tools.py"
    assert not [output for output in outputs if output.output_type == "error" or output.get("name") == "stderr"]
    assert not [output for output in outputs if any("widget" in kind for kind in output.get("data", {}))]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    counts = [cell.execution_count for cell in cells]
    assert counts == list(range(1, len(counts) + 1)), "run it from top to bottom in a fresh kernel"
    assert [cell.metadata.get("tags") for cell in cells].count(["parameters"]) == 1, "one cell for papermill"
    found = _MACHINE.search(path.read_text(encoding="utf-8"))
    assert found is None, f"{found[0]} is a path of some machine"
