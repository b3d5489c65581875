"""How a comparison with a live run shows itself: in a terminal, in a notebook, as a page."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmsim.report.reality.told import Told, to_text

if TYPE_CHECKING:
    from llmsim.report.reality.curves import Sides
    from llmsim.report.result import Result

__all__ = ["Shows"]


class Shows:
    """What has something to tell (`told`), curves to draw (`sides`), and two `results` that it is about."""

    if TYPE_CHECKING:

        @property
        def told(self) -> Told: ...
        @property
        def sides(self) -> Sides: ...
        @property
        def results(self) -> dict[str, Result]: ...

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return to_text(self.told)

    def _repr_html_(self) -> str:
        from llmsim.report.reality.page import to_html

        return to_html(self.told)

    def to_page(self, replay: str = "") -> str:
        """One HTML file with everything, pictures included; `replay` is the command that gives the same again."""
        from llmsim.report.reality.page import to_page

        return to_page(self.told, self.sides, self.results, replay)

    def save_html(self, place: str | Path) -> Path:
        """Write `to_page` there."""
        Path(place).write_text(self.to_page(), encoding="utf-8", errors="replace")
        return Path(place)
