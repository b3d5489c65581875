"""Sessions in a run: who asks on, who leaves, what the end of the run cuts off, and what the tables say of it."""

import asyncio
import math

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

import llmsim as ls
from llmsim.distributions import Constant, Exponential, Geometric, Lognormal, Uniform
from llmsim.pricing import TokenPrice
from llmsim.providers.dialects import ErrorRates
from llmsim.providers.faults import Abort, Fault, Scale
from llmsim.providers.sim.latency import PromptCache
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.spec import Clock, Scenario
from llmsim.telemetry.recorder import ColumnData
from llmsim.traffic.burstiness import Burstiness, OnOff
from llmsim.traffic.sessions import Agent, Session
from llmsim.traffic.spec import Client, Clients, Route, Stage, Topics, Traffic, UserRetry, Zipf

# An answer of ten tokens takes 0.5 s and nine gaps of 0.1 s.
QUICK = SimProvider(ttft=Constant(0.5), inter_token=Constant(0.1), price=TokenPrice(input=1e-6, output=2e-6))
TALK = Session(turns=Constant(3), think_time=Constant(2.0))
CHAT = Route(route="chat", input_tokens=Constant(100), output_tokens=Constant(10), session=TALK)
STEPS = Agent(steps=Constant(4), growth=Constant(50), between=Constant(1.0))
AGENT = Route(route="agent", input_tokens=Constant(100), output_tokens=Constant(10), agent=STEPS)


def run(*routes, gateway=(), providers=None, faults=(), clock=None, replications=1, **traffic):
    scenario = Scenario(
        version=1,
        traffic=Traffic(**{"base_rate": 1.0, "arrivals": "constant", "mix": routes, **traffic}),
        providers=providers or {"a": QUICK},
        clock=clock or Clock(duration=60.0, drain=60.0),
        faults=tuple(faults),
    )
    return ls.run(scenario.with_gateway(list(gateway)), replications=replications)


def of(result, session):
    return result.requests.filter(pl.col("session") == session)


# -- one after the other ---------------------------------------------------------------------------------------------


def test_the_next_turn_comes_when_the_answer_was_read_and_thought_about():
    result = run(CHAT)
    mine = of(result, 4)
    assert mine["request_id"].to_list() == ["4/0/0", "4/1/0", "4/2/0"]
    assert mine["arrival_s"].to_numpy() == pytest.approx([5.0, 5.0 + 3.4, 5.0 + 6.8])
    assert mine["input_tokens"].to_list() == [100, 210, 320]
    assert mine["user"].n_unique() == 1
    row = result.sessions.filter(pl.col("session") == 4).row(0, named=True)
    assert (row["steps"], row["ok_steps"], row["requests"], row["attempts"]) == (3, 3, 3, 3)
    assert (row["input_tokens"], row["output_tokens"], row["outcome"]) == (630, 30, "completed")
    assert (row["start_s"], row["end_s"]) == (5.0, pytest.approx(5.0 + 6.8 + 1.4))
    assert row["cost_usd"] == pytest.approx(630e-6 + 60e-6)


def test_an_answer_counts_as_it_was_delivered():
    """Cut at max_tokens, or from a cache: the next prompt holds what was read."""

    @ls.policy
    async def short(request, call_next):
        return await call_next(request._replace(max_tokens=4))

    assert of(run(CHAT, gateway=[short]), 4)["input_tokens"].to_list() == [100, 204, 308]


def test_an_agent_calls_again_when_its_tool_is_done():
    mine = of(run(AGENT, patience=Constant(0.1)), 4)
    assert mine["arrival_s"].to_numpy() == pytest.approx(5.0 + 2.4 * np.arange(4))
    assert mine["input_tokens"].to_list() == [100, 160, 220, 280]
    assert set(mine["outcome"]) == {"ok"}, "it has no patience to lose"


def test_the_longest_session_and_the_dearest_have_a_number():
    loops = Agent(steps=Constant(4), growth=Constant(50), between=Constant(0.1), runaway=0.2, runaway_steps=30)
    mad = Route(route="agent", output_tokens=Constant(5), agent=loops)
    result = run(AGENT, mad, CHAT, clock=Clock(duration=120.0))
    safety, sessions = result.metrics["safety"], result.sessions
    assert safety["max_steps_per_session"] == sessions["steps"].max() == 30
    assert safety["max_spend_per_session_usd"] == pytest.approx(sessions["cost_usd"].max())
    ran = sessions.filter(pl.col("outcome") == "ran_away")
    assert ran.height and ran["runaway"].all() and set(ran["steps"]) == {30}
    assert not sessions.filter(pl.col("outcome") == "completed")["runaway"].any()
    begun = result.events.filter(pl.col("kind") == "runaway")
    assert begun.height == sessions["runaway"].sum()
    assert all(name.split("/")[1] == "3" for name in begun["request_id"]), "when it should have stopped"


@pytest.mark.slow
def test_slo_lines_hold_the_longest_and_the_dearest_down():
    values = {
        "version": 1,
        "replications": 6,
        "clock": {"duration": "1m"},
        "traffic": {"base_rate": "1/s", "mix": [{"route": "a", "agent": {"steps": 8, "growth": 100}}]},
        "providers": {"a": {"price": {"input": "$1/Mtok", "output": "$2/Mtok"}}},
        "slo": {
            "max_steps_per_session": ["value <= 8", "value < 8"],
            "max_spend_per_session{route:a}": ["max < $0.02", "max < $0.002"],
        },
    }
    lines = ls.run(values).slo
    assert [line.verdict for line in lines] == ["PASS", "FAIL", "PASS", "FAIL"]


def test_a_prompt_cache_has_what_the_turn_before_began_with():
    cache = PromptCache(prefix="session", increment=128)
    caching = {"a": SimProvider(ttft=Constant(0.5), inter_token=Constant(0.1), prompt_cache=cache)}
    chat = Route(route="chat", input_tokens=Constant(1000), output_tokens=Constant(24), system_tokens=512, session=TALK)
    attempts = run(chat, providers=caching).attempts.filter(pl.col("session") == 4)
    assert attempts["input_tokens"].to_list() == [1512, 2536, 3560]
    # In whole steps of 128 of what was there before: 1512 and 2536.
    assert attempts["cached_input_tokens"].to_list() == [0, 1408, 2432]


# -- failures --------------------------------------------------------------------------------------------------------

DOWN = Fault(name="down", provider="a", at=20.0, duration=10.0, abort=Abort(status=503))


def test_who_gets_an_error_leaves():
    result = run(CHAT, faults=[DOWN])
    failed = result.requests.filter(pl.col("outcome") != "ok")
    assert set(failed["step"]) == {0, 1, 2}
    after = result.requests.join(failed.select("session", bad="step"), on="session").filter(
        pl.col("step") > pl.col("bad")
    )
    assert after.height == 0
    ends = dict(result.sessions.filter(pl.col("session") < 50).group_by("outcome").len().iter_rows())
    assert ends["failed"] == failed.height
    assert ends["failed"] + ends["completed"] == 50


def test_who_loses_patience_in_the_middle_has_left():
    slow = Fault(name="slow", provider="a", at=20.0, duration=10.0, latency=Scale(multiplier=9.0))
    result = run(CHAT, faults=[slow], patience=Constant(2.0))
    left = result.sessions.filter(pl.col("outcome") == "left")
    assert left.height > 10
    assert set(left["steps"]) == {1, 2, 3}
    assert (left["steps"] == left["ok_steps"] + 1).all()
    assert of(result, left["session"][0])["outcome"].to_list()[-1] == "abandoned"


def test_who_presses_retry_goes_on_with_the_same_turn():
    habit = UserRetry(share=1.0, after=Constant(10.0), limit=1)
    result = run(CHAT, faults=[DOWN], user_retry=habit)
    mine = of(result, 17)  # came at 18: answered; asked on at 21.4 in vain, and again at 31.4
    assert mine["request_id"].to_list() == ["17/0/0", "17/1/0", "17/1/1", "17/2/0"]
    assert mine["arrival_s"].to_numpy() == pytest.approx([18.0, 21.4, 31.4, 34.8])
    assert mine["input_tokens"].to_list() == [100, 210, 210, 320]
    row = result.sessions.filter(pl.col("session") == 17).row(0, named=True)
    assert (row["steps"], row["ok_steps"], row["requests"], row["outcome"]) == (3, 3, 4, "completed")


def test_an_agent_stops_at_an_error_and_nobody_presses_retry():
    habit = UserRetry(share=1.0, after=Constant(1.0), limit=3)
    result = run(AGENT, faults=[DOWN], user_retry=habit)
    assert result.requests["user_retry"].max() == 0
    failed = result.sessions.filter(pl.col("outcome") == "failed")
    assert failed.height == result.requests.filter(pl.col("outcome") != "ok").height > 5


def test_an_agent_that_does_not_take_no_for_an_answer_uses_up_its_steps():
    stubborn = Route(route="agent", agent=Agent(steps=Constant(4), growth=Constant(50), on_error="again"))
    broken = {"a": SimProvider(errors=ErrorRates(server_error=1.0), answer_time=Constant(0.1))}
    result = run(stubborn, providers=broken)
    assert set(result.sessions.filter(pl.col("session") < 50)["steps"]) == {4}
    assert set(result.requests["input_tokens"]) == {500}, "nothing was answered, so nothing is added"
    assert set(result.sessions["outcome"]) == {"failed"}


def test_a_policy_that_stops_a_loop_shows():
    looping = Agent(steps=Constant(2), growth=Constant(9), runaway=1.0, runaway_steps=50)
    loops = Route(route="agent", output_tokens=Constant(10), agent=looping)
    calls = {}

    @ls.policy
    async def no_more_than_ten(request, call_next):
        calls[request.session] = calls.get(request.session, 0) + 1
        if calls[request.session] > 10:
            raise ls.GatewayError("this session has made 10 calls")
        return await call_next(request)

    free, held = run(loops), run(loops, gateway=[no_more_than_ten])
    assert free.metrics["safety"]["max_steps_per_session"] > 20
    assert held.metrics["safety"]["max_steps_per_session"] == 11
    stopped = held.sessions.filter(pl.col("session") < 20)
    assert set(stopped["outcome"]) == {"failed"} and stopped["runaway"].all()


# -- the end of the run ----------------------------------------------------------------------------------------------


def test_the_drain_is_for_what_is_under_way():
    result = run(CHAT, clock=Clock(duration=60.0, drain=1e6))
    assert result.requests["arrival_s"].max() < 60.0
    assert result.replications[0].simulated_s < 63.0, "nobody is waited for who would have asked on"
    assert result.notes == []
    open_ = result.sessions.filter(pl.col("outcome") == "unfinished")
    # A session takes 8.2 s; the last question must come before 60: those who came after 60 - 6.8 s have more to ask.
    assert open_["session"].to_list() == list(range(53, 59))
    assert result.sessions.filter(pl.col("outcome") == "completed").height == 53


def test_a_step_that_hangs_is_unfinished_and_so_is_its_session():
    stuck = {"a": SimProvider(ttft=Constant(500.0))}
    result = run(CHAT, providers=stuck, clock=Clock(duration=60.0, drain=5.0))
    assert set(result.requests["outcome"]) == set(result.sessions["outcome"]) == {"unfinished"}
    assert result.requests.height == result.sessions.height == 59


def test_a_trace_or_a_rate_that_ends_early_does_not_end_sessions():
    stages = (Stage(duration=10.0, target=1.0), Stage(duration=0.001, target=0.0))
    result = run(CHAT, executor="ramping-arrival-rate", stages=stages)
    assert result.requests["arrival_s"].max() > 15.0
    assert set(result.sessions["outcome"]) == {"completed"}


def test_an_interrupted_run_does_not_call_open_sessions_completed():
    result = run(CHAT)
    one = result.replications[0]._replace(partial=True)
    keep = one.tables["events"]["time_s"].values < 30.0
    cut = {
        name: {key: ColumnData(column.values[keep], column.categories) for key, column in table.items()}
        if name == "events"
        else table
        for name, table in one.tables.items()
    }
    told = ls.Result(result.scenario, [one._replace(tables=cut)]).sessions
    assert set(told.filter(pl.col("end_s") > 30.0)["outcome"]) == {"unfinished"}
    assert set(told.filter(pl.col("end_s") < 30.0)["outcome"]) == {"completed"}


# -- closed loop -----------------------------------------------------------------------------------------------------


def test_a_virtual_user_has_whole_conversations():
    result = run(CHAT, executor="constant-vus", vus=4, base_rate=0.0, arrivals="poisson", think_time=Constant(5.0))
    assert result.replications[0].counters["max_in_flight"] == 4
    for user in range(4):
        mine = result.requests.filter(pl.col("session") % 4 == user).sort("arrival_s")
        # 5 s, three answers of 1.4 s with 2 s in between, 5 s, …
        starts = 5.0 + (8.2 + 5.0) * np.arange(5)
        expected = np.sort((starts[:, None] + 3.4 * np.arange(3)).ravel())
        assert mine["arrival_s"].to_numpy() == pytest.approx(expected[expected < 60.0])
        assert set(np.diff(mine["session"].unique().sort())) == {4}


def test_a_virtual_user_whose_session_fails_thinks_and_begins_another():
    result = run(
        CHAT, executor="constant-vus", vus=1, base_rate=0.0, arrivals="poisson", think_time=Constant(1.0), faults=[DOWN]
    )
    during = result.requests.filter(pl.col("arrival_s").is_between(24.0, 30.0))
    assert set(during["step"]) == {0}
    assert during.height == pytest.approx(6, abs=1)


# -- tables ----------------------------------------------------------------------------------------------------------


def mixed(gateway=(), **more):
    loops = Agent(steps=Geometric(3.0), growth=Exponential(80.0), between=Exponential(1.0), runaway=0.05)
    return run(
        Route(
            route="chat",
            input_tokens=Lognormal(p50=80, p99=600),
            output_tokens=Exponential(40.0),
            system_tokens=200,
            session=Session(turns=Geometric(3.0), think_time=Exponential(6.0)),
        ),
        Route(route="agent", weight=0.5, output_tokens=Exponential(20.0), agent=loops),
        Route(route="plain", weight=0.5),
        gateway=gateway,
        **{"base_rate": 3.0, "arrivals": "poisson", "clock": Clock(warm_up=10.0, duration=60.0), **more},
    )


def test_sessions_add_up_to_requests():
    result = mixed(
        replications=2,
        providers={"a": SimProvider(errors=ErrorRates(server_error=0.05), price=QUICK.price)},
        user_retry=UserRetry(share=0.5),
        patience=Exponential(3.0),
    )
    requests, sessions = result.requests, result.sessions
    assert sessions["requests"].sum() == requests.height
    for column in ("attempts", "input_tokens", "output_tokens"):
        assert sessions[column].sum() == requests[column].sum()
    assert sessions["cost_usd"].sum() == pytest.approx(requests["cost_usd"].sum(), rel=1e-12)
    assert sessions["ok_steps"].sum() == (requests["outcome"] == "ok").sum()
    assert sessions["steps"].sum() == requests.select("replication", "session", "step").n_unique()
    assert sessions.select("replication", "session").is_unique().all()
    assert set(sessions["outcome"]) >= {"completed", "left", "failed", "unfinished"}
    plain = sessions.filter(pl.col("route") == "plain")
    assert set(plain["steps"]) == {1}
    assert set(plain["outcome"]) <= {"completed", "left", "failed"}


def test_a_page_tells_how_sessions_ended():
    result = run(CHAT, AGENT, faults=[DOWN])
    (line,) = [line for line in repr(result).splitlines() if line.split() and line.split()[0] == "sessions"]
    ends = dict(result.sessions.group_by("outcome").len().iter_rows())
    assert f"59 a replication, {result.sessions['steps'].mean():.3g} steps each, at most 4; " in line
    assert f"{100 * ends['completed'] / 59:.3g} % completed" in line
    assert " failed" in line and " unfinished" in line
    assert not [line for line in repr(run(Route())).splitlines() if "steps each" in line]


def test_a_saved_result_has_the_same_sessions(tmp_path):
    result = mixed()
    back = ls.load_result(result.save(tmp_path))
    assert_frame_equal(back.sessions, result.sessions)
    assert back.scenario.traffic == result.scenario.traffic


# -- the same questions under every gateway --------------------------------------------------------------------------


def test_a_policy_that_does_nothing_changes_nothing():
    @ls.policy
    async def draws(request, call_next):
        ls.current_run().luck("whatever", request)
        return await call_next(request)

    one, other = mixed(), mixed(gateway=[draws, ls.Retry(), ls.Timeout(total=300.0)])
    assert_frame_equal(one.requests, other.requests)
    assert_frame_equal(one.sessions, other.sessions)
    assert one.event_hash == mixed().event_hash


def test_slower_gateways_meet_the_same_questions_later():
    @ls.policy
    async def slow(request, call_next):
        await asyncio.sleep(1.0)
        return await call_next(request)

    one, other = mixed().requests, mixed(gateway=[slow]).requests
    both = one.join(other, on=["session", "step", "user_retry"], suffix="_slow")
    assert both.height > 0.7 * one.height
    assert (both["input_tokens"] == both["input_tokens_slow"]).all()
    assert (both["output_tokens"] == both["output_tokens_slow"]).all()
    # Every step before took a second longer, and so did this one's answer.
    later = both["arrival_s_slow"] - both["arrival_s"]
    assert later.to_numpy() == pytest.approx(both["step"].to_numpy() * 1.0, abs=1e-6)
    assert (both["e2e_s_slow"] - both["e2e_s"]).to_numpy() == pytest.approx(1.0)


def test_a_cache_hits_in_mid_session_where_everything_said_is_equal():
    def hits(suggested):
        talk = Session(turns=Constant(3), think_time=Constant(2.0), suggested=suggested)
        topics = Topics(zipf=Zipf(unique=1), paraphrases=0.0)
        chat = Route(route="chat", input_tokens=Constant(100), output_tokens=Uniform(5, 50), session=talk)
        requests = run(chat, gateway=[ls.Cache(ttl=None)], topics=topics).requests
        return requests.filter(pl.col("served_from") == "cache").group_by("step").len().sort("step")["len"].to_list()

    own, clicked = hits(0.0), hits(1.0)
    assert len(own) == 1, "the first question alone"
    assert own[0] > 50
    # Nearly all got the first one's answer, and asked the same after it.
    assert len(clicked) == 3
    assert min(clicked) > 35


# -- batch -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_batch_client_comes_in_bulk_and_waits():
    """The recipe in the docstring of `Client`, a hundred times as fast."""
    report = Route(route="report", stream=False, priority=-1, patience="endless")
    bulk = Burstiness(on_off=OnOff(burst=Constant(0.5), pause=Constant(35.5)))
    nightly = Client(client="nightly", share=0.5, tenant="reports", arrivals=bulk, mix=(report,))
    slow = {"a": SimProvider(ttft=Constant(3.0))}
    result = run(
        Route(route="chat"),
        base_rate=10.0,
        arrivals="poisson",
        clients=Clients(named=(nightly,), count=5),
        patience=Constant(2.0),
        providers=slow,
        clock=Clock(duration=360.0),
    )
    mine = result.requests.filter(pl.col("user") == "nightly")
    assert set(mine["route"]) == {"report"} and set(mine["tenant"]) == {"reports"}
    assert set(mine["outcome"]) == {"ok"}
    assert set(result.requests.filter(pl.col("user") != "nightly")["outcome"]) == {"abandoned"}
    starts = mine["arrival_s"].to_numpy()
    bursts = np.split(starts, np.flatnonzero(np.diff(starts) > 10.0) + 1)
    assert len(bursts) in (10, 11)
    assert max(burst[-1] - burst[0] for burst in bursts) <= 0.5
    # 180 each, Poisson.
    assert all(abs(len(burst) - 180) < 4 * math.sqrt(180) for burst in bursts[1:-1])
