"""A request that brings the beginning of its answer along gets the rest of it."""

import json

import pytest
from providers.sim.bench import play

from llmsim.distributions import Constant
from llmsim.providers.sim.spec import SimProvider
from llmsim.traffic.workload import JSON_ANSWER
from llmsim.types import Message

FAST = SimProvider(ttft=Constant(0.1), inter_token=Constant(0.01))


def _answers(*requests, tokens=20):
    async def script(bench):
        seen = []
        for number, (messages, fields) in enumerate(requests):
            request = bench.request(number, tokens=tokens)._replace(messages=messages, **fields)
            response = await bench.provider.send(request)
            text = await response.read()
            seen.append((text, response.usage.output_tokens, response.finish_reason))
        return seen

    return play(FAST, script)


@pytest.mark.parametrize("given", [1, 7, 19])
def test_the_parts_are_the_whole(given):
    question = Message("user", "count")
    begun = Message("assistant", ("tok " * given).rstrip())
    ((whole, *_), (rest, tokens, finish)) = _answers(((question,), {}), ((question, begun), {}))
    assert begun.content + " " + rest == whole
    assert (tokens, finish) == (20 - given, "stop")


def test_max_tokens_are_those_of_the_rest():
    begun = Message("assistant", "tok tok tok")
    (one,) = _answers(((begun,), {"max_tokens": 4}))
    assert one[1:] == (4, "length")
    (one,) = _answers(((begun,), {"max_tokens": 17}))
    assert one[1:] == (17, "stop")


def test_a_finished_answer_takes_one_more_token_to_say_so():
    begun = Message("assistant", "tok " * 30)
    assert _answers(((begun,), {}))[0][1:] == (1, "stop")


def test_json_goes_on_where_it_stopped():
    ((whole, *_),) = _answers(((Message("user", "?"),), {"response_schema": JSON_ANSWER}))
    assert json.loads(whole)
    begun = whole[:30]
    messages = (Message("user", "?"), Message("assistant", begun))
    ((rest, *_),) = _answers((messages, {"response_schema": JSON_ANSWER}))
    assert begun + rest == whole


def test_a_conversation_that_ends_with_the_user_is_none():
    messages = (Message("user", "a"), Message("assistant", "tok tok"), Message("user", "b"))
    assert _answers((messages, {}))[0][1] == 20
