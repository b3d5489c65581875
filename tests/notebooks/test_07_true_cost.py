"""Where the money goes: its story, and that it still comes out when it is run."""

from __future__ import annotations

from pathlib import Path

import pytest
from notebooks.stories import committed, facts, figure, fresh, with_parameters

NAME = "07_true_cost"


def test_its_story_holds() -> None:
    told = {name: figure(value) for name, value in facts(committed(NAME)).items() if any(map(str.isdigit, value))}
    assert told["document questions of the requests"] < 25 < 45 < told["document questions of the bill"]
    assert told["prompts, for each dollar of answers"] > 3
    assert told["logs and traces of the bill"] < 1
    assert told["attempts that bought nothing, of the bill"] < 5
    assert told["fallback difference of the bill"] < -10
    before = told["three attempts, 1,000 document answers before"]
    assert told["three attempts, 1,000 document answers in the brown-out"] > 5 * before
    assert told["document questions that fail in it"] > 50
    assert told["chat answers in the brown-out, against before"] < 1.2
    before = told["with a fallback, 1,000 document answers before"]
    assert told["with a fallback, 1,000 document answers in the brown-out"] < 0.75 * before, "the cheapest of the day"
    assert told["logs of the bill, openai-gpt-4o with 60 tokens"] < 1
    assert told["logs of the bill, groq-llama-3-8b with 60 tokens"] > 30
    assert told["what the cache costs, of what it saves"] < 10
    assert told["embeddings of the cost of the cache"] > 50


def test_its_decision_holds() -> None:
    told = facts(committed(NAME))
    assert told["verdict with the order swapped"] == "PASS"
    assert figure(told["saved per 1,000"].split(", ")[1]) > 0, "in all pairs"
    assert (
        min(figure(told[f"answers of the cheap one that may have to be asked again, {one}"]) for one in ("chat", "rag"))
        > 50
    )
    months = [figure(told[f"month {name}"]) for name in ("as shipped", "order swapped", "… and a cache")]
    assert months[1] < 0.6 * months[0]
    assert months[2] < months[1]
    kept, dearer = (
        told[f"cost of 1,000 before and after, {name}"].split(", ")
        for name in ("cheapest for each request", "fixed order")
    )
    assert kept[0] == dearer[0]
    assert figure(dearer[1]) > 1.5 * figure(kept[1])
    assert told["lines that are not about cost and hold, fixed order"] == "3 of 3"


@pytest.mark.slow
def test_it_comes_out_as_committed() -> None:
    assert facts(fresh(NAME)) == facts(committed(NAME)), f"run python tests/notebook_tools.py {NAME}.ipynb"


@pytest.mark.slow
def test_it_runs_with_other_parameters(tmp_path: Path) -> None:
    with_parameters(NAME, tmp_path, RUNS=1)
