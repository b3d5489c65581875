"""The picture of a trace: every panel there, whatever is missing in the trace."""

import numpy as np
import pytest

from llmsim.report.plots.trace import trace_picture
from llmsim.traffic.trace_stats import describe
from llmsim.traffic.traces import Trace

RNG = np.random.default_rng(3)


def trace(count=400, known=True):
    tokens = [RNG.integers(1, 900, count) * known for _ in range(2)]
    return Trace.of(np.cumsum(RNG.exponential(0.2, count)), *tokens, name="some.csv")


@pytest.mark.slow
def test_rate_gaps_and_lengths_with_their_fits():
    one = trace()
    picture = trace_picture(one, describe(one))
    titles = [ax.get_title(loc="left") for ax in picture.axes]
    assert titles == ["some.csv: 400 requests, 4.97/s", "gaps", "input tokens", "output tokens"] or titles[1:] == [
        "gaps", "input tokens", "output tokens",
    ]  # fmt: skip
    rate, gaps, *lengths = picture.axes
    counted = sum(line.get_ydata()[::2].sum() for line in rate.lines[:1])
    assert counted == pytest.approx(400, rel=0.02), "by the second, every request is in the line once"
    assert len(gaps.get_legend().get_texts()) == 5, "the trace and four families"
    trace_line = gaps.lines[0].get_ydata()
    assert np.all(np.diff(trace_line) < 0)
    assert all("lognormals" in ax.get_legend().get_texts()[0].get_text() for ax in lengths)
    assert "400 requests" in picture.alt
    assert picture.png().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "one",
    [*(pytest.param(trace(n), marks=pytest.mark.slow) for n in (1, 3)), trace(50, known=False)],
    ids=["one", "three", "no lengths"],
)
def test_what_is_not_known_is_said(one):
    picture = trace_picture(one, describe(one))
    words = [text.get_text() for ax in picture.axes for text in ax.texts]
    assert ("not told" in words) == (one.input_tokens.sum() == 0)
    assert ("too few" in words) == (len(one) == 1)
    assert picture.png().startswith(b"\x89PNG")
