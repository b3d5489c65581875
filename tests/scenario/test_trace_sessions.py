"""A trace's sessions, replayed in turn."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import llmsim as ls
from llmsim.distributions import Constant
from llmsim.providers.faults import Abort, Fault
from llmsim.providers.sim.spec import SimProvider
from llmsim.scenario.preflight import preflight
from llmsim.scenario.spec import Clock, Scenario
from llmsim.traffic.replay import TraceReplay, replayed, sessions_of
from llmsim.traffic.spec import Route, Traffic

RAGPULSE = Path(__file__).resolve().parents[3] / "shared" / "data" / "ragpulse" / "0_trace.jsonl"

ROWS = """arrival_s,input_tokens,output_tokens,session,route
0,100,11,a,chat
1,500,11,,rag
2,200,21,b,chat
10,130,0,a,chat
11,400,11,b,chat
12,300,11,a,chat
30,90,11,a,chat
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(ROWS)
    return str(path)


MIX = (Route(route="chat", output_tokens=Constant(9)), Route(route="rag"))


def run(file, *, ttft=1.0, faults=(), duration=60.0, mix=MIX, **more):
    scenario = Scenario(
        version=1,
        traffic=Traffic(executor="trace", trace=TraceReplay(file=file, **more), mix=mix),
        providers={"a": SimProvider(ttft=Constant(ttft), inter_token=Constant(0.1))},
        clock=Clock(duration=duration, drain=60.0),
        faults=tuple(faults),
    )
    return ls.run(scenario, replications=1)


def test_requests_keep_their_times_and_lengths_and_become_steps(file):
    result = run(file)
    found = result.requests.sort("arrival_s")
    assert found["arrival_s"].to_numpy() == pytest.approx([0, 1, 2, 10, 11, 12, 30])
    assert found["request_id"].to_list() == ["0/0/0", "1/0/0", "2/0/0", "0/1/0", "2/1/0", "0/2/0", "0/3/0"]
    assert found["input_tokens"].to_list() == [100, 500, 200, 130, 400, 300, 90]
    # The trace does not know the second answer of the first session: from the mix, 9.
    assert found["output_tokens"].to_list() == [11, 11, 21, 9, 11, 11, 11]
    assert found.filter(pl.col("session") == 0)["user"].n_unique() == 1
    sessions = result.sessions
    assert sessions["steps"].to_list() == [4, 1, 2]
    assert set(sessions["outcome"]) == {"completed"}
    assert preflight(result.scenario).expected_requests == pytest.approx(7)


def test_apart_every_request_is_its_own(file):
    found = run(file, sessions="apart").requests
    assert found["request_id"].to_list() == [f"{n}/0/0" for n in range(7)]
    assert found.sort("arrival_s")["arrival_s"].to_numpy() == pytest.approx([0, 1, 2, 10, 11, 12, 30])


def test_nobody_asks_on_before_the_answer_is_there(file):
    found = run(file, ttft=8.0).requests.filter(pl.col("session") == 0)
    # Answers end at 9, 10 + 8.8 and 18.8 + 9; recorded were 10, 12 and 30.
    assert found["arrival_s"].to_numpy() == pytest.approx([0, 10, 18.8, 30])


def test_a_failure_changes_nothing_about_what_was_recorded(file):
    down = Fault(name="down", provider="a", at=0.0, duration=11.5, abort=Abort(status=503))
    result = run(file, faults=[down])
    assert result.requests.height == 7
    assert result.sessions["ok_steps"].to_list() == [2, 0, 0]
    assert result.sessions["outcome"].to_list() == ["completed", "failed", "failed"]


def test_what_is_recorded_after_the_end_is_not_sent(file):
    result = run(file, duration=20.0)
    assert result.requests["arrival_s"].max() == 12.0
    assert result.sessions["outcome"].to_list() == ["unfinished", "completed", "completed"]


def test_a_prompt_shares_what_was_before_it_where_it_has_room_for_that(file):
    from llmsim.luck import Luck
    from llmsim.traffic.arrivals import Arrivals
    from llmsim.traffic.shape import RateShape
    from llmsim.traffic.workload import Workload

    chat = Route(route="chat", system_tokens=60, output_tokens=Constant(12))
    traffic = Traffic(executor="trace", trace=TraceReplay(file=file), mix=(chat, Route(route="rag")))
    arrivals = Arrivals(traffic, RateShape.of(traffic, 0.0), Luck(1))
    assert [time for block in arrivals for time in block] == [0.0, 1.0, 2.0]
    source = Workload(traffic, Luck(1), arrivals)
    request, truth = source(0)
    session, found = truth.session, [(request.input_tokens, truth.shared_tokens)]
    while not session.after("ok", 9):
        request, truth = session.ask()
        found.append((request.input_tokens, truth.shared_tokens))
    # 130 has room for 100 and 11, and 300 for 130 and 12; 90 has not for 300: the system prompt is all it can share.
    assert found == [(100, 60), (130, 100), (300, 130), (90, 60)]
    assert (source(1)[1].session, source(1)[1].shared_tokens) == (None, None)


def test_repeated_pieces_are_other_peoples_sessions(file):
    spec = TraceReplay(file=file, repeat=3)
    sessions, trace = sessions_of(spec), replayed(spec)
    assert np.diff(sessions.starts).tolist() == [4, 1, 2] * 3
    assert trace.times_s[sessions.heads].tolist() == sorted(trace.times_s[sessions.heads])
    assert sorted(sessions.rows.tolist()) == list(range(21))
    assert sessions.of(3).tolist() == [7, 10, 12, 13]


@pytest.mark.slow
@pytest.mark.skipif(not RAGPULSE.exists(), reason="the RAGPulse trace is not there")
def test_a_week_of_a_universitys_assistant():
    result = run(str(RAGPULSE), ttft=0.1, duration=700_000.0, mix=(Route(route="rag"),))
    requests, sessions = result.requests, result.sessions
    assert (requests.height, sessions.height) == (7106, 3990)
    trace = replayed(TraceReplay(file=str(RAGPULSE)))
    assert sorted(requests["input_tokens"]) == sorted(trace.input_tokens)
    late = requests.sort("arrival_s")["arrival_s"].to_numpy() - trace.times_s
    assert late.min() > -1e-6 and np.median(late) == 0.0
    assert sessions["steps"].max() == 25
    assert sessions["steps"].mean() == pytest.approx(1.781, abs=0.001)
