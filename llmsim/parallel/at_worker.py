"""What runs in a worker of a cluster."""

from __future__ import annotations

import pickle
import tempfile
import threading
from collections import OrderedDict
from functools import cache
from pathlib import Path
from typing import Any

from llmsim.errors import LlmsimError
from llmsim.parallel.shipping import Unpickler, here, unpacked_name, with_files
from llmsim.scenario.spec import Scenario

__all__ = ["do", "hold"]

#: One simulation at a time in a process, however many threads the worker has: the functions of `random`, which the
#: run seeds, are the process's own.
_one = threading.Lock()

_REMEMBERED = 32  # scenarios, so that what they read from files is read once
_scenarios: OrderedDict[str, Scenario] = OrderedDict()


def hold(content: bytes) -> bytes:
    """A content, as a task: a worker that dies with it is no loss, since the scheduler can have it made again."""
    return content


def do(expected: dict[str, str], work: bytes, digests: tuple[str, ...], *contents: bytes) -> Any:
    """Call what is packed.

    Parameters
    ----------
    expected
        Versions that have to be the same here.
    work
        Call and arguments.
    digests, contents
        What they refer to.

    Raises
    ------
    LlmsimError
        Other versions are here.
    """
    differ = {name: mine for name, mine in here().items() if expected.get(name) != mine}
    if differ:
        raise LlmsimError(_other(expected, differ))
    with _one:
        by_digest = dict(zip(digests, contents, strict=True))
        call, task = Unpickler(work, lambda digest: _scenario(digest, by_digest)).load()
        return call(*task)


def _other(expected: dict[str, str], differ: dict[str, str]) -> str:
    told = ", ".join(f"{name} {mine or 'unknown'} (not {expected.get(name)})" for name, mine in differ.items())
    hint = "Install the same there."
    if differ.keys() == {"instructions"}:
        more = set(differ["instructions"].split(",")) ^ set(expected.get("instructions", "").split(","))
        hint = f'Set NPY_DISABLE_CPU_FEATURES="{" ".join(sorted(more - {""}))}" here and for every worker.'
    return f"a worker has {told}; the same seed would not give the same bytes there. {hint}"


def _scenario(digest: str, contents: dict[str, bytes]) -> Scenario:
    if digest not in _scenarios:
        packed: Scenario = pickle.loads(contents[digest])  # noqa: S301 - from the client, as the code to run is
        _scenarios[digest] = with_files(
            packed, lambda name: unpacked_name(name, lambda one, file: _file(one, file, contents))
        )
        if len(_scenarios) > _REMEMBERED:
            _scenarios.popitem(last=False)
    _scenarios.move_to_end(digest)
    return _scenarios[digest]


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="llmsim-")


def _file(digest: str, name: str, contents: dict[str, bytes]) -> Path:
    """The content as a file, in a folder that goes with this process."""
    path = Path(_folder().name) / digest / Path(name).name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(contents[digest])
    return path
