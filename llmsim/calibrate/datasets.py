"""Public measurements of providers, as arrays: thefastest.ai and the LLMPerf leaderboard."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["FLUSH_S", "Measured", "llmperf", "thefastest"]

Floats = NDArray[np.float64]

#: An answer whose last token came this soon after its first was not paced. As in the study of thefastest.ai's gaps: 20
#: tokens in 50 ms would be 400 tokens a second, which no provider but Groq gave in spring 2024.
FLUSH_S = 0.05


@dataclass(frozen=True)
class Measured:
    """What was measured of one model at one provider.

    Parameters
    ----------
    ttft_s
        Times to first token, in seconds, shape ``(n,)``.
    generation_s
        From first to last token, shape ``(m,)``, for answers of at least 2 tokens.
    tokens
        Of these answers, shape ``(m,)``.
    first, last
        ISO dates of the first and the last measurement.
    """

    ttft_s: Floats
    generation_s: Floats
    tokens: NDArray[np.int64]
    first: str
    last: str

    @property
    def gap_s(self) -> Floats:
        """Mean gap of each answer."""
        return self.generation_s / (self.tokens - 1)

    @property
    def flushed(self) -> NDArray[np.bool_]:
        """Which answers came whole."""
        return self.generation_s < FLUSH_S


def thefastest(path: Path, models: tuple[str, ...]) -> Measured:
    """Rows of thefastest.ai (April and May 2024, three regions, mostly 20 tokens; each row the best of a few tries).

    Parameters
    ----------
    path
        ``thefastest_history.csv``.
    models
        What the model was called at different times.

    Rows without a time are left out: there is one, without tokens.
    """
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["model"] in models and float(row["ttft"] or 0) > 0]
    longer = [row for row in rows if int(row["num_tokens"]) > 1]
    days = sorted(row["time"][:10] for row in rows)
    return Measured(
        np.array([float(row["ttft"]) for row in rows]),
        np.array([max(float(row["total_time"]) - float(row["ttft"]), 0.0) for row in longer]),
        np.array([int(row["num_tokens"]) for row in longer]),
        days[0],
        days[-1],
    )


def llmperf(path: Path, date: str) -> Measured:
    """One file of the LLMPerf leaderboard's individual results (550 tokens in, 150 out, 5 at a time).

    Its error code -100 says that the answer was shorter than the benchmark wanted, which is no failure of the provider.
    The gaps are taken from the total time, since its own `inter_token_latency_s` has the time to the first token in it.
    """
    rows = [row for row in json.loads(path.read_text()) if row["error_code"] in (None, -100) and row["ttft_s"] > 0]
    longer = [row for row in rows if row["number_output_tokens"] > 1]
    return Measured(
        np.array([row["ttft_s"] for row in rows]),
        np.array([max(row["end_to_end_latency_s"] - row["ttft_s"], 0.0) for row in longer]),
        np.array([row["number_output_tokens"] for row in longer]),
        date,
        date,
    )
