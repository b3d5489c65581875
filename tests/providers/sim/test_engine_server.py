"""The serving engine on the real loop: stub calls hear of their tokens when the oracle has them, and never else."""

import math

import numpy as np
import pytest
from providers.sim.serving_oracle import Oracle

from llmsim.engine.loop import SimLoop
from llmsim.providers.sim.engine_server import EngineServer
from llmsim.providers.sim.serving_spec import Serving

SPEC = Serving(
    slots=3, prefill_step=0.02, prefill_token=0.003, decode_step=0.004, decode_sequence=0.01, batch_tokens=96
)


class Stub:
    """A call that notes when it is told what."""

    def __init__(self, loop):
        self.loop, self.told, self.job = loop, [], None

    def got_first(self):
        assert self.job is not None, "nothing is told before the caller has its job"
        self.told.append(("first", self.loop.time()))

    def got_end(self):
        self.told.append(("end", self.loop.time()))

    def progressed(self):
        self.told.append(("progressed", self.loop.time()))


class World:
    def __init__(self, spec=SPEC, on_cancel="free"):
        self.loop = SimLoop()
        self.server = EngineServer(spec, self.loop, on_cancel)
        self.calls = []

    def act(self, what, *rest):
        if what == "arrive":
            call = Stub(self.loop)
            call.job = self.server.arrive(call, *rest)
            self.calls.append(call)
        elif what == "cancel":
            if rest[0] < len(self.calls):
                self.server.cancel(self.calls[rest[0]].job)
        elif what == "clear":
            self.server.clear()
        else:
            self.server.rescale(
                latency=rest[0] if what == "scale" else self.server._engine.scale,
                slots=rest[0] if what == "slots" else self.server.slots,
            )

    def run(self, actions, until_s=1e9):
        for action in actions:
            self.loop.at(action[0], self.act, *action[1:])
        self.loop.at(until_s, self.loop.stop)
        self.loop.run_forever()
        return [call.told for call in self.calls]


def _actions(seed, count=150):
    """Traffic with everything that can happen to it; no two things at one time."""
    rng = np.random.default_rng(seed)
    actions, now, calls = [], 0.0, 0
    for _ in range(count):
        now += float(rng.exponential(0.4))
        kind = rng.choice(["arrive", "cancel", "slots", "scale", "clear"], p=[0.7, 0.2, 0.04, 0.04, 0.02])
        if kind == "arrive":
            actions.append((now, kind, int(rng.integers(0, 400)), int(rng.integers(1, 120))))
            calls += 1
        elif kind == "cancel":
            actions.append((now, kind, max(calls - int(rng.integers(1, 6)), 0)))
        elif kind == "slots":
            actions.append((now, kind, int(rng.integers(0, 4))))
        elif kind == "scale":
            actions.append((now, kind, float(rng.choice([0.5, 1.0, 3.0]))))
        else:
            actions.append((now, kind))
    return [*actions, (now + 50.0, "slots", 3)]


@pytest.mark.parametrize("on_cancel", ["free", "finish_prefill", "continue"])
@pytest.mark.parametrize("seed", range(4))
def test_calls_are_told_when_it_happens(seed, on_cancel):
    oracle = Oracle(SPEC, on_cancel)
    oracle.run(_actions(seed))
    told = World(SPEC, on_cancel).run(_actions(seed))
    assert len(told) == len(oracle.calls) > 80
    for heard, call in zip(told, oracle.calls, strict=True):
        expected = call.events()
        assert [kind for kind, _ in heard] == [kind for kind, _ in expected]
        assert [time for _, time in heard] == pytest.approx([time for _, time in expected], abs=1e-9)


def test_wake_ups_go_with_calls_and_not_with_tokens():
    def events(tokens):
        world = World()
        world.run([(float(n), "arrive", 50, tokens) for n in range(200)])
        return world.loop.events

    assert events(20_000) < 1.3 * events(20)
    assert events(20_000) < 6 * 200 + 10, "it comes, it gets in, its first token, its last, and what was overtaken"


def test_at_no_latency_everything_is_told_at_once():
    told = World().run([(1.0, "scale", 0.0), (2.0, "arrive", 50, 20), (2.0, "arrive", 50, 1)])
    assert told == [[("first", 2.0), ("end", 2.0)]] * 2


def test_listening_for_tokens_and_for_silence():
    world = World()
    call = Stub(world.loop)

    def begin():
        call.job = world.server.arrive(call, 50, 100)

    world.loop.at(0.0, begin)  # prompt 0.17 s, then a token each 14 ms: the first at 0.17, the 11th at 0.31
    world.loop.at(0.2, lambda: world.server.listen(call.job, 11, 0.1))
    world.loop.at(0.4, lambda: world.act("arrive", 10, 2))  # steps of 64 ms: not a silence of 100 ms
    world.loop.at(0.8, lambda: world.act("arrive", 96, 2))  # 0.31 s
    world.loop.at(0.9, lambda: world.server.ignore(call.job))
    world.loop.at(2.0, lambda: world.act("arrive", 96, 2))
    told = world.run([], until_s=5.0)
    begun_s = 0.17 + 0.014 * math.ceil((0.4 - 0.17) / 0.014)
    begun_s += 0.064 + 0.024  # the second prompt, and its second token
    begun_s += 0.014 * math.ceil((0.8 - begun_s) / 0.014)
    times = [time for kind, time in call.told if kind == "progressed"]
    assert times == pytest.approx([0.31, begun_s])
    assert [kind for kind, _ in told[0]] == ["first", "end"]


def test_a_prompt_that_comes_at_the_very_start_of_a_step_is_heard_as_silence():
    """The step was planned, short, at this instant already; then it becomes a long one."""
    world = World()
    call = Stub(world.loop)
    world.loop.at(0.0, lambda: setattr(call, "job", world.server.arrive(call, 50, 100)))

    def first():
        world.server.listen(call.job, None, 0.1)
        world.act("arrive", 90, 2)

    call.got_first = first
    world.run([], until_s=5.0)
    assert call.told[0] == ("progressed", pytest.approx(0.17))


def test_a_prompt_that_comes_at_the_very_end_of_a_step_is_heard_as_silence():
    world = World(Serving(slots=2, prefill_step=0.5, prefill_token=0.25, decode_sequence=0.125))
    call = Stub(world.loop)
    world.loop.at(0.0, lambda: setattr(call, "job", world.server.arrive(call, 2, 100)))
    world.loop.at(1.05, lambda: world.server.listen(call.job, None, 0.3))
    world.run([(1.5, "arrive", 2, 2)], until_s=2.0)
    assert call.told == [("first", 1.0), ("progressed", 1.5)]
