"""Write your own policy: each version is as good, or as bad, as the text says, and still comes out so."""

from __future__ import annotations

from pathlib import Path

import notebook_tools
import pytest
from notebooks.stories import committed, facts, figure, fresh, with_parameters

NAME = "03_write_your_own_policy"


def test_its_story_holds() -> None:
    told = facts(committed(NAME))
    errors = {name.removeprefix("errors with "): text for name, text in told.items() if name.startswith("errors with ")}
    assert 5 < figure(told["places busy on average"]) < 6
    assert figure(errors["five lines"]) < 0.45 * figure(errors["nothing"]), "to about a third"
    assert figure(told["asleep after last attempts"]) > 10
    assert told["turnstile until the first chunk changes nothing"] == "True"
    assert told["verdict of the leaking one on a calm day"] == "PASS"
    assert errors["turnstile that leaks"].endswith("FAIL")
    assert figure(errors["turnstile that leaks"]) > 60, "gone for good: two of three minutes"
    assert errors["turnstile"].endswith("PASS")
    assert errors["library"].endswith("PASS")
    assert told["metrics that differ between ours and the library"] == "none"


def test_its_tests_are_green_with_the_line_and_red_without() -> None:
    text = "\n".join(notebook_tools.texts(committed(NAME)))
    assert "as it is:             1 passed" in text
    assert "without that one line: 1 failed" in text
    assert "40 answers, never more than 8 at once" in text
    assert "they wait: 3 at Cell In[8], line 11 in handle" in text


@pytest.mark.slow
def test_it_comes_out_as_committed() -> None:
    assert facts(fresh(NAME)) == facts(committed(NAME)), f"run python tests/notebook_tools.py notebooks/{NAME}.ipynb"


@pytest.mark.slow
def test_it_runs_with_other_parameters(tmp_path: Path) -> None:
    with_parameters(NAME, tmp_path, RUNS=2)
