"""The same key to the same place, whatever else comes and goes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import blake2b

__all__ = ["Rendezvous", "bounded"]

_MASK = (1 << 64) - 1


def _hash(text: str) -> int:
    # Not hash(): that differs from process to process, and replicas must agree.
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def _mixed(word: int) -> int:
    """The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): every bit of the input moves all of the output."""
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


class Rendezvous:
    """Highest random weight: each key ranks the places anew, and goes to its first.

    Takes a place away, and only the keys that were there move, each to its own second; add one, and it takes an even
    share from all. (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", IEEE/ACM ToN 6(1),
    1998.) For the handful of upstreams of a gateway that is simpler than a ring of virtual nodes, and exactly even.

    Parameters
    ----------
    names
        Of the places.

    Examples
    --------
    >>> first, *others = Rendezvous(["a", "b", "c"]).ranked("session 7")
    >>> Rendezvous(others).ranked("session 7") == others
    True
    """

    __slots__ = ("_seeds",)

    def __init__(self, names: Iterable[str]) -> None:
        self._seeds = [(name, _hash(name)) for name in names]

    def ranked(self, key: str) -> list[str]:
        """All places, the key's own first."""
        hashed = _hash(key)
        scored = sorted([(_mixed(hashed ^ seed), name) for name, seed in self._seeds], reverse=True)
        return [name for _, name in scored]


def bounded(loads: Sequence[int], bound: float | None) -> int:
    """The first place that one more call leaves at or below `bound` times the average load.

    Consistent hashing with bounded loads (Mirrokni, Thorup, Zadimoghaddam, SODA 2018): a hot key spills to its next
    places, in order, instead of sinking its own.

    Parameters
    ----------
    loads
        Calls under way at each place, in the key's order.
    bound
        At least 1. None: no bound.

    Examples
    --------
    >>> [bounded(loads, 1.25) for loads in ([0, 0, 0], [2, 0, 0], [3, 3, 0], [9, 9, 9])]
    [0, 1, 2, 0]
    """
    if bound is None:
        return 0
    most = math.ceil(bound * (sum(loads) + 1) / len(loads))
    return next(place for place, load in enumerate(loads) if load < most)
