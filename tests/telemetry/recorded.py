"""Replications written by hand: what a test does not say is an answered request and an answered attempt."""

import itertools
import math

import numpy as np
import polars as pl

from llmsim.report.tables import frame
from llmsim.telemetry.columns import ATTEMPTS, EVENTS, REQUESTS
from llmsim.telemetry.recorder import ColumnData, Recorder, Replication
from llmsim.telemetry.sample import Sample

_REQUEST = {
    "session": 0, "step": 0, "user_retry": 0, "arrival_s": 0.0, "route": "chat", "feature": "", "tenant": "",
    "user": "u1", "replica": 0, "outcome": "ok", "finish_reason": "stop", "served_by": "openai",
    "served_from": "upstream", "cache_match": "", "similarity": math.nan, "false_hit": False,
    "false_hit_reason": "", "cross_scope": False, "cross_tenant": False,
    "made_for": "", "verified": "", "embedding_tokens": 0,
    "vector_queries": 0, "vector_writes": 0, "verifications": 0,
    "first_choice": "openai", "attempts": 1, "fallbacks": 0, "ttft_s": 0.5, "e2e_s": 1.5,
    "max_inter_token_s": 0.1, "input_tokens": 100, "output_tokens": 11, "cost_usd": 0.0, "saved_usd": 0.0,
    "leaked_streams": 0, "duplicated_tokens": 0, "non_retryable_retries": 0,
    "retry_after_ignored": 0, "idle_after_last_attempt_s": math.nan,
}  # fmt: skip
_ATTEMPT = {
    "session": 0, "step": 0, "user_retry": 0, "arrival_s": 0.0, "attempt": 1, "cause": "first", "upstream": "openai",
    "model": "m", "replica": 0, "start_s": 0.0, "first_s": 0.5, "end_s": 1.5, "queue_s": 0.0,
    "server_s": math.nan, "outcome": "ok", "status": 200, "won": True,
    "input_tokens": 100, "cached_input_tokens": 0, "output_tokens": 11, "cost_usd": 0.0,
}  # fmt: skip
_FAILED = {
    "finish_reason": "",
    "served_by": "",
    "served_from": "",
    "ttft_s": math.nan,
    "max_inter_token_s": math.nan,
    "output_tokens": 0,
}


def request(**fields):
    """One row of requests; a failure unless told otherwise has no answer."""
    base = dict(_REQUEST)
    if fields.get("outcome", "ok") != "ok":
        base |= _FAILED
    unknown = fields.keys() - base.keys()
    assert not unknown, unknown
    return base | fields


def attempt(**fields):
    base = dict(_ATTEMPT)
    if fields.get("outcome", "ok") != "ok":
        base |= {"first_s": math.nan, "won": False, "status": 0, "output_tokens": 0}
    assert not fields.keys() - base.keys()
    return base | fields


def event(**fields):
    base = {
        "time_s": 0.0,
        "kind": "retry",
        "policy": "retry",
        "upstream": "",
        "replica": 0,
        "request_id": "",
        "detail": "",
    }
    return base | fields


def numbered(rows):
    """Give rows sessions 0, 1, 2, …"""
    return [row | {"session": number} for number, row in zip(itertools.count(), rows, strict=False)]


def replication(
    requests=(), attempts=(), events=(), *, number=0, counters=None, simulated_s=100.0, partial=False, notes=()
):
    recorder = Recorder()
    for row in requests:
        recorder.request(tuple(row[column.name] for column in REQUESTS))
    for row in attempts:
        recorder.attempt(tuple(row[column.name] for column in ATTEMPTS))
    tables = recorder.tables()
    # The recorder adds up what attempts cost; here a request may say it without the attempts being written out.
    by_id = sorted(requests, key=lambda row: (row["session"], row["step"], row["user_retry"]))
    tables["requests"]["cost_usd"] = ColumnData(np.array([row["cost_usd"] for row in by_id], dtype="f8"))
    recorder._events.rows.extend(tuple(row[column.name] for column in EVENTS) for row in events)
    tables["events"] = recorder._events.finish()
    return Replication(number, tables, counters or {"max_in_flight": 3.0}, tuple(notes), simulated_s, 0.1, partial)


def sample(requests=(), attempts=(), *, end_s=100.0, **fields):
    """The measured part of one hand-made replication."""
    one = replication(requests, attempts)
    rows = frame([one], "requests", end_s).filter(pl.col("window") == "measured")
    return Sample(rows, frame([one], "attempts", end_s), end_s, counters=fields.pop("counters", one.counters), **fields)
