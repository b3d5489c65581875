"""Bisection: it ends, it never contradicts an answer it was given, and it is no narrower than the answers allow."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.tuning.bracket import Bracket


def search(answer, **options):
    bracket = Bracket(options.pop("tolerance", 0.05), **options)
    while (load := bracket.next()) is not None:
        assert load not in bracket.answers, "asked twice"
        bracket.tell(load, answer(load))
    return bracket


def edges(low, high):
    return lambda load: "PASS" if load <= low else "FAIL" if load >= high else "UNDECIDED"


@given(st.floats(1e-3, 1e3), st.sampled_from([0.01, 0.05, 0.5]))
def test_a_sharp_edge_is_found_within_the_tolerance(edge, tolerance):
    bracket = search(edges(edge, math.nextafter(edge, 2000)), tolerance=tolerance, most=100)
    assert bracket.passes <= edge < bracket.fails <= bracket.passes * (1 + tolerance) * 1.001
    assert bracket.resolved
    assert not bracket.unsure


@settings(max_examples=25)
@given(st.floats(1e-2, 1e2), st.floats(1.2, 4.0))
def test_an_undecided_stretch_is_bracketed_from_both_sides(low, width):
    high = low * width
    bracket = search(edges(low, high), most=100)
    assert bracket.passes <= low
    assert bracket.fails >= high
    assert bracket.resolved == (bracket.fails <= bracket.passes * 1.05 * (1 + 1e-12))
    if bracket.unsure:
        assert not bracket.resolved or width < 1.06
        assert bracket.unsure[0] <= bracket.passes * 1.0501
        assert bracket.fails <= bracket.unsure[-1] * 1.0501
    else:  # no load that was tried lay in it, so the two others are next to each other
        assert bracket.resolved


@given(st.integers(1, 500))
def test_whole_numbers_are_found_exactly(edge):
    bracket = search(edges(edge, edge + 1), start=20, low=1, high=2000, whole=True, tolerance=1e-6, most=100)
    assert (bracket.passes, bracket.fails) == (edge, edge + 1)
    assert all(load == int(load) for load in bracket.answers)


def test_without_an_end_it_says_so():
    always = search(lambda load: "PASS", high=1024)
    assert (always.passes, always.fails) == (1024, None)
    never = search(lambda load: "FAIL", low=1 / 1024)
    assert (never.passes, never.fails) == (None, 1 / 1024)
    who_knows = search(lambda load: "UNDECIDED", low=1 / 8)
    assert (who_knows.passes, who_knows.fails, who_knows.resolved) == (None, None, False)
    assert len(search(edges(1e9, 2e9), most=5).answers) == 5


def test_more_load_that_passes_again_is_a_contradiction():
    bracket = Bracket(0.05)
    for load, answer in ((1.0, "FAIL"), (0.5, "PASS"), (2.0, "PASS")):
        bracket.tell(load, answer)
    assert bracket.contradictory
    assert (bracket.passes, bracket.fails) == (0.5, 1.0)
    sharp = search(edges(3, 3.0001))
    assert not sharp.contradictory


@pytest.mark.parametrize("most", [0, 1, 3])
def test_it_never_tries_more_than_it_may(most):
    assert len(search(edges(3, 4), most=most).answers) == most
