"""A gateway's log as traffic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from llmsim.calibrate.arrivals import read_arrivals, write_arrivals
from llmsim.errors import LlmsimError
from llmsim.traffic.traces import load_trace

ACCESS = """\
timestamp,status,prompt_tokens,completion_tokens,app
2026-11-01T10:00:04Z,200,200,510,search
2026-11-01T10:00:00Z,200,930,210,chat
2026-11-01T10:00:01Z,429,1200,,chat
2026-11-01T10:00:02Z,200,,310,chat
soon,200,100,310,chat
"""
MAP = {"sent_s": "timestamp", "input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}


@pytest.fixture
def access(tmp_path: Path) -> Path:
    path = tmp_path / "access.csv"
    path.write_text(ACCESS, encoding="utf-8")
    return path


def test_an_access_log_becomes_a_trace_in_the_order_of_time(access: Path, tmp_path: Path) -> None:
    found = read_arrivals(access, {**MAP, "outcome": "status", "route": "app"})
    write_arrivals(found, tmp_path / "trace.csv")
    trace = load_trace(tmp_path / "trace.csv")
    assert trace.format == "llmsim"
    assert trace.times_s.tolist() == [0.0, 1.0, 4.0]
    assert trace.input_tokens.tolist() == [930, 1200, 200]
    assert trace.failed.tolist() == [False, True, False]
    assert (tmp_path / "trace.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        "0.000000,930,210,0,chat",
        "1.000000,1200,0,1,chat",
        "4.000000,200,510,0,search",
    ]
    assert found.notes == ("2 of 5 rows left out: line 5 (prompt_tokens is missing); line 6 (timestamp is no time)",)


def test_what_litellms_cache_answered_is_traffic_too(tmp_path: Path) -> None:
    def row(second: int, **fields: Any) -> dict[str, Any]:
        at = f"2026-11-01T10:00:0{second}Z"
        common = {
            "startTime": at,
            "completionStartTime": at,
            "endTime": at,
            "model": "gpt-4o",
            "user": "jo@example.org",
        }
        return {**common, "prompt_tokens": 10 + second, "completion_tokens": 5, "status": "success", **fields}

    path = tmp_path / "spend.json"
    path.write_text(json.dumps([row(0), row(1, cache_hit="True"), row(3, status="failure")]), encoding="utf-8")
    found = read_arrivals(path)
    assert found.kind == "litellm"
    assert [one.input_tokens for one in found.rows] == [10, 11, 13]
    assert [one.failed for one in found.rows] == [False, False, True]
    write_arrivals(found, tmp_path / "trace.csv")
    assert "example.org" not in (tmp_path / "trace.csv").read_text(encoding="utf-8")  # nobody asked for users


def test_false_is_a_failure_and_session_0_a_session(tmp_path: Path) -> None:
    rows = [
        {"t": 0, "in": 10, "out": 5, "ok": True, "conversation": 0},
        {"t": 1, "in": 11, "out": 0, "ok": False, "conversation": 0},
        {"t": 2, "in": 12, "out": None, "ok": False, "conversation": None},
    ]
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    mapping = {"sent_s": "t", "input_tokens": "in", "output_tokens": "out", "outcome": "ok", "session": "conversation"}
    found = read_arrivals(path, mapping)
    assert [one.failed for one in found.rows] == [False, True, True]
    assert [one.names for one in found.rows] == [("0",), ("0",), ("",)]


def test_a_flag_of_a_database_is_true_or_false(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("t,in,out,success\n0,10,5,1\n1,10,0,0\n2,10,5,1.0\n", encoding="utf-8")
    mapping = {"sent_s": "t", "input_tokens": "in", "output_tokens": "out", "outcome": "success"}
    assert [one.failed for one in read_arrivals(path, mapping).rows] == [False, True, False]


def test_a_line_with_more_fields_than_the_header_is_no_crash(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("a,b\n1,2,3\n", encoding="utf-8")
    with pytest.raises(LlmsimError, match=r"Its columns: a, b, \(beyond the header\)$"):
        read_arrivals(path)


def test_replications_have_one_clock_and_are_not_added_up(tmp_path: Path) -> None:
    """Three replications of 5 requests a second are not 15 a second."""
    fields = {"model": "m", "input_tokens": 10, "output_tokens": 5, "outcome": "ok", "first_s": 1.0, "end_s": 2.0}
    rows = [{**fields, "start_s": float(second), "replication": run} for run in (0, 1, 2) for second in range(2)]
    path = tmp_path / "attempts.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    found = read_arrivals(path)
    assert found.kind == "attempts"
    assert [one.sent_s for one in found.rows] == [0.0, 1.0]
    assert found.notes == ("3 runs on one clock: only the first was taken, replication 0",)
    assert len(read_arrivals(path, {"run": "1"}).rows) == 6


@pytest.mark.parametrize(
    ("mapping", "says"),
    [
        ({}, "add --map sent_s=COLUMN.*output_tokens: of the answer. Its columns: timestamp, status"),
        ({**MAP, "sent_s": "status/0"}, r"no row is a request with a time and tokens: line 2 \(status/0 is no time\)"),
    ],
)
def test_what_is_missing_is_said_with_what_there_is(access: Path, mapping: dict[str, str], says: str) -> None:
    with pytest.raises(LlmsimError, match=says):
        read_arrivals(access, mapping)


def test_what_json_says_without_words_counts(tmp_path: Path) -> None:
    """False is a failure and no lack of an outcome; 0 is somebody's number."""
    log = tmp_path / "log.jsonl"
    rows = [{"t": n, "p": 5, "c": 7, "ok": ok, "who": n} for n, ok in enumerate((True, False, None))]
    log.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    given = {"sent_s": "t", "input_tokens": "p", "output_tokens": "c", "outcome": "ok", "client": "who"}
    found = read_arrivals(log, given)
    assert [(one.failed, *one.names) for one in found.rows] == [(False, "0"), (True, "1"), (False, "2")]


@pytest.mark.parametrize("field", ["outcome", "route", "session", "client"])
def test_a_column_that_is_not_there_is_not_taken_for_an_empty_one(access: Path, field: str) -> None:
    with pytest.raises(LlmsimError, match=rf"--map {field}=user-id: no row has that\. Its columns: timestamp, status"):
        read_arrivals(access, {**MAP, field: "user-id"})


@pytest.mark.parametrize(("digits", "per_s"), [(13, 1_000), (16, 1_000_000), (19, 1_000_000_000)])
def test_milliseconds_since_1970_are_no_seconds(tmp_path: Path, digits: int, per_s: int) -> None:
    log = tmp_path / "log.csv"
    log.write_text(f"t,p,c\n{1_764_170_000 * 10 ** (digits - 10)},5,7\n", encoding="utf-8")
    given = {"sent_s": "t", "input_tokens": "p", "output_tokens": "c"}
    with pytest.raises(LlmsimError, match=rf"sent_s=t is 1764170+, which are no seconds; write sent_s=t/{per_s}$"):
        read_arrivals(log, given)
    assert read_arrivals(log, {**given, "sent_s": f"t/{per_s}"}).rows[0].sent_s == 1_764_170_000


def test_a_number_beyond_all_numbers_is_a_bad_row_and_no_crash(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"t": 1, "p": %s, "c": 1}\n{"t": 2, "p": 5, "c": 1}' % ("9" * 400), encoding="utf-8")
    found = read_arrivals(log, {"sent_s": "t", "input_tokens": "p", "output_tokens": "c"})
    assert found.notes == ("1 of 2 rows left out: line 1 (p is missing)",)
