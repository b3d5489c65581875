"""Paths into a scenario, and changing what stands there: ``gateway.retry.max_attempts=5``.

A path goes by keys, and through lists by name: a policy by its kind (or its ``name:`` where it has one), a fault by its
name, a route of the mix by its route, anything by its index. ``gateway.retry`` is a policy of ``gateway.policies``,
``upstream.timeout`` one of ``gateway.upstream``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from llmsim.errors import Problem, ScenarioError
from llmsim.gateway.pipeline import Gateway
from llmsim.scenario.document import Document, Path, dotted
from llmsim.scenario.keys import keys_of, nearest
from llmsim.scenario.presets import POLICIES, with_preset

__all__ = ["Changed", "apply_overrides", "change", "resolve"]

SOURCE = "--set"
#: Other paths may lead into the policies that these bring.
_FIRST = ("gateway", "gateway.preset")
_ABSENT: Any = object()


class _Off:
    """Stands where a policy or a fault was until all paths are followed, so that indices mean what they meant."""

    def __repr__(self) -> str:
        return "off"


_OFF: Any = _Off()


class Changed(NamedTuple):
    """A document with changes, and which paths were changed under which name."""

    document: Document
    typed: dict[str, str]  #: dotted path in the document → the path as it was typed

    def explain(self, error: ScenarioError, source: str = SOURCE) -> ScenarioError:
        """The problems of the changed document, told in the words of the changes."""
        return ScenarioError([self._told(problem) for problem in error.problems], source)

    def _told(self, problem: Problem) -> Problem:
        for path, typed in self.typed.items():
            if problem.path == path or problem.path.startswith((path + ".", path + "[")):
                return problem._replace(path=typed + problem.path[len(path) :], line=None, column=None)
        where = f" ({self.document.source}:{problem.line})" if problem.line is not None else ""
        return problem._replace(message=problem.message + where, line=None, column=None)


def apply_overrides(document: Document, overrides: Sequence[str], read: Callable[[str], Any]) -> Changed:
    """A document with ``path=value`` overrides applied. What they mean is checked by validating it.

    They are applied in order, but for ``gateway`` and ``gateway.preset``, which come first.

    Parameters
    ----------
    document
        A valid document.
    overrides
        ``path=value`` texts.
    read
        Reads a value (as YAML).

    Raises
    ------
    ScenarioError
        With source ``--set``: for paths that lead nowhere, with the nearest that does.
    """
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        path = path.strip()
        if not equals or not path:
            hint = "Write it like gateway.retry.max_attempts=5."
            problems.append(Problem(f"{override!r} is not path=value", hint=hint))
            continue
        try:
            values[path] = read(text)
        except ScenarioError as error:
            problems += [Problem(p.message, path, hint=p.hint) for p in error.problems]
    return change(document, values, problems)


def change(document: Document, values: Mapping[str, Any], problems: Sequence[Problem] = ()) -> Changed:
    """A document with the values at these paths replaced; the policies of its preset are written out.

    ``off`` (or False) for a whole policy or fault takes it out, before other paths are followed; indices count it all
    the same. A new ``gateway.preset`` takes the place of all policies that were there, as a preset beside policies of
    one's own would have no effect.

    Raises
    ------
    ScenarioError
        For paths that lead nowhere, and with the `problems` given.
    """
    found = list(problems)
    data, places = copied(document.data), dict(document.places)
    typed: dict[Path, str] = {}
    first = [text for text in values if text in _FIRST]
    rest = [text for text in values if text not in _FIRST]
    off = [text for text in rest if values[text] is False or values[text] == "off"]
    for texts in (first, off, [text for text in rest if text not in off]):
        if texts is off:  # whatever gateway there is to be is there now
            data, unknown = with_preset(document.with_data(data))
            data = copied(data)
            found += unknown
        for text in texts:
            try:
                path = resolve(document.with_data(data), text)
            except ScenarioError as error:
                found += error.problems
                continue
            if path == ("gateway", "preset"):
                data["gateway"] = {k: v for k, v in (data.get("gateway") or {}).items() if k not in POLICIES}
            if text in off and (whole := _whole(path)):
                _put(data, whole, _OFF)
                places = {place: spot for place, spot in places.items() if place[: len(whole) - 1] != whole[:-1]}
                continue
            _put(data, path, values[text])
            typed[path] = text
            places = {place: spot for place, spot in places.items() if place[: len(path)] != path}
    if found:
        raise ScenarioError(found, SOURCE)
    told = {dotted(_without_off(data, path)): text for path, text in typed.items()}
    _take_out(data)
    return Changed(Document(data, document.source, places), told)


def _whole(path: Path) -> Path | None:
    """The item of a list that a path leads to, if that is a whole policy or fault."""
    if len(path) in (3, 4) and path[:2] in (("gateway", "policies"), ("gateway", "upstream")):
        return path[:3]  # behind its index its kind may stand
    return path if len(path) == 2 and path[0] == "faults" else None


def _without_off(data: Any, path: Path) -> Path:
    """Where what is at a path will be once all that is off is gone."""
    here, found = data, []
    for part in path:
        found.append(part - sum(one is _OFF for one in here[:part]) if isinstance(part, int) else part)
        here = here[part]
    return tuple(found)


def _take_out(data: Any) -> None:
    gateway = data.get("gateway")
    for holder, key in ((gateway, "policies"), (gateway, "upstream"), (data, "faults")):
        if isinstance(holder, dict) and isinstance(holder.get(key), list):
            holder[key] = [one for one in holder[key] if one is not _OFF]


def copied(value: Any) -> Any:
    """Dicts and lists copied, everything else shared."""
    if isinstance(value, dict):
        return {key: copied(item) for key, item in value.items()}
    return [copied(item) for item in value] if isinstance(value, list) else value


def resolve(document: Document, text: str) -> Path:
    """Where in the document a path leads; the last parts may be keys that are not there yet.

    Raises
    ------
    ScenarioError
        Where it leads nowhere.
    """
    parts: list[str] = [part for part in re.split(r"\.|\[(?=\d+\])|(?<=\d)\](?=$|[.\[])", text) if part]
    if not parts or ".." in text:
        raise _nowhere(text, f"{text!r} is no path", "Write it like gateway.retry.max_attempts.")
    path: Path = ()
    if parts[0] == "upstream":
        parts.insert(0, "gateway")
    elif parts[0] == "gateway" and len(parts) > 1 and parts[1] not in keys_of(Gateway):
        parts.insert(1, "policies")
    while parts:
        value = document.get(path, _ABSENT)
        if isinstance(value, list):
            path = _into_list(document, path, value, parts.pop(0), text)
        elif isinstance(value, dict):
            path = (*path, _key(path, value, parts, text))
        elif value is _ABSENT and path == ("gateway", "policies"):
            _into_list(document, path, [], parts[0], text)
        elif value is None or value is _ABSENT or (value == parts[0] and path[:1] == ("gateway",)):
            return (*path, *parts)  # the last case: a policy written as a bare word
        else:
            shown = f"{dotted(path)} is {value!r}, which has no parts"
            raise _nowhere(text, shown, f"Set {dotted(path)} as a whole.")
    return path


def _nowhere(text: str, message: str, hint: str) -> ScenarioError:
    return ScenarioError([Problem(message, text, None, None, hint)], SOURCE)


def _key(path: Path, value: dict[str, Any], parts: list[str], text: str) -> str:
    """Take the next key off `parts`; a name with dots in it may be several of them."""
    for end in range(len(parts), 0, -1):
        joined = ".".join(parts[:end])
        if joined in value:
            del parts[:end]
            return joined
    if path == ("providers",):
        raise _nowhere(text, f"there is no provider {parts[0]!r}", nearest(parts[0], value))
    if path in (("slo",), ("steady_state",)):
        joined = ".".join(parts)
        parts.clear()
        return joined
    return parts.pop(0)


def _into_list(document: Document, path: Path, value: list[Any], part: str, text: str) -> Path:
    """One step into a list, by index or by name."""
    if part.isdigit():
        if int(part) >= len(value):
            count = f"{len(value)} item{'s' if len(value) != 1 else ''}"
            raise _nowhere(text, f"{dotted(path)} has {count}", f"Indices go from 0 to {len(value) - 1}.")
        return (*path, int(part))
    named = [_names(item, path) for item in value]
    found = [index for index, names in enumerate(named) if part in names]
    # A policy without a name of its own goes by its kind, and then the kind is first of all its name.
    exact = [index for index in found if named[index][0] == part]
    if len(exact or found) == 1:
        index = (exact or found)[0]
        kind = _policy_kind(value[index]) if path[:1] == ("gateway",) else None
        return (*path, index, kind) if kind else (*path, index)
    known = list(dict.fromkeys(names[0] for names in named if names))
    what = {
        "policies": "policy",
        "upstream": "upstream policy",
        "faults": "fault",
        "mix": "route",
        "named": "client",
    }.get(str(path[-1]))
    if found:
        raise _nowhere(text, f"{part!r} stands {len(found)} times in {dotted(path)}", "Use its index: 0, 1, ….")
    hint = _other_scope(document, path, part) or (nearest(part, known) if known else "Nothing has a name there.")
    raise _nowhere(text, f"{dotted(path)} has no {what or 'item'} {part!r}", hint)


def _other_scope(document: Document, path: Path, part: str) -> str:
    """Where a policy is that was looked for among those of the other scope."""
    scopes: dict[Path, str] = {("gateway", "policies"): "upstream", ("gateway", "upstream"): "policies"}
    other = ("gateway", scopes.get(path[:2], ""))
    entries = document.get(other, _ABSENT)
    if not isinstance(entries, list) or not any(part in _names(entry, other) for entry in entries):
        return ""
    right = f"upstream.{part}" if other[1] == "upstream" else f"gateway.{part}"
    return f"It is in the other scope: {right}."


def _policy_kind(entry: Any) -> str | None:
    if isinstance(entry, str):
        return entry
    return next(iter(entry)) if isinstance(entry, dict) and len(entry) == 1 else None


def _names(item: Any, path: Path) -> list[str]:
    """What an item of the list at `path` can be called: its own name first, then its kind."""
    if path[:1] == ("gateway",):
        kind = _policy_kind(item)
        settings = item.get(kind) if isinstance(item, dict) else None
        name = settings.get("name") if isinstance(settings, dict) else None
        return [n for n in (name, kind) if isinstance(n, str)]
    if isinstance(item, dict):
        return [str(item[key]) for key in ("name", "route", "client") if key in item]
    return []


def _put(data: Any, path: Path, value: Any) -> None:
    """Put `value` at `path` into nested dicts and lists, making the dicts that are missing."""
    here: Any = data
    for number, part in enumerate(path[:-1]):
        inner = here.get(part) if isinstance(here, dict) else here[part]
        following = path[number + 1]
        if isinstance(inner, str) and inner == following:  # a policy written as a bare word
            inner = {inner: {}}
        if inner is None:
            inner = {}
        here[part] = inner
        here = inner
    here[path[-1]] = value
