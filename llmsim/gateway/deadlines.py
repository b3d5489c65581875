"""A time limit for many concurrent awaits at a fraction of the price of `asyncio.timeout`.

`asyncio.timeout` arms and cancels one loop timer for every use; in a gateway nearly every one is cancelled unused. A
`Deadlines` keeps limits of one length in the order in which they end, which is the order in which they
began, and arms one timer for the first. On expiry it does what `asyncio.Timeout` does:
``task.cancel()``, and on the way out ``task.uncancel()`` decides whether the cancellation was its own. The word of the
failure travels inwards as the message of the cancellation, so that whoever is further in can tell a timeout from a
caller who went away (`cancelled_by`).
"""

from __future__ import annotations

from asyncio import AbstractEventLoop, CancelledError, TimerHandle, current_task, get_running_loop
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Alarm", "Deadlines", "cancelled_by"]


class _Word(str):
    """The message of a cancellation of ours; a type of its own, since anybody may cancel with any text."""

    __slots__ = ()


def cancelled_by(error: BaseException) -> str:
    """The word (``ttft_timeout``, …) of the time limit that cancelled this await; empty if something else did."""
    if isinstance(error, CancelledError) and error.args and isinstance(error.args[0], _Word):
        return error.args[0]
    return ""


class Alarm:
    """One await under a limit; made by `Deadlines.enter`, handed back to `Deadlines.leave`."""

    __slots__ = ("cancelling", "expired", "task", "timer", "when")

    def __init__(self, when: float, task: Any) -> None:
        self.when = when
        self.task = task  # None once left
        self.cancelling: int = task.cancelling()
        self.expired = False
        self.timer: TimerHandle | None = None  # only where it did not fit into the queue


class Deadlines:
    """Limits of one length: those of all policies of a gateway that have such (`Run.deadlines`).

    ::

        alarm = deadlines.enter(now() + 5.0)
        try:
            response = await call_next(request)
        except BaseException as error:
            if deadlines.leave(alarm) and isinstance(error, CancelledError):
                raise TtftTimeout(...) from error
            raise
        deadlines.leave(alarm)

    Parameters
    ----------
    now
        Seconds on the running loop's clock.
    word
        What `cancelled_by` says to those who are cancelled.
    """

    __slots__ = ("_armed_for", "_loop", "_now", "_queue", "_timer", "_word")

    def __init__(self, now: Callable[[], float], word: str = "timeout") -> None:
        self._now = now
        self._word = _Word(word)
        self._queue: deque[Alarm] = deque()  # by `when`; left ones stay until they are first
        self._timer: TimerHandle | None = None
        self._armed_for = 0.0
        self._loop: AbstractEventLoop | None = None

    def __len__(self) -> int:
        """How many limits are running (for tests: it counts)."""
        return sum(alarm.task is not None for alarm in self._queue)

    @property
    def armed(self) -> bool:
        """Whether a loop timer is armed for the queue."""
        return self._timer is not None

    def enter(self, when: float) -> Alarm:
        """Limit the current task from now until it leaves: at `when` (loop time, in the future) it is cancelled."""
        loop = self._loop
        if loop is None:
            loop = self._loop = get_running_loop()
        # Without its loop current_task() asks for it, which on Python 3.11 is a system call every time.
        alarm = Alarm(when, current_task(loop))
        queue = self._queue
        if queue and when >= queue[-1].when:
            queue.append(alarm)
        elif not queue:
            queue.append(alarm)
            if self._timer is None:
                self._arm(when)
            elif when < self._armed_for:
                self._timer.cancel()
                self._arm(when)
        else:  # ends before one that began earlier, because the caller brought a tighter limit
            alarm.timer = get_running_loop().call_at(when, self._expire, alarm)
        return alarm

    def leave(self, alarm: Alarm) -> bool:
        """End a limit; must be called exactly once, however the await ended.

        Returns
        -------
        bool
            Whether the limit passed and nobody else wants the task cancelled: a CancelledError that is on its
            way is then this limit's own, to be replaced by the error that says so.
        """
        task = alarm.task
        alarm.task = None
        if alarm.expired:
            return bool(task.uncancel() <= alarm.cancelling)
        if alarm.timer is not None:
            alarm.timer.cancel()
            return False
        queue = self._queue
        if queue[0] is alarm:
            queue.popleft()
            while queue and queue[0].task is None:
                queue.popleft()
            # The timer stays armed even for nobody: it fires once a duration at most, while cancelling and arming
            # it for every request of a quiet gateway would cost more than the request's own bookkeeping.
        return False

    def _arm(self, when: float) -> None:
        self._armed_for = when
        self._timer = get_running_loop().call_at(when, self._fire)

    def _fire(self) -> None:
        self._timer = None
        queue = self._queue
        # A loop may call a timer up to its clock's resolution early: what it was armed for is due all the same.
        due = max(self._armed_for, self._now())
        while queue and (queue[0].task is None or queue[0].when <= due):
            alarm = queue.popleft()
            if alarm.task is not None:
                self._expire(alarm)
        if queue:
            self._arm(queue[0].when)

    def _expire(self, alarm: Alarm) -> None:
        alarm.expired = True
        alarm.timer = None
        alarm.task.cancel(self._word)
