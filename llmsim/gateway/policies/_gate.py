"""Permits with a line before them: what bulkhead, fair queue and waiting room have in common."""

from __future__ import annotations

from llmsim.algorithms.permits import Permits
from llmsim.algorithms.queues import Ticket
from llmsim.gateway.contract import Run
from llmsim.gateway.policies._line import WHY, Line, Queue, Room, turned_away
from llmsim.types import Request

__all__ = ["Gate"]


class Gate:
    """Go in at once, or wait, or be turned away; and out again.

    Parameters
    ----------
    run
        The policy's.
    permits
        What may be inside.
    queue
        Who waits.
    what
        Whose turn it is not, for error messages.
    room
        What to ask in place of `permits`, for one that keeps books of its own as well.
    """

    __slots__ = ("_run", "_what", "line", "permits")

    def __init__(self, run: Run, permits: Permits, queue: Queue, what: str, room: Room | None = None) -> None:
        self._run = run
        self._what = what
        self.permits = permits
        self.line = Line(run, queue, room or permits)

    def is_open(self, now: float) -> bool:
        """Whether one may go in at once: nobody waits, and there is room."""
        return not self.line and self.permits.wait_s(None, now) <= 0

    def full(self, request: Request) -> Exception:
        """The error where nobody waits."""
        return turned_away(self._run, request, f"{self._what} is full", "limit", self.permits.expected_s(0))

    async def wait(self, request: Request, ticket: Ticket, timeout_s: float) -> float:
        """Wait for a turn, which is taken; when it came, on the loop's clock.

        Raises
        ------
        Rejected
            When it did not come.
        """
        reason = await self.line.wait(ticket, timeout_s)
        now = self._run.now()
        if reason:
            expected_s = self.permits.expected_s(len(self.line))
            raise turned_away(self._run, request, f"{self._what} is full: {WHY[reason]}", reason, expected_s)
        if now > ticket.arrived_s:
            self._run.emit("queued", request, waited_s=round(now - ticket.arrived_s, 6))
        return now

    def leave(self, began_s: float) -> None:
        """One who went in at `began_s` has ended: the next, please."""
        self.permits.ended(self._run.now() - began_s)
        self.line.advance()
