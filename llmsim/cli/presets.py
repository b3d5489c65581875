"""``llmsim presets``."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli.terminal import put

if TYPE_CHECKING:
    from llmsim.gateway.presets import Preset

__all__ = ["presets"]


def presets(
    name: Annotated[str, typer.Argument(help="Show this one, as YAML to paste.", metavar="[NAME]")] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """List the presets, gateways that behave like widely used ones, or show one: its policies, sources and differences.

    \b
    Examples:
      llmsim presets
      llmsim presets openai-sdk
      llmsim run scenarios/hacker-news-spike.yaml --set gateway.preset=openai-sdk
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    from llmsim.gateway.presets import preset_names, read_preset

    try:
        found = [read_preset(one) for one in ([name] if name else preset_names())]
    except LookupError as error:
        put(f"{error.args[0]}. `llmsim presets` lists them.", to="stderr")
        raise typer.Exit(2) from None
    if as_json:
        import dataclasses
        import json

        put(json.dumps([dataclasses.asdict(one) for one in found], indent=2, ensure_ascii=False))
    elif name:
        put(_to_paste(found[0]))
    else:
        width = max(len(one.name) for one in found) + 2
        put("\n".join(f"{one.name:{width}}{one.version}\n{_indented(one.description, width)}" for one in found))
        put("\nIn a scenario: gateway: {preset: NAME}. llmsim presets NAME shows its policies and what differs.")


def _indented(text: str, by: int) -> str:
    return textwrap.fill(text, width=100, initial_indent=" " * by, subsequent_indent=" " * by)


def _to_paste(preset: Preset) -> str:
    """Its keys as its file has them, and all that is known of it as comments."""
    from llmsim.gateway.presets import preset_text

    lines = preset_text(preset.name).splitlines()
    start = lines.index("gateway:")
    end = next(number for number, line in enumerate(lines) if number > start and line and line[0] not in " #")
    parts = [
        _comment(f"{preset.name} ({preset.version}): {preset.description}"),
        *lines[start:end],
        "# What differs from the real one:",
        *(_comment(text, "- ") for text in preset.differs),
        "# Sources:",
        *(_comment(f"{path}: {text}", "- ") for path, text in preset.sources.items()),
    ]
    return "\n".join(parts)


def _comment(text: str, mark: str = "") -> str:
    return textwrap.fill(
        text,
        width=100,
        initial_indent=f"# {mark}",
        subsequent_indent="# " + " " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )
