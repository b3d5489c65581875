"""Addressed randomness: values depend on their address and on nothing else."""

import numpy as np
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.distributions import Exponential
from llmsim.luck import Luck, request_address

seeds = st.integers(min_value=-(2**63), max_value=2**63)
purposes = st.text(min_size=1, max_size=12)


@given(seeds, purposes, st.lists(st.integers(0, 100_000), min_size=1, max_size=40))
@settings(max_examples=examples(60), deadline=None)
def test_order_of_drawing_does_not_matter(seed, purpose, indices):
    forwards, backwards = Luck(seed).series(purpose), Luck(seed).series(purpose)
    drawn = {i: forwards(i) for i in indices}
    assert {i: backwards(i) for i in reversed(indices)} == drawn


@given(seeds, purposes, st.integers(0, 100_000))
@settings(max_examples=examples(60), deadline=None)
def test_block_size_changes_speed_and_never_values(seed, purpose, index):
    luck = Luck(seed)
    assert len({luck.series(purpose, block=size)(index) for size in (4, 64, 4096)}) == 1


@given(seeds, st.integers(0, 5_000), st.integers(0, 5_000))
@settings(max_examples=examples(40), deadline=None)
def test_other_purposes_and_more_requests_shift_nothing(seed, few, more):
    alone, busy = Luck(seed), Luck(seed)
    other = busy.series("something else")
    for i in range(0, more, 97):
        other(i)
        busy.uniform("jitter", f"{i}/0/0", i % 3)
    assert alone.series("ttft", "openai")(few) == busy.series("ttft", "openai")(few)
    assert alone.uniform("jitter", f"{few}/0/0", 0) == busy.uniform("jitter", f"{few}/0/0", 0)


def test_addresses_do_not_run_into_each_other():
    luck = Luck(1)
    names = [("a", "bc"), ("ab", "c"), ("a", "b", "c"), ("abc",), ("a", 1, 11), ("a", 11, 1)]
    assert len({luck.series(*name)(0) for name in names}) == len(names)


def test_uniforms_are_uniform_and_uncorrelated():
    from scipy.stats import kstest

    luck, n = Luck(3), 100_000
    rows = [luck.series("ttft", provider, call).array(0, n) for provider in "ab" for call in range(3)]
    for row in rows:
        assert row.min() > 0 and row.max() < 1
        assert kstest(row, "uniform").pvalue > 1e-4
    worst = np.abs(np.corrcoef(rows) - np.eye(len(rows))).max()
    assert worst * np.sqrt(n) < 4.5


def test_a_transformed_series_is_the_quantile_of_the_plain_one():
    luck = Luck(9)
    plain, through = luck.series("gap"), luck.series("gap", through=Exponential(2.0))
    assert through(17) == -2.0 * np.log1p(-plain(17))


def test_any_request_id_has_luck():
    luck = Luck(4)
    assert request_address("7/1/2") == (7, 1, 2)
    assert request_address("req-1") is None and request_address("a/b/c") is None
    drawn = {luck.uniform("x", name, 0) for name in ("req-1", "req-2", "1/0/0", "1/0/1", "1/1/0")}
    assert len(drawn) == 5 and all(0 < u < 1 for u in drawn)


def test_replications_are_independent():
    a, b = Luck.of(7, 0).series("arrival"), Luck.of(7, 1).series("arrival")
    assert a(0) != b(0)
