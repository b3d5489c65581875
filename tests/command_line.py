"""The command line in this process. Its commands are made once: reading their signatures takes 50 ms each time."""

from functools import cache
from typing import Any

import pytest
import typer.testing
from typer.main import get_command

_command = cache(get_command)


def invoke(*words: object) -> typer.testing.Result:
    """What ``llmsim WORDS…`` prints and ends with."""
    from llmsim.cli.app import app

    with pytest.MonkeyPatch.context() as patch:
        # Where a version of typer has no such name, the commands are made anew, and that is all.
        patch.setattr(typer.testing, "_get_command", _command, raising=False)
        runner: Any = typer.testing.CliRunner()
        result: typer.testing.Result = runner.invoke(app, [str(word) for word in words])
    return result
