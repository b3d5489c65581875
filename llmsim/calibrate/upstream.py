"""A provider's words out of calls that were made to it: which model fits, how well, and how sure the figures are."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.models import (
    FEWEST,
    MODELS,
    Loaded,
    Prediction,
    Queued,
    Served,
    fit_alone,
    fit_line,
    own_calls,
)
from llmsim.calibrate.network import Network, network_of, without_network
from llmsim.calibrate.queueing import waited
from llmsim.calibrate.spread import Word
from llmsim.calibrate.words import words_of
from llmsim.errors import LlmsimError
from llmsim.luck import Luck
from llmsim.report.figures import share
from llmsim.report.reality.distances import Apart, ks_band, ks_distance, per_request
from llmsim.units import counted

__all__ = ["Candidate", "Fitted", "HeldOut", "fit_upstream"]

Floats = NDArray[np.float64]

_FOLDS = 5
_LEAST_MOVED = 1e-3  #: by which halves of calls must differ to be spoken of (chosen: clocks tell milliseconds)
_MOST_PACE = math.log(100.0)  #: a server that is slower or faster than predicted by more is another one (chosen)
_HALVINGS = 16  #: of that range: to within 0.02 %
_RESAMPLES = 200  #: of calls, for the intervals of figures
#: A model with more to it has to be better by so much to be taken: a line is easier to believe (chosen).
_BETTER_BY = 0.9


class HeldOut(NamedTuple):
    """Calls, each predicted by a fit that had not seen it; seconds, shape ``(calls,)`` each."""

    ttft_s: Floats
    e2e_s: Floats
    predicted_ttft_s: Floats
    predicted_e2e_s: Floats

    @property
    def ttft(self) -> Apart:
        """How far the times to first token are off."""
        return per_request(self.predicted_ttft_s, self.ttft_s)

    @property
    def e2e(self) -> Apart:
        """How far the times to the end are off."""
        return per_request(self.predicted_e2e_s, self.e2e_s)

    @property
    def ks(self) -> tuple[float, float, float]:
        """KS distances of TTFT and of times to the end, and what two samples of one law stay below (95 %)."""
        return (
            ks_distance(self.predicted_ttft_s, self.ttft_s),
            ks_distance(self.predicted_e2e_s, self.e2e_s),
            ks_band(len(self.ttft_s), len(self.ttft_s)),
        )


class Candidate(NamedTuple):
    """A model, and how far its predictions of calls it had not seen were off."""

    name: str
    held_out: HeldOut | None  #: None: it cannot be fitted …
    why_not: str = ""  #: … for this reason

    @property
    def error(self) -> float:
        """Median absolute error of TTFT and of the time to the end, as shares: the mean of both."""
        if self.held_out is None:
            return math.inf
        return (self.held_out.ttft.mdape + self.held_out.e2e.mdape) / 2


@dataclass(frozen=True, repr=False)
class Fitted:
    """What was found out about an upstream; shows itself as tables.

    Attributes
    ----------
    upstream, model
        Whose calls they were.
    calls
        That were made; in seconds from the first.
    candidates
        Every model with its error on held-out calls, best first.
    chosen
        Name of the one that is used.
    prediction
        It, fitted to all calls.
    words
        The provider as a scenario writes it, and where the figures come from.
    missing
        Words about which the calls say nothing, and why.
    intervals
        95 % intervals of the model's figures in seconds, by name.
    notes
        What a person should know.
    seed
        It decided which calls were held out when.
    """

    upstream: str
    model: str
    calls: Calls
    candidates: tuple[Candidate, ...]
    chosen: str
    prediction: Prediction
    words: Mapping[str, Word]
    missing: Mapping[str, str]
    intervals: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]
    seed: int

    @property
    def held_out(self) -> HeldOut:
        """Of the chosen model."""
        found = next(one.held_out for one in self.candidates if one.name == self.chosen)
        assert found is not None
        return found

    @property
    def timed(self) -> Calls:
        """Those that the models were fitted to: answered, and streamed."""
        return self.calls.only(self.calls.ok & ~self.calls.whole)

    @property
    def settings(self) -> dict[str, Any]:
        """The provider as a scenario writes it: SI numbers."""
        return {key: word.value for key, word in self.words.items()}

    def __repr__(self) -> str:
        from llmsim.calibrate.fit_text import fit_text

        return fit_text(self)

    def _repr_html_(self) -> str:
        from llmsim.calibrate.fit_text import fit_grids

        return "".join(grid._repr_html_() for grid in fit_grids(self))

    def _repr_markdown_(self) -> str:
        from llmsim.calibrate.fit_text import fit_grids

        return "\n".join(grid._repr_markdown_() for grid in fit_grids(self))


def fit_upstream(
    calls: Calls, *, seed: int = 0, slots: int | None = None, progress: Callable[[str, int, int], object] | None = None
) -> Fitted:
    """Fit every model, choose by held-out calls, and say it in a provider's words.

    Parameters
    ----------
    calls
        At least 15 that were answered and streamed.
    seed
        Decides which calls are held out when, and the resampling.
    slots
        Of a self-hosted engine: how it was started. Says besides that it is one: then its steps are believed unless
        something simpler is clearly better.
    progress
        Told ``(what, done, total)``.

    Raises
    ------
    LlmsimError
        There are too few calls.
    """
    luck = Luck(seed)
    timed = calls.only(calls.ok & ~calls.whole)
    n = len(timed.sent_s)
    if n < FEWEST:
        raise LlmsimError(_too_few(calls, n))
    found = []
    for number, name in enumerate(MODELS):
        if progress is not None:
            progress("fitting models", number, len(MODELS))
        found.append(_held_out(timed, name, luck, slots))
    candidates = sorted(found, key=lambda one: one.error)
    chosen = _choice(candidates, engine=slots is not None)
    held_out = next(one.held_out for one in candidates if one.name == chosen)
    everything = np.ones(n, dtype=np.bool_)
    prediction = MODELS[chosen](timed, everything, slots)
    # The models predict what a caller sees; a provider's words know the network apart.
    network = network_of(calls, luck)
    inner = without_network(timed, network)
    served = prediction if network.word is None else MODELS[chosen](inner, everything, slots)
    words, missing = words_of(calls, served, network, luck)
    return Fitted(
        calls.upstream,
        calls.model,
        calls,
        tuple(candidates),
        chosen,
        prediction,
        words,
        missing,
        _intervals(inner, served, network, luck),
        (*_notes(calls, candidates), _steadiness(timed, held_out, prediction, luck)),
        seed,
    )


def _too_few(calls: Calls, n: int) -> str:
    whole, failed = int(calls.whole.sum()), len(calls.sent_s) - int(calls.ok.sum())
    told = f"{n} answered calls are too few to fit {calls.upstream} to; it takes {FEWEST}"
    if whole:
        told += f". {whole} more came all at once: without streaming, nobody knows their time to first token"
    return f"{told}. {failed} failed" if failed else told


def _choice(candidates: list[Candidate], *, engine: bool) -> str:
    """The best one, unless a simpler one is about as good."""
    errors = {one.name: one.error for one in candidates if one.held_out is not None}
    order = [name for name in MODELS if name in errors]
    if engine and "serving" in errors:
        order = ["serving", *(name for name in order if name != "serving")]
    chosen = order[0]
    for name in order:
        if errors[name] < _BETTER_BY * errors[chosen]:
            chosen = name
    return chosen


def _held_out(calls: Calls, name: str, luck: Luck, slots: int | None) -> Candidate:
    """Cross-validation: each fifth of the calls is predicted by a fit to the others, with all of them on their way."""
    folds = np.argsort(np.argsort(luck.series("folds").array(0, len(calls.sent_s)), kind="stable")) % _FOLDS
    spaced = calls.apart()
    ttft_s, e2e_s = np.empty(len(folds)), np.empty(len(folds))
    for fold in range(_FOLDS):
        judged = folds == fold
        try:
            predicted = MODELS[name](calls, ~judged, slots)(spaced)
        except LlmsimError as error:
            return Candidate(name, None, str(error))
        ttft_s[judged], e2e_s[judged] = predicted.ttft_s[judged], predicted.e2e_s[judged]
    return Candidate(name, HeldOut(calls.ttft_s, calls.e2e_s, ttft_s, e2e_s))


def _notes(calls: Calls, candidates: list[Candidate]) -> list[str]:
    notes = [f"{one.name} was not tried: {one.why_not}" for one in candidates if one.why_not]
    if calls.alone.all():
        notes.append("no two calls were under way at once: what load does to this provider is not known")
    whole = int(calls.whole.sum())
    if whole:
        told = "was left out: its" if whole == 1 else "were left out: their"
        notes.append(f"{counted(whole, 'answer')} came all at once and {told} time to first token is not known")
    gone = sum(word == "cancelled" for word in calls.outcome)
    if gone:
        one = ("was", "is", "it") if gone == 1 else ("were", "are", "them")
        notes.append(
            "{} {} cancelled and {} not counted, though the server was busy with {}".format(counted(gone, "call"), *one)
        )
    return notes


def _steadiness(calls: Calls, held_out: HeldOut | None, prediction: Prediction, luck: Luck) -> str:
    """Whether the server became slower or faster meanwhile: what the halves of the calls differ by, in time."""
    assert held_out is not None
    off = np.log(held_out.e2e_s / held_out.predicted_e2e_s)
    half = len(off) // 2

    def apart(values: Floats) -> float:
        return float(np.median(values[half:]) - np.median(values[:half]))

    orders = (np.argsort(luck.series("steadiness", number).array(0, len(off))) for number in range(_RESAMPLES))
    # Without what they differ by: of two humps a median is here or there by chance.
    alike = np.concatenate([part - np.median(part) for part in (off[:half], off[half:])])
    chance = math.expm1(float(np.quantile([abs(apart(alike[order])) for order in orders], 0.95)))
    least = max(chance, _LEAST_MOVED)
    steady = f"the later half of the calls took as long as the earlier one, to within the {share(least)} of chance"
    if abs(math.expm1(apart(off))) <= least:
        return steady
    # By one fit to all: with what is held out, fits to halves that differ much jump from one half to the other.
    later = np.arange(len(off)) >= half
    moved = _pace(calls, prediction, later) / _pace(calls, prediction, ~later) - 1
    if abs(moved) <= least:
        return steady
    word = "longer" if moved > 0 else "less"
    # As much either way, and not less than it was.
    apart_percent = math.ceil(round(100 * math.expm1(abs(math.log1p(moved))), 1))
    return (
        f"the later half of the calls took {share(abs(moved))} {word} than the earlier one (measured over predicted, "
        f"medians; chance: {share(chance)}). Two live runs may differ by as much: llmsim compare LAST THIS "
        f"--run-to-run {apart_percent}%"
    )


def _pace(calls: Calls, prediction: Prediction, which: NDArray[np.bool_]) -> float:
    """How many times slower than predicted the server was during these calls, in the company of all.

    A server that is so many times slower does in its own time what the predicted one does with arrivals that come so
    many times faster: waits that grow out of slowness are not taken for slowness once more.
    """
    spaced = calls.apart()

    def off(log_pace: float) -> float:
        pace = math.exp(log_pace)
        predicted = pace * prediction(spaced._replace(sent_s=spaced.sent_s / pace)).e2e_s
        return float(np.median(np.log(calls.e2e_s / predicted)[which]))

    low, high = -_MOST_PACE, _MOST_PACE
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if off(middle) > 0 else (low, middle)
    return math.exp((low + high) / 2)


def _intervals(timed: Calls, prediction: Prediction, network: Network, luck: Luck) -> dict[str, tuple[float, float]]:
    """Of the figures that the model was fitted to calls with, from resampling these."""
    figures: Callable[[Calls], dict[str, float]] = _line_figures
    basis = timed
    if isinstance(prediction, Served):
        basis, figures = timed.only(timed.alone), partial(_engine_figures, prediction)
    elif isinstance(prediction, Queued):
        basis = own_calls(timed, timed.ok, waited(timed, prediction.workers.number))
    elif isinstance(prediction, Loaded):
        basis = timed.only(timed.busy <= np.quantile(timed.busy, 0.25))
    n = len(basis.sent_s)
    found: list[dict[str, float]] = []
    for number in range(_RESAMPLES):
        rows = np.sort((luck.series("resample", number).array(0, n) * n).astype(np.int64))
        try:
            found.append(figures(basis.rows(rows)))
        except LlmsimError:  # one prompt length n times
            continue
    names = found[0] if found else {}
    ends = {name: tuple(np.quantile([one[name] for one in found], [0.025, 0.975]).tolist()) for name in names}
    return ends if network.interval is None else {**ends, "network": network.interval}


def _line_figures(calls: Calls) -> dict[str, float]:
    line = fit_line(calls)
    return {"ttft": line.base_s, "prefill.per_1k": 1000 * line.token_s, "inter_token": line.gap_s}


def _engine_figures(prediction: Served, calls: Calls) -> dict[str, float]:
    spec, whole = fit_alone(calls), prediction.spec
    share = whole.decode_sequence / (whole.decode_sequence + whole.decode_step)
    return {
        "serving.prefill_step": spec.prefill_step,
        "serving.prefill_token": spec.prefill_token,
        **({"serving.decode_step": (1 - share) * spec.decode_sequence} if share < 1 else {}),
        "serving.decode_sequence": share * spec.decode_sequence,
        **({"serving.decode_context": spec.decode_context} if whole.decode_context else {}),
    }
