"""What was paid for what: tokens in six parts, what comes beside tokens in four; together they are the total."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.errors import BadOutput
from llmsim.pricing import TokenPrice
from llmsim.telemetry.cost_model import (
    EMBEDDING_TOKENS,
    STORED_BYTE_S,
    VECTOR_QUERIES,
    VECTOR_WRITES,
    VERIFICATIONS,
)
from llmsim.telemetry.sample import Sample

__all__ = [
    "ADDRESS",
    "CACHE_PARTS",
    "COST_PARTS",
    "SIDE_PARTS",
    "TOKEN_PARTS",
    "WASTED",
    "attempt_parts",
    "cost_parts",
    "price_of",
    "side_uses",
]

TOKEN_PARTS: dict[str, str] = {
    "useful": "attempts whose answer the caller got whole, at the price of the request's first choice",
    "retry": "attempts that failed, were given up or were not used, other than those below",
    "abandoned": "attempts that were running when the user left or the drain ended",
    "hedge_losing": "attempts that were cancelled or not used because another one, running beside them, won",
    "broken": "attempts that failed after their first chunk, and whole answers that could not be used (bad_output)",
    "fallback_difference": "what answers from another upstream cost more (or less) than at the first choice's price",
}

SIDE_PARTS: dict[str, str] = {
    "embeddings": "tokens embedded for a semantic cache",
    "vector_store": "searches and writes in a vector store, and its storage",
    "verification": "verdicts on cached answers in the uncertainty band",
    "observability": "bytes logged for requests and attempts",
}

COST_PARTS: dict[str, str] = {**TOKEN_PARTS, **SIDE_PARTS}

#: What a semantic cache itself costs.
CACHE_PARTS = ("embeddings", "vector_store", "verification")

#: What bought nothing.
WASTED = ("retry", "abandoned", "hedge_losing", "broken")

ADDRESS = ["session", "step", "user_retry"]
_GONE = ("abandoned", "unfinished")
_SIDE = (EMBEDDING_TOKENS, VECTOR_QUERIES, VECTOR_WRITES, VERIFICATIONS)
_USED = ("input_tokens", "output_tokens", *_SIDE)

# What `attempt_parts` reads.
_OF_REQUESTS = (*ADDRESS, "first_choice", "outcome")
_OF_ATTEMPTS = (
    *ADDRESS,
    *("cause", "upstream", "start_s", "first_s", "outcome", "won"),
    *("input_tokens", "cached_input_tokens", "output_tokens", "cost_usd"),
)

_PART = pl.Enum([*TOKEN_PARTS])

Floats = NDArray[np.float64]


def cost_parts(sample: Sample) -> dict[str, float]:
    """USD in each of `COST_PARTS`, and ``total``, which is their sum."""
    known = sample.cache.get("cost parts")
    parts = known if isinstance(known, dict) else _cost_parts(sample)
    sample.cache["cost parts"] = parts
    return dict(parts)


def _cost_parts(sample: Sample) -> dict[str, float]:
    costs: dict[str, list[Floats]] = {name: [] for name in TOKEN_PARTS}
    for requests, attempts in sample.pieces(_OF_REQUESTS, _OF_ATTEMPTS):
        split = attempt_parts(replace(sample, asked=requests, calls=attempts, cache={}))
        # One question of polars and not five: each takes longer than looking through a small table.
        part, paid = split["part"].cast(_PART).to_physical().to_numpy(), split["cost_usd"].to_numpy()
        for code, name in enumerate(TOKEN_PARTS):
            costs[name].append(paid[part == code])
        costs["fallback_difference"].append(_not_zero(split["difference_usd"]))
    # fsum, not group_by: the same run must give the same digits, whichever thread adds first.
    parts = {name: math.fsum(cost for some in found for cost in some.tolist()) for name, found in costs.items()}
    parts["useful"] -= parts["fallback_difference"]
    parts |= {name: math.fsum(cost for _, cost in uses.values()) for name, uses in side_uses(sample).items()}
    parts["total"] = math.fsum(parts.values())
    return parts


def _not_zero(values: pl.Series) -> Floats:
    return values.filter(values != 0.0).to_numpy()


def attempt_parts(sample: Sample) -> pl.DataFrame:
    """Every attempt of the sample's requests, with the part its cost belongs to.

    Returns
    -------
    DataFrame
        The columns of attempts and: ``first_choice`` and ``request_outcome`` of its request; ``part``, one of
        `TOKEN_PARTS` other than the difference; ``difference_usd``, what of its cost is fallback price difference.
    """
    # Also one that broke, if the answer was continued elsewhere: what it had delivered is part of it.
    useful = pl.col("won") & (pl.col("outcome") != "cancelled") & (pl.col("request_outcome") == "ok")
    unusable = pl.col("won") & (pl.col("outcome") == "ok") & (pl.col("request_outcome") == BadOutput.word)
    answered = pl.col("request_outcome") == "ok"
    # Two attempts of one request that ran at the same time: one was the other's hedge.
    joined, hedged = _with_request(sample)
    part = (
        pl.when(useful)
        .then(pl.lit("useful"))
        .when(unusable)
        .then(pl.lit("broken"))
        .when(hedged & answered & ~pl.col("won") & pl.col("outcome").is_in(["ok", "cancelled"]))
        .then(pl.lit("hedge_losing"))
        .when(pl.col("request_outcome").is_in(_GONE) & (pl.col("outcome") == "cancelled"))
        .then(pl.lit("abandoned"))
        .when(pl.col("first_s").is_not_null() & ~pl.col("outcome").is_in(["ok", "cancelled"]))
        .then(pl.lit("broken"))
        .otherwise(pl.lit("retry"))
    )
    difference = pl.when(useful).then(pl.col("cost_usd") - _first_choice_cost(sample)).otherwise(0.0)
    found = joined.with_columns(part=part, difference_usd=difference)
    return found.drop("hedged") if "hedged" in found.columns else found


def side_uses(sample: Sample) -> dict[str, dict[str, tuple[float, float]]]:
    """What comes beside tokens: for each of `SIDE_PARTS`, what was used, how much of it, and its cost in USD.

    Amounts are bytes logged, tokens embedded, operations, verdicts, and byte-seconds stored.
    """
    model = sample.costs
    logged, store = model.observability, model.vector_store
    used = dict.fromkeys(_USED, 0)
    attempts = 0
    for requests, calls in sample.pieces([*ADDRESS, *_USED], ADDRESS):
        attempts += calls.select(ADDRESS).join(requests.select(ADDRESS), on=ADDRESS, how="semi").height
        for name in _USED:
            used[name] += _uses(requests, name)
    tokens = float(used["input_tokens"] + used["output_tokens"])
    written = {
        "of requests": sample.height * logged.bytes_per_request,
        "of attempts": attempts * logged.bytes_per_attempt,
        "of prompts and answers": tokens * logged.bytes_per_token,
    }
    embedded, queries, writes, verdicts = (float(used[name]) for name in _SIDE)
    stored = sample.counters.get(STORED_BYTE_S, 0.0) * sample.shared
    return {
        "embeddings": {"tokens": (embedded, embedded * model.embeddings.price)},
        "vector_store": {
            "queries": (queries, queries * store.queries),
            "writes": (writes, writes * store.writes),
            "storage": (stored, stored * store.storage),
        },
        "verification": {"verdicts": (verdicts, verdicts * sample.verdict_usd)},
        "observability": {what: (size, size * logged.price) for what, size in written.items()},
    }


def _uses(requests: pl.DataFrame, column: str) -> int:
    return int(requests[column].cast(pl.Int64).sum()) if column in requests.columns else 0


def _with_request(sample: Sample) -> tuple[pl.DataFrame, pl.Expr]:
    """Attempts of the sample's requests, with what became of the request; and whether that had been hedged."""
    requests = sample.requests.select(*ADDRESS, "first_choice", pl.col("outcome").alias("request_outcome"))
    joined = sample.attempts.join(requests, on=ADDRESS, how="inner", maintain_order="left")
    hedges = sample.attempts["cause"] == "hedge"
    if not hedges.any():
        return joined, pl.lit(value=False)
    hedged = sample.attempts.filter(hedges).select(*ADDRESS).unique().with_columns(hedged=True)
    joined = joined.join(hedged, on=ADDRESS, how="left", maintain_order="left")
    return joined, pl.col("hedged").fill_null(value=False)


def _first_choice_cost(sample: Sample) -> pl.Expr:
    """The attempt's tokens at the price of its request's first choice; its own cost where that price is unknown."""
    cost = pl.col("cost_usd")
    cached = pl.col("cached_input_tokens")
    tokens = {"input": pl.col("input_tokens") - cached, "cached_input": cached, "output": pl.col("output_tokens")}
    for upstream in sample.prices:
        elsewhere = (pl.col("first_choice") == upstream) & (pl.col("upstream") != upstream)
        there = pl.sum_horizontal(count * price_of(sample, upstream, kind) for kind, count in tokens.items())
        cost = pl.when(elsewhere).then(there).otherwise(cost)
    return cost


def price_of(sample: Sample, upstream: str, kind: str) -> pl.Expr:
    """Price of a kind of token (a field of `TokenPrice`) at this upstream, when the attempt was sent."""

    def of(price: TokenPrice) -> float:
        value = getattr(price, kind)
        return float(price.input if value is None else value)

    steps = sample.price_steps.get(upstream)
    if steps is None:
        return pl.lit(of(sample.prices[upstream]))
    # A price that climbs has a thousand steps: looked up, since as many conditions would each be gone through.
    starts, prices = np.array([(start_s, of(price)) for start_s, price in steps]).T

    def then(times_s: pl.Series) -> pl.Series:
        return pl.Series(prices[np.searchsorted(starts, times_s.to_numpy(), side="right") - 1])

    return pl.col("start_s").map_batches(then, return_dtype=pl.Float64, is_elementwise=True)
