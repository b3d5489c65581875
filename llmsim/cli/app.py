"""The commands, and what is common to them."""

from __future__ import annotations

from typing import Annotated

import typer

from llmsim.cli.cache import cache
from llmsim.cli.calibrate import calibrate
from llmsim.cli.capacity import capacity
from llmsim.cli.check import check
from llmsim.cli.compare import compare
from llmsim.cli.explain import explain
from llmsim.cli.import_gateway import import_gateway
from llmsim.cli.init import init
from llmsim.cli.lab import lab
from llmsim.cli.policies import policies
from llmsim.cli.presets import presets
from llmsim.cli.run import run
from llmsim.cli.schema import schema
from llmsim.cli.search import search
from llmsim.cli.sweep import sweep
from llmsim.cli.trace import trace
from llmsim.cli.tune import tune

__all__ = ["app"]

# No rich markup: drawing help with rich would more than double the time of `llmsim --help`.
app = typer.Typer(
    name="llmsim", rich_markup_mode=None, add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True
)
app.command()(run)
app.command()(capacity)
app.command()(check)
app.command()(compare)
app.command()(explain)
app.command()(import_gateway)
app.command()(init)
app.command()(lab)
app.command()(policies)
app.command()(presets)
app.command()(schema)
app.command()(search)
app.command()(sweep)
app.command()(tune)
app.add_typer(cache)
app.add_typer(calibrate)
app.add_typer(trace)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it with the flag
    if wanted:
        from llmsim import __version__

        typer.echo(f"llmsim {__version__}")
        raise typer.Exit


@app.callback()
def llmsim(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A wind tunnel for LLM gateways: rehearse spikes, 429 storms and brown-outs in virtual time.

    \b
    Examples:
      llmsim init rehearsal
      llmsim lab
      llmsim run scenarios/hacker-news-spike.yaml
      llmsim run scenarios/*.yaml --json results.json
      llmsim check scenarios/ --junit check.xml
      llmsim search scenarios/hacker-news-spike.yaml --budget 500
      llmsim sweep scenarios/brown-out.yaml --over gateway.retry.max_attempts=1,2,3
      llmsim tune scenarios/hacker-news-spike.yaml --recipe backoff --minimize cost_per_ok
      llmsim explain out 17/0/0
      llmsim trace describe requests.csv
      llmsim policies retry
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
