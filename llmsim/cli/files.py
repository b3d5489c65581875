"""What to say where no scenario file is named."""

from __future__ import annotations

from pathlib import Path

from llmsim.scenario.missing import scenario_files

__all__ = ["nothing_named"]


def nothing_named() -> str:
    """What to say to ``llmsim run`` without a file."""
    near = [str(path) for path in scenario_files(Path())]
    if near:
        return f"Name a scenario file: llmsim run {near[0]}" + (
            f" (also here: {', '.join(near[1:6])})" if near[1:] else ""
        )
    return (
        "Name a scenario file: llmsim run FILE.yaml (there is none here nor in scenarios/). "
        "`llmsim init DIR` writes one to start from."
    )
