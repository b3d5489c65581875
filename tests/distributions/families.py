"""Distributions of every family, for hypothesis."""

from hypothesis import strategies as st

from llmsim.distributions import (
    Constant,
    Contention,
    Empirical,
    Exponential,
    Gamma,
    Geometric,
    LogLogistic,
    Lognormal,
    Mixture,
    Part,
    ShiftedLognormal,
    Uniform,
    Weibull,
)

positive = st.floats(1e-3, 100)
ratios = st.floats(1.05, 12)
shares = st.floats(0.01, 1)

constants = st.builds(Constant, positive)
uniforms = st.builds(lambda low, width: Uniform(low, low + width), positive, positive)
lognormals = st.builds(lambda p50, ratio: Lognormal(p50, p50 * ratio), positive, ratios)
gammas = st.builds(Gamma, positive, st.floats(0.1, 2))
shifted = st.builds(
    lambda shift, above, ratio: ShiftedLognormal(shift, shift + above, shift + above * ratio),
    st.floats(0, 10),
    positive,
    ratios,
)
log_logistics = st.builds(
    lambda above, shape, shift: LogLogistic(shift + above, shape, shift), positive, st.floats(2.2, 20), st.floats(0, 10)
)
weibulls = st.builds(Weibull, positive, st.floats(0.1, 3))
empiricals = st.builds(Empirical.of, st.lists(positive, min_size=1, max_size=12))
plain = st.one_of(
    constants,
    uniforms,
    st.builds(Exponential, positive),
    st.builds(Geometric, st.floats(1, 30)),
    lognormals,
    gammas,
    shifted,
    log_logistics,
    weibulls,
    empiricals,
)
mixtures = st.builds(
    lambda parts: Mixture(tuple(Part(weight, of) for weight, of in parts)),
    st.lists(st.tuples(shares, plain), min_size=1, max_size=3),
)
contentions = st.builds(Contention, st.one_of(plain, mixtures), shares, positive)
all_families = st.one_of(plain, mixtures, contentions)
