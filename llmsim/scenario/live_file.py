"""Reading ``live.yaml``: which live providers stand for those of a scenario."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmsim.errors import Problem, ScenarioError
from llmsim.providers.faults import Fault
from llmsim.providers.live.spec import LiveFile
from llmsim.scenario.document import Document
from llmsim.scenario.keys import nearest
from llmsim.scenario.load import read_document
from llmsim.scenario.messages import problems_of
from llmsim.scenario.spec import Scenario

__all__ = ["check_keys", "left_out", "live_scenario", "load_live"]

_ALL, _SIMULATED_ONLY = "all", "simulated-only"  #: in place of names of faults


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


def check_keys(live: LiveFile, document: Document, names: Iterable[str] | None = None) -> None:
    """See to it that the keys of these providers (default: all) are in the environment, before anything begins.

    Raises
    ------
    ScenarioError
        Naming every variable that is not set, or whose value cannot be a key.
    """
    from llmsim.providers.live.auth import EnvironmentKey

    problems = [
        document.problem(
            ("providers", name, "key_env"),
            f"{name}: the environment variable {variable} {wrong}",
            "Export it before this is started; leave key_env out if the server wants no key.",
        )
        for name in (live.providers if names is None else names)
        if (wrong := EnvironmentKey(variable := live.providers[name].key_env).problem())
    ]
    if problems:
        raise ScenarioError(problems, document.source)


def left_out(scenario: Scenario, names: Sequence[str]) -> Scenario:
    r"""The scenario without some of its faults of providers.

    Parameters
    ----------
    scenario
        Any.
    names
        Of faults; or ``simulated-only``, which takes from each what only a simulated provider can suffer (latency,
        capacity, price, drift) and leaves the rest; or ``all``.

    Raises
    ------
    ScenarioError
        For a name that no fault has.

    Examples
    --------
    >>> from llmsim.scenario.load import parse_scenario
    >>> text = "version: 1\ntraffic: {base_rate: 1/s}\nproviders: {a: {}}\nfaults: "
    >>> slow = parse_scenario(text + "[{name: slow, provider: a, latency: {multiplier: 2x}, abort: {status: 503}}]")
    >>> left_out(slow, ["simulated-only"]).faults[0].effects
    ('abort',)
    """
    known = [fault.name for fault in scenario.faults if fault.provider]
    for name in names:
        if name not in (*known, _ALL, _SIMULATED_ONLY):
            told = f"its faults of providers are {', '.join(known)}" if known else "it has no fault of a provider"
            raise ScenarioError(
                f"{scenario.name} has no fault {name!r}; {told}, and {_SIMULATED_ONLY} and {_ALL} are words too",
                "--without-faults",
            )
    kept = [
        fault
        for fault in scenario.faults
        if not fault.provider or not (_ALL in names or fault.name in names)
    ]  # fmt: skip
    if _SIMULATED_ONLY in names:
        kept = [part for fault in kept if (part := _outer_part(fault)) is not None]
    return dataclasses.replace(scenario, faults=tuple(kept))


def _outer_part(fault: Fault) -> Fault | None:
    """What of a fault can be had in front of a real provider; None: nothing."""
    if not fault.provider or not fault.only_simulated:
        return fault
    if len(fault.only_simulated) == len(fault.effects):
        return None
    nothing: dict[str, Any] = dict.fromkeys(fault.only_simulated)
    return dataclasses.replace(fault, **nothing)


def _check_faults(scenario: Scenario) -> None:
    """Refuse what nobody can do to a real provider."""
    problems = []
    for number, fault in enumerate(scenario.faults):
        if fault.provider and fault.only_simulated:
            what = " and ".join(fault.only_simulated)
            does = "change" if len(fault.only_simulated) > 1 else "changes"
            message = f"{fault.name}: {what} {does} a provider from within, which a live one does not let us do"
            hint = (
                "In front of it there can be abort, delay, stall, break, outage, sequence and rate_limit. Leave this "
                f"out with --without-faults {_SIMULATED_ONLY}, or the whole fault with --without-faults {fault.name}."
            )
            problems.append(_problem(scenario, ("faults", number), message, hint))
    if problems:
        raise ScenarioError(problems, getattr(scenario.source, "source", scenario.name))


def _problem(scenario: Scenario, path: tuple[str | int, ...], message: str, hint: str) -> Problem:
    document = scenario.source if isinstance(scenario.source, Document) else Document({})
    return document.problem(path, message, hint, at_key=True)
