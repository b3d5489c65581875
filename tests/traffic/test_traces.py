"""Reading recorded traffic: formats, cutting and splicing, replay, and files that are broken."""

import json
import math

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.errors import ScenarioError
from llmsim.luck import Luck
from llmsim.traffic.arrivals import BLOCK, Arrivals
from llmsim.traffic.replay import TracePart, TraceReplay, replayed
from llmsim.traffic.servegen import read_clients
from llmsim.traffic.sessions import Session
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Route, Traffic
from llmsim.traffic.traces import Trace, load_trace
from llmsim.units import BadValue

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109

2023-11-16 18:16:50.0000000,10,1
"""
BURSTGPT = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5,a,43,GPT-4,906,446,1352,Conversation log
7,,2,ChatGPT,36,0,36,API log
7,a,2,ChatGPT,0,0,0,API log
"""
MOONCAKE = """{"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]}
{"timestamp": 3000, "input_length": 7322, "output_length": 490, "hash_ids": [0]}
"""
RAGPULSE = """{"timestamp": "93", "input_length": 3167, "output_length": 86, "hash_ids": {}, "session_id": "b"}
{"timestamp": "82", "input_length": 3112, "output_length": 192, "hash_ids": {"history": []}, "session_id": "a"}
"""
OWN = """arrival_s,input_tokens,output_tokens,route,session,client,failed
0.5,900,100,chat,s1,c1,false
1.5,8000,50,rag,s1,c2,false
1.5,8000,,rag,s2,c2,true
"""
OWN = OWN.replace("8000,,", "8000,0,")


def write(folder, name, text):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_azure(tmp_path):
    trace = load_trace(write(tmp_path, "a.csv", AZURE))
    assert trace.format == "azure"
    assert trace.times_s == pytest.approx([0, 4.314579, 63.31941], abs=1e-6)
    assert trace.input_tokens.tolist() == [374, 396, 10]
    assert trace.output_tokens.tolist() == [44, 109, 1]
    assert not trace.failed.any()


def test_azure_of_2024_has_an_offset(tmp_path):
    text = AZURE.replace("46.6805900", "46.680590+00:00").replace("50.9951690", "50.995169+00:00")
    trace = load_trace(write(tmp_path, "a.csv", text.replace("50.0000000", "50+00:00")))
    assert trace.times_s == pytest.approx([0, 4.314579, 63.31941], abs=1e-6)


def test_burstgpt_requests_without_response_tokens_failed(tmp_path):
    trace = load_trace(write(tmp_path, "b.csv", BURSTGPT))
    assert trace.format == "burstgpt"
    assert trace.times_s.tolist() == [0, 2, 2]
    assert trace.failed.tolist() == [False, True, True]
    assert trace.session.tolist() == [0, -1, 0]
    assert (trace.routes, trace.route.tolist()) == (("GPT-4", "ChatGPT"), [0, 1, 1])


def test_mooncake_counts_in_milliseconds_and_ragpulse_in_seconds(tmp_path):
    mooncake = load_trace(write(tmp_path, "m.jsonl", MOONCAKE))
    assert (mooncake.format, mooncake.times_s.tolist()) == ("mooncake", [0.0, 3.0])
    ragpulse = load_trace(write(tmp_path, "r.jsonl", RAGPULSE))
    assert (ragpulse.format, ragpulse.times_s.tolist()) == ("ragpulse", [0.0, 11.0])
    assert ragpulse.input_tokens.tolist() == [3112, 3167], "in the order of time"
    assert ragpulse.session.tolist() == [1, 0]


@pytest.mark.parametrize("as_json", [False, True])
def test_our_own(tmp_path, as_json):
    path = write(tmp_path, "o.csv", OWN)
    if as_json:
        head, *rows = [line.split(",") for line in OWN.split()]
        lines = [json.dumps(dict(zip(head, row, strict=True))) for row in rows]
        path = write(tmp_path, "o.jsonl", "\n".join(lines))
    trace = load_trace(path)
    assert trace.format == "llmsim"
    assert trace.times_s.tolist() == [0, 1, 1]
    assert trace.failed.tolist() == [False, False, True]
    assert (trace.clients, trace.client.tolist()) == (("c1", "c2"), [0, 1, 1])
    assert (trace.routes, trace.session.tolist()) == (("chat", "rag"), [0, 0, 1])


def test_our_own_needs_three_columns_only(tmp_path):
    trace = load_trace(write(tmp_path, "o.csv", "arrival_s,input_tokens,output_tokens\n3,1,2\n"))
    assert (trace.route, trace.client, trace.session) == (None, None, None)
    assert trace.span_s > 0


# -- broken files ----------------------------------------------------------------------------------------------------

BROKEN = {
    "a word for a number": ("o.csv", OWN.replace("900", "many"), "o.csv:2:1: input_tokens is 'many'"),
    "half a token": ("o.csv", OWN.replace("900", "9.5"), "o.csv:2:1: input_tokens is '9.5'"),
    "less than nothing": ("o.csv", OWN.replace("100", "-1"), "o.csv:2:1: output_tokens is '-1'"),
    "more than any model takes": ("o.csv", OWN.replace("900", "1e12"), "o.csv:2:1: input_tokens is '1e12'"),
    "never": ("o.csv", OWN.replace("0.5", "inf"), "o.csv:2:1: arrival_s is 'inf'"),
    "a cell is empty": ("o.csv", OWN.replace("900", ""), "o.csv:2:1: input_tokens is missing"),
    "maybe": ("o.csv", OWN.replace("true", "maybe"), "o.csv:4:1: failed is 'maybe'"),
    "a cell too many": ("o.csv", OWN.replace("900", "9,00"), "o.csv:2:1: 8 cells, where the header has 7"),
    "no date": ("a.csv", AZURE.replace("2023-11-16 18:16", "yesterday 18:16"), "a.csv:5:1: TIMESTAMP is 'yesterday"),
    "no such day": ("a.csv", AZURE.replace("11-16 18:15:50", "11-31 18:15:50"), "a.csv:3:1: TIMESTAMP"),
    "a line that is no JSON": ("m.jsonl", MOONCAKE + "\n{oops\n", "m.jsonl:4:1: this is no JSON"),
    "a line that is no object": ("m.jsonl", MOONCAKE + "[1]\n", "m.jsonl:3:1: this is no JSON object"),
    "a key is missing": (
        "m.jsonl",
        MOONCAKE.replace('"input_length": 7322, ', ""),
        "m.jsonl:2:1: input_length is missing",
    ),
    "a list for a number": ("m.jsonl", MOONCAKE.replace("7322", "[7]"), "m.jsonl:2:1: input_length is '[7]'"),
    "no columns that are known": ("x.csv", "a,b\n1,2\n", "x.csv:1:1: the columns a, b are of no known format"),
    "no rows": ("o.csv", OWN.splitlines()[0], "o.csv: there are no requests in it"),
    "nothing": ("o.csv", " \n", "o.csv: the file is empty"),
}


@pytest.mark.matrix
@pytest.mark.parametrize(("name", "text", "says"), BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_named_with_its_line(tmp_path, name, text, says):
    with pytest.raises(ScenarioError) as caught:
        load_trace(write(tmp_path, name, text))
    assert f"{tmp_path}/{says}" in str(caught.value)


def test_all_bad_rows_are_told_the_first_ten_in_full(tmp_path):
    rows = "".join(f"{number},x,1\n" for number in range(25))
    with pytest.raises(ScenarioError, match="and 15 more bad rows of 25") as caught:
        load_trace(write(tmp_path, "o.csv", "arrival_s,input_tokens,output_tokens\n" + rows))
    assert [problem.line for problem in caught.value.problems[:10]] == list(range(2, 12))


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "z.csv").write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(ScenarioError, match="not text in UTF-8"):
        load_trace(tmp_path / "z.csv")


def test_a_format_that_does_not_fit(tmp_path):
    path = write(tmp_path, "o.csv", OWN)
    with pytest.raises(ScenarioError, match="there is no column timestamp; there are arrival_s"):
        load_trace(path, "azure")
    with pytest.raises(ScenarioError, match="ServeGen's data is a directory"):
        load_trace(path, "servegen")
    with pytest.raises(ScenarioError, match=r"no chunk-N-trace.csv"):
        load_trace(tmp_path)
    with pytest.raises(ScenarioError, match=r"no such file.* Did you mean .*o.csv"):
        load_trace(tmp_path / "oo.csv")
    with pytest.raises(ScenarioError, match=r"no request is between 50s and infs. It covers 1.5s"):
        load_trace(path, from_s=50)


# -- cutting, splicing ------------------------------------------------------------------------------------------------


def _made(times, span_s=None, **more):
    count = len(times)
    numbers = np.arange(count, dtype=np.int64)
    trace = Trace.of(np.array(times, dtype=float), numbers + 100, numbers + 1, **more)
    return trace if span_s is None else Trace(**{**vars(trace), "span_s": span_s})


@settings(max_examples=examples(60), deadline=None)
@given(
    times=st.lists(st.floats(0, 1000), min_size=2, max_size=60),
    at=st.floats(1, 900),
    rate=st.floats(0.1, 10),
)
def test_what_is_cut_and_spliced_is_what_it_was(times, at, rate):
    whole = _made(times)
    first, second = whole.cut(0, at), whole.cut(at)
    again = Trace.concatenated([first, second])
    if at <= whole.span_s:
        assert again.times_s == pytest.approx(whole.times_s, abs=1e-9)
        assert again.span_s == pytest.approx(whole.span_s)
    assert np.array_equal(again.input_tokens, whole.input_tokens)
    assert again.faster(rate).times_s * rate == pytest.approx(again.times_s)
    assert len(whole.limited(len(times) - 1)) == len(times) - 1


def test_pieces_keep_their_silence_and_their_names():
    a = _made([0, 5], 60.0, session=np.array([0, 1]), route=np.array([0, 1]), routes=("chat", "rag"))
    b = _made([0, 1], 10.0, session=np.array([0, -1]), route=np.array([0, -1]), routes=("rag",))
    both = Trace.concatenated([a, b, a])
    assert both.times_s.tolist() == [0, 5, 60, 61, 70, 75]
    assert both.span_s == 130
    assert (both.routes, both.route.tolist()) == (("chat", "rag"), [0, 1, 1, -1, 0, 1])
    assert both.session.tolist() == [0, 1, 2, -1, 3, 4], "sessions of two pieces are different people"


def test_rates_per_minute_hold_every_request():
    trace = _made([0, 1, 2, 59, 61, 200], 210.0)
    shape = RateShape(*trace.rate_per_minute())
    assert shape.expected(60.0) == pytest.approx(4)
    assert shape.expected(1000.0) == pytest.approx(6)
    assert shape.total == 6


# -- replay ----------------------------------------------------------------------------------------------------------


def _traffic(folder, **more):
    spec = TraceReplay(file=str(write(folder, "o.csv", OWN)), sessions="apart", **more)
    return Traffic(executor="trace", trace=spec, mix=(Route(route="rag"), Route(route="chat")))


def _replay(traffic):
    source = Arrivals(traffic, RateShape.of(traffic, 0.0), Luck(1))
    return [time for block in source for time in block], source


def test_a_trace_is_replayed_as_it_was(tmp_path):
    times, source = _replay(_traffic(tmp_path))
    assert times == [0, 1, 1]
    given = source.given(0, BLOCK)
    assert given.input_tokens[:3].tolist() == [900, 8000, 8000]
    assert given.output_tokens[:3].tolist() == [100, 50, 0], "0: how long the answer would have been, nobody knows"
    assert given.route[:3].tolist() == [1, 0, 0], "numbers in the scenario's mix"
    assert len(given.route) == BLOCK


def test_faster_limited_repeated_and_spliced(tmp_path):
    file = str(write(tmp_path, "p.csv", "arrival_s,input_tokens,output_tokens\n0,7,7\n4,8,8\n"))
    more = TracePart(file=file, from_=2.0, to=6.0)
    times, source = _replay(_traffic(tmp_path, rate=2.0, limit=2, repeat=2, then=(more,)))
    # OWN is 1.5 s long with its last silence: at 2x, two rows and half a second until the third, twice.
    assert times == pytest.approx([0, 0.5, 0.5, 1.0, 1.0 + 2])
    assert source.given(0, 8).input_tokens[:5].tolist() == [900, 8000, 900, 8000, 8]
    assert source.given(0, 8).route is None, "one of the pieces knows no routes"


def test_a_file_that_changed_is_read_again(tmp_path):
    traffic = _traffic(tmp_path)
    assert len(replayed(traffic.trace)) == 3
    path = write(tmp_path, "o.csv", OWN + "9,1,1,chat,,,\n")
    import os

    os.utime(path, (1, 1))
    assert len(replayed(traffic.trace)) == 4


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"trace": None}, "needs a file"),
        ({"base_rate": 4.0}, "trace has no base_rate"),
        ({"arrivals": "constant"}, "trace has no arrivals"),
        ({"executor": "constant-arrival-rate", "base_rate": 4.0}, "replays nothing"),
        ({"vus": 3}, "has no vus"),
        (
            {"mix": (Route(), Route(session=Session()))},
            "trace has no session: what belongs together stands in its file",
        ),
    ],
)
def test_a_trace_sets_the_pace(wrong, says):
    fields = {"executor": "trace", "trace": TraceReplay(file="x.csv"), **wrong}
    with pytest.raises(BadValue, match=says):
        Traffic(**fields)


# -- ServeGen --------------------------------------------------------------------------------------------------------


def _servegen(folder, rows=(("0,2,1,Gamma,1,0.5", "600,0,0,,0,0"), ("0,1,3,Weibull,0.4,0.3", "600,6,1,Gamma,1,1"))):
    for number, lines in enumerate(rows):
        write(folder, f"chunk-{number}-trace.csv", "\n".join(lines))
    pmf = {"0": {"input_tokens": "{10: 0.5, 20: 0.5}", "output_tokens": "{7: 1.0}"}}
    write(folder, "chunk-1-dataset.json", json.dumps(pmf))
    return folder


def test_servegen_clients_send_as_often_as_it_says(tmp_path):
    trace = load_trace(_servegen(tmp_path))
    assert trace.format == "servegen"
    assert (trace.span_s, trace.clients) == (1200.0, ("chunk-0", "chunk-1"))
    for client, window, expected, cv in ((0, 0, 1200, 1), (0, 1, 0, 1), (1, 0, 600, 3), (1, 1, 3600, 1)):
        mine = (trace.client == client) & (trace.times_s // 600 == window)
        assert abs(mine.sum() - expected) < 4.5 * cv * math.sqrt(expected) + 1e-9
        if expected:
            gaps = np.diff(trace.times_s[mine])
            assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.25)
    known = trace.client == 1
    assert set(trace.input_tokens[known]) == {10, 20}
    assert trace.input_tokens[known].mean() == pytest.approx(15, abs=0.4)
    assert set(trace.output_tokens[known]) == {7}
    assert not trace.input_tokens[~known].any(), "0: the data does not say"


def test_servegen_is_cut_by_windows_and_thinned_by_rate(tmp_path):
    folder = _servegen(tmp_path)
    whole, half = load_trace(folder), load_trace(folder, rate=0.5)
    assert len(half) == pytest.approx(len(whole) / 2, rel=0.1)
    assert half.span_s == whole.span_s
    part = load_trace(folder, from_s=600, to_s=900)
    assert part.span_s == 300
    assert np.array_equal(part.times_s, whole.cut(600, 900).times_s), "what is drawn for a window is always the same"
    assert len(load_trace(folder, limit=50)) == 50


def test_servegen_that_is_too_much_or_nothing(tmp_path):
    folder = _servegen(tmp_path)
    with pytest.raises(ScenarioError, match=r"some 5.4e\+10 requests.*rate: 0.0002x"):
        load_trace(folder, rate=1e7)
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    with pytest.raises(ScenarioError, match="nobody sends anything"):
        load_trace(_servegen(quiet, (("0,0,0,,0,0",),)))
    write(folder, "chunk-0-trace.csv", "0,2,1,Gamma,1,0.5\nx,y\n")
    with pytest.raises(ScenarioError, match=r"chunk-0-trace.csv:2:1: this is no window: 'x,y'"):
        read_clients(folder)
    outer = tmp_path / "outer"
    (outer / "inner").mkdir(parents=True)
    _servegen(outer / "inner")
    with pytest.raises(ScenarioError, match=r"Did you mean .*inner"):
        read_clients(outer)


def test_servegen_tokens_that_cannot_be_read(tmp_path):
    folder = _servegen(tmp_path)
    write(folder, "chunk-1-dataset.json", json.dumps({"0": {"input_tokens": "__import__('os')"}}))
    with pytest.raises(ScenarioError, match=r"chunk-1-dataset.json: a distribution of tokens"):
        load_trace(folder)
