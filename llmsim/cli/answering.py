"""What commands that answer one question have in common: where it goes, what became of it, and the exit code."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import typer

from llmsim.cli.failures import INTERRUPTED, block, code_of, page_of, worst
from llmsim.cli.terminal import put, steady_streams

__all__ = ["Answer", "answering", "or_partial"]

T = TypeVar("T")


@dataclass
class Answer:
    """What a command fills in.

    Parameters
    ----------
    to
        Where text for people goes: not where the JSON goes.
    code
        The exit code so far.
    page
        For ``--json``.
    abandoned
        Whether a thread was left behind that nothing can stop.
    """

    to: Any
    code: int = 0
    page: dict[str, Any] = field(default_factory=dict)
    abandoned: bool = False


@contextmanager
def answering(file: Path, again: str, *, json: str | None, traceback: bool) -> Iterator[Answer]:
    """Around all that a command does; what goes wrong is told, and the program ends with the exit code.

    Parameters
    ----------
    file
        The scenario, for messages.
    again
        The command that makes it happen again.
    json
        As `llmsim.cli.options.Json` takes it.
    traceback
        Show the whole of it.

    Raises
    ------
    typer.Exit
        Always, in the end.
    """
    steady_streams()
    answer = Answer("stderr" if json == "-" else "stdout")
    to = json if json == "-" else None
    try:
        if json is not None and json != "-":
            from llmsim.cli.outputs import check_file

            check_file("--json", Path(json), "name a file, or - for standard output")
            to = json
        yield answer
    except Exception as error:
        put(block(error, str(file), again, whole=traceback), "stderr")
        for note in getattr(error, "__notes__", ()):
            put(f"  {'at':<12}{note.removeprefix('at ')}", "stderr")
        answer.code = worst([answer.code, code_of(error)])
        answer.page = page_of(error, str(file)) | {"exit_code": answer.code}
    if to is not None:
        from llmsim.cli.outputs import write_json

        answer.code = write_json(to, answer.page, answer.code)
    if answer.abandoned:
        os._exit(INTERRUPTED)  # the interpreter's own way out would wait for the policy that spins in its thread
    raise typer.Exit(answer.code)


def or_partial(answer: Answer, work: Callable[[], T]) -> T:
    """What the work comes to, or as much of it as there was when it was interrupted."""
    from llmsim.errors import SimulationInterrupted

    try:
        return work()
    except SimulationInterrupted as stop:
        if stop.partial is None:
            raise
        answer.abandoned = bool(stop.abandoned)
        partial: T = stop.partial
        return partial
