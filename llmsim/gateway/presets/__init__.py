"""Gateways that behave like the widely used ones: one YAML file each, in which every figure has its source.

``gateway: {preset: openai-sdk}`` in a scenario, `preset` from Python, ``llmsim presets`` on the command line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from llmsim.gateway.pipeline import Gateway

__all__ = ["Preset", "preset", "preset_names", "preset_text", "read_preset"]

SCOPES = ("policies", "upstream")


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A gateway by its documented rules.

    Parameters
    ----------
    name
        What scenarios call it.
    version
        Of what, and which: rules change.
    description
        One sentence.
    gateway
        Keys of a scenario's ``gateway``, as a file writes them.
    sources
        Where figures come from, by their path below the policies: ``retry.backoff.initial``, or ``retry.backoff`` for
        all below it; in upstream scope ``upstream.timeout.ttft``.
    differs
        What of the real thing cannot be said in these words, or is different here.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    name: str
    version: str
    description: str
    gateway: Mapping[str, Any]
    sources: Mapping[str, str]
    differs: tuple[str, ...] = field(default=())


@cache
def preset_names() -> tuple[str, ...]:
    """All presets, sorted.

    Examples
    --------
    >>> "openai-sdk" in preset_names()
    True
    """
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml")))


def preset_text(name: str) -> str:
    """The file of a preset."""
    return (files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")


@cache
def read_preset(name: str) -> Preset:
    """A preset by its name.

    Raises
    ------
    LookupError
        If there is none; the message names the nearest.

    Examples
    --------
    >>> read_preset("openai-sdk").version
    'openai-python 2.54.0'
    >>> read_preset("openai-skd")
    Traceback (most recent call last):
    LookupError: there is no preset 'openai-skd'; did you mean 'openai-sdk'?
    """
    from pydantic import TypeAdapter
    from ruamel.yaml import YAML

    if name not in preset_names():
        near = get_close_matches(name, preset_names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(preset_names())}"
        raise LookupError(f"there is no preset {name!r}; {hint}")
    found: Preset = TypeAdapter(Preset).validate_python(YAML(typ="safe", pure=True).load(preset_text(name)))
    return found


@cache
def preset(name: str) -> Gateway:
    """A gateway that behaves like a widely used one, by its documented rules.

    Parameters
    ----------
    name
        One of `preset_names`.

    Raises
    ------
    LookupError
        If there is none; the message names the nearest.

    Examples
    --------
    >>> gateway = preset("openai-sdk")
    >>> gateway.policies[0].max_attempts, gateway.policies[0].max_retry_after
    (3, 120.0)
    """
    from pydantic import TypeAdapter

    from llmsim.gateway.pipeline import Gateway

    settings = read_preset(name).gateway
    scopes = {scope: [_policy(entry) for entry in settings[scope]] for scope in SCOPES if scope in settings}
    gateway: Gateway = TypeAdapter(Gateway).validate_python({**settings, **scopes, "preset": name})
    return gateway


def _policy(entry: Any) -> Any:
    from pydantic import TypeAdapter

    from llmsim.gateway.registry import policy_kinds

    kind, settings = (entry, {}) if isinstance(entry, str) else next(iter(entry.items()))
    return TypeAdapter(policy_kinds()[kind]).validate_python(settings or {})
