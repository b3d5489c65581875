"""``llmsim cache``."""

from __future__ import annotations

import typer

from llmsim.cli.cache_fit import fit

__all__ = ["cache"]

cache = typer.Typer(
    name="cache",
    help="Find out what a semantic cache would do.",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
)
cache.command()(fit)


@cache.callback()
def _cache() -> None:
    """Find out what a semantic cache would do."""
