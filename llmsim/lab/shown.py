"""What an explorer shows beside its picture: numbers now and before, and its settings as text to take away."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmsim.errors import LlmsimError, ScenarioError
from llmsim.lab.settings import without as taken_out
from llmsim.report.figures import figure
from llmsim.report.paired import COMPARED, values_by_metric
from llmsim.report.verdict import median
from llmsim.scenario.document import Document
from llmsim.scenario.load import load_scenario, parse_scenario, read_value
from llmsim.scenario.rewrite import rewritten
from llmsim.scenario.spec import Scenario
from llmsim.scenario.values import to_values

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["as_python", "as_yaml", "numbers", "told_problems", "without_widgets"]

#: Metrics of the table; what a scenario does not have is left out.
_ROWS = (
    "error_rate", "ttft p(50)", "ttft p(95)", "e2e p(95)", "goodput", "cost_per_ok", "retry_amplification",
    "fallback_rate", "cache_hit_rate", "false_hit_rate",
)  # fmt: skip
_OPTIONAL = ("cost_per_ok", "fallback_rate", "cache_hit_rate", "false_hit_rate")


def numbers(now: Result, before: Result | None = None) -> str:
    """A table as HTML: each SLO and the key numbers, now and in the run before. No colours: words and marks."""
    rows = [
        (
            "" if math.isnan(line.measured) else "✓" if line.objective.holds(line.measured) else "✗",
            f"{line.objective.key} {line.objective.text}",
            line.shown,
            was.shown if was is not None else "",
        )
        for line, was in _paired_lines(now, before)
    ]
    ours, theirs = values_by_metric(now), values_by_metric(before) if before is not None else {}
    for name in _ROWS:
        unit = COMPARED[name].unit
        value, was_value = median(ours.get(name, [])), median(theirs.get(name, []))
        if name in _OPTIONAL and not (value > 0 or was_value > 0):
            continue
        rows.append(("", name, figure(value, unit), figure(was_value, unit) if before is not None else ""))
    head = ("", "", "now", "before" if before is not None else "")
    lines = [_row("th", head), *(_row("td", row) for row in rows)]
    return f'<table class="llmsim-numbers">{"".join(lines)}</table>'


def _paired_lines(now: Result, before: Result | None) -> list[tuple[Any, Any]]:
    was = {(line.objective.key, line.objective.text): line for line in before.slo} if before is not None else {}
    return [(line, was.get((line.objective.key, line.objective.text))) for line in now.slo]


def _row(tag: str, cells: Sequence[str]) -> str:
    # `align` is an attribute because GitHub strips styles.
    sides = ("left", "left", "right", "right")
    inner = "".join(
        f'<{tag} align="{side}" nowrap style="padding: 0 .6em 0 0">{escape(text)}</{tag}>'
        for side, text in zip(sides, cells, strict=True)
    )
    return f"<tr>{inner}</tr>"


def without_widgets(name: str, values: Mapping[str, str | bool], png: bytes, alt: str, table: str) -> str:
    """An explorer as HTML for where there are no widgets: its settings, its picture and its numbers.

    Without a picture, `alt` is what to say instead, as HTML.
    """
    rows = "".join(
        f'<tr><td align="left">{escape(path)}</td><td align="left"><code>{escape(_told(value))}</code></td></tr>'
        for path, value in values.items()
    )
    image = base64.b64encode(png).decode()
    drawn = f'<img alt="{escape(alt)}" src="data:image/png;base64,{image}">'
    picture = f"<p>{drawn if png else alt}</p>"
    return (
        f'<div class="llmsim-explorer mathjax_ignore"><p><strong>explorer of {escape(name)}</strong>: run the cell to '
        f"move these</p><table>{rows}</table>{picture}{table}</div>"
    )


def _told(value: Any) -> str:
    return value if isinstance(value, str) else "on" if value else "off"


def told_problems(error: Exception, what: str, note: str = "") -> str:
    """What came of it instead and why, as HTML; with a note below."""
    if isinstance(error, ScenarioError):
        told = [
            " ".join(
                filter(None, [f"{one.path}:" if one.path else "", one.message + ("." if one.hint else ""), one.hint])
            )
            for one in error.problems
        ]
    else:
        told = str(error).splitlines()[:6] or [type(error).__name__]
    lines = "<br>".join(escape(text) for text in told)
    return f"<strong>✗ {what}:</strong> {lines}" + (f"<br><small>{note}</small>" if note else "")


def as_yaml(scenario: Scenario, changes: Mapping[str, str], without: Sequence[str]) -> str:
    """The scenario's file with what was changed, comments and all; or, where there is no file, what to write into it.

    Raises
    ------
    LlmsimError
        If a value cannot be put into the file.
    """
    origin = scenario.source
    if not isinstance(origin, Document) or not origin.places or not Path(origin.source).is_file():
        return _without_file(changes, without)
    text = Path(origin.source).read_text(encoding="utf-8-sig")
    head = ""
    if not _is_its_file(scenario, origin.source):
        head = f"# {origin.source} with what was turned; what Python changed besides is not in it.\n"
    values = {path: read_value(value) for path, value in changes.items()}
    base = parse_scenario(text, origin.source)
    wanted = base.with_values(values)
    if without:
        wanted = taken_out(wanted, *without)
    return head + rewritten(text, values, without, wanted, origin.source)


def _is_its_file(scenario: Scenario, source: str) -> bool:
    try:
        return to_values(load_scenario(source)) == to_values(scenario)
    except LlmsimError:
        return False


def _without_file(changes: Mapping[str, str], without: Sequence[str]) -> str:
    lines = ["# This scenario did not come from a file. In one, these would be:"]
    lines += [f"#   {path}: {value}" for path, value in changes.items()]
    lines += [f"#   {path}: taken out" for path in without]
    return "\n".join(lines if changes or without else [*lines, "#   (nothing was changed)"]) + "\n"


def as_python(scenario: Scenario, changes: Mapping[str, str], without: Sequence[str]) -> str:
    """Code that makes the same scenario and runs it."""
    origin = scenario.source
    if isinstance(origin, Document) and origin.places:
        lines = ["import llmsim as ls", "", f"scenario = ls.load({_code(origin.source)})"]
    else:
        lines = ["import llmsim as ls", "", "# scenario = ...  # the one that was explored"]
    if changes:
        inner = "".join(f"    {_code(path)}: {_code(read_value(text))},\n" for path, text in changes.items())
        lines.append(f"scenario = scenario.with_values({{\n{inner}}})")
    if without:
        lines.append(f"scenario = ls.lab.without(scenario, {', '.join(map(_code, without))})")
    return "\n".join([*lines, "result = ls.run(scenario)", "result"]) + "\n"


def _code(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
