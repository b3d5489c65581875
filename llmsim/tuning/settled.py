"""A scenario with other values in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from llmsim.errors import ScenarioError
from llmsim.scenario.document import Document, Path
from llmsim.scenario.overrides import change, copied, resolve
from llmsim.scenario.spec import Scenario
from llmsim.scenario.validate import validated
from llmsim.scenario.values import to_values
from llmsim.tuning.written import is_off, is_on

__all__ = ["document_of", "with_settings"]


def document_of(scenario: Scenario) -> Document:
    """A scenario as `with_settings` changes it, for those who change one often."""
    return Document(to_values(scenario), scenario.name)


def with_settings(
    scenario: Scenario,
    settings: Mapping[str, Any],
    switches: Collection[str],
    source: str,
    document: Document | None = None,
) -> Scenario:
    """A scenario with these values in it.

    Parameters
    ----------
    scenario
        Which.
    settings
        By path. What would be inside of a policy that is off is left out.
    switches
        Paths of whole policies or faults, whose values may be on or off: as it stands there, or gone.
    source
        Where problems are.
    document
        Of the scenario, where it is at hand.

    Raises
    ------
    ScenarioError
        For a path that leads nowhere or a value that does not fit.
    """
    gone = [path for path, value in settings.items() if path in switches and is_off(value)]
    values = {
        path: value
        for path, value in settings.items()
        if not (path in switches and (is_on(value) or is_off(value)))
        and not any(path.startswith(off + ".") for off in gone)
    }
    # A whole policy before what is set inside of it.
    values = dict(sorted(values.items(), key=lambda one: one[0] not in switches))
    try:
        changed = change(document if document is not None else document_of(scenario), values)
        data: Any = copied(changed.document.data)
        _take_away(data, [resolve(changed.document, path) for path in gone])
    except ScenarioError as error:
        raise ScenarioError(error.problems, source) from None
    try:
        result = validated(Document(data, scenario.name), si=True)
    except ScenarioError as error:
        if not gone:
            raise changed.explain(error, source) from None
        # What stands behind a policy that is gone has moved up, and its problems would be told of its neighbour.
        raise ScenarioError(error.problems, source) from None
    return dataclasses.replace(result, source=scenario.source)


def _take_away(data: Any, places: Sequence[Path]) -> None:
    """Remove these entries of lists, all of them named by the indices they have now."""
    lists: dict[Path, list[int]] = {}
    for place in places:
        length = 1 if place[0] == "faults" else 2
        lists.setdefault(place[:length], []).append(int(place[length]))
    for within, indices in lists.items():
        entries = data[within[0]] if len(within) == 1 else data[within[0]][within[1]]
        for index in sorted(indices, reverse=True):
            del entries[index]
