"""``llmsim lab``."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from llmsim.cli.failures import block, code_of
from llmsim.cli.terminal import put, steady_streams
from llmsim.errors import LlmsimError

if TYPE_CHECKING:
    from llmsim.cli.lab_folder import LabFolder

__all__ = ["lab"]

HOST = "127.0.0.1"
FOLDER = Path("llmsim-lab")
_MOST_NAMED = 4  # files of a list that are named; the rest is counted


def lab(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Where your copy is, or is to be.", show_default="llmsim-lab")
    ] = FOLDER,
    *,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make a new copy beside one that is there.")] = False,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open a browser; else only say where to go.")
    ] = True,
    port: Annotated[
        int | None, typer.Option(metavar="N", min=1, max=65535, help="Listen there. [8888, or the next that is free]")
    ] = None,
) -> None:
    """Open JupyterLab on the notebooks, in a copy that is yours.

    The first time, notebooks and scenarios are copied into DIR. The next time you go on with what is there, and nothing
    is written over; --fresh makes DIR-2 beside it. The server listens on 127.0.0.1 only and lets in who has the token
    of its address; Ctrl-C ends it.

    \b
    Exit codes:
      0  the lab was ended
      2  DIR is something else, or cannot be written; the port is taken
      4  llmsim itself broke, or JupyterLab did not start
    \b
    Examples:
      llmsim lab
      llmsim lab ~/rehearsals --no-browser --port 8899
      llmsim lab --fresh
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    from llmsim.cli.lab_folder import next_free, open_folder

    try:
        if port is not None:
            _check_free(port)
        place = next_free(folder) if fresh and folder.exists() else folder
        found = open_folder(place)
    except Exception as error:
        put(block(error, str(folder), "llmsim lab"), "stderr")
        raise typer.Exit(code_of(error)) from None
    put(_told(found, place))
    code = _serve(found.path, port, browser=browser)
    put(f"\nIt is all in {place}; to go on: llmsim lab {'' if place == FOLDER else place}".rstrip())
    _leave(code)


def _leave(code: int) -> NoReturn:
    """End the process, whatever threads are left of the server.

    Jupyter stops its loop before all of anyio's worker threads have been told to end; those wait for ever, and
    Python for them, now and then (seen with anyio 4.16).
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)


def _told(found: LabFolder, place: Path) -> str:
    """What is in the folder."""
    if found.new:
        return f"{place}: {found.files} files, a fresh copy of the notebooks and scenarios of llmsim {found.version}"
    lines = [f"{place}: going on with your copy of llmsim {found.version}; nothing in it is written over"]
    for what, names in (("changed", found.changed), ("your own", found.added), ("newer in llmsim", found.newer)):
        if names:
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            lines.append(f"  {what + ':':<17}{', '.join(names[:_MOST_NAMED])}{more}")
    if not found.changed and not found.added:
        lines.append("  as it was copied")
    lines.append("  for a new copy beside it: llmsim lab --fresh")
    return "\n".join(lines)


def _check_free(port: int) -> None:
    """Raise now what the server would say in the middle of its log.

    Raises
    ------
    LlmsimError
        If somebody listens there, or may not.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise LlmsimError(
                f"port {port} cannot be used ({error.strerror}); name another, or leave out --port"
            ) from error


def _serve(folder: Path, port: int | None, *, browser: bool) -> int:
    """JupyterLab in this process, until it is ended: so a signal to this process is one to the server."""
    from jupyter_server.serverapp import ServerApp
    from jupyterlab.labapp import LabApp

    from llmsim.cli.lab_folder import FIRST

    # Ctrl-C is meant: as JupyterHub has it, no question, and no second thread that stops a loop which is not its own.
    ServerApp._handle_sigint = ServerApp._signal_stop  # type: ignore[method-assign] # noqa: SLF001 - no setting does it
    words = [
        f"--ServerApp.ip={HOST}",
        f"--ServerApp.root_dir={folder}",
        f"--ServerApp.open_browser={browser}",
        "--Application.log_level=WARN",  # the address is told all the same
        f"--LabApp.default_url=/lab{f'/tree/{FIRST}' if (folder / FIRST).is_file() else ''}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    if port is not None:
        words += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # in a container; Jupyter would refuse
        words.append("--ServerApp.allow_root=True")
    try:
        LabApp.launch_instance(words)
    except SystemExit as end:
        return 0 if end.code in (0, None) else 4
    return 0
