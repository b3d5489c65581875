"""``llmsim cache``."""

from __future__ import annotations

import typer

from llmsim.cli.cache_frontier import frontier

__all__ = ["cache"]

cache = typer.Typer(
    name="cache", help="Choose how a semantic cache is set.", rich_markup_mode=None, no_args_is_help=True,
    add_completion=False,
)  # fmt: skip
cache.command()(frontier)


@cache.callback()
def _cache() -> None:
    """Choose how a semantic cache is set."""
