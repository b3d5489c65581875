"""Thresholds of other libraries, as cosines."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.gateway.policies.semantic_cache import SemanticCache
from llmsim.stores.scales import LIBRARIES, SCALES, from_cosine, library, scale, to_cosine

#: What two unit vectors have on each scale, computed from the vectors and not from their cosine.
MEASURED = {
    "cosine": lambda a, b: a @ b,
    "half": lambda a, b: 1.0 - np.square(a - b).sum() / 4.0,
    "distance": lambda a, b: 1.0 - a @ b,
    "squared-l2": lambda a, b: np.square(a - b).sum(),
    "l2": lambda a, b: np.linalg.norm(a - b),
}


@given(st.floats(0.0, np.pi), st.sampled_from(sorted(SCALES)))
def test_a_scale_is_what_its_name_says(angle, name):
    a, b = np.array([1.0, 0.0]), np.array([np.cos(angle), np.sin(angle)])
    value = min(max(float(MEASURED[name](a, b)), SCALES[name].low), SCALES[name].high)
    assert to_cosine(value, name) == pytest.approx(np.cos(angle), abs=1e-9)
    assert from_cosine(float(np.cos(angle)), name) == pytest.approx(value, abs=1e-5)


@given(st.sampled_from(sorted([*SCALES, *LIBRARIES])), st.floats(-1.0, 0.999), st.floats(1e-4, 0.5))
def test_nearer_is_on_the_side_that_it_says(name, cosine, more):
    nearer, value = from_cosine(min(cosine + more, 1.0), name), from_cosine(cosine, name)
    assert nearer > value if scale(name).nearer == "above" else nearer < value


def test_the_defaults_of_libraries_as_cosines():
    """As research on each of them derived it."""
    found = {name: each.default_cosine for name, each in LIBRARIES.items()}
    assert found == {
        "llmsim": 0.92, "gptcache": 0.6, "redisvl": 0.9, "langchain-redis": 0.8, "litellm": None, "betterdb": 0.9,
        "khazad": 0.8, "redis-vsim": None, "vcache": None, "portkey": None,
    }  # fmt: skip
    assert found["llmsim"] == SemanticCache().threshold
    assert all(each.scale in SCALES for each in LIBRARIES.values())


def test_gptcache_hits_where_its_own_arithmetic_does():
    """Its evaluation is 4 - d of a range of 4, where d is the squared distance; a hit is at least a fraction of it."""
    for cosine in (0.59, 0.61):
        a, b = np.array([1.0, 0.0]), np.array([cosine, np.sqrt(1 - cosine**2)])
        hit = 4.0 - np.square(a - b).sum() >= 0.8 * 4.0
        assert hit == (cosine >= to_cosine(0.8, "gptcache"))


def test_what_is_no_value_or_no_scale():
    with pytest.raises(ValueError, match=r"redisvl says 1 - cos, from 0 to 2; 2\.5 is outside"):
        to_cosine(2.5, "redisvl")
    with pytest.raises(ValueError, match="outside"):
        to_cosine(float("nan"), "cosine")
    with pytest.raises(ValueError, match="from -1 to 1"):
        from_cosine(1.5, "l2")
    with pytest.raises(ValueError, match="unknown scale 'redis'; write one of llmsim, gptcache"):
        to_cosine(0.5, "redis")
    assert library("cosine") is None
    assert library("khazad").scale == "half"
