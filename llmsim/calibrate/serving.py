"""A serving engine's parameters from requests sent one after the other, and what they predict under load."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.errors import LlmsimError
from llmsim.providers.sim.serving import ServingEngine
from llmsim.providers.sim.serving_spec import Serving

__all__ = ["Measured", "fit_serving", "predict_serving"]

Floats = NDArray[np.float64]


class Measured(NamedTuple):
    """One request that was sent to a server.

    ``sent_s`` is on any clock, the two latencies are seconds from there; `input_tokens` are those without the cached.
    """

    sent_s: float
    input_tokens: int
    output_tokens: int
    ttft_s: float
    e2e_s: float
    cached_tokens: int = 0


#: The least standard score of Kendall's tau between gaps and contexts for which there is a slope (two-sided 5 %).
_SURE = 2.0


def fit_serving(rows: Sequence[Measured], *, slots: int = 4, batch_tokens: int = 2048) -> Serving:
    """What one request at a time says about the engine that served it.

    TTFT over prompt length is a line: its slope is `prefill_token`, its intercept `prefill_step` (with it whatever the
    network adds; a negative one is set to 0). Theil-Sen, the median of the slopes between all pairs of different
    lengths, is not moved by the odd slow request, of which a busy machine has some. So is the requests' mean token gap
    over what they have behind them: its slope is `decode_context`, if Kendall's tau says that there is one, and its
    intercept `decode_sequence`; otherwise that is the median gap. Alone, `decode_step` cannot be told from
    `decode_sequence`: it stays 0; `llmsim.calibrate.company` has more to say.

    Parameters
    ----------
    rows
        Requests that had the server for themselves, of at least two prompt lengths. Those with fewer than two output
        tokens say nothing about decoding.
    slots, batch_tokens
        How the server was started; not visible from outside.

    Raises
    ------
    LlmsimError
        When the rows do not determine the parameters, with what to measure.
    """
    lengths = np.array([row.input_tokens for row in rows], dtype=np.float64)
    ttft_s = np.array([row.ttft_s for row in rows])
    several = [row for row in rows if row.output_tokens > 1]
    slopes = _slopes(lengths, ttft_s)
    if not len(slopes) or not several:
        raise LlmsimError(
            f"{len(rows)} measurements do not determine a serving engine; it takes prompts of two lengths or more, "
            "sent one after the other, and answers of more than one token"
        )
    token_s = float(np.median(slopes))
    gap_s, context_s = _decoding(several)
    if token_s <= 0 or gap_s <= 0:
        raise LlmsimError(
            f"time to first token does not grow with the prompt (slope {token_s * 1e3:.3g} ms a token, gaps "
            f"{gap_s * 1e3:.3g} ms); measure longer prompts, with the prompt cache off"
        )
    return Serving(
        slots=slots,
        prefill_step=max(float(np.median(ttft_s - token_s * lengths)), 0.0),
        prefill_token=token_s,
        decode_sequence=gap_s,
        decode_context=context_s,
        batch_tokens=batch_tokens,
    )


def _slopes(x: Floats, y: Floats) -> Floats:
    """Between all pairs that differ in `x`."""
    one, other = np.triu_indices(len(x), 1)
    apart = x[one] != x[other]
    return np.asarray((y[other] - y[one])[apart] / (x[other] - x[one])[apart])


def _decoding(rows: Sequence[Measured]) -> tuple[float, float]:
    """Seconds a token, and more for each token of context."""
    gaps_s = np.array([(row.e2e_s - row.ttft_s) / (row.output_tokens - 1) for row in rows])
    behind = [row.cached_tokens + row.input_tokens + row.output_tokens // 2 for row in rows]
    context = np.array(behind, dtype=np.float64)
    slopes, n = _slopes(context, gaps_s), len(rows)
    # Kendall's S and its standard deviation where there is no slope; ties would make it less.
    score = float(np.sum(np.sign(slopes))) / np.sqrt(n * (n - 1) * (2 * n + 5) / 18) if n > 1 else 0.0
    if score > _SURE:
        context_s = float(np.median(slopes))
        gap_s = float(np.median(gaps_s - context_s * context))
        if gap_s > 0:
            return gap_s, context_s
    return float(np.median(gaps_s)), 0.0


def predict_serving(
    spec: Serving,
    sent_s: Sequence[float],
    input_tokens: Sequence[int],
    output_tokens: Sequence[int],
    cached_tokens: Sequence[int] | None = None,
) -> tuple[Floats, Floats]:
    """TTFT and total time of requests sent at these times, all answered; `input_tokens` are those without the cached.

    Returns
    -------
    ttft_s, e2e_s
        Seconds from sending, shape ``(len(sent_s),)`` each.
    """
    engine = ServingEngine(spec)
    cached = [0] * len(sent_s) if cached_tokens is None else cached_tokens
    jobs = {
        number: engine.arrive(
            number,
            int(input_tokens[number]),
            int(output_tokens[number]),
            float(sent_s[number]),
            cached_tokens=int(cached[number]),
        )
        for number in np.argsort(np.asarray(sent_s), kind="stable").tolist()
    }
    engine.advance(float("inf"))
    ordered = [jobs[number] for number in range(len(jobs))]
    sent = np.asarray(sent_s, dtype=np.float64)
    return np.array([job.first_s for job in ordered]) - sent, np.array([job.end_s for job in ordered]) - sent
