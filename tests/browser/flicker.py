"""What was really painted: every frame of the page while a picture changes."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Frames"]


class Frames:
    """Records from now on what the page paints where `picture` is.

    An image says for a moment that it has no size after its bytes have changed (`naturalWidth` is 0), while the browser
    goes on painting the former ones until the new ones are decoded. So the pixels are what is looked at.
    """

    def __init__(self, page: Any, picture: Any) -> None:
        self._page, self._picture = page, picture
        self._box = picture.bounding_box()
        self._frames: list[bytes] = []
        self._session = page.context.new_cdp_session(page)
        self._session.on("Page.screencastFrame", self._take)
        self._session.send("Page.startScreencast", {"format": "png", "everyNthFrame": 1})

    def _take(self, frame: dict[str, Any]) -> None:
        self._frames.append(base64.b64decode(frame["data"]))
        self._session.send("Page.screencastFrameAck", {"sessionId": frame["sessionId"]})

    def held(self, folder: Path) -> None:
        """No frame was without the picture, and it did not move; one that is taken away is seen to be gone."""
        self._page.wait_for_timeout(300)
        assert self._picture.bounding_box() == self._box, "the page jumped"
        inks = [self._ink(frame) for frame in self._frames]
        usual = float(np.median(inks))
        for number, (frame, ink) in enumerate(zip(self._frames, inks, strict=True)):
            if ink < usual / 2:
                (folder / f"flicker-{number}.png").write_bytes(frame)
        print(f"{len(inks)} frames painted, ink of the picture {min(inks):.3f} to {max(inks):.3f}")
        assert len(inks) >= 3
        assert min(inks) > usual / 2 > 0, "the picture was gone"
        self._picture.evaluate("image => { image.style.visibility = 'hidden'; }")
        self._page.wait_for_timeout(300)
        self._picture.evaluate("image => { image.style.visibility = ''; }")
        self._page.wait_for_timeout(300)
        self._session.send("Page.stopScreencast")
        assert min(map(self._ink, self._frames[len(inks) :])) < usual / 20, "a flicker would not have been seen"

    def _ink(self, frame: bytes) -> float:
        """Share of the picture's pixels that are not ground."""
        from PIL import Image

        whole = np.asarray(Image.open(io.BytesIO(frame)).convert("RGB"), dtype=int)
        left, top, width, height = (round(self._box[side]) for side in ("x", "y", "width", "height"))
        part = whole[top : top + height, left : left + width]
        ground = part[2, 2]
        return float((np.abs(part - ground).sum(axis=2) > 30).mean())
