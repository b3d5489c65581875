"""Reading ``live.yaml``: which live providers stand for those of a scenario."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmsim.errors import Problem, ScenarioError
from llmsim.providers.live.spec import LiveFile
from llmsim.scenario.document import Document
from llmsim.scenario.keys import nearest
from llmsim.scenario.load import read_document
from llmsim.scenario.messages import problems_of
from llmsim.scenario.spec import Scenario

__all__ = ["live_scenario", "load_live"]


def load_live(source: str | Path | Mapping[str, Any] | LiveFile) -> tuple[LiveFile, Document]:
    """Read and check a ``live.yaml`` (or a mapping of the same form).

    Raises
    ------
    ScenarioError
        With all problems, their line and column, and what to type instead.

    Examples
    --------
    >>> file, _ = load_live({"version": 1, "providers": {"openai": {"base_url": "http://127.0.0.1:8080/v1"}}})
    >>> file.providers["openai"].api
    'openai-chat'
    """
    if isinstance(source, LiveFile):
        return source, Document({}, "live")
    problems: list[Problem] = []
    if isinstance(source, Mapping):
        document = Document(dict(source), "live")
    else:
        try:
            document, problems = read_document(Path(source).read_bytes(), str(source))
        except OSError as error:
            reason = "there is no such file" if isinstance(error, FileNotFoundError) else f"cannot be read: {error}"
            raise ScenarioError([Problem(reason, hint="Check the path.")], str(source)) from None
    try:
        file: LiveFile = _adapter().validate_python(document.data)
    except ValidationError as error:
        problems += problems_of(error, document, LiveFile)
    if problems:
        raise ScenarioError(problems, document.source)
    return file, document


@cache
def _adapter() -> TypeAdapter[Any]:
    return TypeAdapter(LiveFile)


def live_scenario(scenario: Scenario, live: LiveFile, document: Document) -> Scenario:
    """The scenario with the models and prices that the live providers have.

    Raises
    ------
    ScenarioError
        A provider of the scenario has no live one; or something in the scenario can only be simulated.
    """
    problems = [
        document.problem(
            ("providers",),
            f"there is no live provider for {name!r} of {scenario.name}",
            f"Add {name}: {{base_url: …, model: …}}.",
            at_key=True,
        )
        for name in scenario.providers
        if name not in live.providers
    ]
    for name in live.providers:
        if name not in scenario.providers:
            hint = nearest(name, scenario.providers)
            problems.append(
                document.problem(("providers", name), f"{scenario.name} has no provider {name!r}", hint, at_key=True)
            )
    if problems:
        raise ScenarioError(problems, document.source)
    _check_faults(scenario)
    providers = {}
    for name, spec in scenario.providers.items():
        given = live.providers[name]
        price = spec.price if given.price is None else given.price
        providers[name] = dataclasses.replace(spec, model=given.model or spec.model, price=price)
    return dataclasses.replace(scenario, providers=providers)


def _check_faults(scenario: Scenario) -> None:
    """Refuse what nobody can do to a real provider."""
    problems = []
    for number, fault in enumerate(scenario.faults):
        if fault.provider and fault.intrinsic:
            what = ", ".join(word for word in fault.effects if word in ("latency", "capacity", "rate_limit", "drift"))
            message = f"{fault.name}: {what} changes a provider from within, which a live one does not let us do"
            hint = "Use abort, delay, stall, break, outage or sequence, or leave it out with --without-faults."
            problems.append(_problem(scenario, ("faults", number), message, hint))
    if problems:
        raise ScenarioError(problems, getattr(scenario.source, "source", scenario.name))


def _problem(scenario: Scenario, path: tuple[str | int, ...], message: str, hint: str) -> Problem:
    document = scenario.source if isinstance(scenario.source, Document) else Document({})
    return document.problem(path, message, hint, at_key=True)
