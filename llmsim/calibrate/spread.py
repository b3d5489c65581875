"""A setting that was found out, and how values that vary are said in one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.choice import choose
from llmsim.calibrate.fit import table_of
from llmsim.distributions import values_of
from llmsim.luck import Luck

__all__ = ["Word", "spread"]

_FEWEST_FOR_FAMILY = 40  #: with fewer calls the seen values themselves are the distribution (chosen)
_MOST = 2000  #: values that families are fitted to; more are thinned out evenly
#: Tried for a spread: those that take milliseconds to fit. The others of `llmsim.calibrate.fit` take seconds for all
#: the halves that they have to be held against.
_FAMILIES = ("lognormal", "shifted_lognormal")


class Word(NamedTuple):
    """One setting of a provider: SI numbers, and its source."""

    value: Any
    how: str  #: as `llmsim.providers.profiles.Source` has it
    n: int
    note: str = ""


def spread(values: NDArray[np.float64], luck: Luck) -> Word:
    """A family that fits, or the values seen where there are few or none does.

    Parameters
    ----------
    values
        Positive; shape ``(calls,)``.
    luck
        Of the choice of families.
    """
    n = len(values)
    values = values[:: max(1, -(-n // _MOST))]
    if np.ptp(values) <= 1e-9 * float(np.max(values)):
        return Word(float(values[0]), "measured", n, "all alike")
    if n < _FEWEST_FOR_FAMILY:
        return Word(values_of(table_of(values)), "empirical", n, "too few for a family")
    found = choose(values, luck, _FAMILIES)
    inside = "/".join(f"{100 * share:.0f} %" for share in found.closest.inside)
    told = f"KS, p50, p95 inside the bands of the data's own halves on {inside} of 40 held-out halves"
    if found.fitted:
        note = f"{found.used.family} by maximum likelihood; {told}"
    else:
        note = f"no family passed; closest: {found.closest.family} ({told})"
    return Word(values_of(found.used.distribution), "fitted" if found.fitted else "empirical", n, note)
