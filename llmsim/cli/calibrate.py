"""``llmsim calibrate``: what a provider is like, from calls that were really made to it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli.calibrate_outputs import CallsFile, check_places, finish, seconds_text
from llmsim.cli.failures import INTERRUPTED, block, code_of
from llmsim.cli.line import Line
from llmsim.cli.options import NoProgress, Traceback
from llmsim.cli.terminal import put, steady_streams
from llmsim.errors import LlmsimError, SimulationInterrupted

if TYPE_CHECKING:
    from llmsim.calibrate.probe import ProbeProgress

__all__ = ["calibrate"]

calibrate = typer.Typer(
    name="calibrate",
    help="Make a provider's profile from calls that were really made.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@calibrate.callback()
def _calibrate() -> None:
    """Make a provider's profile from calls that were really made."""


Provider = Annotated[str, typer.Option("--provider", metavar="NAME", help="Whose calls, where there are several.")]
Out = Annotated[Path, typer.Option(metavar="FILE", help="Where to write the profile.")]
Slots = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="It is a serving engine of your own, started with N slots (llama.cpp --parallel); or has N workers.",
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Which calls are held out, and the order of a probe.")]
Plot = Annotated[Path | None, typer.Option(metavar="PNG", help="Draw held-out calls, predicted against measured.")]


@calibrate.command()
def log(
    file: Annotated[Path, typer.Argument(metavar="LOG", help="A saved result (directory), or a log: a row a call.")],
    *,
    maps: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="FIELD=COLUMN", help="Where a field stands; a sum, or a YAML file of such."),
    ] = None,
    provider: Provider = "",
    model: Annotated[str, typer.Option(metavar="NAME", help="Which model's calls, where there are several.")] = "",
    slots: Slots = None,
    out: Out = Path("profile.yaml"),
    plot: Plot = None,
    seed: Seed = 0,
    no_progress: NoProgress = False,
    traceback: Traceback = False,
) -> None:
    """Fit a profile to a log of calls.

    LOG is a directory that llmsim run --out wrote; LiteLLM's spend logs (JSON or CSV); OpenTelemetry spans as OTLP JSON
    (GenAI conventions, with gen_ai.response.time_to_first_chunk); the calls of a probe; or a CSV, JSON, JSONL or
    Parquet file of any form, with --map for each of the fields

    \b
      sent_s         when the call was sent: seconds on any clock, or a date with a time
      ttft_s         seconds from there to the first token
      e2e_s          seconds from there to the end
      input_tokens, cached_tokens, output_tokens
      outcome        ok, success, true, 1 or 200; else an error word or an HTTP status
      cost_usd, model, upstream

    of which ttft_s, e2e_s, input_tokens and output_tokens are needed. A field is a column, or a sum of columns and
    numbers, from left to right; a name with other signs than letters, digits, _ and . stands in backquotes; a dot goes
    into a nested object.

    Four models are tried: a line over the prompt's length, the same behind a queue for so many workers, the same with
    factors by how many calls are under way, and a serving engine with slots. Which one is used is for calls to say that
    the fit had not seen.

    \b
    Exit codes:
      0    done
      2    bad input
      4    llmsim itself broke
      130  interrupted
    \b
    Examples:
      llmsim calibrate log out --provider openai --out openai.yaml
      llmsim calibrate log spend_logs.json --model gpt-4o-mini
      llmsim calibrate log requests.csv --map sent_s=time --map ttft_s=first_token_ms/1000 --map e2e_s=end-time
        --map input_tokens=prompt --map output_tokens=completion
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    line = Line(wanted=not no_progress)
    code = 0
    try:
        from llmsim.calibrate.logs import read_log
        from llmsim.calibrate.upstream import fit_upstream

        check_places(out, plot)
        found = read_log(file, mapping=_mapping(maps or []), provider=provider, model=model)
        fitted = fit_upstream(found.calls, seed=seed, slots=slots, progress=line.counted)
        line.clear()
        when = found.when or datetime.fromtimestamp(file.stat().st_mtime, UTC).date().isoformat()
        finish(fitted, out=out, plot=plot, date=when, of=f"llmsim calibrate log: {file.name} ({found.kind})",
               notes=found.notes)  # fmt: skip
    except KeyboardInterrupt:
        line.clear()
        code = INTERRUPTED
    except Exception as error:
        line.clear()
        put(block(error, str(file), f"llmsim calibrate log {file}", whole=traceback), "stderr")
        code = code_of(error)
    raise typer.Exit(code)


def _mapping(given: list[str]) -> dict[str, str]:
    """``--map`` texts, and YAML files of such."""
    from llmsim.calibrate.formulas import read_map
    from llmsim.scenario.load import read_document

    texts = []
    for one in given:
        if "=" in one:
            texts.append(one)
            continue
        try:
            document, problems = read_document(Path(one).read_bytes(), one)
        except OSError as error:
            raise LlmsimError(f"--map {one}: is no FIELD=COLUMN, and no file that can be read: {error}") from None
        if problems:
            raise LlmsimError(f"--map {one}: {problems[0].message}")
        texts += [f"{field}={column}" for field, column in document.data.items()]
    return read_map(texts)


@calibrate.command()
def probe(
    file: Annotated[Path, typer.Argument(metavar="LIVE", help="A live.yaml: whom to call.")],
    *,
    budget: Annotated[float | None, typer.Option(metavar="USD", help="The most that may be spent; needed.")] = None,
    provider: Provider = "",
    input_tokens: Annotated[str, typer.Option("--input", metavar="N,N,…", help="Lengths of prompts.")] = "100,400,1600",
    output_tokens: Annotated[str, typer.Option("--output", metavar="N,N,…", help="Lengths of answers.")] = "16,64",
    concurrency: Annotated[str, typer.Option(metavar="N,N,…", help="How many calls at once.")] = "1,2,4",
    repeats: Annotated[int, typer.Option(metavar="N", min=1, help="Of every pair of lengths, at each level.")] = 3,
    warm_up: Annotated[int, typer.Option(metavar="N", min=0, help="Calls before those that count.")] = 2,
    call_timeout: Annotated[float, typer.Option(metavar="S", min=1, help="Give a call up after so long.")] = 120.0,
    slots: Slots = None,
    out: Out = Path("profile.yaml"),
    calls: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to keep the calls; default: beside the profile, as CSV.")
    ] = None,
    plot: Plot = None,
    seed: Seed = 0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending money.")] = False,
    no_progress: NoProgress = False,
    traceback: Traceback = False,
) -> None:
    """Call a provider with prompts and answers of chosen lengths, alone and in company, and fit a profile.

    Every prompt length comes with every answer length, in an order drawn by the seed, first some calls that do not
    count. Calls in company begin at different moments, not in one burst. What is spent never passes the budget. The key
    comes from the environment variable that LIVE names, and is written nowhere.

    Each call is written down as soon as it has ended: after an interruption, llmsim calibrate log fits what there is.

    \b
    Exit codes:
      0    done
      2    bad input, no budget, or nobody answers
      4    llmsim itself broke
      130  interrupted
    \b
    Examples:
      llmsim calibrate probe live.yaml --provider openai --budget 0.10 --out openai.yaml
      llmsim calibrate probe live.yaml --budget 0.01 --input 50,150,400 --output 16,32,64 --slots 4 --plot fit.png
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    line = Line(wanted=not no_progress)
    kept = CallsFile(calls or out.with_suffix(".calls.csv"))
    code = 0
    try:
        from llmsim.calibrate.probe import price_of
        from llmsim.calibrate.probe import probe as make_calls
        from llmsim.calibrate.probe_design import Design
        from llmsim.calibrate.upstream import fit_upstream
        from llmsim.scenario.live_file import check_keys, load_live

        check_places(out, plot)
        if budget is None or not budget > 0:
            raise LlmsimError("a probe spends money, and needs to know how much it may; add --budget 0.10 (USD)")
        live, document = load_live(file)
        name = provider or _only(list(live.providers), file)
        if name not in live.providers:
            raise LlmsimError(f"{file} has no provider {name!r}; it has {', '.join(live.providers)}")
        check_keys(live, document, [name])
        spec = live.providers[name]
        design = Design(
            _numbers("--input", input_tokens), _numbers("--output", output_tokens),
            _numbers("--concurrency", concurrency), repeats, warm_up, seed,
        )  # fmt: skip
        _ask(f"{name} ({spec.base_url}): {design.calls} calls, about ${design.cost_usd(price_of(name, spec)):.4f}; "
             f"never more than ${budget:g}", yes=yes)  # fmt: skip
        made, notes = make_calls(
            name, spec, design, budget_usd=budget, call_timeout_s=call_timeout, on_call=kept.add, progress=_on(line)
        )
        fitted = fit_upstream(made, seed=seed, slots=slots, progress=line.counted)
        line.clear()
        finish(fitted, out=out, plot=plot, date=datetime.now(UTC).date().isoformat(),
               of=f"llmsim calibrate probe: {name} at {spec.base_url}, {seconds_text(made)}", notes=notes)  # fmt: skip
        put(f"wrote {kept.path}: the calls")
    except (KeyboardInterrupt, SimulationInterrupted):
        line.clear()
        put(f"interrupted; {kept.told()}", "stderr")
        code = INTERRUPTED
    except Exception as error:
        line.clear()
        put(block(error, str(file), f"llmsim calibrate probe {file}", whole=traceback), "stderr")
        if kept.rows:
            put(kept.told(), "stderr")
        code = code_of(error)
    finally:
        kept.close()
    raise typer.Exit(code)


def _only(names: list[str], file: Path) -> str:
    if len(names) != 1:
        raise LlmsimError(f"{file} has several providers; add --provider {' or '.join(names)}")
    return names[0]


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise LlmsimError(f"{option} {text}: write whole numbers with commas, such as 50,150,400") from None


def _ask(what: str, *, yes: bool) -> None:
    put(what, "stderr")
    if yes:
        return
    if not sys.stdin.isatty():
        raise LlmsimError("nobody is there to be asked whether to go on; add --yes")
    if not typer.confirm("Go on?", err=True):
        raise LlmsimError("not begun: you said no")


def _on(line: Line) -> Callable[[ProbeProgress], None]:
    """Where a probe is, on this line."""
    return lambda at: line(f"{at.calls:,} of {at.total:,} calls, ${at.spent_usd:.4f} of ${at.budget_usd:g} spent")
