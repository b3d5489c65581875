"""What a serving engine keeps about a call, and about the lengths of its steps."""

from __future__ import annotations

import math
from bisect import bisect_right
from typing import Any, Literal, NamedTuple

__all__ = ["DECODING", "GONE", "PREFILLING", "QUEUED", "Job", "LongestSteps", "OnCancel", "ServingEvent"]

OnCancel = Literal["free", "finish_prefill", "continue"]

QUEUED, PREFILLING, DECODING, GONE = range(4)


class LongestSteps:
    """The longest step since any step, in O(log n): only those are kept that no later one equals."""

    __slots__ = ("_costs", "_steps")

    def __init__(self) -> None:
        self._steps: list[int] = []  # last step of a run
        self._costs: list[float] = []  # length of its steps; decreases

    def add(self, last_step: int, cost_s: float) -> None:
        while self._costs and self._costs[-1] <= cost_s:
            self._costs.pop()
            self._steps.pop()
        self._steps.append(last_step)
        self._costs.append(cost_s)

    def since(self, step: int) -> float:
        """Longest of those after `step`; NaN if there is none."""
        place = bisect_right(self._steps, step)
        return self._costs[place] if place < len(self._costs) else math.nan

    def clear(self) -> None:
        self._steps.clear()
        self._costs.clear()


class Job:
    """One call on the engine. Times are NaN until they are known."""

    __slots__ = (
        "arrived_s",
        "call",
        "context_tokens",
        "end_s",
        "first_s",
        "first_step",
        "input_tokens",
        "longest_gap_s",
        "made",
        "output_tokens",
        "slot_s",
        "state",
        "to_prefill",
        "wanted",
        "watched_step",
    )

    def __init__(self, call: Any, input_tokens: int, output_tokens: int, cached_tokens: int, now: float) -> None:
        self.call = call
        self.input_tokens = input_tokens
        self.output_tokens = output_tokens
        self.context_tokens = cached_tokens + input_tokens + output_tokens // 2  # while it decodes, on average
        self.arrived_s = now
        self.slot_s = self.first_s = self.end_s = math.nan
        self.state = QUEUED
        self.to_prefill = input_tokens
        self.first_step = 0  # number of the step that gave the first token
        self.made = 0  # once it is gone: its tokens …
        self.longest_gap_s = math.nan  # … and longest gap
        self.wanted = True
        self.watched_step = -1


class ServingEvent(NamedTuple):
    """Something became visible from outside."""

    job: Job
    kind: Literal["first", "tokens", "end"]
    time_s: float
