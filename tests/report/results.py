"""Results for the tests of the report: a small one by hand, and a spike with faults that looks like a day."""

import math
from functools import cache

import numpy as np
from telemetry.recorded import attempt, event, replication, request

from llmsim.report.result import Result
from llmsim.scenario.load import load_scenario

SCENARIO = {
    "version": 1,
    "name": "small <day>",
    "seed": 7,
    "replications": 20,
    "clock": {"warm_up": "10s", "duration": "100s", "drain": "20s"},
    "traffic": {"base_rate": "4/s"},
    "providers": {
        "openai": {"price": {"input": "$1/Mtok", "output": "$2/Mtok"}, "rate_limit": {"requests": "5000/min"}},
        "anthropic": {"price": {"input": "$2/Mtok", "output": "$4/Mtok"}},
    },
    "faults": [
        {"name": "brown-out", "provider": "openai", "at": "20s", "duration": "30s", "abort": {"status": 503}},
        {
            "name": "quota-cut",
            "provider": "openai",
            "at": "40s",
            "duration": "20s",
            "rate_limit": {"multiplier": "0.5x"},
        },
    ],
    "steady_state": {"error_rate": ["value < 5%"]},
    "slo": {"ttft": ["p(90) < 2s"], "error_rate": ["value < 1%"], "recovery_time": ["value < 60s"]},
}


def scenario(**changes):
    return load_scenario({**SCENARIO, **changes})


@cache  # dozens of tests look at the same days
def spike(number=0, *, failing=0.6, rate=8.0, end_s=100.0, seed=1, match="exact"):
    """Requests at `rate`, most of them rate limited between 40 and 50 s, each of those tried three times."""
    luck = np.random.default_rng([seed, number])
    requests, attempts, events = [], [], []
    arrivals = np.sort(luck.uniform(-10, end_s, int(rate * (end_s + 10))))
    for session, arrival in enumerate(arrivals.tolist()):
        ttft = float(luck.lognormal(-1, 0.6))
        at = {"session": session, "arrival_s": arrival, "start_s": arrival, "first_s": arrival + ttft}
        if 40 <= arrival < 50 and luck.random() < failing:
            refused = {**at, "outcome": "rate_limited", "status": 429, "first_s": math.nan}
            for n in range(3):
                start = arrival + n * 2.0
                cause = "retry" if n else "first"
                attempts.append(
                    attempt(**{**refused, "attempt": n + 1, "cause": cause, "start_s": start, "end_s": start + 0.1})
                )
                if n:
                    detail = '{"attempt": 2, "delay_s": 1.9, "error": "rate_limited"}'
                    events.append(event(time_s=start - 1.9, request_id=f"{session}/0/0", detail=detail))
            requests.append(
                request(
                    session=session, arrival_s=arrival, outcome="rate_limited", attempts=3, e2e_s=7.0,
                    idle_after_last_attempt_s=2.9,
                )
            )  # fmt: skip
        elif luck.random() < 0.3:
            requests.append(
                request(
                    session=session, arrival_s=arrival, served_by="cache", served_from="cache", first_choice="",
                    cache_match=match, attempts=0, ttft_s=0.0, e2e_s=0.0, max_inter_token_s=math.nan, saved_usd=1e-4,
                )
            )  # fmt: skip
        else:
            attempts.append(attempt(**at, end_s=arrival + ttft + 1, cost_usd=1e-4))
            requests.append(
                request(
                    session=session,
                    arrival_s=arrival,
                    ttft_s=ttft,
                    e2e_s=ttft + 1,
                    cost_usd=1e-4,
                    user=f"u{session % 9}",
                )
            )
    return replication(requests, attempts, events, number=number, simulated_s=end_s + 10)


def result(replications=6, *, requested=None, given=None, partial=False, **options):
    runs = [spike(number, **options) for number in range(replications)]
    return Result(given or scenario(), runs, wall_s=1.5, requested=requested, partial=partial)
