"""Every column of every frame of a result: the recorded ones, those derived from them, and those of the windows."""

from __future__ import annotations

from llmsim.telemetry.columns import ATTEMPTS, EVENTS, REQUESTS, Column
from llmsim.telemetry.outcomes import CLASSES

__all__ = ["COLUMNS", "SESSIONS", "WINDOWS", "WINDOW_PERCENTILES"]

WINDOW_PERCENTILES = (50, 90, 95, 99)

_REPLICATION = Column("replication", "i4", "which replication, from 0")
_REQUEST_ID = Column("request_id", "text", "session/step/user_retry")
_WINDOW = Column(
    "window",
    "category",
    "warm_up, measured or drain: when its request arrived; cut_off: an interrupt of the run ended it; metrics use "
    "measured only",
)

WINDOWS: tuple[Column, ...] = (
    _REPLICATION,
    Column("start_s", "f8", "start of the window; requests belong to it by their arrival"),
    Column("end_s", "f8", "its end, 10 s later or the end of the measured time"),
    Column("requests", "i8", "requests that arrived in it, user retries included"),
    Column("offered_per_s", "f8", "the same per second"),
    Column("goodput_per_s", "f8", "of these, per second, those that got their answer"),
    *(Column(one.name, "i8", f"requests of the class: {one.label}") for one in CLASSES),
    Column("false_hits", "i8", "answers from the cache that were wrong; null: nothing tells"),
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

SESSIONS: tuple[Column, ...] = (
    _REPLICATION,
    Column("session", "i8", "which arrival of the scenario, from 0: first part of its requests' ids"),
    Column("route", "category", "route of the traffic mix"),
    Column("feature", "category", "feature of the product that the route serves"),
    Column("tenant", "category", "tenant"),
    Column("user", "category", "user"),
    Column("start_s", "f8", "arrival of its first request"),
    Column("end_s", "f8", "end of the request that ended last"),
    Column("steps", "i4", "turns of the conversation, calls of the agent; a user's retry is none"),
    Column("ok_steps", "i4", "of these, those that were answered"),
    Column("requests", "i4", "requests sent, user retries included"),
    Column("attempts", "i8", "calls to upstreams for these requests"),
    Column("input_tokens", "i8", "tokens of all their prompts"),
    Column("output_tokens", "i8", "tokens delivered"),
    Column("cost_usd", "f8", "billed for all their attempts"),
    Column(
        "outcome",
        "category",
        "completed, left (the user lost patience), failed (an error ended it), ran_away (a looping agent that only its "
        "framework stopped) or unfinished (the run was over)",
    ),
    Column("runaway", "bool", "an agent that went on after its task was done, whatever then stopped it"),
    Column("window", "category", "warm_up, measured or drain: when it began; its requests have windows of their own"),
)

#: What stands in ``result.requests``, ``.attempts``, ``.events``, ``.windows`` and ``.sessions``, in this order.
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
    "sessions": SESSIONS,
}
