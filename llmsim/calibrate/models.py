"""Ways to predict what a call to an upstream takes, each fitted to some calls and held against others.

``line``: a time to first token that grows with the prompt, and a pace; whatever else is going on. ``load``: the same,
times a factor for how many calls are under way. ``serving``: the steps of an engine that prompts and answers share
(`llmsim.calibrate.serving`). Which of them is right for a server is for held-out calls to say, not for us.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.serving import Measured, fit_serving, predict_serving
from llmsim.errors import LlmsimError
from llmsim.providers.sim.serving_spec import Serving

__all__ = ["MODELS", "Line", "Predicted", "Prediction", "fit_line", "line_model", "load_model", "serving_model"]

Floats = NDArray[np.float64]

#: Fewer calls do not determine a line with a spread around it (chosen).
FEWEST = 20
_MOST_PAIRS = 200_000  #: for the median of slopes; more calls are thinned out evenly


class Predicted(NamedTuple):
    """What calls should take; shape ``(calls,)`` each."""

    ttft_s: Floats
    e2e_s: Floats


Prediction = Callable[[Calls], Predicted]


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
    answer was streamed.

    Raises
    ------
    LlmsimError
        There are fewer than `FEWEST` answered calls.
    """
    calls = calls.only(calls.ok)
    n = len(calls.sent_s)
    if n < FEWEST:
        raise LlmsimError(f"{n} answered calls are too few to fit {calls.upstream} to; it takes {FEWEST}")
    fresh = (calls.input_tokens - calls.cached_tokens).astype(np.float64)
    thin = slice(None, None, max(1, round(n / np.sqrt(2 * _MOST_PAIRS))))
    x, y = fresh[thin], calls.ttft_s[thin]
    one, other = np.triu_indices(len(x), 1)
    apart = x[one] != x[other]
    slopes = (y[other] - y[one])[apart] / (x[other] - x[one])[apart]
    token_s = max(float(np.median(slopes)), 0.0) if len(slopes) else 0.0
    gaps = calls.gap_s[np.isfinite(calls.gap_s)]
    gap_s = float(np.median(gaps)) if len(gaps) else 0.0
    return Line(float(np.median(calls.ttft_s - token_s * fresh)), token_s, gap_s)


def line_model(train: Calls) -> Line:
    """Fitted to all calls, whatever the load."""
    return fit_line(train)


@dataclass(frozen=True)
class Loaded:
    """A line times factors that depend on how many calls are under way.

    Attributes
    ----------
    line
        Of a server that has nothing else to do.
    busy
        Numbers of calls under way, rising; factors between them lie on straight lines.
    ttft, gap
        Factors there.
    """

    line: Line
    busy: tuple[float, ...]
    ttft: tuple[float, ...]
    gap: tuple[float, ...]

    def __call__(self, calls: Calls) -> Predicted:
        alone, busy = self.line(calls), calls.busy
        ttft_s = alone.ttft_s * np.interp(busy, self.busy, self.ttft)
        rest_s = (alone.e2e_s - alone.ttft_s) * np.interp(busy, self.busy, self.gap)
        return Predicted(ttft_s, ttft_s + rest_s)


def load_model(train: Calls) -> Loaded:
    """The line of the least busy calls, and median factors in groups of equal size by how busy it was.

    Raises
    ------
    LlmsimError
        It was always as busy.
    """
    ok = train.ok
    train_busy = train.busy[ok]
    calls = train.only(ok)
    quiet = train_busy <= max(np.quantile(train_busy, 0.25), train_busy.min())
    if quiet.all() or quiet.sum() < FEWEST:
        raise LlmsimError("all calls met the same load, or too few met a light one: the load cannot be told")
    line = fit_line(calls.only(quiet))
    alone = line(calls)
    edges = np.unique(np.quantile(train_busy, np.linspace(0, 1, 6)))
    groups = np.clip(np.searchsorted(edges, train_busy, side="right") - 1, 0, len(edges) - 2)
    gaps = calls.gap_s / line.gap_s if line.gap_s else np.full(len(calls.sent_s), np.nan)
    points = []
    for group in range(len(edges) - 1):
        here = groups == group
        if here.any():
            gap = gaps[here][np.isfinite(gaps[here])]
            points.append((
                float(np.mean(train_busy[here])),
                float(np.median(calls.ttft_s[here] / alone.ttft_s[here])),
                float(np.median(gap)) if len(gap) else 1.0,
            ))  # fmt: skip
    busy, ttft, gap = zip(*sorted({point[0]: point for point in points}.values()), strict=True)
    return Loaded(line, busy, ttft, gap)


@dataclass(frozen=True)
class Served:
    """A serving engine, which sees all calls: those under way decide how long another takes."""

    spec: Serving

    def __call__(self, calls: Calls) -> Predicted:
        fresh = calls.input_tokens - calls.cached_tokens
        # Where the next call waited for the end of this one (a probe, a closed loop), a prediction that is a little too
        # long would run into it, and the next into the one after that: such calls are predicted on their own.
        alone = calls.alone
        later_s = np.max(calls.sent_s, initial=0.0) + 1e6 * np.arange(1, len(calls.sent_s) + 1)
        sent_s = np.where(alone, later_s, calls.sent_s)
        return Predicted(*predict_serving(self.spec, sent_s.tolist(), fresh.tolist(), calls.output_tokens.tolist()))


def serving_model(train: Calls, *, slots: int = 4) -> Served:
    """Fitted to the calls that had the server for themselves.

    Raises
    ------
    LlmsimError
        Too few of them, or their lengths do not determine the engine.
    """
    alone = train.only(train.alone & train.ok)
    if len(alone.sent_s) < 10:
        raise LlmsimError(f"only {len(alone.sent_s)} calls had the server for themselves; it takes 10 for its steps")
    rows = [
        Measured(
            float(alone.sent_s[n]),
            int(alone.input_tokens[n] - alone.cached_tokens[n]),
            int(alone.output_tokens[n]),
            float(alone.ttft_s[n]),
            float(alone.e2e_s[n]),
        )
        for n in range(len(alone.sent_s))
    ]
    return Served(fit_serving(rows, slots=slots))


MODELS: dict[str, Callable[[Calls], Prediction]] = {"line": line_model, "load": load_model, "serving": serving_model}
