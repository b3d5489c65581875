"""A result as HTML that needs no style: plain tables in the page's own colours, readable with all CSS stripped."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from llmsim.report.layout import common_reason, headline, key_numbers, provenance, series, slo_rows

if TYPE_CHECKING:
    from llmsim.report.result import Result

__all__ = ["to_html"]

# No colours and no backgrounds: a notebook in dark mode and a printed page inherit theirs. Words carry the verdict.
# `align` and `cellpadding` are attributes because GitHub strips styles; without the latter, columns are 4 px apart.
_TEMPLATE = """\
<div class="llmsim-result mathjax_ignore">
<p><strong>{{ headline }}</strong><br><small>{{ provenance }}</small></p>
{% if slo %}<table cellpadding="6">
<thead><tr><th align="left">verdict</th><th align="left">SLO</th><th align="right">measured</th>\
<th align="right">95 % interval</th><th align="left"></th></tr></thead>
<tbody>
{% for mark, text, measured, interval, verdict, reason in slo -%}
<tr><td align="left" nowrap>{% if verdict == "FAIL" %}<strong>{{ mark }} {{ verdict }}</strong>\
{% else %}{{ mark }} {{ verdict }}{% endif %}</td><td align="left" nowrap><code>{{ text }}</code></td>\
<td align="right" nowrap>{{ measured }}</td><td align="right" nowrap>{{ interval }}</td>\
<td align="left">{{ reason }}</td></tr>
{% endfor %}</tbody></table>
{% endif -%}
{% if common %}<p>{{ common }}</p>
{% endif -%}
{% if advice %}<p><strong>Why</strong></p>
<ul>{% for line in advice %}<li>{{ line }}</li>{% endfor %}</ul>
{% endif -%}
{% if series %}<table cellpadding="6"><tbody>
{% for one in series -%}
<tr><td align="left">{{ one.label }}</td><td align="left"><code>{{ one.bars }}</code></td>\
<td align="left">{{ one.peak }}</td></tr>
{% endfor %}</tbody></table>
{% endif -%}
<table cellpadding="6"><tbody>
{% for label, text in numbers -%}
<tr><td align="left">{{ label }}</td><td align="left">{{ text }}</td></tr>
{% endfor %}</tbody></table>
{% for note in notes %}<p>Note: {{ note }}</p>
{% endfor %}</div>
"""


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(_TEMPLATE)


def to_html(result: Result) -> str:
    """Verdict, SLO lines, why, what happened over time, and the key numbers."""
    page: str = _template().render(
        headline=headline(result),
        provenance=provenance(result),
        slo=slo_rows(result),
        common=common_reason(result),
        advice=result.advice,
        series=series(result),
        numbers=key_numbers(result),
        notes=result.notes,
    )
    return page
