"""What the shipped scenarios tell is so: who passes, who does not, and why. (hacker-news-spike: test_readme.py.)"""

import dataclasses
import json
from pathlib import Path

import polars as pl
import pytest
from scenario.bursty_code import FILE, INSIDE, PUBLISHED, SEED, SPAN_S, as_csv, bursty_code
from scenario.stories import SCENARIOS, SDK, failed, measured, run, scenario

import llmsim as ls
from llmsim.distributions import Lognormal
from llmsim.errors import BadOutput
from llmsim.scenario.preflight import preflight
from llmsim.traffic.spec import Route
from llmsim.traffic.trace_stats import describe
from llmsim.types import WholeAnswer


@pytest.mark.matrix
@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.yaml")), ids=lambda path: path.stem)
def test_runs_stay_short_and_names_are_real(path: Path) -> None:
    found = ls.load(path)
    assert preflight(found).expected_requests < 6000
    assert found.slo
    for words in (found.description, path.read_text(encoding="utf-8")):
        for name in ("tests/scenario/test_stories.py", "tests/scenario/bursty_code.py", "traces/bursty-code.csv"):
            assert name not in words or any((root / name).exists() for root in (SCENARIOS, SCENARIOS.parent))


# -- provider-upgrade-drift ---------------------------------------------------------------------------------------


@ls.policy
class StrictJson:
    """Raise `BadOutput` for an answer that is not the JSON that was asked for: then a fallback asks somebody else."""

    def start(self, run):
        async def handle(request, call_next):
            response = await call_next(request)
            if request.response_schema is None:
                return response
            text = await response.read()  # the price of looking: the first word comes with the last
            try:
                good = "answer" in json.loads(text)
            except ValueError:
                good = False
            if not good:
                raise BadOutput("not the JSON that was asked for", upstream=response.upstream)
            whole = WholeAnswer(text, response.tokens_delivered, response.usage)
            return ls.Response(whole, upstream=response.upstream, model=response.model, parents=(response,))

        return handle


@pytest.mark.slow
def test_an_upgrade_passes_every_policy_that_does_not_look() -> None:
    shipped = run("provider-upgrade-drift")
    assert failed(shipped) == {"error_rate{route:extract}"}
    rows = measured(shipped)
    before, after = (rows.filter(part) for part in (pl.col("arrival_s") < 180, pl.col("arrival_s") >= 180))
    assert (rows["outcome"] == "bad_output").mean() > 0.98 * (rows["outcome"] != "ok").mean()
    shares = [
        (part.filter(route="extract")["outcome"] == "bad_output").mean()
        for part in (before, after)
    ]  # fmt: skip
    assert shares[0] == pytest.approx(0.0064, abs=0.004)
    assert shares[1] == pytest.approx(16 * 0.0064 + 0.01, abs=0.015)  # and a few that max_tokens cuts
    chat = [part.filter(route="chat", outcome="ok") for part in (before, after)]
    assert chat[1]["ttft_s"].median() == pytest.approx(2 * chat[0]["ttft_s"].median(), rel=0.1)
    assert chat[1]["output_tokens"].mean() == pytest.approx(1.2 * chat[0]["output_tokens"].mean(), rel=0.06)
    assert "bad_output at openai" in shipped.advice[0]
    assert "(fault upgrade)" in shipped.advice[0]


@pytest.mark.slow
def test_an_upgrade_fails_a_timeout_that_fitted_yesterday() -> None:
    naive = ls.Gateway(policies=(SDK, ls.Timeout(total=5.0)), stream=False)
    result = run("provider-upgrade-drift", gateway=naive)
    assert failed(result) >= {"error_rate{route:chat}", "error_rate{route:extract}"}
    chat = measured(result).filter(route="chat")
    late = [
        (part["outcome"] == "total_timeout").mean()
        for part in (chat.filter(pl.col("arrival_s") < 180), chat.filter(pl.col("arrival_s") >= 180))
    ]
    assert late[0] < 0.005  # it did fit
    assert late[1] > 0.01
    # Each of them was paid for three times.
    assert result.metrics["cost_usd"]["retry"] > 1.5 * run("provider-upgrade-drift").metrics["cost_usd"]["retry"]


@pytest.mark.slow
def test_an_upgrade_is_survived_by_a_policy_that_looks() -> None:
    given = scenario("provider-upgrade-drift").gateway
    result = run("provider-upgrade-drift", gateway=dataclasses.replace(given, upstream=(StrictJson(), *given.upstream)))
    assert result.verdict == "PASS"
    assert result.metrics["fallback_rate"] > 0.02
    rows = measured(result).filter(pl.col("route") == "extract", pl.col("served_by") == "google")
    assert (rows["outcome"] == "ok").mean() > 0.95


# -- monday-morning -----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_monday_morning_needs_the_second_account_and_the_cache() -> None:
    shipped = scenario("monday-morning").gateway
    cache, *others = shipped.policies
    assert cache.kind == "cache"
    assert run("monday-morning").verdict == "PASS"

    alone = run("monday-morning", gateway=dataclasses.replace(shipped, policies=(SDK,)))
    assert failed(alone) >= {"ttft", "error_rate"}
    assert 0.18 < alone.metrics["error_rate"] < 0.3
    lost = measured(alone).filter(pl.col("outcome") != "ok")
    assert (lost["arrival_s"] > 3 * 3600).mean() > 0.93  # after nine
    assert "429 from openai" in alone.advice[0]

    without = run("monday-morning", gateway=dataclasses.replace(shipped, policies=tuple(others)))
    assert "error_rate" in failed(without)
    assert 0.015 < without.metrics["error_rate"] < 0.06
    assert "429 from anthropic" in without.advice[0]


@pytest.mark.slow
def test_monday_morning_grows_and_warms_up() -> None:
    rows = measured(run("monday-morning"))
    hours = rows.group_by((pl.col("arrival_s") // 3600).alias("hour")).agg(
        pl.len(), hits=(pl.col("served_from") == "cache").mean()
    )
    told = {row["hour"]: row for row in hours.to_dicts()}
    # 0.49 % of a day's questions come between 6 and 7, 6.37 % between 11 and 12. Straight lines between the middles of
    # the hours round the step off.
    assert 6 < told[5]["len"] / told[0]["len"] < 14
    assert told[0]["hits"] < 0.15
    assert told[5]["hits"] > 0.28
    assert rows.filter(user="reports").height / rows.height == pytest.approx(0.16, abs=0.05)


# -- trace-replay -------------------------------------------------------------------------------------------------


def test_the_trace_is_the_one_that_is_generated() -> None:
    assert FILE.read_text(encoding="utf-8") == as_csv(bursty_code(SEED))
    assert FILE.stat().st_size < 100_000


def test_the_trace_is_like_the_one_it_stands_for() -> None:
    trace = bursty_code(SEED)
    told = describe(trace)
    found = {
        "rate_per_s": len(trace) / SPAN_S,
        "cv": told["gaps"]["cv"],
        **told["index_of_dispersion"],
        "peak_to_mean": told["minutes"]["peak_to_mean"],
    }
    for name, published in PUBLISHED.items():
        assert found[name] == pytest.approx(published, rel=INSIDE), name
    # Published: mean 2,048 and 27.9 tokens, p50 1,469 and 13.
    assert trace.input_tokens.mean() == pytest.approx(2048, rel=0.1)
    assert trace.output_tokens.mean() == pytest.approx(27.9, rel=0.15)
    assert told["output_tokens"]["p50"] == pytest.approx(13, abs=1)
    assert bursty_code(SEED + 1).times_s[5] != trace.times_s[5]


@pytest.mark.slow
def test_a_quota_sized_by_the_mean() -> None:
    assert run("trace-replay").verdict == "PASS"
    naive = run("trace-replay", gateway=ls.Gateway(policies=(SDK,)))
    assert {"ttft", "error_rate", "abandoned_rate"} <= failed(naive)
    assert 0.07 < naive.metrics["error_rate"] < 0.14
    assert "waited after rate_limited from azure" in naive.advice[0]
    # The same load without bursts never meets the limit.
    given = scenario("trace-replay")
    trace = bursty_code(SEED)
    smooth = dataclasses.replace(
        given.traffic,
        executor="constant-arrival-rate",
        base_rate=len(trace) / SPAN_S,
        trace=None,
        mix=(
            Route(
                route="completion",
                max_tokens=256,
                input_tokens=Lognormal(1469, 7436),
                output_tokens=Lognormal(13, 251),
            ),
        ),
    )
    calm = ls.run(
        dataclasses.replace(given, traffic=smooth).with_gateway(ls.Gateway(policies=(SDK,))), replications=6, jobs=1
    )
    assert calm.verdict == "PASS"
    assert (calm.attempts["outcome"] == "rate_limited").sum() == 0


# -- rag-asymmetry ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_fifth_of_the_requests_is_half_of_the_bill() -> None:
    result = run("rag-asymmetry")
    assert result.verdict == "PASS"
    by = {row["route"]: row for row in result.costs("route").to_dicts()}
    assert by["rag"]["requests"] / (by["rag"]["requests"] + by["chat"]["requests"]) == pytest.approx(0.2, abs=0.02)
    assert by["rag"]["total_usd"] / result.metrics["cost_usd"]["total"] == pytest.approx(0.5, abs=0.04)
    ttft = {route: measured(result).filter(route=route, outcome="ok")["ttft_s"].median() for route in by}
    assert ttft["rag"] > 2 * ttft["chat"]
    assert by["rag"]["cached_input_tokens"] / by["rag"]["input_tokens"] > 0.15
    assert by["rag"]["observability_usd"] > by["chat"]["observability_usd"]  # four bytes a token


@pytest.mark.slow
def test_eight_thousand_tokens_are_paid_three_times() -> None:
    shipped = run("rag-asymmetry")
    naive = run("rag-asymmetry", gateway=ls.Gateway(replicas=2, policies=(SDK, ls.Timeout(ttft=3.0))))
    assert {"ttft{route:rag}", "error_rate", "cost_per_ok{route:rag}", "retry_amplification"} <= failed(naive)
    costs = {
        name: {row["route"]: row["per_ok_usd"] for row in result.costs("route").to_dicts()}
        for name, result in (("shipped", shipped), ("naive", naive))
    }
    assert 1.4 < costs["naive"]["rag"] / costs["shipped"]["rag"] < 2.0
    assert costs["naive"]["chat"] / costs["shipped"]["chat"] < 1.2
    lost = measured(naive).filter(outcome="ttft_timeout")
    assert (lost["route"] == "rag").mean() > 0.8
    assert lost["attempts"].median() == 3


# -- metastable ---------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_five_seconds_that_last_for_ever() -> None:
    shipped = run("metastable")
    assert shipped.verdict == "PASS"
    (retry,), (timeout,) = scenario("metastable").gateway.policies, scenario("metastable").gateway.upstream
    naive = run("metastable", gateway=ls.Gateway(policies=(SDK,), upstream=(timeout,)))
    assert failed(naive) == {"error_rate", "ttft", "goodput", "retry_amplification"}
    lost, kept = (
        [
            (rows.filter(pl.col("arrival_s").is_between(*span))["outcome"] != "ok").mean()
            for span in ((0, 19), (20, 25), (35, 85), (85, 100))
        ]
        for rows in (measured(naive), measured(shipped))
    )
    assert lost[0] < 0.005 and kept[0] < 0.005
    assert lost[1] > 0.4 and kept[1] > 0.4
    assert lost[3] > 0.99  # a minute later, at the load of before
    assert kept[2] < 0.005 and kept[3] < 0.005
    # It is the budget that does it: without, this retry and its backoff are as bad.
    without = run(
        "metastable", gateway=ls.Gateway(policies=(dataclasses.replace(retry, budget=None),), upstream=(timeout,))
    )
    assert failed(without) == failed(naive)
