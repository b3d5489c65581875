"""Days by hand for the pictures: with breakers, fallbacks and limits; and those on which nothing, or one thing, was."""

from functools import cache

import numpy as np
from report.results import SCENARIO, scenario
from telemetry.recorded import attempt, event, replication, request

from llmsim.report.result import Result
from llmsim.scenario.load import load_scenario

#: One request that had to wait, was refused, went elsewhere and was answered at its fourth attempt.
STORY = "900/0/0"


def busy_scenario(**changes):
    return load_scenario(
        {
            **SCENARIO,
            "name": "busy day",
            "providers": {
                "openai": {"rate_limit": {"requests": "1200/min", "tokens": "100k/min"}},
                "anthropic": {"concurrency": 24},
                "local": {},
            },
            "gateway": {
                "replicas": 2,
                "policies": [{"fallback": {"order": ["openai", "anthropic", "local"]}}, {"retry": {"max_attempts": 3}}],
                "upstream": [
                    {"circuit_breaker": {}},
                    {"concurrency_limit": {"aimd": {"initial": 20}, "on": ["timeout"]}},
                ],
            },
            "slo": {"ttft": ["p(90) < 2s"], "e2e": ["p(95) < 6s"]},
            **changes,
        }
    )


@cache
def busy():
    """A hundred seconds with a spike in the middle: calls are refused, a breaker opens, others answer."""
    luck = np.random.default_rng(5)
    arrivals = np.sort(np.concatenate([luck.uniform(-10, 100, 500), luck.uniform(40, 60, 500)]))
    requests, attempts = [], []
    arrivals[900] = 55.0
    for session, arrival in enumerate(arrivals.tolist()):
        stormy = 40 <= arrival < 65
        ttft = float(luck.lognormal(-1.2, 0.5)) * (2 if stormy else 1)
        where, tries, start = "openai", 1, arrival
        at = {"session": session, "arrival_s": arrival}
        if session == 900:
            rows, row = _story(at)
            attempts += rows
            requests.append(row)
            continue
        if stormy and luck.random() < 0.6:
            attempts.append(attempt(**at, start_s=start, end_s=start + 0.1, outcome="rate_limited", status=429))
            where, tries, start = ("anthropic" if luck.random() < 0.7 else "local"), 2, start + 0.2
        if stormy and luck.random() < 0.25:
            attempts.append(
                attempt(**at, attempt=tries, upstream=where, start_s=start, end_s=start + 3, outcome="ttft_timeout")
            )
            requests.append(
                request(**at, attempts=tries, outcome="all_upstreams_failed", e2e_s=3.5, fallbacks=tries - 1)
            )
            continue
        attempts.append(
            attempt(
                **at, attempt=tries, upstream=where, cause="fallback" if tries > 1 else "first", start_s=start,
                first_s=start + ttft, end_s=start + ttft + 1, cost_usd=1e-4,
            )
        )  # fmt: skip
        requests.append(
            request(
                **at, attempts=tries, served_by=where, ttft_s=start + ttft - arrival, e2e_s=start + ttft + 1 - arrival,
                fallbacks=tries - 1, cost_usd=1e-4,
            )
        )  # fmt: skip
    return Result(busy_scenario(), [replication(requests, attempts, _events(), simulated_s=120.0)], wall_s=1.0)


def _story(at):
    refused = {"outcome": "server_error", "status": 503}
    rows = [
        attempt(**at, start_s=55.0, end_s=55.2, **refused),
        attempt(**at, attempt=2, cause="retry", start_s=56.0, end_s=56.3, **refused),
        attempt(
            **at, attempt=3, cause="fallback", upstream="anthropic", start_s=56.3, end_s=59.3, outcome="ttft_timeout"
        ),
        attempt(
            **at, attempt=4, cause="fallback", upstream="local", start_s=59.3, queue_s=1.0, first_s=61.0, end_s=64.0
        ),
    ]
    row = request(**at, attempts=4, fallbacks=2, served_by="local", ttft_s=6.0, e2e_s=9.0, cost_usd=1e-4)
    return rows, row


def _events():
    def told(time_s, kind, detail, upstream="openai", replica=0):
        return event(time_s=time_s, kind=kind, policy=kind, upstream=upstream, replica=replica, detail=detail)

    steps = [(44.0, "open"), (59.0, "half_open"), (60.0, "open"), (75.0, "half_open"), (77.0, "closed")]
    breaker = [told(at, "circuit_breaker", f'{{"state": "{state}"}}') for at, state in steps]
    other = [told(at + 3, "circuit_breaker", f'{{"state": "{state}"}}', replica=1) for at, state in steps]
    limits = [
        told(float(at), "concurrency_limit", f'{{"limit": {20 - abs(at - 50) / 4:.0f}}}', upstream="anthropic")
        for at in range(20, 81, 4)
    ]
    retry = [event(time_s=55.2, request_id=STORY, detail='{"attempt": 2, "delay_s": 0.8, "error": "server_error"}')]
    return sorted([*breaker, *other, *limits, *retry], key=lambda row: row["time_s"])


#: Results with nothing, or nearly nothing, to show.
ODD = {
    "nothing was run": lambda: Result(busy_scenario(), []),
    "no requests": lambda: Result(busy_scenario(), [replication()]),
    "one request": lambda: Result(busy_scenario(), [replication([request()], [attempt()])]),
    "no attempts": lambda: Result(
        busy_scenario(), [replication([request(attempts=0, first_choice="", outcome="rejected", e2e_s=0.0)])]
    ),
    "no policies, limits or faults": lambda: Result(
        scenario(faults=[], gateway={}, providers={"openai": {}}), [replication([request()], [attempt()])]
    ),
    "in warm-up": lambda: Result(busy_scenario(), [replication([request()], simulated_s=-5.0, partial=True)]),
}

__all__ = ["ODD", "STORY", "busy", "busy_scenario"]
