"""The library's hedge, shared flights, limits and admission in scenario files: they run, and the books balance."""

import pytest

import llmsim as ls

BASE = {
    "version": 1,
    "replications": 1,
    "seed": 3,
    "clock": {"duration": "60s"},
    "traffic": {
        "base_rate": "10/s",
        "topics": {"zipf": {"s": 1.2, "unique": 40}, "paraphrases": "0%"},
        "mix": [{"input_tokens": 500, "output_tokens": 60}],
    },
    "providers": {
        "a": {
            "ttft": {"lognormal": {"p50": "400ms", "p99": "4s"}},
            "price": {"input": "$1/Mtok", "output": "$2/Mtok"},
        },
        "b": {"ttft": "300ms", "price": {"input": "$1/Mtok", "output": "$2/Mtok"}},
    },
}


def _run(*policies, upstream=(), **more):
    return ls.run({**BASE, **more, "gateway": {"policies": [*policies], "upstream": [*upstream]}})


def test_shared_flights_are_billed_once():
    result = _run({"single_flight": {}})
    rows, attempts = result.requests, result.attempts
    kinds = dict(rows.group_by("served_from").len().iter_rows())
    assert set(kinds) == {"upstream", "flight"}
    assert kinds["flight"] > 100
    assert (rows["outcome"] == "ok").all()
    assert (rows["output_tokens"] == 60).all()
    assert attempts.height == kinds["upstream"] == rows["attempts"].sum()
    assert rows["cost_usd"].sum() == pytest.approx(attempts.height * (500e-6 + 120e-6))
    assert rows.filter(rows["served_from"] == "flight")["cost_usd"].sum() == 0
    events = dict(result.events.group_by("kind").len().iter_rows())
    assert events == {"coalesced": kinds["flight"]}
    assert result.metrics["retry_amplification"] == 1.0
    cost = result.metrics["cost_usd"]
    assert cost["useful"] == pytest.approx(cost["total"])


def test_a_crowd_that_leaves_pays_with_what_was_made():
    """Impatient users: the payer may go, and the next in line pays; no attempt is nobody's, and none is lost."""
    traffic = {**BASE["traffic"], "patience": {"uniform": {"low": "200ms", "high": "3s"}}}
    result = _run({"single_flight": {}}, traffic=traffic)
    rows, attempts = result.requests, result.attempts
    assert (rows["outcome"] == "abandoned").sum() > 50
    assert rows["attempts"].sum() == attempts.height
    assert rows["cost_usd"].sum() == pytest.approx(attempts["cost_usd"].sum())
    joined = attempts.join(rows, on=["session", "step", "user_retry"], how="anti")
    assert joined.is_empty()
    assert rows["leaked_streams"].sum() == 0


def test_a_hedge_cuts_the_tail_and_its_losers_are_billed():
    plain, hedged = _run(), _run({"hedge": {"after": "1s", "to": ["b"], "budget": "20%"}})
    assert hedged.metrics["ttft_s"]["p99"] < 0.6 * plain.metrics["ttft_s"]["p99"]
    causes = dict(hedged.attempts.group_by("cause").len().iter_rows())
    assert 0.05 < causes["hedge"] / hedged.requests.height < 0.2
    assert hedged.metrics["cost_usd"]["hedge_losing"] > 0
    assert hedged.requests["cost_usd"].sum() == pytest.approx(hedged.attempts["cost_usd"].sum())


def test_a_limit_an_admission_and_a_deadline_run_from_a_file():
    slow = {**BASE["providers"], "a": {"ttft": "1s", "concurrency": 8}}
    result = _run(
        {"adaptive_admission": {"target": "3s", "interval": "2s"}},
        {"deadline": {"timeout": "8s"}},
        upstream=[
            {"deadline": {"timeout": None, "minimum": "1s"}},
            {"concurrency_limit": {"aimd": {"initial": 10, "timeout": "4s"}, "queue": {"limit": 40, "timeout": "5s"}}},
        ],
        providers=slow,
    )
    kinds = set(result.events["kind"])
    assert {"adaptive_admission", "rejected", "concurrency_limit"} <= kinds
    assert set(result.requests["outcome"]) <= {"ok", "rejected", "deadline_exceeded"}
