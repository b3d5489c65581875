"""Stories that are meant to end badly: green when what the scenario expects to break did, and nothing else."""

from __future__ import annotations

from typing import Any

from llmsim.report.layout import MARKS
from llmsim.report.result import EXIT_CODES, Result
from llmsim.report.slo import rehearsal

__all__ = ["as_expected"]


def as_expected(page: dict[str, Any], result: Result, *, allow_undecided: bool) -> dict[str, Any]:
    """The page of a check, judged by ``expect:`` where the scenario says it.

    Lines that broke as they should are EXPECTED; one that is added for each that held stands for FAIL.
    """
    expected = result.scenario.expect.fail
    if not expected or not result.slo:
        return page
    word = rehearsal(result.slo, expected)
    lines = [
        {**line, "verdict": "EXPECTED"} if line["verdict"] == "FAIL" and line["metric"] in expected else line
        for line in page["slo"]
    ]
    held = [key for key in expected if all(one.verdict == "PASS" for one in result.slo if one.objective.key == key)]
    lines += [_held(key, result) for key in held]
    told = [f"    {MARKS['FAIL']} {key}  is expected to break, and holds" for key in held]
    if word == "PASS":
        told = [f"    {', '.join(expected)} broke, as the scenario expects."]
    shown, code = ("EXPECTED", 0) if word == "PASS" else (word, EXIT_CODES[word])
    if word == "UNDECIDED" and allow_undecided:
        code = 0
    head, *rest = page["text"].splitlines()
    head = f"{MARKS[word]} {shown:<10}{head[12:]}"
    rest = [] if word == "PASS" else rest
    return {
        **page,
        "verdict": shown,
        "exit_code": code,
        "slo": lines,
        "text": "\n".join([head, *told, *rest]),
        "aborts": page["aborts"] and word == "FAIL",
    }


def _held(key: str, result: Result) -> dict[str, Any]:
    document = result.scenario.source
    place = ("expect", "fail", result.scenario.expect.fail.index(key))
    return {
        "metric": key,
        "expression": "is expected to break",
        "measured": None,
        "interval": None,
        "verdict": "FAIL",
        "line": document.line(place) if document is not None else None,
        "shown": "that it holds",
        "excess": 1.0,
        "reason": "the scenario says expect: {fail: …}",
    }
