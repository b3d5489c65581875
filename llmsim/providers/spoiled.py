"""All faults that can be had in front of a provider that is not simulated, in the order a simulated one has them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from llmsim.gateway.contract import Provider
from llmsim.luck import Luck
from llmsim.providers.clamp import Clamp, Clamped
from llmsim.providers.dialects import Accounts
from llmsim.providers.faults import Fault
from llmsim.providers.faulty import FaultyProvider
from llmsim.providers.outage import At, Unreachable
from llmsim.providers.sim.draws import CallLuck
from llmsim.providers.sim.spec import SimProvider
from llmsim.traffic.workload import World
from llmsim.types import Request

__all__ = ["Spoiling"]


class Spoiling:
    """Puts a scenario's faults in front of live providers.

    Outermost are abort, delay, stall, break and sequence (`FaultyProvider`, the same object as in a simulation), then
    outages, then the clamp of rate limits: a call that is aborted uses up no quota, and one that finds nobody there
    neither.

    Parameters
    ----------
    providers
        What the scenario says of each: its limits, and how long a refusal takes.
    faults
        Of all of them.
    luck, world
        Of the run.
    now, at
        The loop's clock, and how to be called at a time of it.
    zero_s, epoch_s
        Loop time at which the scenario's clock reads 0; what wall clocks say at loop time 0.
    """

    def __init__(
        self,
        providers: Mapping[str, SimProvider],
        faults: Sequence[Fault],
        *,
        luck: Luck,
        world: World,
        now: Callable[[], float],
        at: At,
        zero_s: float = 0.0,
        epoch_s: float = 0.0,
    ) -> None:
        self._providers = providers
        self._faults = [fault for fault in faults if fault.provider]
        self._luck = luck
        self._world = world
        self._now = now
        self._at = at
        self._zero_s = zero_s
        self._accounts = (Accounts(epoch_s), Accounts(epoch_s))
        self._clamps: dict[str, Clamp] = {}

    def in_front_of(self, provider: Provider) -> Provider:
        """`provider`, with its faults in front; itself if there are none."""
        name = provider.name
        spec = self._providers[name]
        faults = [fault for fault in self._faults if fault.provider == name]
        wait = _Refusals(name, spec, self._luck, self._world).wait
        clamp = self._clamp(name, spec)
        if clamp is not None:
            provider = Clamped(provider, clamp, world=self._world, wait=wait, now=self._now)
        if any(fault.outage for fault in faults):
            provider = Unreachable(provider, faults, wait=wait, now=self._now, at=self._at, zero_s=self._zero_s)
        if any(f.abort or f.delay or f.stall or f.break_ or f.sequence for f in faults):
            provider = FaultyProvider(provider, faults, luck=self._luck, now=self._now, zero_s=self._zero_s)
        return provider

    def _clamp(self, name: str, spec: SimProvider) -> Clamp | None:
        """The account of a provider whose limits are cut at some time, its own or those of its group."""
        if spec.rate_limit is None:
            return None
        key = name if spec.quota_group is None else f"group {spec.quota_group}"
        group = [
            other
            for other, its in self._providers.items()
            if other == name or (spec.quota_group is not None and its.quota_group == spec.quota_group)
        ]
        faults = [fault for fault in self._faults if fault.rate_limit and fault.provider in group]
        if faults and key not in self._clamps:
            account, uncut = (accounts.get(name, spec.dialect, spec.rate_limit) for accounts in self._accounts)
            self._clamps[key] = Clamp(
                account, uncut, spec.dialect, faults, now=self._now, at=self._at, zero_s=self._zero_s
            )
        return self._clamps.get(key)


class _Refusals:
    """How long a provider takes for an answer without any tokens: as long as the simulated one, call by call."""

    def __init__(self, name: str, spec: SimProvider, luck: Luck, world: World) -> None:
        self._name = name
        self._luck = CallLuck(luck, name, {"answer_time": spec.answer_time, "network": spec.network})
        self._world = world

    async def wait(self, request: Request) -> None:
        truth = self._world.truth(request)
        number = truth.calls.get(self._name, 0)
        truth.calls[self._name] = number + 1
        await asyncio.sleep(sum(self._luck(truth, number)))
