"""Telemetry over time: rates that add up to the tables, the parts of a wait, and what they are told apart by."""

import math

import numpy as np
import polars as pl
import pytest
from report.results import result, scenario
from telemetry.recorded import attempt, numbered, replication, request

from llmsim.errors import LlmsimError
from llmsim.report.result import Result
from llmsim.report.telemetry import PARTS, TELEMETRY, answers

WORDS = {"_s": "time", "_per_s": "rate", "_rate": "ratio", "_share": "ratio", "_p50": "count"}


def test_every_column_is_documented_once_and_in_order():
    names = [column.name for column in TELEMETRY]
    assert len(set(names)) == len(names)
    told = result(2).telemetry()
    assert told.columns == names
    assert result(2).telemetry(["route", "user"], replications=True).columns == ["replication", "route", "user", *names]
    for column in TELEMETRY:
        assert told.schema[column.name] == pl.Float64, column.name
        assert column.name.endswith(tuple(WORDS)), column.name


def test_a_window_by_hand():
    rows = [
        # 3 s late in the gateway, 0.5 s in the queue, 0.5 s to a first token, 2 s of generation
        request(arrival_s=1.0, ttft_s=4.0, e2e_s=6.0, attempts=2, fallbacks=1, served_by="anthropic", output_tokens=21),
        request(session=1, arrival_s=2.0, served_from="cache", served_by="cache", cache_match="exact", attempts=0,
                first_choice="", ttft_s=0.0, e2e_s=0.0, output_tokens=11),
        request(session=2, arrival_s=3.0, outcome="timeout"),
        request(session=3, arrival_s=4.0, ttft_s=2.0, e2e_s=2.0),  # came whole
    ]  # fmt: skip
    tries = [
        attempt(arrival_s=1.0, start_s=1.0, outcome="timeout", input_tokens=100),
        attempt(arrival_s=1.0, attempt=2, start_s=4.0, queue_s=0.5, first_s=5.0, end_s=12.0, output_tokens=21),
        attempt(session=2, arrival_s=3.0, outcome="timeout", input_tokens=50),
        attempt(session=3, arrival_s=4.0, start_s=4.0, first_s=6.0, end_s=6.0, cached_input_tokens=40),
    ]
    day = Result(scenario(), [replication(rows, tries, simulated_s=110.0)])
    first, *rest = day.telemetry().to_dicts()
    assert len(rest) == 9
    assert (first["offered_per_s"], first["goodput_per_s"], first["error_rate"]) == (0.4, 0.3, 0.25)
    assert first["input_tokens_per_s"] == 35.0  # all four attempts, wasted ones and those that ended later included
    assert (first["cached_input_tokens_per_s"], first["output_tokens_per_s"]) == (4.0, 3.2)
    assert first["delivered_tokens_per_s"] == pytest.approx(4.3)  # the answer from the cache too
    assert (first["cache_hit_rate"], first["fallback_rate"], first["fallbacks_per_s"]) == (
        0.25,
        pytest.approx(1 / 3),
        0.1,
    )
    assert (first["wait_p50_s"], first["whole_p50_s"], first["streamed_share"]) == (2.0, 2.0, 0.5)
    parts = {part: first[f"{part}_mean_s"] for part in PARTS}
    assert parts == pytest.approx({"gateway": 3.0, "queue": 0.5, "prefill": 0.5, "generation": 2.0})
    assert first["ttft_p50_s"] is None  # of one streamed answer: too few
    quiet = rest[0]
    assert (quiet["offered_per_s"], quiet["input_tokens_per_s"], quiet["error_rate"]) == (0.0, 0.0, None)


def test_rates_add_up_to_the_tables_however_they_are_split():
    day = result(3)
    measured = day.requests.filter(pl.col("window") == "measured")
    used = day.attempts.filter(pl.col("window") == "measured")["input_tokens"].sum()
    for by in (None, "route", "user", ["user", "served_by"]):
        told = day.telemetry(by, window="7s")
        seconds = (told["end_s"] - told["start_s"]) * 3
        assert (told["input_tokens_per_s"] * seconds).sum() == pytest.approx(used)
        assert (told["offered_per_s"] * seconds).sum() == pytest.approx(measured.height)
    each = day.telemetry(replications=True)
    assert each.height == 3 * 10
    assert each.group_by("start_s").agg(pl.col("offered_per_s").mean()).sort("start_s")["offered_per_s"].to_list() == (
        pytest.approx(day.telemetry()["offered_per_s"].to_list())
    )


def test_an_interrupted_replication_counts_as_long_as_it_lasted():
    whole = replication(numbered([request(arrival_s=n + 0.5) for n in range(100)]), simulated_s=110.0)
    cut = replication(
        numbered([request(arrival_s=n + 0.5) for n in range(25)]), number=1, simulated_s=25.0, partial=True
    )
    rates = Result(scenario(), [whole, cut]).telemetry()["offered_per_s"].to_list()
    assert rates == pytest.approx([1.0] * 10)


def test_parts_of_real_answers_add_up_to_their_time():
    rows = answers(result(2)).filter(pl.col("generation_s").is_not_null())
    assert rows.height > 100
    total = sum(rows[f"{part}_s"] for part in PARTS)
    assert np.allclose(total, rows["e2e_s"], atol=1e-9)
    assert all((rows[f"{part}_s"] >= -1e-9).all() for part in PARTS)


def test_wrong_words():
    with pytest.raises(LlmsimError, match=r"costs\(by='upstream'\)"):
        result(1).telemetry("upstream")
    with pytest.raises(LlmsimError, match="did you mean 'tenant'"):
        result(1).telemetry("tenants")
    with pytest.raises(LlmsimError, match="nothing to see"):
        Result(scenario(), []).telemetry()


def day(trouble, *, seed=5, rate=8):
    """A quiet day with `trouble` from 0:40 to 1:10: it changes the fields of requests and attempts of that time."""
    luck = np.random.default_rng(seed)
    rows, tries = [], []
    for n in range(round(100 * rate)):
        arrival = n / rate
        parts = {"gateway": 0.0, "queue": 0.0, "prefill": float(luck.lognormal(-0.9, 0.4))}
        tokens, prompt, pace = int(luck.lognormal(4.8, 0.4)) + 2, int(luck.lognormal(6.8, 0.4)), 0.013
        if 40 <= arrival < 70:
            parts, tokens, prompt, pace = trouble(parts, tokens, prompt, pace)
        ttft = sum(parts.values())
        e2e = ttft + (tokens - 1) * pace
        sent = arrival + parts["gateway"]
        rows.append(
            request(session=n, arrival_s=arrival, ttft_s=ttft, e2e_s=e2e, output_tokens=tokens, input_tokens=prompt)
        )
        tries.append(
            attempt(session=n, arrival_s=arrival, start_s=sent, queue_s=parts["queue"], first_s=arrival + ttft,
                    end_s=arrival + e2e)
        )  # fmt: skip
    return Result(
        scenario(faults=[], traffic={"base_rate": f"{rate}/s"}), [replication(rows, tries, simulated_s=110.0)]
    )


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        (lambda p, t, n, s: ({**p, "queue": 2.0}, t, n, s), ["late between 0:40 and 1:10", "slot at the provider"]),
        (lambda p, t, n, s: ({**p, "gateway": 2.0}, t, n, s), ["late between 0:40", "before the attempt that"]),
        (lambda p, t, n, s: ({**p, "prefill": p["prefill"] * 4}, t, n, s), ["late", "at prompts as long as before"]),
        (lambda p, t, n, s: ({**p, "prefill": p["prefill"] * 4}, t, n * 6, s), ["late", "prefill of longer prompts"]),
        (lambda p, t, n, s: (p, t * 3, n, s), ["long to generate", "answers were longer", "at the same 13ms a token"]),
        (lambda p, t, n, s: (p, t, n, s * 3), ["long to generate", "tokens came slower (39ms each, before 13ms)",
                                              "answers as long as before"]),
        (lambda p, t, n, s: (p, t * 2, n, s * 2), [" % of it answers were longer", " % of it tokens came slower"]),
    ],
)  # fmt: skip
def test_late_first_tokens_and_long_answers_are_told_apart(trouble, says):
    told = day(trouble).diagnosis
    assert len(told) == 1, told
    for part in says:
        assert part in told[0]


@pytest.mark.slow
@pytest.mark.parametrize("rate", [4, 0.3])
@pytest.mark.parametrize("days", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_a_quiet_day_has_no_diagnosis(days, rate):
    # Days of luck: a diagnosis of noise would show on one of them.
    for seed in range(days):
        assert day(lambda *same: same, seed=seed, rate=rate).diagnosis == []
    assert Result(scenario(), []).diagnosis == []
    assert Result(scenario(), [replication()]).diagnosis == []


def test_the_advice_gives_the_reason_where_an_slo_on_time_failed():
    late = day(lambda p, t, n, s: ({**p, "queue": 9.0}, t, n, s))
    assert late.slo[0].objective.metric == "ttft"
    assert late.slo[0].verdict != "PASS"
    assert late.diagnosis[0] in late.advice
    assert not any("came late" in line for line in day(lambda *same: same).advice)


def test_failures_alone():
    rows = numbered([request(arrival_s=n / 4, outcome="timeout") for n in range(400)])
    told = Result(scenario(), [replication(rows)])
    assert told.diagnosis == []
    assert math.isclose(told.telemetry()["error_rate"].mean(), 1.0)
