"""Schedules are plausible whatever is drawn, and say the same in words, in a file and in a run."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmsim.chaos.kinds import KINDS, STORE_KINDS, spots_of
from llmsim.chaos.schedules import Drawn, Grid, Space, Spell, entry_of
from llmsim.scenario.load import load_scenario, parse_scenario
from llmsim.scenario.spec import Clock

TEXT = """\
version: 1
clock: {duration: 5m}
traffic: {base_rate: 1/s, topics: {zipf: {s: 1.0, unique: 50}}}
providers:
  openai: {rate_limit: {requests: 60/min}, concurrency: 8}
  anthropic: {}
gateway:
  policies:
    - semantic_cache: {name: faq, threshold: 0.9}
"""
SCENARIO = parse_scenario(TEXT)


def space(most=3, share=0.5, taken=()):
    return Space(spots_of(SCENARIO), SCENARIO.clock, most=most, time_share=share, taken=taken)


@pytest.mark.parametrize(
    ("duration_s", "grid"),
    [
        (60.0, Grid(10.0, 1, 4, 1)),
        (120.0, Grid(10.0, 2, 9, 3)),  # 12 s, a tenth, before the first; 24 s after the last
        (300.0, Grid(10.0, 3, 24, 7)),
        (480.0, Grid(10.0, 3, 38, 12)),
        (10.0, Grid(1.0, 1, 8, 2)),
        (86400.0, Grid(1800.0, 1, 38, 12)),
    ],
)
def test_times_are_round_and_leave_time_before_and_after(duration_s, grid):
    assert Grid.of(Clock(duration=duration_s)) == grid


def test_where_something_can_go_wrong():
    spots = {spot.target: [kind.name for kind in spot.kinds] for spot in spots_of(SCENARIO)}
    assert spots["openai"] == [kind.name for kind in KINDS]
    assert set(spots["openai"]) - set(spots["anthropic"]) == {"rate_limit", "capacity"}  # it has neither
    assert spots["faq"] == [kind.name for kind in STORE_KINDS]


DRAWS = st.lists(
    st.builds(
        Drawn, place=st.integers(0, len(space().places) - 1), level=st.integers(0, 3),
        steps=st.integers(0, 9), lag=st.integers(0, 9),
    ),
    min_size=1, max_size=5, unique_by=lambda draw: draw.place,
)  # fmt: skip


@given(st.integers(0, 25), DRAWS, st.sampled_from([0.1, 0.3, 0.5]))
def test_whatever_is_drawn_is_plausible(begin, drawn, share):
    every = space(share=share)
    grid, schedule = every.grid, every.schedule(begin, drawn)
    assert schedule, "the first fault is always there"
    busy, grave = set(), 0
    for spell in schedule:
        kind = every.kind(spell)
        assert 0 <= spell.level < len(kind.levels)
        grave += spell.level >= kind.mild
        assert grid.first <= spell.at < grid.end
        assert spell.at + spell.steps <= grid.end
        assert spell.steps <= grid.longest
        assert (spell.steps > 0) == kind.lasts
        busy |= set(range(spell.at, spell.at + spell.steps))
    assert grave <= 1, "two whole incidents at once are no finding"
    assert len(busy) * grid.step_s <= share * 300.0
    assert len({(spell.target, spell.kind) for spell in schedule}) == len(schedule)
    # What is written is what is run, and a scenario file takes it.
    lines = "\n".join(f"  - {entry_of(entry)}" for entry in every.entries(schedule))
    assert parse_scenario(f"{TEXT}faults:\n{lines}\n").faults == every.faults(schedule)


def test_words_and_names():
    every = space(taken=["stall-openai", "stall-openai-2"])
    stall, lost = Spell("stall", "openai", 3, 6, 3), Spell("lose_state", "faq", 0, 9, 0)
    assert every.words(stall) == "stall of openai (75%), 1:00 to 1:30"
    assert every.words(lost) == "lose_state of faq, at 1:30"
    assert every.words(Spell("rate_limit", "openai", 2, 6, 3)) == "rate_limit of openai (0.1x), 1:00 to 1:30"
    assert [entry_of(entry) for entry in every.entries((stall, lost))] == [
        "{name: stall-openai-3, provider: openai, at: 60s, duration: 30s, stall: {after_tokens: 10, percentage: 75%}}",
        "{name: lose_state-faq, store: faq, at: 90s, lose_state: true}",
    ]
    assert entry_of({"name": "outage-my gpt", "at": "2m", "outage": True}) == (
        '{name: "outage-my gpt", at: 2m, outage: true}'
    )


def test_together_and_apart():
    one, other = Spell("stall", "openai", 3, 6, 3), Spell("abort", "anthropic", 1, 8, 4)
    every = space()
    assert every.overlap((one, other)) == (8, 9)
    assert every.overlap((one, other._replace(at=9))) is None
    assert every.overlap((one,)) is None
    assert every.apart((one, other)) == (one, other._replace(at=9))
    assert every.apart((one, other._replace(at=9))) is None, "they are apart already"
    late = (one._replace(at=20), other._replace(at=20))
    assert every.apart(late) is None, "there is no time for both"


def test_small_is_few_short_weak_mild_and_early():
    every = space()
    base = Spell("abort", "openai", 1, 6, 3)
    bigger = [
        (base, Spell("latency", "anthropic", 0, 3, 1)),
        (base._replace(steps=4),),
        (base._replace(level=2),),
        (base._replace(kind="stall"),),
        (base._replace(at=7),),
    ]
    assert all(every.size((base,)) < every.size(other) for other in bigger)


def test_levels_are_words_of_a_scenario_file():
    """Every level of every kind is one that the schema takes and that does something."""
    for spot in spots_of(SCENARIO):
        for kind in spot.kinds:
            for level in range(len(kind.levels)):
                steps = 2 if kind.lasts else 0
                (fault,) = space().faults((Spell(kind.name, spot.target, level, 6, steps),))
                assert fault.effects
                assert load_scenario({**SCENARIO.source.data, "faults": space().entries(
                    (Spell(kind.name, spot.target, level, 6, steps),)
                )}).faults == (fault,)  # fmt: skip
