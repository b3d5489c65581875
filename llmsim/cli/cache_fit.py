"""``llmsim cache fit``."""

from __future__ import annotations

import json as json_text
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from llmsim.cli.failures import BAD_INPUT, INTERRUPTED, block, code_of
from llmsim.cli.line import Line
from llmsim.cli.options import NoProgress, Traceback
from llmsim.cli.terminal import put, steady_streams

if TYPE_CHECKING:
    from llmsim.calibrate.prompt_fit import PromptFit

__all__ = ["fit"]


def fit(
    file: Annotated[Path, typer.Argument(metavar="PROMPTS", help="A CSV or JSONL file of prompts.")],
    *,
    text: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of the prompts, if it is not text or prompt.")
    ] = "",
    label: Annotated[
        str, typer.Option(metavar="COLUMN", help="Column of the intents, if it is not intent, label or category.")
    ] = "",
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to write the tables.")] = Path("similarity.json"),
    embedder: Annotated[
        str, typer.Option(metavar="NAME", help="What makes the vectors: minilm (extra embeddings).")
    ] = "minilm",
    check: Annotated[bool, typer.Option(help="Whether to say how good the fit is.")] = True,
    streams: Annotated[int, typer.Option(metavar="N", min=2, help="Streams of the check.")] = 6,
    requests: Annotated[int, typer.Option(metavar="N", min=100, help="Requests of a stream.")] = 8000,
    capacity: Annotated[int, typer.Option(metavar="N", min=1, help="Entries of its cache.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of neighbours, halves and streams.")] = 0,
    no_progress: NoProgress = False,
    traceback: Traceback = False,
) -> None:
    """Fit how similar prompts are, so that a scenario can ask questions like them without any model.

    PROMPTS has a column text (or prompt), and, if it is known, intent (label, category): prompts with the same one can
    be given the same answer. A column count says how often each was asked. Without intents nothing can be said about
    wrong answers, and no file is written. A scenario uses the file by traffic: {topics: {similarity: FILE}}; to ask the
    prompts themselves, it says topics: {prompts: PROMPTS}.

    Vectors are kept on disk: an interrupted run goes on where it was.

    \b
    Exit codes:
      0    done
      2    bad input, or the extra embeddings is missing
      4    llmsim itself broke
      130  interrupted
    \b
    Examples:
      llmsim cache fit prompts.csv
      llmsim cache fit log.jsonl --label category --out support.json
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    line = Line(wanted=not no_progress)
    try:
        from llmsim.calibrate.prompt_fit import fit_prompts
        from llmsim.calibrate.prompt_fit_text import fit_text
        from llmsim.errors import LlmsimError
        from llmsim.stores.prompts import embed_prompts

        if embedder != "minilm":
            raise LlmsimError(f"--embedder {embedder}: there is minilm only")
        found = fit_prompts(
            file,
            embed_prompts,
            text=text,
            label=label,
            model="all-MiniLM-L6-v2 (int8)",
            check=check,
            streams=streams,
            requests=requests,
            capacity=capacity,
            seed=seed,
            progress=line.counted,
        )
        line.clear()
        put(fit_text(found))
        code = _write(found, out)
    except KeyboardInterrupt:
        line.clear()
        put("interrupted; prompts that were embedded are kept, the same command goes on from there", "stderr")
        code = INTERRUPTED
    except Exception as error:
        line.clear()
        put(block(error, str(file), f"llmsim cache fit {file}", whole=traceback), "stderr")
        code = code_of(error)
    raise typer.Exit(code)


def _write(found: PromptFit, out: Path) -> int:
    """Write the tables, whole or not at all; the exit code."""
    if not found.similarity.labelled:
        put("Nothing was written: topics.similarity needs to know what means the same.", "stderr")
        return 0
    aside = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(json_text.dumps(found.to_dict(), allow_nan=False) + "\n", encoding="utf-8")
        aside.replace(out)
    except OSError as error:
        aside.unlink(missing_ok=True)
        put(f"--out {out}: cannot be written: {error.strerror or error}", "stderr")
        return BAD_INPUT
    put(f"wrote {out}; in a scenario: traffic: {{topics: {{similarity: {out}}}}}")
    return 0
