import base64
import io
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from report.results import result, scenario, spike
from telemetry.recorded import numbered, replication, request

from llmsim.report import plots
from llmsim.report.plots.bins import latencies, outcome_bins
from llmsim.report.plots.canvas import CLASS_STYLE, INK
from llmsim.report.result import Result
from llmsim.telemetry.outcomes import CLASSES

SLOW = pytest.mark.slow
KINDS = ("timeline", "outcomes", "ttft", "cost", "tokens", "latency", "delivery", "cache")


@pytest.fixture(scope="module")
def day():
    return result(3)


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=SLOW) for kind in KINDS[1:])])
def test_pictures_are_png_with_words(day, kind):
    picture = getattr(day.plot, kind)()
    data, meta = picture._repr_mimebundle_()
    image = base64.b64decode(data["image/png"])
    assert image.startswith(b"\x89PNG")
    assert len(image) < 100_000
    assert data["text/plain"] == meta["image/png"]["alt"] == picture.alt
    assert "small <day>" in picture.alt
    assert "nan" not in picture.alt


def test_the_alt_text_says_what_one_sees(day):
    alt = day.plot.timeline().alt
    for part in ("Offered load up to", "failures up to", "p90 up to never", "brown-out from 0:20 to 0:50"):
        assert part in alt


@pytest.mark.matrix
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_can_be_drawn_into_axes_of_ones_own(day, kind):
    from matplotlib.figure import Figure

    ax = Figure().subplots()
    assert getattr(day.plot, kind)(ax=ax) is ax
    assert ax.has_data()


@pytest.mark.slow
@pytest.mark.parametrize(
    "one",
    [
        pytest.param(lambda: Result(scenario(), []), id="nothing"),
        pytest.param(lambda: Result(scenario(), [replication()]), id="no requests", marks=SLOW),
        pytest.param(lambda: Result(scenario(), [replication([request()])]), id="one request", marks=SLOW),
        pytest.param(
            lambda: Result(scenario(), [replication(numbered([request(outcome="oops")] * 300))]), id="all failed"
        ),
        pytest.param(lambda: Result(scenario(faults=[]), [spike()]), id="no faults", marks=SLOW),
        pytest.param(
            lambda: Result(scenario(), [replication([request(served_from="cache", ttft_s=0.0)] * 50)]),
            id="all cached",
            marks=SLOW,
        ),
        pytest.param(
            lambda: Result(scenario(), [replication([request()], simulated_s=-5.0, partial=True)]),
            id="in warm-up",
            marks=SLOW,
        ),
        pytest.param(lambda: Result(scenario(clock={"duration": "2d"}), [spike()]), id="two days", marks=SLOW),
        pytest.param(
            lambda: Result(scenario(clock={"duration": "500ms"}, faults=[]), [spike()]), id="half a second", marks=SLOW
        ),
    ],
)
def test_odd_results_have_pictures_too(one):
    assert one().plot.timeline().png(dpi=30)  # it has the panels of all others


@pytest.mark.slow
@pytest.mark.parametrize(
    "runs",
    [
        pytest.param([], id="nothing", marks=SLOW),
        pytest.param([replication(numbered([request(outcome="oops")] * 30))], id="failed"),
    ],
)
@pytest.mark.parametrize(
    "kind", ["tokens", pytest.param("latency", marks=SLOW), "delivery", pytest.param("cache", marks=SLOW), "cost"]
)
def test_and_so_has_their_telemetry(runs, kind):
    picture = getattr(Result(scenario(), runs).plot, kind)()
    assert "nan" not in picture.alt
    assert picture.png(dpi=30)


def test_bins_hold_every_request_once(day):
    bins = outcome_bins(day)
    measured = day.requests.filter(pl.col("window") == "measured")
    total = sum(float((height * np.diff(bins.edges_s)).sum()) for height in bins.classes.values()) * 3
    assert total == pytest.approx(measured.height)
    assert sum(bins.classes.values()) == pytest.approx(bins.offered)
    assert latencies(day).requests.sum() == measured.height
    assert len(bins.edges_s) <= 241


def test_failures_are_never_in_the_percentiles(day):
    told = latencies(day, (50, 90))
    storm = (told.edges_s[:-1] >= 40) & (told.edges_s[:-1] < 50)
    assert np.isinf(told.percentiles[90][storm]).all()
    assert np.isfinite(told.percentiles[90][~storm]).all()


def _luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one, other):
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_text_reads_on_white_and_on_black():
    assert _contrast(INK, "#ffffff") > 4.4
    assert _contrast(INK, "#111111") > 4.1


def test_classes_differ_by_hatch_as_well_as_by_colour():
    assert CLASS_STYLE.keys() == {one.name for one in CLASSES}
    assert len({colour for colour, _ in CLASS_STYLE.values()}) == len(CLASSES)
    failures = [hatch for name, (_, hatch) in CLASS_STYLE.items() if name not in ("cache_hits", "answered")]
    assert len(set(failures)) == len(failures)
    assert "" not in failures


@pytest.mark.slow
def test_the_ground_is_transparent(day):
    from PIL import Image

    image = Image.open(io.BytesIO(day.plot.outcomes().png()))
    assert image.mode == "RGBA"
    assert image.getpixel((1, 1))[3] == 0


@pytest.mark.slow
def test_equal_results_have_equal_pictures(day):
    assert day.plot.outcomes().png() == result(3).plot.outcomes().png()


@pytest.mark.slow
def test_a_million_requests_are_binned_before_they_are_drawn():
    count = 1_000_000
    one = result(1)
    luck = np.random.default_rng(0)
    few = one.requests
    one.__dict__["requests"] = few[luck.integers(0, few.height, count)].with_columns(
        arrival_s=pl.Series(np.sort(luck.uniform(0, 100, count)))
    )
    one.plot.timeline()  # matplotlib's fonts, and what is not the picture: verdict and metrics
    started = time.process_time()
    one.plot.timeline()
    assert time.process_time() - started < 4  # CPU time of all threads; about 0.5 s


@pytest.mark.parametrize("one", [Result(scenario(), []), Result(scenario(), [replication([request()])])])
def test_nothing_to_pay(one):
    assert one.plot.cost().png(dpi=30)


@pytest.mark.slow
def test_keys_beyond_the_colours_are_taken_together(day):
    labels = [text.get_text() for text in day.plot.tokens("user").axes[0].get_legend().get_texts()]
    assert len(labels) == 7
    assert labels[0].startswith("3 others ")
    assert len({label.split()[0] for label in labels}) == 7


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["tokens", pytest.param("latency", marks=SLOW), "delivery", pytest.param("cache", marks=SLOW)]
)
def test_nothing_stands_on_anything_else(day, kind):
    """Legends are beside their panels and inside of the picture; ticks do not overlap."""
    picture = getattr(day.plot, kind)()
    picture.draw_without_rendering()
    width = picture.bbox.width
    for panel in picture.axes:
        legend = panel.get_legend()
        if legend is not None:
            box = legend.get_window_extent()
            assert box.x1 <= width + 1, kind
            assert box.x0 >= panel.get_window_extent().x1 - 1, kind
        boxes = [tick.get_window_extent() for tick in panel.get_yticklabels() if tick.get_text()]
        inside = sorted((box.y0, box.y1) for box in boxes if panel.bbox.y0 - 2 <= box.y0 + 4 <= panel.bbox.y1 + 2)
        assert all(low[1] <= high[0] + 1 for low, high in pairwise(inside)), kind


@pytest.mark.slow
def test_matplotlib_waits_for_the_first_picture():
    code = "import sys, llmsim.report.result, llmsim.report.plots; assert 'matplotlib' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_nothing_global_is_touched(day):
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    day.plot.outcomes()
    assert dict(mpl.rcParams) == before
    for path in Path(plots.__file__).parent.glob("*.py"):
        assert not re.search(r"import.*pyplot|\.use\(|rcParams", path.read_text()), path
