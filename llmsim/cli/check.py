"""``llmsim check``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from llmsim.cli.failures import BAD_INPUT, INTERRUPTED
from llmsim.cli.options import (
    AllowUndecided,
    Backend,
    Gateway,
    Jobs,
    Json,
    NoProgress,
    Out,
    Overrides,
    Quiet,
    Replications,
    Scheduler,
    Seed,
    Traceback,
)
from llmsim.cli.terminal import put, steady_streams

__all__ = ["check"]

Junit = Annotated[Path | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML: a test case an SLO.")]
Markdown = Annotated[Path | None, typer.Option("--markdown", metavar="FILE", help="Write a summary in Markdown.")]
Html = Annotated[
    Path | None,
    typer.Option("--html", metavar="DIR", help="Write a page a scenario there, and one that lists them."),
]
Github = Annotated[
    bool | None,
    typer.Option(
        "--github/--no-github", help="Annotations and step summary. [on under GitHub Actions]", show_default=False
    ),
]


BaselineFile = Annotated[
    Path | None,
    typer.Option(
        "--baseline",
        metavar="FILE",
        help="JSON of an earlier check, or a saved result: what is worse than it was fails, inside its SLO too.",
    ),
]
LeastEffect = Annotated[
    float, typer.Option("--least-effect", metavar="SHARE", min=0.0, help="By how much it must be worse for that.")
]


def check(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATH", show_default=False, help="Scenario files, and folders that hold some."),
    ] = None,
    *,
    gateway: Gateway = "",
    seed: Seed = None,
    replications: Replications = None,
    jobs: Jobs = None,
    backend: Backend = None,
    scheduler: Scheduler = None,
    overrides: Overrides = None,
    json: Json = None,
    junit: Junit = None,
    markdown: Markdown = None,
    html: Html = None,
    baseline: BaselineFile = None,
    least_effect: LeastEffect = 0.05,
    github: Github = None,
    out: Out = None,
    no_progress: NoProgress = False,
    quiet: Quiet = False,
    allow_undecided: AllowUndecided = False,
    traceback: Traceback = False,
) -> None:
    """Rehearse every scenario there is, in parallel, and say which SLOs do not hold, why, and how to see it again.

    Without a path: those in scenarios/. In folders, files named *.scenario.yaml and other YAML files with the sections
    traffic and providers count. What is found does not depend on --jobs.

    \b
    Exit codes (of several files the worst counts: 4, 2, 1, 3, 0):
      0    every SLO holds (or there is none)
      1    an SLO is broken
      2    bad input: scenario, option, or a policy that breaks its contract; or nothing found
      3    undecided: it would take more replications (--allow-undecided makes it 0)
      4    llmsim itself broke
      130  interrupted; what was found so far is shown
    \b
    Examples:
      llmsim check
      llmsim check scenarios/ --gateway my_app.gateway:gateway
      llmsim check scenarios/spike.yaml chaos/ --junit check.xml --json check.json
      llmsim check --baseline main.json --json branch.json
      llmsim check --set gateway.retry.max_attempts=1 --jobs 4
      llmsim check --backend dask --scheduler tcp://127.0.0.1:8786
    """  # noqa: D301 - \b is typer's mark for a paragraph that is not to be filled
    steady_streams()
    from llmsim.cli.checking import Asked
    from llmsim.cli.checks import Checks
    from llmsim.cli.replay import program
    from llmsim.errors import LlmsimError

    asked = Asked(
        seed=seed,
        replications=replications,
        overrides=tuple(overrides or ()),
        gateway=gateway,
        backend=backend,
        scheduler=scheduler,
        out=out,
        html=html,
        allow_undecided=allow_undecided,
        traceback=traceback,
        program=program(),
    )
    on_github = os.environ.get("GITHUB_ACTIONS") == "true" if github is None else github
    try:
        checks = Checks(
            asked,
            jobs=jobs,
            json_to=json,
            junit=junit,
            markdown=markdown,
            github=on_github,
            baseline=baseline,
            least_effect=least_effect,
            quiet=quiet,
            progress=not (no_progress or quiet),
        )
        code = checks.all(tuple(paths or ()))
    except LlmsimError as error:
        put(str(error), "stderr")
        code = BAD_INPUT
    except KeyboardInterrupt:
        put("interrupted", "stderr")
        code = INTERRUPTED
    raise typer.Exit(code)
