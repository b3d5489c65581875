"""What chance has in store for the calls to one provider, addressed by (request, n-th call of it to this provider)."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

import numpy as np

from llmsim.distributions import Distribution
from llmsim.luck import Luck
from llmsim.traffic.workload import Truth

__all__ = ["CallLuck"]

_BLOCK_BITS, _BLOCK = 9, 512  # calls whose rows are made at once: first calls of new requests...
_OTHER_BITS, _OTHER = 6, 64  # ...and calls that come now and then
# Blocks that are kept, so that memory stays bounded: 4 MB of first calls and 1 MB of others at most, of four columns.
# Arrivals come in order and need few. Virtual users drift apart, the slowest by 130 iterations of the fastest in half
# an hour: they get more, or every change of user would make a block anew (80 us a request, where it should be 1).
_KEPT, _KEPT_MOST = 8, 256
_OTHERS_KEPT = 512  # of all n-th calls, steps and retries together

_Row = tuple[float, ...]
_Rows = bytes  # packed: most rows of a provider are never asked for, and as objects they were five times as large


class CallLuck:
    """One row of numbers for each call; every column is a purpose with an address of its own.

    All that nearly every call needs stands in one row: looking it up costs as much as one number alone, and a purpose
    that is added shifts none of the others.

    Parameters
    ----------
    luck
        Of the replication.
    provider
        Second part of the address, after the purpose.
    columns
        Purposes, and the distributions through whose quantile functions their uniforms go (None: they stay so).

    Attributes
    ----------
    at
        Purpose to its place in a row.

    Examples
    --------
    >>> draws = CallLuck(Luck(1), "openai", {"error": None, "stall": None})
    >>> alone = CallLuck(Luck(1), "openai", {"stall": None})
    >>> truth = Truth(7, 100, 1.0)
    >>> draws(truth, 0)[draws.at["stall"]] == alone(truth, 0)[0]
    True
    """

    __slots__ = ("_columns", "_first", "_kept", "_luck", "_newest", "_others", "_provider", "_row", "_size", "at")

    def __init__(self, luck: Luck, provider: str, columns: Mapping[str, Distribution | None]) -> None:
        self._luck = luck
        self._provider = provider
        self._columns = dict(columns)
        self.at = {purpose: place for place, purpose in enumerate(columns)}
        layout = Struct(f"{len(self._columns)}d")
        self._row, self._size = layout.unpack_from, layout.size
        self._first: dict[int, _Rows] = {}
        self._newest, self._kept = -1, _KEPT
        self._others: dict[tuple[int, int, int, int], _Rows] = {}

    def __call__(self, truth: Truth, call: int) -> _Row:
        index = truth.index
        if call == 0 and truth.retry == 0 and truth.step == 0:
            block = self._first.get(index >> _BLOCK_BITS)
            if block is None:
                block = self._draw_first(index >> _BLOCK_BITS)
            return self._row(block, (index & (_BLOCK - 1)) * self._size)
        address = (call, truth.step, truth.retry, index >> _OTHER_BITS)
        block = self._others.get(address)
        if block is None:
            if len(self._others) == _OTHERS_KEPT:
                del self._others[next(iter(self._others))]
            block = self._others[address] = self._draw(address[:3], address[3] * _OTHER, _OTHER)
        return self._row(block, (index & (_OTHER - 1)) * self._size)

    def _draw_first(self, number: int) -> _Rows:
        if number > self._newest:
            self._newest = number
        elif self._kept < _KEPT_MOST:  # it was there, and thrown away too early
            self._kept *= 2
        if len(self._first) >= self._kept:
            del self._first[next(iter(self._first))]
        block = self._first[number] = self._draw((0, 0, 0), number * _BLOCK, _BLOCK)
        return block

    def _draw(self, address: tuple[int, int, int], first: int, size: int) -> _Rows:
        table = np.empty((size, len(self._columns)))
        for place, (purpose, through) in enumerate(self._columns.items()):
            table[:, place] = self._luck.series(purpose, self._provider, *address, through=through).array(first, size)
        return table.tobytes()
