"""Pictures of a tuning: what is drawn where, read back from the axes."""

import pytest
from tuning.told import BEST, NOW, tuned

from llmsim.errors import LlmsimError


def lines(panel):
    return {line.get_label(): line for line in panel.get_lines()}


def test_trials_are_marked_by_what_became_of_them_and_the_best_is_one_that_holds():
    picture = tuned().plot()
    (panel,) = picture.axes
    found = lines(panel)
    assert list(found["breaks a limit"].get_xdata()) == [1]
    assert list(found["stopped early: no better"].get_xdata()) == [3]
    assert list(found["run to its end, limits undecided"].get_xdata()) == [4]
    assert list(found["run to its end, limits hold"].get_xdata()) == [2, 5]
    # The cheapest breaks its limit and the next is undecided: neither is ever the best.
    assert list(found["best so far"].get_xdata()) == [2, 3, 4, 5, 5]
    assert list(found["best so far"].get_ydata()) == pytest.approx([0.0025, 0.0025, 0.0025, 0.0020, 0.0020])
    assert list(found["as it is"].get_ydata()) == [0.0030, 0.0030]
    assert "5 trials" in picture.alt
    assert picture.png().startswith(b"\x89PNG")


def test_what_never_happened_lies_above_all_that_is_finite():
    (panel,) = tuned().plot("error_rate").axes
    (never,) = lines(panel)["run to its end, limits undecided"].get_ydata()
    assert 0.2 < never < panel.get_ylim()[1]
    with pytest.raises(LlmsimError, match="cost_per_ok, error_rate were"):
        tuned().plot("ttft")


def test_the_front_is_drawn_on_held_out_luck_with_intervals_from_what_there_is():
    picture = tuned().plot.front()
    (panel,) = picture.axes
    marks = {line.get_marker(): line for line in panel.get_lines() if len(line.get_xdata()) == 1}
    assert (marks["*"].get_xdata()[0], marks["*"].get_ydata()[0]) == (0.0022, 0.12)
    assert (marks["D"].get_xdata()[0], marks["D"].get_ydata()[0]) == (0.0032, 0.22)
    assert marks["D"].get_markerfacecolor() == "none", "as it is, it breaks its limit"
    bars = [one for collection in panel.collections for one in collection.get_segments()]
    (bar,) = [one for one in bars if one[0][1] == one[1][1] == 0.12]
    assert list(bar[:, 0]) == pytest.approx([0.0032 - 0.0012, 0.0032 - 0.0008])
    assert panel.get_xlim()[0] <= 0.0010, "the luck it was chosen on is there, too"
    assert "max_attempts=3" in picture.alt
    with pytest.raises(LlmsimError, match="both x and y"):
        tuned().plot.front("error_rate", "error_rate")
    with pytest.raises(LlmsimError, match="needs two goals"):
        tuned(goals=tuned().goals[:1]).plot.front()


def test_neighbours_are_told_apart_by_sign_interval_and_limits():
    picture = tuned().plot.sensitivity()
    (panel,) = picture.axes
    marks = [line.get_marker() for line in panel.get_lines() if len(line.get_ydata()) == 1]
    assert marks == ["v", "X", "o", "o"]
    assert panel.get_yticklabels()[0].get_text() == "retry.max_attempts 2 (not 3)"
    assert [text.get_text() for text in panel.texts] == ["never "]
    assert "breaks error_rate value < 20%" in picture.alt
    with pytest.raises(LlmsimError, match="no neighbour"):
        tuned(sensitivity=()).plot.sensitivity()


def test_neighbours_of_what_there_is_are_not_compared_with_something_tuned():
    """Of several objectives what there is may be beaten in none; then one step away from that is told."""
    base = {name: tuned(best=best).plot.sensitivity().axes[0].get_xlabel() for name, best in (("t", BEST), ("n", NOW))}
    assert "against the tuned value (less" in base["t"]
    assert "against what it is now (less" in base["n"]
