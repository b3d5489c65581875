"""Which cases of a matrix are among the default tests."""

from __future__ import annotations

import pytest

__all__ = ["MATRIX", "is_slow_case"]

#: Of the cases of a matrix every so manyth is among the default tests.
MATRIX = 5


def is_slow_case(item: pytest.Item) -> bool:
    """Whether this is a case of a matrix that is among the slow tests only.

    That follows from its own place among the parameters (where there are several kinds, along diagonals), and not from
    which others are collected: what failed is run again alone, and has to be found under the same ``-m`` then.
    """
    if item.get_closest_marker("matrix") is None:
        return False
    indices: dict[str, int] = getattr(item, "callspec").indices  # functions alone have it
    place = 0
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0]
        place += indices[(names.split(",") if isinstance(names, str) else names)[0].strip()]
    return place % MATRIX > 0
