"""Pictures against those that somebody has looked at: which there are, how they are compared, how to renew them.

``uv run python tests/report/plots/pictures.py`` draws the baselines anew; look at every one that changed.
"""

import io
import json
import sys
from pathlib import Path

import numpy as np

if __name__ == "__main__":  # as a script, what pytest's `pythonpath` gives is missing
    sys.path.insert(0, str(Path(__file__).parents[2]))

from report.plots.days import ODD, STORY, busy
from report.plots.varied import ERRORS, KIND, TTFT, WAIT, varied
from report.results import result

BASELINES = Path(__file__).parent / "baselines"
WORDS = BASELINES / "words.json"
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
    from tuning.told import tuned

    from llmsim.report.plots.heat import heat
    from llmsim.report.plots.multiples import multiples
    from llmsim.report.plots.reality import ecdf, qq

    spike = {"timeline", "outcomes", "ttft", "cost", "cache", "tokens", "delivery", "latency"}
    found = {kind: (lambda kind=kind: getattr((result(2) if kind in spike else busy()).plot, kind)()) for kind in KINDS}
    found["request"] = lambda: busy().plot.request(STORY)
    found["backlog"] = lambda: busy().plot.phase("backlog")
    found["ecdf"], found["qq"] = lambda: ecdf(sides()), lambda: qq(sides())
    found["small-multiples"] = grid
    found["sweep"] = lambda: multiples(varied(), WAIT, [ERRORS, TTFT], by=KIND, title="story")
    found["sweep-choices"] = lambda: multiples(varied(), KIND, [ERRORS], by=WAIT)
    found["heat"] = lambda: heat(varied(), WAIT, KIND, TTFT, title="story")
    found["heat-dots"] = lambda: heat(varied(), WAIT, KIND, ERRORS, cells=False)
    found["trials"], found["front"], found["sensitivity"] = tuned().plot, tuned().plot.front, tuned().plot.sensitivity
    found["trials-never"] = lambda: tuned().plot("error_rate")
    found["nothing-states"] = ODD["no policies, limits or faults"]().plot.states
    found["nothing-fallback"] = ODD["no attempts"]().plot.fallback
    found["nothing-timeline"] = ODD["no requests"]().plot.timeline
    return found


def pixels(png):
    """On white, shape ``(height, width, 3)``."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGBA")
    ground = Image.new("RGBA", image.size, "white")
    ground.alpha_composite(image)
    return np.asarray(ground.convert("RGB"), dtype=float)


def rendered(picture, dpi=DPI):
    """What is drawn but for words and legends, in panels that stand where they stand whatever the words need.

    Words are as wide as a version of a font makes them, and panels as wide as words leave them: that would be seen all
    over the picture. What words and legends say, and where, is in `words_of`.
    """
    from matplotlib.text import Text

    picture.set_layout_engine("none")
    for legend in (*picture.legends, *(panel.get_legend() for panel in picture.axes)):
        if legend is not None:
            legend.set_visible(False)
    for text in picture.findobj(Text):
        text.set_alpha(0.0)
        if text.get_bbox_patch() is not None:
            text.get_bbox_patch().set_alpha(0.0)
    return pixels(picture.png(dpi=dpi))


def words_of(picture):
    """What is written, and where legends stand: by panel its title, labels, texts and legend."""
    found = []
    for panel in picture.axes:
        said = {"title": panel.get_title(loc="left"), "x": panel.get_xlabel(), "y": panel.get_ylabel()}
        said["texts"] = [text.get_text() for text in panel.texts]
        said["legend"] = _legend(panel.get_legend(), panel)
        found.append({name: one for name, one in said.items() if one})
    outside = [_legend(legend, None) for legend in picture.legends]
    return [*found, *outside]


def _legend(legend, panel):
    if legend is None:
        return None
    anchor = [] if panel is None else panel.transAxes.inverted().transform(legend.get_bbox_to_anchor().p0).tolist()
    labels = [text.get_text() for text in legend.get_texts()]
    return {"corner": str(legend._loc), "at": [round(place, 2) for place in anchor], "labels": labels}


def apart(one, other):
    """How far two pictures are apart: the greatest difference of the mean colour of tiles, of 255.

    What is moved, lost or of another colour it sees wherever that is, and however small a part of the picture: a lost
    line has less of an RMS over all pixels (`matplotlib.testing.compare`) than another version of a font.
    """
    if one.shape != other.shape:
        return 255.0
    return float(np.abs(_tiles(one) - _tiles(other)).max())


def _tiles(array):
    high, wide = (-(-size // TILE) * TILE for size in array.shape[:2])
    padded = np.full((high, wide, 3), 255.0)
    padded[: array.shape[0], : array.shape[1]] = array
    return padded.reshape(high // TILE, TILE, wide // TILE, TILE, 3).mean(axis=(1, 3))


def renew():
    from PIL import Image

    said = {}
    for name, draw in drawn().items():
        path = BASELINES / f"{name}.png"
        picture = draw()
        said[name] = words_of(picture)
        image = Image.fromarray(rendered(picture).astype(np.uint8)).quantize(256, dither=Image.Dither.NONE)
        if path.exists() and apart(pixels(path.read_bytes()), np.asarray(image.convert("RGB"), dtype=float)) == 0:
            continue
        image.save(path, optimize=True)
        print(path)
    WORDS.write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    renew()
