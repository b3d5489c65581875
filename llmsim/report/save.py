"""A result as a directory: Parquet for the tables, JSON for the rest, nothing that has to be executed to be read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from llmsim.errors import LlmsimError

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["FORMAT", "load_result", "save"]

FORMAT = 2
_TABLES = ("requests", "attempts", "events")
_WINDOWS = "windows.parquet"
_SCENARIO = "scenario.json"
_RESULT = "result.json"


def save(result: Result, directory: str | Path) -> Path:
    """Write a result; files of an earlier one in the same directory are replaced.

    Returns
    -------
    Path
        The directory: ``requests.parquet``, ``attempts.parquet``, ``events.parquet``, ``windows.parquet``,
        ``result.json`` (what ``llmsim run --json`` prints, and how the run was made) and ``scenario.json``.
    """
    from llmsim.report.computed import computed
    from llmsim.report.describe import describe

    place = Path(directory)
    place.mkdir(parents=True, exist_ok=True)
    for name in _TABLES:
        getattr(result, name).write_parquet(place / f"{name}.parquet")
    result.windows.write_parquet(place / _WINDOWS)
    runs = [
        {
            "number": one.number,
            "counters": one.counters,
            "notes": list(one.notes),
            "simulated_s": one.simulated_s,
            "wall_s": one.wall_s,
            "partial": one.partial,
        }
        for one in result.replications
    ]
    page = {"format": FORMAT, **computed(result), "runs": runs}
    _write(place / _RESULT, page)
    _write(place / _SCENARIO, describe(result.scenario))
    return place


def _write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def load_result(directory: str | Path) -> Result:
    """Read what `save` wrote, or a run with ``stream``.

    The numbers are those that were computed when it was written, if that was by this very llmsim. Rows of a
    streamed run are read when somebody asks for them.

    The scenario comes back as it was, but for code: a policy or gateway of one's own stands there by name, and the
    result cannot be run again from it.

    Raises
    ------
    LlmsimError
        If the directory holds no result, one of another version, or tables that do not belong to it.
    """
    from llmsim.report.computed import recall
    from llmsim.report.describe import restore
    from llmsim.report.result import Result
    from llmsim.report.stream_folder import STREAMED, restored
    from llmsim.report.tables import complete, to_table
    from llmsim.telemetry.recorder import Replication

    place = Path(directory)
    page = _read(place / _RESULT)
    if page.get("format") != FORMAT:
        raise LlmsimError(f"{place / _RESULT}: format {page.get('format')!r}, this llmsim reads {FORMAT}; run it again")
    if STREAMED in page:
        return restored(place, page, restore(_read(place / _SCENARIO)))
    frames = {name: complete(_read_parquet(place / f"{name}.parquet"), name) for name in _TABLES}
    replications = []
    for run in page["runs"]:
        mine = {name: whole.filter(pl.col("replication") == run["number"]) for name, whole in frames.items()}
        tables = {name: to_table(rows, name) for name, rows in mine.items()}
        replications.append(
            Replication(
                run["number"],
                tables,
                run["counters"],
                tuple(run["notes"]),
                run["simulated_s"],
                run["wall_s"],
                run["partial"],
            )
        )
    result = Result(
        restore(_read(place / _SCENARIO)),
        replications,
        seed=page["seed"],
        wall_s=page["wall_s"],
        requested=page["requested"],
        partial=page["partial"],
    )
    if result.event_hash != page["event_hash"]:
        raise LlmsimError(f"{place}: the tables are not those of {_RESULT} (another hash); run it again, or save anew")
    if (place / _WINDOWS).exists():
        recall(result, page, windows=_read_parquet(place / _WINDOWS))
    return result


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise LlmsimError(
            f"{path.parent} holds no saved result ({path.name} is missing); `llmsim run FILE --out DIR` writes one"
        ) from None
    except (ValueError, UnicodeDecodeError) as error:
        raise LlmsimError(f"{path} is damaged: {error}") from None


def _read_parquet(path: Path) -> pl.DataFrame:
    try:
        return pl.read_parquet(path)
    except FileNotFoundError:
        raise LlmsimError(f"{path} is missing; the result is incomplete, run it again") from None
    except pl.exceptions.PolarsError as error:
        raise LlmsimError(f"{path} is damaged: {error}") from None
