"""Every column of every frame of a result: the recorded ones, those derived from them, and those of the windows."""

from __future__ import annotations

from llmsim.telemetry.columns import ATTEMPTS, EVENTS, REQUESTS, Column
from llmsim.telemetry.outcomes import CLASSES

__all__ = ["COLUMNS", "WINDOWS", "WINDOW_PERCENTILES"]

WINDOW_PERCENTILES = (50, 90, 95, 99)

_REPLICATION = Column("replication", "i4", "which replication, from 0")
_REQUEST_ID = Column("request_id", "text", "session/step/user_retry")
_WINDOW = Column(
    "window", "category", "warm_up, measured or drain: when its request arrived; metrics use measured only"
)

WINDOWS: tuple[Column, ...] = (
    _REPLICATION,
    Column("start_s", "f8", "start of the window; requests belong to it by their arrival"),
    Column("end_s", "f8", "its end, 10 s later or the end of the measured time"),
    Column("requests", "i8", "requests that arrived in it, user retries included"),
    Column("offered_per_s", "f8", "the same per second"),
    Column("goodput_per_s", "f8", "of these, per second, those that got their answer"),
    *(Column(one.name, "i8", f"requests of the class: {one.label}") for one in CLASSES),
    Column("error_rate", "f8", "failures / requests"),
    *(
        Column(f"ttft_p{p}_s", "f8", f"p({p}) of ttft_s, failures count as +inf; null: too few requests")
        for p in WINDOW_PERCENTILES
    ),
    *(
        Column(f"ttft_ok_p{p}_s", "f8", f"p({p}) of ttft_s over successes; null: too few of them")
        for p in WINDOW_PERCENTILES
    ),
    Column("sent_upstream", "i8", "requests that were sent to an upstream at least once"),
    Column("attempts", "i8", "calls to upstreams for these requests"),
    Column("retry_amplification", "f8", "attempts / sent_upstream"),
    Column("fallbacks", "i8", "times one of them was routed to another upstream"),
    Column("fallback_rate", "f8", "answered by other than their first choice / sent_upstream"),
    Column("cost_usd", "f8", "billed for them"),
    Column("saved_usd", "f8", "what answers from the cache would have cost"),
)

#: What stands in ``result.requests``, ``.attempts``, ``.events`` and ``.windows``, in this order.
COLUMNS: dict[str, tuple[Column, ...]] = {
    "requests": (
        _REPLICATION,
        _REQUEST_ID,
        *REQUESTS,
        Column("tpot_s", "f8", "(e2e_s - ttft_s) / (output_tokens - 1) of a finished answer that was streamed"),
        _WINDOW,
    ),
    "attempts": (_REPLICATION, _REQUEST_ID, *ATTEMPTS, _WINDOW),
    "events": (_REPLICATION, *EVENTS),
    "windows": WINDOWS,
}
