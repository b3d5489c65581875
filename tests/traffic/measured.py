"""Arrival times of a scenario's traffic, and the statistics that papers tell of traces."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import llmsim
from llmsim.distributions import Exponential, Lognormal
from llmsim.luck import Luck
from llmsim.traffic.arrivals import Arrivals
from llmsim.traffic.burstiness import Burstiness, Drift, Gaps, OnOff
from llmsim.traffic.shape import RateShape
from llmsim.traffic.spec import Traffic

#: As the docstring of `Drift` has it, and as `llmsim trace describe` suggests.
AZURE_CONVERSATION = Traffic(
    base_rate=5.53, arrivals=Burstiness(drift=Drift(cv=0.25, memory=600.0), gamma=Gaps(cv=1.04))
)

#: As the docstring of `OnOff` has it.
AZURE_CODE = Traffic(
    base_rate=2.57,
    arrivals=Burstiness(
        on_off=OnOff(burst=Lognormal(15.5, 41.9), pause=Exponential(43.0), spread=0.6), gamma=Gaps(cv=2.2)
    ),
)


def times_of(traffic, until_s, seed=1, shape=None):
    """Arrivals of an endless source up to `until_s`, shape ``(n,)``."""
    blocks = []
    for block in Arrivals(traffic, shape or RateShape.of(traffic, 0.0), Luck(seed)):
        blocks.append(block)
        if block and block[-1] > until_s:
            break
    times = np.concatenate(blocks) if blocks else np.zeros(0)
    return times[times <= until_s]


def statistics(times, span_s=3600.0):
    """What is told of traces. Written here a second time, as an oracle for the package's own."""
    gaps = np.diff(times)
    found = {"rate": len(times) / span_s, "cv": gaps.std() / gaps.mean()}
    for window in (1, 10, 60):
        counts = np.bincount((times / window).astype(int), minlength=int(span_s // window))
        found[f"idc_{window}"] = counts.var() / counts.mean()
    found["peak_to_mean"] = counts.max() / counts.mean()
    found["autocorrelation"] = np.corrcoef(counts[1:], counts[:-1])[0, 1]
    return found


def hourly(traffic, hours, seed=1):
    """The statistics of every hour of a long run: name to an array of shape ``(hours,)``."""
    times = times_of(traffic, hours * 3600.0, seed)
    edges = np.searchsorted(times, np.arange(hours + 1) * 3600.0)
    told = [statistics(times[a:b] - 3600.0 * hour) for hour, (a, b) in enumerate(pairwise(edges))]
    return {name: np.array([one[name] for one in told]) for name in told[0]}


def data(name):
    """A file of the shared data, or a skip that says why."""
    path = Path(llmsim.__file__).parents[2] / "shared" / "data" / name
    if not path.exists():
        pytest.skip(f"{name} is not beside this checkout (shared/data)")
    return path
