"""A scenario under the settings of an explorer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from llmsim.errors import Problem, ScenarioError
from llmsim.lab.controls import Control, controls_of
from llmsim.scenario.load import read_value
from llmsim.scenario.spec import Scenario

__all__ = ["Settings", "without"]


@dataclasses.dataclass
class Settings:
    """The controls of a scenario and where they stand.

    Attributes
    ----------
    base
        The scenario as it was given.
    controls
        By path.
    values
        Where each stands: a text as in a scenario file, or True or False.
    """

    base: Scenario
    controls: dict[str, Control]
    values: dict[str, str | bool]

    @classmethod
    def of(cls, base: Scenario, controls: Iterable[Control]) -> Settings:
        """All of them as the scenario has them."""
        found = {one.path: one for one in controls}
        return cls(base, found, {path: one.value for path, one in found.items()})

    @property
    def changes(self) -> dict[str, str]:
        """What is not as it was, by path, as a scenario file writes it; policies that are out are in `out`."""
        return {
            path: _yaml(self.values[one.path])
            for one in self.controls.values()
            if one.policy is None and self.values[one.path] != one.value
            for path in one.paths
        }

    @property
    def out(self) -> list[str]:
        """Paths of the policies that are switched off."""
        return [one.path for one in self.controls.values() if one.policy is not None and not self.values[one.path]]

    def scenario(self) -> Scenario:
        """The scenario they make.

        Raises
        ------
        ScenarioError
            If these values do not go together.
        """
        found = (
            self.base.with_values({path: read_value(text) for path, text in self.changes.items()})
            if self.changes
            else self.base
        )
        gone = [one.policy for one in self.controls.values() if one.policy is not None and not self.values[one.path]]
        return _without(found, gone) if gone else found


def _yaml(value: object) -> str:
    return value if isinstance(value, str) else "true" if value else "false"


def without(scenario: Scenario, *policies: str) -> Scenario:
    """The same scenario without these policies.

    Parameters
    ----------
    scenario
        What to take them from.
    *policies
        Their paths: ``gateway.retry``, ``upstream.timeout``.

    Raises
    ------
    ScenarioError
        If there is no such policy, or another one cannot be without it.

    Examples
    --------
    >>> import llmsim as ls
    >>> scenario = ls.load(
    ...     {
    ...         "version": 1,
    ...         "traffic": {"base_rate": "4/s"},
    ...         "providers": {"openai": {}},
    ...         "gateway": {"policies": ["cache", "retry"]},
    ...     }
    ... )
    >>> [policy.kind for policy in without(scenario, "gateway.retry").gateway.policies]
    ['cache']
    """
    controls = controls_of(scenario, policies)
    wrong = [one.path for one in controls if one.policy is None]
    if wrong:
        hint = "Name one, as in gateway.retry."
        raise ScenarioError([Problem("is no policy", path, hint=hint) for path in wrong], "without")
    return _without(scenario, [one.policy for one in controls if one.policy is not None])


def _without(scenario: Scenario, gone: Sequence[tuple[str, int]]) -> Scenario:
    kept: Mapping[str, tuple[object, ...]] = {
        scope: tuple(spec for n, spec in enumerate(getattr(scenario.gateway, scope)) if (scope, n) not in gone)
        for scope in ("policies", "upstream")
    }
    # A preset stands for all of its policies; what is left of them is written out.
    gateway = dataclasses.replace(scenario.gateway, preset="", **kept)  # type: ignore[arg-type]
    return scenario.with_gateway(gateway).with_values({})  # which checks it
