import math
import time

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from report.results import result, spike
from telemetry.recorded import attempt, event, replication, request

from llmsim.report.columns import COLUMNS, WINDOWS
from llmsim.report.tables import dtype_of, frame, to_table, windows
from llmsim.telemetry.columns import ATTEMPTS, EVENTS, REQUESTS
from llmsim.telemetry.metrics import evaluate
from llmsim.telemetry.recorder import ColumnData, Replication, event_hash


@pytest.mark.parametrize("table", ["requests", "attempts", "events", "windows", "sessions"])
@pytest.mark.parametrize("replications", [0, 1, 2])
def test_the_documentation_and_the_frames_agree_exactly(table, replications):
    rows = getattr(result(replications), table)
    assert rows.columns == [column.name for column in COLUMNS[table]]
    for column in COLUMNS[table]:
        assert rows.schema[column.name] == dtype_of(column), column.name
        assert column.meaning and not column.meaning.endswith(".")


def test_names_carry_their_units():
    for table in COLUMNS.values():
        for column in table:
            if column.kind in ("f4", "f8") and column.name != "similarity":  # a cosine has none
                assert column.name.endswith(("_s", "_usd", "_rate", "_per_s", "_amplification")), column.name


def test_windows_are_documented_once():
    assert len({column.name for column in WINDOWS}) == len(WINDOWS)


def test_derived_columns():
    rows = [
        request(session=3, step=1, user_retry=2, arrival_s=-0.5),
        request(session=4, arrival_s=0.0, ttft_s=0.5, e2e_s=1.5, output_tokens=11),
        request(session=5, arrival_s=60.0, outcome="timeout"),
    ]
    told = frame([replication(rows)], "requests", 60.0)
    assert told["request_id"].to_list() == ["3/1/2", "4/0/0", "5/0/0"]
    assert told["window"].to_list() == ["warm_up", "measured", "drain"]
    assert told["tpot_s"].to_list() == [pytest.approx(0.1), pytest.approx(0.1), None]
    assert told["ttft_s"].to_list() == [0.5, 0.5, None]  # NaN would poison every mean


def test_replications_with_different_categories_are_put_together():
    runs = [
        replication([request(route="a"), request(session=1, outcome="timeout")], number=0),
        replication([request(outcome="timeout", route="b")], number=1),
        replication(number=2),
    ]
    told = frame(runs, "requests")
    assert told["outcome"].to_list() == ["ok", "timeout", "timeout"]
    assert told["route"].to_list() == ["a", "chat", "b"]
    assert told["replication"].to_list() == [0, 0, 1]
    assert told.filter(pl.col("outcome") == "never_happened").is_empty()  # asking for it is no error


def test_tables_come_back_as_they_were_recorded():
    run = spike()
    back = {
        name: to_table(frame([run], name), name) for name in ("requests", "attempts", "events")
    }  # fmt: skip
    assert event_hash([back]) == event_hash([run.tables])
    empty = replication([request()], [attempt()], [event(detail="é")])
    back = {name: to_table(frame([empty], name), name) for name in ("requests", "attempts", "events")}
    assert event_hash([back]) == event_hash([empty.tables])


def test_a_window_counts_the_requests_that_arrived_in_it():
    rows = [
        *[request(session=n, arrival_s=10.0 + n / 20, cost_usd=0.5, ttft_s=1.0) for n in range(18)],
        request(session=18, arrival_s=19.99, outcome="rate_limited", attempts=3),
        request(session=19, arrival_s=12.0, outcome="abandoned", attempts=2),
        request(
            session=20,
            arrival_s=20.0,
            served_from="cache",
            served_by="cache",
            cache_match="exact",
            attempts=0,
            saved_usd=0.25,
        ),
        request(session=21, arrival_s=24.0, served_by="anthropic", attempts=2, fallbacks=1),
        request(session=22, arrival_s=25.0, outcome="oops"),
        request(session=23, arrival_s=99.0),
    ]
    one = replication(rows)
    told = windows(frame([one], "requests", 25.5), {0: 25.5})
    assert told["start_s"].to_list() == [0.0, 10.0, 20.0]
    assert told["end_s"].to_list() == [10.0, 20.0, 25.5]
    quiet, busy, short = told.to_dicts()
    assert (quiet["requests"], quiet["offered_per_s"], quiet["cost_usd"]) == (0, 0.0, 0.0)
    assert quiet["error_rate"] is quiet["ttft_p50_s"] is quiet["retry_amplification"] is None
    assert (busy["requests"], busy["answered"], busy["rate_limited"], busy["abandoned"]) == (20, 18, 1, 1)
    assert (busy["offered_per_s"], busy["goodput_per_s"], busy["error_rate"]) == (2.0, 1.8, pytest.approx(0.1))
    assert (busy["ttft_p90_s"], busy["ttft_p95_s"], busy["ttft_p99_s"]) == (1.0, math.inf, None)
    assert (busy["ttft_ok_p90_s"], busy["ttft_ok_p95_s"]) == (1.0, None)
    assert (busy["sent_upstream"], busy["attempts"], busy["retry_amplification"]) == (20, 23, 1.15)
    assert busy["cost_usd"] == 9.0
    assert (short["requests"], short["cache_hits"], short["other_failures"], short["fallbacks"]) == (3, 1, 1, 1)
    assert (short["offered_per_s"], short["fallback_rate"], short["saved_usd"]) == (3 / 5.5, 0.5, 0.25)


def test_windows_and_metrics_say_the_same():
    day = result(1)
    whole = day.windows
    one = day.samples[0]
    assert whole["requests"].sum() == evaluate(one, "requests")
    assert whole["attempts"].sum() / whole["sent_upstream"].sum() == evaluate(one, "retry_amplification")
    assert whole["retry_amplification"].max() == evaluate(one, "retry_amplification", "max")
    for row in whole.iter_rows(named=True):
        part = one.between(row["start_s"], row["end_s"])
        assert evaluate(part, "ttft", "p", 90) == pytest.approx(row["ttft_p90_s"])
        assert evaluate(part, "error_rate") == pytest.approx(row["error_rate"])


def test_the_same_tables_give_the_same_digits():
    runs = [spike(number) for number in range(4)]
    ends = dict.fromkeys(range(4), 100.0)
    first = windows(frame(runs, "requests", 100.0), ends)
    for _ in range(5):
        assert_frame_equal(windows(frame(runs, "requests", 100.0), ends), first, check_exact=True)


@pytest.mark.slow
def test_a_million_rows_take_a_second_or_two():
    luck, rows = np.random.default_rng(0), 1_000_000
    tables = {}
    for name, columns, count in (("requests", REQUESTS, rows), ("attempts", ATTEMPTS, rows), ("events", EVENTS, 10)):
        table = {}
        for column in columns:
            if column.kind == "category":
                table[column.name] = ColumnData(luck.integers(0, 3, count).astype(np.int32), ("ok", "cache", "x"))
            elif column.kind == "text":
                table[column.name] = ColumnData(np.array([""] * count, dtype=object))
            elif column.name == "session":
                table[column.name] = ColumnData(np.arange(count))
            elif column.kind == "maybe":
                table[column.name] = ColumnData(luck.integers(-1, 2, count).astype("i1"))
            else:
                table[column.name] = ColumnData(luck.integers(0, 1000, count).astype(column.kind))
        tables[name] = table
    one = Replication(0, tables, {}, (), 1000.0, 1.0)
    started = time.process_time()
    frame([one], "attempts", 1000.0)
    windows(frame([one], "requests", 1000.0), {0: 1000.0})
    # CPU time of all threads, generously: alone on the machine this is about 1.5 s.
    assert time.process_time() - started < 10
