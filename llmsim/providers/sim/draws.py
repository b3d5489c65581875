"""What chance has in store for the calls to one provider, addressed by (request, n-th call of it to this provider)."""

from __future__ import annotations

from collections.abc import Mapping

from llmsim.distributions import Distribution
from llmsim.luck import Luck
from llmsim.traffic.workload import Truth

__all__ = ["CallLuck"]

_BLOCK_BITS, _BLOCK = 9, 512  # calls whose rows are made at once: first calls of new requests...
_OTHER_BITS, _OTHER = 6, 64  # ...and calls that come now and then
_KEPT = 8  # blocks of each kind of call, so that memory stays bounded

_Row = tuple[float, ...]


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

    __slots__ = ("_columns", "_first", "_luck", "_others", "_provider", "at")

    def __init__(self, luck: Luck, provider: str, columns: Mapping[str, Distribution | None]) -> None:
        self._luck = luck
        self._provider = provider
        self._columns = dict(columns)
        self.at = {purpose: place for place, purpose in enumerate(columns)}
        self._first: dict[int, list[_Row]] = {}
        self._others: dict[tuple[int, int, int], dict[int, list[_Row]]] = {}

    def __call__(self, truth: Truth, call: int) -> _Row:
        index = truth.index
        if call == 0 and truth.retry == 0 and truth.step == 0:
            block = self._first.get(index >> _BLOCK_BITS)
            if block is None:
                block = self._draw(self._first, index >> _BLOCK_BITS, _BLOCK, (0, 0, 0))
            return block[index & (_BLOCK - 1)]
        address = (call, truth.step, truth.retry)
        blocks = self._others.get(address)
        if blocks is None:
            blocks = self._others[address] = {}
        block = blocks.get(index >> _OTHER_BITS)
        if block is None:
            block = self._draw(blocks, index >> _OTHER_BITS, _OTHER, address)
        return block[index & (_OTHER - 1)]

    def _draw(self, blocks: dict[int, list[_Row]], number: int, size: int, address: tuple[int, int, int]) -> list[_Row]:
        columns = [
            self._luck.series(purpose, self._provider, *address, through=through).array(number * size, size).tolist()
            for purpose, through in self._columns.items()
        ]
        if len(blocks) >= _KEPT:
            del blocks[next(iter(blocks))]
        block = blocks[number] = list(zip(*columns, strict=True)) or [()] * size
        return block
