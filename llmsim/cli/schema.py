"""``llmsim schema``."""

from __future__ import annotations

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli.terminal import put

if TYPE_CHECKING:
    from llmsim.scenario.key_pages import Key, KeyPage

__all__ = ["schema"]

_WIDTH = 110


def schema(
    path: Annotated[str, typer.Argument(help="Show what may stand there, for people.", metavar="[PATH]")] = "",
) -> None:
    """Print the JSON Schema of scenario files, for editors; or what a part of one can hold, for people.

    \b
    Examples:
      llmsim schema faults
      llmsim schema traffic.mix
      llmsim schema providers.serving
      llmsim schema > scenario.schema.json
    and as the first line of a scenario file:
      # yaml-language-server: $schema=./scenario.schema.json
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    if path:
        _show(path)
        return
    import json

    from llmsim.scenario.jsonschema import json_schema

    put(json.dumps(json_schema(), indent=2, ensure_ascii=False))


def _show(path: str) -> None:
    from llmsim.scenario.key_pages import key_page

    try:
        page = key_page(path)
    except LookupError as error:
        put(str(error.args[0]), to="stderr")
        raise typer.Exit(2) from None
    put(_whole(page))


def _whole(page: KeyPage) -> str:
    import sys

    from llmsim.cli.terminal import bold

    alike = (list(keys) for _, keys in groupby(page.keys, key=lambda key: key.text))  # that are explained together
    parts = [f"{bold(page.path, sys.stdout)}\n{_filled(page.text, 0)}", *map(_some, alike)]
    inner = [key.name for key in page.keys if key.inner]
    if inner:
        parts.append(f"… has keys of its own: llmsim schema {page.path}.{inner[0]}")
    return "\n\n".join(part.rstrip() for part in parts)


def _some(keys: list[Key]) -> str:
    """Keys, how each is written, and what they are."""
    return "\n".join([*map(_head, keys), _filled(keys[0].text, 6)])


def _head(key: Key) -> str:
    facts = [
        "needed" if key.needed else "",
        f"default {key.default}" if key.default else "",
        f"like {', '.join(key.examples)}" if key.examples else "",
    ]
    told = "; ".join(fact for fact in facts if fact)
    return f"  {key.name}{' …' if key.inner else ''}{f' ({told})' if told else ''}"


def _filled(text: str, by: int) -> str:
    lines = (textwrap.wrap(line, _WIDTH, initial_indent=" " * by, subsequent_indent=" " * by)
             for line in text.replace("``", "").replace("`", "").splitlines())  # fmt: skip
    return "\n".join(line for some in lines for line in some)
