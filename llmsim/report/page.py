"""A result as one HTML file that needs nothing else: for a build's artefacts, an incident review, a mail.

No scripts, no pictures from elsewhere, no fonts: it opens from a disk, prints, and holds in light and dark.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from llmsim.report.expected import rehearsed_lines, rehearsed_verdict
from llmsim.report.layout import MARKS, common_reason, headline, key_numbers
from llmsim.report.layout import provenance as at_a_glance
from llmsim.report.page_config import faults, policies, provenance, source
from llmsim.report.page_gantt import gantt, gantt_key
from llmsim.report.page_panels import cost, elsewhere, latency
from llmsim.report.page_style import STYLE
from llmsim.report.page_svg import patterns
from llmsim.report.page_timeline import timeline
from llmsim.report.page_worst import worst_requests
from llmsim.report.providers_table import HEAD, provider_rows

if TYPE_CHECKING:
    from markupsafe import Markup

    from llmsim.report.result import Result

__all__ = ["to_page"]

_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<link rel="icon" href="data:,">
<style>
{{ style }}</style>
</head>
<body>
<a class="skip" href="#main">To the verdicts</a>
{{ patterns }}
<header>
<h1><span class="{{ verdict }}">{{ title }}</span></h1>
{% if description %}<p>{{ description }}</p>
{% endif -%}
<p class="soft">{{ glance }}</p>
<nav aria-label="Sections">{% for id, name in sections %}<a href="#{{ id }}">{{ name }}</a> {% endfor %}\
{% if index %}<a href="{{ index }}">All scenarios</a>{% endif %}</nav>
</header>
<main id="main">
<section id="verdicts" aria-labelledby="h-verdicts"><h2 id="h-verdicts">Verdicts</h2>
{% if slo %}<div class="scroll"><table><thead><tr><th scope="col">verdict</th><th scope="col">SLO</th>\
<th scope="col" class="number">measured</th><th scope="col" class="number">95 % interval</th>\
<th scope="col" class="number">line</th><th scope="col">remark</th></tr></thead><tbody>
{% for one in slo %}<tr><td class="word {{ one.verdict }}">{{ one.mark }} {{ one.verdict }}</td>\
<th scope="row"><code>{{ one.slo }}</code></th><td class="number">{{ one.measured }}</td>\
<td class="number">{{ one.interval }}</td><td class="number">{{ one.line }}</td><td>{{ one.reason }}</td></tr>
{% endfor %}</tbody></table></div>
{% if common %}<p>{{ common }}</p>
{% endif %}{% else %}<p>The scenario has no SLO, so there is nothing to judge.</p>
{% endif -%}
{% if expected %}<p>{{ expected }}</p>
{% endif -%}
{% if advice %}<h3>Why</h3>
<ul>{% for line in advice %}<li>{{ line }}</li>{% endfor %}</ul>
{% endif -%}
{% for note in notes %}<p>Note: {{ note }}</p>
{% endfor -%}
</section>
{% if pictures %}<section id="time" class="sheet" aria-labelledby="h-time"><h2 id="h-time">What happened</h2>
{% for one in pictures -%}
<figure>{{ one.drawing }}
<figcaption>{{ one.caption }}</figcaption></figure>
{% endfor %}</section>
{% endif -%}
<section id="numbers" class="sheet" aria-labelledby="h-numbers"><h2 id="h-numbers">Numbers</h2>
<table><caption>A replication, all measured requests; "never" is the time of a request that failed</caption><tbody>
{% for label, text in numbers %}<tr><th scope="row">{{ label }}</th><td>{{ text }}</td></tr>
{% endfor %}</tbody></table>
</section>
<section id="providers" aria-labelledby="h-providers"><h2 id="h-providers">Providers</h2>
<div class="scroll"><table><caption>Attempts and money are per replication; shares are of the provider's attempts; \
ttft is to the first chunk of attempts that had one</caption><thead><tr>\
{% for name in head %}<th scope="col"{% if not loop.first %} class="number"{% endif %}>{{ name }}</th>{% endfor %}\
</tr></thead><tbody>
{% for row in providers %}<tr><th scope="row">{{ row[0] }}</th>{% for cell in row[1:] %}<td class="number">{{ cell }}\
</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
</section>
{% if bill %}<section id="cost" aria-labelledby="h-cost"><h2 id="h-cost">Cost</h2>
<figure>{{ bill }}
<figcaption>What a replication paid for what, from work of use to the total.</figcaption></figure>
</section>
{% endif -%}
{% if worst %}<section id="worst" class="sheet" aria-labelledby="h-worst"><h2 id="h-worst">The worst requests</h2>
<figure>{{ key }}</figure>
{% for one in worst %}<h3>{{ one.title }}</h3>
<p class="soft">{{ one.why }}{% if one.of %} {{ one.of }}{% endif %}</p>
<figure>{{ one.drawing }}</figure>
<details><summary>The same in words</summary><pre>{{ one.text }}</pre></details>
{% endfor %}</section>
{% endif -%}
<section id="config" class="sheet" aria-labelledby="h-config"><h2 id="h-config">Configuration</h2>
{% if policies %}<table><caption>Policies of the gateway, the outermost first; durations in seconds, rates per second, \
shares of 1</caption><thead><tr><th scope="col">where</th><th scope="col">policy</th>\
<th scope="col">settings that are not the default</th></tr></thead><tbody>
{% for scope, kind, settings in policies %}<tr><td>{{ scope }}</td><th scope="row"><code>{{ kind }}</code></th>\
<td><code>{{ settings }}</code></td></tr>
{% endfor %}</tbody></table>
{% else %}<p>The gateway has no policies: each request is one call to the first provider.</p>
{% endif -%}
{% if faults %}<table><caption>Faults, in the same units</caption><thead><tr><th scope="col">fault</th>\
<th scope="col">provider</th><th scope="col">what and when</th></tr></thead><tbody>
{% for name, target, settings in faults %}<tr><th scope="row">{{ name }}</th><td>{{ target }}</td>\
<td><code>{{ settings }}</code></td></tr>
{% endfor %}</tbody></table>
{% endif -%}
<details><summary>The whole scenario, as it was run (JSON)</summary><pre>{{ source }}</pre></details>
</section>
<section id="provenance" aria-labelledby="h-provenance"><h2 id="h-provenance">Where this comes from</h2>
<table><tbody>
{% for label, text in provenance %}<tr><th scope="row">{{ label }}</th><td><code>{{ text }}</code></td></tr>
{% endfor %}</tbody></table>
</section>
</main>
</body>
</html>
"""


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

    return Environment(autoescape=True).from_string(_TEMPLATE)


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
    expected = result.scenario.expect.fail
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
        slo=_lines(result, rows),
        common=common_reason(result),
        expected=f"The scenario expects these to break: {', '.join(expected)}." if expected else "",
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
    partial = " (partial: interrupted)" if result.partial else ""
    return f"{_mark(verdict)} {result.scenario.name}: {verdict}{partial}"


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
                "All replications together. Faults are shaded. A failed, rejected or abandoned request counts as one "
                "whose first token never came."
            ),
        ),
        (latency(result), "Where the time of streamed answers went, and what explains it."),
    ]
    if result.metrics["cache_hit_rate"] or result.metrics["fallback_activations"]:
        found.append((elsewhere(result), "Answers from the cache, and from other than the first choice."))
    return [_Picture(_made(drawing), caption) for drawing, caption in found if drawing]


def _worst(result: Result) -> list[_Request]:
    several = len(result.replications) > 1
    return [
        _Request(
            one.title,
            one.why,
            f"Replication {one.replication}." if several else "",
            _made(gantt(result, one.request_id, one.replication, f"request-{number}")),
            result.explain(one.request_id, one.replication),
        )
        for number, one in enumerate(worst_requests(result), 1)
    ]
