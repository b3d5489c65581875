"""Columns in as few bytes as their values take: one value for all rows, or whole numbers as narrow as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["constant", "is_constant", "joined", "packed"]

Values = NDArray[Any]

#: Fewer rows than this are not worth the look: what a view of one value saves is less than what the view itself takes.
_LEAST_ROWS = 64


def constant(value: Values, rows: int) -> Values:
    """An array of so many rows with the first value of `value`, in the memory of one."""
    return np.broadcast_to(value[:1].copy(), rows) if len(value) else value


def is_constant(values: Values) -> bool:
    """Whether it is what `constant` makes: nothing is compared."""
    return len(values) > 1 and values.strides == (0,)


def packed(values: Values) -> Values:
    """The same numbers in fewer bytes, where there are enough of them: never a view of `values`.

    Examples
    --------
    >>> packed(np.arange(100)).dtype, packed(np.full(100, np.nan)).strides
    (dtype('int8'), (0,))
    """
    if len(values) < _LEAST_ROWS:
        return values.copy()
    kind = values.dtype.kind
    if kind == "O":
        return constant(values, len(values)) if (values == values[0]).all() else values.copy()
    # By their bits: NaN is itself, and 0.0 is not -0.0.
    bits = values.view(f"u{values.dtype.itemsize}")
    if bits[0] == bits[-1] and (bits == bits[0]).all():
        return constant(values, len(values))
    return values.astype(_narrowest(values), copy=True) if kind == "i" else values.copy()


def _narrowest(values: Values) -> np.dtype[Any]:
    low, high = values.min(), values.max()
    fits = (kind for kind in ("i1", "i2", "i4") if np.iinfo(kind).min <= low and high <= np.iinfo(kind).max)
    return np.dtype(next(fits, "i8"))


def joined(parts: list[Values], kind: np.dtype[Any]) -> Values:
    """One array of all, which are let go of one by one, so that they are there once and not twice."""
    if not parts:
        return np.empty(0, kind)
    if len(parts) == 1:
        return parts.pop()
    rows = sum(map(len, parts))
    if all(map(is_constant, parts)) and len({part[:1].tobytes() for part in parts}) == 1:
        return constant(parts[0], rows)
    whole = np.empty(rows, np.result_type(*{part.dtype for part in parts}))
    parts.reverse()
    at = 0
    while parts:
        part = parts.pop()
        whole[at : at + len(part)] = part
        at += len(part)
    return whole
