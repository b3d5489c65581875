"""The page that lists the reports of a check: what came of each scenario, in the words of the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from llmsim.report.layout import MARKS
from llmsim.report.page_style import STYLE

__all__ = ["INDEX", "to_index", "write_index"]

INDEX = "index.html"

_MARKS = {str(word): mark for word, mark in MARKS.items()} | {"NOT RUN": "·"}
_WORDS = ("FAIL", "ERROR", "UNDECIDED", "EXPECTED", "PASS", "NONE", "NOT RUN")  # the worst first

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
<header><h1>{{ title }}</h1>
<p class="soft">{{ made_by }}</p></header>
<main>
<div class="scroll"><table><caption>In the order of their files</caption><thead><tr><th scope="col">verdict</th>\
<th scope="col">scenario</th><th scope="col">first line that does not hold, or why it did not run</th></tr></thead>\
<tbody>
{% for one in rows %}<tr><td class="word {{ one.verdict }}">{{ one.mark }} {{ one.verdict }}</td>\
<th scope="row">{% if one.link %}<a href="{{ one.link }}">{{ one.file }}</a>{% else %}{{ one.file }}{% endif %}</th>\
<td>{{ one.told }}</td></tr>
{% endfor %}</tbody></table></div>
<h2>As the terminal told it</h2>
{% for one in rows %}<section class="request" aria-label="{{ one.file }}">\
<pre class="block">{{ one.text }}</pre>\
{% if one.link %}<p><a href="{{ one.link }}">The report of {{ one.file }}</a></p>{% endif %}</section>
{% endfor %}</main>
</body>
</html>
"""


@lru_cache(maxsize=1)
def _template() -> Any:
    from jinja2 import Environment

    return Environment(autoescape=True).from_string(_TEMPLATE)


def to_index(pages: Sequence[Mapping[str, Any]]) -> str:
    """One HTML file for the pages of a check, which stand beside it.

    Parameters
    ----------
    pages
        As ``llmsim check --json`` has them, with the ``text`` of the terminal.
    """
    from importlib.metadata import version

    from markupsafe import Markup

    rows = [
        {
            "verdict": page["verdict"],
            "mark": _MARKS.get(page["verdict"], MARKS["FAIL"]),
            "file": page["file"],
            # Of the address only the name: the folder may be moved, and so may what it is relative to.
            "link": quote(Path(page["report"]).name) if page.get("report") else "",
            "told": _told(page),
            "text": page["text"],
        }
        for page in pages
    ]
    counts = {word: sum(page["verdict"] == word for page in pages) for word in _WORDS}
    told = ", ".join(f"{number} {word}" for word, number in counts.items() if number)
    style = Markup(STYLE)  # noqa: S704 - ours
    made_by = f"llmsim {version('llmsim')}, {len(pages)} scenario{'s' if len(pages) != 1 else ''}"
    text: str = _template().render(title=f"llmsim check: {told}", style=style, rows=rows, made_by=made_by)
    return text


def _told(page: Mapping[str, Any]) -> str:
    """The worst line that failed, else one that is undecided; of what did not run, why."""
    for word in ("FAIL", "UNDECIDED"):
        lines = [line for line in page.get("slo", ()) if line["verdict"] == word and page["verdict"] != "EXPECTED"]
        if lines:
            worst = max(lines, key=lambda line: float(line["excess"]))  # of equals the first
            return f"{worst['metric']}  {worst['expression']}: {worst['shown']}"
    if page.get("problems"):
        return str(page["problems"][0]["message"])
    return str(page.get("reason", ""))


def write_index(pages: Sequence[Mapping[str, Any]], folder: Path) -> Path:
    """Write it into the folder of the reports; where it is.

    Raises
    ------
    OSError
        If it cannot be written there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / INDEX
    place.write_text(to_index(pages), encoding="utf-8", errors="replace")
    return place
