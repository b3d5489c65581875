"""Stories that are meant to end badly: green when what the scenario expects to break did, and nothing else."""

from __future__ import annotations

from typing import Any

from llmsim.report.expected import HELD, rehearsed_lines, rehearsed_verdict
from llmsim.report.layout import MARKS
from llmsim.report.result import EXIT_CODES, Result

__all__ = ["as_expected"]


def as_expected(page: dict[str, Any], result: Result, *, allow_undecided: bool) -> dict[str, Any]:
    """The page of a check, judged by ``expect:`` where the scenario says it."""
    expected = result.scenario.expect.fail
    if not expected or not result.slo:
        return page
    word = rehearsed_verdict(result)
    lines = rehearsed_lines(result)
    told = [f"    {MARKS['FAIL']} {line['metric']}  {HELD}, and holds" for line in lines if line["expression"] == HELD]
    if word == "EXPECTED":
        told = [f"    {', '.join(expected)} broke, as the scenario expects."]
    passes = allow_undecided and word == "UNDECIDED"
    code = 0 if passes else EXIT_CODES[word]
    head, *rest = page["text"].splitlines()
    head = f"{MARKS[word]} {word:<10}{head[12:]}"
    rest = [] if word == "EXPECTED" else rest
    return {
        **page,
        "verdict": word,
        "exit_code": code,
        "slo": lines,
        "text": "\n".join([head, *told, *rest]),
        "aborts": page["aborts"] and word == "FAIL",
    }
