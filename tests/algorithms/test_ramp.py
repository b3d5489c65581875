from hypothesis import given
from hypothesis import strategies as st

from llmsim.algorithms.ramp import RAMP_FLOOR, ramp_delay_s, ramp_share

ramps = st.floats(0.001, 1e6)
lucks = st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)


@given(st.lists(st.floats(-10.0, 1e7), min_size=2), st.floats(0.0, 1e6))
def test_the_share_is_a_share_and_never_falls(times, ramp_s):
    shares = [ramp_share(elapsed_s, ramp_s) for elapsed_s in sorted(times)]
    assert all(0.0 <= share <= 1.0 for share in shares)
    assert shares == sorted(shares)


@given(ramps)
def test_it_goes_from_nothing_over_the_floor_to_everything(ramp_s):
    assert ramp_share(-1e-9, ramp_s) == 0.0
    assert ramp_share(0.0, ramp_s) == RAMP_FLOOR
    assert ramp_share(ramp_s * 0.999, ramp_s) < 1.0
    assert ramp_share(ramp_s, ramp_s) == 1.0


@given(lucks, ramps)
def test_nobody_waits_longer_than_the_ramp(luck, ramp_s):
    assert 0.0 <= ramp_delay_s(luck, ramp_s) <= ramp_s


@given(ramps, st.floats(0.0, 1.2))
def test_those_whose_delay_is_over_are_the_share(ramp_s, part):
    """Evenly spread luck in place of chance: of 1000 callers exactly the share is through (± the one on the edge)."""
    elapsed_s = part * ramp_s
    through = sum(ramp_delay_s((k + 0.5) / 1000, ramp_s) <= elapsed_s for k in range(1000))
    assert abs(through - 1000 * ramp_share(elapsed_s, ramp_s)) <= 1.0
