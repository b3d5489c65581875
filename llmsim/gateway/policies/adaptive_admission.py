"""Turn some away at the door while everybody waits too long."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from llmsim.algorithms.codel import Codel
from llmsim.errors import Rejected
from llmsim.gateway.contract import Handler, Run
from llmsim.gateway.registry import register
from llmsim.types import CallNext, Outcome, Request, Response, Usage
from llmsim.units import PositiveDuration, format_duration

__all__ = ["AdaptiveAdmission"]


@register("adaptive_admission")
@dataclass(frozen=True, kw_only=True)
class AdaptiveAdmission:
    """Shed requests at the entrance when even the quickest answers have been slow to begin for a while (CoDel).

    **Protects from** a queue that stands: once more comes in than goes out, everybody waits, then everybody times out,
    and work is done for people who have left. Turning away what is too much keeps the others' waits short. It needs to
    know nothing about the upstream, neither slots nor limits.

    **Costs** the requests that are turned away. `Rejected` comes at once, so a fallback further out can take them.

    **Makes things worse** when first chunks are slow for another reason than a queue: a model that thinks for longer
    than `target`, or only long prompts for an `interval`. Then it sheds though nothing is overloaded.

    What is watched is the time from the request's arrival here to its first chunk (to the answer, with
    ``stream=False``). Requests in a burst wait too, but some do not; a standing queue is one where *nobody* is quick.
    So shedding begins when all of an `interval` were above `target`, gently, gets denser with the square root of how
    many were shed, and ends with the first quick one (Nichols and Jacobson, "Controlling Queue Delay", ACM Queue 2012;
    RFC 8289). The law was made for senders that slow down when they are told; users do not, so it takes some intervals
    until enough is shed. (Ten slots of one second, 20 requests a second, `target` 2 s, `interval` 1 s: after a minute
    nobody waits for more than 5.3 s; without it the last of two minutes wait for two.) A bound on everyone's
    wait needs a `concurrency_limit` with a bounded queue.

    Parameters
    ----------
    target
        Time to first chunk that the quickest may take. Routers have 5 ms of pure waiting; here the model's own time is
        in it, so it has to be above that. Chosen: twice the median of hosted models in fixie-ai/thefastest.ai
        (April/May 2024: 0.36 s to 0.46 s), and some more.
    interval
        How long that must have lasted. Routers have 100 ms, their worst round trip: what it takes until somebody who
        was let in says how it was. Chosen: 5 s, that of an LLM call in trouble; longer ones shed more gently.
    shared
        One state for all replicas of the gateway instead of one each.

    Notes
    -----
    Raises `Rejected`. Emits ``rejected`` (``reason``: ``delay``) for every request shed, and ``adaptive_admission``
    (``state``: ``shedding`` or ``admitting``) when that changes.

    Examples
    --------
    >>> AdaptiveAdmission(target=2.0).interval
    5.0
    """

    __pydantic_config__: ClassVar[Any] = {"extra": "forbid"}

    target: PositiveDuration = 1.0
    interval: PositiveDuration = 5.0
    shared: bool = False
    name: str | None = None

    def __post_init__(self) -> None:
        for word in ("target", "interval"):
            if not getattr(self, word) > 0:
                raise ValueError(f"adaptive_admission {word} must be above 0, not {getattr(self, word)!r}")

    def start(self, run: Run) -> Handler:
        """Fresh state: everybody is let in."""
        return _AdmissionHandler(self, run)


class _AdmissionHandler:
    __slots__ = ("_codel", "_ended", "_in_flight", "_now", "_run", "_shedding", "_target_s")

    def __init__(self, spec: AdaptiveAdmission, run: Run) -> None:
        self._run = run
        self._now = run.now
        self._target_s = spec.target
        self._codel = Codel(spec.target, spec.interval)
        self._shedding = False
        self._in_flight = 0
        self._ended = self._end

    async def __call__(self, request: Request, call_next: CallNext) -> Response:
        start, codel = self._now(), self._codel
        if not codel.admit(start):
            self._tell()
            self._run.emit("rejected", request, reason="delay")
            upstream = self._run.upstream
            message = f"nobody had a first chunk within {format_duration(self._target_s)}, for a while"
            raise Rejected(f"{upstream or 'the gateway'} sheds load: {message}", upstream=upstream)
        self._in_flight += 1
        try:
            response = await call_next(request)
        except BaseException:
            now = self._now()
            # Who gave up after the target waited for longer than that; who failed before it says nothing.
            if now - start >= self._target_s:
                codel.delay(now, now - start)
            self._leave()
            raise
        now = self._now()
        codel.delay(now, now - start)
        self._tell()
        response.on_end(self._ended)
        return response

    def _end(self, outcome: Outcome, usage: Usage) -> None:
        self._leave()

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._codel.idle()
        self._tell()

    def _tell(self) -> None:
        """Say so if shedding has begun or ended."""
        if self._codel.shedding != self._shedding:
            self._shedding = self._codel.shedding
            self._run.emit("adaptive_admission", state="shedding" if self._shedding else "admitting")
