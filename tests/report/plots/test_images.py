"""Pictures look as they did when somebody last looked at them."""

import base64
import json
import time

import numpy as np
import pytest
from report.plots.days import ODD, busy
from report.plots.large import large
from report.plots.pictures import BASELINES, KINDS, RENEW, WORDS, apart, drawn, pixels, rendered, words_of

#: Of 255 (see `pictures.apart`). Measured on all pictures: other hinting and another font give less than 0.1,
#: the last line, bar or band of the first panel, lost, 3.1 and more (but for one that lies on an axis).
MOST = 2.0

DRAWN = drawn()
SAID = json.loads(WORDS.read_text(encoding="utf-8"))
CHEAP = {"headroom", "states", "fallback"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in CHEAP else pytest.mark.slow) for n in DRAWN])
def test_the_baseline(name, tmp_path):
    path = BASELINES / f"{name}.png"
    picture = DRAWN[name]()
    said = words_of(picture)
    found = rendered(picture)
    distance = apart(pixels(path.read_bytes()), found)
    assert said == SAID[name], f"other words, or a legend elsewhere; if that is right: {RENEW}"
    if distance > MOST:
        from PIL import Image

        Image.fromarray(found.astype(np.uint8)).save(tmp_path / path.name)
        pytest.fail(
            f"{name} is {distance:.1f} from its baseline, at most {MOST} is the same picture. Compare {path} with "
            f"{tmp_path / path.name}; if the new one is right: {RENEW}"
        )


def test_there_is_a_baseline_for_each_picture_and_none_besides():
    assert {path.stem for path in BASELINES.glob("*.png")} == DRAWN.keys()
    assert sum(path.stat().st_size for path in BASELINES.glob("*.png")) < 400_000


def _seen(change, name):
    picture = DRAWN[name]()
    change(picture)
    return apart(pixels((BASELINES / f"{name}.png").read_bytes()), rendered(picture))


@pytest.mark.slow
def test_what_they_are_there_to_notice():
    """A lost line, a legend in another corner, and another colour are more than a baseline allows."""
    assert _seen(lambda picture: picture.axes[0].lines[0].remove(), "headroom") > MOST
    moved = DRAWN["states"]()
    assert words_of(moved) == SAID["states"]
    moved.axes[0].get_legend().set_loc("lower right")
    assert words_of(moved) != SAID["states"]
    assert _seen(lambda picture: picture.axes[0].patches[0].set_facecolor("#4488cc"), "fallback") > MOST


def test_and_what_not():
    """Another font, fitted to pixels in another way."""
    import matplotlib as mpl

    with mpl.rc_context({"text.hinting": "none", "font.family": "DejaVu Serif"}):
        assert _seen(lambda picture: None, "headroom") < MOST


#: Each kind on every other odd day; on those between with ``-m long``.
ODD_DAYS = [
    pytest.param(odd, kind, marks=[pytest.mark.long] if (i + j) % 2 else [])
    for i, odd in enumerate(ODD)
    for j, kind in enumerate((*KINDS, "request"))
]


@pytest.mark.slow
@pytest.mark.parametrize(("odd", "kind"), ODD_DAYS)
def test_odd_days(odd, kind):
    """A picture of nothing says so: it has words in place of data, and no numbers of nothing."""
    picture = getattr(ODD[odd]().plot, kind)()
    data, meta = picture._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG")
    assert picture.alt == meta["image/png"]["alt"]
    assert "nan" not in picture.alt and "–" not in picture.alt
    for panel in picture.axes:
        if panel.get_ylabel() != "faults":
            assert panel.has_data() or panel.texts, (odd, kind, panel.get_ylabel())


@pytest.mark.parametrize("kind", ["request", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS)])
def test_axes_of_ones_own(kind):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert getattr(busy().plot, kind)(ax=ax) is ax
    assert ax.has_data()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "metrics_s", "picture_s"),
    # A million: 5 s, most of it metrics, and .2 to 1 s a picture. A fifth of them must not take much more than a fifth.
    [(200_000, 3.0, 1.0), pytest.param(1_000_000, 12.0, 3.0, marks=pytest.mark.long)],
)
def test_many_requests(rows, metrics_s, picture_s):
    """Every picture of a million takes less than a second, the page is small, the first look does all metrics."""
    result = large(rows)
    started = time.process_time()
    html = result._repr_html_()
    assert time.process_time() - started < metrics_s  # CPU time of all threads
    assert len(html) < 300_000
    busy().plot.outcomes().png()  # matplotlib itself
    for kind in (*KINDS, "request"):
        started = time.process_time()
        picture = getattr(result.plot, kind)()
        image = picture.png()
        assert time.process_time() - started < picture_s, kind
        assert len(image) < 150_000, kind
