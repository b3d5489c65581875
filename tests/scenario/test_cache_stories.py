"""What the scenarios with a semantic cache tell is so."""

from functools import cache
from pathlib import Path

import polars as pl
import pytest

import llmsim as ls

SCENARIOS = Path(__file__).parents[2] / "scenarios"

# Their figures are those of traps with similarities of their own.
pytest.importorskip("llmsim.traffic.similarity", reason="the lab's traps are not yet as near as real ones")
pytestmark = pytest.mark.slow


@cache
def run(name, *overrides):
    return ls.run(ls.load(SCENARIOS / f"{name}.yaml", overrides), jobs=1)


def failed(result):
    assert result.verdict != "UNDECIDED", result
    return {line.objective.key for line in result.slo if line.verdict == "FAIL"}


def test_one_number_decides_and_the_cheaper_one_is_wrong_too_often():
    strict = run("semantic-cache")
    lax = run("semantic-cache", "gateway.semantic_cache.threshold=0.85")
    assert strict.verdict == "PASS"
    assert failed(lax) == {"false_hit_rate"}
    assert lax.metrics["cost_per_ok_usd"] < strict.metrics["cost_per_ok_usd"]
    assert lax.metrics["ttft_s"]["p95"] < strict.metrics["ttft_s"]["p95"]
    assert lax.metrics["cache_hit_rate"] > strict.metrics["cache_hit_rate"]
    assert 0.012 < lax.metrics["false_hit_rate"] < 0.03  # "one answer in fifty"


def test_a_verifier_makes_good_what_the_lower_threshold_breaks():
    judge = "{accept_right: 95%, accept_wrong: 10%, latency: 600ms, price: $0.0002}"
    lower = "gateway.semantic_cache.threshold=0.85"
    band = run("semantic-cache", lower, "gateway.semantic_cache.verify_below=0.97", f"store.judge={judge}")
    lax, strict = run("semantic-cache", lower), run("semantic-cache")
    assert band.metrics["false_hit_rate"] < 0.3 * lax.metrics["false_hit_rate"]
    assert band.metrics["cache_hit_rate"] > strict.metrics["cache_hit_rate"]
    assert band.metrics["cost_usd"]["verification"] > 0


def calls_per_s(result, low, high):
    rows = result.requests.filter(pl.col("arrival_s").is_between(low, high, closed="left"))
    return rows["attempts"].sum() / (high - low) / len(result.replications)


def test_a_dead_store_is_load_upstream_and_nobodys_error():
    down = run("redis-down")
    assert down.verdict == "PASS"
    before, during, after, late = (calls_per_s(down, *span) for span in ((60, 90), (90, 150), (150, 180), (240, 300)))
    assert during > 2 * before
    assert during > after > 1.2 * before  # it came back empty
    assert late < 1.25 * before
    rows = down.requests
    outage = rows.filter(pl.col("arrival_s").is_between(90, 150, closed="left"))
    assert not outage.filter(pl.col("served_from") == "cache").height
    flights = (outage["served_from"] == "flight").mean()
    assert flights > 2 * (rows.filter(pl.col("arrival_s") < 90)["served_from"] == "flight").mean()


def test_slots_for_what_the_cache_lets_through_are_not_enough_without_it():
    tight = run("redis-down", "providers.local.concurrency=16")
    assert {"error_rate", "ttft"} <= failed(tight)
    unhurt = tight.requests.filter(pl.col("arrival_s").is_between(0, 80))
    assert (unhurt["outcome"] == "ok").all()
