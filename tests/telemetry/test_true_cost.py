"""Item by item: one example by hand for each price, and sums that hold for anything."""

import dataclasses
import math

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from telemetry.recorded import attempt, request, sample

from llmsim.errors import LlmsimError
from llmsim.pricing import TokenPrice
from llmsim.telemetry.cost_model import (
    EMBEDDING_TOKENS,
    STORED_BYTE_S,
    VECTOR_QUERIES,
    VECTOR_WRITES,
    CostModel,
    Embeddings,
    Observability,
    VectorStore,
)
from llmsim.telemetry.cost_tables import cost_table, group_columns, token_costs
from llmsim.telemetry.costs import COST_PARTS, TOKEN_PARTS, cost_parts, side_uses
from llmsim.telemetry.metrics import evaluate
from llmsim.units import MONTH_S

# Per token: input, output, input from the provider's prompt cache.
PRICES = {"openai": TokenPrice(2e-6, 8e-6, 5e-7), "anthropic": TokenPrice(3e-6, 15e-6)}
MODEL = CostModel(
    observability=Observability(price=0.5e-9, bytes_per_request=2000, bytes_per_attempt=1000, bytes_per_token=4),
    embeddings=Embeddings(price=2e-8),
    vector_store=VectorStore(storage=0.33e-9 / MONTH_S, queries=16e-6, writes=4e-6),
)


def billed(price, tokens, cached=0, output=0):
    cached_price = price.input if price.cached_input is None else price.cached_input
    return (tokens - cached) * price.input + cached * cached_price + output * price.output


def paid(**fields):
    row = attempt(**fields)
    price = PRICES[row["upstream"]]
    return row | {"cost_usd": billed(price, row["input_tokens"], row["cached_input_tokens"], row["output_tokens"])}


def kinds(one, part="useful"):
    return {kind: told for kind, told in token_costs(one)[part].items() if any(told)}


def test_input_cached_input_and_output():
    rows = [paid(input_tokens=10_000, cached_input_tokens=4000, output_tokens=500)]
    told = kinds(sample([request()], rows, prices=PRICES))
    # 6,000 x $2/M, 4,000 x $0.50/M, 500 x $8/M
    assert {kind: tokens for kind, (tokens, _) in told.items()} == {"input": 6000, "cached_input": 4000, "output": 500}
    assert [cost for _, cost in told.values()] == pytest.approx([0.012, 0.002, 0.004], abs=1e-15)


def test_without_a_price_of_its_own_cached_input_costs_what_input_does():
    rows = [paid(upstream="anthropic", input_tokens=1000, cached_input_tokens=400, output_tokens=0)]
    told = kinds(sample([request(first_choice="anthropic")], rows, prices=PRICES))
    assert [cost for _, cost in told.values()] == pytest.approx([0.0018, 0.0012], abs=1e-15)


def test_a_discount_that_is_not_in_the_prices_is_an_item_of_its_own():
    rows = [attempt(input_tokens=1000, output_tokens=100, cost_usd=0.5 * 0.0028)]  # a batch at half the price
    told = kinds(sample([request()], rows, prices=PRICES))
    assert told["other"] == (0, pytest.approx(-0.0014, abs=1e-15))
    assert math.fsum(cost for _, cost in told.values()) == pytest.approx(0.0014, abs=1e-15)


def test_the_premium_of_a_fallback_by_kind_of_token():
    rows = [
        attempt(outcome="rate_limited", status=429),
        paid(attempt=2, cause="fallback", upstream="anthropic", input_tokens=1000, output_tokens=100),
    ]
    one = sample([request(served_by="anthropic", attempts=2)], rows, prices=PRICES)
    # at openai: 1,000 x $2/M + 100 x $8/M; at anthropic $3/M and $15/M
    assert kinds(one) == {"input": (1000, pytest.approx(0.002)), "output": (100, pytest.approx(0.0008))}
    assert kinds(one, "fallback_difference") == {"input": (0, pytest.approx(0.001)), "output": (0, pytest.approx(7e-4))}


def test_logs():
    rows = [paid(input_tokens=1000, output_tokens=100)] * 2
    rows[1] = rows[1] | {"attempt": 2, "cause": "retry"}
    hit = {"attempts": 0, "served_from": "cache", "served_by": "cache", "first_choice": ""}
    asked = [
        request(attempts=2, input_tokens=1000, output_tokens=100),
        request(session=1, input_tokens=600, output_tokens=50, **hit),
    ]
    one = sample(asked, rows, prices=PRICES, costs=MODEL)
    uses = side_uses(one)["observability"]
    # two requests of 2 kB; two attempts of 1 kB; 1,100 + 650 tokens of 4 B (an answer from the cache is logged too)
    assert {what: size for what, (size, _) in uses.items()} == {
        "of requests": 4000, "of attempts": 2000, "of prompts and answers": 7000,
    }  # fmt: skip
    assert cost_parts(one)["observability"] == pytest.approx(13_000 * 0.5e-9, abs=1e-18)


def with_vectors(requests, attempts=(), stored_byte_s=0.0, **fields):
    """A sample as a semantic cache would leave it: what it used is in three columns and a counter."""
    one = sample(requests, attempts, prices=PRICES, costs=MODEL, counters={STORED_BYTE_S: stored_byte_s}, **fields)
    uses = pl.DataFrame({EMBEDDING_TOKENS: [900, 100], VECTOR_QUERIES: [1, 1], VECTOR_WRITES: [1, 0]})
    return dataclasses.replace(one, asked=one.requests.with_columns(*uses))


def test_embeddings_and_the_vector_store():
    # 2 GB for 100 s is 200e9 byte-seconds
    one = with_vectors([request(), request(session=1, route="rag")], [paid(), paid(session=1)], stored_byte_s=200e9)
    parts = cost_parts(one)
    assert parts["embeddings"] == pytest.approx(1000 * 2e-8, abs=1e-18)
    storage = 2 * 0.33 * 100 / (730 * 3600)  # GB x $/GB-month x months
    assert parts["vector_store"] == pytest.approx(2 * 16e-6 + 1 * 4e-6 + storage, rel=1e-12)
    table = cost_table(one, ["route"])
    assert table["route"].to_list() == ["chat", "rag", None]
    assert table["vector_store_usd"].to_list() == pytest.approx([20e-6, 16e-6, storage])
    assert table["total_usd"].sum() == pytest.approx(parts["total"], abs=1e-12)
    # Storage is nobody's: a route's cost is without it, half the time's with half of it.
    assert cost_parts(one.tagged((("route", "rag"),)))["vector_store"] == pytest.approx(16e-6)
    assert cost_parts(one.between(50, 100))["vector_store"] == pytest.approx(storage / 2)
    thirds = cost_table(one, width_s=30.0)
    assert thirds["vector_store_usd"].to_list() == pytest.approx(
        [36e-6 + 0.3 * storage, 0.3 * storage, 0.3 * storage, 0.1 * storage]
    )


def test_verdicts():
    rows = [request(verifications=1), request(session=1, route="rag", verifications=2), request(session=2)]
    one = sample(rows, [], prices=PRICES, costs=MODEL, verdict_usd=2e-4)
    assert cost_parts(one)["verification"] == pytest.approx(6e-4, abs=1e-15)
    assert side_uses(one)["verification"] == {"verdicts": (3.0, pytest.approx(6e-4))}
    table = cost_table(one, ["route"])
    assert table["verification_usd"].to_list() == pytest.approx([2e-4, 4e-4])
    assert table["total_usd"].sum() == pytest.approx(cost_parts(one)["total"], abs=1e-12)
    assert sum(cost_parts(one)[name] for name in COST_PARTS) == pytest.approx(cost_parts(one)["total"], abs=1e-9)


def test_what_a_cache_saved_less_what_it_costs():
    one = with_vectors([request(saved_usd=0.01), request(session=1, saved_usd=0.02)], verdict_usd=1e-3)
    parts = cost_parts(one)
    assert parts["embeddings"] > 0
    assert evaluate(one, "saved_net") == pytest.approx(0.03 - parts["embeddings"] - parts["vector_store"])


def test_who_pays_what():
    asked = [request(tenant="a", user="u1", attempts=2), request(session=1, tenant="b", user="u2", arrival_s=31.0)]
    rows = [
        paid(outcome="server_error", status=500, input_tokens=100, output_tokens=0),
        paid(attempt=2, cause="fallback", upstream="anthropic", input_tokens=100, output_tokens=10),
        paid(session=1, arrival_s=31.0, end_s=65.0, input_tokens=200, output_tokens=20),
    ]
    one = sample(asked, rows, prices=PRICES, costs=CostModel(observability=MODEL.observability))
    by_tenant = cost_table(one, ["tenant"]).to_dicts()
    assert [(row["tenant"], row["requests"], row["ok"], row["attempts"]) for row in by_tenant] == [
        ("a", 1, 1, 2),
        ("b", 1, 1, 1),
    ]
    assert by_tenant[0]["retry_usd"] == pytest.approx(100 * 2e-6)
    assert by_tenant[0]["useful_usd"] == pytest.approx(100 * 2e-6 + 10 * 8e-6)
    assert by_tenant[0]["fallback_difference_usd"] == pytest.approx(100 * 1e-6 + 10 * 7e-6)
    assert by_tenant[1]["total_usd"] == pytest.approx(200 * 2e-6 + 20 * 8e-6 + (2000 + 1000 + 111 * 4) * 0.5e-9)
    by_upstream = {row["upstream"]: row for row in cost_table(one, ["upstream"]).to_dicts()}
    assert by_upstream["anthropic"]["total_usd"] == pytest.approx(100 * 3e-6 + 10 * 15e-6 + 1000 * 0.5e-9)
    assert by_upstream[None]["observability_usd"] == pytest.approx((2 * 2000 + 2 * 111 * 4) * 0.5e-9)
    late = cost_table(one, width_s=30.0)
    assert late["start_s"].to_list() == [0.0, 30.0]  # of the arrival, though the answer ended at 65 s
    assert late["attempts"].to_list() == [2, 1]


def test_a_column_that_does_not_exist_is_named():
    one = sample([request()], [attempt()])
    with pytest.raises(LlmsimError, match=r"nothing called 'rout' to group by; did you mean 'route'\?"):
        group_columns(one.requests, "rout")
    with pytest.raises(LlmsimError, match=r"use one of .*route.*upstream"):
        group_columns(one.requests, ["route", "zzz"])
    # A column that is recorded one day can be used that day.
    assert group_columns(one.requests.with_columns(feature=pl.lit("search")), "feature") == ["feature"]


_ROWS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from(["ok", "cancelled", "stream_broken", "server_error"]),
        st.sampled_from(["first", "retry", "fallback", "hedge"]),
        st.sampled_from(["openai", "anthropic", "unpriced"]),
        st.booleans(),
        st.integers(0, 10_000),
        st.integers(0, 5000),
        st.sampled_from([1.0, 0.5]),  # of the list price
    ),
    max_size=12,
)
_OUTCOMES = st.lists(st.sampled_from(["ok", "abandoned", "timeout", "unfinished"]), min_size=5, max_size=5)


def _adds_up(rows, outcomes):
    requests = [
        request(session=n, arrival_s=17.0 * n, outcome=outcome, route=f"r{n % 2}") for n, outcome in enumerate(outcomes)
    ]
    attempts = []
    for number, (session, outcome, cause, upstream, won, tokens, output, off) in enumerate(rows):
        price = PRICES.get(upstream, TokenPrice(1e-6, 1e-6))
        attempts.append(
            attempt(
                session=session, attempt=number, outcome=outcome, cause=cause, upstream=upstream, won=won,
                input_tokens=tokens, cached_input_tokens=tokens // 3, output_tokens=output,
                cost_usd=billed(price, tokens, tokens // 3, output) * off,
            )
        )  # fmt: skip
    one = sample(requests, attempts, prices=PRICES, costs=MODEL, counters={STORED_BYTE_S: 1e12})
    parts = cost_parts(one)
    # Tokens, from the rows that went in: each in exactly one part and kind.
    told = token_costs(one)
    counted = {kind: sum(told[part][kind][0] for part in TOKEN_PARTS) for kind in ("input", "cached_input", "output")}
    assert counted == {
        "input": sum(row[5] - row[5] // 3 for row in rows),
        "cached_input": sum(row[5] // 3 for row in rows),
        "output": sum(row[6] for row in rows),
    }
    # Money: kinds to parts, parts to the total, the total to what went in.
    for part in TOKEN_PARTS:
        assert math.isclose(math.fsum(cost for _, cost in told[part].values()), parts[part], abs_tol=1e-9)
    assert math.isclose(math.fsum(parts[name] for name in COST_PARTS), parts["total"], abs_tol=1e-9)
    logged = 5 * 2000 + len(rows) * 1000 + 4 * sum(row["input_tokens"] + row["output_tokens"] for row in requests)
    beside = logged * 0.5e-9 + 1e12 * 0.33e-9 / MONTH_S
    assert math.isclose(parts["total"], math.fsum(row["cost_usd"] for row in attempts) + beside, abs_tol=1e-9)
    for by, width_s in (
        (["route"], None),
        (["upstream", "cause"], None),
        (["route", "model"], 30.0),
        ([], 10.0),
        ([], None),
    ):
        table = cost_table(one, by, width_s)
        for name in COST_PARTS:
            assert math.isclose(table[f"{name}_usd"].sum(), parts[name], abs_tol=1e-9), (by, name)
        assert math.isclose(table["total_usd"].sum(), parts["total"], abs_tol=1e-9)
        assert table["requests"].sum() == 5
        assert table["attempts"].sum() == len(rows)
        assert table["output_tokens"].sum() == counted["output"]


@settings(max_examples=12, deadline=None)
@given(_ROWS, _OUTCOMES)
def test_every_token_is_billed_once_and_everything_adds_up(rows, outcomes):
    _adds_up(rows, outcomes)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(_ROWS, _OUTCOMES)
def test_every_token_is_billed_once_and_everything_adds_up_in_many_cases(rows, outcomes):
    _adds_up(rows, outcomes)
