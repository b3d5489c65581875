"""A result as one HTML file that needs nothing else: for a build's artefacts, an incident review, a mail."""

from __future__ import annotations

import base64
import platform
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from llmsim.report.html import to_html
from llmsim.report.layout import headline
from llmsim.report.providers_table import HEAD, provider_rows

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["to_page"]

_WORST = 3  #: requests that are told in full

# Figures have a transparent ground and ink that holds on white and on black; so has the page.
_TEMPLATE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; margin: .8rem 0; }
th, td { padding: .25rem .8rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } figcaption { color: #777; font-size: .9rem; } img { max-width: 100%; height: auto; }
pre { overflow-x: auto; font-size: 12.5px; line-height: 1.45; padding: .8rem; border: 1px solid #8884; }
summary { cursor: pointer; }
@media print { body { max-width: none; margin: 0; } figure, table { break-inside: avoid; } }
</style>
</head>
<body>
<h1>{{ title }}</h1>
{% if description %}<p>{{ description }}</p>
{% endif -%}
{{ summary }}
{% if pictures %}<h2>What happened</h2>
{% for one in pictures -%}
<figure><img alt="{{ one.alt }}" src="data:image/png;base64,{{ one.data }}">
<figcaption>{{ one.caption }}</figcaption></figure>
{% endfor %}{% endif -%}
<h2>Providers</h2>
<table><thead><tr>\
{% for name in head %}<th{% if not loop.first %} class="number"{% endif %}>{{ name }}</th>{% endfor %}\
</tr></thead><tbody>
{% for row in providers %}<tr>{% for cell in row %}<td{% if not loop.first %} class="number"{% endif %}>{{ cell }}</td>\
{% endfor %}</tr>
{% endfor %}</tbody></table>
<p>Attempts and money per replication.</p>
{% if worst %}<h2>The worst requests</h2>
{% for text in worst %}<pre>{{ text }}</pre>
{% endfor %}{% endif -%}
<h2>Where this comes from</h2>
<table><tbody>
{% for label, text in provenance %}<tr><td>{{ label }}</td><td><code>{{ text }}</code></td></tr>
{% endfor %}</tbody></table>
{% if source %}<details><summary>The scenario</summary><pre>{{ source }}</pre></details>
{% endif -%}
</body>
</html>
"""


class _Picture(NamedTuple):
    caption: str
    alt: str
    data: str


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(_TEMPLATE)


def to_page(result: Result, replay: str = "") -> str:
    """Verdicts, pictures, providers, the worst requests as waterfalls, and where it all comes from.

    Parameters
    ----------
    result
        To be told.
    replay
        The command that gives the same again.
    """
    from markupsafe import Markup

    page: str = _template().render(
        title=headline(result),
        description=result.scenario.description,
        summary=Markup(to_html(result)),  # noqa: S704 - our own template, which escapes what is put into it
        pictures=_pictures(result),
        head=HEAD,
        providers=provider_rows(result),
        worst=_worst(result),
        provenance=_provenance(result, replay),
        source=_source(result),
    )
    return page


def _pictures(result: Result) -> list[_Picture]:
    if not result.metrics["requests"]:
        return []
    plot = result.plot
    drawn = [
        ("Load and what became of it, time to first token, retries, faults.", plot.timeline()),
        ("Where the time of answers went.", plot.latency()),
        ("What was paid for what.", plot.cost()),
    ]
    if result.metrics["cache_hit_rate"] or result.metrics["fallback_activations"]:
        drawn.append(("Answers from the cache, and from other than the first choice.", plot.cache()))
    return [
        _Picture(caption, picture.alt, base64.b64encode(picture.png(dpi=96)).decode())  # type: ignore[union-attr]
        for caption, picture in drawn
    ]


def _worst(result: Result) -> list[str]:
    """Requests that failed after the most attempts and the longest time; without failures, the slowest."""
    requests = result.requests.filter(pl.col("window") == "measured").with_columns(
        failed=pl.col("outcome").cast(pl.String) != "ok"
    )
    chosen = requests.sort("failed", "attempts", "e2e_s", descending=True, nulls_last=True, maintain_order=True)
    return [
        result.explain(row["request_id"], row["replication"])
        for row in chosen.head(_WORST).select("request_id", "replication").iter_rows(named=True)
    ]


def _provenance(result: Result, replay: str) -> list[tuple[str, str]]:
    from importlib.metadata import version

    rows = [
        ("scenario", result.scenario.name),
        ("seed", str(result.seed)),
        ("replications", f"{len(result.replications)} of at most {result.requested}"),
        ("events", f"SHA-256 {result.event_hash}"),
        ("made by", f"llmsim {version('llmsim')}, Python {platform.python_version()}"),
    ]
    return [*rows, ("the same again", replay)] if replay else rows


def _source(result: Result) -> str:
    """The scenario as it was run, which overrides and another gateway may have changed."""
    import json

    from llmsim.report.describe import describe

    return json.dumps(describe(result.scenario)["scenario"], indent=1, ensure_ascii=False, default=str)
