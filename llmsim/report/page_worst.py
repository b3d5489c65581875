"""Which requests a page tells in full: the worst of every way to fail, the slowest answer, a wrong one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from llmsim.report.figures import count, share
from llmsim.units import format_duration

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["Told", "worst_requests"]

_MOST = 5  #: requests in all
_MOST_KINDS = 3  #: of them, ways to fail: the most frequent ones

_WORST = ("attempts", "e2e_s")  # the most attempts; of those the longest


class Told(NamedTuple):
    """One request and why it is shown."""

    request_id: str
    replication: int
    title: str
    why: str


def worst_requests(result: Result) -> list[Told]:
    """Requests of the measured time; none twice.

    The choice depends on the tables alone: of equals the first in the order of the tables.
    """
    requests = result.requests.lazy().filter(pl.col("window") == "measured").select(
        "request_id", "replication", pl.col("outcome").cast(pl.String), "attempts", "e2e_s", "false_hit"
    ).collect()  # fmt: skip
    found = [*_failed(requests), *_wrong(requests), *_slow(requests)]
    once = {(one.request_id, one.replication): one for one in reversed(found)}
    return [one for one in found if once[one.request_id, one.replication] is one][:_MOST]


def _failed(requests: pl.DataFrame) -> list[Told]:
    failed = requests.filter(~pl.col("outcome").is_in(["ok", "unfinished"]))
    kinds = failed.group_by("outcome").len().sort("len", "outcome", descending=[True, False])
    found = []
    for outcome, many in kinds.head(_MOST_KINDS).iter_rows():
        row = _first(failed.filter(pl.col("outcome") == outcome), *_WORST)
        part = f"{count(many)} of {count(requests.height)} requests ({share(many / requests.height)}) ended so"
        of_these = "; of these, the one with the most attempts" if many > 1 else ""
        found.append(_told(row, f"{outcome} after {_tries(row)}", f"{part}{of_these}."))
    return found


def _wrong(requests: pl.DataFrame) -> list[Told]:
    wrong = requests.filter(pl.col("false_hit").fill_null(value=False))
    if wrong.is_empty():
        return []
    row = wrong.row(0, named=True)
    part = f"{count(wrong.height)} of {count(requests.height)} requests ({share(wrong.height / requests.height)})"
    return [_told(row, "a wrong answer from the cache", f"{part} got one; this is the first.")]


def _slow(requests: pl.DataFrame) -> list[Told]:
    answered = requests.filter(pl.col("outcome") == "ok")
    if answered.is_empty():
        return []
    tried = _first(answered, *_WORST)
    slow = _first(answered, "e2e_s")
    found = []
    if tried["attempts"] > 1:
        found.append(_told(tried, f"answered after {_tries(tried)}", "The answer that took the most attempts."))
    slowest = f"answered after {format_duration(slow['e2e_s'])}"
    return [*found, _told(slow, slowest, "The answer that took the longest.")]


def _first(requests: pl.DataFrame, *by: str) -> dict[str, Any]:
    return requests.sort(*by, descending=True, nulls_last=True, maintain_order=True).row(0, named=True)


def _tries(row: dict[str, Any]) -> str:
    return f"{row['attempts']} attempt{'s' if row['attempts'] != 1 else ''}"


def _told(row: dict[str, Any], title: str, why: str) -> Told:
    request_id, replication = str(row["request_id"]), int(str(row["replication"]))
    return Told(request_id, replication, f"Request {request_id}: {title}", why)
