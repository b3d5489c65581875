"""Large results are read column by column, and say the same."""

import json
import math

import numpy as np
import polars as pl
import pytest

import llmsim as ls
from llmsim.report import advice, recorded
from llmsim.report.paired import values_by_metric
from llmsim.report.recorded import Recorded
from llmsim.report.result import Result
from llmsim.telemetry import rows, sample
from llmsim.telemetry.metrics import METRICS, evaluate

SPIKE = {
    "version": 1,
    "replications": 2,
    "seed": 5,
    "clock": {"warm_up": "10s", "duration": "90s", "drain": "20s"},
    "traffic": {
        "base_rate": "6/s",
        "patience": "4s",
        "user_retry": {"share": "50%"},
        "topics": {"zipf": {"s": 1.2, "unique": 5000}, "paraphrases": "30%", "traps": "5%"},
        "mix": [
            {"route": "chat", "weight": "70%"},
            {"route": "talk", "weight": "30%", "session": {"turns": 3, "think_time": "5s"}},
        ],
    },
    "providers": {
        "openai": {"ttft": "300ms", "rate_limit": {"requests": "240/min"}, "price": {"input": "$1/Mtok"}},
        "local": {"ttft": "2s", "concurrency": 2, "queue": {"limit": 4}, "price": {"input": "$0.1/Mtok"}},
    },
    "gateway": {
        "policies": [
            {"semantic_cache": {"threshold": 0.9, "ttl": "1h"}},
            {"fallback": {"order": ["openai", "local"]}},
            {"retry": {"max_attempts": 3, "backoff": {"initial": "1s"}}},
        ],
    },
    "faults": [
        {
            "name": "out",
            "provider": "openai",
            "at": "30s",
            "duration": "20s",
            "abort": {"status": 503, "percentage": "60%"},
        }
    ],
    "steady_state": {"error_rate": ["value < 20%"]},
    "slo": {
        "ttft": ["p(95) < 300ms"],  # late, so that there is something to diagnose
        "ttft{provider:local}": ["p(90) < 9s"],
        "error_rate": ["value < 1%"],
        "max_upstream_in_flight{provider:openai}": ["value < 500"],
        "retry_amplification": ["max < 1.5"],
        "cost_per_ok": ["value < $1"],
        "recovery_time": ["value < 60s"],
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def stormy():
    result = ls.run(SPIKE)
    assert not result.large  # remembered from here on
    return result


@pytest.fixture
def large(stormy, monkeypatch):
    """The same replications, taken for large ones, and read in pieces so small that there are many."""
    monkeypatch.setattr(recorded, "LARGE_ROWS", 1)
    for module in (rows, sample, recorded):
        monkeypatch.setattr(module, "PIECE_ROWS", 97)
    result = Result(stormy.scenario, stormy.replications, wall_s=stormy.wall_s, requested=stormy.requested)
    assert result.large
    return result


@pytest.mark.slow
def test_a_large_result_says_the_same_to_the_last_digit(stormy, large):
    assert (stormy.requests["outcome"] != "ok").sum() > 20
    assert json.loads(large.to_json()) == json.loads(stormy.to_json())
    assert large.windows.equals(stormy.windows)
    assert large.advice == stormy.advice and len(large.advice) > 1
    assert repr(large) == repr(stormy)


@pytest.mark.slow
def test_what_is_shown_makes_no_frame_of_everything(stormy, large, monkeypatch):
    monkeypatch.setattr(advice, "_MOST_DIAGNOSED", 10)
    assert "result.diagnosis says which part" in repr(large) and large.windows.height
    assert {"requests", "attempts"}.isdisjoint(vars(large))


@pytest.mark.slow
def test_every_metric_and_every_tag_of_it(stormy, large):
    for name, metric in METRICS.items():
        for tags in ((), (("provider", "local"),), (("route", "talk"),)):
            for aggregate in metric.aggregates:
                ask = [name, aggregate, 90.0 if aggregate == "p" else None, tags]
                pairs = zip(stormy.samples, large.samples, strict=True)
                told = [(evaluate(one, *ask), evaluate(other, *ask)) for one, other in pairs]
                assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in told), (ask, told)


@pytest.mark.slow
def test_what_compares_and_bills_reads_large_results_too(stormy, large):
    same = zip(values_by_metric(stormy).values(), values_by_metric(large).values(), strict=True)
    assert all(np.array_equal(one, other, equal_nan=True) for one, other in same)
    assert repr(large.bill) == repr(stormy.bill)
    assert large.costs(by="upstream").equals(stormy.costs(by="upstream"))


def test_rows_are_taken_from_rows_that_were_taken(stormy):
    every = Recorded(stormy.replications[0], "requests", 90.0)
    frame = every.frame()
    rng = np.random.default_rng(0)
    index = rng.permutation(every.height)[:300]
    picked = every.take(index)
    assert picked.frame().equals(frame[index.tolist()])
    assert picked.slice(10, 20).frame().equals(frame[index[10:20].tolist()])
    assert every.slice(5, 50).slice(2, 9).frame().equals(frame[7:14])
    assert every.slice(5, 50).take(np.array([3, 4, 5])).frame(["request_id"]).equals(frame[8:11].select("request_id"))
    assert (
        every.slice(5, 50)
        .take(np.array([3, 9]))
        .frame(["tpot_s", "window"])
        .equals(frame[[8, 14]].select("tpot_s", "window"))
    )
    assert every.take(np.array([], dtype=np.int64)).frame().is_empty()


def test_a_column_of_one_value_is_not_written_out_in_a_frame(stormy):
    frame = Recorded(stormy.replications[0], "requests", 90.0).frame()
    assert frame["tenant"].n_unique() == 1 and frame["tenant"].dtype == pl.Categorical
    assert frame.schema == stormy.requests.schema


@pytest.mark.slow
def test_a_large_result_is_shown_at_once() -> None:
    from time import process_time

    result = ls.run({
        "version": 1,
        "replications": 1,
        "clock": {"duration": "1h"},
        "traffic": {"base_rate": "20/s"},
        "providers": {"openai": {"ttft": "300ms"}},
    })  # fmt: skip
    assert result.large
    started = process_time()
    shown = result._repr_html_()
    repr(result)
    assert process_time() - started < 0.2, "what it says was computed when the run was over"
    assert len(shown) < 300_000
