"""Gateways that are Python code, by the name of where they are."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import traceback
from pathlib import Path
from typing import Any

from llmsim.errors import LlmsimError
from llmsim.scenario.spec import Expect, Scenario

__all__ = ["gateway_named", "with_named_gateway"]


def gateway_named(name: str, folder: Path | None = None) -> Any:
    """The gateway (or list of policies, or ``async def``) that ``module:name`` stands for.

    The module is looked for in `folder` first, too; None is the current directory.

    Raises
    ------
    LlmsimError
        Saying which half of the name is wrong.
    """
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute:
        raise LlmsimError(f"{name!r} is no module and name; write it like my_app.gateway:gateway")
    here = str(folder or Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise LlmsimError(f"gateway {name}: cannot import {module_name} from {here} ({error})") from error
    except (Exception, SystemExit) as error:  # SystemExit: a program that is none to import
        where = "".join(
            f", {frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-1:]
        )
        raise LlmsimError(
            f"gateway {name}: importing {module_name} from {here} raised {type(error).__name__}: {error}{where}"
        ) from error
    try:
        return getattr(module, attribute)
    except AttributeError:
        names = ", ".join(sorted(one for one in vars(module) if one.isidentifier() and not one.startswith("_")))
        raise LlmsimError(f"gateway {name}: {module_name} has no {attribute!r}; it has {names}") from None


def with_named_gateway(scenario: Scenario, name: str, folder: Path | None = None) -> Scenario:
    """The scenario under the gateway of that name (see `gateway_named`); under its own if there is none.

    What the file expects to fail, it expects of its own gateway: another one has to hold every SLO.
    """
    if not name:
        return scenario
    gateway = gateway_named(name, folder)
    try:
        return dataclasses.replace(scenario.with_gateway(gateway), expect=Expect())
    except TypeError as error:
        raise LlmsimError(f"gateway {name}: {error}") from error
