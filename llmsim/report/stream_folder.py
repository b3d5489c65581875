"""The directory of a streamed run: what is run there, which replications are finished, and the result at the end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from llmsim.errors import LlmsimError
from llmsim.report.computed import computed, recall
from llmsim.report.describe import describe
from llmsim.report.result import Result
from llmsim.report.stream import FileSink, finished, settle
from llmsim.scenario.replicate import Progress, replicate
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.recorder import Replication

__all__ = ["STREAMED", "StreamFolder", "replicated", "restored"]

STREAMED = "streamed"  #: in ``result.json``: the tables are in folders
_PLAN = "run.json"
_WINDOWS = "windows.parquet"
_SESSIONS = "sessions.parquet"  #: where there are any with several steps


@dataclass(frozen=True)
class StreamFolder:
    """Where a run is written to.

    Parameters
    ----------
    place
        The directory, absolute.
    duration_s
        Length of the measured time.
    """

    place: Path
    duration_s: float

    @classmethod
    def open(cls, directory: str | Path, scenario: Scenario) -> StreamFolder:
        """Begin, or go on with what a run that was killed has left.

        Raises
        ------
        LlmsimError
            If something else was run there: its replications are not this run's.
        """
        place = Path(directory).absolute()
        words = describe(scenario)["scenario"]
        # More of them, or other questions, are the same luck.
        plan = {name: value for name, value in words.items() if name not in ("replications", "slo", "expect")}
        plan = json.loads(json.dumps(plan))
        path = place / _PLAN
        if path.exists():
            if _read(path) != plan:
                raise LlmsimError(f"{place} holds another run ({_PLAN} differs from it); stream into another directory")
        elif place.exists() and any(place.iterdir()):
            raise LlmsimError(f"{place} is not empty, and no streamed run; stream into another directory")
        place.mkdir(parents=True, exist_ok=True)
        _write(path, plan)
        return cls(place, scenario.clock.duration)

    def of(self, number: int) -> Path:
        """Folder of a replication."""
        return self.place / f"replication-{number:04}"

    def keep(self, replication: Replication) -> Replication:
        """What was written of it, in order."""
        return settle(replication, self.of(replication.number))

    def close(self, result: Result) -> None:
        """Write what was computed, so that whoever opens the directory need not read millions of rows to see it."""
        from llmsim.report.save import FORMAT

        result.windows.write_parquet(self.place / _WINDOWS)
        sessions = result.shown_sessions
        if sessions is not None:
            sessions.write_parquet(self.place / _SESSIONS)
        runs = [one.number for one in result.replications]
        told = {
            "format": FORMAT,
            STREAMED: runs,
            **computed(result),
        }
        _write(self.place / "scenario.json", describe(result.scenario))
        _write(self.place / "result.json", told)


def replicated(
    scenario: Scenario, number: int, folder: StreamFolder | None = None, progress: Progress | None = None
) -> Replication:
    """A replication: simulated, or read from the directory where it was finished before."""
    if folder is None:
        return replicate(scenario, number, progress)
    place = folder.of(number)
    known = finished(place)
    if known is not None and not known.partial:
        return known
    return folder.keep(replicate(scenario, number, progress, sink=FileSink(place, number, folder.duration_s)))


def restored(place: Path, page: dict[str, Any], scenario: Scenario) -> Result:
    """The result of a streamed run, with the numbers that were computed at its end."""
    folder = StreamFolder(place.absolute(), scenario.clock.duration)
    replications = [finished(folder.of(number)) for number in page[STREAMED]]
    whole = [one for one in replications if one is not None]
    if len(whole) < len(replications):
        raise LlmsimError(f"{place}: a replication is missing; stream the same run into it again")
    result = Result(
        scenario,
        whole,
        seed=page["seed"],
        wall_s=page["wall_s"],
        requested=page["requested"],
        partial=page["partial"],
    )
    try:
        frames = {
            name: pl.read_parquet(path)
            for name, path in (("windows", place / _WINDOWS), ("sessions", place / _SESSIONS))
            if name == "windows" or path.exists()
        }
    except (FileNotFoundError, pl.exceptions.PolarsError) as error:
        raise LlmsimError(f"{place}: the windows or sessions are missing or damaged: {error}") from None
    recall(result, page, **frames)
    return result


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LlmsimError(f"{path} is damaged: {error}; stream into another directory") from None


def _write(path: Path, content: Any) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
    new.replace(path)
