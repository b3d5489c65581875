"""Faults that grow and fade, for those who need steps, means or a shape instead of the strength at one moment."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from llmsim.providers.faults import Fault

__all__ = ["RAMP_STEPS", "course", "mean_strength", "outline", "steps"]

#: Steps of a ramp, for what cannot change continuously (slots, limits, prices, the speed of a serving engine). Each has
#: the strength of its middle, so it is off by a 2000th of the full one at most, and not at all on average over a step:
#: no percentile or mean over a window of a run can tell that from a line.
RAMP_STEPS = 1000


def steps(faults: Sequence[Fault], zero_s: float = 0.0, *, first_s: float | None = None) -> list[tuple[float, float]]:
    """From when on what the faults do is the same, and the moment whose strengths stand for that time.

    Parameters
    ----------
    faults
        Any; a ramp has `RAMP_STEPS` of its own.
    zero_s
        What the clock of the starts reads where the scenario's reads 0. The moments are on the scenario's clock.
    first_s
        A start to have besides those of the faults.

    Returns
    -------
    list
        Pairs (start, moment) in s, in order of time; the last holds for ever.

    Examples
    --------
    >>> from llmsim.providers.faults import Abort, Fault
    >>> steps([Fault(name="f", provider="a", at=60.0, duration=30.0, abort=Abort(status=503))], zero_s=5.0)
    [(65.0, 75.0), (95.0, 91.0)]
    """
    edges = {edge for fault in faults for edge in _edges(fault, zero_s) if edge < math.inf}
    if first_s is not None:
        edges.add(first_s)
    # No ramp lies behind the last edge: any moment there stands for all of them.
    starts = sorted(edges)
    return [(start_s, (start_s + end_s) / 2 - zero_s) for start_s, end_s in pairwise(starts)] + [
        (start_s, start_s - zero_s + 1.0) for start_s in starts[-1:]
    ]


def _edges(fault: Fault, zero_s: float) -> list[float]:
    found = [zero_s + fault.at, zero_s + fault.end_s]
    for begin_s, length_s in ((fault.at, fault.ramp_up), (fault.end_s - fault.ramp_down, fault.ramp_down)):
        if length_s:
            found += [zero_s + begin_s + length_s * number / RAMP_STEPS for number in range(RAMP_STEPS + 1)]
    # The two sums that say when it ends differ in the last digit: nothing lasts from one to the other.
    return [edge for edge in found if edge <= found[1]]


def course(faults: Sequence[Fault], word: str, zero_s: float = 0.0) -> list[tuple[float, float]]:
    """From when on which multiplier holds of a property that faults scale; overlapping ones multiply.

    Examples
    --------
    >>> from llmsim.providers.faults import Fault, Scale
    >>> dearer = Fault(name="dearer", provider="a", at=60.0, duration=30.0, price=Scale(multiplier=3.0))
    >>> course([dearer], "price")
    [(60.0, 3.0), (90.0, 1.0)]
    """
    return [
        (start_s, math.prod(fault.factor(word, at_s) for fault in faults))
        for start_s, at_s in steps([fault for fault in faults if getattr(fault, word)], zero_s)
    ]


def mean_strength(fault: Fault, edges_s: NDArray[np.float64]) -> NDArray[np.float64]:
    """The strength of a fault, mean over each of some bins.

    Parameters
    ----------
    fault
        Any.
    edges_s
        Of the bins on the scenario's clock, shape (n + 1,), in s.

    Returns
    -------
    numpy.ndarray
        Shape (n,), from 0 to 1.

    Examples
    --------
    >>> import numpy as np
    >>> from llmsim.providers.faults import Fault, Scale
    >>> cut = Fault(name="cut", provider="a", at=10.0, ramp_up=20.0, duration=5.0, rate_limit=Scale(multiplier=0.0))
    >>> mean_strength(cut, np.array([0.0, 10.0, 20.0, 30.0, 40.0])).tolist()
    [0.0, 0.25, 0.75, 0.5]
    """
    import numpy as np

    begins, ends = edges_s[:-1], edges_s[1:]
    found = np.clip(np.minimum(ends, fault.full_until_s) - np.maximum(begins, fault.full_from_s), 0.0, None)
    if fault.ramp_up:
        since = np.clip(edges_s - fault.at, 0.0, fault.ramp_up)
        found += np.diff(since**2) / (2 * fault.ramp_up)
    if fault.ramp_down:
        left = np.clip(fault.end_s - edges_s, 0.0, fault.ramp_down)
        found -= np.diff(left**2) / (2 * fault.ramp_down)
    return np.asarray(found / np.diff(edges_s), dtype=np.float64)


def outline(fault: Fault, low_s: float, high_s: float) -> list[tuple[float, float]]:
    """The shape of a fault between two times: four corners (time in s, strength), a box where there are no ramps.

    Examples
    --------
    >>> from llmsim.providers.faults import Abort, Fault
    >>> slow = Fault(name="f", provider="a", at=60.0, duration=30.0, ramp_down=60.0, abort=Abort(status=503))
    >>> outline(slow, 0.0, 120.0)
    [(60.0, 1.0), (60.0, 1.0), (90.0, 1.0), (120.0, 0.5)]
    """
    corners = (
        (fault.at, 0.0 if fault.ramp_up else 1.0),
        (fault.full_from_s, 1.0),
        (fault.full_until_s, 1.0),
        (fault.end_s, 0.0 if fault.ramp_down else 1.0),
    )
    inside = [(min(max(at_s, low_s), high_s), at_s, strength) for at_s, strength in corners]
    return [(kept_s, strength if kept_s == at_s else fault.strength(kept_s)) for kept_s, at_s, strength in inside]
