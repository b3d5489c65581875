"""What went wrong, in one block a person can act on; and which exit code it is."""

from __future__ import annotations

import linecache
import platform
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llmsim.errors import EngineError, LlmsimError, PolicyError, Problem, ScenarioError

__all__ = ["BAD_INPUT", "BROKEN", "INTERRUPTED", "block", "code_of", "page_of", "worst"]

BAD_INPUT, BROKEN, INTERRUPTED = 2, 4, 130

#: The worst first.
_ORDER = (INTERRUPTED, BROKEN, BAD_INPUT, 1, 3, 0)


def worst(codes: Iterable[int]) -> int:
    """The exit code of several files.

    Examples
    --------
    >>> worst([0, 3, 1, 0]), worst([1, 2, 4]), worst([])
    (1, 4, 0)
    """
    return min(codes, key=_ORDER.index, default=0)


def code_of(error: BaseException) -> int:
    """2 for what the user can mend: scenario, options, policy code, places to write to. 4 for a fault in llmsim."""
    return BAD_INPUT if isinstance(error, LlmsimError) else BROKEN


def block(error: BaseException, file: str, again: str, *, whole: bool = False) -> str:
    """What happened, whose code it was, where, and what to do.

    Parameters
    ----------
    error
        What was raised.
    file
        The scenario it happened with.
    again
        The command that makes it happen again.
    whole
        Show the traceback too.
    """
    told = "".join(traceback.format_exception(error)) if whole else ""
    if isinstance(error, MemoryError):
        return (
            f"{told}{file}: memory ran out ({_what(error)})\n  {'alone':<12}{again}\n  {'or':<12}--jobs 1, less traffic"
        )
    if isinstance(error, ScenarioError):
        return told + error.render()
    if isinstance(error, LlmsimError) and not isinstance(error, PolicyError | EngineError):
        return f"{told}{error}"
    if isinstance(error, LlmsimError):
        title, todo = f"{file}: {_whose(error)}", [] if whole else [("whole story", f"{again} --traceback")]
    else:
        title = f"{file}: llmsim itself broke, which is not your fault"
        todo = [
            ("report", "the scenario file, this block, and what this prints:"),
            ("", f"{again} --traceback"),
            ("versions", _versions()),
        ]
    facts = [("what", _what(error)), ("policy", getattr(error, "policy", "")), ("where", _where(error)), *todo]
    lines = [f"  {label:<12}{text}" for label, text in facts if text]
    return told + "\n".join([title, *lines])


def _whose(error: LlmsimError) -> str:
    if isinstance(error, PolicyError):
        return f"policy {error.policy!r} broke its contract" if error.policy else "a policy broke its contract"
    return f"the simulation could not go on ({type(error).__name__})"


def _what(error: BaseException) -> str:
    text = str(error)
    if isinstance(error, PolicyError) and error.policy:  # both stand in lines of their own
        place = f" ({error.where})" if error.where else ""
        text = text.removeprefix(f"policy {error.policy!r}{place}: ")
    elif not isinstance(error, LlmsimError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    first, *rest = text.splitlines() or [""]
    return "\n".join([first, *(f"{'':<14}{line}" for line in rest)])


def _where(error: BaseException) -> str:
    where = str(getattr(error, "where", ""))
    if where or isinstance(error, LlmsimError):
        file, _, line = where.rpartition(":")
        source = linecache.getline(file, int(line)).strip() if line.isdigit() else ""
        return f"{where}: {source}" if source else where
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "llmsim" in Path(frame.filename).parts] or list(frames)
    if not ours:
        return ""
    last = ours[-1]
    parts = Path(last.filename).parts
    short = "/".join(parts[len(parts) - parts[::-1].index("llmsim") - 1 :]) if "llmsim" in parts else last.filename
    return f"{short}:{last.lineno} in {last.name}"


def _versions() -> str:
    from llmsim import __version__

    return f"llmsim {__version__}, Python {platform.python_version()}, {platform.system()}"


def page_of(error: BaseException, file: str) -> dict[str, Any]:
    """The same for programs: what stands in the JSON output in place of a result."""
    problems = error.problems if isinstance(error, ScenarioError) else [Problem(_what(error))]
    return {
        "file": file,
        "exit_code": code_of(error),
        "verdict": "ERROR",
        "error": type(error).__name__,
        "problems": [problem._asdict() for problem in problems],
    }
