"""Costs by kind of token, by whatever a request or an attempt has, over time; all add up to `cost_parts`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.telemetry.cost_model import EMBEDDING_TOKENS, VECTOR_QUERIES, VECTOR_WRITES, VERIFICATIONS
from llmsim.telemetry.costs import ADDRESS, COST_PARTS, TOKEN_PARTS, attempt_parts, price_of, side_uses
from llmsim.telemetry.sample import Sample

__all__ = ["KINDS", "cost_table", "group_columns", "token_costs"]

#: Kinds of tokens. What was billed beyond (or below) the tokens at their prices is ``other``: a batch discount, say.
KINDS = ("input", "cached_input", "output", "other")

# Of an attempt and not of its request; everything else a table can be grouped by is the request's.
_OF_ATTEMPTS = ("upstream", "model", "cause")
_NUMBERS = ("session", "step", "user_retry", "replica")
_COUNTS = ("requests", "ok", "attempts", "input_tokens", "cached_input_tokens", "output_tokens")
_ROUNDING = 1e-9  # what floats leave when tokens times price is subtracted from the bill


def token_costs(sample: Sample) -> dict[str, dict[str, tuple[int, float]]]:
    """Tokens and USD of each kind in each of `TOKEN_PARTS`.

    ``fallback_difference`` has no tokens: they are in ``useful``, at the first choice's price, and the
    difference is what they cost beyond that.
    """
    rows = _by_kind(sample)
    mine = {name: rows.filter(pl.col("part") == name) for name in TOKEN_PARTS}
    told: dict[str, dict[str, tuple[int, float]]] = {name: {} for name in TOKEN_PARTS}
    for kind in KINDS:
        for name in TOKEN_PARTS:
            costs = mine[name][f"{kind}_usd"] - mine[name][f"{kind}_difference_usd"]
            told[name][kind] = (int(mine[name][f"{kind}_count"].sum()), math.fsum(costs.to_list()))
        told["fallback_difference"][kind] = (0, math.fsum(rows[f"{kind}_difference_usd"].to_list()))
    return told


def _by_kind(sample: Sample) -> pl.DataFrame:
    """Attempts with what each kind of token cost, and how much of that is fallback price difference."""
    attempts = attempt_parts(sample)
    cached = pl.col("cached_input_tokens").cast(pl.Int64)
    count = {
        "input": pl.col("input_tokens").cast(pl.Int64) - cached,
        "cached_input": cached,
        "output": pl.col("output_tokens").cast(pl.Int64),
    }
    paid = {kind: count[kind] * _price_of(sample, kind, "upstream") for kind in count}
    first = {kind: count[kind] * _price_of(sample, kind, "first_choice") for kind in count}
    beyond = pl.col("cost_usd") - pl.sum_horizontal(paid.values())
    noise = beyond.abs() <= _ROUNDING * pl.col("cost_usd").abs()
    paid["other"] = pl.when(noise).then(0.0).otherwise(beyond)
    known = pl.col("first_choice").cast(pl.String).is_in([*sample.prices])
    elsewhere = (pl.col("part") == "useful") & (pl.col("first_choice") != pl.col("upstream")) & known
    difference = {
        kind: pl.when(elsewhere).then(paid[kind] - first.get(kind, pl.lit(0.0))).otherwise(0.0) for kind in KINDS
    }
    count["other"] = pl.lit(0)
    return attempts.select(
        "part",
        *(paid[kind].alias(f"{kind}_usd") for kind in KINDS),
        *(difference[kind].alias(f"{kind}_difference_usd") for kind in KINDS),
        *(count[kind].alias(f"{kind}_count") for kind in KINDS),
    )


def _price_of(sample: Sample, kind: str, column: str) -> pl.Expr:
    """Price of a kind of token at the upstream that a column names; 0 where it has none."""
    found = pl.lit(0.0)
    for upstream in sample.prices:
        found = pl.when(pl.col(column) == upstream).then(price_of(sample, upstream, kind)).otherwise(found)
    return found


def group_columns(requests: pl.DataFrame, by: str | Sequence[str] | None) -> list[str]:
    """The columns named by `by`.

    Raises
    ------
    LlmsimError
        For one that neither requests nor attempts have, with those that can be used.
    """
    names = [by] if isinstance(by, str) else list(by or ())
    text = (pl.Categorical, pl.String, pl.Enum)
    known = [name for name, dtype in requests.schema.items() if isinstance(dtype, text) and name != "request_id"]
    known += [*_NUMBERS, *_OF_ATTEMPTS]
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"
            raise LlmsimError(f"there is nothing called {name!r} to group by; {hint}")
    return names


def cost_table(sample: Sample, by: Sequence[str] = (), width_s: float | None = None) -> pl.DataFrame:
    """Costs of one replication, one row per value of `by` (and per window).

    What an attempt cost belongs to its request, whatever window it ended in. A column of attempts (``upstream``,
    ``model``, ``cause``) splits what attempts cost; what is the request's as a whole (its log line, its embedding) is
    then in the row whose key is null, as is what belongs to no request at all (storage).

    Returns
    -------
    DataFrame
        ``start_s`` where there are windows, the columns of `by`, counts, ``…_usd`` for each of `COST_PARTS`, and
        ``total_usd``, their sum.
    """
    keys = [*(["start_s"] if width_s is not None else ()), *by]
    model = sample.costs
    logged, store = model.observability, model.vector_store
    requests = sample.requests.with_columns(_start(width_s))
    of_requests = [name for name in keys if name not in _OF_ATTEMPTS]
    attempts = attempt_parts(sample)
    clash = [name for name in of_requests if name in attempts.columns]
    attempts = attempts.drop(clash).join(requests.select(*ADDRESS, *_texts(of_requests)), on=ADDRESS, how="left")
    spent = attempts.select(
        *_texts(keys),
        attempts=pl.lit(1, dtype=pl.Int64),
        **{name: pl.col(name).cast(pl.Int64) for name in _COUNTS[3:]},
        **_parts_of_attempts(),
        observability_usd=pl.lit(logged.bytes_per_attempt * logged.price),
    )
    whole = pl.col("input_tokens").cast(pl.Int64) + pl.col("output_tokens")
    asked = requests.select(
        *(pl.col(n).cast(pl.String) if n in by else pl.col(n) for n in of_requests),
        *(pl.lit(None, dtype=pl.String).alias(name) for name in keys if name in _OF_ATTEMPTS),
        requests=pl.lit(1, dtype=pl.Int64),
        ok=(pl.col("outcome") == "ok").cast(pl.Int64),
        embeddings_usd=_used(requests, EMBEDDING_TOKENS) * model.embeddings.price,
        vector_store_usd=_used(requests, VECTOR_QUERIES) * store.queries
        + _used(requests, VECTOR_WRITES) * store.writes,
        verification_usd=_used(requests, VERIFICATIONS) * sample.verdict_usd,
        observability_usd=(logged.bytes_per_request + whole * logged.bytes_per_token) * logged.price,
    )
    lines = pl.concat([asked, spent, _stored(sample, keys, width_s)], how="diagonal_relaxed")
    sums = [*_COUNTS, *(f"{name}_usd" for name in COST_PARTS)]
    lines = lines.with_columns(pl.lit(None).alias(name) for name in sums if name not in lines.columns)
    grouped = lines.group_by(keys, maintain_order=True) if keys else lines.group_by(pl.lit(0).alias("all"))
    table = grouped.agg(pl.col(*sums).sum())
    table = table.with_columns(pl.col(f"{name}_usd").cast(pl.Float64) for name in COST_PARTS)
    table = table.with_columns(total_usd=pl.sum_horizontal(f"{name}_usd" for name in COST_PARTS))
    ordered = table.sort(keys, nulls_last=True, maintain_order=True) if keys else table
    return ordered.select(*keys, *(pl.col(name).cast(pl.Int64) for name in _COUNTS), *sums[len(_COUNTS) :], "total_usd")


def _texts(keys: Sequence[str]) -> list[pl.Expr]:
    return [pl.col(name) if name == "start_s" else pl.col(name).cast(pl.String) for name in keys]


def _start(width_s: float | None) -> list[pl.Expr]:
    return [] if width_s is None else [((pl.col("arrival_s") / width_s).floor() * width_s).alias("start_s")]


def _parts_of_attempts() -> dict[str, pl.Expr]:
    parts: dict[str, pl.Expr] = {"fallback_difference_usd": pl.col("difference_usd")}
    for name in TOKEN_PARTS:
        if name != "fallback_difference":
            mine = pl.col("cost_usd") - pl.col("difference_usd")
            parts[f"{name}_usd"] = pl.when(pl.col("part") == name).then(mine).otherwise(0.0)
    return parts


def _used(requests: pl.DataFrame, column: str) -> pl.Expr:
    return pl.col(column) if column in requests.columns else pl.lit(0.0)


def _stored(sample: Sample, keys: Sequence[str], width_s: float | None) -> pl.DataFrame:
    """What storage cost: nobody's in particular; over time as long as each window is."""
    _, cost = side_uses(sample)["vector_store"]["storage"]
    if not cost:
        return pl.DataFrame()
    nobody = {name: pl.Series([None], dtype=pl.String) for name in keys if name != "start_s"}
    if width_s is None:
        return pl.DataFrame({**nobody, "vector_store_usd": [cost]})
    starts = [sample.start_s + n * width_s for n in range(math.ceil(sample.duration_s / width_s - 1e-9))]
    shares = [(min(start + width_s, sample.end_s) - start) / sample.duration_s for start in starts]
    windows = pl.DataFrame({"start_s": starts, "vector_store_usd": [cost * share for share in shares]})
    return windows.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in nobody)
