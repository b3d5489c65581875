"""``llmsim policies``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli.terminal import put

if TYPE_CHECKING:
    from llmsim.scenario.policy_pages import PolicyPage

__all__ = ["policies"]


def policies(
    kind: Annotated[str, typer.Argument(help="Show this one's whole page.", metavar="[KIND]")] = "",
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
) -> None:
    """List the policies, or show the page of one: what it does, its settings, their defaults and where these come from.

    \b
    Examples:
      llmsim policies
      llmsim policies retry
      llmsim policies --json | jq '.[].kind'
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    from llmsim.scenario.policy_pages import policy_page, policy_pages

    try:
        pages = [policy_page(kind)] if kind else policy_pages()
    except LookupError as error:
        put(f"{error.args[0]} `llmsim policies` lists them.", to="stderr")
        raise typer.Exit(2) from None
    if as_json:
        import dataclasses
        import json

        put(json.dumps([dataclasses.asdict(page) for page in pages], indent=2, ensure_ascii=False))
    elif kind:
        put(_whole(pages[0]))
    else:
        width = max(len(page.kind) for page in pages)
        put("\n".join(f"{page.kind:{width}}  {page.summary}" for page in pages))
        put("\nllmsim policies KIND shows what one protects from, what it costs, and its settings.")


def _whole(page: PolicyPage) -> str:
    import sys

    from llmsim.cli.terminal import bold

    parts = [bold(page.kind, sys.stdout) + "  " + page.summary, page.text, bold("Settings", sys.stdout)]
    for setting in page.settings:
        default = f" (default {setting.default})" if setting.default else " (required)"
        parts.append(f"  {setting.name}{default}\n" + _indented(setting.text, 6))
    if page.notes:
        parts += [bold("Notes", sys.stdout), page.notes]
    if page.example:
        parts += [bold("Example", sys.stdout), page.example]
    parts.append(f"In Python: {page.home}")
    return "\n\n".join(part.rstrip() for part in parts if part.strip())


def _indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line if line.strip() else "" for line in text.splitlines())
