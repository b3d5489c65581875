"""Asking a verifier whether a kept answer fits, and not trusting one that does not say."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from typing import Any

from llmsim.errors import EngineError, PolicyError
from llmsim.gateway.caching import CacheUse, Judge, Match
from llmsim.gateway.contract import Run
from llmsim.types import Request

__all__ = ["Verifier"]

#: No failure of a verifier: a broken contract, or the simulation cannot go on.
_NOT_ITS_OWN = (EngineError, PolicyError, AssertionError)


class Verifier:
    """A judge under a time limit. Whatever goes wrong with it is a no: a wrong answer costs more than a call.

    Parameters
    ----------
    judge
        Whom to ask.
    limit_s
        Longest that it is waited for.

    Notes
    -----
    Emits ``verified``, with ``verdict`` (``accepted``, ``rejected`` or ``failed``), ``similarity`` and ``made_for``.
    """

    __slots__ = ("_judge", "_limit", "_limit_s", "_run")

    def __init__(self, judge: Judge, limit_s: float, run: Run) -> None:
        self._judge = judge
        self._limit_s = limit_s
        self._limit = run.deadlines(limit_s, "verifier_timeout")
        self._run = run

    async def __call__(self, request: Request, match: Match, use: CacheUse) -> bool:
        """Whether it said yes, in time."""
        use.verifications += 1
        alarm = self._limit.enter(self._run.now() + self._limit_s)
        try:
            verdict = "accepted" if await self._said(request, match) else "rejected"
        except BaseException as error:
            late = self._limit.leave(alarm) and isinstance(error, CancelledError)
            if isinstance(error, _NOT_ITS_OWN) or not (late or isinstance(error, Exception)):
                raise
            verdict = "failed"
        else:
            self._limit.leave(alarm)
        use.verified = verdict
        fields = {"verdict": verdict, "similarity": round(match.similarity, 4), "made_for": match.entry.request_id}
        self._run.emit("verified", request, **fields)
        return verdict == "accepted"

    async def _said(self, request: Request, match: Match) -> bool:
        judged: Any = self._judge(request, match.entry)
        if not inspect.isawaitable(judged):
            message = "its verifier is not async; write async def verifier(request, entry): return True or False"
            raise PolicyError(message, policy=self._run.name)
        said: Any = await judged
        if not isinstance(said, bool):
            raise PolicyError(f"its verifier returned {said!r}; it must return True or False", policy=self._run.name)
        return said
