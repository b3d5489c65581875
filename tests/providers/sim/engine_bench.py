"""A simulated provider whose slots are a serving engine. What it overrides is what the real one has to do."""

import math

from providers.sim.bench import Bench

from llmsim.engine.driver import simulate
from llmsim.errors import ConnectionFailed, StreamBroken
from llmsim.providers.faulty import FaultyProvider
from llmsim.providers.sim.engine_call import EngineCall
from llmsim.providers.sim.engine_server import EngineServer
from llmsim.providers.sim.provider import SimulatedProvider, _whole_slots


class EngineProvider(SimulatedProvider):
    def __init__(self, name, spec, serving, *, loop, faults=(), **rest):
        self.serving = serving
        self.server = EngineServer(serving, loop, spec.on_cancel)
        super().__init__(name, spec, loop=loop, faults=faults, **rest)
        self._active = None  # the server knows them

    def _accept(self, request, truth, number):
        return EngineCall(self, self.server, request.input_tokens, truth.output_tokens)

    def _refuse(self, request, truth, number):
        limit = self.spec.queue.limit
        room = math.inf if limit is None else self.server.slots + limit
        self.busy, self._usable, self.waiting = self.server.load, room, math.inf  # full when the load is the room
        return super()._refuse(request, truth, number)

    def _serve_queue(self):
        pass

    def _enter(self, phase):
        began = phase.outage and not self._phase.outage
        super()._enter(phase)
        if began:
            for job in self.server.clear():
                self._cut(job)
        self.server.rescale(latency=phase.latency, slots=int(_whole_slots(self.serving.slots, phase.capacity)))

    def _cut(self, job):
        if job.made:
            error = StreamBroken("connection lost", tokens_delivered=job.made, upstream=self.name, status=200)
        else:
            error = ConnectionFailed("connection lost", upstream=self.name)
        job.call.cut(error)


class EngineBench(Bench):
    def __init__(self, loop, spec, serving, faults=(), seed=1):
        super().__init__(loop, spec, faults, seed)
        self.sim = EngineProvider(
            "p", spec, serving, loop=loop, luck=self.luck, world=self.world, faults=faults, zero_s=0.0
        )
        self.provider = FaultyProvider(self.sim, faults, luck=self.luck, now=loop.time)


def play_engine(spec, serving, script, faults=(), *, seed=1):
    """As `bench.play`."""

    async def main(loop):
        bench = EngineBench(loop, spec, serving, faults, seed)
        result = script(bench)
        return await (result if result is not None else bench.all())

    return simulate(main, event_budget=5_000_000)
