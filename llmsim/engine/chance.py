"""The global `random` generator, one for each simulation.

The functions of the `random` module are methods of one hidden generator. While a simulation runs, that generator is of
a class that asks, at each draw, whose thread it is: a simulation draws from a generator of its own, seeded for it, and
everybody else from the hidden one, whose state no simulation touches. So two simulations in two threads are as
reproducible as one, and nothing has to be restored.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from llmsim.engine.exchange import Exchange

__all__ = ["Chance"]

Draw = Callable[..., Any]


class Chance:
    """What is exchanged in the `random` module.

    Parameters
    ----------
    own
        Gives the generator of the simulation that runs in the calling thread, None elsewhere.
    in_place
        See `Exchange`.
    """

    def __init__(self, own: Callable[[], random.Random | None], *, in_place: bool = True) -> None:
        self._own = own
        self._hidden: Any = random._inst  # noqa: SLF001 - this is the global generator
        self._class = _dispatching(own)
        # Two of the module's functions are C methods of the generator, bound long ago: no class reaches them.
        self._builtins = [Exchange(random, name, self._bound, in_place=in_place) for name in ("random", "getrandbits")]

    def begin(self) -> None:
        """Give every simulation a generator of its own."""
        self._hidden.__class__ = self._class
        for builtin in self._builtins:
            builtin.begin()

    def end(self) -> None:
        """Go back to one for all."""
        for builtin in self._builtins:
            builtin.end()
        self._hidden.__class__ = random.Random

    def _bound(self, real: Draw) -> Draw:
        own, name = self._own, real.__name__

        def draw(*args: Any) -> Any:
            generator = own()
            return real(*args) if generator is None else getattr(generator, name)(*args)

        return draw


def _dispatching(own: Callable[[], random.Random | None]) -> type[random.Random]:
    core: Any = random.Random.__base__

    def method(name: str) -> Draw:
        real = getattr(core, name)

        def dispatch(self: random.Random, *args: Any) -> Any:
            return real(own() or self, *args)

        return dispatch

    def get_gauss_next(self: random.Random) -> float | None:
        found: float | None = vars(own() or self)["gauss_next"]
        return found

    def set_gauss_next(self: random.Random, value: float | None) -> None:
        vars(own() or self)["gauss_next"] = value

    # Everything that Random does comes down to these, in its C base class; so they stand between the two. (Overriding
    # Random's own methods would not do: the module's functions were bound to those long ago.)
    names = ("random", "getrandbits", "getstate", "setstate")
    namespace: dict[str, Any] = {name: method(name) for name in names}

    def seed(self: random.Random, a: Any = None) -> None:
        generator = own()
        if generator is not None and a is None:
            a = generator.getrandbits(256)  # `random.seed()`: not from the system, it is a simulation's
        core.seed(generator or self, a)

    namespace["seed"] = seed
    namespace["gauss_next"] = property(get_gauss_next, set_gauss_next)
    return type("Random", (random.Random, type("_Core", (core,), namespace)), {})
