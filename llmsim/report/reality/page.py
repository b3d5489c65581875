"""A comparison with a live run as HTML: a page that needs nothing else, and what a notebook shows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmsim.report.page_config import provenance
from llmsim.report.page_style import STYLE
from llmsim.report.reality.curves import LABELS, Sides
from llmsim.report.reality.drawings import pictures
from llmsim.report.reality.told import MARKS, Told

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["to_html", "to_page"]

#: Whose colour a verdict has in the style of pages.
_CLASSES = {"good": "PASS", "same": "PASS", "better": "PASS", "off": "FAIL", "worse": "FAIL", "unsure": "UNDECIDED",
            "changed": "UNDECIDED"}  # fmt: skip

_CAPTION = (
    "Left: all requests; what failed never gets there. Right: equal quantiles of answered requests; on the "
    "line they agree, in the band they are within what the median may be off by."
)
_STYLE = ".dot { fill: none; stroke: var(--one); stroke-width: 1.2; }\n"

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ told.title }}</title>
<link rel="icon" href="data:,">
<style>
{{ style }}</style>
</head>
<body>
<a class="skip" href="#main">To the metrics</a>
<header>
<h1><span class="{{ classes.get(told.verdict, '') }}">{{ told.title }}</span></h1>
{% if description %}<p>{{ description }}</p>
{% endif -%}
<p class="soft">{{ told.glance }}</p>
<nav aria-label="Sections">{% for id, name in sections %}<a href="#{{ id }}">{{ name }}</a> {% endfor %}</nav>
</header>
<main id="main">
<section id="metrics" aria-labelledby="h-metrics"><h2 id="h-metrics">Metrics</h2>
{% for table in told.tables %}<div class="scroll"><table>{% if table.caption %}<caption>{{ table.caption }}</caption>\
{% endif %}<thead><tr>{% for name in table.head %}<th scope="col"\
{% if loop.index0 >= table.numbers and not loop.last %} class="number"{% endif %}>{{ name }}</th>{% endfor %}\
</tr></thead>
<tbody>
{% for row in table.rows %}<tr><td class="word {{ classes.get(row[0], '') }}">\
{{ marks.get(row[0], '') }} {{ row[0] }}</td>\
<th scope="row"><code>{{ row[1] }}</code></th>{% for cell in row[2:] %}<td\
{% if not loop.last %} class="number"{% endif %}>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endfor %}</section>
{% if told.notes %}<section id="notes" aria-labelledby="h-notes"><h2 id="h-notes">What to make of it</h2>
<ul>{% for line in told.notes %}<li>{{ line }}</li>{% endfor %}</ul>
</section>
{% endif -%}
{% if told.facts %}<section id="requests" aria-labelledby="h-requests"><h2 id="h-requests">Request by request</h2>
<ul>{% for line in told.facts %}<li>{{ line }}</li>{% endfor %}</ul>
</section>
{% endif -%}
{% if figures %}<section id="pictures" aria-labelledby="h-pictures"><h2 id="h-pictures">Distributions</h2>
{% for drawing, caption in figures %}<figure>{{ drawing }}
<figcaption>{{ caption }}</figcaption></figure>
{% endfor %}</section>
{% endif -%}
<section id="provenance" aria-labelledby="h-provenance"><h2 id="h-provenance">Where this comes from</h2>
{% for name, rows in origins %}<table><caption>{{ name }}</caption><tbody>
{% for label, text in rows %}<tr><th scope="row">{{ label }}</th><td><code>{{ text }}</code></td></tr>
{% endfor %}</tbody></table>
{% endfor %}{% if replay %}<p>The same again: <code>{{ replay }}</code></p>
{% endif %}</section>
</main>
</body>
</html>
"""

# For a notebook: no style of its own, as in `llmsim.report.html`.
_HTML = """\
<div class="llmsim-result mathjax_ignore">
<p><strong>{{ told.title }}</strong><br><small>{{ told.glance }}</small></p>
{% for table in told.tables %}<table cellpadding="6">\
{% if table.caption %}<caption>{{ table.caption }}</caption>{% endif %}
<thead><tr>{% for name in table.head %}\
<th align="{{ 'right' if loop.index0 >= table.numbers and not loop.last else 'left' }}">{{ name }}</th>\
{% endfor %}</tr></thead>
<tbody>
{% for row in table.rows %}<tr>{% for cell in row %}\
<td align="{{ 'right' if loop.index0 >= table.numbers and not loop.last else 'left' }}" nowrap>\
{% if loop.first %}{% if cell in ("off", "worse") %}<strong>{{ marks.get(cell, '') }} {{ cell }}</strong>\
{% else %}{{ marks.get(cell, '') }} {{ cell }}{% endif %}{% elif loop.index0 == 1 %}<code>{{ cell }}</code>\
{% else %}{{ cell }}{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
{% endfor %}
{% for lines in (told.notes, told.facts) if lines %}<ul>{% for line in lines %}<li>{{ line }}</li>{% endfor %}</ul>
{% endfor %}</div>
"""


@lru_cache(maxsize=2)
def _template(text: str) -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(text)


def to_html(told: Told) -> str:
    """As a notebook shows it."""
    text: str = _template(_HTML).render(told=told, marks=MARKS)
    return text


def to_page(told: Told, sides: Sides, results: Mapping[str, Result], replay: str = "") -> str:
    """One file: no scripts, nothing from elsewhere; light, dark and print as the pages of results.

    Parameters
    ----------
    told
        What it says.
    sides
        What the pictures are drawn from.
    results
        Both results, by what they are called.
    replay
        The command that gives the same again.
    """
    from markupsafe import Markup

    drawn = [name for name in LABELS if sides.has(name)]
    figures = [
        (
            Markup(pictures(sides, name)),  # noqa: S704 - our own drawing, which escapes what is put into it
            f"{LABELS[name].capitalize()}. {_CAPTION}",
        )
        for name in drawn
    ]
    every = [
        ("metrics", "Metrics", True),
        ("notes", "What to make of it", bool(told.notes)),
        ("requests", "Request by request", bool(told.facts)),
        ("pictures", "Distributions", bool(figures)),
        ("provenance", "Where this comes from", True),
    ]
    text: str = _template(_PAGE).render(
        told=told,
        style=Markup(STYLE + _STYLE),  # noqa: S704 - ours
        classes=_CLASSES,
        marks=MARKS,
        description=[*results.values()][-1].scenario.description,
        sections=[(name, title) for name, title, there in every if there],
        figures=figures,
        origins=[(name, provenance(result, "")) for name, result in results.items()],
        replay=replay,
    )
    return text
