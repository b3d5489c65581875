"""``llmsim trace``."""

from __future__ import annotations

import json as json_text
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from llmsim.cli.failures import block, code_of
from llmsim.cli.terminal import put, steady_streams
from llmsim.units import DURATION, MULTIPLIER, Unit

if TYPE_CHECKING:
    from llmsim.traffic.traces import Trace

__all__ = ["trace"]

trace = typer.Typer(
    name="trace", help="Look at recorded traffic.", rich_markup_mode=None, no_args_is_help=True, add_completion=False
)


@trace.callback()
def _trace() -> None:
    """Look at recorded traffic."""


@trace.command()
def describe(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV or JSONL file, or a directory of ServeGen's.")],
    *,
    format: Annotated[
        str,
        typer.Option(metavar="NAME", help="azure, burstgpt, mooncake, ragpulse, servegen or llmsim; auto: by columns."),
    ] = "auto",
    from_: Annotated[str, typer.Option("--from", metavar="TIME", help="Where to begin: 10m.")] = "0s",
    to: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Where to end.", show_default=False)] = None,
    rate: Annotated[
        str, typer.Option(metavar="FACTOR", help="Play it faster; of ServeGen's clients, let them send more often.")
    ] = "1x",
    limit: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="At most that many requests.", show_default=False)
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(
            "--json", metavar="FILE", help="Write all figures as JSON; - is standard output, and nothing else."
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw rate, gaps and lengths.", show_default=False)
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="With an error, show the whole traceback.")] = False,
) -> None:
    """Show how often requests come in a trace, how unevenly, how long they are, and how a scenario would say so.

    Formats: Azure 2023 and 2024 (TIMESTAMP, ContextTokens, GeneratedTokens), BurstGPT (Timestamp, Model, Request
    tokens, Response tokens; no response is a failure), Mooncake and RAGPulse (JSONL with timestamp, input_length,
    output_length), ServeGen (a directory with chunk-0-trace.csv and so on), and llmsim's own: CSV or JSONL with
    arrival_s, input_tokens, output_tokens and, if there are, route, session, client, failed.

    \b
    Examples:
      llmsim trace describe AzureLLMInferenceTrace_conv.csv
      llmsim trace describe requests.jsonl --from 10m --to 20m --plot requests.png
      llmsim trace describe ServeGen/data/language/m-small --to 1h --rate 0.05x --json -
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    window = _quantity(from_, DURATION, "--from"), _quantity(to, DURATION, "--to") if to else float("inf")
    factor = _quantity(rate, MULTIPLIER, "--rate")
    try:
        found, requests = _described(file, format, window, factor, limit)
        if plot is not None:
            _draw(plot, requests, found)
        if json is not None:
            _write(json, found)
    except Exception as error:
        put(block(error, str(file), f"llmsim trace describe {file}", whole=traceback), "stderr")
        raise typer.Exit(code_of(error)) from None
    if json != "-":
        from llmsim.cli.trace_table import table

        put(table(found))
        if plot is not None:
            put(f"\n  Drawn in {plot}")


@trace.command()
def convert(
    log: Annotated[Path, typer.Argument(metavar="LOG", help="A gateway's log: a row a request.")],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE.csv", help="What to write.")] = Path("trace.csv"),
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Where a field stands; or a sum. Repeatable."),
    ] = None,
    traceback: Annotated[bool, typer.Option("--traceback", help="With an error, show the whole traceback.")] = False,
) -> None:
    """Make a trace of a gateway's log, for ``executor: trace`` and ``llmsim trace describe``.

    LOG is LiteLLM's spend logs (JSON or CSV), OpenTelemetry spans as OTLP JSON, or a CSV, JSON, JSONL or Parquet file
    of any form, with --map for each of the fields

    \b
      sent_s         when the request came: seconds on any clock, or a date with a time
      input_tokens, output_tokens
      outcome        ok, success, true, 1 or 200; else it failed
      route, session, client
      run            which run, where several were written on one clock: the first in the file is taken

    of which the first two lines are needed. A field is a column, or a sum of columns and numbers, from left to right
    (`llmsim calibrate log --help`). Texts of prompts, keys and users are not copied, unless --map says so.

    \b
    Examples:
      llmsim trace convert spend_logs.json --out monday.csv
      llmsim trace convert access.csv --map sent_s=timestamp --map input_tokens=prompt_tokens
        --map output_tokens=completion_tokens --map outcome=status --map client=user_id
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    try:
        notes = _converted(log, out, mapping or [])
    except Exception as error:
        put(block(error, str(log), f"llmsim trace convert {log}", whole=traceback), "stderr")
        raise typer.Exit(code_of(error)) from None
    put("\n".join(notes))


def _converted(log: Path, out: Path, mapping: list[str]) -> list[str]:
    from llmsim.calibrate.arrivals import TRAFFIC_FIELDS, read_arrivals, write_arrivals
    from llmsim.calibrate.formulas import read_map
    from llmsim.cli.outputs import check_file
    from llmsim.errors import LlmsimError
    from llmsim.report.figures import clock

    name = shlex.quote(str(out))  # of YAML, too
    check_file("--out", out, "name a file")
    if out.suffix != ".csv":
        raise LlmsimError(f"--out {out}: traces are written as CSV; name it {out.with_suffix('.csv')}")
    if out.exists() and log.exists() and out.samefile(log):
        raise LlmsimError(f"--out {out} is the log itself; name another file")
    found = read_arrivals(log, read_map(mapping, TRAFFIC_FIELDS))
    write_arrivals(found, out)
    span_s, failed = found.rows[-1].sent_s - found.rows[0].sent_s, sum(one.failed for one in found.rows)
    return [
        f"{out}: {len(found.rows):,} requests in {clock(span_s)}, {failed:,} of them failed",
        *found.notes,
        f"What it is like: llmsim trace describe {name}",
        f"As traffic:      traffic: {{executor: trace, trace: {{file: {name}}}}}",
    ]


def _quantity(text: str, unit: Unit, option: str) -> float:
    try:
        return unit.parse(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def _described(
    file: Path, name: str, window: tuple[float, float], rate: float, limit: int | None
) -> tuple[dict[str, Any], Trace]:
    from difflib import get_close_matches

    from llmsim.errors import LlmsimError
    from llmsim.traffic.replay import Format
    from llmsim.traffic.trace_stats import describe as described
    from llmsim.traffic.traces import load_trace

    known = get_args(Format)
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it is one of {', '.join(known)}"
        raise LlmsimError(f"--format {name}: there is no such format; {hint}")
    if window[1] <= window[0]:
        raise LlmsimError("--to is not after --from; give a window with some time in it")
    if rate <= 0:
        raise LlmsimError("--rate 0x would stand still; write 2x or 0.5x")
    requests = load_trace(file, name, from_s=window[0], to_s=window[1], rate=rate, limit=limit)  # type: ignore[arg-type]
    return described(requests), requests


def _draw(path: Path, requests: Trace, found: dict[str, Any]) -> None:
    from llmsim.errors import LlmsimError
    from llmsim.report.plots.trace import trace_picture

    if path.suffix.lower() != ".png":
        raise LlmsimError(f"--plot {path}: pictures are drawn as PNG; name it {path.with_suffix('.png')}")
    try:
        path.write_bytes(trace_picture(requests, found).png())
    except OSError as error:
        raise LlmsimError(f"--plot {path}: cannot be written: {error.strerror or error}") from error


def _write(to: str, found: dict[str, Any]) -> None:
    from llmsim.errors import LlmsimError

    text = json_text.dumps(found, indent=2, allow_nan=False, ensure_ascii=False)
    if to == "-":
        put(text)
        return
    try:
        Path(to).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise LlmsimError(f"--json {to}: cannot be written: {error.strerror or error}") from error
