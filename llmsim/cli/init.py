"""``llmsim init``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli.failures import block, code_of
from llmsim.cli.terminal import put, steady_streams
from llmsim.errors import LlmsimError

__all__ = ["FILES", "init"]

#: What is written, by where its text is. As .txt no tool takes the texts for code or scenarios of llmsim itself.
FILES = {
    "scenario.yaml": "scenario.yaml.txt",
    "gateway.py": "gateway.py.txt",
    "test_gateway.py": "test_gateway.py.txt",
    "notebook.ipynb": "notebook.ipynb.txt",
    ".github/workflows/rehearsal.yml": "rehearsal.yml.txt",
    "README.md": "README.md.txt",
}
_TEXTS = Path(__file__).parent / "starter"


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to; made if it is not there.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Write over files of these names.")] = False,
) -> None:
    """Write a folder to start from: a scenario with SLOs, a gateway with its own policy, a test, a workflow for CI.

    Everything in it works as it stands. Other files in DIR stay as they are; if one of these names is taken, nothing is
    written.

    \b
    Exit codes:
      0  written
      2  something of that name is there, or DIR cannot be written
      4  llmsim itself broke
    \b
    Examples:
      llmsim init rehearsal
      llmsim init . --force
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    try:
        _write(folder, force=force)
    except Exception as error:
        put(block(error, str(folder), f"llmsim init {folder}"), "stderr")
        raise typer.Exit(code_of(error)) from None
    put("\n".join([f"{folder}:", *(f"  {name}" for name in FILES), "", "Next:"]))
    if folder.resolve() != Path.cwd():
        put(f"  cd {folder}")
    put("  llmsim run scenario.yaml --gateway gateway:gateway\n  pytest")


def _write(folder: Path, *, force: bool) -> None:
    """All files, or none.

    Raises
    ------
    LlmsimError
        If something is in the way.
    """
    if (folder.exists() or folder.is_symlink()) and not folder.is_dir():
        raise LlmsimError(f"{folder} is no folder; name another: llmsim init {folder}-rehearsal")
    taken = [name for name in FILES if os.path.lexists(folder / name)]
    if taken and not force:
        raise LlmsimError(
            f"{folder} has {', '.join(taken)} already, and nothing was written; name another folder, or write over "
            f"{'it' if len(taken) == 1 else 'them'} with --force"
        )
    texts = {name: (_TEXTS / source).read_text(encoding="utf-8") for name, source in FILES.items()}
    try:
        for name, text in texts.items():
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise LlmsimError(f"cannot write {error.filename or folder}: {error.strerror or error}") from error
