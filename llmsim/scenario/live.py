"""One run of a scenario on live providers: the same users, policies and injected faults, in real time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

from llmsim.engine.real import RealLoop, run_for_real
from llmsim.errors import PolicyError, ScenarioError
from llmsim.gateway.contract import Provider
from llmsim.luck import Luck
from llmsim.providers.faults import Fault
from llmsim.scenario.replicate import Lab, Progress, Stores
from llmsim.scenario.spec import Scenario
from llmsim.scenario.users import Users, Visit
from llmsim.telemetry.recorder import Replication
from llmsim.traffic.workload import World
from llmsim.types import Request
from llmsim.units import counted

if TYPE_CHECKING:
    from llmsim.engine.loop import SimLoop
    from llmsim.providers.live.spec import LiveFile
    from llmsim.providers.live.spending import Budget

__all__ = ["LiveLab", "rehearse"]

_LEAVING_S = 0.3  #: what closing connections takes at most, of the second within which an interrupt has to be over


class LiveLab(Lab):
    """The objects of one live run.

    Parameters
    ----------
    live
        Whom to call for which provider.
    budget
        What pays for the calls.
    """

    def __init__(
        self,
        scenario: Scenario,
        progress: Progress,
        live: LiveFile,
        budget: Budget,
        stores: Stores | None = None,
    ) -> None:
        super().__init__(scenario, 0, progress, stores)
        self.epoch_s = time.time()  # real days and months, whatever clock.start says of the traffic
        self.stopped_s: float | None = None  #: when the money ran out, loop time
        self._file = live
        self._budget = budget
        self._live: list[Provider] = []  # to be closed
        budget.on_refusal = self._out_of_money

    async def main(self, loop: RealLoop) -> None:  # type: ignore[override]
        """Everything that happens."""
        try:
            await super().main(loop)  # type: ignore[arg-type]  # of a SimLoop it uses what a RealLoop has
        finally:
            await asyncio.gather(*(provider.aclose() for provider in self._live), return_exceptions=True)

    def _incidents(self, luck: Luck) -> Iterator[Fault]:
        """None: those that happen are real."""
        return iter(())

    def _providers(self, loop: SimLoop, luck: Luck, world: World, all_faults: Sequence[Fault]) -> dict[str, Provider]:
        from llmsim.providers.live.opened import live_provider
        from llmsim.providers.live.rehearsed import Rehearsed
        from llmsim.providers.live.spending import Budgeted
        from llmsim.providers.spoiled import Spoiling

        topics = self.scenario.traffic.topics
        verbatim = topics is not None and topics.prompts is not None
        spoiling = Spoiling(
            self.scenario.providers,
            all_faults,
            luck=luck,
            world=world,
            now=loop.time,
            at=loop.at,
            zero_s=self.zero_s,
            epoch_s=self.epoch_s,
        )
        found: dict[str, Provider] = {}
        for name, spec in self.scenario.providers.items():
            given = self._file.providers[name]
            live = live_provider(name, given, model=spec.model, price=spec.price, context_window=spec.context_window)
            self._live.append(live)
            paid = Budgeted(
                live,
                self._budget,
                spec.price,
                extra_body=given.extra_body,
                template_tokens=given.template_tokens,
            )
            found[name] = spoiling.in_front_of(
                Rehearsed(paid, world, verbatim=verbatim, template_tokens=given.template_tokens)
            )
        return found

    def _out_of_money(self, request: Request) -> None:
        """Nobody new comes; whoever needs a call that cannot be paid is sent home, the others are answered."""
        users, loop = self.users, self.loop
        assert users is not None and loop is not None
        if self.stopped_s is None:
            self.interrupted = True
            self.stopped_s = loop.time()
            self.notes.append(
                f"stopped at {self.stopped_s - self.zero_s:.1f}s: a further call could have passed the budget of "
                f"${self._budget.usd:g}"
            )
            users.close_doors()
            loop.at(self.stopped_s + self.scenario.clock.drain, users.idle.set)  # the drain begins now
        visit = users.running.get(request.id)
        if visit is not None and visit.task is not None and not visit.left:
            visit.leave("unfinished")

    async def _send_home(self, users: Users) -> None:
        users.close_doors()  # real time goes on meanwhile
        await super()._send_home(users)

    async def _let_go(self, visits: Sequence[Visit]) -> None:
        """Cancelling a call takes a few rounds of the loop, and its connection is closed by then."""
        tasks = [visit.task for visit in visits if visit.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_LEAVING_S)
        assert self.users is not None
        for visit in self.users.running.values():  # who has come back meanwhile, to press retry
            if not visit.left:
                visit.leave("unfinished")
        await asyncio.sleep(0)

    def finish(self, wall_s: float) -> Replication:
        """What was recorded; of a run that ran out of money, up to then."""
        self._budget.close()
        self.notes += self._budget.notes()
        found = super().finish(wall_s)
        counters = {
            **found.counters,
            "live": 1.0,
            "budget_usd": self._budget.usd,
            "spent_usd": self._budget.spent_usd,
            "live_calls": float(self._budget.calls),
            "unreported_calls": float(self._budget.unreported),
            "unpaid_calls": float(self._budget.refused),
        }
        until_s = found.simulated_s if self.stopped_s is None else self.stopped_s - self.zero_s
        return found._replace(counters=counters, simulated_s=until_s)

    def rescue(self, wall_s: float) -> Replication | None:
        """What was recorded, from another thread than the run's, which could not be stopped. None: nothing was."""
        if self.recorder is None or self.users is None or self.loop is None:
            return None
        self.interrupted = True
        lost = len(self.users.running)
        if lost:
            they = "it is" if lost == 1 else "they are"
            under_way = f"{counted(lost, 'request')} under way when the run had to be abandoned"
            self.notes.append(f"{under_way}; {they} not recorded")
        return self.finish(wall_s)


def rehearse(
    scenario: Scenario, live: LiveFile, budget: Budget, progress: Progress, stores: Stores | None = None
) -> Replication:
    """Run `scenario` once, live, in the current thread, on the arrivals and questions of replication 0.

    Returns
    -------
    Replication
        ``partial`` if it was interrupted, or ran out of money.

    Raises
    ------
    PolicyError, LlmsimError
        When a policy breaks its contract.
    """
    started = perf_counter()
    lab = LiveLab(scenario, progress, live, budget, stores)
    progress.lab = lab
    progress.total_s = lab.end_s
    try:
        run_for_real(lab.main)
    except (PolicyError, ScenarioError):
        raise
    except BaseException:
        if not lab.interrupted:
            raise
    return lab.finish(perf_counter() - started)
