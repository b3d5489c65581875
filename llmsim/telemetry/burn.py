"""How fast an error budget is used up: the multi-window burn rate of the SRE workbook, as one number a run.

A service that promises 99.9 % may fail 0.1 % of its requests; it burns its budget at rate 1 when it fails just that
many. An alert goes off when the rate over a long window *and* over a short one (it is still going on) is above a
bound; so what is measured here is the largest, over the run, of the lower of the two. Windows end at every arrival, or
with the time, if that is the first moment at which a long one is whole.
(Beyer et al., The Site Reliability Workbook, chapter 5: 14.4 over 1 h and 5 min uses 2 % of a month's budget.)
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from llmsim.telemetry.parts import Burn
from llmsim.telemetry.sample import Sample

__all__ = ["worst_burn"]

Floats = NDArray[np.float64]
_ROUNDING_S = 1e-9  # of a stretch that is as long as the window: both are sums of floats


def worst_burn(sample: Sample, burn: Burn) -> float:
    """The worst burn rate of a sample of requests; NaN without requests, or in less time than the long window.

    Examples
    --------
    >>> import polars as pl
    >>> outcome = ["ok"] * 90 + ["server_error"] * 10
    >>> rows = pl.DataFrame({"arrival_s": [float(n) for n in range(100)], "outcome": outcome})
    >>> round(worst_burn(Sample(rows, pl.DataFrame(), 100.0), Burn(0.99, 50.0, 10.0)), 6)
    20.0
    """
    # A window lies within one stretch of time: two faults a minute apart are not one outage.
    stretches = [sample] if len(sample.spans) == 1 else [sample.between(*span) for span in sample.spans]
    told = [rate for rate in (_worst_of(stretch, burn) for stretch in stretches) if not math.isnan(rate)]
    return max(told) if told else math.nan


def _worst_of(sample: Sample, burn: Burn) -> float:
    requests = sample.columns("arrival_s", "outcome")
    if requests.is_empty() or sample.duration_s < burn.long_s - _ROUNDING_S:
        return math.nan
    arrivals = requests["arrival_s"].to_numpy().astype(np.float64)
    failed = (requests["outcome"] != "ok").to_numpy().astype(np.float64)
    order = np.argsort(arrivals, kind="stable")
    arrivals, failed = arrivals[order], failed[order]
    rates = np.minimum(_rates(arrivals, failed, burn.long_s), _rates(arrivals, failed, burn.short_s))
    full = arrivals >= sample.start_s + burn.long_s - _ROUNDING_S
    if full.any():
        return float(rates[full].max()) / (1 - burn.promised)
    # Nobody came once a long window was over, as where it is as long as all the time: the one that ends with the time.
    inside = [arrivals >= sample.end_s - length_s - _ROUNDING_S for length_s in (burn.long_s, burn.short_s)]
    at_end = [float(failed[part].mean()) if part.any() else 0.0 for part in inside]
    return min(at_end) / (1 - burn.promised)


def _rates(arrivals: Floats, failed: Floats, window_s: float) -> Floats:
    """Share of failures in the window that ends with each arrival."""
    until = np.concatenate([[0.0], np.cumsum(failed)])
    first = np.searchsorted(arrivals, arrivals - window_s, side="right")
    last = np.searchsorted(arrivals, arrivals, side="right")
    return np.asarray((until[last] - until[first]) / (last - first), dtype=np.float64)
