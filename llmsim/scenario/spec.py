"""A scenario as a frozen value: what the YAML file says, with every default filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from llmsim.gateway.pipeline import Gateway
from llmsim.named import Named
from llmsim.providers.faults import Fault
from llmsim.providers.sim.spec import SimProvider
from llmsim.stores.spec import StoreModel
from llmsim.telemetry.cost_model import CostModel
from llmsim.traffic.seasons import seconds_of_week
from llmsim.traffic.spec import Traffic
from llmsim.units import BadValue, Duration, PositiveCount, PositiveDuration

__all__ = ["Clock", "Scenario"]

FORBID: dict[str, Any] = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Phases of a run. Time 0 is the end of warm-up.

    Parameters
    ----------
    warm_up
        Runs at 1x before time 0; not measured.
    duration
        Measured arrivals.
    drain
        How long requests in flight may still take after the last arrival.
    start
        Date and hour of time 0, ``"2026-11-23 08:00"``, or the day and hour, ``monday 08:00``: where in the day and the
        week the traffic begins. Without it, Monday at midnight.
    """

    __pydantic_config__: ClassVar = FORBID

    warm_up: Duration = 0.0
    duration: PositiveDuration = 300.0
    drain: Duration = 60.0
    start: str | None = None

    def __post_init__(self) -> None:
        if self.start is not None and seconds_of_week(self.start) is None:
            raise BadValue(
                f'{self.start!r} is no date and hour; write it like "2026-11-23 08:00" or monday 08:00', "start"
            )

    @property
    def start_s(self) -> float:
        """Time 0 in seconds after Monday 0:00."""
        found = seconds_of_week(self.start) if self.start is not None else 0.0
        assert found is not None
        return found


@dataclass(frozen=True, kw_only=True)
class Expect:
    """What a rehearsal of a scenario is meant to show, where that is not that all SLOs hold.

    Parameters
    ----------
    fail
        Keys of `slo` of which a line must be broken, and no others may.
    """

    __pydantic_config__: ClassVar = FORBID

    fail: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """Everything one simulation needs. Make changed copies with `with_gateway` or `with_values`.

    Parameters
    ----------
    version
        Of the file format: 1.
    name, description
        What reports show.
    seed
        Replication *r* runs on luck ``(seed, r)``.
    replications
        The most runs a verdict may use.
    clock
        Phases of a run.
    traffic
        Who sends what, and when.
    providers
        Upstreams by name; the first is where requests go that no policy routes.
    gateway
        The policies under test.
    faults
        What goes wrong, and when.
    store
        How the stores of semantic caches, their embedder and their verifier behave.
    costs
        Prices of what is not tokens: logs, embeddings, a vector store.
    steady_state
        Metric (with tags) to expressions that hold when all is well; what recovery_time waits for.
    slo
        Metric (with tags) to expressions that must hold; see `llmsim.scenario.objectives`.
    expect
        What ``llmsim check`` and pytest hold a story to that is meant to end badly; the verdict itself stays FAIL.
    source
        The document it was read from, for line numbers; not part of its value.
    """

    __pydantic_config__: ClassVar = FORBID

    version: Literal[1]
    name: str = "scenario"
    description: str = ""
    seed: int = 0
    replications: PositiveCount = 10
    clock: Clock = field(default_factory=Clock)
    traffic: Traffic
    providers: dict[str, SimProvider]
    gateway: Gateway = field(default_factory=Gateway)
    faults: tuple[Fault, ...] = ()
    store: StoreModel = StoreModel()
    costs: CostModel = CostModel()
    steady_state: dict[str, tuple[str, ...]] = field(default_factory=dict)
    slo: dict[str, tuple[str, ...]] = field(default_factory=dict)
    expect: Expect = Expect()
    source: Any = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "providers", Named("provider", self.providers))
        groups: dict[str, tuple[str, SimProvider]] = {}
        for name, spec in self.providers.items():
            if spec.quota_group is None or spec.rate_limit is None:
                continue
            first, other = groups.setdefault(spec.quota_group, (name, spec))
            if (spec.dialect, spec.rate_limit) != (other.dialect, other.rate_limit):
                raise BadValue(
                    f"{first} and {name} share the quota_group {spec.quota_group!r}, but not dialect and rate_limit; "
                    "write the same for both",
                    "providers",
                    name,
                    "quota_group",
                )

    def with_gateway(self, gateway: Any) -> Scenario:
        """The same scenario under another gateway (a `Gateway`, or an ``async def gateway(request, providers)``)."""
        return dataclasses.replace(self, gateway=Gateway.of(gateway))

    def with_values(self, values: Mapping[str, Any]) -> Scenario:
        """The same scenario with the values at these paths replaced.

        Parameters
        ----------
        values
            By path, ``{"gateway.retry.max_attempts": 5, "clock.duration": 60.0}``: bare numbers are SI units, texts
            carry their unit. `llmsim.scenario.overrides` says how paths are written.

        Raises
        ------
        ScenarioError
            For an unknown path or a value that does not fit, with all problems.
        """
        from llmsim.scenario.values import with_values

        return with_values(self, values)
