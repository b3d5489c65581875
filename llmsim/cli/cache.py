"""``llmsim cache``."""

from __future__ import annotations

import typer

from llmsim.cli.cache_threshold import threshold

__all__ = ["cache"]

cache = typer.Typer(
    name="cache", help="Choose the threshold of a semantic cache.", rich_markup_mode=None, no_args_is_help=True
)
cache.command()(threshold)


@cache.callback()
def _cache() -> None:
    """Choose the threshold of a semantic cache."""
