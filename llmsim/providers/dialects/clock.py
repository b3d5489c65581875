"""The wall clock as answers show it: RFC 3339, Go's durations, and midnight on the Pacific coast."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

__all__ = ["go_duration", "next_pacific_midnight", "rfc3339"]

_START = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_S = 86400


def rfc3339(posix_s: float) -> str:
    """A moment in UTC to the second, as Anthropic writes it; rounded up, so that it is not too early.

    Examples
    --------
    >>> rfc3339(1_767_225_600.2)
    '2026-01-01T00:00:01Z'
    """
    return (_START + timedelta(seconds=math.ceil(posix_s))).strftime("%Y-%m-%dT%H:%M:%SZ")


def go_duration(seconds: float) -> str:
    """A duration as Go prints it, cut to milliseconds, which is what OpenAI and Groq send.

    Seen: 120ms, 913ms (of 0.9136 s), 21.037s (of 21.0375 s), 6m0s, 19m45.394s.

    Examples
    --------
    >>> [go_duration(s) for s in (0, 0.12, 0.9136, 21.0375, 360, 1185.394, 86.4, 5011)]
    ['0s', '120ms', '913ms', '21.037s', '6m0s', '19m45.394s', '1m26.4s', '1h23m31s']
    """
    whole_ms = math.floor(seconds * 1000 + 1e-6)  # 0.12 s may have come out as 0.11999999999
    if whole_ms < 1000:
        return f"{whole_ms}ms" if whole_ms else "0s"
    minutes, ms = divmod(whole_ms, 60_000)
    text = f"{ms / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if minutes:
        text = f"{minutes % 60}m{text}"
    return f"{minutes // 60}h{text}" if minutes >= 60 else text


def _sunday(year: int, month: int, nth: int) -> datetime:
    first = datetime(year, month, 1, tzinfo=UTC)
    return first + timedelta(days=(6 - first.weekday()) % 7 + 7 * (nth - 1))


def _pacific_offset_h(day: datetime) -> int:
    """Hours that the Pacific coast is behind UTC at the start of a local day.

    Daylight time runs from the second Sunday of March to the first Sunday of November, changing at 2 o'clock, so not
    yet at the midnight before (15 U.S.C. 260a, Energy Policy Act of 2005). A rule of its own, since small machines have
    no time zone data.
    """
    return 7 if _sunday(day.year, 3, 2) < day <= _sunday(day.year, 11, 1) else 8


def next_pacific_midnight(posix_s: float) -> float:
    """POSIX time of the first midnight in California after this moment: when Gemini's daily quotas start anew.

    Examples
    --------
    >>> rfc3339(next_pacific_midnight(1_767_225_600)), rfc3339(next_pacific_midnight(1_782_000_000))
    ('2026-01-01T08:00:00Z', '2026-06-21T07:00:00Z')
    """
    day = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=math.floor(posix_s / _DAY_S) - 1)
    while True:
        midnight = (day - _START).total_seconds() + _pacific_offset_h(day) * 3600
        if midnight > posix_s:
            return midnight
        day += timedelta(days=1)
