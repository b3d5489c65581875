"""What was paid for what: every attempt's cost in one of six parts that add up to the total."""

from __future__ import annotations

import math

import polars as pl

from llmsim.pricing import TokenPrice
from llmsim.telemetry.sample import Sample

__all__ = ["COST_PARTS", "cost_parts"]

COST_PARTS: dict[str, str] = {
    "useful": "attempts whose answer the caller got whole, at the price of the request's first choice",
    "retry": "attempts that failed, were given up or were not used, other than those below",
    "abandoned": "attempts that were running when the user left or the drain ended",
    "hedge_losing": "attempts that were cancelled or not used because another one, running beside them, won",
    "broken": "attempts that failed after their first chunk",
    "fallback_difference": "what answers from another upstream cost more (or less) than at the first choice's price",
}

_ADDRESS = ["session", "step", "user_retry"]
_GONE = ("abandoned", "unfinished")


def cost_parts(sample: Sample) -> dict[str, float]:
    """USD in each of `COST_PARTS`, and ``total``, which is their sum and all that was billed."""
    known = sample.cache.get("cost parts")
    parts = known if isinstance(known, dict) else _cost_parts(sample)
    sample.cache["cost parts"] = parts
    return dict(parts)


def _cost_parts(sample: Sample) -> dict[str, float]:
    attempts = _with_request(sample)
    useful = pl.col("won") & (pl.col("outcome") == "ok") & (pl.col("request_outcome") == "ok")
    # Two attempts of one request that ran at the same time: one was the other's hedge.
    part = (
        pl.when(useful)
        .then(pl.lit("useful"))
        .when(pl.col("hedged") & pl.col("answered") & ~pl.col("won") & pl.col("outcome").is_in(["ok", "cancelled"]))
        .then(pl.lit("hedge_losing"))
        .when(pl.col("request_outcome").is_in(_GONE) & (pl.col("outcome") == "cancelled"))
        .then(pl.lit("abandoned"))
        .when(pl.col("first_s").is_not_null() & ~pl.col("outcome").is_in(["ok", "cancelled"]))
        .then(pl.lit("broken"))
        .otherwise(pl.lit("retry"))
    )
    difference = pl.when(useful).then(pl.col("cost_usd") - _first_choice_cost(sample)).otherwise(0.0)
    split = attempts.select(part.alias("part"), "cost_usd", difference.alias("difference"))
    # fsum, not group_by: the same run must give the same digits, whichever thread adds first.
    costs, names = split["cost_usd"].to_numpy(), split["part"].to_numpy()
    parts = {name: math.fsum(costs[names == name]) for name in COST_PARTS}
    parts["fallback_difference"] = math.fsum(split["difference"].to_numpy())
    parts["useful"] -= parts["fallback_difference"]
    parts["total"] = math.fsum(parts.values())
    return parts


def _with_request(sample: Sample) -> pl.DataFrame:
    """Attempts of the sample's requests, with what became of the request."""
    requests = sample.requests.select(
        *_ADDRESS,
        "first_choice",
        pl.col("outcome").alias("request_outcome"),
        (pl.col("outcome") == "ok").alias("answered"),
    )
    joined = sample.attempts.join(requests, on=_ADDRESS, how="inner", maintain_order="left")
    hedged = sample.attempts.filter(pl.col("cause") == "hedge").select(*_ADDRESS).unique().with_columns(hedged=True)
    joined = joined.join(hedged, on=_ADDRESS, how="left", maintain_order="left")
    return joined.with_columns(pl.col("hedged").fill_null(value=False))


def _first_choice_cost(sample: Sample) -> pl.Expr:
    """The attempt's tokens at the price of its request's first choice; its own cost where that price is unknown."""
    cost = pl.col("cost_usd")
    for upstream, price in sample.prices.items():
        elsewhere = (pl.col("first_choice") == upstream) & (pl.col("upstream") != upstream)
        cost = pl.when(elsewhere).then(_price(price)).otherwise(cost)
    return cost


def _price(price: TokenPrice) -> pl.Expr:
    cached = pl.col("cached_input_tokens")
    cached_price = price.input if price.cached_input is None else price.cached_input
    fresh = pl.col("input_tokens") - cached
    return fresh * price.input + cached * cached_price + pl.col("output_tokens") * price.output
