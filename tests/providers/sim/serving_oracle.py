"""The serving engine written down step by step: slow, and simple enough to be believed."""

import math
from dataclasses import dataclass, field
from itertools import pairwise

from llmsim.providers.sim.serving_spec import Serving

#: SmolLM2-135M on two CPU cores, as `Serving` describes it.
SMALL = Serving(slots=4, prefill_step=0.03, prefill_token=0.0076, decode_sequence=0.0168)


@dataclass
class Asked:
    """One call as the oracle sees it."""

    arrived_s: float
    input_tokens: int
    output_tokens: int
    remaining: int = 0
    slot_s: float = math.nan
    times: list[float] = field(default_factory=list)  # of its tokens
    cancelled_s: float = math.inf
    decoding: bool = False
    leaves: bool = False  # at the next boundary

    def made(self, now):
        return sum(time <= now for time in self.times)

    def longest_gap(self, now):
        seen = [time for time in self.times if time <= now]
        return max((b - a for a, b in pairwise(seen)), default=math.nan)

    def events(self):
        """(kind, time) of what is told about it: nothing after it was cancelled."""
        told = [("first", self.times[0])] if self.times else []
        told += [("end", self.times[-1])] if len(self.times) == self.output_tokens else []
        return [(kind, time) for kind, time in told if time <= self.cancelled_s]


class Oracle:
    def __init__(self, spec, on_cancel):
        self.spec, self.on_cancel = spec, on_cancel
        self.slots, self.scale = spec.slots, 1.0
        self.calls, self.queue, self.served = [], [], []
        self.steps = 0

    def apply(self, action):
        now, what, *rest = action
        if what == "arrive":
            call = Asked(now, *rest)
            call.remaining = max(call.input_tokens, 1)
            self.calls.append(call)
            self.queue.append(call)
        elif what == "cancel" and rest[0] < len(self.calls):
            call = self.calls[rest[0]]
            call.cancelled_s = min(call.cancelled_s, now)
            if self.on_cancel != "continue" and call in self.queue:
                self.queue.remove(call)
            elif self.on_cancel == "free" or (self.on_cancel == "finish_prefill" and call.decoding):
                call.leaves = True
        elif what == "slots":
            self.slots = rest[0]
        elif what == "scale":
            self.scale = rest[0]
        elif what == "clear":
            for call in self.queue + self.served:
                call.times = [time for time in call.times if time <= now]
            self.queue, self.served = [], []

    def run(self, actions):
        """Through all actions (in order of time) to the end of all work."""
        actions = list(actions)
        now = 0.0
        while True:
            while actions and actions[0][0] <= now:
                self.apply(actions.pop(0))
            self.served = [call for call in self.served if not call.leaves]
            while self.queue and len(self.served) < self.slots:
                call = self.queue.pop(0)
                call.slot_s = now
                self.served.append(call)
            if not self.served:
                if not actions:
                    return
                now = actions[0][0]
                continue
            now = self.step(now, actions)

    def step(self, now, actions):
        spec = self.spec
        decoding = [call for call in self.served if call.decoding]
        room = max(spec.batch_tokens - len(decoding), 1)
        plan = []
        for call in self.served:
            if not call.decoding and room > 0:
                part = min(call.remaining, room)
                room -= part
                plan.append((call, part))
        context = sum(max(call.input_tokens, 1) + call.output_tokens // 2 for call in decoding)
        cost = spec.decode_sequence * len(decoding) + spec.decode_context * context
        cost += spec.decode_step if decoding else 0.0
        if plan:
            cost += spec.prefill_step + spec.prefill_token * sum(part for _, part in plan)
        end = now + cost * self.scale
        lost = next((n for n, action in enumerate(actions) if action[1] == "clear" and action[0] < end), None)
        if lost is not None:  # the step never ends
            for action in actions[: lost + 1]:
                self.apply(action)
            now = actions[lost][0]
            del actions[: lost + 1]
            return now
        self.steps += 1
        for call in decoding:
            call.times.append(end)
        for call, part in plan:
            call.remaining -= part
            if not call.remaining:
                call.decoding = True
                call.times.append(end)
        # Cancelled while this step ran: told before it ended, so before anything that it produced.
        for call, _ in plan:
            cancelled = call.cancelled_s < end or any(
                action[1] == "cancel" and action[0] < end and self.calls[action[2] : action[2] + 1] == [call]
                for action in actions
            )
            if call.decoding and cancelled and self.on_cancel == "finish_prefill":
                call.times = []
                call.leaves = True
        self.served = [call for call in self.served if len(call.times) < call.output_tokens and not call.leaves]
        return end
