"""What only calls in company tell about a serving engine: how many it serves at once, and what batching gains."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.serving import predict_serving
from llmsim.errors import LlmsimError
from llmsim.providers.sim.serving_spec import Serving

__all__ = ["in_company"]

_FEWEST = 8  #: calls in company; fewer do not tell one engine from another (chosen)
_MOST = 400  #: calls that are looked at: an engine is run over them for every candidate
#: Shares of a decode step that do not depend on how many sequences are in it.
_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
#: As in `llmsim.calibrate.upstream`: what is less simple has to be better by so much (chosen).
_BETTER_BY = 0.9


def in_company(spec: Serving, calls: Calls, train: NDArray[np.bool_], slots: int | None) -> Serving:
    """An engine with the slots and the batching that predict best what calls in company took.

    Parameters
    ----------
    spec
        As calls that were alone tell it: all of a decode step is ``decode_sequence``.
    calls, train
        All of them, and which of them may be looked at.
    slots
        How the server was started; None: not known.

    Raises
    ------
    LlmsimError
        `slots` is not known, and too few calls were ever in company.
    """
    part = _busiest(calls)
    calls, train = calls.only(part), train[part]
    judged = train & ~calls.alone
    if judged.sum() < _FEWEST:
        if slots is None:
            raise LlmsimError(
                "too few calls were ever in company to tell how many the server takes at once; if it is one engine, "
                "say how it was started: --slots 4"
            )
        return dataclasses.replace(spec, slots=slots)
    calls = calls.apart()
    counts = [slots] if slots is not None else _counts(int(calls.busy.max()))
    best, least = spec, np.inf
    for share in _SHARES:
        for count in counts:  # the most first: fewer have to be better
            one = _with(spec, count, share)
            error = _error(one, calls, judged)
            if error < (_BETTER_BY * least if share else 0.999 * least):
                best, least = one, error
    return best


def _counts(most: int) -> list[int]:
    """Powers of two, which engines are started with, from where more would change nothing down to 1."""
    top = int(np.ceil(np.log2(max(most, 1))))
    return [2**power for power in range(top, -1, -1)]


def _with(spec: Serving, slots: int, share: float) -> Serving:
    gap_s = spec.decode_sequence
    return dataclasses.replace(
        spec,
        slots=slots,
        decode_step=share * gap_s,
        decode_sequence=(1 - share) * gap_s,
        batch_tokens=max(spec.batch_tokens, 2 * slots),
    )


def _busiest(calls: Calls) -> NDArray[np.bool_]:
    """The stretch of at most `_MOST` calls with the most company, from the beginning of a busy period if it can be."""
    n = len(calls.sent_s)
    chosen = np.zeros(n, dtype=np.bool_)
    if n <= _MOST:
        return ~chosen
    company = np.convolve(calls.busy > 1, np.ones(_MOST), mode="valid")
    first = int(np.argmax(company))
    period = calls.period
    begin = int(np.searchsorted(period, period[first], side="left"))
    chosen[begin if first - begin < _MOST else first : first + _MOST] = True
    return chosen


def _error(spec: Serving, calls: Calls, judged: NDArray[np.bool_]) -> float:
    fresh = calls.input_tokens - calls.cached_tokens
    ttft_s, e2e_s = predict_serving(spec, calls.sent_s.tolist(), fresh.tolist(), calls.output_tokens.tolist())
    first = np.abs(ttft_s - calls.ttft_s)[judged] / calls.ttft_s[judged]
    whole = np.abs(e2e_s - calls.e2e_s)[judged] / calls.e2e_s[judged]
    return float(np.median(first) + np.median(whole)) / 2
