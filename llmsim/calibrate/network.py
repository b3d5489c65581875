"""The way there and back: what is left of the time to first token, where the server says what it took itself."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from llmsim.calibrate.calls import Calls
from llmsim.calibrate.models import FEWEST_ALONE
from llmsim.calibrate.spread import Word, spread
from llmsim.luck import Luck
from llmsim.report.figures import figure
from llmsim.units import counted

__all__ = ["Network", "network_of", "without_network"]

_RESAMPLES = 200  #: for the interval of the median
_LEAST_S = 1e-5  #: clocks of servers tell milliseconds or less; a way that takes no time is none
#: Servers that say they took longer than their callers waited, in so large a share of calls, measure something else
#: (chosen).
_STRANGE = 0.1


class Network(NamedTuple):
    """The word, or why there is none."""

    word: Word | None
    why: str
    median_s: float = 0.0
    interval: tuple[float, float] | None = None  #: of the median, 95 %


def network_of(calls: Calls, luck: Luck) -> Network:
    """The way there and back, from answered calls that had the server for themselves.

    Those with company may have waited for a slot, which servers do not count (llama.cpp's ``prompt_ms``).
    """
    told = calls.only(calls.ok & ~calls.whole & np.isfinite(calls.server_s) & calls.alone)
    n = len(told.sent_s)
    if not n:
        return Network(None, f"a caller cannot tell it from the time to first token, which has it{_connecting(calls)}")
    if n < FEWEST_ALONE:
        return Network(
            None, f"only {counted(n, 'call')} had the server for themselves and say what it took; {FEWEST_ALONE} do"
        )
    rest_s = told.ttft_s - told.server_s
    below = float(np.mean(rest_s < -1e-3))
    if below > _STRANGE:
        return Network(
            None, f"the server says that it took longer than its caller waited in {100 * below:.0f} % of calls"
        )
    rest_s = np.maximum(rest_s, _LEAST_S)
    medians = [
        float(np.median(rest_s[(luck.series("network", number).array(0, n) * n).astype(np.int64)]))
        for number in range(_RESAMPLES)
    ]
    low, high = np.quantile(medians, [0.025, 0.975]).tolist()
    word = spread(rest_s, luck)
    note = "time to first token but for what the server says it took, of calls that had it for themselves"
    return Network(word._replace(note=f"{note}; {word.note}"), "", float(np.median(rest_s)), (low, high))


def without_network(calls: Calls, found: Network) -> Calls:
    """The same calls as the server sees them: the way is taken off, of each its own where it is known."""
    if found.word is None:
        return calls
    own_s = np.where(np.isfinite(calls.server_s) & calls.alone, calls.ttft_s - calls.server_s, math.nan)
    way_s = np.where(np.isfinite(own_s), np.maximum(own_s, 0.0), found.median_s)
    ttft_s = np.maximum(calls.ttft_s - way_s, 1e-6)
    return calls._replace(ttft_s=ttft_s, e2e_s=calls.e2e_s - (calls.ttft_s - ttft_s))


def _connecting(calls: Calls) -> str:
    """What new connections took: they cross the network too, once (http) or several times (https)."""
    took_s = calls.connect_s[calls.connect_s > 0]
    if not len(took_s):
        return ""
    return f"; a new connection took {figure(float(np.median(took_s)), 's')} (median of {len(took_s)})"
