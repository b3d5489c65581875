"""From a document to a `Scenario`: the schema, the policies by their kinds, and what only sections together tell."""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

from llmsim.errors import Problem, ScenarioError
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.crosscheck import crosscheck
from llmsim.scenario.crosscheck_safety import safety_policies
from llmsim.scenario.crosscheck_store import store_words
from llmsim.scenario.document import Document, Path
from llmsim.scenario.keys import keys_of, nearest
from llmsim.scenario.messages import problems_of, shown, unknown_key
from llmsim.scenario.presets import with_preset
from llmsim.scenario.profiles import with_profiles
from llmsim.scenario.reach import out_of_reach
from llmsim.scenario.spec import Scenario
from llmsim.types import CallNext, Request, Response

__all__ = ["adapter", "policy_kind", "validated"]

SCOPES = ("policies", "upstream")
SHOWN = 100  #: more problems than this are counted only: it is the wrong file


def validated(document: Document, problems: list[Problem] | None = None, *, si: bool = False) -> Scenario:
    """The scenario a document describes.

    Parameters
    ----------
    document
        What to check.
    problems
        What reading it already brought up.
    si
        Whether bare numbers stand for SI units (values from Python rather than a file).

    Raises
    ------
    ScenarioError
        With all problems in file order.
    """
    found = list(problems or ())
    data, more = with_profiles(document)
    data, unknown = with_preset(document.with_data(data))
    more += unknown
    filled = document.with_data(data)
    prepared, wrong = _with_policies(filled, si=si)
    more += wrong
    scenario: Scenario | None = None
    try:
        scenario = adapter(Scenario).validate_python(prepared, context={"si": si})
    except ValidationError as error:
        more += problems_of(error, document, Scenario)
    more += [*crosscheck(filled, si=si), *safety_policies(filled), *store_words(filled)]
    # What could not be read is reported once, not again for not being what it should be.
    found += [problem for problem in more if not any(_inside(problem.path, path) for path in document.unread)]
    if found or scenario is None:
        raise ScenarioError(_in_file_order(found), document.source)
    beyond = out_of_reach(scenario, document)
    if beyond:
        raise ScenarioError(_in_file_order(beyond), document.source)
    return dataclasses.replace(scenario, source=document)


def _inside(path: str, other: str) -> bool:
    return path == other or path.startswith((other + ".", other + "["))


def _in_file_order(problems: list[Problem]) -> list[Problem]:
    unique = {(p.line, p.column, p.message): p for p in problems}.values()
    ordered = sorted(unique, key=lambda p: (p.line is None, p.line or 0, p.column or 0))
    if len(ordered) <= SHOWN:
        return ordered
    rest = ordered[SHOWN]
    return [*ordered[:SHOWN], Problem(f"and {len(ordered) - SHOWN:,} more", "", rest.line, rest.column, "Begin above.")]


@cache
def adapter(cls: Any) -> TypeAdapter[Any]:
    """What reads a spec of this class; made once, which takes some milliseconds."""
    return TypeAdapter(cls)


def _with_policies(document: Document, *, si: bool) -> tuple[Any, list[Problem]]:
    """The document's data with every policy entry replaced by its spec."""
    data = document.data
    problems: list[Problem] = []
    for path, hidden in ((("source",), Scenario), (("gateway", "entry"), Gateway)):
        value = document.get(path)
        if value is not None and not callable(value):
            problems.append(unknown_key(document, path, hidden))
            data = _replaced(data, path, None)
    for scope in SCOPES:
        path = ("gateway", scope)
        entries = document.get(path)
        if isinstance(entries, list):
            specs = [_policy(document, (*path, index), entry, problems, si=si) for index, entry in enumerate(entries)]
            data = _replaced(data, path, [_unread if spec is None else spec for spec in specs])
    return data, problems


async def _unread(request: Request, call_next: CallNext) -> Response:
    """Stands for a policy that is wrong while the rest is read, as no gateway takes what is none. It never runs."""
    return await call_next(request)


def _replaced(data: Any, path: Path, value: Any) -> Any:
    """A copy of nested dicts with the value at `path` replaced (None: removed)."""
    key, *rest = path
    if rest:
        return {**data, key: _replaced(data[key], tuple(rest), value)}
    return {**data, key: value} if value is not None else {k: v for k, v in data.items() if k != key}


def policy_kind(entry: Any) -> tuple[str, Any] | None:
    """Kind and settings of an entry of a policy list: ``cache`` or ``{cache: {…}}``; None if it is neither."""
    if isinstance(entry, str):
        return entry, {}
    if isinstance(entry, dict) and len(entry) == 1:
        kind, settings = next(iter(entry.items()))
        return kind, {} if settings is None else settings
    return None


def _policy(document: Document, path: Path, entry: Any, problems: list[Problem], *, si: bool) -> Any:
    """The spec an entry stands for; what is wrong with it goes to `problems`."""
    if callable(entry) or hasattr(entry, "start"):
        return entry  # a policy from Python
    found = policy_kind(entry)
    if found is None:
        problems.append(_not_one_policy(document, path, entry))
        return None
    kind, settings = found
    kinds = policy_kinds()
    path = (*path, kind) if isinstance(entry, dict) else path
    if kind not in kinds:
        problems.append(document.problem(path, f"unknown policy {kind!r}", nearest(kind, kinds), at_key=True))
        return None
    cls: Any = kinds[kind]
    if not isinstance(settings, dict):
        hint = f"It takes {', '.join(keys_of(cls))}."
        problems.append(document.problem(path, f"{kind} needs a mapping of settings, not {shown(settings)}", hint))
        return None
    # Checked here because a user's policy class has no reason to know pydantic's `extra: forbid`.
    unknown = [key for key in settings if key not in keys_of(cls)]
    problems += [unknown_key(document, (*path, key), cls) for key in unknown]
    known = {key: value for key, value in settings.items() if key not in unknown}
    try:
        return adapter(cls).validate_python(known, context={"si": si})
    except ValidationError as error:
        problems += problems_of(error, document, cls, path)
    except Exception as error:  # a user's class may raise anything from its __post_init__
        problems.append(document.problem(path, f"{kind} refuses these settings: {type(error).__name__}: {error}"))
    return None


def _not_one_policy(document: Document, path: Path, entry: Any) -> Problem:
    if isinstance(entry, dict) and entry:
        kinds = [key for key in entry if key in policy_kinds()]
        if len(kinds) == 1:
            return document.problem(
                path,
                f"a policy is a single key, and here are {len(entry)}: {', '.join(entry)}",
                f"Indent the settings below {kinds[0]}:, or write {{{kinds[0]}: {{…}}}}.",
            )
        hint = "Begin each policy with '- '."
        return document.problem(path, f"a policy is a single key, and here are {len(entry)}: {', '.join(entry)}", hint)
    return document.problem(path, f"needs a policy, not {shown(entry)}", "Write it like - retry: {max_attempts: 3}.")
