"""Pictures against those that somebody has looked at: which there are, how they are compared, how to renew them.

``uv run python tests/report/plots/pictures.py`` draws the baselines anew; look at every one that changed.
"""

import io
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # as a script, what pytest's `pythonpath` gives is missing
    sys.path.insert(0, str(Path(__file__).parents[2]))

from report.plots.days import ODD, STORY, busy
from report.results import result

BASELINES = Path(__file__).parent / "baselines"
RENEW = "uv run python tests/report/plots/pictures.py"
DPI = 50
TILE = 12  #: px: a letter is half as high

KINDS = (
    "timeline", "outcomes", "ttft", "e2e", "amplification", "utilisation", "headroom", "states", "fallback", "phase",
    "cost", "cache", "latency", "tokens", "delivery",
)  # fmt: skip


def sides():
    """Two samples of a latency that differ in their tails, one with failures."""
    from llmsim.report.reality.curves import Sides

    luck = np.random.default_rng(3)
    one, other = luck.lognormal(-1, 0.5, 400), luck.lognormal(-0.9, 0.6, 400)
    failed = np.where(np.arange(400) < 20, np.inf, other)
    return Sides("two", ("simulated", "live"), {"ttft": (one, failed)}, {"ttft": (one, other)}, {"ttft": 0.2})


def grid():
    """Several in one figure, each in axes that are small."""
    from llmsim.report.plots.canvas import bare, style

    with style():
        picture = bare(12, 8)
        for ax, kind in zip(picture.subplots(3, 3).flat, KINDS[1:], strict=False):
            getattr(busy().plot, kind)(ax=ax)
            ax.set_title(kind)
    return picture


def drawn():
    """Every picture there is a baseline of, by name: something that draws it."""
    from llmsim.report.plots.reality import ecdf, qq

    spike = {"timeline", "outcomes", "ttft", "cost", "cache", "tokens", "delivery", "latency"}
    found = {
        kind: (lambda kind=kind: getattr((result(2) if kind in spike else busy()).plot, kind)()) for kind in KINDS
    }
    found["request"] = lambda: busy().plot.request(STORY)
    found["backlog"] = lambda: busy().plot.phase("backlog")
    found["ecdf"], found["qq"] = lambda: ecdf(sides()), lambda: qq(sides())
    found["small-multiples"] = grid
    found["nothing-states"] = lambda: ODD["no policies, limits or faults"]().plot.states()
    found["nothing-fallback"] = lambda: ODD["no attempts"]().plot.fallback()
    found["nothing-timeline"] = lambda: ODD["no requests"]().plot.timeline()
    return found


def pixels(png):
    """On white, shape ``(height, width, 3)``."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return np.asarray(ground.convert("RGB"), dtype=float)


def rendered(picture, dpi=DPI):
    """What is drawn but for words, in panels that stand where they stand whatever the words need.

    Words are as wide as a version of a font makes them, and panels as wide as words leave them: that would be seen all
    over the picture. What words say is for tests that read them; that none stands on another, for `test_plots`.
    """
    from matplotlib.text import Text

    picture.set_layout_engine("none")
    for text in picture.findobj(Text):
        text.set_alpha(0.0)
    return pixels(picture.png(dpi=dpi))


def apart(one, other):
    """How far two pictures are apart: the greatest difference of the mean colour of tiles, of 255.

    What is moved, lost or of another colour it sees wherever that is, and however small a part of the picture: a lost
    line has less of an RMS over all pixels (`matplotlib.testing.compare`) than another version of a font.
    """
    if one.shape != other.shape:
        return 255.0
    # Lines of a legend stand as far apart as the font says: the nearest of all moves by a pixel counts.
    moves = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)]
    seen = _tiles(one)
    each = [np.abs(seen - _tiles(np.roll(other, move, axis=(0, 1)))).max(axis=2) for move in moves]
    return float(np.min(each, axis=0).max())


def _tiles(array):
    high, wide = (-(-size // TILE) * TILE for size in array.shape[:2])
    padded = np.full((high, wide, 3), 255.0)
    padded[: array.shape[0], : array.shape[1]] = array
    return padded.reshape(high // TILE, TILE, wide // TILE, TILE, 3).mean(axis=(1, 3))


def renew():
    from PIL import Image

    for name, draw in drawn().items():
        path = BASELINES / f"{name}.png"
        image = Image.fromarray(rendered(draw()).astype(np.uint8)).quantize(256, dither=Image.Dither.NONE)
        if path.exists() and apart(pixels(path.read_bytes()), np.asarray(image.convert("RGB"), dtype=float)) == 0:
            continue
        image.save(path, optimize=True)
        print(path)


if __name__ == "__main__":
    renew()
