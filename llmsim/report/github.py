"""What a check found, for GitHub Actions: annotations on the lines of scenario files, and the summary of the step.

GitHub shows 10 errors and 10 warnings of a step at most, so the worst come first; a summary may have 1 MiB
(docs.github.com, "Workflow commands" and "Job summaries", as of 2026).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

__all__ = ["LARGEST_SUMMARY", "MOST_ANNOTATIONS", "commands", "summary"]

Page = Mapping[str, Any]

MOST_ANNOTATIONS = 10  #: of a kind
LARGEST_SUMMARY = 1024 * 1024  #: bytes
_CUT = "\n(more than fits here)\n"

_MARKS = {"PASS": "✅", "FAIL": "❌", "UNDECIDED": "❔", "EXPECTED": "✅", "NONE": "➖", "ERROR": "💥", "NOT RUN": "➖"}


def commands(pages: Sequence[Page]) -> list[str]:
    """Workflow commands, one a line: broken lines as errors, undecided ones as warnings, the worst first."""
    errors: list[tuple[float, str]] = []
    warnings: list[tuple[float, str]] = []
    for page in pages:
        for problem in page.get("problems", []):
            text = f"{problem['message']}. {problem['hint'] or ''}"
            title = "not a scenario" if page["error"] == "ScenarioError" else f"it could not be run: {page['error']}"
            errors.append((math.inf, _command("error", page, problem["line"], title, text)))
        for line in page.get("slo", []):
            title = f"{page['scenario']}: {line['metric']} {line['expression']}"
            told = [f"measured {line['shown']}.", line["reason"], *page.get("advice", [])[:1]]
            text = " ".join(sentence for sentence in told if sentence)
            if line["verdict"] == "FAIL":
                errors.append((float(line["excess"]), _command("error", page, line["line"], title, text)))
            elif line["verdict"] == "UNDECIDED" and page["verdict"] != "EXPECTED":
                warnings.append((float(line["excess"]), _command("warning", page, line["line"], title, text)))
    chosen = []
    for kind in (errors, warnings):
        ordered = sorted(kind, key=lambda one: -one[0])  # stable: of equals the first
        chosen += [command for _, command in ordered[:MOST_ANNOTATIONS]]
    return chosen


def _command(kind: str, page: Page, line: int | None, title: str, text: str) -> str:
    at = f",line={line}" if line else ""
    return f"::{kind} file={_value(_from_root(str(page['file'])))}{at},title={_value(title)}::{_data(text)}"


def _from_root(file: str) -> str:
    """As GitHub wants it: from the root of the repository, also where a step works in a folder of it."""
    root = os.environ.get("GITHUB_WORKSPACE")
    if not root:
        return file
    place = Path(file).absolute()
    return str(place.relative_to(root)) if place.is_relative_to(root) else file


def _data(text: str) -> str:
    return text.strip().replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _value(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def summary(pages: Sequence[Page], *, used: int = 0) -> str:
    """Markdown: a table of all scenarios, then what is not well in full, the worst first, as far as it fits.

    Parameters
    ----------
    pages
        One a file.
    used
        Bytes that the step's summary has already: GitHub throws one that is too large away as a whole.
    """
    room = LARGEST_SUMMARY - used
    rows = [f"| {_MARKS[page['verdict']]} {page['verdict']} | `{page['file']}` | {_broken(page)} |" for page in pages]
    text = "\n".join(["## llmsim check", "", "| | scenario | |", "| --- | --- | --- |", *rows, ""])
    if _size(text + _CUT) > room:
        return _CUT if _size(_CUT) <= room else ""
    for page in sorted(pages, key=_badness):
        if page["verdict"] in ("PASS", "EXPECTED") or not page.get("markdown"):
            continue
        part = _in_full(page)
        if _size(f"{text}\n{part}{_CUT}") > room:
            return text + _CUT
        text += f"\n{part}"
    return text


def _in_full(page: Page) -> str:
    """What the result says, under the verdict of the check: that knows of a baseline, and of what was expected."""
    head, _, rest = str(page["markdown"]).partition("\n")
    rest = rest if head.startswith("### ") else str(page["markdown"])
    lines = [f"### {_MARKS[page['verdict']]} {page['verdict']} `{page['file']}`", _broken(page)]
    lines += [f"The same again: `{page['replay']}`"] if page.get("replay") else []
    return "\n\n".join([*lines, rest.lstrip("\n")])


def _badness(page: Page) -> tuple[bool, float]:
    """What to sort by: the broken ones first, and those whose lines are furthest outside their bounds."""
    excess = (float(line["excess"]) for line in page.get("slo", []) if line["verdict"] == page["verdict"])
    return page["verdict"] != "FAIL", -max(excess, default=0.0)


def _size(text: str) -> int:
    return len(text.encode(errors="replace"))


def _broken(page: Page) -> str:
    if page["verdict"] == "ERROR":
        return "; ".join(problem["message"] for problem in page.get("problems", [])).replace("|", "\\|")
    if page["verdict"] == "NOT RUN":
        return str(page["reason"])
    if page["verdict"] == "EXPECTED":
        broke = dict.fromkeys(f"`{line['metric']}`" for line in page.get("slo", []) if line["verdict"] == "EXPECTED")
        return f"{', '.join(broke)} broke, as the scenario expects".strip()
    lines = [line for line in page.get("slo", []) if line["verdict"] not in ("PASS", "EXPECTED")]
    told = [f"`{line['metric']} {line['expression']}`: {line['shown']}".replace("|", "¦") for line in lines]
    return "<br>".join(told) or f"{len(page.get('slo', []))} SLOs hold"
