"""Distributions as values: a frozen description, a mean, and a quantile function through which luck is sent.

Everything is sampled by inversion from addressed uniforms (`llmsim.luck`), so a draw costs no state and
common random numbers survive a change of parameters. `scipy` is imported where a special function is needed.
"""

from llmsim.distributions.composed import Contention, Empirical, Mixture, Part, cdf_of
from llmsim.distributions.parse import family_of, parse_distribution, values_of
from llmsim.distributions.plain import Constant, Distribution, Exponential, Gamma, Geometric, Lognormal, Normal, Uniform
from llmsim.distributions.shifted import LogLogistic, ShiftedLognormal, Weibull
from llmsim.distributions.units import (
    CountDistribution,
    DurationDistribution,
    MultiplierDistribution,
    NumberDistribution,
)

__all__ = [
    "Constant",
    "Contention",
    "CountDistribution",
    "Distribution",
    "DurationDistribution",
    "Empirical",
    "Exponential",
    "Gamma",
    "Geometric",
    "LogLogistic",
    "Lognormal",
    "Mixture",
    "MultiplierDistribution",
    "Normal",
    "NumberDistribution",
    "Part",
    "ShiftedLognormal",
    "Uniform",
    "Weibull",
    "cdf_of",
    "family_of",
    "parse_distribution",
    "values_of",
]
