"""asyncio's own loop with a selector that jumps over the waiting: the reference for the order of events, and a peer."""

import asyncio
import itertools
import selectors


class _Jump(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout=None):
        if timeout is None:
            raise RuntimeError("nothing left to happen")
        self.now += max(timeout, 0.0)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self):
        self.clock = _Jump()
        super().__init__(self.clock)

    def time(self):
        return self.clock.now


class _When(float):
    """A time that sorts by arrival where it is equal."""

    def __new__(cls, value, number):
        self = super().__new__(cls, value)
        self.number = number
        return self

    def __lt__(self, other):
        return (float(self), self.number) < (float(other), getattr(other, "number", -1))


class OrderlyLoop(JumpingLoop):
    """Timers of one instant in order of arrival: asyncio's own heap leaves that to chance."""

    def __init__(self):
        super().__init__()
        self._numbers = itertools.count()

    def call_at(self, when, callback, *args, context=None):
        return super().call_at(_When(when, next(self._numbers)), callback, *args, context=context)
