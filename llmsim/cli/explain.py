"""``llmsim explain``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli.failures import block, code_of
from llmsim.cli.terminal import put, steady_streams

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["explain"]


def explain(
    directory: Annotated[Path, typer.Argument(metavar="RESULT_DIR", help="What `llmsim run FILE --out DIR` saved.")],
    request: Annotated[
        str | None,
        typer.Argument(metavar="REQUEST_ID", show_default=False, help="session/step/retry; without: what there is."),
    ] = None,
    *,
    replication: Annotated[int, typer.Option(metavar="N", help="Of which replication.")] = 0,
    traceback: Annotated[bool, typer.Option("--traceback", help="With an error, show the whole traceback.")] = False,
) -> None:
    """Show what happened to one request: its attempts as a waterfall, the waits between them, the faults.

    \b
    Examples:
      llmsim run scenarios/article-gateway.yaml --out out
      llmsim explain out
      llmsim explain out 1017/0/0 --replication 3
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    from llmsim.cli.replay import program
    from llmsim.errors import LlmsimError
    from llmsim.report.save import load_result

    try:
        if directory.is_file():
            raise LlmsimError(f"{directory} is a file; name the directory that `{program()} run FILE --out DIR` wrote")
        result = load_result(directory)
        text = _list(result, directory, replication) if request is None else result.explain(request, replication)
    except Exception as error:
        put(block(error, str(directory), f"{program()} explain {directory}", whole=traceback), "stderr")
        raise typer.Exit(code_of(error)) from None
    put(text)


def _list(result: Result, directory: Path, replication: int) -> str:
    """How requests ended, and how to see one of each kind."""
    import polars as pl

    from llmsim.cli.replay import program
    from llmsim.errors import LlmsimError
    from llmsim.report.text import columns

    rows = result.requests.filter(pl.col("replication") == replication)
    if rows.is_empty():
        raise LlmsimError(f"{directory} has no requests of replication {replication}; it has {_numbers(result)}")
    which = f" --replication {replication}" if replication else ""
    kinds = (
        rows.group_by("outcome", maintain_order=True)
        .agg(pl.len(), pl.col("request_id").first())
        .sort(pl.col("outcome") == "ok", "len", descending=[False, True])
    )
    listed = [
        (str(outcome), f"{count:,}", f"{program()} explain {directory} {example}{which}")
        for outcome, count, example in kinds.rows()
    ]
    head = f"{result.scenario.name}, replication {replication}: how its {rows.height:,} requests ended"
    return "\n".join([head, *columns([("outcome", "requests", "for example"), *listed])])


def _numbers(result: Result) -> str:
    numbers = [one.number for one in result.replications]
    return f"{min(numbers)} to {max(numbers)}" if numbers else "none"
