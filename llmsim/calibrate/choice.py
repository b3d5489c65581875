"""Which family may be called fitted: its draws differ from data it has not seen no more than the data does from itself.

The yardstick comes from the data: 200 times it is split at random into halves, and the distances between these (KS),
their medians and their 95th percentiles give bands. A family is fitted to one half, and its draws are held against the
other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from llmsim.calibrate.fit import FAMILIES, fit, ks_of_ordered, quantile_of_ordered, table_of
from llmsim.distributions import Distribution
from llmsim.luck import Luck

__all__ = ["Bands", "Choice", "Judged", "Split", "bands_of", "choose", "halves", "judge"]

Floats = NDArray[np.float64]

SPLITS = 200  #: of the data against itself
HELD_OUT = 40  #: of them, on which families are fitted and held against the other half
DRAWS = 4096  #: simulated per held-out half: many, so that the distance is that of the fit and not of the draws
#: Share of held-out halves that must lie inside a band. The data's own halves do so 95 to 97.5 % of the time.
NEEDED = 0.9


class Split(NamedTuple):
    """KS distance to the other half, median and 95th percentile."""

    ks: float
    p50: float
    p95: float


class Bands(NamedTuple):
    """Where 95 % of the data's own halves lie (KS: 97.5 % lie below)."""

    ks: float
    p50: tuple[float, float]
    p95: tuple[float, float]

    def holds(self, split: Split) -> tuple[bool, bool, bool]:
        """Which of the three lie inside."""
        return (
            split.ks <= self.ks,
            self.p50[0] <= split.p50 <= self.p50[1],
            self.p95[0] <= split.p95 <= self.p95[1],
        )


@dataclass(frozen=True)
class Judged:
    """How one family did on the held-out halves.

    Parameters
    ----------
    family
        Its name in `FAMILIES`, or ``empirical``.
    aic
        On the whole sample; infinite for the table, which has as many parameters as rows.
    ks
        Mean distance of its draws to the held-out halves.
    inside
        Share of the held-out halves for which KS, p50 and p95 lay inside the bands.
    distribution
        Fitted to the whole sample.
    """

    family: str
    aic: float
    ks: float
    inside: tuple[float, float, float]
    distribution: Distribution

    @property
    def passed(self) -> bool:
        """Whether it may be called fitted."""
        return min(self.inside) >= NEEDED


@dataclass(frozen=True)
class Choice:
    """What to use for a sample, and why.

    Parameters
    ----------
    used
        The passing family with the lowest AIC, or the empirical table.
    closest
        The parametric family that came closest: the same as `used` if that is one.
    judged
        All of them, best first.
    bands
        The yardstick.
    n
        Size of the sample.
    """

    used: Judged
    closest: Judged
    judged: tuple[Judged, ...]
    bands: Bands
    n: int

    @property
    def fitted(self) -> bool:
        """Whether a parametric family passed."""
        return self.used.family != "empirical"


def halves(sample: Floats, number: int, luck: Luck) -> tuple[Floats, Floats]:
    """Random split `number` of a sample, always the same for the same luck."""
    n = len(sample)
    order = np.argsort(luck.series("halves", number).array(0, n), kind="stable")
    return sample[order[: n // 2]], sample[order[n // 2 :]]


def bands_of(sample: Floats, luck: Luck, splits: int = SPLITS) -> Bands:
    """How much the halves of a sample differ from each other."""
    found = []
    for number in range(splits):
        one, other = halves(sample, number, luck)
        found.append(_against(one, other))
    ks, p50, p95 = (np.array(column) for column in zip(*found, strict=True))
    ends = [tuple(np.quantile(column, [0.025, 0.975]).tolist()) for column in (p50, p95)]
    return Bands(float(np.quantile(ks, 0.975)), (ends[0][0], ends[0][1]), (ends[1][0], ends[1][1]))


def _against(one: Floats, other: Floats) -> Split:
    one, other = np.sort(one), np.sort(other)
    return Split(ks_of_ordered(one, other), quantile_of_ordered(one, 0.5), quantile_of_ordered(one, 0.95))


def judge(
    family: str, sample: Floats, bands: Bands, luck: Luck, *, held_out: int = HELD_OUT, draws: int = DRAWS
) -> Judged:
    """Fit a family to halves of the sample and hold its draws against the other halves.

    Parameters
    ----------
    family
        One of `FAMILIES`, or ``empirical``.
    sample
        Shape ``(n,)``, positive.
    bands
        From `bands_of`, with the same luck.
    """
    fitter = _fitter(family)
    uniforms = luck.series("draws", family).array(0, draws)
    distances, inside = [], []
    for number in range(held_out):
        one, other = halves(sample, number, luck)
        split = _against(fitter(one).quantile(uniforms), other)
        distances.append(split.ks)
        inside.append(bands.holds(split))
    shares = np.mean(inside, axis=0).tolist()
    aic = fit(family, sample).aic if family in FAMILIES else float("inf")
    return Judged(family, aic, float(np.mean(distances)), (shares[0], shares[1], shares[2]), fitter(sample))


def _fitter(family: str) -> Callable[[Floats], Distribution]:
    if family == "empirical":
        return table_of
    return lambda sample: fit(family, sample).distribution


def choose(sample: Floats, luck: Luck, families: tuple[str, ...] = tuple(FAMILIES)) -> Choice:
    """The passing family with the lowest AIC; the empirical table where none passes.

    Parameters
    ----------
    sample
        At least 20 positive values, shape ``(n,)``.
    luck
        Decides the splits and the draws.
    families
        To try.
    """
    bands = bands_of(sample, luck)
    judged = [judge(family, sample, bands, luck) for family in families]
    passed = sorted((j for j in judged if j.passed), key=lambda j: j.aic)
    table = judge("empirical", sample, bands, luck)
    closest = passed[0] if passed else max(judged, key=lambda j: (min(j.inside), -j.ks))
    ordered = sorted(judged, key=lambda j: (not j.passed, -min(j.inside) if not j.passed else j.aic))
    return Choice(passed[0] if passed else table, closest, (*ordered, table), bands, len(sample))
