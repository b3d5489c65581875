"""Maximum-likelihood fits of the families that traffic is described with, and how far each is off.

`scipy.stats` could fit these too, but takes seconds for 20,000 gaps and has no mixtures; scikit-learn has mixtures and
would be a dependency for thirty lines.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Fit", "best_mixture", "exponential_fit", "gamma_fit", "lognormal_fit", "mixture_fit", "weibull_fit"]

Floats = NDArray[np.float64]

_EM_STEPS = 300
_EM_BINS = 4000  # of ln x; over nine decades they are a quarter as wide as the narrowest component
_LEAST_SIGMA = 0.02  # of ln tokens: a component may be a spike (a fixed prompt), but not a point


class Fit(NamedTuple):
    """A family with its parameters, and the Kolmogorov-Smirnov distance to the data it was fitted to."""

    family: str
    parameters: dict[str, Any]
    ks: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"family": self.family, **self.parameters, "ks": self.ks}


def _fit(family: str, parameters: dict[str, Any], x: Floats, cdf: Callable[[Floats], Floats]) -> Fit:
    ordered = np.sort(x)
    below = cdf(ordered)
    n = len(ordered)
    steps = np.arange(n + 1) / n
    # Where values are equal the data jumps over all of them at once: compare with the ends of the run only.
    last = np.append(np.diff(ordered) > 0, True)
    first = np.append(True, np.diff(ordered) > 0)
    above = (steps[1:] - below)[last].max(initial=0.0)
    under = (below - steps[:-1])[first].max(initial=0.0)
    return Fit(family, parameters, float(max(above, under)))


def exponential_fit(x: Floats) -> Fit:
    """Exponential."""
    mean = float(x.mean())
    return _fit("exponential", {"mean": mean}, x, lambda at: -np.expm1(-at / mean))


def gamma_fit(x: Floats) -> Fit:
    """Gamma of positive values: Newton's method on ln k − ψ(k) = ln mean − mean ln."""
    from scipy.special import digamma, gammainc, polygamma

    mean = float(x.mean())
    gap = max(math.log(mean) - float(np.log(x).mean()), 1e-12)
    k = (3 - gap + math.sqrt((gap - 3) ** 2 + 24 * gap)) / (12 * gap)  # Minka's starting value
    for _ in range(50):
        step = (math.log(k) - float(digamma(k)) - gap) / (1 / k - float(polygamma(1, k)))
        k = max(k - step, k / 10)
        if abs(step) < 1e-10 * k:
            break
    return _fit("gamma", {"shape": k, "mean": mean, "cv": k**-0.5}, x, lambda at: gammainc(k, at * k / mean))


def weibull_fit(x: Floats) -> Fit:
    """Weibull of positive values: bisection on the likelihood's equation for the shape."""
    logs = np.log(x)
    scaled, middle = logs - logs.max(), float(logs.mean())

    def slope(k: float) -> float:
        weights = np.exp(k * scaled)
        return float((weights * logs).sum() / weights.sum()) - 1 / k - middle

    low, high = 1e-3, 1e3
    for _ in range(60):  # halves of the logarithm: to 1e-17
        k = math.sqrt(low * high)
        low, high = (k, high) if slope(k) < 0 else (low, k)
    k = math.sqrt(low * high)
    scale = math.exp(logs.max() + math.log(float(np.exp(k * scaled).mean())) / k)
    return _fit("weibull", {"shape": k, "scale": scale}, x, lambda at: -np.expm1(-((at / scale) ** k)))


def lognormal_fit(x: Floats) -> Fit:
    """Lognormal of positive values."""
    from scipy.special import ndtr

    logs = np.log(x)
    mu, sigma = float(logs.mean()), max(float(logs.std()), 1e-9)
    return _fit("lognormal", {"mu": mu, "sigma": sigma}, x, lambda at: ndtr((np.log(at) - mu) / sigma))


def mixture_fit(x: Floats, components: int) -> Fit:
    """A mixture of lognormals by expectation maximisation, started from equal slices of the ordered data."""
    from scipy.special import ndtr

    at, share = _binned(np.log(x))
    slices = np.minimum((np.cumsum(share) - share / 2) * components, components - 1e-9).astype(np.int64)
    part = np.eye(components)[slices]
    weight = mu = sigma = np.zeros(components)
    before = -math.inf
    for step in range(_EM_STEPS):
        count = np.maximum(share @ part, 1e-12)
        weight, mu = count / count.sum(), (share * at) @ part / count
        spread = (share[:, None] * part * (at[:, None] - mu) ** 2).sum(axis=0) / count
        sigma = np.maximum(np.sqrt(spread), 0.1 if step == 0 else _LEAST_SIGMA)
        density = weight * np.exp(-0.5 * ((at[:, None] - mu) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
        total = np.maximum(density.sum(axis=1), 1e-300)
        likelihood = float(share @ np.log(total))
        if likelihood - before < 1e-7:
            break
        before = likelihood
        part = density / total[:, None]
    order = np.argsort(mu)
    weight, mu, sigma = weight[order], mu[order], sigma[order]
    parts = [{"weight": float(w), "mu": float(m), "sigma": float(s)} for w, m, s in zip(weight, mu, sigma, strict=True)]

    def cdf(at: Floats) -> Floats:
        return np.asarray((weight * ndtr((np.log(at)[:, None] - mu) / sigma)).sum(axis=1), dtype=np.float64)

    return _fit(f"lognormal mixture of {components}", {"components": parts}, x, cdf)


def _binned(logs: Floats) -> tuple[Floats, Floats]:
    """Means and shares of narrow bins, those that are empty left out."""
    low, high = float(logs.min()), float(logs.max())
    bins = np.minimum(((logs - low) / max(high - low, 1e-12) * _EM_BINS).astype(np.int64), _EM_BINS - 1)
    counts = np.bincount(bins, minlength=_EM_BINS)
    sums = np.bincount(bins, weights=logs, minlength=_EM_BINS)
    full = counts > 0
    return sums[full] / counts[full], counts[full] / len(logs)


def best_mixture(x: Floats, most: int = 3) -> Fit:
    """The mixture of up to `most` lognormals that is nearest to the data; the smaller one unless the larger is nearer
    by a tenth.
    """
    best = mixture_fit(x, 1)
    for components in range(2, most + 1):
        other = mixture_fit(x, components)
        if other.ks < 0.9 * best.ks:
            best = other
    return best
