"""Calls to made-up servers whose figures are known, and recorded ones."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

import llmsim
from llmsim.calibrate.calls import Calls
from llmsim.calibrate.serving import predict_serving

_DATA = Path(llmsim.__file__).parents[2] / "shared" / "data" / "live-smollm2" / "openloop.csv"


def calls_from(sent_s, ttft_s, e2e_s, inputs, outputs, *, outcome=None, cost=None, cached=None):
    n = len(sent_s)
    frame = pl.DataFrame(
        {
            "sent_s": np.asarray(sent_s, dtype=float),
            "ttft_s": np.asarray(ttft_s, dtype=float),
            "e2e_s": np.asarray(e2e_s, dtype=float),
            "input_tokens": np.asarray(inputs, dtype=int),
            "cached_tokens": np.zeros(n, dtype=int) if cached is None else np.asarray(cached, dtype=int),
            "output_tokens": np.asarray(outputs, dtype=int),
            "outcome": ["ok"] * n if outcome is None else list(outcome),
            "cost_usd": [None] * n if cost is None else list(cost),
        }
    )
    return Calls.of("local", "m", frame)


def lengths(rng, n):
    return rng.choice([50, 150, 400, 1500], n), rng.choice([2, 16, 64], n)


def hosted(n, seed, *, base=0.5, token=2e-5, gap=0.02, noise=0.2, apart_s=60.0):
    """A provider whose calls do not meet: a base time with a spread, a slope, and a pace."""
    rng = np.random.default_rng(seed)
    inputs, outputs = lengths(rng, n)
    ttft = base * np.exp(rng.normal(0, noise, n)) + token * inputs
    return calls_from(
        apart_s * np.arange(n), ttft, ttft + gap * np.exp(rng.normal(0, noise, n)) * (outputs - 1), inputs, outputs
    )


def engine(spec, n, seed, *, rate, alone=0, noise=0.0):
    """A serving engine: calls one after the other, an hour of nothing, and Poisson arrivals."""
    rng = np.random.default_rng(seed)
    inputs, outputs = lengths(rng, alone + n)
    sent = np.concatenate([100.0 * np.arange(alone), 100.0 * alone + 3600 + np.cumsum(rng.exponential(1 / rate, n))])
    ttft, e2e = predict_serving(spec, sent.tolist(), inputs.tolist(), outputs.tolist())
    factor = np.exp(rng.normal(0, noise, len(sent)))
    return calls_from(sent, ttft * factor, e2e * factor, inputs, outputs)


def recorded(*labels):
    """Rows of ``live-smollm2``, run after run with an hour between them."""
    if not _DATA.exists():
        pytest.skip("the measurements of live-smollm2 are not beside this checkout")
    rows = pl.read_csv(_DATA)
    parts, begin_s = [], 0.0
    for label in labels:
        part = rows.filter(pl.col("label") == label)
        assert len(part) in (15, 20, 40)
        parts.append(part.with_columns(pl.col("t_submit") + begin_s))
        begin_s = float(parts[-1]["t_submit"].max()) + 3600
    whole = pl.concat(parts)
    columns = ("t_submit", "ttft", "total", "prompt_tokens", "completion_tokens")
    return calls_from(*(whole[column].to_numpy() for column in columns), cached=whole["cached_tokens"].to_numpy())
