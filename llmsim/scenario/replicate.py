"""One replication of a scenario: build its objects, run them in virtual time, hand over what was recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from time import perf_counter

from llmsim.engine.collector import rare_collections
from llmsim.engine.driver import simulate
from llmsim.engine.loop import SimLoop
from llmsim.engine.world import EPOCH
from llmsim.errors import DeadlockError, EventBudgetError, PolicyError, SimulationInterrupted, VirtualTimeError
from llmsim.gateway.caching import StoreOpener
from llmsim.gateway.contract import Provider
from llmsim.luck import Luck
from llmsim.providers.dialects import Accounts
from llmsim.providers.faults import Fault
from llmsim.providers.faulty import FaultyProvider
from llmsim.providers.sim.incidents import incident_faults
from llmsim.providers.sim.provider import SimulatedProvider
from llmsim.scenario.hung import hung, places
from llmsim.scenario.prices import price_steps
from llmsim.scenario.runtime import LabRuntime
from llmsim.scenario.spec import Scenario
from llmsim.scenario.users import Users, Visit
from llmsim.scenario.vectors import vectors_of
from llmsim.stores.simulated import SimulatedStores
from llmsim.telemetry.cost_model import STORED_BYTE_S
from llmsim.telemetry.recorder import Recorder, Replication, Sink, TableData
from llmsim.telemetry.scopes import CROSSINGS_KNOWN, TENANTS_KNOWN, Scope, crossings
from llmsim.traffic.clients import mixes
from llmsim.traffic.shape import RateShape
from llmsim.traffic.workload import World
from llmsim.units import counted

__all__ = ["Progress", "Stores", "replicate"]

Stores = Callable[[World, SimulatedStores], StoreOpener]

_EVENTS_PER_REQUEST = 2000  # a budget no sane policy reaches: a ten-layer pipeline takes about 50
_REQUESTS_PER_VU_S = 100  # a virtual user that is answered faster than this has no model behind it
_EVENTS_AT_LEAST = 5_000_000

_DAY_S = 86400.0

#: What a run that somebody stopped ends with.
_INTERRUPTS = (SimulationInterrupted, asyncio.CancelledError, KeyboardInterrupt)


class Progress:
    """Where a running replication is; read by another thread that draws a progress bar."""

    __slots__ = ("lab", "loop", "number", "total_s", "users")

    def __init__(self) -> None:
        self.number = 0
        self.lab: Lab | None = None
        self.total_s = 0.0
        self.loop: SimLoop | None = None
        self.users: Users | None = None

    @property
    def simulated_s(self) -> float:
        """Loop time reached in the current replication."""
        return self.loop.time() if self.loop is not None else 0.0

    @property
    def requests(self) -> int:
        """Requests ended in the current replication."""
        return self.users.done if self.users is not None else 0


def replicate(
    scenario: Scenario,
    number: int,
    progress: Progress | None = None,
    stores: Stores | None = None,
    sink: Sink | None = None,
) -> Replication:
    """Run replication `number` of `scenario` on luck ``(seed, number)`` in the current thread.

    Parameters
    ----------
    scenario, number
        What, and on which luck.
    progress
        Is kept up to date.
    stores
        Makes of what requests mean and of the scenario's stores those that policies get.
    sink
        Takes rows while the run goes on. Default: all are kept.

    Returns
    -------
    Replication
        ``partial`` if it was interrupted.

    Raises
    ------
    PolicyError, EngineError
        When a policy breaks its contract, or the simulation cannot go on.
    """
    started = perf_counter()
    progress = progress if progress is not None else Progress()
    progress.number = number
    lab = Lab(scenario, number, progress, stores, sink)
    progress.lab = lab
    with rare_collections():
        try:
            simulate(
                lab.main,
                seed=_guard_seed(scenario.seed, number),
                event_budget=lab.event_budget,
                epoch_s=lab.epoch_s,
            )
        except (PolicyError, VirtualTimeError, DeadlockError, EventBudgetError):
            raise  # a run that is stopped by its own fault is cancelled too, but was not interrupted
        except BaseException as error:
            # A source of traffic that breaks cancels the run, too: that is no interrupt, and must not look like one.
            if not lab.interrupted or not isinstance(error, _INTERRUPTS):
                raise
        replication = lab.finish(perf_counter() - started)
        # Let go of the run while the collector still sleeps: counting references frees it at no cost, while a
        # collector that wakes up to it walks every object first (22 % of a short run).
        progress.lab = progress.users = progress.loop = None
        lab.let_go()
        del lab
    return replication


def _guard_seed(seed: int, number: int) -> int:
    return seed * 1_000_003 + number


class Lab:
    """The objects of one replication."""

    def __init__(
        self,
        scenario: Scenario,
        number: int,
        progress: Progress,
        stores: Stores | None = None,
        sink: Sink | None = None,
    ) -> None:
        self.scenario = scenario
        self._watch = stores
        self._sink = sink
        self.number = number
        self.progress = progress
        clock = scenario.clock
        self.zero_s = clock.warm_up
        self.last_arrival_s = clock.warm_up + clock.duration
        self.end_s = self.last_arrival_s + clock.drain
        progress.total_s = self.end_s
        # What wall clocks say at loop time 0: policies read them, and daily quotas go by them.
        self.epoch_s = EPOCH if clock.start is None else EPOCH + clock.start_s % _DAY_S - clock.warm_up
        self.recorder: Recorder | None = None
        self.users: Users | None = None
        self.loop: SimLoop | None = None
        self.stores: SimulatedStores | None = None
        self.runtime: LabRuntime | None = None
        self.simulated: list[SimulatedProvider] = []
        self.world = World()
        self.interrupted = False
        self.notes: list[str] = []
        self.vectors = vectors_of(scenario)  # here, since nothing is embedded in virtual time

    @property
    def event_budget(self) -> int:
        """More events than any healthy run of this size needs."""
        traffic, duration_s = self.scenario.traffic, self.last_arrival_s
        if traffic.executor == "constant-vus":
            requests = traffic.vus * _REQUESTS_PER_VU_S * duration_s
        else:
            requests = RateShape.of(traffic, self.zero_s, self.scenario.clock.start_s).expected(duration_s)
        if traffic.trace is None:
            requests *= max(route.mean_steps for route in mixes(traffic).routes)
        return int(_EVENTS_AT_LEAST + _EVENTS_PER_REQUEST * requests)

    async def main(self, loop: SimLoop) -> None:
        """Everything that happens inside the simulation."""
        scenario, luck, world = self.scenario, Luck.of(self.scenario.seed, self.number), self.world
        self.loop = loop
        self.recorder = recorder = Recorder(self.zero_s, loop.time, self._sink)
        prices = {name: spec.price for name, spec in scenario.providers.items()}
        steps = price_steps(scenario, self.zero_s)
        for name, changes in steps.items():
            for at_s, price in changes[1:]:
                loop.at(at_s, prices.__setitem__, name, price)
        faults = [*scenario.faults, *self._incidents(luck)]
        self.stores = stores = self._stores(loop, luck, world)
        watched = stores if self._watch is None else self._watch(world, stores)
        self.runtime = runtime = LabRuntime(loop.time, luck, recorder, prices, self.epoch_s, watched, steps)
        providers = self._providers(loop, luck, world, faults)
        self.users = users = Users(
            scenario.traffic,
            scenario.gateway.start(runtime, providers, prices),
            loop=loop,
            luck=luck,
            world=world,
            runtime=runtime,
            recorder=recorder,
            prices=prices,
            warm_up_s=self.zero_s,
            last_arrival_s=self.last_arrival_s,
            start_s=scenario.clock.start_s,
        )
        self.progress.loop, self.progress.users = loop, users
        self._announce(loop, recorder, faults)
        users.start()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self.end_s):
                    await users.idle.wait()
        except asyncio.CancelledError:
            self.interrupted = True
            await self._send_home(users)
            raise
        await self._send_home(users)
        if users.fatal is not None:
            raise users.fatal

    def _announce(self, loop: SimLoop, recorder: Recorder, faults: Sequence[Fault]) -> None:
        """Record when faults begin and end; and a store that loses what it kept does so at its time."""
        for fault in faults:
            if fault.lose_state and self.stores is not None:
                loop.at(self.zero_s + fault.at, self.stores.lose_state, fault.store)
            of = {"store": fault.store} if fault.store else {}
            states = [(fault.at, "begins"), (fault.end_s, "ends")]
            states += [(fault.full_from_s, "full")] if fault.ramp_up else []
            states += [(fault.full_until_s, "fades")] if fault.ramp_down else []
            for when, state in states:
                if self.zero_s + when <= self.end_s:
                    fields = {"name": fault.name, "state": state, **of}
                    loop.at(self.zero_s + when, recorder.emit, "fault", "", "", fault.provider, 0, fields)

    def _stores(self, loop: SimLoop, luck: Luck, world: World) -> SimulatedStores:
        """Where caches keep answers."""
        faults: dict[str, list[Fault]] = {}
        for fault in self.scenario.faults:
            if fault.store:
                faults.setdefault(fault.store, []).append(fault)
        return SimulatedStores(
            world,
            self.scenario.store,
            luck=luck,
            now=loop.time,
            zero_s=self.zero_s,
            end_s=self.last_arrival_s,
            faults=faults,
            prompts=self.vectors,
        )

    def _incidents(self, luck: Luck) -> Iterator[Fault]:
        """What happens to providers by chance, in this replication."""
        clock = self.scenario.clock
        for name, spec in self.scenario.providers.items():
            if spec.incidents is not None:
                yield from incident_faults(
                    spec.incidents,
                    name,
                    spec.incident_group or name,
                    luck,
                    begin_s=-clock.warm_up,
                    duration_s=clock.duration,
                    end_s=clock.duration + clock.drain,
                    week_s=clock.start_s if clock.start is not None else None,
                )

    def _providers(self, loop: SimLoop, luck: Luck, world: World, all_faults: Sequence[Fault]) -> dict[str, Provider]:
        providers: dict[str, Provider] = {}
        accounts = Accounts(self.epoch_s)
        for name, spec in self.scenario.providers.items():
            faults = [fault for fault in all_faults if fault.provider == name]
            provider: Provider
            provider = simulated = SimulatedProvider(
                name,
                spec,
                loop=loop,
                luck=luck,
                world=world,
                accounts=accounts,
                faults=faults,
                zero_s=self.zero_s,
            )
            self.simulated.append(simulated)
            if any(f.abort or f.delay or f.stall or f.break_ or f.sequence for f in faults):
                provider = FaultyProvider(provider, faults, luck=luck, now=loop.time, zero_s=self.zero_s)
            providers[name] = provider
        return providers

    async def _send_home(self, users: Users) -> None:
        """Drain is over: what is still under way is recorded as unfinished."""
        visits = list(users.running.values())
        if not visits:
            return
        if not self.interrupted and users.fatal is None:
            self.notes.append(hung(visits, self.scenario.clock.drain))
        for visit in visits:
            visit.leave("unfinished")
        await self._let_go(visits)
        stubborn = list(users.running.values())
        if stubborn:
            they = "it was" if len(stubborn) == 1 else "they were"
            count = counted(len(stubborn), "request")
            self.notes.append(f"{count} did not stop when {they} cancelled: {places(stubborn)}")
        for visit in stubborn:
            users.write_off(visit)

    async def _let_go(self, visits: Sequence[Visit]) -> None:
        """Give those who were told to leave the time for it."""
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    def _crossings(self, requests: TableData) -> dict[str, float]:
        """Fill in which answers from a cache crossed a scope; counters that say whether that is all of them."""
        meanings = self.world.meanings
        topic = None if meanings is None else lambda index: meanings(index).topic
        scopes = [getattr(policy, "scope", "") for policy in self.scenario.gateway.policies]
        widest: Scope = "global" if "global" in scopes else "user" if scopes and {*scopes} <= {"user", ""} else "tenant"
        requests["cross_scope"], known = crossings(requests, widest, topic)
        requests["cross_tenant"], known_too = requests["cross_scope"], known
        if widest != "tenant":
            requests["cross_tenant"], known_too = crossings(requests, "tenant", topic)
        return {CROSSINGS_KNOWN: float(known), TENANTS_KNOWN: float(known_too)}

    def finish(self, wall_s: float) -> Replication:
        """What was recorded."""
        assert self.recorder is not None and self.users is not None and self.loop is not None
        counters = {
            "max_in_flight": float(self.users.max_in_flight),
            "events_processed": float(self.loop.events),
            "still_running": float(len(self.users.running)),
        }
        until_s = self.loop.time() if self.interrupted else self.last_arrival_s
        if self.stores is not None and (stored := self.stores.stored_byte_s(until_s)):
            counters[STORED_BYTE_S] = stored
        tables = self.recorder.tables()
        counters |= self._crossings(tables["requests"])
        return Replication(
            self.number,
            tables,
            counters,
            tuple(self.notes),
            self.loop.time() - self.zero_s,
            wall_s,
            self.interrupted,
        )

    def let_go(self) -> None:
        """Empty what was this run's alone; nothing of it runs again.

        Handlers that keep a bound method of their own (most do, for speed) are circles, and refer to the run. What such
        a circle holds on to waits for the cyclic collector, which then walks through all of it: 5 tuples a request that
        nobody needs, in memory and in the next collection. So they find the run empty.
        """
        if self.runtime is not None:
            self.runtime.let_go()
        for provider in self.simulated:
            provider.let_go()
        if self._watch is None:  # who looks on may still ask what requests meant
            self.world.let_go()
