"""Cases of a matrix: the same are slow whatever else is collected, since CI runs alone what has failed."""

import pytest
from matrices import is_slow_case

pytest_plugins = ["pytester"]

MODULE = """
import pytest

@pytest.mark.matrix
@pytest.mark.parametrize("one", range(12))
def test_one(one):
    pass

@pytest.mark.matrix
@pytest.mark.parametrize(("left", "right", "a", "b", "c"), [(n, n, n, n, n) for n in range(7)])
@pytest.mark.parametrize("other, more", [(n, n) for n in range(6)])
def test_two(left, right, a, b, c, other, more):
    pass

@pytest.mark.parametrize("one", range(12))
def test_no_matrix(one):
    pass
"""


@pytest.mark.slow
def test_a_case_is_slow_or_not_by_itself(pytester):
    pytester.makeini("[pytest]\nmarkers = matrix: many cases of one thing\n")
    items, _ = pytester.inline_genitems(pytester.makepyfile(MODULE))
    slow = {item.name: is_slow_case(item) for item in items}
    assert [n for n in range(12) if not slow[f"test_one[{n}]"]] == [0, 5, 10]
    assert sum(not value for name, value in slow.items() if name.startswith("test_two")) == 9, "of 42"
    assert not any(value for name, value in slow.items() if name.startswith("test_no_matrix"))
    for item in reversed(items):
        assert is_slow_case(item) == slow[item.name]
