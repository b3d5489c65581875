"""Logs of several makes tell the same calls; what cannot be used is named."""

import csv
import json
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

import llmsim
from llmsim.calibrate.calls import Calls, calls_of
from llmsim.calibrate.formulas import formula, read_map
from llmsim.calibrate.logs import read_log
from llmsim.errors import LlmsimError
from llmsim.telemetry.otlp import trace_lines

MAP = {
    "sent_s": "time",
    "ttft_s": "first_ms/1000",
    "e2e_s": "end-time",
    "input_tokens": "usage.prompt",
    "output_tokens": "`completion tokens`",
    "outcome": "status",
}


@pytest.fixture(scope="module")
def result():
    """A short run with a fallback, so that there are two upstreams and failures."""
    return llmsim.run(
        {
            "version": 1,
            "seed": 4,
            "clock": {"duration": "40s", "warm_up": "5s"},
            "traffic": {"base_rate": "1/s"},
            "providers": {
                "openai": {"model": "gpt-4o-mini", "ttft": "300ms", "errors": {"server_error": "30%"},
                           "price": {"input": "$1/Mtok", "output": "$2/Mtok"}},
                "local": {"model": "llama", "ttft": "200ms"},
            },
            "gateway": {"policies": [{"fallback": {"order": ["openai", "local"]}}]},
        },
        replications=1,
    )  # fmt: skip


def _same(one, other):
    assert one.ttft_s == pytest.approx(other.ttft_s, abs=2e-6, nan_ok=True)
    assert (one.sent_s - one.sent_s[0]) == pytest.approx(other.sent_s - other.sent_s[0], abs=2e-6)
    assert one.input_tokens.tolist() == other.input_tokens.tolist()
    assert one.output_tokens.tolist() == other.output_tokens.tolist()
    assert one.outcome == other.outcome
    assert (one.upstream, one.model) == (other.upstream, other.model)
    for word, e2e_s, others_s in zip(one.outcome, one.e2e_s, other.e2e_s, strict=True):
        if word == "ok":
            assert e2e_s == pytest.approx(others_s, abs=2e-6)


def test_a_saved_result_its_attempts_and_its_spans_are_the_same_calls(result, tmp_path):
    wanted = calls_of([result], "openai")
    assert 0 < wanted.outcome.count("server_error") < len(wanted.outcome)
    result.save(tmp_path / "out")
    _same(read_log(tmp_path / "out", provider="openai").calls, wanted)
    parquet = read_log(tmp_path / "out" / "attempts.parquet", provider="openai")
    assert parquet.kind == "attempts"
    _same(parquet.calls, wanted)
    traces = tmp_path / "t.jsonl"
    with traces.open("w") as file:
        for line in _trace_lines(result):
            file.write(line + "\n")
    spans = read_log(traces, provider="openai")
    assert spans.kind == "otlp"
    _same(spans.calls, wanted)
    assert spans.calls.cost_usd[0] == pytest.approx(wanted.cost_usd[0])
    assert spans.when.startswith("202")


def _trace_lines(result):
    yield from trace_lines(0, result.requests, result.attempts, result.events, {}, "salt")


def test_whose_calls_has_to_be_said_where_there_are_several(result, tmp_path):
    result.save(tmp_path / "out")
    for place in (tmp_path / "out", tmp_path / "out" / "attempts.parquet"):
        with pytest.raises(LlmsimError, match=r"--provider NAME; it has openai \(\d+\), local \(\d+\)"):
            read_log(place)
        with pytest.raises(LlmsimError, match="nobody called 'azure'"):
            read_log(place, provider="azure")


def test_a_table_with_a_mapping(tmp_path):
    rows = [
        {"time": 100 + n, "first_ms": 250 + n, "end": 102 + n, "usage": {"prompt": 10 * n, "x": 1},
         "completion tokens": n + 1, "status": 200 if n else 429}
        for n in range(4)
    ]  # fmt: skip
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows) + "\n\n")
    calls = read_log(path, mapping=MAP).calls
    assert calls.ttft_s.tolist() == [0.25, 0.251, 0.252, 0.253]
    assert calls.e2e_s.tolist() == [2.0] * 4
    assert calls.input_tokens.tolist() == [0, 10, 20, 30]
    assert calls.output_tokens.tolist() == [1, 2, 3, 4]
    assert calls.outcome == ("rate_limited", "ok", "ok", "ok")
    path.write_text(json.dumps(rows))
    assert (read_log(path, mapping=MAP).calls.ttft_s == calls.ttft_s).all()


def test_outcomes_are_told_in_many_ways(tmp_path):
    said = ["ok", "success", "200", "201", "429", "503", "529", "500", "400", "failure", "timeout", ""]
    path = tmp_path / "log.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["t", "f", "e", "i", "o", "s"])
        writer.writerows([n, 0.5, 1.0, 10, 5, word] for n, word in enumerate(said))
    columns = {"sent_s": "t", "ttft_s": "f", "e2e_s": "e", "input_tokens": "i", "output_tokens": "o", "outcome": "s"}
    assert read_log(path, mapping=columns).calls.outcome == (
        "ok", "ok", "ok", "ok", "rate_limited", "overloaded", "overloaded", "server_error", "bad_request", "error",
        "timeout", "ok",
    )  # fmt: skip


def _litellm(n, **changes):
    start = datetime(2026, 11, 1, 12, tzinfo=UTC) + timedelta(seconds=10 * n)
    row = {
        "request_id": f"r{n}",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05",
        "startTime": start.isoformat(),
        "completionStartTime": (start + timedelta(milliseconds=400 + n)).isoformat(),
        "endTime": (start + timedelta(seconds=2)).isoformat(),
        "prompt_tokens": 100 + n,
        "completion_tokens": 20,
        "spend": 1e-5,
        "model": "gpt-4o-mini",
        "custom_llm_provider": "openai",
        "cache_hit": "False",
        "status": "success",
    }
    return {**row, **changes}


def test_spend_logs_of_litellm_are_known(tmp_path):
    rows = [_litellm(n) for n in range(5)]
    rows[1]["cache_hit"] = "True"  # answered by LiteLLM's own cache
    rows[2] |= {"status": "failure", "custom_llm_provider": "", "completionStartTime": None}
    path = tmp_path / "spend.json"
    path.write_text(json.dumps(rows))
    log = read_log(path)
    assert log.kind == "litellm"
    assert log.when == "2026-11-01"
    assert log.calls.ttft_s[[0, 2, 3]] == pytest.approx([0.4, 0.403, 0.404], abs=1e-5)
    assert log.calls.outcome == ("ok", "error", "ok", "ok")
    assert log.calls.cost_usd[0] == 1e-5
    assert (log.calls.upstream, log.calls.model) == ("openai", "gpt-4o-mini")
    rows[3]["model"] = "gpt-4o"
    path.write_text(json.dumps({"data": rows}))
    with pytest.raises(LlmsimError, match="--model NAME"):
        read_log(path)
    assert len(read_log(path, model="gpt-4o-mini").calls.sent_s) == 3


def test_rows_that_cannot_be_used_are_left_out_and_named(tmp_path):
    rows = [_litellm(n) for n in range(9)]
    rows[3]["completionStartTime"] = None
    rows[5]["endTime"] = rows[5]["startTime"]
    rows[6]["startTime"] = "yesterday"
    path = tmp_path / "spend.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    log = read_log(path)
    assert len(log.calls.sent_s) == 6
    (note,) = log.notes
    assert note.startswith("3 of 9 rows were left out")
    for told in ("4: completionStartTime-startTime is missing", "6: its first token came after its end", "7: "):
        assert told in note
    for row in rows:
        row["completionStartTime"] = None
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(LlmsimError, match="9 of 9 rows cannot be used"):
        read_log(path)


def test_without_times_of_sending_each_call_stands_alone(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("f,e,i,o\n" + "0.5,2.0,10,5\n" * 3)
    log = read_log(path, mapping={"ttft_s": "f", "e2e_s": "e", "input_tokens": "i", "output_tokens": "o"})
    assert log.calls.alone.all()
    assert "nothing says when" in log.notes[0]


@pytest.mark.parametrize(
    ("content", "mapping", "message"),
    [
        ("a,b\n1,2\n", {}, "no log that is known.*Its columns: a, b"),
        ("a,b\n1,2\n", {"ttft_s": "a"}, r"add --map e2e_s=COLUMN. Missing: e2e_s: seconds"),
        ("a,b\n", {"ttft_s": "a"}, "there is no row"),
        (None, {}, "there is no such file"),
    ],
)
def test_what_is_no_log(tmp_path, content, mapping, message):
    path = tmp_path / "log.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LlmsimError, match=message):
        read_log(path, mapping=mapping)


def test_broken_json_is_named_by_its_line(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\n{"a": \n')
    with pytest.raises(LlmsimError, match=r"log\.jsonl:2: is no JSON"):
        read_log(path)
    path.write_text("[1, 2]")
    with pytest.raises(LlmsimError, match="item 1 is no object"):
        read_log(path)


@pytest.mark.parametrize("text", ["", "a+", "*3", "a b", "a//b", "a=b", "a/(b)"])
def test_sums_that_cannot_be_read(text):
    with pytest.raises(LlmsimError):
        formula(text)


def test_sums_go_from_left_to_right():
    assert formula("a+b*2/4-1")({"a": 1, "b": "3"}) == 1.0
    assert formula("a/b")({"a": 1, "b": 0}) is None
    assert formula("a-b")({"a": 1}) is None
    assert formula("a.b")({"a.b": 3}) == 3
    assert formula("a")({"a": "x"}) == "x"
    with pytest.raises(LlmsimError, match="fields are sent_s"):
        read_map(["ttft=first"])


# -- several runs on one clock -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def twice():
    """Two replications: each begins at 0 of the same clock."""
    scenario = {
        "version": 1,
        "clock": {"duration": "30s", "drain": "60s"},
        "traffic": {"base_rate": "0.3/s"},
        "providers": {"local": {"model": "m", "ttft": "2s"}},
    }
    return llmsim.run(scenario, replications=2)


def test_replications_are_taken_one_after_the_other(twice, tmp_path):
    calls = calls_of([twice], "local")
    each = twice.attempts.partition_by("replication", maintain_order=True)
    assert len(calls.sent_s) == sum(len(run) for run in each)
    assert np.diff(calls.sent_s).max() >= 3600
    # No call of one was under way in the other.
    alone = [int(Calls.of("local", "m", _as_calls(run)).alone.sum()) for run in each]
    assert int(calls.alone.sum()) == sum(alone)
    twice.save(tmp_path / "out")
    with (tmp_path / "t.jsonl").open("w") as file:
        for number, attempts in enumerate(each):
            requests = twice.requests.filter(pl.col("replication") == number)
            events = twice.events.filter(pl.col("replication") == number)
            file.writelines(line + "\n" for line in trace_lines(number, requests, attempts, events, {}, "salt"))
    for place in (tmp_path / "out", tmp_path / "out" / "attempts.parquet", tmp_path / "t.jsonl"):
        found = read_log(place)
        assert found.calls.alone.sum() == calls.alone.sum(), place
        assert sorted(found.calls.input_tokens) == sorted(calls.input_tokens)
        assert place.is_dir() or "2 runs on one clock were taken one after the other" in found.notes


def _as_calls(run):
    return run.select(
        sent_s="start_s",
        ttft_s=pl.col("first_s") - pl.col("start_s"),
        e2e_s=pl.col("end_s") - pl.col("start_s"),
        input_tokens="input_tokens",
        cached_tokens="cached_input_tokens",
        output_tokens="output_tokens",
        outcome="outcome",
        cost_usd="cost_usd",
    )


def _table(path, times, **more):
    rows = [{"t": t, "first": 0.5, "whole": 1.0, "i": 100, "o": 10, **{k: v[n] for k, v in more.items()}}
            for n, t in enumerate(times)]  # fmt: skip
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


COLUMNS = {"sent_s": "t", "ttft_s": "first", "e2e_s": "whole", "input_tokens": "i", "output_tokens": "o"}


def test_a_clock_that_begins_again_is_asked_about(tmp_path):
    times = [*range(0, 100, 5), *range(0, 100, 5)]
    path = _table(tmp_path / "log.csv", times, file=["a"] * 20 + ["b"] * 20)
    with pytest.raises(LlmsimError, match=r"goes back 1 times, first in line 22 \(from 95 s to 0 s\)") as caught:
        read_log(path, mapping=COLUMNS)
    assert "--map run=COLUMN" in str(caught.value)
    assert read_log(path, mapping={**COLUMNS, "run": "file"}).calls.alone.all()
    assert not read_log(path, mapping={**COLUMNS, "run": "1"}).calls.alone.any()  # as the message says: one clock


def test_rows_in_another_order_and_dates_are_no_second_run(tmp_path):
    ended = [0.0, 5.0, 4.2, 10.0, 15.0, 14.5]  # by the end of each: back by less than a call takes
    assert len(read_log(_table(tmp_path / "a.csv", ended), mapping=COLUMNS).calls.sent_s) == 6
    shuffled = np.random.default_rng(1).permutation(np.arange(0.0, 400, 10)).tolist()
    assert read_log(_table(tmp_path / "b.csv", shuffled), mapping=COLUMNS).calls.alone.all()
    days = [1.79e9 + t for t in (*range(0, 100, 5), *range(0, 100, 5))]
    assert not read_log(_table(tmp_path / "c.csv", days), mapping=COLUMNS).calls.alone.any()


def test_two_results_in_one_file_are_refused(twice, tmp_path):
    attempts = twice.attempts
    pl.concat([attempts, attempts]).write_parquet(tmp_path / "both.parquet")
    with pytest.raises(LlmsimError, match=r"stands in lines 1 and .*give one file for each"):
        read_log(tmp_path / "both.parquet")
    marked = pl.concat([attempts.with_columns(of=pl.lit(name)) for name in "ab"])
    marked.write_parquet(tmp_path / "marked.parquet")
    found = read_log(tmp_path / "marked.parquet", mapping={"run": "of"})
    assert len(found.calls.sent_s) == 2 * attempts.height


def test_what_a_server_says_of_its_own_time_and_of_when_to_come_back(tmp_path):
    path = _table(tmp_path / "log.csv", range(0, 100, 5), ms=[200] * 20, code=[200] * 19 + [429], after=[""] * 19 + [3])
    mapping = {**COLUMNS, "outcome": "code", "server_s": "ms/1000", "retry_after_s": "after"}
    calls = read_log(path, mapping=mapping).calls
    assert calls.server_s.tolist() == [0.2] * 20
    assert calls.status.tolist() == [200] * 19 + [429]
    assert calls.retry_after_s[-1] == 3
    assert np.isnan(calls.retry_after_s[:-1]).all()
