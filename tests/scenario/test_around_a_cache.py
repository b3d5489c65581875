"""Runs with a semantic cache: what it costs to the last cent, whose answers it gives to whom, what happens when its
store does not answer."""

import dataclasses
import math

import numpy as np
import polars as pl
import pytest

import llmsim as ls
from llmsim.gateway.policies.semantic_cache import SemanticCache
from llmsim.report.plots.bins import outcome_bins
from llmsim.telemetry.costs import cost_parts
from llmsim.traffic.spec import Topics
from llmsim.types import WholeAnswer
from llmsim.units import MONTH_S

PRICE = {"input": "$2.50/Mtok", "output": "$10/Mtok"}
COSTS = {
    "embeddings": {"price": "$0.02/Mtok"},
    "vector_store": {"storage": "$0.33/GB-month", "queries": "$16/M", "writes": "$4/M"},
}
#: Words of the policy that are not there yet everywhere.
BAND = "verify_below" in {field.name for field in dataclasses.fields(SemanticCache)}
CHANGES = "answers_change" in {field.name for field in dataclasses.fields(Topics)}


def scenario(policies, **more):
    traffic = {"base_rate": "10/s", "mix": [{"route": "faq", "input_tokens": 100, "output_tokens": 51}], "users": 50}
    traffic |= more.pop("traffic", {})
    return ls.load({
        "version": 1,
        "seed": 3,
        "replications": 1,
        "clock": {"warm_up": "10s", "duration": "60s", "drain": "30s"},
        "traffic": traffic,
        "providers": {"openai": {"ttft": "400ms", "inter_token": "10ms", "price": PRICE}},
        "gateway": {"policies": policies},
        **more,
    })  # fmt: skip


def run(policies, **more):
    return ls.run(scenario(policies, **more), jobs=1)


def cache(**settings):
    return {"semantic_cache": {"threshold": 0.92, **settings}}


def test_the_cost_of_a_cache_to_the_last_cent():
    # One question, asked every second. The first asks the model; all others have its answer, to the letter.
    traffic = {"arrivals": "constant", "base_rate": "1/s", "topics": {"zipf": {"unique": 1}, "paraphrases": "0%"}}
    clock = {"clock": {"warm_up": "0s", "duration": "60s", "drain": "30s"}}
    result = run([cache(backend="redis")], traffic=traffic, costs=COSTS, **clock)
    requests = result.requests.sort("arrival_s")
    assert requests["served_from"].to_list() == ["upstream"] + ["cache"] * (requests.height - 1)
    (sample,) = result.samples
    parts = cost_parts(sample)
    # 100 tokens at $0.02/M; one search; one entry of 384 x 4 B and 4 B for each of 151 tokens, from 5.3 ms (VADD) after
    # it was complete to the end of the minute.
    assert requests["embedding_tokens"].sum() == 100
    assert parts["embeddings"] == pytest.approx(100 * 0.02e-6, rel=1e-12)
    assert requests["vector_queries"].sum() == 1
    first = requests.row(0, named=True)
    byte_s = (384 * 4 + 4 * 151) * (60 - first["arrival_s"] - first["e2e_s"] - 5.3e-3)
    assert result.replications[0].counters["vector_store_byte_s"] == pytest.approx(byte_s, rel=1e-12)
    writes = requests["vector_writes"].sum() * 4e-6
    expected = 16e-6 + writes + byte_s * 0.33 / 1e9 / MONTH_S
    assert parts["vector_store"] == pytest.approx(expected, rel=1e-9)
    assert first["ttft_s"] == pytest.approx(44e-6 + 9.6e-3 + 2e-3 + 0.4)  # a round trip, embedding, search, the model
    assert requests["ttft_s"][1:].to_list() == pytest.approx([44e-6] * (requests.height - 1))
    answer = 100 * 2.5e-6 + 51 * 10e-6
    assert sum(parts[name] for name in parts if name != "total") == pytest.approx(parts["total"], abs=1e-9)
    assert parts["total"] == pytest.approx(answer + parts["embeddings"] + expected, abs=1e-9)
    saved = answer * (requests.height - 1)
    assert result.metrics["saved_usd"] == pytest.approx(saved)
    assert result.metrics["saved_net_usd"] == pytest.approx(saved - parts["embeddings"] - expected)
    assert "of what it costs itself" not in str(result)  # less than it would be shown with


def test_what_is_before_the_measured_time_is_not_stored_on_the_bill():
    traffic = {"arrivals": "constant", "base_rate": "1/s", "topics": {"zipf": {"unique": 1}, "paraphrases": "0%"}}
    result = run([cache()], traffic=traffic, costs=COSTS)
    stored = (384 * 4 + 4 * 151) * 60.0  # asked in the warm-up, kept all the minute
    assert result.replications[0].counters["vector_store_byte_s"] == pytest.approx(stored, rel=1e-12)
    assert result.metrics["saved_net_usd"] < result.metrics["saved_usd"]


# -- whose answers ----------------------------------------------------------------------------------------------------

TWO = {
    "mix": [
        {"route": "faq", "tenant": tenant, "input_tokens": 100, "output_tokens": 51, "weight": "50%"}
        for tenant in ("north", "south")
    ],
    "topics": {"zipf": {"unique": 100}},
    "base_rate": "5/s",
}


class Naive:
    """Keeps answers by their question alone, as many tutorials do."""

    def __init__(self, per_tenant=False):
        self.per_tenant = per_tenant

    def start(self, run):
        kept = {}

        async def handle(request, call_next):
            key = (request.messages, request.tenant if self.per_tenant else "")
            if key in kept:
                text, tokens, usage = kept[key]
                return ls.Response(WholeAnswer(text, tokens, usage), upstream="cache", served_from="cache")
            response = await call_next(request)
            text = await response.read()
            kept[key] = (text, response.tokens_delivered, response.usage)
            whole = WholeAnswer(text, response.tokens_delivered, response.usage)
            return ls.Response(whole, upstream=response.upstream, model=response.model, parents=(response,))

        return handle


def of(policy):
    return ls.run(scenario([], traffic=TWO).with_gateway(ls.Gateway(policies=(policy,))), jobs=1)


def test_a_cache_of_ones_own_that_crosses_tenants_shows_up():
    crossing = of(Naive())
    assert crossing.metrics["cache_hit_rate"] > 0.2
    assert crossing.metrics["safety"]["cross_scope_hits"] > 10
    assert "cross scope hits" in str(crossing)
    assert of(Naive(per_tenant=True)).metrics["safety"]["cross_scope_hits"] == 0


@pytest.mark.slow
def test_the_caches_that_come_with_it_do_not_and_what_may_be_shared_is_no_crossing():
    for policies in ([cache()], ["cache"], [cache(scope="user")]):
        assert run(policies, traffic=TWO).metrics["safety"]["cross_scope_hits"] == 0
    shared = run([cache(scope="global")], traffic=TWO)
    assert shared.metrics["safety"]["cross_scope_hits"] == 0
    tenants = dict(shared.requests.select("request_id", "tenant").iter_rows())
    served = shared.requests.filter(pl.col("made_for") != "").select("made_for", "tenant").iter_rows()
    assert any(tenants[maker] != tenant for maker, tenant in served)


# -- wrong answers ----------------------------------------------------------------------------------------------------

TRAPS = {"topics": {"zipf": {"s": 1.0, "unique": 300}, "paraphrases": "30%", "traps": "3%"}, "base_rate": "30/s"}


@pytest.mark.slow
def test_with_traps_in_the_stream_wrong_hits_are_reported_with_what_they_allow_to_claim():
    result = run([cache(threshold=0.90)], traffic=TRAPS)
    metrics = result.metrics
    wrong = result.requests.filter(pl.col("false_hit") & (pl.col("window") == "measured"))
    assert wrong.height > 0
    assert metrics["false_hit_rate"] == wrong.height / metrics["requests"]
    assert metrics["false_hit_rate"] < metrics["false_hit_rate_upper"] < 0.1
    assert metrics["false_hits_per_hit"] > metrics["false_hit_rate"]
    assert metrics["exact_hit_rate"] + metrics["semantic_hit_rate"] == pytest.approx(metrics["cache_hit_rate"])
    assert wrong["false_hit_reason"].unique().to_list() == ["other"]
    assert set(wrong["cache_match"].unique()) == {"semantic"}
    assert wrong["similarity"].min() >= 0.8999  # stored in 4 bytes
    assert "(95 %: below" in str(result)
    told = result.explain(wrong["request_id"][0])
    assert f"made for {wrong['made_for'][0]}" in told
    assert "WRONG: other question" in told
    windows = result.windows
    assert windows["false_hits"].sum() == wrong.height
    assert windows["semantic_hits"].sum() > wrong.height
    seen = windows["cache_hits"] + windows["semantic_hits"] + windows["answered"]
    assert seen.to_list() == windows["requests"].to_list()
    assert windows["goodput_per_s"].to_list() == pytest.approx(windows["offered_per_s"].to_list())
    drawn = outcome_bins(result)
    by_meaning = (drawn.classes["semantic_hits"] * np.diff(drawn.edges_s)).sum()
    assert by_meaning == pytest.approx(windows["semantic_hits"].sum())
    part = result.telemetry(window="60s")
    assert part["semantic_hit_rate"][0] == pytest.approx(metrics["semantic_hit_rate"])
    assert part["false_hit_rate"][0] == pytest.approx(metrics["false_hit_rate"])


def test_a_miss_says_how_near_the_nearest_was():
    result = run([cache(threshold=1.0)], traffic=TRAPS)
    missed = result.requests.filter((pl.col("similarity") < 1) & (pl.col("cache_match") == ""))
    told = result.explain(missed["request_id"][0])
    assert f"similarity {missed['similarity'][0]:.3f} of the nearest, not served" in told


@pytest.mark.skipif(not CHANGES, reason="answers do not change yet")
def test_an_outdated_answer_is_told_from_one_to_another_question():
    topics = {"zipf": {"s": 1.0, "unique": 50}, "paraphrases": "0%", "answers_change": {"every": "20s"}}
    result = run([cache(backend="exact")], traffic={"topics": topics})
    metrics = result.metrics
    assert metrics["outdated_rate"] == metrics["false_hit_rate"] > 0.1  # exact matches: nothing else can be wrong
    wrong = result.requests.filter("false_hit")
    assert wrong["false_hit_reason"].unique().to_list() == ["outdated"]
    assert "WRONG: outdated" in result.explain(wrong["request_id"][0])
    assert "% outdated" in str(result)


@pytest.mark.slow
@pytest.mark.skipif(not BAND, reason="the policy has no verify_below yet")
def test_a_verifier_in_the_band_removes_most_wrong_answers_at_a_stated_cost():
    judge = {"accept_right": "95%", "accept_wrong": "10%", "latency": "600ms", "price": "$0.0002"}
    blind = run([cache(threshold=0.90)], traffic=TRAPS)
    checked = run([cache(threshold=0.90, verify_below=0.97)], traffic=TRAPS, store={"judge": judge})
    assert checked.metrics["false_hit_rate"] < 0.5 * blind.metrics["false_hit_rate"]
    measured = checked.requests.filter(pl.col("window") == "measured")
    asked = measured["verifications"].sum()
    assert asked > 0
    costs = checked.metrics["cost_usd"]
    assert costs["verification"] == pytest.approx(asked * 0.0002, rel=1e-9)
    assert math.fsum(costs[name] for name in costs if name != "total") == pytest.approx(costs["total"], abs=1e-9)
    net = checked.metrics["saved_usd"] - costs["verification"]
    assert checked.metrics["saved_net_usd"] == pytest.approx(net)
    assert "verdicts" in str(checked.bill)
    accepted = measured.filter(pl.col("verified") == "accepted")
    assert accepted["ttft_s"].min() > 0.6
    assert "accepted by the verifier" in checked.explain(accepted["request_id"][0])


# -- a store that does not answer -------------------------------------------------------------------------------------

POPULAR = {"topics": {"zipf": {"s": 1.0, "unique": 100}, "paraphrases": "0%"}, "base_rate": "20/s"}


def phases(result, at, end):
    """Calls to the model a second before, during and right after a fault, and failures."""
    rows = result.requests.filter(pl.col("window") == "measured")
    arrival = pl.col("arrival_s")
    parts = [rows.filter(which) for which in (arrival < at, arrival.is_between(at, end), arrival > end)]
    loads = [part["attempts"].sum() / max(part.height, 1) for part in parts]
    return loads, (rows["outcome"] != "ok").sum()


def fault(**effects):
    return [{"name": "down", "store": "semantic_cache", "at": "20s", "duration": "15s", **effects}]


@pytest.mark.parametrize("backend", ["redis", "memory", "exact"])
def test_an_outage_is_the_models_load_and_nobodys_error(backend):
    result = run([cache(backend=backend)], traffic=POPULAR, faults=fault(outage=True))
    (before, during, after), failures = phases(result, 20.0, 35.0)
    assert failures == 0
    assert before < 0.35
    assert during == 1.0
    assert after < before  # all that was kept is found again
    events = result.events.filter(pl.col("kind") == "fault")
    assert events["time_s"].to_list() == [20.0, 35.0]
    assert '"store": "semantic_cache"' in events["detail"][0]
    assert "fault under way: down of semantic_cache (outage)" in result.explain(
        result.requests.filter(pl.col("arrival_s") > 20)["request_id"][0]
    )


@pytest.mark.slow
def test_a_store_that_comes_back_empty_is_filled_again_at_the_models_cost():
    found = run([cache(backend="redis")], traffic=POPULAR, faults=fault(outage=True))
    empty = run([cache(backend="redis")], traffic=POPULAR, faults=fault(outage=True, lose_state=True))
    assert phases(empty, 20.0, 35.0)[0][2] > 1.5 * phases(found, 20.0, 35.0)[0][2]
    assert phases(empty, 20.0, 35.0)[1] == 0


def test_a_cold_start_is_a_jump_in_load_in_every_replica():
    cold = [{"name": "deploy", "store": "semantic_cache", "at": "30s", "lose_state": True}]
    made = scenario([cache()], traffic=POPULAR, faults=cold)
    result = ls.run(made.with_values({"gateway.replicas": 3}), jobs=1)
    rows = result.requests.filter(pl.col("window") == "measured")
    for replica in range(3):
        mine = rows.filter(pl.col("replica") == replica)
        before, after = (mine.filter(pl.col("arrival_s").is_between(a, a + 5)) for a in (24.9, 30.0))
        assert after["attempts"].sum() > 1.5 * before["attempts"].sum()


def test_a_slow_store_delays_its_hits():
    slow = run([cache(backend="redis")], traffic=POPULAR, faults=fault(latency={"multiplier": "1000x"}))
    hits = slow.requests.filter(pl.col("served_from") == "cache")
    inside = pl.col("arrival_s").is_between(20.0, 34.9)
    assert hits.filter(inside)["ttft_s"].to_numpy() == pytest.approx(0.044)
    assert hits.filter(~inside)["ttft_s"].to_numpy().min() == pytest.approx(44e-6)
