"""The serving engine on a loop: it is woken when something becomes visible, and tells the calls."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Protocol

from llmsim.providers.sim.serving import ServingEngine
from llmsim.providers.sim.serving_job import Job, OnCancel
from llmsim.providers.sim.serving_spec import Serving

__all__ = ["EngineServer", "ServedCall"]


class _Loop(Protocol):
    def time(self) -> float: ...
    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None: ...


class ServedCall(Protocol):
    """What a call is told. All of it happens at the loop's present time."""

    def got_first(self) -> None:
        """Its first token is there."""

    def got_end(self) -> None:
        """Its last token is there."""

    def progressed(self) -> None:
        """What its reader asked for came to pass: see `EngineServer.listen`."""


class EngineServer:
    """Serves calls on one `ServingEngine`.

    The loop cannot take a timer back, and does not need to: at most one wake-up counts, the earliest that was asked
    for; one that comes too early asks again, and one that was overtaken does nothing.

    Parameters
    ----------
    spec, on_cancel
        Of the engine.
    loop
        Anything with ``time()`` and ``at(when, callback, *args)``.
    """

    def __init__(self, spec: Serving, loop: _Loop, on_cancel: OnCancel = "free") -> None:
        self._engine = ServingEngine(spec, on_cancel)
        self._loop = loop
        self._armed_s = math.inf
        self._run = 0
        self._readers: dict[Job, float] = {}  # who reads now, and the shortest silence it has to hear of

    @property
    def load(self) -> int:
        """Calls in slots and in the queue."""
        return self._engine.busy + self._engine.waiting

    @property
    def slots(self) -> int:
        """Usable now."""
        return self._engine.slots

    def arrive(self, call: ServedCall, input_tokens: int, output_tokens: int, *, cached_tokens: int = 0) -> Job:
        """Queue a call with so many prompt tokens to compute (cached ones not counted)."""
        now = self._loop.time()
        job = self._engine.arrive(call, input_tokens, output_tokens, now, cached_tokens=cached_tokens)
        # A step that begins now may have become a long one; but nothing is told before the caller has its job.
        self._wake_at(now if self._engine.runs != self._run else self._engine.next_event_s)
        return job

    def cancel(self, job: Job) -> int:
        """Its caller went away; tokens made until now. It is told nothing more."""
        self._readers.pop(job, None)
        made = self._engine.cancel(job, self._loop.time())
        self.settle()
        return made

    def rescale(self, *, latency: float, slots: int) -> None:
        """Have this latency multiplier and this many slots from the next step on."""
        self._engine.rescale(self._loop.time(), slots=slots, scale=latency)
        self.settle()

    def clear(self) -> list[Job]:
        """An outage: drop everything at once. Returns the jobs that were wanted; ``job.made`` is what they had."""
        self.settle()  # what came at this very instant was in time
        self._readers.clear()
        return self._engine.clear(self._loop.time())

    def generated(self, job: Job) -> int:
        """Tokens it has made by now."""
        return self._engine.generated(job, self._loop.time())

    def longest_gap_s(self, job: Job) -> float:
        """Longest gap between two of its tokens by now; NaN while there is none."""
        return self._engine.longest_gap_s(job, self._loop.time())

    def silence(self) -> tuple[float, float]:
        """Beginning and end of the step that runs: between them no stream has a token."""
        return self._engine.silence(self._loop.time())

    def listen(self, job: Job, tokens: int | None, silence_s: float) -> None:
        """Tell ``job.call.progressed()`` when it has made `tokens`, or when steps become longer than `silence_s`.

        Its end is told anyway. Once is not for ever: whoever wants more listens again.
        """
        if silence_s < math.inf:
            self._readers[job] = silence_s
        if tokens is not None:
            self._engine.watch(job, tokens, self._loop.time())
            self._wake_at(self._engine.next_event_s)

    def ignore(self, job: Job) -> None:
        """Nobody listens any more."""
        self._readers.pop(job, None)
        job.watched_step = -1

    def settle(self) -> None:
        """Tell what has happened up to now, and see to being woken for what comes next."""
        engine = self._engine
        for event in engine.advance(self._loop.time()):
            call: ServedCall = event.job.call
            if event.kind == "first":
                call.got_first()
            elif event.kind == "end":
                self._readers.pop(event.job, None)
                call.got_end()
            else:
                call.progressed()
        if engine.runs != self._run:
            self._run = engine.runs
            if self._readers:
                self._tell_of_silence(engine.step_s)
        self._wake_at(engine.next_event_s)

    def _wake_at(self, when: float) -> None:
        if when < self._armed_s:
            self._armed_s = when
            self._loop.at(when, self._wake, when)

    def _tell_of_silence(self, step_s: float) -> None:
        for job, silence_s in tuple(self._readers.items()):
            if step_s > silence_s:
                job.call.progressed()

    def _wake(self, when: float) -> None:
        if when == self._armed_s:
            self._armed_s = math.inf
            self.settle()
