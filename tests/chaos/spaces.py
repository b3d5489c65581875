"""A small shop, two providers: what the tests search in."""

from pathlib import Path

from llmsim.chaos.kinds import spots_of
from llmsim.chaos.schedules import Space
from llmsim.scenario.load import parse_scenario

CHECKOUT = Path(__file__).with_name("checkout.yaml")
_SCENARIO = parse_scenario(CHECKOUT.read_text(encoding="utf-8"))
SHOP = Space(spots_of(_SCENARIO), _SCENARIO.clock, most=3, time_share=0.5)
