"""From what replications recorded to polars frames, column by column.

What "did not happen" is NaN in the recorder and null here, so that ``frame["ttft_s"].quantile(0.9)`` is what it seems.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import polars as pl
from numpy.typing import NDArray

from llmsim.report.columns import COLUMNS, WINDOW_PERCENTILES
from llmsim.telemetry.columns import ADDED, TABLES, Column
from llmsim.telemetry.metrics import WINDOW_S
from llmsim.telemetry.outcomes import ANSWERED_ELSEWHERE, CLASS_OF_WORD, CLASSES, HIT, SEMANTIC_HIT, UNTOLD_HIT
from llmsim.telemetry.packed import constant, is_constant
from llmsim.telemetry.percentiles import samples_needed
from llmsim.telemetry.recorder import ColumnData, Replication, TableData, rows_of
from llmsim.telemetry.rows import Index

__all__ = ["WINDOW", "complete", "cut_off", "dtype_of", "frame", "quantile", "to_table", "windows"]

_WINDOWS = ("warm_up", "measured", "drain", "cut_off")
WINDOW = pl.Enum(_WINDOWS)

_TYPES: dict[str, type[pl.DataType]] = {
    "i2": pl.Int16,
    "i4": pl.Int32,
    "i8": pl.Int64,
    "f4": pl.Float32,
    "f8": pl.Float64,
    "bool": pl.Boolean,
    "maybe": pl.Boolean,
    "category": pl.Categorical,
    "text": pl.String,
}

_OK = pl.col("outcome") == "ok"
_CUT_OFF = pl.col("window") == "cut_off"
_KEY = ("session", "step", "user_retry")


def dtype_of(column: Column) -> pl.DataType | type[pl.DataType]:
    """The polars type of a documented column."""
    return WINDOW if column.name == "window" else _TYPES[column.kind]


#: What is not recorded, and from what it is made.
_MADE_OF = {
    "request_id": ("session", "step", "user_retry"),
    "tpot_s": ("outcome", "output_tokens", "e2e_s", "ttft_s"),
    "window": ("arrival_s",),
}


def frame(
    replications: Sequence[Replication],
    table: str,
    duration_s: float = math.inf,
    names: Sequence[str] | None = None,
    rows: Index | slice | None = None,
) -> pl.DataFrame:
    """``requests``, ``attempts`` or ``events`` of all replications as one frame, with the derived columns.

    Parameters
    ----------
    replications
        In order.
    table
        Which table.
    duration_s
        Length of the measured time: what arrives later belongs to the drain.
    names
        Only these columns. Default: all.
    rows
        Only these rows, of a single replication.
    """
    wanted = [column.name for column in COLUMNS[table]] if names is None else [*names]
    made_of = {name: _MADE_OF[name] for name in wanted if name in _MADE_OF and not _recorded(table, name)}
    needed = {*wanted, *(source for sources in made_of.values() for source in sources)}
    if "window" in made_of and any(one.partial for one in replications):
        needed |= {"outcome"} if table == "requests" else {*_KEY}
    data = [(one.tables[table], rows) if rows is None else cut(one.tables[table], rows) for one in replications]
    heights = [_chosen(one, some) for one, some in data]
    numbers = np.repeat(np.array([replication.number for replication in replications], dtype=np.int32), heights)
    raw: dict[str, pl.Series] = {"replication": pl.Series(numbers)}
    made: list[pl.Expr] = []
    for column in TABLES[table]:
        if column.name in needed:
            parts = [_at(one[column.name], some) for one, some in data]
            series, meant = _column(column, parts)
            if series is not None:
                raw[column.name] = series
            made += [] if meant is None else [meant.alias(column.name)]
    if "request_id" in made_of:
        # After the others: a column that is the same in every row is not there before.
        later = [pl.concat_str("session", "step", "user_retry", separator="/").alias("request_id")]
    else:
        later = []
    # All at once, and nothing in parallel: asking polars for a column takes longer than making it.
    whole = pl.DataFrame(raw).with_columns_seq(made)
    if "window" in made_of:
        later.append(_window(whole, table, numbers, replications, duration_s).alias("window"))
    if "tpot_s" in made_of:
        later.append(_tpot().alias("tpot_s"))
    return whole.with_columns_seq(later).select_seq(wanted)


def _recorded(table: str, name: str) -> bool:
    return any(column.name == name for column in TABLES[table])


def _chosen(table: TableData, rows: Index | slice | None) -> int:
    every = rows_of(table)
    return every if rows is None else len(range(*rows.indices(every))) if isinstance(rows, slice) else len(rows)


def cut(table: TableData, rows: Index | slice) -> tuple[TableData, Index | slice | None]:
    """A table in files, or the part of it that holds these rows, and where they are in that."""
    if not isinstance(table, Cuttable):
        return table, rows
    if isinstance(rows, slice):
        first, last, _ = rows.indices(table.rows)
        return table.cut(first, last), None
    if not len(rows):
        return table.cut(0, 0), None
    first, last = int(rows.min()), int(rows.max()) + 1
    return table.cut(first, last), rows - rows.dtype.type(first)


@runtime_checkable
class Cuttable(Protocol):
    """A table of which some rows can be read without the others."""

    @property
    def rows(self) -> int:
        """How many there are."""

    def cut(self, first: int, last: int) -> TableData:
        """The rows from `first` up to and without `last`."""


def _at(column: ColumnData, rows: Index | slice | None) -> ColumnData:
    if rows is None:
        return column
    if is_constant(column.values):
        count = len(column.values[rows]) if isinstance(rows, slice) else len(rows)
        return ColumnData(constant(column.values[:1], count), column.categories)
    return ColumnData(column.values[rows], column.categories)


def _column(column: Column, parts: Sequence[ColumnData]) -> tuple[pl.Series | None, pl.Expr | None]:
    """One column of all replications as it was recorded, and what it means, where that is something else.

    One value for all rows is no series, but a literal, which polars keeps as one value, too.
    """
    same = _the_same(column, parts)
    if same is not None:
        return None, same
    if column.kind == "text":
        return pl.Series([text for part in parts for text in part.values], dtype=pl.String), None
    values = np.concatenate([part.values for part in parts]) if parts else np.empty(0)
    if column.kind == "maybe":
        known = pl.col(column.name)
        return pl.Series(values, dtype=pl.Int8), pl.when(known >= 0).then(known == 1)
    if column.kind != "category":
        is_float = column.kind in ("f4", "f8")
        return pl.Series(values, dtype=_TYPES[column.kind]), pl.col(column.name).fill_nan(None) if is_float else None
    names = [part.categories or () for part in parts]
    before = np.cumsum([0, *map(len, names)])[:-1].astype(np.int32)  # codes count within their own replication
    codes = values + (before[0] if len(parts) == 1 else np.repeat(before, [len(part.values) for part in parts]))
    words = pl.lit(pl.Series([name for some in names for name in some], dtype=pl.String)).cast(pl.Categorical)
    return pl.Series(codes, dtype=pl.UInt32), words.gather(pl.col(column.name))


def _the_same(column: Column, parts: Sequence[ColumnData]) -> pl.Expr | None:
    """The value of a column that has only one, many times."""
    if not parts or not all(is_constant(part.values) for part in parts):
        return None
    told = [part.values[0] if part.categories is None else part.categories[part.values[0]] for part in parts]
    if column.kind in ("f4", "f8") and all(math.isnan(value) for value in told):
        return pl.lit(None, dtype=_TYPES[column.kind])
    if any(value != told[0] for value in told):
        return None
    if column.kind == "maybe":
        return pl.lit(None if told[0] < 0 else bool(told[0] == 1), dtype=pl.Boolean)
    value = told[0] if isinstance(told[0], str) else told[0].item()
    if column.kind == "category":
        return pl.lit(value, dtype=pl.String).cast(pl.Categorical)
    return pl.lit(value, dtype=_TYPES[column.kind])


def cut_off(replication: Replication, duration_s: float) -> pl.DataFrame:
    """Which requests of the measured time an interrupt cut off: their ``session``, ``step`` and ``user_retry``.

    What would have become of them is unknown: they are no failures of the gateway, and belong to no rate.
    """
    if not replication.partial:
        return pl.DataFrame(schema=dict.fromkeys(_KEY, pl.Int64))
    return frame([replication], "requests", duration_s, (*_KEY, "window")).filter(_CUT_OFF).select(_KEY)


def _window(
    whole: pl.DataFrame, table: str, numbers: NDArray[np.int32], replications: Sequence[Replication], duration_s: float
) -> pl.Expr:
    arrival_s = whole["arrival_s"].to_numpy()
    number = (arrival_s >= 0).astype(np.uint32) + (arrival_s >= duration_s)
    partial = [one for one in replications if one.partial]
    if partial and table == "requests":  # of large tables these are a few rows: they tell it themselves
        gone = (whole["outcome"] == "unfinished").to_numpy() & (number == _WINDOWS.index("measured"))
        number[gone & np.isin(numbers, [one.number for one in partial])] = _WINDOWS.index("cut_off")
        partial = []
    for one in partial:
        lost = cut_off(one, duration_s)
        if lost.height:  # and all attempts of such a request
            lost = lost.with_columns(lost=pl.lit(value=True))
            found = whole.select(_KEY).join(lost, on=_KEY, how="left", maintain_order="left")["lost"]
            number[(numbers == one.number) & found.is_not_null().to_numpy()] = _WINDOWS.index("cut_off")
    return pl.lit(pl.Series(WINDOW.categories, dtype=WINDOW)).gather(pl.Series(number, dtype=pl.UInt32))


def _tpot() -> pl.Expr:
    # An answer that came whole (not streamed, from a cache) has no pace; 0 would look like a very good one.
    streamed = _OK & (pl.col("output_tokens") > 1) & (pl.col("e2e_s") > pl.col("ttft_s"))
    return pl.when(streamed).then((pl.col("e2e_s") - pl.col("ttft_s")) / (pl.col("output_tokens") - 1))


def complete(whole: pl.DataFrame, table: str) -> pl.DataFrame:
    """A saved table with the columns that there were not when it was saved."""
    absent = [name for name in ADDED.get(table, ()) if name not in whole.columns]
    return whole.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in absent) if absent else whole


def to_table(whole: pl.DataFrame, table: str) -> TableData:
    """Back from the rows of one replication, or some of its columns, to what was recorded."""
    data: TableData = {}
    for column in TABLES[table]:
        if column.name not in whole.columns:
            continue
        series = whole[column.name]
        if column.kind == "category":
            names = series.unique(maintain_order=True)
            codes = series.cast(pl.String).replace_strict(
                names.cast(pl.String), pl.Series(range(len(names)), dtype=pl.Int32), return_dtype=pl.Int32
            )
            data[column.name] = ColumnData(codes.to_numpy().astype(np.int32), tuple(names.cast(pl.String)))
        elif column.kind == "text":
            data[column.name] = ColumnData(np.array(series.to_list(), dtype=object))
        elif column.kind in ("f4", "f8"):
            data[column.name] = ColumnData(series.fill_null(math.nan).to_numpy().astype(column.kind))
        elif column.kind == "maybe":
            data[column.name] = ColumnData(series.cast(pl.Int8).fill_null(-1).to_numpy().astype("i1"))
        else:
            data[column.name] = ColumnData(series.to_numpy().astype(column.kind))
    return data


def windows(
    requests: pl.DataFrame, ends_s: dict[int, float], width_s: float = WINDOW_S, from_s: float = 0.0
) -> pl.DataFrame:
    """The measured time in windows; a window in which nothing arrived is there too.

    Parameters
    ----------
    requests
        As `frame` makes them.
    ends_s
        Replication to the end of its measured time.
    width_s
        Length of a window.
    from_s
        Only windows from here on, which is where one begins.
    """
    ends = ends_s or {0: 0.0}
    grid = pl.concat([_grid(number, end_s, width_s) for number, end_s in ends.items()])
    grid = grid.filter(pl.col("start_s") >= from_s)
    measured = requests.filter(pl.col("window") == "measured")
    number = (pl.col("arrival_s") / width_s).floor().cast(pl.Int64).alias("number")
    # Keeping the order makes sums of floats the same every time.
    counted = measured.group_by("replication", number, maintain_order=True).agg(_window_columns())
    joined = grid.join(counted, on=["replication", "number"], how="left", maintain_order="left")
    counts = [column.name for column in COLUMNS["windows"] if column.kind == "i8"]
    joined = joined.with_columns(
        *(_counted(name).cast(pl.Int64) for name in counts), pl.col("cost_usd", "saved_usd").fill_null(0.0)
    )
    length = pl.col("end_s") - pl.col("start_s")
    answered = pl.col("answered") + pl.col("cache_hits") + pl.col("semantic_hits")
    joined = joined.with_columns(
        offered_per_s=pl.col("requests") / length,
        goodput_per_s=answered / length,
        error_rate=_ratio(pl.col("requests") - answered, "requests"),
        retry_amplification=_ratio(pl.col("attempts"), "sent_upstream"),
        fallback_rate=_ratio(pl.col("answered_elsewhere"), "sent_upstream"),
    )
    return joined.select(column.name for column in COLUMNS["windows"])


def _counted(name: str) -> pl.Expr:
    """0 where nothing arrived; what is null where something did, nothing tells."""
    return pl.when(pl.col("requests").is_null()).then(0).otherwise(pl.col(name)).alias(name)


def _grid(replication: int, end_s: float, width_s: float) -> pl.DataFrame:
    number = np.arange(math.ceil(end_s / width_s - 1e-9), dtype=np.int64)
    return pl.DataFrame({
        "replication": np.full(len(number), replication, dtype=np.int32),
        "number": number,
        "start_s": number * width_s,
        "end_s": np.minimum((number + 1) * width_s, end_s),
    })  # fmt: skip


def _ratio(part: pl.Expr, whole: str) -> pl.Expr:
    return pl.when(pl.col(whole) > 0).then(part / pl.col(whole))


def _window_columns() -> list[pl.Expr]:
    named = {one.name: pl.col("outcome").is_in(one.words) for one in CLASSES if one.words}
    named["answered"] = _OK & ~HIT
    classes = {
        "cache_hits": HIT & ~SEMANTIC_HIT,
        "semantic_hits": SEMANTIC_HIT,
        **named,
        "other_failures": ~pl.col("outcome").is_in([*CLASS_OF_WORD]),
    }
    sent = pl.col("attempts") > 0
    aware = pl.when(_OK).then(pl.col("ttft_s")).otherwise(pl.lit(math.inf))
    good = pl.when(_OK).then(pl.col("ttft_s"))
    return [
        pl.len().alias("requests"),
        *(expression.sum().alias(name) for name, expression in classes.items()),
        *(quantile(aware, p).alias(f"ttft_p{p}_s") for p in WINDOW_PERCENTILES),
        *(quantile(good, p).alias(f"ttft_ok_p{p}_s") for p in WINDOW_PERCENTILES),
        sent.sum().alias("sent_upstream"),
        pl.col("attempts").cast(pl.Int64).sum(),
        pl.col("fallbacks").cast(pl.Int64).sum(),
        ANSWERED_ELSEWHERE.sum().alias("answered_elsewhere"),
        pl.when(~UNTOLD_HIT.any()).then((HIT & pl.col("false_hit")).sum()).alias("false_hits"),
        pl.col("cost_usd", "saved_usd").sum(),
    ]


def quantile(values: pl.Expr, percent: int) -> pl.Expr:
    """A percentile as an aggregate: null where there are too few values."""
    # "equiprobable" is the nearest rank of `llmsim.telemetry.percentiles`.
    enough = values.count() >= samples_needed(percent)
    return pl.when(enough).then(values.quantile(percent / 100, interpolation="equiprobable"))
