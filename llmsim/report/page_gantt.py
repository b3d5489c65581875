"""One request as a chart for the page: a lane for each attempt, what it waited for, how it ended, and the gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmsim.report.explain import cache_told, end_told, records_of
from llmsim.report.figures import clock
from llmsim.report.page_svg import Drawing, fill_of, provider_style
from llmsim.telemetry.outcomes import CLASS_OF_WORD
from llmsim.units import counted, format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["gantt", "gantt_key", "told_of"]

_WIDTH, _LEFT, _RIGHT = 1120.0, 210.0, 810.0  # px: lanes between left and right
_LANE = 21.0
_MOST = 30  #: lanes; of a request with more attempts the last ones, which decided, and the first
_GAP_S = 0.0005  # shorter is no wait

#: How an attempt ended, as a shape around a point: told apart without colour.
_MARKS: dict[str, tuple[str, str, str]] = {
    "answered": ("M-4.5 0 -1.5 3.5 5 -4.5", "tick", "answered"),
    "rate_limited": ("M0 -5.5 5.5 4.5H-5.5Z", "mark", "429, rate limited"),
    "server_errors": ("M-4.5 -4.5H4.5V4.5H-4.5Z", "mark", "5xx or no connection"),
    "timeouts": ("M5.5 0A5.5 5.5 0 1 1 5.5 -.1ZM0 -3.5V0H3", "hollow", "timed out"),
    "broken": ("M-4.5 -4.5 4.5 4.5M4.5 -4.5 -4.5 4.5", "cross", "stream broke"),
    "cancelled": ("M0 -6.5V6.5", "cross", "cancelled: no longer wanted"),
    "other": ("M0 -5.5 5.5 0 0 5.5 -5.5 0Z", "mark", "another error"),
}
_CACHE = ("M5 0A5 5 0 1 1 5 -.1Z", "mark", "from the cache")
_EVENT = ("M0 -5.5 5.5 0 0 5.5 -5.5 0Z", "hollow", "event of a policy")
_FALLBACK = ("M-4 -4H4L0 3Z", "mark", "fallback")
_ALL_MARKS = (*_MARKS.values(), _FALLBACK, _CACHE, _EVENT)


def _kind(outcome: str) -> str:
    if outcome in ("stream_broken", "cancelled"):
        return "broken" if outcome == "stream_broken" else outcome
    found = CLASS_OF_WORD.get(outcome, "other")
    return found if found in _MARKS else "other"


def gantt(result: Result, request_id: str, replication: int, name: str) -> str:
    """The chart of one request.

    Parameters
    ----------
    result
        Any result.
    request_id, replication
        Which request.
    name
        Of the drawing, unlike any other's in the page.

    Raises
    ------
    LlmsimError
        If there is no such request.
    """
    return _Chart(result, request_id, replication, name).svg()


class _Chart:
    def __init__(self, result: Result, request_id: str, replication: int, name: str) -> None:
        self._request, every, self._events = records_of(result, request_id, replication)
        self._start_s = float(self._request["arrival_s"])
        self._e2e_s = float(self._request["e2e_s"] or 0.0)
        last_s = max((one["end_s"] for one in every), default=self._start_s)
        self._whole_s = max(self._e2e_s, last_s - self._start_s, 1e-3)
        self._left_out = max(0, len(every) - _MOST)
        self._every = every
        self._attempts = every if not self._left_out else [*every[: _MOST // 2], *every[-(_MOST - _MOST // 2) :]]
        self._styles = {name: provider_style(number) for number, name in enumerate(result.scenario.providers)}
        self._faults = [
            fault
            for fault in result.scenario.faults
            if fault.at <= self._start_s + self._whole_s and fault.end_s >= self._start_s
        ]
        self._cache = cache_told(result, self._request).strip()
        lanes = len(self._faults) + 1 + len(self._attempts) + (self._left_out > 0)
        self._bottom = 6 + _LANE * lanes
        title = f"Request {request_id} of replication {replication}, attempt by attempt"
        self._drawing = Drawing(name, _WIDTH, self._bottom + 38, title, self._words())

    def svg(self) -> str:
        drawing = self._drawing
        drawing.time_axis(_LEFT, _RIGHT, self._bottom, self._whole_s, above=6, since=True)
        y = 6 + _LANE / 2
        for fault in self._faults:
            start, end = self._x(max(fault.at, self._start_s)), self._x(min(fault.end_s, self._start_s + self._whole_s))
            drawing.text(_LEFT - 10, y + 4, f"fault {fault.name}", anchor="end", look="small")
            drawing.rect(start, y - 3, max(end - start, 1.0), 6, look="fault")
            drawing.text(_RIGHT + 14, y + 4, f"{fault.target}: {', '.join(fault.effects)}", look="small")
            y += _LANE
        self._gateway(y)
        before_s, before_y = self._start_s, y
        for number, one in enumerate(self._attempts):
            y += _LANE
            if self._left_out and number == _MOST // 2:
                drawing.text(
                    _LEFT - 10, y + 4, f"… {counted(self._left_out, 'attempt')} more …", anchor="end", look="small"
                )
                before_s, y = one["start_s"], y + _LANE
            self._attempt(one, y, before_s, before_y)
            before_s, before_y = max(before_s, one["end_s"]), y
        at = (_LEFT + _RIGHT) / 2
        drawing.text(
            at, self._bottom + 34, f"since its arrival at {clock(self._start_s)}", anchor="middle", look="small"
        )
        return drawing.svg()

    def _x(self, at_s: float) -> float:
        return _LEFT + (_RIGHT - _LEFT) * min(max((at_s - self._start_s) / self._whole_s, 0.0), 1.0)

    def _gateway(self, y: float) -> None:
        """The request's whole life, what policies said in it, and how it ended."""
        drawing, over = self._drawing, self._x(self._start_s + self._e2e_s)
        drawing.text(_LEFT - 10, y + 4, "request at the gateway", anchor="end")
        drawing.line(_LEFT, y, over, y, "life")
        for event in self._events:
            if event["kind"] in ("retry", "fallback"):
                continue  # told by the lanes
            hint = f"{event['kind']} at +{format_duration(event['time_s'] - self._start_s)}"
            drawing.shape(_EVENT[0], x=self._x(event["time_s"]), y=y, look=_EVENT[1], hint=hint)
        if self._request["served_from"] == "cache":
            drawing.shape(_CACHE[0], x=over, y=y, look=_CACHE[1], hint=_CACHE[2])
        drawing.line(over, y - 7, over, y + 7, "axis")
        ok = self._request["outcome"] == "ok" and not self._request["false_hit"]
        drawing.text(_RIGHT + 14, y + 4, _cut(self._end()), look="good head" if ok else "bad head")

    def _end(self) -> str:
        where = " from the cache" if self._request["served_from"] == "cache" else ""
        wrong = ", WRONG" if self._request["false_hit"] else ""
        return f"{self._request['outcome']}{where} after {format_duration(self._e2e_s)}{wrong}"

    def _attempt(self, one: dict[str, Any], y: float, before_s: float, before_y: float) -> None:
        drawing, style = self._drawing, self._styles.get(one["upstream"], provider_style(0))
        start, end = self._x(one["start_s"]), self._x(one["end_s"])
        drawing.text(_LEFT - 10, y + 4, f"{one['attempt']} · {one['cause']} · {one['upstream']}", anchor="end")
        if one["start_s"] - before_s > _GAP_S:
            self._gap(one, y, before_s)
        if one["cause"] == "fallback":
            drawing.path([(start, before_y + 6), (start, y - 6)], look="link")
            drawing.shape(_FALLBACK[0], x=start, y=y - 6, look=_FALLBACK[1], hint=f"fallback to {one['upstream']}")
        first_s = one["end_s"] if one["first_s"] is None else one["first_s"]
        queued, first = self._x(min(first_s, one["start_s"] + (one["queue_s"] or 0.0))), self._x(first_s)
        if queued > start + 0.5:
            drawing.rect(start, y - 5, queued - start, 10, look="queue", hint="in the provider's queue")
        drawing.rect(queued, y - 5, first - queued, 10, fill=style[0], look="waiting", hint="waiting for a first token")
        drawing.rect(first, y - 6, end - first, 12, fill=fill_of(style), hint="streaming")
        shape, look, meaning = _MARKS[_kind(one["outcome"])]
        drawing.shape(shape, x=max(end, start + 3), y=y, look=look, hint=meaning)
        drawing.text(_RIGHT + 14, y + 4, _cut(told_of(one)), look="small")

    def _gap(self, one: dict[str, Any], y: float, before_s: float) -> None:
        """Nothing was under way upstream: a backoff, as a rule."""
        start, end = self._x(before_s), self._x(one["start_s"])
        self._drawing.line(start, y, end, y, "wait")
        announced = any(event["kind"] == "retry" and abs(event["time_s"] - before_s) < 0.01 for event in self._events)
        told = f"{'backoff' if announced else 'waited'} {format_duration(one['start_s'] - before_s)}"
        if end - start > Drawing.width_of(told) + 8:
            self._drawing.text((start + end) / 2, y + 4, told, anchor="middle", look="small")

    def _words(self) -> str:
        attempts = [f"{one['attempt']}, {one['cause']} at {one['upstream']}: {told_of(one)}" for one in self._every]
        return ". ".join([end_told(self._request).removeprefix("= "), *attempts, self._cache]).strip(". ") + "."


def told_of(one: dict[str, Any]) -> str:
    """How an attempt ended and what it took."""
    status = f" {one['status']}" if one["status"] else ""
    if one["first_s"] is None:
        return f"{one['outcome']}{status} after {format_duration(one['end_s'] - one['start_s'])}"
    queue = f"queue {format_duration(one['queue_s'])}, " if one["queue_s"] else ""
    ttft = one["first_s"] - one["start_s"] - (one["queue_s"] or 0.0)
    parts = f"{queue}ttft {format_duration(ttft)}, stream {format_duration(one['end_s'] - one['first_s'])}"
    return f"{one['outcome']}{status}: {parts}"


def _cut(text: str, most: int = 46) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def gantt_key(result: Result) -> str:
    """What bars and marks mean, in as many rows as it takes."""
    names = [f"{name}, streaming" for name in result.scenario.providers]
    bars = ["waiting for a first token", "in the provider's queue", "backoff or another wait"]
    labels = [*names, *bars, *(meaning for _, _, meaning in _ALL_MARKS)]
    places: list[tuple[float, float]] = []
    x, y = 0.0, 14.0
    for number, label in enumerate(labels):
        wide = 20 + Drawing.width_of(label)
        if x and (x + wide > _WIDTH or number == len(names) + len(bars)):  # marks begin a row of their own
            x, y = 0.0, y + 20
        places.append((x, y))
        x += wide + 18
    drawing = Drawing("gantt-key", _WIDTH, y + 12, "Key to the charts of requests", _meanings())
    for number, (label, (x, y)) in enumerate(zip(labels, places, strict=True)):
        if number < len(names):
            drawing.key(x, y, provider_style(number), label)
            continue
        if number < len(names) + len(bars):
            _bar_key(drawing, number - len(names), x, y)
        else:
            shape, look, _ = _ALL_MARKS[number - len(names) - len(bars)]
            drawing.shape(shape, x=x + 7, y=y - 4, look=look)
        drawing.text(x + 20, y, label, look="small")
    return drawing.svg()


def _bar_key(drawing: Drawing, number: int, x: float, y: float) -> None:
    if number == 2:
        drawing.line(x, y - 4, x + 14, y - 4, "wait")
        return
    look = ("waiting", "queue")[number]
    drawing.rect(x, y - 9, 14, 10, fill="" if number else provider_style(0)[0], look=look)


def _meanings() -> str:
    return f"Marks: {', '.join(meaning for _, _, meaning in _ALL_MARKS)}."
