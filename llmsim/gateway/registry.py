"""Kinds of policies by the name under which a scenario file knows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from llmsim.constructors import checked_values

__all__ = ["kind_of", "policy_kinds", "register"]

T = TypeVar("T", bound=type[Any])

_KINDS: dict[str, type[Any]] = {}


def register(kind: str) -> Callable[[T], T]:
    """Class decorator: make a policy spec known as `kind`, and its constructor look at what it is given.

    Registering a kind again replaces it, so that re-running a notebook cell works.
    """

    def add(cls: T) -> T:
        _KINDS[kind] = cls
        cls.kind = kind
        return checked_values(cls) if dataclasses.is_dataclass(cls) else cls

    return add


def policy_kinds() -> dict[str, type[Any]]:
    """All known kinds, sorted by name; loads the built-in ones first."""
    import llmsim.gateway.policies  # noqa: F401 - its modules register themselves

    return dict(sorted(_KINDS.items()))


def kind_of(spec: Any) -> str:
    """What a policy goes by: its ``name``, else its kind, else its class."""
    return str(getattr(spec, "name", None) or getattr(spec, "kind", None) or type(spec).__name__)
