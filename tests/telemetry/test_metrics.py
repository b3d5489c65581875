"""Every metric against a number worked out by hand on a tiny table."""

import math

import polars as pl
import pytest
from telemetry.recorded import numbered, request, sample

from llmsim.scenario import objectives
from llmsim.telemetry.metrics import METRICS, evaluate, values

approx = pytest.approx


def cached(**fields):
    return (
        request(
            served_by="cache",
            served_from="cache",
            cache_match="exact",
            first_choice="",
            attempts=0,
            ttft_s=0.0,
            e2e_s=0.0,
            max_inter_token_s=math.nan,
        )
        | fields
    )


def value(rows, metric, aggregate="value", percent=None, tags=(), **fields):
    return evaluate(sample(numbered(rows), **fields), metric, aggregate, percent, tags)


def test_every_word_of_the_scenario_language_is_defined_here_with_the_same_aggregates():
    for name, measure in objectives.METRICS.items():
        assert set(measure.aggregates) - {"burn"} <= set(METRICS[name].aggregates), name


def test_what_is_counted_at_once_is_what_is_counted_alone():
    rows = [
        *(request(attempts=n % 4, fallbacks=n % 2, served_by="anthropic" if n % 3 else "openai") for n in range(9)),
        *(cached(false_hit=n % 2, made_for="" if n == 3 else f"{n}/0/0", cross_scope=n > 1) for n in range(5)),
        *(request(outcome="rejected", leaked_streams=2, duplicated_tokens=n) for n in range(3)),
    ]
    alone, at_once = (sample(numbered(rows)) for _ in range(2))
    at_once.count_at_once()
    assert at_once.tagged((("provider", "openai"),)).cache == {}, "a part of it has counts of its own"
    told = {name: [evaluate(one, name) for one in (alone, at_once)] for name, it in METRICS.items() if not it.trend}
    assert all(one == other or (math.isnan(one) and math.isnan(other)) for one, other in told.values())
    assert sum(one > 0 for one, _ in told.values()) > 10, "the rows have something of many"


def test_what_was_counted_in_another_process_is_counted_again():
    """There, what is counted had other addresses; something else may be here where it was."""
    one = sample(numbered([request(), request(outcome="rejected")]))
    one.count_at_once()
    here = pl.col("outcome") == "rejected"
    (expression, _), *_ = one.cache["counts"].values()
    one.cache["counts"] = {id(here): (expression, 7)}
    assert one.counts(here) == (1,)


def test_only_requests_that_arrived_in_the_measured_time_count():
    rows = [request(arrival_s=-0.1), request(arrival_s=0.0), request(arrival_s=99.9), request(arrival_s=100.0)]
    assert value(rows, "requests") == 2


@pytest.mark.parametrize("outcome", ["rate_limited", "rejected", "abandoned", "unfinished", "my_own_error"])
def test_whoever_got_no_answer_waited_for_ever(outcome):
    rows = [request(ttft_s=0.1 * n) for n in range(1, 20)] + [request(outcome=outcome)]
    assert value(rows, "ttft", "p", 95) == approx(1.9)
    assert value(rows, "ttft", "max") == value(rows, "ttft", "mean") == value(rows, "e2e", "max") == math.inf
    assert value(rows, "ttft_ok", "max") == approx(1.9)
    assert value(rows, "ttft_ok", "mean") == approx(1.0)
    assert value(rows, "error_rate") == value(rows, "error_rate", "rate") == 0.05


def test_a_stream_that_broke_after_its_first_chunk_is_a_failure_too():
    rows = [
        request(),
        request(outcome="stream_broken", ttft_s=0.1, e2e_s=0.4, served_by="openai", served_from="upstream"),
    ]
    assert value(rows, "ttft", "max") == math.inf
    assert value(rows, "e2e", "min") == 1.5


def test_failing_fast_is_not_being_fast():
    slow = [request(ttft_s=3.0)] * 20
    fast_failures = [request(ttft_s=3.0)] * 10 + [request(outcome="rejected", e2e_s=0.001)] * 10
    assert value(fast_failures, "ttft", "p", 90) > value(slow, "ttft", "p", 90)


def test_too_few_requests_have_no_percentile():
    rows = [request()] * 19
    assert math.isnan(value(rows, "ttft", "p", 95))
    assert value(rows, "ttft", "p", 90) == value(rows, "ttft", "med") == 0.5
    assert math.isnan(value([], "ttft", "mean"))
    assert math.isnan(value([], "error_rate"))


def test_upstream_ttft_leaves_out_the_cache_and_nothing_else():
    rows = [cached(), cached(), request(ttft_s=0.4), request(outcome="rate_limited")]
    assert values(sample(numbered(rows)), "ttft_upstream").tolist() == [0.4, math.inf]
    assert values(sample(numbered(rows)), "ttft").tolist() == [0.0, 0.0, 0.4, math.inf]


def test_time_per_output_token():
    streamed = request(ttft_s=0.5, e2e_s=1.5, output_tokens=11)
    assert value([streamed], "tpot", "mean") == approx(0.1)
    whole = [request(ttft_s=1.5, e2e_s=1.5), cached(), request(output_tokens=1)]
    assert value([streamed, *whole], "tpot", "mean") == approx(0.1)  # they have no pace
    assert value([streamed, request(outcome="timeout")], "tpot", "max") == math.inf
    # Where nothing is streamed, failures alone do not make a pace of never.
    assert math.isnan(value([*whole, request(outcome="timeout")], "tpot", "max"))


def test_abandoned_requests_are_part_of_the_errors():
    rows = [request(), request(outcome="abandoned"), request(outcome="timeout"), request(outcome="abandoned")]
    assert value(rows, "error_rate") == 0.75
    assert value(rows, "abandoned_rate") == 0.5


def test_fallback_rate_is_of_the_requests_that_went_upstream():
    rows = [
        request(),
        request(served_by="anthropic", fallbacks=1, attempts=2),
        request(served_by="local", fallbacks=2, attempts=3),
        request(outcome="all_upstreams_failed", fallbacks=2, attempts=3),
        cached(),
        request(outcome="circuit_open", attempts=0),
    ]
    assert value(rows, "fallback_rate") == 0.5  # 2 of 4
    assert value(rows, "fallback_activations") == 5
    assert value(rows, "fallback_activations", "rate") == 0.05  # in 100 s
    assert math.isnan(value([cached()], "fallback_rate"))


def test_an_open_breaker_at_the_first_choice_makes_a_fallback():
    assert value([request(served_by="anthropic", first_choice="openai", fallbacks=1)], "fallback_rate") == 1.0


def test_retry_amplification_overall_and_in_the_worst_window():
    calm = [request(arrival_s=5.0)] * 10
    storm = [request(arrival_s=15.0, attempts=3)] * 10
    lone = [request(arrival_s=25.0, attempts=9)]  # no storm: one request
    rows = [*calm, *storm, *lone, cached(arrival_s=15.0), request(outcome="circuit_open", attempts=0)]
    assert value(rows, "retry_amplification") == approx((10 + 30 + 9) / 21)
    assert value(rows, "retry_amplification", "max") == 3.0
    assert math.isnan(value(lone, "retry_amplification", "max"))


def test_goodput_counts_answers_per_measured_second():
    assert value([request()] * 30 + [request(outcome="timeout")] * 5, "goodput", end_s=60.0) == 0.5


def test_cache_rates():
    rows = [cached(saved_usd=0.25), cached(saved_usd=0.5), request(), request(outcome="timeout")]
    assert value(rows, "cache_hit_rate") == value(rows, "exact_hit_rate") == 0.5
    assert value(rows, "false_hit_rate") == 0.0
    assert value(rows, "saved") == 0.75
    assert value([*rows, cached(cache_match="semantic", false_hit=True)], "false_hit_rate") == 0.2
    assert value([*rows, cached(cache_match="semantic")], "exact_hit_rate") == 0.4
    told = [*rows, cached(cache_match="semantic", false_hit=True, false_hit_reason="outdated")]
    told.append(cached(cache_match="semantic", false_hit=True, false_hit_reason="other"))
    assert value(told, "outdated_rate") == pytest.approx(1 / 6)
    assert value(told, "false_hit_rate") == value(told, "semantic_hit_rate") == pytest.approx(2 / 6)
    assert value(told, "false_hits_per_hit") == pytest.approx(2 / 4)
    # Whether a cache of one's own was right, nobody recorded.
    assert math.isnan(value([*rows, cached(cache_match="")], "false_hit_rate"))
    # Nor is it known of other words in a log of prompts without intents; how it was found is.
    untold = [*rows, cached(cache_match="semantic", false_hit=-1, false_hit_reason="unknown")]
    for name in ("false_hit_rate", "false_hits_per_hit", "outdated_rate"):
        assert math.isnan(value(untold, name)), name
    assert value(untold, "semantic_hit_rate") == pytest.approx(1 / 5)
    assert value([request()], "false_hit_rate") == 0.0


def test_safety_counters():
    rows = [
        request(leaked_streams=2, duplicated_tokens=7, non_retryable_retries=1, user="a", cost_usd=0.25),
        request(leaked_streams=1, user="b", cost_usd=0.5),
        request(outcome="rate_limited", idle_after_last_attempt_s=4.0, user="a", cost_usd=0.5),
        request(user="a", tenant="another", cost_usd=0.7),  # somebody else of the same name
    ]
    assert value(rows, "leaked_streams") == 3
    assert value(rows, "duplicated_tokens") == 7
    assert value(rows, "non_retryable_retries") == 1
    assert value(rows, "max_spend_per_user") == value(rows, "max_spend_per_user", "max") == 0.75
    assert value(rows, "sleep_after_last_attempt", "max") == 4.0
    assert value(rows, "max_in_flight") == value(rows, "max_in_flight", "max") == 3.0
    assert math.isnan(value(rows, "max_in_flight", counters={}))
    assert value(rows, "cross_scope_hits") == 0


def test_tags_select_by_route_tenant_and_by_who_answered_or_should_have():
    rows = [
        request(route="chat", tenant="a"),
        request(route="rag", tenant="a", served_by="anthropic"),
        request(route="rag", tenant="b", outcome="timeout"),
        cached(route="rag"),
    ]
    one = sample(numbered(rows))
    assert evaluate(one, "requests", tags=(("route", "rag"),)) == 3
    assert evaluate(one, "error_rate", tags=(("route", "rag"), ("tenant", "b"))) == 1.0
    assert evaluate(one, "requests", tags=(("provider", "openai"),)) == 2  # one answer, one failure
    assert evaluate(one, "requests", tags=(("provider", "cache"),)) == 1
    assert evaluate(one, "requests", tags=(("route", "nowhere"),)) == 0
    with pytest.raises(KeyError):
        evaluate(one, "requests", tags=(("colour", "red"),))


def test_an_aggregate_that_a_metric_does_not_have():
    with pytest.raises(ValueError, match="has no 'p'; it has value"):
        value([request()], "error_rate", "p", 95)
    with pytest.raises(KeyError):
        value([request()], "happiness")
