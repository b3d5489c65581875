"""The page of a policy: what its docstring says, and its settings as a scenario file writes them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated, Any, get_args, get_origin

from llmsim.gateway.registry import policy_kinds
from llmsim.scenario.keys import keys_of, nearest
from llmsim.units import DURATION, MULTIPLIER, RATE, RATIO, Unit, format_duration

__all__ = ["PolicyPage", "Setting", "policy_page", "policy_pages"]

_WRITTEN: dict[str, Callable[[float], str]] = {
    DURATION.name: format_duration,
    RATIO.name: lambda value: f"{100 * value:g}%",
    RATE.name: lambda value: f"{value:g}/s",
    MULTIPLIER.name: lambda value: f"{value:g}x",
}
#: reStructuredText that a terminal does not need: strong words and code.
_MARKUP = re.compile(r"\*\*(.+?)\*\*|``(.+?)``|`(.+?)`", re.DOTALL)


@dataclass(frozen=True)
class Setting:
    """One setting of a policy.

    Parameters
    ----------
    name
        Its key in a scenario file.
    default
        As a scenario file writes it; empty if it must be given.
    text
        What it does, and where its default comes from.
    """

    name: str
    default: str
    text: str


@dataclass(frozen=True)
class PolicyPage:
    """What there is to know about a policy.

    Parameters
    ----------
    kind
        Its name in scenario files.
    summary
        One line.
    text
        What it protects from, what it costs, when it makes things worse.
    settings
        In the order of the class.
    notes
        Events, errors, and what else is worth knowing.
    example
        A session of the Python prompt; it is tested.
    home
        ``module.Class`` to import.
    """

    kind: str
    summary: str
    text: str
    settings: tuple[Setting, ...]
    notes: str
    example: str
    home: str


def policy_pages() -> list[PolicyPage]:
    """Of all policies that are known, by kind."""
    return [_page(kind, cls) for kind, cls in policy_kinds().items()]


def policy_page(kind: str) -> PolicyPage:
    """Of one.

    Raises
    ------
    LookupError
        Unknown kind; the message names the nearest.

    Examples
    --------
    >>> page = policy_page("deadline")
    >>> page.home, [setting.name for setting in page.settings][0]
    ('llmsim.gateway.policies.Deadline', 'timeout')
    """
    kinds = policy_kinds()
    if kind not in kinds:
        raise LookupError(f"there is no policy {kind!r}. {nearest(kind, kinds)}")
    return _page(kind, kinds[kind])


def _page(kind: str, cls: type[Any]) -> PolicyPage:
    from docstring_parser import DocstringStyle, parse

    doc = parse(cleandoc(cls.__doc__ or ""), style=DocstringStyle.NUMPYDOC)
    said = {
        name.strip(): parameter.description or ""
        for parameter in doc.params
        for name in parameter.arg_name.split(",")  # settings that are explained together
    }
    fields = {field.name: field for field in dataclasses.fields(cls)} if dataclasses.is_dataclass(cls) else {}
    annotations = keys_of(cls) if fields else {}
    settings = tuple(
        Setting(name, _default(fields[name], annotation), plain(said.get(name, _OF_ALL.get(name, ""))))
        for name, annotation in annotations.items()
        if name in fields
    )
    notes = "\n".join(meta.description or "" for meta in doc.meta if meta.args == ["notes"])
    module = cls.__module__
    if module.startswith("llmsim.gateway.policies."):
        module = "llmsim.gateway.policies"  # where all of them can be had
    text = plain(doc.long_description or "")
    return PolicyPage(
        kind=kind,
        summary=plain(doc.short_description or ""),
        text=text,
        settings=settings,
        notes=plain(notes),
        example=_example(cls.__doc__ or ""),
        home=f"{module}.{cls.__qualname__}",
    )


def _example(docstring: str) -> str:
    """What stands under *Examples*, as it is written."""
    found = re.search(r"^Examples\n-+\n(.*?)(?=^\S.*\n-+\n|\Z)", cleandoc(docstring), re.DOTALL | re.MULTILINE)
    return found[1].strip() if found else ""


#: Settings that every policy has, and explains only where there is more to say.
_OF_ALL = {
    "name": "What it goes by in paths, events and this run's luck, where a kind stands twice.",
    "shared": "One state for all replicas of the gateway instead of one each.",
}


def plain(text: str) -> str:
    """Text without markup.

    Examples
    --------
    >>> plain("**Costs** money; see `retry` and ``on``.")
    'Costs money; see retry and on.'
    """
    return _MARKUP.sub(lambda found: found[1] or found[2] or found[3], text)


def _default(field: dataclasses.Field[Any], annotation: Any) -> str:
    if field.default is not dataclasses.MISSING:
        return written(field.default, annotation)
    if field.default_factory is not dataclasses.MISSING:
        return written(field.default_factory(), annotation)
    return ""


def written(value: Any, annotation: Any = None) -> str:
    """A value as a scenario file writes it.

    Examples
    --------
    >>> from llmsim.units import PositiveDuration
    >>> written(0.25, PositiveDuration), written(("timeout", 429)), written(None), written(True)
    ('250ms', '[timeout, 429]', 'null', 'true')
    """
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        keys = keys_of(type(value))
        return (
            "{"
            + ", ".join(f"{key}: {written(getattr(value, key), keys[key])}" for key in keys if hasattr(value, key))
            + "}"
        )
    if isinstance(value, tuple | list | frozenset):
        return "[" + ", ".join(written(one) for one in value) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {written(one)}" for key, one in value.items()) + "}"
    unit = _unit(annotation)
    if unit is not None and isinstance(value, int | float):
        spell = _WRITTEN.get(unit.name)
        return spell(value) if spell is not None else f"{value:g}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _unit(annotation: Any) -> Unit | None:
    """The unit of a number, also where it may be null."""
    found = next((m for m in getattr(annotation, "__metadata__", ()) if isinstance(m, Unit)), None)
    if found is not None:
        return found
    if get_origin(annotation) is Annotated:
        return _unit(get_args(annotation)[0])
    return next((unit for unit in map(_unit, get_args(annotation)) if unit is not None), None)
