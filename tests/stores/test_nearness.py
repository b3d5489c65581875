"""How near a phrase is to what a cache holds: tables, what they do between and beyond their rows, and who counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit, logit
from scipy.stats import beta
from stores.streams import any_meaning, tiny

from llmsim.stores.nearness import Company, Nearness, Table, nearness
from llmsim.traffic.meanings import OWN_WORDS, TRAP
from llmsim.traffic.similarity import CORPORA, TRAP_KINDS, Rows, parse_tables

U = (np.arange(4000) + 0.5) / 4000
SHARES = (0.80, 0.85, 0.90, 0.95)
#: research 4.1: mean, p50 and p95 of each kind of trap (75 pairs a kind)
TRAPS = {
    "negation": (0.802, 0.848, 0.967),
    "number": (0.837, 0.902, 0.972),
    "entity": (0.700, 0.721, 0.958),
    "scope": (0.721, 0.755, 0.922),
}
#: research 4.3: a, b of the beta distribution by number of neighbours
BETAS = {
    ("banking77", "same"): {1: (3.82, 2.74), 4: (6.47, 2.49), 16: (8.78, 2.07), 32: (9.88, 1.86)},
    ("banking77", "other"): {30: (8.61, 8.24), 100: (11.52, 8.13), 300: (12.89, 7.41), 1000: (13.61, 6.38)},
    ("clinc150", "same"): {1: (2.53, 2.38), 4: (3.85, 2.00), 16: (4.82, 1.56), 32: (5.20, 1.33)},
    ("clinc150", "other"): {30: (5.53, 12.00), 100: (6.45, 10.08), 300: (7.74, 9.39), 1000: (8.63, 8.17)},
}


def values(table, n):
    return np.array([table(n, u) for u in U.tolist()])


def shares(cosines):
    return [float((cosines >= bound).mean()) for bound in SHARES]


# -- what was published ------------------------------------------------------------------------------------------------


def test_traps_are_as_similar_as_was_published():
    """Every published figure within .006: far inside the sampling error of 75 pairs a kind."""
    near = nearness()
    found = {kind: values(table, 1) for kind, table in zip(TRAP_KINDS, near.traps, strict=True)}
    for kind, (mean, p50, p95) in TRAPS.items():
        cosines = found[kind]
        assert [cosines.mean(), *np.quantile(cosines, [0.5, 0.95])] == pytest.approx([mean, p50, p95], abs=0.006), kind
    everything = np.concatenate(list(found.values()))
    assert shares(everything) == pytest.approx([0.507, 0.393, 0.277, 0.117], abs=0.006)
    assert np.quantile(everything, [0.05, 0.5, 0.95]) == pytest.approx([0.422, 0.803, 0.968], abs=0.006)
    mixed = values(near.any_trap, 1)
    assert shares(mixed) == pytest.approx(shares(everything), abs=0.01), "what finds traps finds all kinds of them"


def test_a_mixture_of_traps_is_of_the_kinds_there_are():
    tables = parse_tables(tiny(), "f")
    only = Nearness(tables, (0.0, 1.0, 0.0, 0.0))
    assert values(only.any_trap, 1) == pytest.approx(values(only.traps[TRAP_KINDS.index("number")], 1), abs=0.004)
    two = values(Nearness(tables, (3.0, 0.0, 0.0, 1.0)).any_trap, 1)
    of_each = [shares(values(only.traps[number], 1)) for number in (0, 3)]
    assert shares(two) == pytest.approx([0.75 * a + 0.25 * b for a, b in zip(*of_each, strict=True)], abs=0.01)


def test_other_words_are_as_near_as_questions_that_people_marked_as_duplicates():
    """Of 2,222 pairs; their fitted beta, which the table holds, misses the shares by up to .023 itself."""
    cosines = values(nearness().rephrased, 1)
    assert shares(cosines) == pytest.approx([0.782, 0.624, 0.433, 0.212], abs=0.026)
    assert np.quantile(cosines, [0.05, 0.5, 0.95]) == pytest.approx([0.685, 0.882, 0.986], abs=0.016)


@pytest.mark.parametrize(("name", "kind"), BETAS)
def test_tables_are_near_the_families_that_were_fitted(name, kind):
    table = getattr(nearness(name), kind)
    for n, (a, b) in BETAS[name, kind].items():
        cosines = np.sort(values(table, n))
        distance = np.abs(beta.cdf(cosines, a, b) - U).max()
        assert distance < 0.06, (
            f"{n}: the worst published KS of a beta distribution is .043, of the normal one at k = 1"
        )


# -- between and beyond the rows ---------------------------------------------------------------------------------------


@given(
    name=st.sampled_from(CORPORA),
    kind=st.sampled_from(["same", "other", "rephrased", "any_trap"]),
    n=st.integers(0, 3000),
    more=st.integers(0, 100_000),
    u=st.floats(0, 1),
    above=st.floats(0, 1),
)
def test_more_company_and_more_luck_never_make_less_similar(name, kind, n, more, u, above):
    table = getattr(nearness(name), kind)
    assert -1 <= table(n, u) <= table(n + more, u) + 1e-12 <= 1 + 2e-12
    assert table(n, min(u, above)) <= table(n, max(u, above)) + 1e-12


def test_between_two_rows_it_goes_with_the_logarithm():
    table = Table(Rows((0.0, 0.5, 1.0), (1, 16), ((0.2, 0.4, 0.6), (0.4, 0.8, 1.0)), 0.3))
    assert [table(n, 0.5) for n in (1, 2, 4, 16)] == pytest.approx([0.4, 0.5, 0.6, 0.8])
    assert table(4, 0.25) == pytest.approx(0.45)
    assert table(0, 0.99) == table(-1, 0.5) == -1.0


def test_beyond_the_rows_the_logit_grows():
    table = Table(Rows((0.0, 0.5, 1.0), (30, 1000), ((-0.1, 0.4, 0.6), (0.1, 0.8, 1.0)), 0.2))
    assert table(10_000, 0.5) == pytest.approx(expit(logit(0.8) + 0.2 * np.log(10)))
    assert table(3, 0.5) == pytest.approx(expit(logit(0.4) - 0.2 * np.log(10)))
    assert table(3, 0.0) == pytest.approx(-0.1), "what has no logit stays"
    assert table(10_000, 1.0) == 1.0


def test_above_the_last_level_near_duplicates_begin():
    table = Table(Rows((0.1, 0.5, 0.9), (1,), ((0.2, 0.4, 0.6),), 0.3))
    assert [table(1, u) for u in (0.05, 0.1, 0.9, 0.95, 0.999)] == pytest.approx([0.2, 0.2, 0.6, 0.8, 0.996])


def test_rows_that_cross_by_chance_do_not_fall():
    table = Table(Rows((0.0, 1.0), (1, 2), ((0.2, 0.9), (0.3, 0.8)), 0.0))
    assert table(2, 1.0) == pytest.approx(0.9)
    assert table(1, 1.0) == pytest.approx(0.9)


# -- who counts --------------------------------------------------------------------------------------------------------


def test_each_sort_has_its_table():
    near = nearness()
    asker = any_meaning(same_luck=0.6, other_luck=0.7, trap_luck=0.8)
    found = {
        "rephrased": near.similarity(asker, Company(2, 0, 0)),
        "same": near.similarity(asker, Company(0, 2, 0)),
        "other": near.similarity(asker, Company(0, 0, 500)),
        "trap": near.similarity(asker, Company(0, 0, 0, 1)),
    }
    assert {sort: one.sort for sort, one in found.items()} == {sort: sort for sort in found}
    assert [found[sort].similarity for sort in found] == [
        near.rephrased(2, 0.6), near.same(2, 0.6), near.other(500, 0.7), near.any_trap(1, 0.8),
    ]  # fmt: skip
    assert [one.right for one in found.values()] == [True, True, False, False]
    assert near.similarity(asker, Company(0, 0, 0)) == (-1.0, "", False)


@given(
    counts=st.tuples(*[st.integers(0, 50)] * 4),
    lucks=st.tuples(*[st.floats(0.001, 0.999)] * 3),
    kind=st.integers(0, TRAP + 3),
)
def test_the_nearest_is_the_nearer_of_right_and_wrong(counts, lucks, kind):
    near, company = nearness(), Company(*counts)
    asker = any_meaning(kind=kind, same_luck=lucks[0], other_luck=lucks[1], trap_luck=lucks[2])
    right, wrong = near.to_right(asker, company), near.to_wrong(asker, company)
    found = near.similarity(asker, company)
    assert found.similarity == max(right, wrong)
    if right != wrong:
        assert found.right is (right > wrong)


def test_a_trap_has_no_right_answer_and_is_near_what_it_looks_like():
    near = nearness()
    for number in range(len(TRAP_KINDS)):
        trap = any_meaning(kind=TRAP + number, trap_luck=0.7)
        found = near.similarity(trap, Company(3, 0, 5))
        assert (found.sort, found.right) == ("trap", False)
        assert found.similarity == near.traps[number](1, 0.7)
        assert near.similarity(trap, Company(0, 0, 5)).sort == "other"


def test_who_uses_words_of_their_own_is_further_from_a_trap():
    near = nearness()
    usual, own = (any_meaning(kind=kind, trap_luck=0.9, same_luck=0.5) for kind in (0, OWN_WORDS))
    far, close = (near.similarity(one, Company(0, 0, 0, 1)).similarity for one in (own, usual))
    assert far == pytest.approx(close * near.rephrased(1, 0.5) ** 0.7)
