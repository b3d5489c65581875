"""Addressed randomness: every random number is a pure function of where it is needed, never of when it is drawn.

``value = f(seed, purpose, …address…, index)``. Two policies under one seed therefore meet the same arrivals, the same
sizes and the same provider luck, and adding a policy shifts nothing.

A `Series` is one address without its last part; its elements are counted from 0. The numbers come from
Philox-4x64 (Salmon et al., SC'11): key = BLAKE2b of the address, counter = index // 4, so element *i* is the
same whatever was drawn before it and however large the blocks are. Only the raw 64-bit words are used:
``numpy.random.Generator`` streams may change between numpy versions, `random_raw` may not.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from llmsim.distributions import Distribution

__all__ = ["Luck", "Series", "request_address"]

Floats = NDArray[np.float64]

_KEPT_BLOCKS = 8  # memory per series stays bounded however many requests a run has


def _key(parts: tuple[object, ...]) -> NDArray[np.uint64]:
    text = "\x1f".join(map(str, parts)).encode()
    return np.frombuffer(hashlib.blake2b(text, digest_size=16).digest(), dtype="<u8")


class _Generator(threading.local):
    """One Philox a thread, re-keyed for every block: making a new one asks the system for entropy each time."""

    def __init__(self) -> None:
        self.philox = np.random.Philox(0)  # its key is replaced for every block; with `key=` it asks for entropy
        self.state = self.philox.state
        self.counter = np.zeros(4, dtype=np.uint64)


_generator = _Generator()


def _uniforms(key: NDArray[np.uint64], first: int, count: int) -> Floats:
    """Elements ``first … first+count`` of the series with this key, in (0, 1); `first` is a multiple of 4."""
    generator = _generator
    generator.counter[0] = first // 4
    generator.state["state"] = {"counter": generator.counter, "key": key}
    generator.philox.state = generator.state
    raw = generator.philox.random_raw(count)
    # 52 bits and a half: with 53 the largest word would round to exactly 1.0, where quantiles are infinite.
    return np.asarray(((raw >> np.uint64(12)) + 0.5) * 2.0**-52, dtype=np.float64)


class Series:
    """An endless row of numbers at one address; ``series(i)`` is element `i`.

    Parameters
    ----------
    key
        The hashed address, two 64-bit words.
    block
        How many numbers are drawn at once (a power of two). Changes speed, never values.
    transform
        Applied to a whole block of uniforms, e.g. a quantile function.
    """

    __slots__ = ("_key", "_mask", "_shift", "_transform", "blocks")

    def __init__(
        self, key: NDArray[np.uint64], block: int = 4096, transform: Callable[[Floats], Floats] | None = None
    ) -> None:
        assert block >= 4 and block & (block - 1) == 0, "block must be a power of two"
        self._key = key
        self._shift = block.bit_length() - 1
        self._mask = block - 1
        self._transform = transform
        self.blocks: dict[int, list[float]] = {}  #: the latest blocks by number

    def __call__(self, index: int) -> float:
        block = self.blocks.get(index >> self._shift)
        if block is None:
            block = self._draw(index >> self._shift)
        return block[index & self._mask]

    def _draw(self, number: int) -> list[float]:
        size = self._mask + 1
        values = _uniforms(self._key, number * size, size)
        if self._transform is not None:
            values = self._transform(values)
        if len(self.blocks) >= _KEPT_BLOCKS:
            del self.blocks[next(iter(self.blocks))]
        block: list[float] = values.tolist()
        self.blocks[number] = block
        return block

    def array(self, first: int, count: int) -> Floats:
        """Elements ``first … first + count``, shape ``(count,)``; `first` must be a multiple of 4."""
        values = _uniforms(self._key, first, count)
        return values if self._transform is None else self._transform(values)


class Luck:
    """The luck of one replication.

    Parameters
    ----------
    seed
        Any integer. Replication *r* of a scenario uses ``Luck.of(seed, r)``.

    Examples
    --------
    >>> luck = Luck(7)
    >>> luck.uniform("jitter", "12/0/0", 1) == Luck(7).uniform("jitter", "12/0/0", 1)
    True
    >>> luck.uniform("jitter", "12/0/0", 2) == luck.uniform("jitter", "12/0/0", 1)
    False
    """

    def __init__(self, seed: int | str) -> None:
        self.seed = seed
        self._series: dict[tuple[object, ...], Series] = {}

    @classmethod
    def of(cls, seed: int, replication: int) -> Luck:
        """Luck of one replication; replications are independent of each other."""
        return cls(f"{seed}#{replication}")

    def series(self, purpose: str, *address: object, block: int = 4096, through: Distribution | None = None) -> Series:
        """A new row of numbers at ``(seed, purpose, *address)``, through a quantile function if one is given."""
        return Series(_key((self.seed, purpose, *address)), block, through.quantile if through is not None else None)

    def uniform(self, purpose: str, request_id: str = "", *address: object) -> float:
        """One number in (0, 1) for this purpose, request and n-th time.

        Structural ids (``session/step/user-retry``) are served from blocks; any other id is hashed.
        """
        place = request_address(request_id)
        if place is None:
            word = int(_key((self.seed, purpose, request_id, *address))[0])
            return ((word >> 12) + 0.5) * 2.0**-52
        index, step, retry = place
        name = (purpose, step, retry, *address)
        series = self._series.get(name)
        if series is None:
            series = self._series[name] = self.series(purpose, step, retry, *address, block=64)
        return series(index)

    def let_go(self) -> None:
        """Forget the blocks that are drawn; they would be drawn again, and be the same."""
        self._series.clear()


def request_address(request_id: str) -> tuple[int, int, int] | None:
    """``(session, step, user-retry)`` of a structural request id, or None for any other id.

    Examples
    --------
    >>> request_address("12/0/1"), request_address("req-abc")
    ((12, 0, 1), None)
    """
    try:
        if request_id.endswith("/0/0"):  # nearly all, in a third of the time
            return int(request_id[:-4]), 0, 0
        session, step, retry = request_id.split("/")
        return int(session), int(step), int(retry)
    except ValueError:  # other parts, or not three
        return None
