"""Code that exists only here: of a notebook, or of a module beside the scenario."""

from __future__ import annotations

import site
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType

from llmsim.scenario.spec import Scenario

__all__ = ["by_value"]

#: Last part of the folders in which installed code is: not those of programs and data, below which anything may be.
_LIBRARIES = {"site-packages", "dist-packages", f"python{sys.version_info[0]}.{sys.version_info[1]}"}


@contextmanager
def by_value(scenario: Scenario) -> Iterator[None]:
    """Have code that is not installed pickled as code, not as the name of a module that is missing there."""
    import cloudpickle

    already = cloudpickle.list_registry_pickle_by_value()
    mine = [module for module in _modules_of(scenario) if module.__name__ not in already]
    for module in mine:
        cloudpickle.register_pickle_by_value(module)
    try:
        yield
    finally:
        for module in mine:
            cloudpickle.unregister_pickle_by_value(module)


def _modules_of(scenario: Scenario) -> list[ModuleType]:
    """The user's modules that its gateway is made of, and those that these import; each once."""
    gateway, todo = scenario.gateway, list[str | None]()
    for one in (gateway.entry, *gateway.policies, *gateway.upstream):
        for code in (one, type(one), getattr(one, "function", None)):
            todo += [getattr(code, "__module__", None)]
    found: dict[str, ModuleType] = {}
    while todo:
        module = sys.modules.get(todo.pop() or "")
        if module is None or module.__name__ in found or not _own(module):
            continue
        found[module.__name__] = module
        for value in vars(module).values():
            todo += [value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)]
    return list(found.values())


def _own(module: ModuleType) -> bool:
    """Whether it is the user's, and not installed."""
    name, file = module.__name__, getattr(module, "__file__", None)
    if name.partition(".")[0] in ("llmsim", "__main__") or file is None:
        return False
    path = Path(file).resolve()
    return not any(path.is_relative_to(folder) for folder in _installed())


@cache
def _installed() -> tuple[Path, ...]:
    paths = {*sysconfig.get_paths().values(), *site.getsitepackages(), site.getusersitepackages()}
    return tuple(Path(one).resolve() for one in paths if one and Path(one).name in _LIBRARIES)
