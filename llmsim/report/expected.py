"""Stories that are meant to end badly: what broke as it should, what should have and held, and the word for it all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from llmsim.report.slo import Overall, rehearsal

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["HELD", "Rehearsed", "rehearsed_lines", "rehearsed_verdict"]

Rehearsed = Overall | Literal["EXPECTED"]  #: EXPECTED: what was to break did, and nothing else

HELD = "is expected to break"  #: expression of a line that stands for a key of ``expect`` whose lines all held


def rehearsed_verdict(result: Result) -> Rehearsed:
    """The verdict, judged by ``expect:`` where the scenario says it: what ``llmsim check`` goes by."""
    expected = result.scenario.expect.fail
    word = rehearsal(result.slo, expected)
    return "EXPECTED" if word == "PASS" and expected and result.slo else word


def rehearsed_lines(result: Result) -> list[dict[str, Any]]:
    """The SLO lines as in ``result.to_dict()``, judged likewise.

    Lines that broke as they should are EXPECTED; one that is added for each that held stands for FAIL.
    """
    expected = result.scenario.expect.fail
    rows: list[dict[str, Any]] = result.to_dict()["slo"]
    if not expected or not rows:
        return rows
    lines = [
        {**line, "verdict": "EXPECTED"} if line["verdict"] == "FAIL" and line["metric"] in expected else line
        for line in rows
    ]
    held = [key for key in expected if all(one.verdict == "PASS" for one in result.slo if one.objective.key == key)]
    return [*lines, *(_held(key, result) for key in held)]


def _held(key: str, result: Result) -> dict[str, Any]:
    document = result.scenario.source
    place = ("expect", "fail", result.scenario.expect.fail.index(key))
    return {
        "metric": key,
        "expression": HELD,
        "measured": None,
        "interval": None,
        "verdict": "FAIL",
        "line": document.line(place) if document is not None else None,
        "shown": "that it holds",
        "excess": 1.0,
        "reason": "the scenario says expect: {fail: …}",
    }
