"""A picture that changes under the reader's eyes, and that a screen reader can name."""

from __future__ import annotations

import base64
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmsim.report.plots.canvas import Picture

__all__ = ["live_image", "put"]

#: A pixel that lets the page through: of no bytes at all browsers show a broken image.
_NOTHING = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)


def live_image(**layout: str) -> Any:
    """One that shows nothing yet; see `put`."""
    import ipywidgets as w

    return _kind()(format="png", value=_NOTHING, tooltip="no picture yet", layout=w.Layout(**layout))


def put(image: Any, picture: Picture, dpi: float) -> bytes:
    """Show `picture` there, under the name that its alt text is; returns its PNG.

    Browsers go on painting the former bytes until the new ones are decoded, so nothing flickers.
    """
    png = picture.png(dpi)
    image.tooltip, image.value = picture.alt, png
    return png


@cache
def _kind() -> type:
    import ipywidgets as w
    from traitlets import Unicode

    class LiveImage(w.Image):  # type: ignore[misc]  # ipywidgets has no types
        """An Image has no alt text, so it is named by its tooltip; which is only shown of what has a description.

        (ipywidgets 8.1.9: `DOMWidgetView.updateTooltip` reads the length of ``description``, which an Image has not.)
        """

        description = Unicode("").tag(sync=True)

    return LiveImage
