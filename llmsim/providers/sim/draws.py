"""What chance has in store for the calls to one provider."""

from __future__ import annotations

from llmsim.distributions import Distribution
from llmsim.luck import Luck, Series
from llmsim.traffic.workload import Truth

__all__ = ["CallLuck"]

_BLOCK_BITS = 9
_BLOCK_MASK = (1 << _BLOCK_BITS) - 1


class CallLuck:
    """One purpose's draws, addressed by (request, n-th call of it to this provider).

    Parameters
    ----------
    luck
        Of the replication.
    purpose, provider
        The address.
    distribution
        Through whose quantile function the uniforms go; None: they stay as they are.
    """

    __slots__ = ("_address", "_distribution", "_first", "_first_blocks", "_luck", "_others")

    def __init__(self, luck: Luck, purpose: str, provider: str, distribution: Distribution | None = None) -> None:
        self._luck = luck
        self._address = (purpose, provider)
        self._distribution = distribution
        self._first = self._series(0, 0, 0, block=_BLOCK_MASK + 1)
        self._first_blocks = self._first.blocks  # looked into directly: two such draws for every call
        self._others: dict[tuple[int, int, int], Series] = {}

    def _series(self, call: int, step: int, retry: int, block: int) -> Series:
        purpose, provider = self._address
        return self._luck.series(purpose, provider, call, step, retry, block=block, through=self._distribution)

    def __call__(self, truth: Truth, call: int) -> float:
        if call == 0 and truth.retry == 0 and truth.step == 0:
            index = truth.index
            block = self._first_blocks.get(index >> _BLOCK_BITS)
            return self._first(index) if block is None else block[index & _BLOCK_MASK]
        key = (call, truth.step, truth.retry)
        series = self._others.get(key)
        if series is None:
            series = self._others[key] = self._series(*key, block=256)
        return series(truth.index)
