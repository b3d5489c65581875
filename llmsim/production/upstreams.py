"""The providers of a ``live.yaml``, for as long as they are used."""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsim.providers.live.spec import LiveFile
    from llmsim.providers.live.upstream import LiveUpstream
    from llmsim.scenario.spec import Scenario

__all__ = ["live_providers"]


@asynccontextmanager
async def live_providers(
    source: str | Path | Mapping[str, Any] | LiveFile, scenario: Scenario
) -> AsyncIterator[list[LiveUpstream]]:
    """The live providers of a scenario's, in the scenario's order; closed in the end.

    Models and prices are those of the file, and the scenario's where it says nothing. Faults are the lab's business
    and play no part.

    Parameters
    ----------
    source
        File name of a ``live.yaml``, or a mapping or `LiveFile` of that form.
    scenario
        Whose gateway is going to use them.

    Raises
    ------
    ScenarioError
        With all that is wrong with the file, a provider of the scenario that it does not have, or a key that is not
        in the environment.
    """
    from llmsim.providers.live.opened import live_provider
    from llmsim.scenario.live_file import check_keys, live_scenario, load_live

    live, document = load_live(source)
    found = live_scenario(dataclasses.replace(scenario, faults=()), live, document)
    check_keys(live, document, found.providers)
    async with AsyncExitStack() as stack:
        opened = []
        for name, spec in found.providers.items():
            provider = live_provider(name, live.providers[name], model=spec.model, price=spec.price)
            stack.push_async_callback(provider.aclose)
            opened.append(provider)
        yield opened
