"""Runs that say they were live: the truth is known, since it was simulated too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from report.reality.runs import as_live, simulated

import llmsim as ls

AsIfLive = Callable[..., ls.Result]


@pytest.fixture(scope="session")
def as_if_live() -> AsIfLive:
    """A run that says it is live: the truth that a simulation is to find."""

    def made(changes: Mapping[str, str] | None = None, seed: int = 5, **paths: str) -> ls.Result:
        return as_live(simulated(changes, seed, **paths))

    return made


@pytest.fixture(scope="session")
def sim() -> ls.Result:
    return simulated()


@pytest.fixture(scope="session")
def slow(as_if_live: AsIfLive) -> Any:
    """A live run of which first tokens take 1.25 times as long as simulated."""
    return as_if_live({"ttft": "{lognormal: {p50: 375ms, p99: 1.25s}}"})
