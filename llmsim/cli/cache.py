"""``llmsim cache``: choose how a semantic cache is set, and see what that does."""

from __future__ import annotations

import typer

from llmsim.cli.cache_fit import fit
from llmsim.cli.cache_frontier import frontier
from llmsim.cli.cache_threshold import threshold

__all__ = ["cache"]

cache = typer.Typer(
    name="cache", help="Choose how a semantic cache is set.", rich_markup_mode=None, no_args_is_help=True
)
cache.command()(fit)
cache.command()(frontier)
cache.command()(threshold)


@cache.callback()
def _cache() -> None:
    """Choose how a semantic cache is set."""
