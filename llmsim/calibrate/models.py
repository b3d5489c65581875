"""Ways to predict what a call to an upstream takes, each fitted to some calls and held against others.

``line``: a time to first token that grows with the prompt, and a pace; whatever else is going on. ``queue``: the same,
behind a line of calls that wait for one of so many workers, which have nothing else in common
(`llmsim.calibrate.queueing`). ``load``: the same as a line, times a factor for how many calls are under way.
``serving``: the steps of an engine that prompts and answers share (`llmsim.calibrate.serving`). Which of them is right
for a server is for held-out calls to say, not for us.

All predict from what a caller knows at the time of sending: when, how long the prompt is, and how long the answer will
be. How long the calls took in truth is not among it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.company import in_company, predict_calls
from llmsim.calibrate.queueing import Workers, waited, waits, workers_of
from llmsim.calibrate.serving import Measured, fit_serving
from llmsim.errors import LlmsimError
from llmsim.providers.sim.serving_spec import Serving
from llmsim.units import counted

__all__ = [
    "FEWEST",
    "FEWEST_ALONE",
    "MODELS",
    "Line",
    "Loaded",
    "Model",
    "Predicted",
    "Prediction",
    "Queued",
    "Served",
    "fit_alone",
    "fit_line",
    "line_model",
    "load_model",
    "own_calls",
    "queue_model",
    "serving_model",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Fewer calls do not determine a line with a spread around it (chosen; the recorded example has 15).
FEWEST = 15
#: Fewer calls that had the server for themselves do not determine an engine (chosen).
FEWEST_ALONE = 10
#: So many calls that did not wait make those that did superfluous: where a network lies between, the moments at which
#: they got a worker are known to within the way there and back only (chosen).
_FEWEST_AT_ONCE = 40
_MOST_PAIRS = 200_000  #: for the median of slopes; more calls are thinned out evenly
_GROUPS = 5  #: of calls by how busy it was


class Predicted(NamedTuple):
    """What calls should take; shape ``(calls,)`` each."""

    ttft_s: Floats
    e2e_s: Floats


Prediction = Callable[[Calls], Predicted]
#: Fitted to those of the calls that a mask names, in the company of all of them; slots of the engine, if known.
Model = Callable[[Calls, Bools, "int | None"], Prediction]


@dataclass(frozen=True)
class Line:
    """``ttft = base_s + token_s · input tokens``, then `gap_s` for each further token."""

    base_s: float
    token_s: float
    gap_s: float

    def __call__(self, calls: Calls) -> Predicted:
        fresh = calls.input_tokens - calls.cached_tokens
        ttft_s = np.maximum(self.base_s + self.token_s * fresh, 1e-6)
        return Predicted(ttft_s, ttft_s + self.gap_s * np.maximum(calls.output_tokens - 1, 0))


def fit_line(calls: Calls) -> Line:
    """The line through calls, by Theil and Sen: the median of the slopes between pairs of different prompt lengths.

    A slope that is not above zero (the prompts are too alike, or too short to matter) is 0, and so is a gap where no
    answer was streamed. A line does not begin below zero: then its slope is the median of time per token.

    Raises
    ------
    LlmsimError
        There are fewer than `FEWEST_ALONE` answered calls.
    """
    calls = calls.only(calls.ok)
    n = len(calls.sent_s)
    if n < FEWEST_ALONE:
        raise LlmsimError(f"{n} answered calls are too few to fit {calls.upstream} to; it takes {FEWEST_ALONE}")
    fresh = (calls.input_tokens - calls.cached_tokens).astype(np.float64)
    thin = slice(None, None, max(1, round(n / np.sqrt(2 * _MOST_PAIRS))))
    x, y = fresh[thin], calls.ttft_s[thin]
    one, other = np.triu_indices(len(x), 1)
    apart = x[one] != x[other]
    slopes = (y[other] - y[one])[apart] / (x[other] - x[one])[apart]
    token_s = max(float(np.median(slopes)), 0.0) if len(slopes) else 0.0
    base_s = float(np.median(calls.ttft_s - token_s * fresh))
    if base_s < 0:
        base_s, token_s = 0.0, float(np.median(calls.ttft_s / np.maximum(fresh, 1)))
    gaps = calls.gap_s[np.isfinite(calls.gap_s)]
    gap_s = float(np.median(gaps)) if len(gaps) else 0.0
    return Line(base_s, token_s, gap_s)


def line_model(calls: Calls, train: Bools, slots: int | None = None) -> Line:
    """Fitted to all calls, whatever the load."""
    return fit_line(calls.only(train))


@dataclass(frozen=True)
class Queued:
    """Workers that take what a line says, and before them a queue, first come first served.

    Attributes
    ----------
    line
        Of a call that has its worker.
    workers
        How many there are.
    held
        Mean over what the line, of medians, says of how long a worker is held: waits are made of means.
    """

    line: Line
    workers: Workers
    held: float

    def __call__(self, calls: Calls) -> Predicted:
        own = self.line(calls)
        wait_s = waits(calls.sent_s, self.held * own.e2e_s, self.workers.number)
        return Predicted(wait_s + own.ttft_s, wait_s + own.e2e_s)


def queue_model(calls: Calls, train: Bools, slots: int | None = None) -> Queued:
    """The line of calls that did not wait, and as many workers as explain best how long the others did.

    Raises
    ------
    LlmsimError
        The number is not known, and too few calls waited to tell it.
    """
    which = calls.ok & train

    def own_s(part: Calls, known: Bools, wait_s: Floats) -> Floats:
        return fit_line(own_calls(part, known, wait_s))(part).ttft_s

    workers = workers_of(calls, which, own_s) if slots is None else Workers(slots, slots, slots)
    wait_s = waited(calls, workers.number)
    line = fit_line(own_calls(calls, which, wait_s))
    held = float(np.sum((calls.e2e_s - wait_s)[which]) / np.sum(line(calls.only(which)).e2e_s))
    return Queued(line, workers, held)


def own_calls(calls: Calls, known: Bools, wait_s: Floats) -> Calls:
    """Calls as their workers saw them: those that got one at once; where these are few, all, without their waits."""
    at_once = known & (wait_s == 0)
    if at_once.sum() >= _FEWEST_AT_ONCE:
        return calls.only(at_once)
    own = calls._replace(ttft_s=np.maximum(calls.ttft_s - wait_s, 1e-6), e2e_s=calls.e2e_s - wait_s)
    return own.only(known)


@dataclass(frozen=True)
class Loaded:
    """A line times factors that depend on how many calls are under way when one is sent.

    Attributes
    ----------
    line
        Of a server that has nothing else to do.
    busy
        Numbers of calls under way, this one included, rising; factors between them lie on straight lines.
    ttft, gap
        Factors there.
    """

    line: Line
    busy: tuple[float, ...]
    ttft: tuple[float, ...]
    gap: tuple[float, ...]

    def __call__(self, calls: Calls) -> Predicted:
        alone = self.line(calls)
        most = len(calls.sent_s) + 1
        by_ttft = np.interp(np.arange(most), self.busy, self.ttft).tolist()
        by_gap = np.interp(np.arange(most), self.busy, self.gap).tolist()
        firsts, totals, ends = [], [], list[float]()
        rests = (alone.e2e_s - alone.ttft_s).tolist()
        for sent_s, first_s, rest_s in zip(calls.sent_s.tolist(), alone.ttft_s.tolist(), rests, strict=True):
            while ends and ends[0] <= sent_s:
                heappop(ends)
            busy = len(ends) + 1
            firsts.append(first_s * by_ttft[busy])
            totals.append(firsts[-1] + rest_s * by_gap[busy])
            heappush(ends, sent_s + totals[-1])
        return Predicted(np.array(firsts), np.array(totals))


def load_model(calls: Calls, train: Bools, slots: int | None = None) -> Loaded:
    """The line of the least busy calls, and median factors in groups of equal size by how busy it was.

    Raises
    ------
    LlmsimError
        It was always as busy.
    """
    which = calls.ok & train
    busy, mine = calls.busy[which], calls.only(which)
    quiet = busy <= np.quantile(busy, 0.25)
    if quiet.all() or quiet.sum() < FEWEST_ALONE:
        raise LlmsimError("all calls met the same load, or too few met a light one: what load does cannot be told")
    line = fit_line(mine.only(quiet))
    first_s = line(mine).ttft_s
    gaps = mine.gap_s / line.gap_s if line.gap_s else np.full(len(mine.sent_s), np.nan)
    edges = np.unique(np.quantile(busy[~quiet], np.linspace(0, 1, _GROUPS)))
    groups = np.where(quiet, 0, 1 + np.clip(np.searchsorted(edges, busy, side="right") - 1, 0, max(len(edges) - 2, 0)))
    points = []
    for group in np.unique(groups):
        here = groups == group
        gap = gaps[here][np.isfinite(gaps[here])]
        slower = float(np.median(mine.ttft_s[here] / first_s[here]))
        points.append((float(np.mean(busy[here])), slower, float(np.median(gap)) if len(gap) else 1.0))
    at, ttft, gap_factors = zip(*points, strict=True)
    return Loaded(line, at, ttft, gap_factors)


@dataclass(frozen=True)
class Served:
    """A serving engine, which sees all calls: those under way decide how long another takes."""

    spec: Serving

    def __call__(self, calls: Calls) -> Predicted:
        return Predicted(*predict_calls(self.spec, calls))


def serving_model(calls: Calls, train: Bools, slots: int | None = None) -> Served:
    """Fitted to the calls that had the server for themselves; slots and batching to those that did not.

    Raises
    ------
    LlmsimError
        Too few of either, or their lengths do not determine the engine.
    """
    spec = fit_alone(calls.only(calls.alone & train & calls.ok))
    return Served(in_company(spec, calls, train & calls.ok, slots))


def fit_alone(alone: Calls) -> Serving:
    """The steps of an engine, as calls without company tell them.

    Raises
    ------
    LlmsimError
        Too few, or their lengths do not determine the engine.
    """
    n = len(alone.sent_s)
    if n < FEWEST_ALONE:
        raise LlmsimError(
            f"only {counted(n, 'call')} had the server for themselves; an engine's steps take {FEWEST_ALONE}"
        )
    fresh = alone.input_tokens - alone.cached_tokens
    thin = range(0, n, max(1, round(n / np.sqrt(2 * _MOST_PAIRS))))
    rows = [
        Measured(
            float(alone.sent_s[row]),
            int(fresh[row]),
            int(alone.output_tokens[row]),
            float(alone.ttft_s[row]),
            float(alone.e2e_s[row]),
            int(alone.cached_tokens[row]),
        )
        for row in thin
    ]
    return fit_serving(rows)


#: From the simplest on: of two that are about as good, the one that stands first is taken.
MODELS: dict[str, Model] = {
    "line": line_model,
    "queue": queue_model,
    "load": load_model,
    "serving": serving_model,
}
