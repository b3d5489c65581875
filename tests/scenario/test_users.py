"""The users of a scenario: they come, wait, lose patience, press retry, think; and each leaves one row."""

import math
import time

import numpy as np
import polars as pl
import pytest

import llmsim as ls
from llmsim.distributions import Constant, Exponential, Uniform
from llmsim.luck import Luck
from llmsim.providers.dialects import ErrorRates
from llmsim.providers.faults import Abort, Fault
from llmsim.providers.sim.spec import Queue, SimProvider
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.spec import Route, Topics, Traffic, UserRetry, Zipf
from llmsim.traffic.workload import Workload

QUICK = SimProvider(ttft=Constant(0.5), inter_token=Constant(0.1))
TEN = (Route(output_tokens=Constant(10), input_tokens=Constant(100)),)


def run(gateway=(), *, providers=None, faults=(), clock=None, **traffic):
    traffic = {"base_rate": 5.0, "mix": TEN, **traffic}
    scenario = Scenario(
        version=1,
        replications=1,
        clock=clock or Clock(duration=40.0, drain=60.0),
        traffic=Traffic(**traffic),
        providers=providers or {"a": QUICK},
        faults=tuple(faults),
    )
    return ls.run(scenario.with_gateway(gateway if isinstance(gateway, ls.Gateway) else list(gateway)))


def _near(share, expected, count):
    return abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / count) + 1e-9


# -- one row -----------------------------------------------------------------------------------------------------------


def test_a_row_says_what_happened():
    result = run(arrivals="constant", base_rate=1.0)
    row = result.requests.row(7, named=True)
    assert (row["session"], row["step"], row["user_retry"], row["arrival_s"]) == (7, 0, 0, 8.0)
    assert (row["outcome"], row["served_by"], row["served_from"], row["first_choice"]) == ("ok", "a", "upstream", "a")
    assert (row["ttft_s"], row["e2e_s"]) == (pytest.approx(0.5), pytest.approx(1.4))
    assert row["max_inter_token_s"] == pytest.approx(0.1)
    assert (row["attempts"], row["fallbacks"], row["input_tokens"], row["output_tokens"]) == (1, 0, 100, 10)
    assert (row["leaked_streams"], row["duplicated_tokens"], row["non_retryable_retries"]) == (0, 0, 0)
    assert result.requests.height == 39, "the fortieth comes when the measured time is over"


def test_a_failure_is_e2e_long_and_knows_how_long_nothing_was_tried():
    @ls.policy
    async def slow_to_give_up(request, call_next):
        import asyncio

        try:
            return await call_next(request)
        except ls.GatewayError:
            await asyncio.sleep(3.0)
            raise

    result = run(
        [slow_to_give_up], providers={"a": SimProvider(errors=ErrorRates(server_error=1.0), answer_time=Constant(0.2))}
    )
    row = result.requests.row(0, named=True)
    assert (row["outcome"], row["e2e_s"]) == ("server_error", pytest.approx(3.2))
    assert row["idle_after_last_attempt_s"] == pytest.approx(3.0)
    assert row["ttft_s"] is None or math.isnan(row["ttft_s"])
    assert (row["served_by"], row["output_tokens"]) == ("", 0)


def test_a_broken_answer_shows_the_tokens_that_came():
    from llmsim.providers.faults import StreamBreak

    result = run(faults=[Fault(name="cut", provider="a", break_=StreamBreak(after_tokens=1))])
    row = result.requests.row(0, named=True)
    assert (row["outcome"], row["output_tokens"], row["ttft_s"]) == ("stream_broken", 1, pytest.approx(0.5))


def test_warm_up_is_before_zero_and_its_requests_are_rows_too():
    result = run(clock=Clock(warm_up=20.0, duration=40.0, drain=10.0), arrivals="constant")
    arrivals = result.requests["arrival_s"]
    assert arrivals.min() == pytest.approx(-19.8)
    assert arrivals.max() < 40.0
    assert result.metrics["requests"] == 200, "measured: 0 s … 39.8 s"


def test_cached_answers_say_what_they_saved():
    from llmsim.pricing import TokenPrice

    priced = SimProvider(ttft=Constant(0.5), price=TokenPrice(input=1e-6, output=2e-6))
    result = run([ls.Cache()], providers={"a": priced}, topics=Topics(zipf=Zipf(unique=3), paraphrases=0.0))
    hits = result.requests.filter(pl.col("served_from") == "cache")
    assert hits.height > 100
    assert hits["saved_usd"].to_numpy() == pytest.approx(100e-6 + 20e-6)
    assert set(hits["cost_usd"]) == {0.0}
    assert set(hits["served_by"]) == {"cache"}
    assert set(result.requests.filter(pl.col("served_from") == "upstream")["saved_usd"]) == {0.0}


# -- patience ----------------------------------------------------------------------------------------------------------


def test_users_leave_when_nothing_has_come_in_time_and_stay_once_something_has():
    result = run(patience=Uniform(0.0, 1.0))
    requests = result.requests
    left = requests.filter(pl.col("outcome") == "abandoned")
    assert _near(left.height / requests.height, 0.5, requests.height)
    assert left["e2e_s"].max() <= 0.5
    assert set(requests.filter(pl.col("outcome") == "ok")["e2e_s"].round(9)) == {1.4}
    assert set(result.attempts["outcome"]) == {"ok", "cancelled"}


def test_who_wants_it_in_one_piece_waits_for_the_whole():
    whole = (Route(output_tokens=Constant(10), stream=False),)
    assert set(run(patience=Constant(1.3), mix=whole).requests["outcome"]) == {"abandoned"}
    assert set(run(patience=Constant(1.5), mix=whole).requests["outcome"]) == {"ok"}


def test_an_abandoned_request_frees_its_slot():
    providers = {"a": SimProvider(ttft=Constant(10.0), concurrency=2)}
    result = run(providers=providers, patience=Constant(1.0), base_rate=1.0, arrivals="constant")
    queued = result.attempts["queue_s"].drop_nans().drop_nulls()
    assert set(result.requests["outcome"]) == {"abandoned"}
    assert queued.is_empty()
    assert result.requests["e2e_s"].max() == pytest.approx(1.0)


# -- pressing retry ----------------------------------------------------------------------------------------------------


def test_a_share_of_those_who_failed_presses_retry_as_often_as_the_limit_says():
    down = {"a": SimProvider(errors=ErrorRates(server_error=1.0), answer_time=Constant(0.1))}
    habit = UserRetry(share=0.5, after=Constant(3.0), limit=2)
    requests = run(providers=down, user_retry=habit, base_rate=20.0).requests
    by_retry = [requests.filter(pl.col("user_retry") == number) for number in range(4)]
    counts = [part.height for part in by_retry]
    assert counts[3] == 0
    assert _near(counts[1] / counts[0], 0.5, counts[0])
    assert _near(counts[2] / counts[1], 0.5, counts[1])
    assert set(by_retry[1]["session"]) <= set(by_retry[0]["session"])
    both = by_retry[0].join(by_retry[1], on="session", suffix="_again")
    assert (both["arrival_s_again"] - both["arrival_s"]).to_numpy() == pytest.approx(np.full(counts[1], 3.1))
    for name in ("route", "user", "input_tokens"):
        assert both[name].to_list() == both[f"{name}_again"].to_list()


def test_those_who_left_press_retry_too_and_the_satisfied_do_not():
    habit = UserRetry(share=1.0, after=Constant(1.0), limit=1)
    result = run(patience=Uniform(0.0, 1.0), user_retry=habit)
    again = result.requests.filter(pl.col("user_retry") == 1)
    left = result.requests.filter((pl.col("user_retry") == 0) & (pl.col("outcome") == "abandoned"))
    assert set(again["session"]) == set(left["session"])
    assert set(again["outcome"]) == {"abandoned"}, "the same user with the same patience"


def test_retries_may_come_after_the_last_arrival_but_not_after_the_end():
    down = {"a": SimProvider(errors=ErrorRates(server_error=1.0), answer_time=Constant(0.1))}
    habit = UserRetry(share=1.0, after=Constant(5.0), limit=9)
    requests = run(providers=down, user_retry=habit, clock=Clock(duration=10.0, drain=12.0)).requests
    assert 10.0 < requests["arrival_s"].max() < 22.0
    assert requests["user_retry"].max() == 4


# -- closed loop -------------------------------------------------------------------------------------------------------


def test_virtual_users_wait_for_the_end_think_and_send_again():
    result = run(executor="constant-vus", vus=7, base_rate=0.0, think_time=Constant(2.0))
    requests = result.requests
    assert result.replications[0].counters["max_in_flight"] == 7
    for user in range(7):
        mine = requests.filter(pl.col("session") % 7 == user).sort("arrival_s")
        # Thinks 2 s, then 1.4 s for the answer, and so on.
        assert mine["arrival_s"].to_numpy() == pytest.approx(2.0 + 3.4 * np.arange(len(mine)))
        assert (np.diff(mine["session"].to_numpy()) == 7).all()
    assert requests["arrival_s"].max() < 40.0


def test_a_closed_loop_slows_down_with_its_provider_and_an_open_one_does_not():
    slow = {"a": SimProvider(ttft=Constant(5.0))}
    closed = [run(executor="constant-vus", vus=10, base_rate=0.0, providers=p).requests.height for p in (None, slow)]
    opened = [run(providers=p).requests.height for p in (None, slow)]
    assert closed[1] < closed[0] / 3
    assert opened[0] == opened[1]


def test_think_time_is_drawn_anew_each_time():
    requests = run(executor="constant-vus", vus=5, base_rate=0.0, think_time=Exponential(1.0)).requests
    one = requests.filter(pl.col("session") % 5 == 0).sort("arrival_s")["arrival_s"].to_numpy()
    pauses = np.diff(one) - 1.4
    assert (pauses > 0).all()
    assert len(set(pauses.round(9))) == len(pauses)


def test_a_closed_loop_without_think_time_goes_on_where_every_answer_is_instant():
    """A breaker that is open, or an injected abort, takes no time; 1 ms an iteration lets it pass all the same."""
    down = [Fault(name="down", provider="a", duration=2.0, abort=Abort(status=503))]
    result = run(executor="constant-vus", vus=2, base_rate=0.0, faults=down, clock=Clock(duration=10.0))
    refused = result.requests.filter(pl.col("outcome") == "overloaded")
    assert refused.height == pytest.approx(2 * 2000, abs=4)
    assert set(result.requests.filter(pl.col("arrival_s") >= 2.0)["outcome"]) == {"ok"}


def test_a_virtual_user_who_presses_retry_goes_on_when_that_is_over():
    """One request at a time each, or every retry would make another user."""
    failing = {"a": SimProvider(errors=ErrorRates(server_error=0.5), ttft=Constant(0.5), answer_time=Constant(0.5))}
    habit = UserRetry(share=1.0, after=Constant(1.0), limit=2)
    result = run(executor="constant-vus", vus=3, base_rate=0.0, providers=failing, user_retry=habit)
    requests = result.requests
    assert result.replications[0].counters["max_in_flight"] == 3
    assert (requests["user_retry"] > 0).sum() > 10
    assert requests.select("session", "user_retry").is_unique().all()
    for user in range(3):
        mine = requests.filter(pl.col("session") % 3 == user).sort("arrival_s")
        ends = (mine["arrival_s"] + mine["e2e_s"]).to_numpy()
        assert (mine["arrival_s"].to_numpy()[1:] >= ends[:-1] - 1e-9).all()


# -- the end -----------------------------------------------------------------------------------------------------------


def test_what_has_not_ended_when_the_drain_is_over_is_unfinished():
    result = run(providers={"a": SimProvider(ttft=Constant(30.0))}, clock=Clock(duration=40.0, drain=15.0))
    requests = result.requests
    assert set(requests["outcome"]) == {"ok", "unfinished"}
    unfinished = requests.filter(pl.col("outcome") == "unfinished")
    assert unfinished["arrival_s"].min() > 25.0 - 2.0 - 0.2
    assert requests.filter(pl.col("outcome") == "ok")["arrival_s"].max() < 25.0
    (note,) = result.replications[0].notes
    assert f"{unfinished.height} requests had not ended 15s after the last arrival" in note
    assert "providers/sim/provider.py" in note
    assert result.metrics["error_rate"] == pytest.approx(unfinished.height / requests.height)
    assert result.attempts.height == requests.height


def test_a_run_ends_with_its_last_request_and_does_not_wait_for_the_drain():
    result = run(clock=Clock(duration=40.0, drain=1e9))
    assert result.replications[0].simulated_s < 50.0


def test_no_arrivals_is_an_empty_run():
    result = run(base_rate=1e-6)
    assert result.requests.height == 0
    assert math.isnan(result.metrics["error_rate"])


def test_max_in_flight_counts_everybody_inside():
    result = run(arrivals="constant", base_rate=1.0, providers={"a": SimProvider(ttft=Constant(4.5))})
    # One comes each second and stays 4.5 s and nine gaps of 20 ms.
    assert result.replications[0].counters["max_in_flight"] == 5


def test_a_full_queue_is_seen_by_users_as_overloaded():
    providers = {"a": SimProvider(ttft=Constant(10.0), concurrency=1, queue=Queue(limit=1))}
    requests = run(providers=providers, base_rate=1.0, arrivals="constant").requests
    assert set(requests["outcome"]) == {"ok", "overloaded"}
    assert (requests["outcome"] == "ok").sum() in (4, 5, 6)


def test_a_cached_answer_saves_what_its_own_upstream_would_have_billed():
    scenario = ls.load(
        {
            "version": 1,
            "clock": {"duration": "60s"},
            "traffic": {"base_rate": "5/s", "topics": {"zipf": {"s": 1.0, "unique": 3}, "paraphrases": "0%"}},
            "providers": {
                "cheap": {"price": {"input": "$1/Mtok", "output": "$2/Mtok"}},
                "dear": {"price": {"input": "$10/Mtok", "output": "$20/Mtok"}},
            },
            "gateway": {"policies": [{"cache": {"ttl": "1h"}}, {"fallback": {"order": ["dear", "cheap"]}}]},
        }
    )
    result = ls.run(scenario, replications=1)
    hits = result.requests.filter(result.requests["served_from"] == "cache")
    expected = 10e-6 * hits["input_tokens"] + 20e-6 * hits["output_tokens"]
    assert hits.height > 100
    assert (hits["saved_usd"] - expected).abs().max() < 1e-12


def test_the_wall_clock_is_that_of_the_scenario():
    seen = []

    @ls.policy
    async def look(request, call_next):
        seen.append((time.time() - ls.current_run().now()) % 86400)
        return await call_next(request)

    for start in (None, "monday 07:00"):
        clock = Clock(warm_up=60.0, duration=20.0, start=start)
        ls.run(
            Scenario(
                version=1,
                replications=1,
                clock=clock,
                traffic=Traffic(base_rate=1.0),
                providers={"a": QUICK},
                gateway=ls.Gateway(policies=(look,)),
            )
        )
    assert set(np.round(seen)) == {0.0, 7 * 3600 - 60.0}


def test_virtual_users_who_drift_apart_do_not_make_every_block_anew(monkeypatch):
    made = []
    prepare = Workload._prepare
    monkeypatch.setattr(Workload, "_prepare", lambda self, first: made.append(first) or prepare(self, first))
    workload = Workload(Traffic(executor="constant-vus", vus=10), Luck(1))
    for turn in range(200):  # ten users, each four blocks ahead of the one before
        for user in range(10):
            workload(turn + user * 4096)
    assert len(made) <= 3 * len(set(made))
