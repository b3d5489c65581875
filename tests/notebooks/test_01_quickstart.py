"""The quickstart: its story, and that it still comes out when it is run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import notebook_tools
import pytest
from notebooks.stories import committed, fresh, with_parameters

NAME = "01_quickstart"


def key_facts(notebook: Any) -> list[list[str]]:
    """Verdict and SLO lines of each result, and the last table: what the text around them speaks of."""
    kept = re.compile(r"^[✓✗?·] |^  [✓✗?] |^│|the same people")
    return [
        [re.sub(r"\s+", " ", line) for line in text.splitlines() if kept.match(line)]
        for text in notebook_tools.texts(notebook)
    ]


def test_its_story_holds() -> None:
    verdicts = [facts[0].split(": ")[1] for facts in key_facts(committed(NAME)) if facts and facts[0][0] in "✓✗"]
    assert verdicts == ["PASS", "FAIL", "FAIL", "FAIL", "FAIL", "PASS"]


@pytest.mark.slow
def test_it_comes_out_as_committed() -> None:
    assert key_facts(fresh(NAME)) == key_facts(committed(NAME)), f"run python tests/notebook_tools.py {NAME}.ipynb"


@pytest.mark.long  # tests/browser/test_quickstart_in_lab.py does
def test_it_runs_with_other_parameters(tmp_path: Path) -> None:
    with_parameters(NAME, tmp_path, RUNS=1)
