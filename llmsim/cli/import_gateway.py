"""``llmsim import-gateway``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli.terminal import put

if TYPE_CHECKING:
    from llmsim.scenario.imports import Imported

__all__ = ["import_gateway"]


def import_gateway(
    file: Annotated[Path, typer.Argument(help="LiteLLM's config.yaml, or a Portkey config in JSON.", metavar="FILE")],
    *,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into", help="Replace providers: and gateway: of this scenario, and nothing else.", metavar="SCENARIO"
        ),
    ] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="litellm or portkey; default: by the file's keys.", metavar="NAME")
    ] = None,
    model_group: Annotated[
        str | None,
        typer.Option("--model-group", help="LiteLLM: which model_name; default: the first chat.", metavar="NAME"),
    ] = None,
) -> None:
    """Read the gateway that you run today into a scenario: LiteLLM's config.yaml or a Portkey config.

    Prints a scenario with the source of every setting behind it, the line of your file or a default. What a scenario
    cannot say, or not quite, is listed at its top and on stderr. Providers get the profile of their model, or the
    nearest. API keys, addresses and headers are not copied. The traffic is a placeholder: put yours there.

    A LiteLLM config has several model groups, and a request names one; a scenario has one gateway. So one group is
    imported, with the groups it falls back on.

    \b
    Examples:
      llmsim import-gateway config.yaml > mine.yaml && llmsim run mine.yaml
      llmsim import-gateway config.yaml --model-group gpt-4o
      llmsim import-gateway portkey.json --into scenarios/launch-day.yaml

    Exit codes: 0, or 2 if a file cannot be read or the scenario would be wrong (nothing is written then).
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    from llmsim.errors import ScenarioError
    from llmsim.scenario import imports

    try:
        imported = imports.import_gateway(_read(file), file.name, format=form, model_group=model_group)
        if into is not None:
            _replace(into, imported)
    except ScenarioError as error:
        put(error.render(), to="stderr")
        raise typer.Exit(2) from None
    if into is None:
        put(imported.scenario().rstrip("\n"))
    else:
        put(f"{into}: providers and gateway are those of {file} now")
    for line in imported.notes:
        put(line, to="stderr")


def _read(path: Path) -> bytes:
    """The content of a file.

    Raises
    ------
    ScenarioError
        If it cannot be read.
    """
    from difflib import get_close_matches

    from llmsim.errors import Problem, ScenarioError

    try:
        return path.read_bytes()
    except FileNotFoundError:
        beside = [p.name for p in path.parent.glob("*.*")] if path.parent.is_dir() else []
        near = get_close_matches(path.name, beside, n=1)
        hint = f"Did you mean {path.parent / near[0]}?" if near else "Check the path."
        raise ScenarioError([Problem("there is no such file", hint=hint)], str(path)) from None
    except IsADirectoryError:
        raise ScenarioError([Problem("this is a directory", hint="Name a file in it.")], str(path)) from None
    except (OSError, ValueError) as error:
        raise ScenarioError([Problem(f"cannot be read: {error}")], str(path)) from None


def _replace(path: Path, imported: Imported) -> None:
    """Put the sections into a scenario file, in one step: a half-written scenario is worse than none.

    Raises
    ------
    ScenarioError
        If it cannot be read or written, or would be wrong.
    """
    from llmsim.errors import Problem, ScenarioError

    content = _read(path)
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ScenarioError([Problem("this is not text in UTF-8", hint="Save it as UTF-8.")], str(path)) from None
    new = imported.into(text, str(path)).encode("utf-8")
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_bytes(new)
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise ScenarioError([Problem(f"cannot be written: {error}")], str(path)) from None
