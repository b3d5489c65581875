"""A provider's words out of calls that were made to it: which model fits, how well, and how sure the figures are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.choice import choose
from llmsim.calibrate.fit import table_of
from llmsim.calibrate.models import FEWEST, MODELS, Line, Loaded, Prediction, Served, fit_line
from llmsim.distributions import Distribution, values_of
from llmsim.errors import LlmsimError
from llmsim.luck import Luck

__all__ = ["Candidate", "Fitted", "fit_upstream"]

Floats = NDArray[np.float64]

_FOLDS = 5
_RESAMPLES = 200  #: of calls, for the intervals of figures
_FEWEST_FOR_FAMILY = 40  #: with fewer calls the seen values themselves are the distribution
#: A model with more to it has to be better by so much to be taken: a line is easier to believe (chosen).
_BETTER_BY = 0.9


class Candidate(NamedTuple):
    """A model, and how far its predictions of calls it had not seen were off."""

    name: str
    ttft: float  #: median absolute error, share of what was measured
    e2e: float
    why_not: str = ""  #: it cannot be fitted, and why

    @property
    def error(self) -> float:
        """Of both."""
        return (self.ttft + self.e2e) / 2


@dataclass(frozen=True)
class Fitted:
    """What was found out about an upstream.

    Attributes
    ----------
    upstream, model
        Whose calls they were.
    calls, answered
        How many were made, and answered in full.
    candidates
        Every model with its error on held-out calls, best first.
    chosen
        Name of the one that is used.
    words
        The provider as a scenario writes it: SI numbers.
    intervals
        95 % intervals of some of these figures, by name.
    notes
        What a person should know.
    """

    upstream: str
    model: str
    calls: int
    answered: int
    candidates: tuple[Candidate, ...]
    chosen: str
    words: Mapping[str, Any]
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def fit_upstream(calls: Calls, *, seed: int = 0, slots: int = 4) -> Fitted:
    """Fit every model, choose by held-out calls, and say it in a provider's words.

    Parameters
    ----------
    calls
        At least 20 that were answered.
    seed
        Decides which calls are held out when, and the resampling.
    slots
        Of a self-hosted engine: how it was started.

    Raises
    ------
    LlmsimError
        There are too few calls.
    """
    luck = Luck(seed)
    answered = int(calls.ok.sum())
    if answered < FEWEST:
        raise LlmsimError(f"{answered} answered calls are too few to fit {calls.upstream} to; it takes {FEWEST}")
    candidates = sorted((_held_out(calls, name, luck) for name in MODELS), key=_order)
    chosen = _choice(candidates)
    found = MODELS[chosen](calls)
    notes = [f"{one.name}: {one.why_not}" for one in candidates if one.why_not]
    words = {"model": calls.model, **_timing(calls, found, luck), **_failures(calls)}
    return Fitted(
        calls.upstream,
        calls.model,
        len(calls.sent_s),
        answered,
        tuple(candidates),
        chosen,
        words,
        _intervals(calls, luck),
        tuple(notes),
    )


def _order(one: Candidate) -> tuple[bool, float]:
    return (bool(one.why_not), one.error)


def _choice(candidates: list[Candidate]) -> str:
    """The best one, unless a simpler one is about as good."""
    by_name = {one.name: one for one in candidates if not one.why_not}
    chosen = "line"
    for name in MODELS:
        if name in by_name and by_name[name].error < _BETTER_BY * by_name[chosen].error:
            chosen = name
    return chosen


def _held_out(calls: Calls, name: str, luck: Luck) -> Candidate:
    """Cross-validation: each fifth of the calls is predicted by a fit to the others, with all of them on their way."""
    folds = np.argsort(luck.series("folds").array(0, len(calls.sent_s)), kind="stable") % _FOLDS
    ok = calls.ok
    errors: list[tuple[Floats, Floats]] = []
    for fold in range(_FOLDS):
        judged = (folds == fold) & ok
        if not judged.any():
            continue
        try:
            predicted = _model(calls, folds != fold, name)(calls)
        except LlmsimError as error:
            return Candidate(name, math.nan, math.nan, str(error))
        errors.append((
            np.abs(predicted.ttft_s - calls.ttft_s)[judged] / calls.ttft_s[judged],
            np.abs(predicted.e2e_s - calls.e2e_s)[judged] / calls.e2e_s[judged],
        ))  # fmt: skip
    ttft, e2e = (np.concatenate(part) for part in zip(*errors, strict=True))
    return Candidate(name, float(np.median(ttft)), float(np.median(e2e)))


def _model(calls: Calls, train: NDArray[np.bool_], name: str) -> Prediction:
    """Fitted to some of the calls; how busy the server was is known of all."""
    if name != "serving":
        return MODELS[name](calls.only(train))
    # Whether a call was alone is told by all of the others: those held out may not be taken away before.
    return MODELS[name](calls.only(calls.alone & train))


def _timing(calls: Calls, found: Prediction, luck: Luck) -> dict[str, Any]:
    if isinstance(found, Served):
        spec = found.spec
        return {
            "serving": {
                "slots": spec.slots,
                "prefill_step": spec.prefill_step,
                "prefill_token": spec.prefill_token,
                "decode_sequence": spec.decode_sequence,
                "batch_tokens": spec.batch_tokens,
            }
        }
    line = found.line if isinstance(found, Loaded) else found
    assert isinstance(line, Line)
    answered = calls.only(calls.ok)
    fresh = answered.input_tokens - answered.cached_tokens
    base_s = answered.ttft_s - line.token_s * fresh
    words: dict[str, Any] = {"ttft": values_of(_spread(base_s, luck)), "inter_token": line.gap_s}
    if line.token_s:
        words["prefill"] = {"per_1k": 1000 * line.token_s}
    paces = answered.gap_s[np.isfinite(answered.gap_s)] / line.gap_s if line.gap_s else np.empty(0)
    if len(paces) >= FEWEST:
        words["pace"] = values_of(_spread(paces, luck))
    return words


def _spread(values: Floats, luck: Luck) -> Distribution:
    """A family that fits, or the values seen where there are few or none does."""
    positive = np.maximum(values, float(np.median(values)) * 1e-3)  # a base time below zero is noise of the slope
    return choose(positive, luck).used.distribution if len(positive) >= _FEWEST_FOR_FAMILY else table_of(positive)


def _failures(calls: Calls) -> dict[str, Any]:
    """Shares of calls that failed, by kind, where a provider has a word for it."""
    known = {"server_error", "overloaded", "rate_limited", "connection_failed"}
    n = len(calls.outcome)
    shares = {word: calls.outcome.count(word) / n for word in sorted(known & set(calls.outcome))}
    server = shares.get("server_error", 0.0)
    return {"errors": {"server_error": server}} if server else {}


def _intervals(calls: Calls, luck: Luck) -> dict[str, tuple[float, float]]:
    """Of the line's figures, from resampled calls."""
    answered = calls.only(calls.ok)
    n = len(answered.sent_s)
    found: list[Line] = []
    for number in range(_RESAMPLES):
        chosen = np.sort((luck.series("resample", number).array(0, n) * n).astype(np.int64))
        part = Calls(answered.upstream, answered.model, *(np.asarray(value)[chosen] for value in answered[2:]))  # type: ignore[arg-type]
        found.append(fit_line(part))
    return {
        name: tuple(np.quantile([getattr(one, name) for one in found], [0.025, 0.975]).tolist())
        for name in ("base_s", "token_s", "gap_s")
    }
