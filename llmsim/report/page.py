"""A result as one HTML file that needs nothing else: for a build's artefacts, an incident review, a mail.

No scripts, no pictures from elsewhere, no fonts: it opens from a disk, prints, and holds in light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from llmsim.report.expected import rehearsed_lines, rehearsed_verdict
from llmsim.report.explain import cache_told, records_of
from llmsim.report.layout import MARKS, common_reason, headline, key_numbers, partly
from llmsim.report.layout import provenance as at_a_glance
from llmsim.report.page_config import faults, policies, provenance, source
from llmsim.report.page_gantt import gantt, gantt_key
from llmsim.report.page_panels import cost, elsewhere, latency
from llmsim.report.page_style import STYLE
from llmsim.report.page_svg import patterns
from llmsim.report.page_template import TEMPLATE
from llmsim.report.page_timeline import timeline
from llmsim.report.page_worst import worst_requests
from llmsim.report.providers_table import HEAD, provider_rows

if TYPE_CHECKING:
    from markupsafe import Markup

    from llmsim.report.result import Result

__all__ = ["to_page"]


class _Line(NamedTuple):
    mark: str
    verdict: str
    slo: str
    measured: str
    interval: str
    line: str
    reason: str


class _Picture(NamedTuple):
    drawing: Markup
    caption: str


class _Request(NamedTuple):
    title: str
    why: str
    of: str
    drawing: Markup
    text: str


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(TEMPLATE)


def to_page(result: Result, replay: str = "", *, checked: Mapping[str, Any] | None = None, index: str = "") -> str:
    """Verdicts, what happened over time, providers, cost, the worst requests as charts, and where it all comes from.

    Parameters
    ----------
    result
        To be told.
    replay
        The command that gives the same again.
    checked
        What a check made of it: ``verdict``, ``slo`` and ``notes`` of its page, so that both say the same; default:
        judged here, by ``expect:`` where the scenario says it.
    index
        Address of a page that lists this one and others.
    """
    verdict = str(checked["verdict"]) if checked is not None else rehearsed_verdict(result)
    rows = list(checked["slo"]) if checked is not None else rehearsed_lines(result)
    lines = _lines(result, rows)
    pictures, bill = (_pictures(result), cost(result)) if result.metrics["requests"] else ([], "")
    worst = _worst(result) if result.metrics["requests"] else []
    page: str = _template().render(
        style=_made(STYLE),
        patterns=_made(patterns()),
        title=_headline(result, verdict),
        verdict=verdict,
        description=result.scenario.description,
        glance=at_a_glance(result),
        index=index,
        sections=_sections(pictures=bool(pictures), bill=bool(bill), worst=bool(worst)),
        slo=lines,
        remarks=any(one.reason for one in lines),
        common=common_reason(result),
        expected=_expected(result.scenario.expect.fail),
        advice=result.advice,
        notes=list(checked["notes"]) if checked is not None else result.notes,
        pictures=pictures,
        numbers=key_numbers(result),
        head=HEAD,
        providers=provider_rows(result),
        bill=_made(bill),
        worst=worst,
        key=_made(gantt_key(result)) if worst else "",
        policies=policies(result),
        faults=faults(result.scenario),
        source=source(result),
        provenance=provenance(result, replay),
    )
    return page


def _made(text: str) -> Markup:
    from markupsafe import Markup

    return Markup(text)  # noqa: S704 - our own drawings and style, which escape what is put into them


def _headline(result: Result, verdict: str) -> str:
    """As in text, with the word that a check has for it."""
    if verdict == result.verdict:
        return headline(result)
    return f"{_mark(verdict)} {result.scenario.name}: {verdict}{partly(result)}"


def _expected(keys: Sequence[str]) -> str:
    if not keys:
        return ""
    return f"The scenario expects these to break: {', '.join(keys)}. A line of theirs that did is EXPECTED."


def _mark(verdict: str) -> str:
    return {str(word): mark for word, mark in MARKS.items()}.get(verdict, MARKS["FAIL"])


def _sections(*, pictures: bool, bill: bool, worst: bool) -> list[tuple[str, str]]:
    every = [
        ("verdicts", "Verdicts", True),
        ("time", "What happened", pictures),
        ("numbers", "Numbers", True),
        ("providers", "Providers", True),
        ("cost", "Cost", bill),
        ("worst", "The worst requests", worst),
        ("config", "Configuration", True),
        ("provenance", "Where this comes from", True),
    ]
    return [(name, title) for name, title, there in every if there]


def _lines(result: Result, rows: Sequence[Mapping[str, Any]]) -> list[_Line]:
    """The rows of a check's page; what is beyond the scenario's own lines has no interval of its own."""
    common = common_reason(result)
    found = []
    for number, row in enumerate(rows):
        own = result.slo[number] if number < len(result.slo) else None
        found.append(
            _Line(
                _mark(row["verdict"]),
                row["verdict"],
                f"{row['metric']}  {row['expression']}",
                own.shown if own is not None else row["shown"],
                own.shown_interval if own is not None else "",
                str(row["line"] or ""),
                row["reason"] if row["reason"] != common else "",
            )
        )
    return found


def _pictures(result: Result) -> list[_Picture]:
    found = [
        (
            timeline(result),
            (
                f"All replications together.{' Faults are shaded.' if result.scenario.faults else ''} A failed, "
                "rejected or abandoned request counts as one whose first token never came."
            ),
        ),
        (latency(result), "Where the time of streamed answers went, and what explains it."),
    ]
    if result.metrics["cache_hit_rate"] or result.metrics["fallback_activations"]:
        found.append((elsewhere(result), "Answers from the cache, and from other than the first choice."))
    return [_Picture(_made(drawing), caption) for drawing, caption in found if drawing]


def _worst(result: Result) -> list[_Request]:
    several = len(result.replications) > 1
    found = []
    for number, one in enumerate(worst_requests(result), 1):
        request, *_ = records_of(result, one.request_id, one.replication)
        of = [f"Replication {one.replication}."] if several else []
        found.append(
            _Request(
                one.title,
                one.why,
                " ".join([*of, cache_told(result, request).strip()]),
                _made(gantt(result, one.request_id, one.replication, f"request-{number}")),
                result.explain(one.request_id, one.replication),
            )
        )
    return found
