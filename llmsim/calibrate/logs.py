"""Calls out of logs that exist already: a saved result, a table with columns of any name, LiteLLM, OpenTelemetry."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from llmsim.calibrate.calls import Calls, calls_of
from llmsim.calibrate.formulas import FIELDS, formula, number_of
from llmsim.calibrate.log_rows import LITELLM, OTLP, OWN_ATTEMPTS, OWN_CALLS, Row, rows_of
from llmsim.calibrate.outcome_words import outcome_of
from llmsim.errors import LlmsimError

__all__ = ["Log", "read_log"]

_SHOWN = 5  #: rows that are named among those left out
_DATED_S = 1e9  #: September 2001 and later: no log of an LLM is older, and no other clock reads as much
_MOST = 1e9  #: tokens or seconds; more are a mistake
_BETWEEN_S = 3600.0  #: between runs that have each a clock of its own
#: A file of which more rows than this share go back in time is in another order than that of time (chosen: one of
#: several runs has one such row a run, and a run has more than ten calls).
_SHUFFLED = 0.1
_APART_S = 1e6  #: between calls of which nobody said when they were sent


class Log(NamedTuple):
    """What a log tells of one upstream."""

    calls: Calls
    kind: str  #: what kind of log it was taken for
    notes: tuple[str, ...]  #: what was left out, and why
    when: str = ""  #: the days of the calls; empty if it does not say


@dataclass(frozen=True)
class _One:
    """A row in our terms, or why it is none."""

    number: int
    sent_s: float | None
    ttft_s: float | None
    e2e_s: float | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    outcome: str
    cost_usd: float | None
    model: str
    upstream: str
    status: int = 0
    retry_after_s: float | None = None
    server_s: float | None = None
    connect_s: float | None = None
    run: str = ""
    wrong: str = ""


def read_log(path: str | Path, *, mapping: Mapping[str, str] | None = None, provider: str = "", model: str = "") -> Log:
    """The calls to one upstream in a log.

    Parameters
    ----------
    path
        A directory that ``llmsim run --out`` wrote; a CSV, JSON, JSONL or Parquet file with a row for each call, of
        which LiteLLM's spend logs and the calls of ``llmsim calibrate probe`` are known without a mapping; spans of
        OpenTelemetry as OTLP JSON (GenAI conventions).
    mapping
        By field of `llmsim.calibrate.formulas.FIELDS`, the column or sum of columns where it is.
    provider, model
        Whose calls, where there are several.

    Raises
    ------
    LlmsimError
        It cannot be read, or tells too little; with what to write instead.
    """
    place = Path(path)
    if place.is_dir():
        if mapping:
            raise LlmsimError(f"{path} is a saved result, whose columns are known; leave --map out")
        return _result(place, provider, model)
    kind, rows = rows_of(place)
    if kind in ("table", "") and not mapping:
        columns = ", ".join(list(rows[0].values)[:20]) if rows else "none"
        raise LlmsimError(
            f"{path}: this is no log that is known; say where things stand, as in --map sent_s=time "
            f"--map ttft_s=first_token_ms/1000 --map e2e_s=total_ms/1000 --map input_tokens=prompt --map "
            f"output_tokens=completion. Its columns: {columns}"
        )
    known = {"litellm": LITELLM, "otlp": OTLP, "attempts": OWN_ATTEMPTS, "calls": OWN_CALLS}.get(kind, {})
    formulas = {**known, **(mapping or {})}
    _check(formulas, path)
    if kind == "attempts" and "run" not in (mapping or {}):
        _check_once(rows, path)
    readers = {field: formula(text) for field, text in formulas.items()}
    found = [_read(row, readers, formulas) for row in rows]
    return _chosen(found, kind, str(path), provider, model, timed="sent_s" in formulas)


def _result(place: Path, provider: str, model: str) -> Log:
    from llmsim.report.save import load_result

    result = load_result(place)
    names = Counter(result.attempts["upstream"].cast(pl.String).to_list())
    chosen = provider or _only(names, str(place), "provider")
    if chosen not in names:
        raise LlmsimError(f"{place}: nobody called {chosen!r}; {_told(names)}")
    if model:
        raise LlmsimError(f"{place}: a saved result has one model a provider; leave --model out")
    return Log(calls_of([result], chosen), "result", ())


def _check(formulas: Mapping[str, str], path: str | Path) -> None:
    needed = ("ttft_s", "e2e_s", "input_tokens", "output_tokens")
    absent = [field for field in needed if field not in formulas]
    if absent:
        told = "; ".join(f"{field}: {FIELDS[field]}" for field in absent)
        raise LlmsimError(f"{path}: add --map {absent[0]}=COLUMN. Missing: {told}")


def _check_once(rows: list[Row], path: str | Path) -> None:
    """Refuse attempts of several results in one file: they have the same names, and one clock."""
    seen: dict[tuple[Any, ...], int] = {}
    for row in rows:
        key = tuple(row.values.get(name) for name in ("replication", "request_id", "attempt"))
        if None in key:
            return
        if key in seen:
            raise LlmsimError(
                f"{path}: attempt {key[2]} of request {key[1]} stands in lines {seen[key]} and {row.number}. These are "
                "several results; give one file for each, or say which column tells them apart: --map run=COLUMN"
            )
        seen[key] = row.number


def _read(row: Row, readers: Mapping[str, Callable[[Mapping[str, Any]], Any]], formulas: Mapping[str, str]) -> _One:
    def number(field: str) -> float | None:
        return number_of(readers[field](row.values)) if field in readers else None

    def text(field: str) -> str:
        value = readers[field](row.values) if field in readers else None
        return "" if value is None else str(value)

    ttft_s, e2e_s = number("ttft_s"), number("e2e_s")
    said = text("outcome")
    outcome = outcome_of(said) if said else ("ok" if ttft_s is not None and e2e_s is not None else "error")
    tokens = {field: number(field) for field in ("input_tokens", "cached_tokens", "output_tokens")}
    wrong = _wrong({"ttft_s": ttft_s, "e2e_s": e2e_s, **tokens}, formulas) if outcome == "ok" else ""
    counts = {field: int(value) if value is not None and 0 <= value < _MOST else 0 for field, value in tokens.items()}
    counts["cached_tokens"] = min(counts["cached_tokens"], counts["input_tokens"])
    sent_s = number("sent_s")
    if "sent_s" in readers and (sent_s is None or not math.isfinite(sent_s)):
        wrong = wrong or f"{formulas['sent_s']} is no time"
    return _One(
        row.number, sent_s, ttft_s, e2e_s, **counts, outcome=outcome, cost_usd=number("cost_usd"), model=text("model"),
        upstream=text("upstream"), status=_status(number("status"), said), retry_after_s=number("retry_after_s"),
        server_s=number("server_s"), connect_s=number("connect_s"), run=text("run"), wrong=wrong,
    )  # fmt: skip


def _wrong(values: Mapping[str, float | None], formulas: Mapping[str, str]) -> str:
    """Why an answered call cannot be used; empty if it can."""
    for field, value in values.items():
        if value is None and field != "cached_tokens":
            return f"{formulas.get(field, field)} is missing"
        if value is not None and not 0 <= value < _MOST:
            return f"{formulas.get(field, field)} is {value:g}"
    ttft_s, e2e_s = values["ttft_s"] or 0.0, values["e2e_s"] or 0.0
    if ttft_s > e2e_s + 1e-6:
        return f"its first token came after its end ({ttft_s:g} s, {e2e_s:g} s)"
    return "" if ttft_s else "its first token came at once"


def _status(told: float | None, outcome: str) -> int:
    """The HTTP status: from its own column, or because the outcome is one."""
    found = told if told is not None else number_of(outcome)
    return int(found) if found is not None and 100 <= found < 600 else 0


def _chosen(found: list[_One], kind: str, path: str, provider: str, model: str, *, timed: bool) -> Log:
    """The rows of one upstream and model, as calls."""
    found = _named(_named(found, "upstream", provider, path), "model", model, path)
    good = [one for one in found if not one.wrong]
    bad = [one for one in found if one.wrong]
    told = "; ".join(f"{one.number}: {one.wrong}" for one in bad[:_SHOWN])
    if len(bad) > len(good):
        raise LlmsimError(f"{path}: {len(bad)} of {len(found)} rows cannot be used. By line: {told}")
    notes = [f"{len(bad)} of {len(found)} rows were left out. By line: {told}"] if bad else []
    if not good:
        raise LlmsimError(f"{path}: there is no call in it")
    good, times_s = _on_one_clock(good, path, timed=timed)
    if times_s and len({one.run for one in good}) > 1:
        notes.append(f"{len({one.run for one in good})} runs on one clock were taken one after the other")
    if not timed:
        notes.append("nothing says when the calls were sent: they count as if each had been alone")
    frame = pl.DataFrame(
        [
            {
                "sent_s": times_s[number] if timed else _APART_S * number,
                "ttft_s": one.ttft_s,
                "e2e_s": one.e2e_s,
                "input_tokens": one.input_tokens,
                "cached_tokens": one.cached_tokens,
                "output_tokens": one.output_tokens,
                "outcome": one.outcome,
                "cost_usd": one.cost_usd,
                "status": one.status,
                "retry_after_s": one.retry_after_s,
                "server_s": one.server_s,
                "connect_s": one.connect_s or 0.0,
            }
            for number, one in enumerate(good)
        ],
        schema=dict.fromkeys(
            ("sent_s", "ttft_s", "e2e_s", "cost_usd", "retry_after_s", "server_s", "connect_s"), pl.Float64
        )
        | dict.fromkeys(("input_tokens", "cached_tokens", "output_tokens", "status"), pl.Int64)
        | {"outcome": pl.String},
    ).with_columns(pl.col("sent_s") - pl.col("sent_s").min())
    days = _days([one.sent_s for one in good if one.sent_s is not None]) if timed else ""
    called = next((one.model for one in good if one.model), model)
    name = provider or next((one.upstream for one in good if one.upstream), "") or called or "upstream"
    return Log(Calls.of(name, called, frame), kind, tuple(notes), days)


def _on_one_clock(found: list[_One], path: str, *, timed: bool) -> tuple[list[_One], list[float]]:
    """The calls, and when they were sent: runs of which each has a clock of its own an hour behind each other.

    Raises
    ------
    LlmsimError
        The clock begins again, and nothing says where runs begin.
    """
    if not timed:
        return found, []
    runs: dict[str, list[_One]] = {}
    for one in found:
        runs.setdefault(one.run, []).append(one)
    if len(runs) == 1 and not found[0].run:
        _check_clock(found, path)
    ordered, times_s, begin_s = [], list[float](), 0.0
    for run in runs.values():
        first_s = min(one.sent_s or 0.0 for one in run)
        lasts_s = max((one.sent_s or 0.0) - first_s + (one.e2e_s or 0.0) for one in run)
        ordered += run
        times_s += [(one.sent_s or 0.0) - first_s + begin_s for one in run]
        begin_s += lasts_s + _BETWEEN_S
    return ordered, times_s


def _check_clock(found: list[_One], path: str) -> None:
    """Refuse a clock that is no date and begins again: its runs would be fitted as if they had met."""
    sent_s = [one.sent_s or 0.0 for one in found]
    if min(sent_s) > _DATED_S:
        return  # at one moment there is one run, or there really were several
    # Rows in the order in which calls ended go back by the length of a call at most.
    longest_s = max((one.e2e_s or 0.0 for one in found), default=0.0)
    backs = [at for at in range(1, len(found)) if sent_s[at] < sent_s[at - 1] - longest_s]
    if not backs or len(backs) > _SHUFFLED * len(found):
        return
    raise LlmsimError(
        f"{path}: the clock goes back {len(backs)} times, first in line {found[backs[0]].number} (from "
        f"{sent_s[backs[0] - 1]:g} s to {sent_s[backs[0]]:g} s). If these are several runs, say which column tells "
        "them apart: --map run=COLUMN, or give one file for each; if it is one clock, and the rows are in another "
        "order: --map run=1"
    )


def _days(sent_s: list[float]) -> str:
    """From which day to which, if these are seconds since 1970."""
    ends = [datetime.fromtimestamp(one, UTC).date().isoformat() for one in (min(sent_s), max(sent_s)) if one > _DATED_S]
    return " to ".join(dict.fromkeys(ends)) if len(ends) == 2 else ""


def _named(found: list[_One], field: str, wanted: str, path: str) -> list[_One]:
    """Those of the wanted upstream or model, and failed ones of which nobody knows."""
    names = Counter(name for one in found if (name := getattr(one, field)))
    if not names:  # the log does not say
        return found
    chosen = wanted or _only(names, path, "provider" if field == "upstream" else "model")
    if chosen not in names:
        raise LlmsimError(f"{path}: nobody called {chosen!r}; {_told(names)}")
    return [one for one in found if getattr(one, field) in (chosen, "")]


def _only(names: Counter[str], path: str, what: str) -> str:
    if len(names) == 1:
        return next(iter(names))
    raise LlmsimError(f"{path}: whose calls? Add --{what} NAME; {_told(names)}")


def _told(names: Counter[str]) -> str:
    return "it has " + ", ".join(f"{name or 'unnamed'} ({count})" for name, count in names.most_common(12))
