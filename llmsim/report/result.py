"""What ``llmsim.run`` gives back: tables, numbers, verdicts, pictures, and a page that says it all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import polars as pl

from llmsim.named import Named
from llmsim.report.numbers import jsonable, metrics
from llmsim.report.recorded import in_parts, is_large
from llmsim.report.samples import measured_until_s, parts_of, sample_of, samples
from llmsim.report.slo import Overall, SloResult, measure, measured_once, overall, slo_results, slo_row
from llmsim.report.tables import frame, windows
from llmsim.scenario.objectives import rehearsed
from llmsim.scenario.spec import Scenario
from llmsim.telemetry.recorder import Replication, event_hash
from llmsim.telemetry.sample import Sample

if TYPE_CHECKING:
    from llmsim.report.bill import Bill, Monthly
    from llmsim.report.plots import Plots
    from llmsim.report.time_spent import TimeSpent

__all__ = ["EXIT_CODES", "Result"]

#: What a verdict is as an exit code of the command line.
EXIT_CODES: dict[Overall | Literal["EXPECTED"], int] = {"PASS": 0, "EXPECTED": 0, "NONE": 0, "FAIL": 1, "UNDECIDED": 3}


class Result:
    """A finished (or interrupted) run.

    Parameters
    ----------
    scenario
        What was run.
    replications
        What was recorded, in order.
    seed
        Seed of the run; default: the scenario's.
    wall_s
        How long it took.
    requested
        The most replications it could have made (it stops when the verdict is clear); default: as many as it made.
    partial
        It was interrupted.

    Attributes
    ----------
    time_spent
        Where the wall time went, if `llmsim.run` was told to ``profile``; it is not saved.
    """

    def __init__(
        self,
        scenario: Scenario,
        replications: Sequence[Replication],
        *,
        seed: int | None = None,
        wall_s: float = 0.0,
        requested: int | None = None,
        partial: bool = False,
    ) -> None:
        self.scenario = scenario
        self.replications = list(replications)
        self.seed = scenario.seed if seed is None else seed
        self.wall_s = wall_s
        self.requested = max(requested or 0, len(self.replications))
        self.partial = partial or any(replication.partial for replication in self.replications)
        self.time_spent: TimeSpent | None = None

    @cached_property
    def large(self) -> bool:
        """Whether a replication has so many requests that frames of all of them are made only when asked for."""
        return any(is_large(one) for one in self.replications)

    # -- tables ------------------------------------------------------------------------------------------------

    @cached_property
    def requests(self) -> pl.DataFrame:
        """One row per request. `llmsim.report.columns.COLUMNS` says what each column is; null: did not happen."""
        return frame(self.replications, "requests", self.scenario.clock.duration)

    @cached_property
    def attempts(self) -> pl.DataFrame:
        """One row per call to an upstream."""
        return frame(self.replications, "attempts", self.scenario.clock.duration)

    @cached_property
    def events(self) -> pl.DataFrame:
        """What policies and faults reported, in the order of time."""
        return frame(self.replications, "events")

    @cached_property
    def windows(self) -> pl.DataFrame:
        """The measured time in windows of 10 s, one row per replication and window."""
        ends_s = {one.number: measured_until_s(self.scenario, one) for one in self.replications}
        if not self.large:
            return windows(self.requests, ends_s)
        parts = [
            windows(rows, {one.number: end_s}, from_s=start_s)
            for one in self.replications
            for rows, start_s, end_s in in_parts(one, self.scenario.clock.duration, ends_s[one.number])
        ]
        return pl.concat(parts)

    @cached_property
    def sessions(self) -> pl.DataFrame:
        """One row per session: a conversation, an agent's chain of calls, or a request that stood alone."""
        from llmsim.report.sessions import OF_REQUESTS, sessions
        from llmsim.traffic.clients import mixes

        ongoing = {route.route for route in mixes(self.scenario.traffic).routes if route.ongoing is not None}
        partial = {one.number for one in self.replications if one.partial}
        rows = frame(self.replications, "requests", self.scenario.clock.duration, OF_REQUESTS)
        return sessions(rows, self.events, ongoing=ongoing, partial=partial)

    @property
    def shown_sessions(self) -> pl.DataFrame | None:
        """The sessions, where the scenario has any that can be of several requests."""
        from llmsim.traffic.clients import mixes

        traffic = self.scenario.traffic
        alone = all(route.ongoing is None for route in mixes(traffic).routes) and traffic.trace is None
        return None if alone else self.sessions

    def costs(
        self, by: str | Sequence[str] | None = None, *, window: str | float | None = None, replications: bool = False
    ) -> pl.DataFrame:
        """What was paid for what, by whom and when: one row per value of `by` and window.

        Parameters
        ----------
        by
            Columns of requests (``route``, ``tenant``, ``user``, …) or of attempts (``upstream``, ``model``,
            ``cause``); None: one row. What belongs to no value (storage; with a column of attempts, the request's log
            line) has null.
        window
            Split the measured time, by arrival of the request: ``"10s"``.
        replications
            A row for each replication instead of their mean.

        Raises
        ------
        LlmsimError
            For a column or window that does not exist.
        """
        from llmsim.report.costs import costs

        return costs(self, by, window=window, replications=replications)

    @cached_property
    def bill(self) -> Bill:
        """The cost of a replication item by item, as a table that shows itself; ``.table`` is the frame."""
        from llmsim.report.bill import bill

        return bill(self)

    def monthly(self, requests: float | None = None) -> Monthly:
        """What a month like the measured time would cost, with an interval over the replications.

        Parameters
        ----------
        requests
            In that month; default: the scenario's base rate (of a closed loop, the measured rate) for 730 hours.

        Raises
        ------
        LlmsimError
            If nothing was measured.
        """
        from llmsim.report.bill import monthly

        return monthly(self, requests)

    def telemetry(
        self, by: str | Sequence[str] | None = None, *, window: str | float = "10s", replications: bool = False
    ) -> pl.DataFrame:
        """Tokens, waiting and answering over time: `llmsim.report.telemetry.TELEMETRY` says what each column is.

        Parameters
        ----------
        by
            Columns of requests (``route``, ``tenant``, ``user``, ``served_by``, …): a row per window and value.
        window
            Length of the windows.
        replications
            Rows for each replication; otherwise their requests are taken together, and rates are per replication.

        Raises
        ------
        LlmsimError
            For a column or window that does not exist.
        """
        from llmsim.report.telemetry import telemetry

        return telemetry(self, by, window=window, replications=replications)

    @cached_property
    def diagnosis(self) -> list[str]:
        """Whether first tokens came late or answers took long, when, and which part of it grew; empty: neither."""
        from llmsim.report.diagnosis import diagnosis

        return diagnosis(self)

    @cached_property
    def samples(self) -> list[Sample]:
        """The measured part of each replication, from which metrics are computed.

        Large ones read what they need from what was recorded, column by column.
        """
        if self.large:
            return samples(self.scenario, self.replications)
        requests = parts_of(self.requests, self.replications, "requests")
        attempts = parts_of(self.attempts, self.replications, "attempts")
        return [sample_of(self.scenario, *of) for of in zip(self.replications, requests, attempts, strict=True)]

    # -- numbers and verdicts ----------------------------------------------------------------------------------

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """Every metric of a replication: medians of latencies and rates, means of counts and money."""
        numbers = metrics(self.samples)
        inner = {name: Named(f"part of {name}", one) for name, one in numbers.items() if isinstance(one, dict)}
        return Named("metric", {**numbers, **inner})

    @cached_property
    def slo(self) -> list[SloResult]:
        """Every SLO line of the scenario, measured and judged."""
        return self._judged([measure(rehearsed(self.scenario), sample) for sample in self.samples])

    def _judged(self, measured: Sequence[tuple[float, ...]]) -> list[SloResult]:
        lines = rehearsed(self.scenario)
        found = slo_results(self.scenario, lines, measured, most=self.requested, done=self.complete)
        return measured_once(found) if self.live else found

    def remember(self, *, measured: Sequence[tuple[float, ...]], **known: Any) -> None:
        """Take what was computed before for what it is: `measured` of SLO lines, and properties of this name."""
        vars(self).update(known, slo=self._judged(measured))

    @property
    def complete(self) -> int:
        """Replications, from the first on, that ran to their end."""
        return next((n for n, one in enumerate(self.replications) if one.partial), len(self.replications))

    @property
    def verdict(self) -> Overall:
        """PASS, FAIL or UNDECIDED over all SLO lines; NONE if the scenario has none."""
        return overall(self.slo)

    def exit_code(self, *, allow_undecided: bool = False) -> int:
        """0 pass, 1 an SLO failed, 3 undecided, as is a run that its budget ended before anything was decided."""
        code = EXIT_CODES[self.verdict]
        if self.stopped == "budget" and code == 0:
            code = EXIT_CODES["UNDECIDED"]
        return 0 if allow_undecided and code == EXIT_CODES["UNDECIDED"] else code

    @cached_property
    def event_hash(self) -> str:
        """SHA-256 over everything that was recorded: equal if and only if two runs were."""
        return event_hash([one.tables for one in self.replications])

    @property
    def live(self) -> bool:
        """Whether it was run on live providers (`llmsim.run_live`); then its counters say what was spent."""
        return any(one.counters.get("live") for one in self.replications)

    @property
    def stopped(self) -> Literal["", "budget", "interrupted"]:
        """What ended it early: a ``budget`` that was used up, or somebody who ``interrupted`` it; empty: nothing."""
        if not self.partial:
            return ""
        return "budget" if any(one.counters.get("unpaid_calls") for one in self.replications) else "interrupted"

    @property
    def simulated_s(self) -> float:
        """Virtual seconds of all replications together, warm-up included."""
        return sum(one.simulated_s + self.scenario.clock.warm_up for one in self.replications)

    @cached_property
    def notes(self) -> list[str]:
        """What a person should know beside the numbers."""
        from llmsim.report.notes import notes

        return notes(self)

    @cached_property
    def advice(self) -> list[str]:
        """One to four sentences on what decided the result."""
        from llmsim.report.advice import advice

        return advice(self)

    # -- for people and programs -------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values, JSON-able by a strict encoder."""
        return {
            "scenario": self.scenario.name,
            "seed": self.seed,
            "replications": len(self.replications),
            "requested": self.requested,
            "partial": self.partial,
            "stopped": self.stopped,
            "verdict": self.verdict,
            "simulated_s": self.simulated_s,
            "wall_s": self.wall_s,
            "event_hash": self.event_hash,
            "metrics": jsonable(self.metrics),
            "slo": [slo_row(line) for line in self.slo],
            "advice": self.advice,
            "notes": self.notes,
            **({"live": self._spending()} if self.live else {}),
        }

    def _spending(self) -> dict[str, float]:
        names = ("budget_usd", "spent_usd", "live_calls", "unreported_calls", "unpaid_calls")
        counters = self.replications[0].counters
        return {name: counters[name] for name in names if name in counters}

    def to_json(self, indent: int | None = 2) -> str:
        """One JSON object. Missing is null, +inf the text ``Infinity``."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False, ensure_ascii=False)

    @property
    def plot(self) -> Plots:
        """Pictures: ``result.plot.timeline()``."""
        from llmsim.report.plots import Plots

        return Plots(self)

    def explain(self, request_id: str, replication: int = 0) -> str:
        """What happened to one request, as a waterfall of its attempts."""
        from llmsim.report.explain import explain

        return explain(self, request_id, replication)

    def save(self, directory: str | Path) -> Path:
        """Write tables (Parquet), numbers and scenario (JSON) into a directory; `load_result` reads them."""
        from llmsim.report.save import save

        return save(self, directory)

    def to_otlp(self, path: str | Path, *, replication: int | None = 0) -> tuple[Path, Path]:
        """Write what was measured as OTLP in JSON lines, under OpenTelemetry's GenAI names.

        Parameters
        ----------
        path
            ``out/run.jsonl`` becomes ``out/run.metrics.jsonl`` (all replications) and ``out/run.traces.jsonl``.
        replication
            Whose requests become traces (about 1.2 kB a span); None: all.

        Returns
        -------
        tuple of Path
            The two files. The scenario's 0 stands at `llmsim.telemetry.otlp.EPOCH_NS`; equal results give equal bytes.

        Raises
        ------
        LlmsimError
            For a replication that is not there.
        """
        from llmsim.report.export import to_otlp

        return to_otlp(self, path, replication=replication)

    def to_prometheus(self, path: str | Path) -> Path:
        """Write what was measured as Prometheus text, as a scrape at the end would see it; equal for equal results."""
        from llmsim.report.export import to_prometheus

        return to_prometheus(self, path)

    def __repr__(self) -> str:
        from llmsim.report.text import to_text

        return to_text(self)

    def _repr_html_(self) -> str:
        from llmsim.report.html import to_html

        return to_html(self)

    def _repr_markdown_(self) -> str:
        from llmsim.report.markdown import to_markdown

        return to_markdown(self)
