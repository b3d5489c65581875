"""JSON that can be used, or an error that says why not; what was asked again, and with what changed."""

import json

import pytest
from gateway.policies.toys import Toy, ask
from gateway.site import Site, play

import llmsim as ls
from llmsim.errors import BadOutput, BadRequest, StreamBroken
from llmsim.gateway.policies import Fallback, StructuredOutput
from llmsim.gateway.policies._answers import schema_check

SCHEMA = '{"type": "object", "required": ["answer"], "properties": {"answer": {"type": "string"}}}'
GOOD = ['{"answer":', ' "yes"}']


def question(number=0, schema=SCHEMA, **fields):
    return ask(number, response_schema=schema, input_tokens=20, **fields)


def kinds(site):
    return [kind for kind, _ in site.events]


def answer(toy, **settings):
    """(text or error, site) for one question."""

    async def script():
        site = Site([StructuredOutput(**settings)], toy)
        try:
            response = await site.running.send(question())
            return await response.read(), site
        except ls.GatewayError as error:
            return error, site

    return play(script)


def test_what_is_right_passes_whole_and_unchanged():
    async def script():
        toy = Toy(GOOD, gap_s=1.0)
        site = Site([StructuredOutput()], toy)
        response = await site.running.send(question())
        assert not toy.open_streams  # it was read: the first chunk comes with the last
        assert [chunk.text async for chunk in response] == ['{"answer": "yes"}']
        assert (response.upstream, response.model, response.finish_reason) == ("a", "a-model", "stop")
        assert (response.tokens_delivered, response.usage.output_tokens) == (2, 2)
        assert [attempt.won for attempt in site.attempts] == [True]
        assert not site.events

    play(script)


def test_without_a_schema_the_stream_passes_as_it_is():
    async def script():
        toy = Toy(["a", "b"], gap_s=1.0)
        site = Site([StructuredOutput()], toy)
        response = await site.running.send(ask())
        assert toy.open_streams
        assert [chunk.text async for chunk in response] == ["a", "b"]

    play(script)


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"answer": "yes"}\n```',
        'Here is what you asked for:\n\n{"answer": "yes"}\nAnything else?',
        '{"answer": "yes"',
        "{'answer': 'yes',}",
    ],
)
def test_repaired(text):
    found, site = answer(Toy([text]))
    assert json.loads(found) == {"answer": "yes"}
    assert kinds(site) == ["json_repaired"]
    assert len(site.attempts) == 1
    found, _ = answer(Toy([text]), repair=False, max_attempts=1)
    assert isinstance(found, BadOutput)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"answer": "ye', "it stops in the middle"),
        ('{"result": "yes"}', "does not fit the schema ($: 'answer' is a required property)"),
        ('{"answer": 7}', "does not fit the schema ($.answer: 7 is not of type 'string')"),
        ("The answer is yes.", "it is no JSON"),
        ("", "it is no JSON"),
        ('Sure: {"result": "yes"}', "repaired, it does not fit the schema"),
        ("[" * 100_000, "it stops in the middle"),
        ("[" * 100_000 + "]" * 100_000, "it cannot be repaired"),
    ],
)
def test_what_cannot_be_repaired_is_asked_for_again(text, error):
    found, site = answer(Toy([text], GOOD))
    assert found == '{"answer": "yes"}'
    assert kinds(site) == ["json_reasked"]
    assert error in site.events[0][1]["error"]
    assert [(attempt.cause, attempt.outcome, attempt.won) for attempt in site.attempts] == [
        ("first", "ok", False),
        ("retry", "ok", True),
    ]
    found, site = answer(Toy([text]), max_attempts=3)
    assert isinstance(found, BadOutput)
    assert error in str(found)
    assert "after 3 of 3 calls" in str(found)
    assert kinds(site) == ["json_reasked", "json_reasked", "json_unusable"]


def test_a_reask_says_what_was_wrong_with_the_latest_answer_only():
    async def script():
        toy = Toy(["nonsense"], ['{"answer": 7}'], GOOD)
        site = Site([StructuredOutput(max_attempts=3, temperature=0.0)], toy)
        await site.send(question(temperature=0.7))
        first, second, third = (request for _, request in toy.calls)
        assert (first.temperature, second.temperature) == (0.7, 0.0)
        assert [message.role for message in second.messages] == ["user", "assistant", "user"]
        assert second.messages[1].content == "nonsense"
        assert third.messages[:2] == (first.messages[0], ("assistant", '{"answer": 7}'))
        assert "7 is not of type 'string'" in third.messages[2].content
        assert len(third.messages) == 3
        complaint = len(second.messages[2].content) // 4
        assert second.input_tokens == 20 + 1 + complaint  # the answer had one token

    play(script)


def test_a_plain_reask_changes_nothing():
    async def script():
        toy = Toy(["nonsense"], GOOD)
        await Site([StructuredOutput(explain=False)], toy).send(question())
        (_, first), (_, second) = toy.calls
        assert first == second

    play(script)


def test_cut_at_max_tokens_is_neither_completed_nor_paid_for_twice():
    for text in ('{"answer": "y', '{"answer": "yes"', "[1, 2"):
        found, site = answer(Toy([text], finish_reason="length"), max_attempts=5)
        assert isinstance(found, BadOutput)
        assert "at max_tokens" in str(found)
        assert len(site.attempts) == 1
    found, _ = answer(Toy(['{"answer": "yes"} And', " by the"], finish_reason="length"))
    assert found == '{"answer": "yes"}'  # what was cut is not the JSON


def test_a_refusal_is_none_of_the_schemas_business():
    found, _ = answer(Toy(['I will not write {"answer": "yes"}'], finish_reason="refusal"), max_attempts=1)
    assert "refused" in str(found)


def test_a_fallback_outside_can_ask_another_model():
    async def script():
        policies = [Fallback(order=("a", "b"), on=("bad_output",)), StructuredOutput(max_attempts=1)]
        site = Site(policies, Toy(["nonsense"]), Toy(GOOD, name="b"))
        assert (await site.send(question())).upstream == "b"

    play(script)


def test_a_stream_that_breaks_is_not_bad_output():
    found, site = answer(Toy(["{", StreamBroken()]))
    assert isinstance(found, StreamBroken)
    assert not site.events


def test_a_caller_who_leaves_closes_what_is_being_read():
    import asyncio

    async def script():
        toy = Toy(GOOD, gap_s=5.0)
        site = Site([StructuredOutput()], toy)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await site.running.send(question())
        assert not toy.open_streams
        assert [attempt.outcome for attempt in site.attempts] == ["cancelled"]

    play(script)


@pytest.mark.parametrize("schema", ["nonsense", '{"type": "objekt"}'])
def test_a_schema_that_is_none_is_the_callers_mistake_and_costs_nothing(schema):
    async def script():
        toy = Toy(GOOD)
        with pytest.raises(BadRequest, match="no JSON Schema"):
            await Site([StructuredOutput()], toy).send(question(schema=schema))
        assert not toy.calls

    play(script)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_attempts": 0}, "write 1 for no re-ask"),
        ({"temperature": 3.0}, "temperature must be 0 to 2"),
        ({"temperature": 0.5, "max_attempts": 1}, "there are none"),
    ],
)
def test_nonsense_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        StructuredOutput(**fields)


def test_a_schema_makes_nobody_fetch_an_address(monkeypatch):
    asked = []

    def urlopen(*args, **options):
        asked.append(args)
        raise OSError("no network here")

    monkeypatch.setattr("urllib.request.urlopen", urlopen)
    check = schema_check('{"$ref": "http://localhost:9/schema.json"}')
    with pytest.raises(BadRequest, match="refers to"):
        check({})
    assert asked == []
