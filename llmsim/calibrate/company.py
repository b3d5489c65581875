"""What only calls in company tell about a serving engine: how many it serves at once, and what batching gains."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.serving import predict_serving
from llmsim.errors import LlmsimError
from llmsim.providers.sim.serving_spec import Serving

__all__ = ["in_company", "predict_calls"]

_FEWEST = 8  #: calls in company; fewer do not tell one engine from another (chosen)
_MOST = 400  #: calls that are looked at: an engine is run over them for every candidate
#: Shares of a decode step that do not depend on how many sequences are in it, where slots are looked for.
_SHARES = (0.0, 0.25, 0.5, 0.75, 0.9)
#: As in `llmsim.calibrate.upstream`: what is less simple has to be better by so much (chosen).
_BETTER_BY = 0.9
#: Then, for these slots, the share in such steps, and around the best in such.
_STEP, _FINE_STEP = 0.1, 0.02
#: There is a share at all if errors are less with it by so many standard errors, from as many blocks of calls one
#: after the other: a machine is faster for a while and slower for a while, so neighbours are no independent witnesses.
_SURE, _BLOCKS = 2.0, 10


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
    part = calls.busiest(_MOST)
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
    return _with(spec, best.slots, _share(spec, best.slots, calls, judged))


def _share(spec: Serving, slots: int, calls: Calls, judged: NDArray[np.bool_]) -> float:
    """Of a decode step, what does not depend on how many sequences are in it: from times between first and last token.

    The least mean absolute error. The least median moves in jumps where there are a dozen calls: which of them is the
    middle one is chance. And the times to the first token would say more of what the machine did meanwhile.
    """
    judged = judged & (calls.output_tokens > 1)
    if judged.sum() < _FEWEST:
        return 0.0

    def errors(share: float) -> NDArray[np.float64]:
        ttft_s, e2e_s = predict_calls(_with(spec, slots, share), calls)
        true_s = (calls.e2e_s - calls.ttft_s)[judged]
        return np.asarray(np.abs((e2e_s - ttft_s)[judged] - true_s) / true_s)

    def error(share: float) -> float:
        return float(np.mean(errors(share)))

    coarse = min(np.arange(0.0, 1.0, _STEP).tolist(), key=error)
    fine = np.arange(max(coarse - _STEP, 0.0), min(coarse + _STEP, 0.98) + _FINE_STEP / 2, _FINE_STEP)
    best = float(min(fine.tolist(), key=error))
    gained = errors(0.0) - errors(best)
    blocks = [float(np.mean(block)) for block in np.array_split(gained, min(_BLOCKS, len(gained) // 2))]
    sure = np.mean(blocks) > _SURE * np.std(blocks, ddof=1) / np.sqrt(len(blocks))
    return best if sure else 0.0


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


def _error(spec: Serving, calls: Calls, judged: NDArray[np.bool_]) -> float:
    ttft_s, e2e_s = predict_calls(spec, calls)
    first = np.abs(ttft_s - calls.ttft_s)[judged] / calls.ttft_s[judged]
    whole = np.abs(e2e_s - calls.e2e_s)[judged] / calls.e2e_s[judged]
    return float(np.median(first) + np.median(whole)) / 2


def predict_calls(spec: Serving, calls: Calls) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """TTFT and total time of these calls by this engine, seconds, shape ``(calls,)`` each."""
    fresh, cached = calls.input_tokens - calls.cached_tokens, calls.cached_tokens
    return predict_serving(spec, calls.sent_s.tolist(), fresh.tolist(), calls.output_tokens.tolist(), cached.tolist())
