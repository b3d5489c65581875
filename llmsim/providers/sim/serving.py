"""A self-hosted serving engine with continuous batching: its steps, without simulating them one by one.

The engine works in steps. In each one every decoding sequence gets one token, and prompts that have a slot are
prefilled, first come first served, as far as the batch has room. What a step costs depends on what is in it, so a long
prompt stalls every stream that is running. Calls enter a free slot at the beginning of a step and leave it at the
end of one; a step that has begun is not interrupted by anything but an outage.

Between an arrival, a departure and the end of a prompt all steps are alike: they are a *run*, which is
jumped over. Whatever does not change within a run is counted in steps, not in seconds, so that a change of speed
costs nothing but a new run.

The form of the model was chosen and checked on a llama.cpp server under open-loop load, where it predicted time to
first token and total time to 8-12 % (tests/calibrate/test_serving.py has the figures).
"""

from __future__ import annotations

import math
from collections import deque
from heapq import heappop, heappush
from typing import Any

from llmsim.providers.sim.serving_job import (
    DECODING,
    GONE,
    PREFILLING,
    QUEUED,
    Job,
    LongestSteps,
    OnCancel,
    ServingEvent,
)
from llmsim.providers.sim.serving_spec import Serving

__all__ = ["ServingEngine"]


class ServingEngine:
    """The engine by itself: told the time, never asks for it.

    Every method that takes `now` first brings the engine up to that time; times must not decrease. Events are
    handed out by `advance`, in order of time. A job that was cancelled has no more events.

    Parameters
    ----------
    spec
        Slots, costs and batch size.
    on_cancel
        What the engine does with a job that nobody wants any more: ``free`` its slot at the end of the step,
        ``finish_prefill``, or ``continue`` to the last token.
    """

    def __init__(self, spec: Serving, on_cancel: OnCancel = "free") -> None:
        self.spec = spec
        self.on_cancel = on_cancel
        self.slots = spec.slots  #: usable now
        self.scale = 1.0  #: of all costs
        self.busy = 0  #: slots in use
        self.waiting = 0  #: jobs in the queue
        self._queue: deque[Job] = deque()
        self._prefilling: list[Job] = []
        self._to_prefill = 0  # tokens of all of these
        self._decoding = 0
        self._context = 0  # tokens of all of these
        self._leaving: list[Job] = []  # cancelled; out at the end of the step
        self._jobs: dict[Job, None] = {}
        self._ends: list[tuple[int, int, Job]] = []  # heap: step of the last token
        self._watches: list[tuple[int, int, Job]] = []  # heap: step of a token that somebody waits for
        self._numbers = 0  # ties in the heaps go by order
        self._due: list[ServingEvent] = []
        self._steps = 0  # done before this run
        self._start_s = 0.0  # of this run …
        self._count = 0  # … which has so many steps, 0: the engine is idle …
        self._cost_s = 0.0  # … of this length …
        self._prefill = 0  # … with so many prompt tokens each
        self.runs = 0  #: so far; another number means that steps may have another length
        self._longest = LongestSteps()

    # -- from outside ------------------------------------------------------------------------------------------

    @property
    def next_event_s(self) -> float:
        """When `advance` is due next if nothing else happens; infinity while there is nothing to do."""
        if not self._count:
            return math.inf
        end_s = self._start_s + self._count * self._cost_s
        watches = self._watches
        while watches and watches[0][2].watched_step != watches[0][0]:
            heappop(watches)
        if not watches:
            return end_s
        return min(end_s, self._start_s + (watches[0][0] - self._steps) * self._cost_s)

    @property
    def step_s(self) -> float:
        """Length of the steps that run now; 0 while it is idle."""
        return self._cost_s if self._count else 0.0

    def advance(self, now: float) -> list[ServingEvent]:
        """What happened up to and at `now`, each event once."""
        self._catch_up(now)
        due, self._due = self._due, []
        return due

    def arrive(self, call: Any, input_tokens: int, output_tokens: int, now: float, *, cached_tokens: int = 0) -> Job:
        """Queue a call.

        Parameters
        ----------
        call
            Whatever the caller wants to find again in ``job.call``.
        input_tokens
            Prompt tokens that are not cached. At least one is computed even if all are: the last one's output is what
            the first token is drawn from.
        output_tokens
            Length of the answer, at least 1.
        cached_tokens
            Further prompt tokens, which are not computed again.
        """
        self._catch_up(now)
        job = Job(call, max(input_tokens, 1), max(output_tokens, 1), cached_tokens, now)
        self._jobs[job] = None
        self._queue.append(job)
        self.waiting += 1
        if not self._count:
            self._plan(now)
        elif self.busy < self.slots:
            self._cut(now)
        return job

    def cancel(self, job: Job, now: float) -> int:
        """Nobody wants it any more; returns the tokens it has made."""
        self._catch_up(now)
        made = self.generated(job, now)
        if not job.wanted or job.state == GONE:
            return made
        job.wanted = False
        job.watched_step = -1
        if job.state == QUEUED and self.on_cancel != "continue":
            self.waiting -= 1  # its place in the deque is skipped when its turn comes
            self._gone(job, now)
        elif self.on_cancel == "free" or (self.on_cancel == "finish_prefill" and not self._in_prefill(job, now)):
            self._leaving.append(job)
            self._cut(now)
        return made

    def generated(self, job: Job, now: float) -> int:
        """Tokens it has made up to and at `now`."""
        self._catch_up(now)
        return self._made(job, now)

    def longest_gap_s(self, job: Job, now: float) -> float:
        """Longest gap between two of its tokens so far; NaN while there are fewer than two."""
        self._catch_up(now)
        return self._longest_gap_s(job, now)

    def silence(self, now: float) -> tuple[float, float]:
        """Beginning and end of the step that runs at `now` (or begins then): until its end no stream has a token."""
        self._catch_up(now)
        done = self._whole_steps(now)
        return self._start_s + done * self._cost_s, self._start_s + (done + 1) * self._cost_s

    def watch(self, job: Job, tokens: int, now: float) -> None:
        """Have a ``tokens`` event when it has made this many (fewer than all); replaces its last watch.

        Watching changes nothing about the timeline, to the last bit.
        """
        self._catch_up(now)
        if job.state != DECODING or not job.wanted:
            return
        step = max(job.first_step + tokens - 1, self._steps + self._whole_steps(now))
        job.watched_step = step
        self._numbers += 1
        heappush(self._watches, (step, self._numbers, job))

    def rescale(self, now: float, *, slots: int | None = None, scale: float | None = None) -> None:
        """From the next step on, have this many slots, and multiply all costs. Jobs that have a slot keep it."""
        self._catch_up(now)
        slots = self.slots if slots is None else slots
        scale = self.scale if scale is None else scale
        changes = scale != self.scale or (slots > self.slots and self.waiting > 0)
        self.slots, self.scale = slots, scale
        if not self._count:
            self._plan(now)
        elif changes:
            self._cut(now)

    def clear(self, now: float) -> list[Job]:
        """An outage: everything is lost, the step that runs too. Returns the jobs that were wanted, with ``made``."""
        self._catch_up(now)
        lost = []
        for job in tuple(self._jobs):
            self._gone(job, now)
            if job.wanted:
                lost.append(job)
        self._count = self.busy = self.waiting = self._decoding = self._context = self._to_prefill = 0
        for held in (self._queue, self._prefilling, self._leaving, self._ends, self._watches, self._longest):
            held.clear()
        return lost

    # -- runs --------------------------------------------------------------------------------------------------

    def _boundary(self, now: float) -> int:
        """The first step boundary of this run at or after `now`, counted from its start."""
        start_s, cost_s = self._start_s, self._cost_s
        if now <= start_s:
            return 0
        step = math.ceil((now - start_s) / cost_s)
        while start_s + (step - 1) * cost_s >= now:  # the division rounds; boundaries are what is compared
            step -= 1
        while start_s + step * cost_s < now:
            step += 1
        return min(step, self._count)

    def _whole_steps(self, now: float) -> int:
        """Steps of this run that are done at `now`."""
        if not self._count:
            return 0
        step = self._boundary(now)
        return step if not step or self._start_s + step * self._cost_s == now else step - 1

    def _made(self, job: Job, now: float) -> int:
        if job.state != DECODING:
            return job.made
        return min(1 + self._steps + self._whole_steps(now) - job.first_step, job.output_tokens)

    def _longest_gap_s(self, job: Job, now: float) -> float:
        if job.state != DECODING:
            return job.longest_gap_s
        longest = self._longest.since(job.first_step)
        return self._cost_s if self._whole_steps(now) and not longest >= self._cost_s else longest

    @staticmethod
    def _in_prefill(job: Job, now: float) -> bool:
        return job.state == PREFILLING and job.slot_s < now  # at the very instant it has not begun

    def _cut(self, now: float) -> None:
        """Something changes with the next step: let the run end with the one that runs."""
        step = self._boundary(now)
        if not step:
            self._plan(self._start_s)  # it has not begun
            return
        self._count = step
        self._catch_up(now)

    def _catch_up(self, now: float) -> None:
        while self._count and (end_s := self._start_s + self._count * self._cost_s) <= now:
            self._see(end_s)
            self._finish(end_s)
            self._plan(end_s)
        if self._watches:
            self._see(now)

    def _see(self, now: float) -> None:
        """Watched tokens up to `now`, which lies within the run."""
        watches = self._watches
        while watches:
            step, _, job = watches[0]
            when = self._start_s + (step - self._steps) * self._cost_s
            if job.watched_step == step:
                if when > now:
                    return
                job.watched_step = -1
                self._due.append(ServingEvent(job, "tokens", max(when, self._start_s)))
            heappop(watches)

    def _finish(self, end_s: float) -> None:
        """The run is over: prompts that are complete give their first token, some answers their last."""
        count, self._count = self._count, 0
        self._steps += count
        self._longest.add(self._steps, self._cost_s)
        if self._prefill:
            self._prefilled(count * self._prefill, end_s)
        ends = self._ends
        while ends and ends[0][0] <= self._steps:
            job = heappop(ends)[2]
            if job.state == DECODING:
                self._decoding -= 1
                self._context -= job.context_tokens
                self._done(job, end_s)

    def _prefilled(self, tokens: int, now: float) -> None:
        """So many prompt tokens were computed, first come first served."""
        self._to_prefill -= tokens
        complete = 0
        for job in self._prefilling:
            if tokens < job.to_prefill:
                job.to_prefill -= tokens
                break
            tokens -= job.to_prefill
            job.to_prefill = 0
            complete += 1
            self._first_token(job, now)
        del self._prefilling[:complete]

    def _first_token(self, job: Job, now: float) -> None:
        if not job.wanted and self.on_cancel == "finish_prefill":
            self.busy -= 1
            self._gone(job, now)
            return
        job.first_s = now
        job.first_step = self._steps
        if job.wanted:
            self._due.append(ServingEvent(job, "first", now))
        job.state = DECODING
        if job.output_tokens == 1:
            self._done(job, now)
        else:
            self._decoding += 1
            self._context += job.context_tokens
            self._numbers += 1
            heappush(self._ends, (self._steps + job.output_tokens - 1, self._numbers, job))

    def _done(self, job: Job, now: float) -> None:
        self.busy -= 1
        job.end_s = now
        self._gone(job, now)
        if job.wanted:
            self._due.append(ServingEvent(job, "end", now))

    def _gone(self, job: Job, now: float) -> None:
        """Note what it came to, and forget it."""
        if job.state == DECODING:
            job.made, job.longest_gap_s = self._made(job, now), self._longest_gap_s(job, now)
        job.state = GONE
        job.watched_step = -1
        del self._jobs[job]

    def _plan(self, now: float) -> None:
        """Begin a run: let calls out and in, and see how many steps will be like the next one."""
        self._start_s = now
        self._count = 0
        for job in self._leaving:
            if job.state != GONE:
                self._leave(job, now)
        self._leaving.clear()
        while self.waiting and self.busy < self.slots:
            job = self._queue.popleft()
            if job.state == QUEUED:
                self.waiting -= 1
                self.busy += 1
                job.state = PREFILLING
                job.slot_s = now
                self._prefilling.append(job)
                self._to_prefill += job.to_prefill
        ends = self._ends
        while ends and ends[0][2].state == GONE:
            heappop(ends)
        self._size_up()

    def _size_up(self) -> None:
        spec, decoding, total = self.spec, self._decoding, self._to_prefill
        if not total and not decoding:
            self._longest.clear()
            return
        cost_s = 0.0
        if decoding:
            cost_s = spec.decode_step + spec.decode_sequence * decoding + spec.decode_context * self._context
        count = self._ends[0][0] - self._steps if decoding else 1
        self._prefill = 0
        if total:
            room = max(spec.batch_tokens - decoding, 1)  # more slots than the spec knows of: capacity raised by a fault
            if total <= room:
                self._prefill, count = total, 1
            else:  # full batches until the first prompt is complete, a decoding sequence ends, or one is not full
                self._prefill = room
                alike = min(-(-self._prefilling[0].to_prefill // room), total // room)
                count = min(count, alike) if decoding else alike
            cost_s += spec.prefill_step + spec.prefill_token * self._prefill
        self._count, self._cost_s = count, cost_s * self.scale
        self.runs += 1

    def _leave(self, job: Job, now: float) -> None:
        self.busy -= 1
        if job.state == PREFILLING:
            self._prefilling.remove(job)
            self._to_prefill -= job.to_prefill
        else:
            self._decoding -= 1
            self._context -= job.context_tokens
        self._gone(job, now)
