"""A real run, billed a second time from its rows: by plain arithmetic, one token after the other."""

import math
from collections import Counter

import pytest

import llmsim as ls

PRICES = {"primary": (1e-6, 4e-6), "spare": (3e-6, 9e-6)}
DAY = {
    "version": 1,
    "name": "bad-day",
    "seed": 11,
    "replications": 2,
    "clock": {"warm_up": "10s", "duration": "60s", "drain": "30s"},
    "traffic": {
        "base_rate": "8/s",
        "patience": {"lognormal": {"p50": "4s", "p99": "20s"}},
        "topics": {"zipf": {"s": 1.0, "unique": 200}},
        "mix": [
            {
                "route": "chat", "weight": "70%", "tenant": "a",
                "output_tokens": {"uniform": {"low": 20, "high": 400}},
            },
            {
                "route": "rag", "weight": "30%", "tenant": "b", "stream": False,
                "input_tokens": 4000, "output_tokens": 40,
            },
        ],
    },
    "providers": {
        "primary": {
            "ttft": {"lognormal": {"p50": "400ms", "p99": "3s"}}, "inter_token": "10ms",
            "errors": {"server_error": "10%"}, "concurrency": 12, "on_cancel": "continue",
            "price": {"input": "$1/Mtok", "output": "$4/Mtok"},
        },
        "spare": {"ttft": "300ms", "price": {"input": "$3/Mtok", "output": "$9/Mtok"}},
    },
    "gateway": {
        "policies": [
            "cache",
            {"deadline": {"timeout": "8s"}},
            {"fallback": {"order": ["primary", "spare"]}},
            {"retry": {"max_attempts": 2}},
        ],
        "upstream": [{"timeout": {"ttft": "2s"}}],
    },
    "faults": [
        {"name": "breaks", "provider": "primary", "at": "20s", "duration": "20s",
         "break": {"after_tokens": 20, "percentage": "30%"}},
    ],
    "costs": {
        "observability": {
            "price": "$0.50/GB", "bytes_per_request": "2kB", "bytes_per_attempt": "700B", "bytes_per_token": "4B",
        }
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def day():
    return ls.run(DAY)


@pytest.mark.slow
def test_every_token_of_a_run_is_billed_exactly_once(day):
    rows = {
        row["request_id"] + f"#{row['replication']}": row
        for row in day.requests.to_dicts()
        if row["window"] == "measured"
    }
    billed, tokens, tries = 0.0, Counter(), 0
    for row in day.attempts.to_dicts():
        if row["request_id"] + f"#{row['replication']}" not in rows:
            continue
        tries += 1
        price_in, price_out = PRICES[row["upstream"]]
        cost = row["input_tokens"] * price_in + row["output_tokens"] * price_out
        assert row["cost_usd"] == pytest.approx(cost, abs=1e-12)
        billed += cost
        tokens["input"] += row["input_tokens"]
        tokens["output"] += row["output_tokens"]
    logged = (
        2000 * len(rows) + 700 * tries + 4 * sum(row["input_tokens"] + row["output_tokens"] for row in rows.values())
    )
    parts = day.metrics["cost_usd"]
    total = (billed + logged * 0.5e-9) / 2
    assert parts["total"] == pytest.approx(total, abs=1e-9)
    assert math.fsum(value for name, value in parts.items() if name != "total") == pytest.approx(total, abs=1e-9)
    for part in ("useful", "retry", "abandoned", "broken", "fallback_difference", "observability"):
        assert parts[part] > 0, f"the day was to have {part} work"
    bill = day.bill.table
    for kind in ("input", "output"):
        assert bill.filter(what=kind)["quantity"].sum() * 2 == pytest.approx(tokens[kind])
    for by in ("route", "tenant", "user", "upstream", ["route", "cause"]):
        assert day.costs(by, window="10s")["total_usd"].sum() == pytest.approx(total, abs=1e-9)


@pytest.mark.slow
def test_telemetry_of_a_run_agrees_with_its_rows(day):
    told = day.telemetry("route", window="20s")
    seconds = (told["end_s"] - told["start_s"]) * 2
    # What a broken-off request was still billed after it ended belongs to its window too.
    assert (told["output_tokens_per_s"] * seconds).sum() / 2 == pytest.approx(day.costs()["output_tokens"][0])
    chat = told.filter(route="chat")
    assert (chat["whole_p50_s"] > chat["wait_p50_s"]).all()
    rag = told.filter(route="rag")
    assert (rag["streamed_share"] == 0).all()
    assert rag["ttft_p50_s"].is_null().all()
