"""What a check is held against: the JSON of an earlier one."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from llmsim.cli.failures import worst
from llmsim.errors import LlmsimError
from llmsim.report.layout import MARKS
from llmsim.report.numbers import jsonable
from llmsim.report.paired import FEWEST_PAIRS, Difference, paired, values_by_metric
from llmsim.report.result import Result
from llmsim.report.save import load_result
from llmsim.scenario.values import to_values

__all__ = ["LEAST_EFFECT", "Baseline", "comparable"]

_SAVED = "result.json"  # of the folder of a saved result

LEAST_EFFECT = 0.05  #: share by which a metric must have got worse to be a regression


class Baseline:
    """An earlier check, by scenario.

    Parameters
    ----------
    file
        As ``llmsim check --json FILE`` wrote it; or the ``result.json`` of a result that was saved (or its folder),
        which is told by the scenario's name.
    least_effect
        Share by which a metric must have got worse.

    Raises
    ------
    LlmsimError
        If it is none.
    """

    def __init__(self, file: Path, least_effect: float = LEAST_EFFECT) -> None:
        self._file = file
        self._least_effect = least_effect
        try:
            pages = _pages(file / _SAVED if file.is_dir() else file)
            self._pages = {str(page["file"]): page for page in pages if page.get("values")}
        except OSError as error:
            raise LlmsimError(f"--baseline {file}: {error.strerror or error}; write one with --json {file}") from error
        except (ValueError, KeyError, AttributeError, TypeError):
            raise LlmsimError(f"--baseline {file} is not what `llmsim check --json FILE` writes") from None

    def held_against(self, page: dict[str, Any]) -> dict[str, Any]:
        """The page with a failed line for every metric that is worse than it was."""
        if not page.get("values"):
            return page
        before = self._pages.get(page["file"]) or self._by_name(page)
        why = _other_luck(before, page)
        if before is None or why:
            return _noted(page, f"not compared with {self._file}: {page['file']} {why}")
        found = paired(_numbers(before["values"]), _numbers(page["values"]), least_effect=self._least_effect)
        pairs = max((one.pairs for one in found), default=0)
        if pairs < FEWEST_PAIRS:
            few = f"{pairs} pairs with {self._file} are too few to call anything worse; it takes {FEWEST_PAIRS}"
            return _noted(page, few)
        worse = [_line(one) for one in found if one.verdict == "worse"]
        if not worse:
            return page
        head, *rest = page["text"].splitlines()
        told = [f"    {MARKS['FAIL']} {line['metric']}  {line['expression']}: {line['shown']}" for line in worse]
        return {
            **page,
            "slo": [*page["slo"], *worse],
            "verdict": "FAIL",
            "exit_code": worst([page["exit_code"], 1]),
            "text": "\n".join([f"{MARKS['FAIL']} {'FAIL':<10}{head[12:]}", *rest, *told]),
        }

    def _by_name(self, page: Mapping[str, Any]) -> dict[str, Any] | None:
        """The one page of a file and a scenario of these names: builds run where they like, and paths are from there.

        By the scenario's alone a copy with another gateway beside it would be held against what it was copied from.
        """
        name, file = page["scenario"], Path(page["file"]).name
        saved = self._pages.get(_named(name))
        named = [one for at, one in self._pages.items() if one.get("scenario") == name and Path(at).name == file]
        return saved or (named[0] if len(named) == 1 else None)


def comparable(result: Result) -> dict[str, Any]:
    """Of a check's page what a later one can be held against: every number, and whose luck it was."""
    values = to_values(result.scenario)
    said = json.dumps([values.get("traffic"), values.get("clock")], default=repr, sort_keys=True)
    return {
        "traffic": hashlib.sha256(said.encode()).hexdigest()[:16],
        "values": jsonable(values_by_metric(result)),
    }


def _pages(file: Path) -> list[dict[str, Any]]:
    """What a check said of each scenario, or what it would say of a saved result."""
    pages = json.loads(file.read_text(encoding="utf-8"))
    pages = pages if isinstance(pages, list) else [pages]
    if len(pages) == 1 and "format" in pages[0]:  # only what `save` writes has one
        saved = load_result(file.parent)
        return [{"file": _named(saved.scenario.name), "seed": saved.seed, **comparable(saved)}]
    return pages


def _named(scenario: str) -> str:
    """The key of a result that knows no file: what no path begins with."""
    return f"\0{scenario}"


def _other_luck(before: Mapping[str, Any] | None, page: Mapping[str, Any]) -> str:
    """Why the two did not meet the same luck; empty if they did."""
    if before is None:
        return "is not in it"
    if before["seed"] != page["seed"]:
        return f"ran there with seed {before['seed']}"
    return "" if before.get("traffic") == page["traffic"] else "had other traffic or another clock there"


def _noted(page: dict[str, Any], note: str) -> dict[str, Any]:
    return {**page, "text": f"{page['text']}\n    Note: {note}", "notes": [*page["notes"], note]}


def _line(one: Difference) -> dict[str, Any]:
    """A regression in the form of an SLO line that failed."""
    before, after, change = one.shown()
    return {
        "metric": one.name,
        "expression": "not worse than the baseline",
        "measured": _plain(one.after),
        "interval": None,
        "verdict": "FAIL",
        "line": None,
        "shown": f"{before} → {after}, {change}",
        "excess": _plain(1 + abs(one.relative)),
        "reason": f"p = {one.p:.2g} over {one.pairs} pairs under the same luck",
    }


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else "Infinity"


def _numbers(values: Mapping[str, Sequence[float | str | None]]) -> dict[str, list[float]]:
    return {name: [math.nan if one is None else float(one) for one in row] for name, row in values.items()}
