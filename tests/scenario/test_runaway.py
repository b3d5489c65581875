"""The story of scenarios/runaway-agent.yaml: a few chains that do not end make two fifths of the bill."""

import dataclasses
from pathlib import Path

import polars as pl
import pytest

import llmsim as ls

PATH = Path(__file__).parents[2] / "scenarios" / "runaway-agent.yaml"


@pytest.fixture(scope="module")
def results():
    guarded = ls.load(PATH)
    gateway = guarded.gateway
    assert gateway.policies[0].kind == "runaway_guard"
    naive = guarded.with_gateway(dataclasses.replace(gateway, policies=gateway.policies[1:]))
    return ls.run(naive, replications=6), ls.run(guarded, replications=6)


@pytest.mark.slow
def test_the_naive_gateway_fails_and_the_shipped_one_passes(results):
    naive, guarded = results
    verdicts = {line.objective.metric: line.verdict for line in naive.slo}
    assert verdicts["max_spend_per_session"] == verdicts["max_steps_per_session"] == "FAIL"
    assert verdicts["error_rate"] == verdicts["cost_per_ok"] == "PASS"
    assert guarded.verdict == "PASS"


@pytest.mark.slow
def test_one_session_in_sixty_makes_two_fifths_of_the_bill(results):
    naive, guarded = results
    sessions = naive.sessions
    long = sessions.filter(pl.col("steps") > 50)
    assert long.height / sessions.height == pytest.approx(1 / 60, abs=0.006)
    assert long["cost_usd"].sum() / sessions["cost_usd"].sum() == pytest.approx(0.4, abs=0.1)
    assert "ran_away" in set(sessions["outcome"])
    assert "ran_away" not in set(guarded.sessions["outcome"])
    assert guarded.metrics["cost_usd"]["total"] < naive.metrics["cost_usd"]["total"]


@pytest.mark.slow
def test_what_repeats_itself_has_run_away_and_nothing_else(results):
    _, guarded = results
    events = guarded.events.with_columns(
        session=pl.col("replication").cast(pl.String) + ":" + pl.col("request_id").str.split("/").list.first()
    )
    begun = set(events.filter(pl.col("kind") == "runaway")["session"])
    refused = events.filter(pl.col("kind") == "runaway_guard").with_columns(
        reason=pl.col("detail").str.json_path_match("$.reason")
    )
    repeating = set(refused.filter(pl.col("reason") == "repeats")["session"])
    assert repeating <= begun
    assert len(repeating) >= 0.8 * len(begun)  # the others began shortly before the end
    assert refused.filter(pl.col("reason") == "calls").height <= 0.01 * guarded.sessions.height  # honest and long
