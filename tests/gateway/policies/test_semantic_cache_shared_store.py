"""Two gateways with one store, as two have that keep answers in one Redis, and whose policies say different things."""

import asyncio

import pytest
from gateway.policies.angles import Lab, Stores, about
from gateway.policies.toys import ask
from gateway.site import play

from llmsim.gateway.policies import SemanticCache
from llmsim.types import Message


class OneStore(Stores):
    def open(self, spec, run):
        return self.made[-1] if self.made else super().open(spec, run)


def _second(one, other, first, then, *, wait_s=0.0):
    """What the second gateway has for `then`, after the first was asked `first`."""

    async def script():
        stores = OneStore()
        labs = [Lab(spec, stores=stores) for spec in (one, other)]
        await labs[0].ask(first)
        await asyncio.sleep(wait_s)
        return await labs[1].served(then)

    return play(script)


@pytest.mark.parametrize("degrees", [0, 1])
@pytest.mark.parametrize(
    ("one", "other", "asks"),
    [
        ({"scope": "global"}, {"scope": "tenant"}, {}),
        ({"scope": "tenant"}, {"scope": "user"}, {"tenant": "acme"}),
        ({"per": ("route",)}, {"per": ("feature",)}, {"route": "help", "feature": "help"}),
        ({"compare": "last_message"}, {"compare": "conversation"}, {}),
    ],
)
def test_who_draws_other_lines_is_given_nothing(one, other, asks, degrees):
    for first, then in ((one, other), (other, one)):
        for words, match in ((then, ""), (first, "semantic" if degrees else "exact")):
            found = _second(SemanticCache(**first), SemanticCache(**words), about(0, **asks), about(degrees, 1, **asks))
            assert found == [match]


def test_what_was_said_before_is_not_left_out_by_another():
    """It had a whole conversation before, which the gateway that kept the answer does not look at."""
    before = (Message("user", "about 90"), Message("assistant", "yes"))
    first = ask(0, messages=(*before, Message("user", "about 0")))
    found = _second(SemanticCache(compare="last_message"), SemanticCache(), first, about(0, 1))
    assert found == [""]


@pytest.mark.parametrize("degrees", [0, 1])
def test_who_lowers_the_ttl_is_obeyed_for_what_was_kept_before(degrees):
    before = SemanticCache(ttl=3600.0, stale_while_revalidate=600.0)
    hit = "semantic" if degrees else "exact"
    for ttl, wait_s, match in ((60.0, 59.0, hit), (60.0, 61.0, ""), (7200.0, 4000.0, hit), (7200.0, 4300.0, "")):
        found = _second(before, SemanticCache(ttl=ttl), about(0), about(degrees, 1), wait_s=wait_s)
        assert found == [match], (ttl, wait_s)


def test_what_another_kept_for_longer_is_stale_by_ones_own_time():
    async def script():
        stores = OneStore()
        Lab(SemanticCache(ttl=3600.0), stores=stores)
        labs = [Lab(spec, stores=stores) for spec in (
            SemanticCache(ttl=3600.0), SemanticCache(ttl=60.0, stale_while_revalidate=60.0)
        )]  # fmt: skip
        await labs[0].ask(about(0))
        await asyncio.sleep(90.0)
        assert await labs[1].served(about(0, 1)) == ["exact"]
        await asyncio.sleep(1.0)
        assert len(labs[1].told("refreshed")) == 1

    play(script)
