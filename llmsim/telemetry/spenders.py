"""Who had the most: money per user and per session, steps per session."""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from llmsim.telemetry.sample import Sample

__all__ = ["most_steps", "per_session", "per_user"]

#: Groups for which a place each is less work than sorting the rows by them.
_WIDEST_KEY = 1_000_000


def per_user(sample: Sample) -> float:
    """Most billed for one user of one tenant; NaN without requests."""
    # Two tenants may each have an "alice".
    return _most_spent(sample, "tenant", "user")


def most_steps(sample: Sample) -> float:
    """Most steps of one session; NaN without requests."""
    if not sample.height:
        return math.nan
    if not sample.columns("step")["step"].max():  # nobody asked on
        return 1.0
    steps = sample.columns("session", "step").group_by("session").agg(pl.col("step").n_unique())["step"]
    return float(steps.max())  # type: ignore[arg-type]


def per_session(sample: Sample) -> float:
    """Most billed for one session; NaN without requests."""
    again = [sample.columns(name)[name].max() for name in ("step", "user_retry")]
    if sample.height and not any(again):  # a session is one request: no group for each of millions
        return float(sample.columns("cost_usd")["cost_usd"].max())  # type: ignore[arg-type]
    return _most_spent(sample, "session")


def _most_spent(sample: Sample, *by: str) -> float:
    rows = sample.columns(*by, "cost_usd")
    if rows.is_empty():
        return math.nan
    key = np.zeros(rows.height, dtype=np.int64)
    for name in by:
        column = rows[name]
        codes = (column if column.dtype.is_integer() else column.cast(pl.Categorical).to_physical()).to_numpy()
        key = key * (int(codes.max()) + 1) + codes
    if key.max() > _WIDEST_KEY + rows.height:
        key = np.unique(key, return_inverse=True)[1]
    # Not group_by, whose sums differ in the last digit with how it cuts the work up.
    return float(np.bincount(key, weights=rows["cost_usd"].to_numpy()).max())
