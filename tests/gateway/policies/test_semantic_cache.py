import math

import pytest
from gateway.policies.angles import Lab, Stores, about, cosine, served
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

from llmsim.errors import StreamBroken
from llmsim.gateway.contract import policy
from llmsim.gateway.exchange import Exchange
from llmsim.gateway.pipeline import Gateway
from llmsim.gateway.policies import Fallback, SemanticCache
from llmsim.types import Message, Request, Usage

# -- exact, then near --------------------------------------------------------------------------------------------------


def test_equal_first_then_near_then_nothing():
    async def script():
        lab = Lab(SemanticCache(threshold=0.92), Toy(["hel", "lo"]))
        seen = []
        for number, degrees in enumerate((0, 0, 20, 25, 20)):
            use, response = await lab.ask(about(degrees, number))
            seen.append((use.match, round(use.nearest, 3), use.made_for, use.embedded_tokens, use.queries, use.writes))
            assert response.tokens_delivered == 2
        assert seen[0][:1] + seen[0][2:] == ("", "", 2, 1, 1)
        assert math.isnan(seen[0][1])
        assert seen[1:] == [
            ("exact", 1.0, "0/0/0", 0, 0, 0),
            ("semantic", 0.94, "0/0/0", 2, 1, 0),
            ("", 0.906, "", 2, 1, 1),
            ("semantic", 0.996, "3/0/0", 2, 1, 0),
        ]
        assert len(lab.providers["a"].calls) == 2

    play(script)


@pytest.mark.parametrize(
    ("threshold", "hits"), [(cosine(20), True), (cosine(20) - 1e-9, True), (cosine(20) + 1e-9, False)]
)
def test_the_threshold_is_a_cosine_and_inclusive(threshold, hits):
    assert served(SemanticCache(threshold=threshold), about(0), about(20))[1] == ("semantic" if hits else "")


def test_routes_have_thresholds_of_their_own():
    spec = SemanticCache(threshold=0.8, thresholds={"refunds": 0.99, "chat": 0.5})
    asked = [about(0), *(about(degrees, route=route) for degrees, route in ((30, ""), (30, "refunds"), (55, "chat")))]
    # The answer to 30 is kept, for refunds may not have that to 0: then 55 is 25 away from it.
    assert served(spec, *asked) == ["", "semantic", "", "semantic"]


def test_what_was_found_for_a_call_before_is_not_told_of_the_next():
    @policy
    async def picky(request, call_next):
        response = await call_next(request)
        if response.served_from == "upstream":
            return response
        response.close()
        return await call_next(about(90, int(request.id[0])))

    async def script():
        site = Site(Gateway(policies=(picky, SemanticCache())), stores=Stores())
        await site.send(about(0))
        exchange = Exchange(about(0, 1), site.running._runtime)
        response = await site.send(about(0, 1), exchange)
        assert (response.served_from, exchange.cache.match, exchange.cache.made_for) == ("upstream", "", "")

    play(script)


def test_what_is_equal_needs_no_vectors():
    async def script():
        lab = Lab(SemanticCache(backend="exact"))
        assert await lab.served(about(0), about(0), about(1)) == ["", "exact", ""]
        use, _ = await lab.ask(about(2))
        assert (use.embedded_tokens, use.queries, use.writes) == (0, 0, 0)
        assert "nearest" not in lab.stores.store.asked

    play(script)


# -- who may have whose answers ----------------------------------------------------------------------------------------

CHANGES = {
    "tenant": "t",
    "upstream": "a",
    "model": "m",
    "temperature": 0.0,
    "response_schema": "{}",
    "messages": (Message("system", "be brief"), Message("user", "about 0")),
}
NO_CHANGE = {
    "id": "9/9/9",
    "session": "s",
    "user": "u",
    "route": "r",
    "feature": "f",
    "priority": 3,
    "input_tokens": 7,
    "max_tokens": 5,
    "stream": False,
    "deadline_s": 99.0,
}


def test_every_field_of_a_request_is_decided_about():
    assert {*CHANGES, *NO_CHANGE, "tools"} == set(Request._fields)


@pytest.mark.parametrize("degrees", [0, 1])
@pytest.mark.parametrize(("field", "value"), CHANGES.items())
def test_what_changes_the_answer_is_never_shared(field, value, degrees):
    other = {"messages": (value[0], Message("user", f"about {degrees}"))} if field == "messages" else {field: value}
    asked = [about(0), about(degrees)._replace(**other), about(0)]
    assert served(SemanticCache(threshold=0.5), *asked) == ["", "", "exact"]


@pytest.mark.parametrize(("field", "value"), NO_CHANGE.items())
def test_what_does_not_change_the_answer_is_the_same_question(field, value):
    asked = [about(0), about(0)._replace(**{field: value}), about(10)._replace(**{field: value})]
    assert served(SemanticCache(), *asked) == ["", "exact", "semantic"]


@pytest.mark.parametrize(
    ("scope", "matches"), [("tenant", ["", "exact", ""]), ("user", [""] * 3), ("global", ["", "exact", "exact"])]
)
def test_scope_says_who_may_see_whose(scope, matches):
    people = [about(0, tenant="t", user="u"), about(0, tenant="t", user="v"), about(0, tenant="w", user="u")]
    assert served(SemanticCache(scope=scope), *people) == matches


@pytest.mark.parametrize("field", ["route", "feature", "session", "user", "tenant"])
def test_per_adds_what_must_be_equal(field):
    asked = [about(0, **{field: value}) for value in "xyx"]
    assert served(SemanticCache(scope="global", per=(field,)), *asked) == ["", "", "exact"]


def test_fields_cannot_be_shifted_into_each_other():
    asked = [about(0, tenant="a", user="bc"), about(0, tenant="ab", user="c")]
    assert served(SemanticCache(scope="user"), *asked) == ["", ""]


def _chat(*words):
    roles = ["user", "assistant"] * len(words)
    return ask(messages=tuple(Message(role, text) for role, text in zip(roles, words, strict=False)))


def test_what_was_said_before_counts_unless_it_is_ignored():
    asked = [
        _chat("the Louvre?", "in Paris", "about 0"),
        _chat("the Prado?", "in Madrid", "about 0"),
        _chat("the Louvre?", "in Paris", "about 1"),
    ]
    assert served(SemanticCache(), *asked) == ["", "", "semantic"]
    # The same words in another conversation are near, and not equal: an exact match is one to the letter.
    assert served(SemanticCache(compare="last_message"), *asked) == ["", "semantic", "semantic"]
    system = [
        ask(messages=(Message("system", text), Message("user", "about 0"))) for text in ("be brief", "be thorough")
    ]
    assert served(SemanticCache(compare="last_message"), *system) == ["", ""]


# -- what is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "temperature", "hits"),
    [
        ("unsampled", None, True),
        ("unsampled", 0.7, False),
        ("temperature_0", None, False),
        ("temperature_0", 0.0, True),
        ("all", 0.7, True),
    ],
)
def test_the_cacheable_rule(rule, temperature, hits):
    asked = [about(0, temperature=temperature)] * 2
    assert served(SemanticCache(cacheable=rule), *asked) == (["", "exact"] if hits else ["skipped"] * 2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": ("search",)}, {"tools": True}),
        ({"response_schema": "{}"}, {}),
    ],
)
def test_tools_and_json_are_by_rule(fields, words):
    asked = [about(0, **fields)] * 2
    assert served(SemanticCache(**words), *asked) == ["", "exact"]
    assert served(SemanticCache(tools=False, json=False), *asked) == ["skipped"] * 2


def test_only_what_ends_with_the_users_words():
    for messages in (None, (), (Message("user", "about 0"), Message("assistant", "about"))):
        assert served(SemanticCache(), *[ask(messages=messages)] * 2) == ["skipped"] * 2


def test_an_answer_is_for_all_who_allow_as_many_tokens():
    asked = [about(0, max_tokens=most) for most in (100, 2, None, 1)]
    assert served(SemanticCache(), *asked, provider=Toy(["a", "b"])) == ["", "exact", "exact", ""]


def test_only_a_whole_answer_is_kept():
    async def script():
        cut = Lab(SemanticCache(), Toy(finish_reason="length"))
        assert await cut.served(about(0), about(0)) == ["", ""]
        broken = Lab(SemanticCache(), Toy(["x", StreamBroken()], 0.0))
        with pytest.raises(StreamBroken):
            await broken.ask(about(0))
        assert await broken.served(about(0), about(0)) == ["", "exact"]
        left = Lab(SemanticCache())
        response = await left.running.send(about(0))
        await anext(response)
        await response.aclose()
        assert await left.served(about(0)) == [""]

    play(script)


def test_what_is_saved_is_one_prompt_though_two_upstreams_made_it():
    async def script():
        first = Toy(["hel", StreamBroken(tokens_delivered=1)], name="a")
        lab = Lab(
            SemanticCache(), first, Toy(["lo"], name="b"), inside=(Fallback(order=("a", "b"), mid_stream="continue"),)
        )
        _, made = await lab.ask(about(0))
        assert made.usage.input_tokens == 20
        use, kept = await lab.ask(about(0))
        assert use.match == "exact"
        assert kept.usage == Usage(10, 2)
        assert [attempt.exchange.request.id for attempt in lab.attempts] == ["0/0/0"] * 2, "nothing is billed for it"

    play(script)
