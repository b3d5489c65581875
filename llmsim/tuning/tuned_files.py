"""A tuning in files: the tuned scenario with its comments kept, and a page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmsim.errors import LlmsimError
from llmsim.scenario.load import parse_scenario, read_value
from llmsim.scenario.rewrite import rewritten
from llmsim.tuning.space_words import parse_space
from llmsim.tuning.standing import standing
from llmsim.tuning.written import is_off

if TYPE_CHECKING:
    from llmsim.report.plots.canvas import Picture
    from llmsim.tuning.tuned import Tuned

__all__ = ["report", "tuned_text", "write"]

_PAGE = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }}
table {{ border-collapse: collapse; }} th, td {{ padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #8884; }}
.llmsim-table {{ overflow-x: auto; margin-bottom: 2rem; }} img {{ max-width: 100%; }}
</style></head><body>
{body}
</body></html>
"""


def tuned_text(found: Tuned) -> str:
    """The scenario file with the tuned values.

    Raises
    ------
    LlmsimError
        The scenario did not come from a file, or there is nothing to write.
    """
    if not found.settings:
        raise LlmsimError("there is nothing to write: what stands in the scenario is the best that was found")
    if found.source is None:
        raise LlmsimError("the scenario did not come from a file; .scenario of this result is it with the tuned values")
    source = str(found.source)
    text = found.source.read_bytes().decode("utf-8-sig")
    base = parse_scenario(text, source, found.overrides)
    space = parse_space(found.given, base)
    kinds = {one.path: one for one in space.dimensions}
    before = {path.strip(): read_value(value) for path, _, value in (one.partition("=") for one in found.overrides)}
    there = parse_scenario(text, source)
    gone = [path for path, value in before.items() if is_off(value) and is_dataclass(standing(there, path))]
    gone += [path for path, value in found.settings.items() if kinds[path].off(value)]
    values = {
        path: value
        for path, value in {**before, **found.settings}.items()
        if not any(path == off or path.startswith(off + ".") for off in gone)
        and not (path in kinds and kinds[path].kind == "policy" and not isinstance(value, dict))
    }
    return rewritten(text, values, gone, space.settled(base, found.settings), source)


def write(found: Tuned, place: Path) -> Path:
    """Write the tuned scenario."""
    text = tuned_text(found)
    try:
        place.write_bytes(text.encode())
    except OSError as error:
        raise LlmsimError(f"{place} cannot be written: {error.strerror or error}") from None
    return place


def _pictures(found: Tuned) -> str:
    """Those there are, inside of the page: it is one file, and asks nobody for anything."""
    from base64 import b64encode
    from html import escape

    drawn: list[Callable[[], Picture]] = [found.plot] if found.trials else []
    drawn += [found.plot.front] if len(found.goals) > 1 and found.current is not None else []
    drawn += [found.plot.sensitivity] if found.best is not None and found.sensitivity else []
    pictures = [draw() for draw in drawn]
    return "".join(
        f'<p><img alt="{escape(one.alt)}" src="data:image/png;base64,{b64encode(one.png()).decode()}"></p>'
        for one in pictures
    )


def report(found: Tuned, place: Path) -> Path:
    """Write a page."""
    from html import escape

    if place.suffix.lower() in (".html", ".htm"):
        text = _PAGE.format(title=escape(found.headline), body=found._repr_html_() + _pictures(found))
    else:
        text = found._repr_markdown_()
    try:
        place.write_text(text, encoding="utf-8")
    except OSError as error:
        raise LlmsimError(f"{place} cannot be written: {error.strerror or error}") from None
    return place
