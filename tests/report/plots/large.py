"""A result of very many requests, its tables made directly: what is looked at is the display, not the simulation."""

import json

import numpy as np
from report.results import SCENARIO

from llmsim.report.result import Result
from llmsim.scenario.load import load_scenario
from llmsim.telemetry.columns import ATTEMPTS, DTYPES, EVENTS, REQUESTS
from llmsim.telemetry.recorder import ColumnData, Replication

DURATION_S = 3600.0
_OUTCOMES = ("ok", "rate_limited", "ttft_timeout", "abandoned")
_UPSTREAMS = ("openai", "anthropic")


def large(count, *, warm_up_s=60.0, seed=0):
    """A result of `count` requests over an hour, every sixth tried again, a third of them from the cache."""
    luck = np.random.default_rng(seed)
    requests, attempts, tries = _rows(count, warm_up_s, luck)
    events = _events(attempts, luck)
    tables = {"requests": requests, "attempts": attempts, "events": events}
    one = Replication(0, tables, {"max_in_flight": 1000.0}, (), DURATION_S + 20, 30.0)
    given = {**SCENARIO, "name": "large", "clock": {"warm_up": f"{warm_up_s}s", "duration": f"{DURATION_S}s"}}
    given["providers"] = {
        "openai": {**SCENARIO["providers"]["openai"], "rate_limit": {"requests": f"{count}/min", "tokens": "9M/min"}},
        "anthropic": {**SCENARIO["providers"]["anthropic"], "concurrency": 64},
    }
    given["gateway"] = {
        "policies": [{"fallback": {"order": [*_UPSTREAMS]}}, {"retry": {"max_attempts": 3}}],
        "upstream": [{"circuit_breaker": {}}],
    }
    assert len(tries) == count
    return Result(load_scenario(given), [one], wall_s=30.0)


def _rows(count, warm_up_s, luck):
    arrival = np.sort(luck.uniform(-warm_up_s, DURATION_S, count))
    outcome = luck.choice(4, count, p=[0.9, 0.05, 0.03, 0.02])
    cached = (outcome == 0) & (luck.random(count) < 0.33)
    tries = np.where(cached, 0, 1 + luck.binomial(2, 0.1, count))
    ttft = np.where(outcome == 0, np.where(cached, 0.0, luck.lognormal(-1, 0.6, count)), np.nan)
    e2e = np.where(np.isnan(ttft), 3.0, ttft + luck.gamma(2.0, 1.0, count))
    first = np.where(cached, 2, luck.choice(2, count, p=[0.8, 0.2]))
    served = np.where(outcome == 0, np.where(cached, 2, np.where(luck.random(count) < 0.9, first, 1)), 3)
    given = {
        "session": np.arange(count), "arrival_s": arrival, "outcome": (outcome, _OUTCOMES),
        "served_by": (served, (*_UPSTREAMS, "cache", "")), "attempts": tries, "ttft_s": ttft, "e2e_s": e2e,
        "served_from": (np.where(outcome == 0, cached.astype(int), 2), ("upstream", "cache", "")),
        "first_choice": (first, (*_UPSTREAMS, "")), "cache_match": (cached.astype(int), ("", "exact")),
        "input_tokens": luck.integers(50, 4000, count), "output_tokens": luck.integers(1, 600, count),
        "route": (luck.choice(3, count), ("chat", "rag", "batch")), "user": (luck.choice(5000, count), _users()),
        "fallbacks": ((served == 1) & (first == 0)).astype(int), "max_inter_token_s": np.full(count, 0.1),
        "similarity": np.full(count, np.nan), "idle_after_last_attempt_s": np.full(count, np.nan),
    }  # fmt: skip
    return _table(REQUESTS, given, count), _attempts(given, tries, luck), tries


def _users():
    return tuple(f"user-{number}" for number in range(5000))


def _attempts(given, tries, luck):
    mine = np.repeat(np.arange(len(tries)), tries)
    count = len(mine)
    number = np.arange(count) - np.repeat(np.cumsum(tries) - tries, tries) + 1
    start = given["arrival_s"][mine] + (number - 1) * 1.3
    last = number == tries[mine]
    outcome = np.where(last, given["outcome"][0][mine], 1)
    first = np.where(outcome == 0, start + 0.4, np.nan)
    rows = {
        "session": mine, "arrival_s": given["arrival_s"][mine], "attempt": number,
        "cause": (np.minimum(number - 1, 1), ("first", "retry")), "start_s": start, "first_s": first,
        "end_s": np.where(outcome == 0, start + 2.0, start + 0.05), "queue_s": np.zeros(count),
        "server_s": np.full(count, np.nan),
        "upstream": (luck.choice(2, count, p=[0.8, 0.2]), _UPSTREAMS), "outcome": (outcome, _OUTCOMES),
        "status": np.array([200, 429, 0, 0])[outcome], "won": outcome == 0,
        "input_tokens": np.where(outcome == 0, given["input_tokens"][mine], 0),
        "output_tokens": np.where(outcome == 0, given["output_tokens"][mine], 0),
        "cost_usd": np.where(outcome == 0, 1e-4, 0.0), "model": (np.zeros(count, int), ("m",)),
    }  # fmt: skip
    return _table(ATTEMPTS, rows, count)


def _events(attempts, luck):
    again = attempts["attempt"].values > 1
    count = int(again.sum())
    times = np.sort(attempts["start_s"].values[again])
    details = np.empty(count, dtype=object)
    details[:] = json.dumps({"attempt": 2, "delay_s": 1.0, "error": "rate_limited"})
    kinds = np.zeros(count, int)
    tripped = np.arange(0, count, max(1, count // 40))
    kinds[tripped] = 1
    for place, at in enumerate(tripped):
        details[at] = json.dumps({"state": ("open", "half_open", "closed")[place % 3], "failure_rate": 0.5})
    rows = {
        "time_s": times, "kind": (kinds, ("retry", "circuit_breaker")), "detail": details,
        "policy": (kinds, ("retry", "circuit_breaker")), "upstream": (kinds, ("", "openai")),
        "request_id": np.array([f"{session}/0/0" for session in attempts["session"].values[again]], dtype=object),
    }  # fmt: skip
    return _table(EVENTS, rows, count)


def _table(columns, given, count):
    made = {}
    for column in columns:
        values = given.get(column.name)
        if column.kind == "category":
            codes, names = (np.zeros(count), ("",)) if values is None else values
            made[column.name] = ColumnData(np.asarray(codes).astype(np.int32), tuple(names))
        elif column.kind == "text":
            texts = np.full(count, "", dtype=object) if values is None else values
            made[column.name] = ColumnData(texts)
        else:
            dtype = DTYPES.get(column.kind, column.kind)
            made[column.name] = ColumnData((np.zeros(count) if values is None else values).astype(dtype))
    assert not given.keys() - made.keys()
    return made
