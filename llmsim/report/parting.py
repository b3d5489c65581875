"""The first moment at which two runs under the same luck part."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import polars as pl

from llmsim.report.figures import clock
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["Parting", "parting"]

_KEY = ["session", "step", "user_retry", "attempt"]
_TELLS = ["upstream", "model", "cause", "start_s", "first_s", "end_s", "outcome"]


class Parting(NamedTuple):
    """Where and when two runs part."""

    replication: int
    time_s: float
    request_id: str
    before: str  #: what was sent then in the one run
    after: str  #: and in the other


def parting(before: Result, after: Result) -> Parting | None:
    """The earliest attempt that only one of the two made, or that went another way; None if there is none.

    Looked for in the first replication of both that differs at all.
    """
    for number in range(min(before.complete, after.complete)):
        one, two = (_attempts(result, number) for result in (before, after))
        both = [*_KEY, *_TELLS]
        ours = one.join(two, on=both, how="anti", nulls_equal=True)
        theirs = two.join(one, on=both, how="anti", nulls_equal=True)
        if ours.is_empty() and theirs.is_empty():
            continue
        # An attempt that began alike in both parts where the earlier of the two ends.
        begun = ours.join(theirs, on=[*_KEY, "start_s", "upstream"], how="semi").select(*_KEY, alike=pl.lit(value=True))
        either = pl.concat([frame.select(*_KEY, "start_s", "end_s") for frame in (ours, theirs)])
        moment = pl.when(pl.col("alike")).then(pl.col("end_s").fill_null(pl.col("start_s"))).otherwise("start_s")
        row = (
            either.join(begun, on=_KEY, how="left").with_columns(moment=moment).sort("moment", *_KEY).row(0, named=True)
        )
        key = {name: row[name] for name in _KEY}
        return Parting(
            number,
            row["moment"],
            f"{row['session']}/{row['step']}/{row['user_retry']}",
            _told(one, key),
            _told(two, key),
        )
    return None


def _attempts(result: Result, number: int) -> pl.DataFrame:
    rows = result.attempts.filter(pl.col("replication") == number)
    return rows.select(
        *_KEY, pl.col("upstream", "model", "cause", "outcome").cast(pl.String), "start_s", "first_s", "end_s"
    )


def _told(attempts: pl.DataFrame, key: dict[str, int]) -> str:
    row = attempts.filter(*(pl.col(name) == value for name, value in key.items()))
    if row.is_empty():
        return f"no attempt {key['attempt']}"
    one = row.row(0, named=True)
    end_s = "" if one["end_s"] is None else f" after {format_duration(one['end_s'] - one['start_s'])}"
    began = f"{one['start_s']:.6g} s" if one["start_s"] < 60 else clock(one["start_s"])
    return f"attempt {key['attempt']} ({one['cause']}) to {one['upstream']} at {began}: {one['outcome']}{end_s}"
