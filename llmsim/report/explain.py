"""One request as a waterfall: what each attempt waited for, what happened between them, and how it ended."""

from __future__ import annotations

import json
import math
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.report.figures import clock, usd
from llmsim.units import counted, format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["cache_told", "end_told", "explain", "records_of"]

_WIDTH = 48  # characters for the whole request
_QUEUE, _TTFT, _STREAM = "░", "▒", "█"


class _Line(NamedTuple):
    at_s: float
    order: int
    text: str


def explain(result: Result, request_id: str, replication: int = 0) -> str:
    """What happened to one request.

    Parameters
    ----------
    result
        Any result.
    request_id
        ``session/step/user_retry``, as in ``result.requests``; ``session`` alone means ``session/0/0``.
    replication
        Which replication.

    Raises
    ------
    LlmsimError
        If there is no such request; the message names some that there are.
    """
    request, attempts, events = records_of(result, request_id, replication)
    lines = [*_attempt_lines(request, attempts), *_gap_lines(request, attempts), *_event_lines(request, events)]
    lines += _fault_lines(result, request)
    body = [line.text for line in sorted(lines, key=lambda line: (line.at_s, line.order))]
    again = _again(result, request)
    cache = cache_told(result, request)
    blocks = [_head(request, replication), body, [end_told(request), *(line for line in (cache, again) if line)]]
    if attempts:
        blocks[-1].append(_LEGEND)
    return "\n\n".join("\n".join(block) for block in blocks if block)


def records_of(
    result: Result, request_id: str, replication: int = 0
) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of a request, of its attempts in their order, and of the events about it.

    Raises
    ------
    LlmsimError
        If there is no such request; the message names some that there are.
    """
    address = _address(request_id)
    mine = pl.col("replication") == replication
    found = result.requests.filter(mine & _is(address)) if address else result.requests.clear()
    if found.is_empty():
        raise LlmsimError(_unknown(result, request_id, address, replication))
    request = found.row(0, named=True)
    attempts = result.attempts.filter(mine & _is(address)).sort("attempt").to_dicts()
    # Events carry the id as text only.
    events = result.events.filter(mine & (pl.col("request_id") == request["request_id"])).to_dicts()
    return request, attempts, events


_LEGEND = f"  {_QUEUE} queue  {_TTFT} waiting for the first token  {_STREAM} stream"


def _address(request_id: str) -> tuple[int, int, int] | None:
    found = re.fullmatch(r"\s*(\d+)(?:/(\d+))?(?:/(\d+))?\s*", request_id)
    return (int(found[1]), int(found[2] or 0), int(found[3] or 0)) if found else None


def _is(address: tuple[int, int, int] | None) -> pl.Expr:
    assert address is not None
    session, step, retry = address
    return (pl.col("session") == session) & (pl.col("step") == step) & (pl.col("user_retry") == retry)


def _unknown(result: Result, request_id: str, address: tuple[int, int, int] | None, replication: int) -> str:
    numbers = [one.number for one in result.replications]
    if replication not in numbers:
        made = f"{min(numbers)} to {max(numbers)}" if numbers else "none"
        return f"there is no replication {replication}; this result has {made}"
    requests = result.requests.filter(pl.col("replication") == replication)
    what = f"there is no request {request_id!r} in replication {replication}"
    if address is None:
        what += "; an id is session/step/user_retry, such as 17/0/0"
    else:
        same = requests.filter(pl.col("session") == address[0])["request_id"].to_list()
        if same:
            return f"{what}; of session {address[0]} there is {', '.join(same[:5])}"
        ids = requests["request_id"]
        near = get_close_matches(request_id, ids.head(20_000).to_list(), n=1)
        if near:
            what += f"; did you mean {near[0]}"
    failed = requests.filter(pl.col("outcome") != "ok").select("request_id", "outcome").head(3).rows()
    if failed:
        what += ". Some that failed: " + ", ".join(f"{one} ({outcome})" for one, outcome in failed) + "."
    return what


def _head(request: dict[str, Any], replication: int) -> list[str]:
    labels = [f"{name} {request[name]}" for name in ("route", "tenant", "user") if request[name]]
    return [
        f"request {request['request_id']} of replication {replication}, arrived at {_clock(request['arrival_s'])}, "
        f"{request['input_tokens']} input tokens" + "".join(f", {label}" for label in labels),
    ]


def _clock(seconds: float) -> str:
    """2:10.3, as an attempt is often shorter than a second."""
    tenths = math.floor(seconds * 10 + 0.5)
    whole, rest = divmod(abs(tenths), 10)
    return f"{'-' if tenths < 0 else ''}{clock(whole)}.{rest}"


def _attempt_lines(request: dict[str, Any], attempts: list[dict[str, Any]]) -> list[_Line]:
    lines = []
    width = max((len(one["upstream"]) for one in attempts), default=0)
    for one in attempts:
        start_s = one["start_s"] - request["arrival_s"]
        status = f" {one['status']}" if one["status"] else ""
        won = ", answered the caller" if one["won"] and one["outcome"] == "ok" else ""
        text = (
            f"  {_at(start_s)} {one['attempt']:>2} {one['cause']:<8} {one['upstream']:<{width}} "
            f"│{_bar(request, one)}│ {one['outcome']}{status}{_phases(one)}{won}"
        )
        lines.append(_Line(start_s, 1, text))
    return lines


def _at(seconds: float) -> str:
    return f"+{seconds:>7.3f}s" if seconds < 1000 else f"+{seconds:>7.0f}s"


def _bar(request: dict[str, Any], attempt: dict[str, Any]) -> str:
    """The attempt's share of the request's time, phase by phase."""
    whole = request["e2e_s"] or 0.0
    if whole <= 0:
        return " " * _WIDTH

    def column(at_s: float) -> int:
        part = (at_s - float(request["arrival_s"])) / float(whole)
        return min(_WIDTH, max(0, round(part * _WIDTH)))

    start, end = column(attempt["start_s"]), column(attempt["end_s"])
    if end == start:  # too short to see; seen all the same
        start, end = (start, start + 1) if start < _WIDTH else (start - 1, start)
    first = end if attempt["first_s"] is None else min(end, max(start, column(attempt["first_s"])))
    queued = min(first, column(attempt["start_s"] + (attempt["queue_s"] or 0.0)))
    bar = " " * start + _QUEUE * max(0, queued - start)
    bar += _TTFT * (first - len(bar)) if first > len(bar) else ""
    bar += _STREAM * (end - len(bar)) if end > len(bar) else ""
    return bar.ljust(_WIDTH)


def _phases(attempt: dict[str, Any]) -> str:
    """`` after 5s`` or `` (queue 1s, ttft 300ms, stream 2s)``."""
    if attempt["first_s"] is None:
        return f" after {format_duration(attempt['end_s'] - attempt['start_s'])}"
    queue_s = attempt["queue_s"] or 0.0
    parts = [
        ("queue", queue_s),
        ("ttft", attempt["first_s"] - attempt["start_s"] - queue_s),
        ("stream", attempt["end_s"] - attempt["first_s"]),
    ]
    told = ", ".join(f"{name} {format_duration(length)}" for name, length in parts if length > 0)
    tokens = f", {attempt['output_tokens']} tokens" if attempt["output_tokens"] else ""
    return f" ({told}{tokens})" if told else ""


def _gap_lines(request: dict[str, Any], attempts: list[dict[str, Any]]) -> list[_Line]:
    """Times in which nothing was under way upstream."""
    lines: list[_Line] = []
    busy_until = request["arrival_s"]
    over = request["arrival_s"] + (request["e2e_s"] or 0.0)
    for start_s, end_s in [*((one["start_s"], one["end_s"]) for one in attempts), (over, over)]:
        if start_s - busy_until > 0.0005:
            at_s = busy_until - request["arrival_s"]
            lines.append(_Line(at_s, 2, f"  {_at(at_s)}    waited {format_duration(start_s - busy_until)}"))
        busy_until = max(busy_until, end_s)
    return lines


def _event_lines(request: dict[str, Any], events: list[dict[str, Any]]) -> list[_Line]:
    lines = []
    for event in events:
        at_s = event["time_s"] - request["arrival_s"]
        fields = json.loads(event["detail"]) if event["detail"] else {}
        told = ", ".join(f"{name.removesuffix('_s')} {_field(name, value)}" for name, value in fields.items())
        policy = f" by {event['policy']}" if event["policy"] not in ("", event["kind"]) else ""
        about = f" of {event['upstream']}" if event["upstream"] else ""
        lines.append(_Line(at_s, 3, f"  {_at(at_s)}    · {event['kind']}{policy}{about}{': ' if told else ''}{told}"))
    return lines


def _field(name: str, value: Any) -> str:
    return format_duration(float(value)) if name.endswith("_s") and isinstance(value, int | float) else str(value)


def _fault_lines(result: Result, request: dict[str, Any]) -> list[_Line]:
    """Faults that were active while the request was."""
    start_s, end_s = request["arrival_s"], request["arrival_s"] + (request["e2e_s"] or 0.0)
    lines = []
    for fault in result.scenario.faults:
        if fault.at <= end_s and fault.end_s >= start_s:
            strength = fault.strength(max(fault.at, start_s))
            weaker = f", at {strength:.0%} of its strength" if strength < 1 and fault.strength(start_s) else ""
            about = f"{fault.name} of {fault.target} ({', '.join(fault.effects)}){weaker}"
            if fault.at <= start_s:
                lines.append(_Line(0.0, 0, f"  {_at(0.0)}    ! fault under way: {about}"))
            else:
                lines.append(_Line(fault.at - start_s, 0, f"  {_at(fault.at - start_s)}    ! fault begins: {about}"))
    return lines


def end_told(request: dict[str, Any]) -> str:
    """How it ended, after what time, who answered, and what it cost."""
    parts = [f"{request['outcome']} after {format_duration(request['e2e_s'] or 0.0)}"]
    if request["served_by"]:
        parts.append("from the cache" if request["served_from"] == "cache" else f"from {request['served_by']}")
    if request["ttft_s"] is not None:
        parts.append(f"first chunk after {format_duration(request['ttft_s'])}")
    if request["output_tokens"]:
        parts.append(f"{request['output_tokens']} tokens")
    if request["cost_usd"]:
        parts.append(usd(request["cost_usd"]))
    if request["leaked_streams"]:
        parts.append(f"{counted(request['leaked_streams'], 'stream')} leaked")
    return "= " + ", ".join(parts)


_JUDGED = {
    "other": "WRONG: other question",
    "outdated": "WRONG: outdated",
    "unknown": "right or wrong is unknown: no intents",
}


def cache_told(result: Result, request: dict[str, Any]) -> str:
    """What a cache did: what it found, how near that is, for whom it was made, and whether it was right."""
    told = [f"{request['cache_match']} match"] if request["cache_match"] else []
    if request["similarity"] is not None and request["cache_match"] != "exact":
        told.append(f"similarity {request['similarity']:.3f}" + ("" if told else " of the nearest, not served"))
    if request["verified"]:
        told.append(f"{request['verified']} by the verifier")
    if request["made_for"]:
        told.append(f"made for {request['made_for']}{_of_whom(result, request)}")
    if request["false_hit_reason"]:
        told.append(_JUDGED[request["false_hit_reason"]])
    if request["cross_scope"]:
        told.append("WRONG: not to be shared between them")
    if request["embedding_tokens"]:
        told.append(f"{request['embedding_tokens']} tokens embedded")
    return f"  Cache: {', '.join(told)}." if told else ""


def _of_whom(result: Result, request: dict[str, Any]) -> str:
    """The tenant and user that a cached answer was made for, if they are others than those who got it."""
    address = _address(request["made_for"])
    if address is None:
        return ""
    maker = result.requests.filter((pl.col("replication") == request["replication"]) & _is(address))
    if maker.is_empty():
        return ""
    other = maker.row(0, named=True)
    return "".join(f", {name} {other[name]}" for name in ("tenant", "user") if other[name] != request[name])


def _again(result: Result, request: dict[str, Any]) -> str:
    """The same user pressing retry."""
    later = result.requests.filter(
        (pl.col("replication") == request["replication"])
        & (pl.col("session") == request["session"])
        & (pl.col("step") == request["step"])
        & (pl.col("user_retry") == request["user_retry"] + 1)
    )
    if later.is_empty():
        return ""
    return f"  The user pressed retry: see {later['request_id'][0]} ({later['outcome'][0]})."
