"""The recorder: blocks, order, and what a request cost."""

import math

from telemetry.recorded import ATTEMPTS, REQUESTS, attempt, request

from llmsim.telemetry.recorder import Recorder, event_hash


def recorded(requests, attempts):
    recorder = Recorder()
    for row in requests:
        recorder.request(tuple(row[column.name] for column in REQUESTS))
    for row in attempts:
        recorder.attempt(tuple(row[column.name] for column in ATTEMPTS))
    return recorder.tables()


def test_a_request_costs_what_all_its_attempts_cost_whenever_they_ended():
    requests = [request(session=2), request(session=0), request(session=2, user_retry=1), request(session=7, step=3)]
    attempts = [
        attempt(session=2, attempt=1, cost_usd=1.0),
        attempt(session=2, user_retry=1, cost_usd=10.0),
        attempt(session=2, attempt=2, cost_usd=2.0, end_s=99.0),  # a loser that ended long after the answer
        attempt(session=7, step=3, cost_usd=5.0),
        attempt(session=5, cost_usd=100.0),  # of a request that is not there
    ]
    table = recorded(requests, attempts)["requests"]
    places = zip(table["session"].values.tolist(), table["user_retry"].values.tolist(), strict=True)
    assert dict(zip(places, table["cost_usd"].values.tolist(), strict=True)) == {
        (0, 0): 0.0,
        (2, 0): 3.0,
        (2, 1): 10.0,
        (7, 0): 5.0,
    }


def test_nothing_recorded():
    tables = recorded([], [])
    assert {name: len(column.values) for name, column in tables["requests"].items()}.keys() == {
        column.name for column in REQUESTS
    }
    assert len(event_hash([tables])) == 64


def test_rows_that_finished_in_another_order_hash_the_same():
    requests = [request(session=n, user=f"u{n % 3}") for n in range(2000)]
    assert event_hash([recorded(requests, [])]) == event_hash([recorded(requests[::-1], [])])
    changed = [*requests[:-1], requests[-1] | {"ttft_s": 0.25}]
    assert event_hash([recorded(requests, [])]) != event_hash([recorded(changed, [])])


def test_what_only_live_servers_tell_counts_where_one_told_it():
    silent, telling = ([attempt(session=n, server_s=told) for n in range(3)] for told in (math.nan, 0.2))
    quiet, told = recorded([], silent), recorded([], telling)
    before = {**quiet, "attempts": {name: one for name, one in quiet["attempts"].items() if name != "server_s"}}
    assert event_hash([quiet]) == event_hash([before])
    assert event_hash([told]) != event_hash([quiet])
