"""What is said in a session: prompts by hand and against a prompt that is written out, counts, and addresses."""

import math
from dataclasses import replace
from itertools import takewhile

import numpy as np
import pytest
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from llmsim.distributions import Constant, Exponential, Geometric, Lognormal, Uniform
from llmsim.luck import Luck
from llmsim.traffic.sessions import Agent, Documents, Session, Window
from llmsim.traffic.spec import Route, Topics, Traffic, Zipf
from llmsim.traffic.workload import Workload
from llmsim.units import BadValue

COUNT = 2048
CHAT = Route(
    input_tokens=Constant(50), system_tokens=100, session=Session(turns=Constant(5), think_time=Exponential(10.0))
)
AGENT = Route(
    input_tokens=Constant(50), output_tokens=Constant(20), agent=Agent(steps=Constant(4), growth=Constant(300))
)


def workload(*routes, seed=1, now=0.0, **traffic):
    return Workload(Traffic(base_rate=1.0, mix=routes, **traffic), Luck(seed), now=lambda: now)


def played(route, answers, **more):
    """(input tokens, shared tokens) of each step of arrival 0, given how long the answers were (None: a failure)."""
    request, truth = workload(route, **more)(0)
    session = truth.session
    found = [(request.input_tokens, truth.shared_tokens)]
    for answer in answers:
        if session.after("ok" if answer is not None else "server_error", answer or 0):
            break
        request, truth = session.ask()
        found.append((request.input_tokens, truth.shared_tokens))
    return found


def near(share, expected, count=COUNT):
    return abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / count)


# -- prompts by hand -------------------------------------------------------------------------------------------------


def test_a_prompt_holds_what_was_said_before():
    # 100 system + 50; then + 7 answered + 50; then + 30 answered + 50; …
    assert played(CHAT, [7, 30, 1]) == [(150, 100), (207, 150), (287, 207), (338, 287)]


def test_a_later_request_is_like_the_first_but_for_what_is_said():
    route = replace(CHAT, max_tokens=9, tenant="t", feature="f", priority=3, stream=False, expects="json")
    first, truth = workload(route)(12)
    truth.session.after("ok", 7)
    later, later_truth = truth.session.ask()
    assert later == first._replace(id="12/1/0", messages=later.messages, input_tokens=207)
    assert later.messages[0] == first.messages[0] and len(later.messages) == 3
    assert (later_truth.index, later_truth.step, later_truth.retry) == (12, 1, 0)
    assert later_truth.again().shared_tokens == later_truth.shared_tokens == 150
    assert later_truth.again().session is truth.session


def test_a_window_leaves_out_the_oldest_turns_and_with_them_what_was_shared():
    route = replace(CHAT, session=replace(CHAT.session, context=Window(window=300)))
    # The fourth would be 338: without the first turn (57) 281. The fifth would be 381: without the second (80) 301, …
    assert played(route, [7, 30, 1, 50]) == [(150, 100), (207, 150), (287, 207), (281, 100), (250, 100)]


def test_a_window_never_cuts_the_newest_message():
    route = replace(CHAT, session=replace(CHAT.session, context=Window(window=120)))
    assert played(route, [7, 30]) == [(150, 100), (150, 100), (150, 100)]


def test_without_context_every_turn_stands_alone():
    route = replace(CHAT, session=replace(CHAT.session, context="none"))
    assert played(route, [7, 30]) == [(150, 100), (150, 100), (150, 100)]


def test_an_agent_adds_its_calls_and_their_results():
    assert played(AGENT, [20, 20, 20, 20]) == [(50, 0), (370, 50), (690, 370), (1010, 690)]


def test_an_agent_stops_at_an_error_or_asks_the_same_again():
    assert played(AGENT, [20, None, 20]) == [(50, 0), (370, 50)]
    stubborn = replace(AGENT, agent=replace(AGENT.agent, on_error="again"))
    assert played(stubborn, [20, None, 20, 20]) == [(50, 0), (370, 50), (370, 370), (690, 370)]
    _, truth = workload(stubborn)(0)
    ends = [truth.session.after("server_error", 0) for _ in range(4)]
    assert ends == ["", "", "", "failed"], "its steps are used up"


def test_documents_are_part_of_the_prompt_and_the_template_comes_first():
    route = Route(
        input_tokens=Constant(200),
        output_tokens=Constant(50),
        system_tokens=40,
        documents=Documents(number=Constant(10), tokens=Constant(750), template=260),
    )
    request, truth = workload(route)(7)
    assert (request.input_tokens, truth.shared_tokens, truth.session) == (8000, 300, None)
    session = replace(route, session=Session(turns=Constant(3)))
    # Looked up anew for every turn: behind the past, which is therefore all that stays where it was.
    assert played(session, [30, 60]) == [(8000, 300), (8230, 300), (8490, 530)]
    assert workload(session)(0)[1].session.fixed_tokens == 300


@pytest.mark.slow
def test_the_number_and_size_of_documents_are_drawn_for_each_request():
    documents = Documents(number=Uniform(-0.5, 6.5), tokens=Exponential(300.0))
    route = Route(input_tokens=Constant(1), documents=documents, session=Session(turns=Constant(2)))
    first, later = [], []
    source = workload(route)
    for index in range(COUNT):
        request, truth = source(index)
        first.append(request.input_tokens - 1)
        truth.session.after("ok", 1)
        later.append(truth.session.ask()[0].input_tokens - 3)
    for tokens in (np.array(first), np.array(later)):
        assert near((tokens == 0).mean(), 1 / 7, len(tokens))
        # 0 to 6 documents: mean 3, variance 4. One: mean 300, cv 1.
        error = math.sqrt((3 * 300**2 + 4 * 300**2) / len(tokens))
        assert abs(tokens.mean() - 900) < 4 * error + 1
    assert abs(np.corrcoef(first, later)[0, 1]) < 4 / math.sqrt(len(first)), (
        "one turn's documents say nothing of the next's"
    )


@pytest.mark.parametrize("days", [-1.0, 0.0, 0.5, 10.0, 100.0])
def test_prompts_drift_by_the_day(days):
    route = Route(
        input_tokens=Constant(200),
        system_tokens=1000,
        documents=Documents(number=Constant(2), tokens=Constant(500), template=100),
        prompt_drift=0.02,
    )
    request, truth = workload(route, now=days * 86400)(3)
    grown = [round(part * 1.02**days) for part in (200, 1000, 1100)]
    assert request.input_tokens == sum(grown)
    assert truth.shared_tokens == grown[2]
    assert truth.output_tokens == 100, "what the model answers does not drift"


def test_only_routes_that_say_so_tell_a_prompt_cache_what_is_shared():
    assert workload(Route())(0)[1].shared_tokens is None
    assert workload(Route(prompt_drift=0.02))(0)[1].shared_tokens is None
    assert workload(Route(system_tokens=7))(0)[1].shared_tokens == 7
    assert workload(Route(documents=Documents()))(0)[1].shared_tokens == 0
    assert workload(AGENT)(0)[1].shared_tokens == 0


def test_a_session_keeps_the_lengths_of_the_day_it_began():
    found = played(replace(CHAT, prompt_drift=0.05), [7, 30], now=10 * 86400.0)
    system, message = round(100 * 1.05**10), round(50 * 1.05**10)
    assert found == [
        (system + message, system),
        (system + 2 * message + 7, system + message),
        (system + 3 * message + 37, system + 2 * message + 7),
    ]


# -- prompts written out ---------------------------------------------------------------------------------------------

lengths = st.integers(1, 40)


@settings(max_examples=examples(70), deadline=None)
@given(
    st.data(),
    st.lists(st.one_of(st.integers(0, 60), st.none()), min_size=1, max_size=9),
    st.one_of(st.just("grow"), st.just("none"), st.builds(Window, window=st.integers(1, 300))),
    st.booleans(),
    st.booleans(),
)
def test_prompts_and_shared_prefixes_are_those_of_a_prompt_written_out(data, answers, context, agent, looks_up):
    """An oracle that keeps every token by name, cuts whole turns, and compares prompts token by token."""
    steps = len(answers) + 1
    ongoing = (
        {"agent": Agent(steps=Constant(steps), growth=Uniform(1, 40), on_error="again", context=context)}
        if agent
        else {"session": Session(turns=Constant(steps), context=context)}
    )
    documents = Documents(number=Uniform(0, 3), tokens=Uniform(1, 20), template=5) if looks_up else None
    system = data.draw(st.integers(0, 30))
    route = Route(input_tokens=Uniform(1, 40), system_tokens=system, documents=documents, **ongoing)
    request, truth = workload(route, seed=data.draw(st.integers(0, 50)))(0)
    session, script = truth.session, truth.session._script
    fixed = [("fixed", n) for n in range(system + (5 if looks_up else 0))]
    past, asked, before = [], 0, []

    for answer in [*answers, None]:
        message = [("message", asked, n) for n in range(script.message_tokens[asked])]
        found = [("document", asked, n) for n in range(script.document_tokens[asked])]
        if isinstance(context, Window):
            while past and len(fixed) + sum(map(len, past)) + len(found) + len(message) > context.window:
                past.pop(0)
        prompt = [*fixed, *(token for turn in past for token in turn), *found, *message]
        assert request.input_tokens == len(prompt)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(prompt, before, strict=False)))
        assert truth.shared_tokens == (same if before else len(fixed))
        assert len(request.messages) == 2 * len(past) + 1
        before = prompt
        if session.step + 1 == steps or (answer is None and not agent):
            assert session.after("ok" if answer is not None else "timeout", answer or 0)
            return
        assert session.after("ok" if answer is not None else "timeout", answer or 0) == ""
        if answer is not None:
            if context != "none":
                past.append([*message, *(("answer", asked, n) for n in range(answer))])
            asked = session.step
        request, truth = session.ask()


# -- how many --------------------------------------------------------------------------------------------------------


def steps_of(route, count=COUNT):
    source = workload(route)
    return np.array([source(index)[1].session.steps for index in range(count)])


def test_turns_have_their_distribution():
    assert set(steps_of(CHAT, 100)) == {5}
    turns = steps_of(replace(CHAT, session=Session(turns=Geometric(3.5))))
    assert abs(turns.mean() - 3.5) < 4 * math.sqrt(3.5 * 2.5 / COUNT)
    for k in (1, 2, 5):
        assert near((turns == k).mean(), (1 / 3.5) * (1 - 1 / 3.5) ** (k - 1))
    assert steps_of(replace(CHAT, session=Session(turns=Constant(0))), 10).tolist() == [1] * 10


def test_as_many_agents_run_away_as_it_says():
    spec = Agent(steps=Uniform(0.5, 5.5), growth=Constant(1), runaway=0.03, runaway_steps=60)
    steps = steps_of(replace(AGENT, agent=spec))
    assert set(steps) == {1, 2, 3, 4, 5, 60}
    assert near((steps == 60).mean(), 0.03)
    tame = steps_of(replace(AGENT, agent=replace(spec, runaway=0.0)))
    assert np.array_equal(tame[steps < 60], steps[steps < 60]), "who loops is not decided by the number of steps"
    _, truth = workload(replace(AGENT, agent=spec))(int(np.flatnonzero(steps == 60)[0]))
    session, usual = truth.session, int(tame[np.flatnonzero(steps == 60)[0]])
    loops = []
    while not (end := session.after("ok", 20)):
        loops.append(session.begins_to_loop)
    assert (loops.index(True) + 1, sum(loops), end) == (usual, 1, "ran_away")


def test_a_runaway_cap_below_what_the_task_needs_shortens_nothing():
    assert set(steps_of(replace(AGENT, agent=replace(AGENT.agent, runaway=1.0, runaway_steps=2)), 50)) == {4}


def test_a_route_is_a_person_or_a_program():
    with pytest.raises(BadValue, match="remove session or agent"):
        Route(session=Session(), agent=AGENT.agent)
    with pytest.raises(BadValue, match="write at most 10,000"):
        Agent(steps=Constant(1), growth=Constant(1), runaway_steps=10_001)


def test_patience_is_the_routes_if_it_says_so_and_an_agents_is_endless():
    hasty = Route(route="hasty", patience=Constant(3.0))
    calm = Route(route="calm", patience="endless")
    tired = replace(AGENT, route="tired", patience=Constant(60.0))
    source = workload(Route(), hasty, calm, replace(AGENT, route="agent"), tired, patience=Constant(20.0))
    rows = [source(index) for index in range(200)]
    patience = {request.route: truth.patience_s for request, truth in rows}
    assert patience == {"default": 20.0, "hasty": 3.0, "calm": math.inf, "agent": math.inf, "tired": 60.0}
    assert workload(CHAT)(0)[1].session.ask()[1].patience_s == math.inf


# -- addresses -------------------------------------------------------------------------------------------------------

ANY = Route(
    route="any",
    input_tokens=Lognormal(p50=50, p99=500),
    output_tokens=Exponential(80.0),
    documents=Documents(number=Uniform(0, 4), tokens=Exponential(90.0)),
    session=Session(turns=Geometric(4.0), think_time=Exponential(5.0), suggested=0.5),
)


def script_of(index, *routes, **more):
    return workload(*routes, **more)(index)[1].session._script


def test_a_script_depends_on_its_number_alone():
    source = workload(ANY)
    forwards = [source(index)[1].session._script for index in range(1100)]
    again = workload(ANY)
    for index in (1099, 5, 1024, 1023, 0):
        assert again(index)[1].session._script == forwards[index]
    assert script_of(0, ANY, seed=2) != forwards[0]
    # Neighbours, and steps of one session, have luck of their own.
    assert len({tuple(one.pauses_s) for one in forwards}) == len(forwards)
    outputs = np.array([one.output_tokens[:4] for one in forwards if len(one.output_tokens) >= 4])
    assert np.abs(np.corrcoef(outputs.T) - np.eye(4)).max() < 5 / math.sqrt(len(outputs))


def test_more_turns_or_other_words_shift_nothing():
    longer = replace(ANY, session=replace(ANY.session, turns=Constant(30)))
    for index in (0, 1, 7, 1030):
        short, long = script_of(index, ANY), script_of(index, longer)
        count = len(short.message_tokens)
        for one, other in zip(short[1:6], long[1:6], strict=True):
            assert one == other[:count]
    bare = script_of(3, replace(ANY, documents=None))
    assert bare.message_tokens == script_of(3, ANY).message_tokens
    assert bare.output_tokens == script_of(3, ANY).output_tokens


def test_a_plain_route_is_what_it_was_beside_one_with_sessions():
    plain = Route(route="plain", input_tokens=Lognormal(p50=50, p99=500))
    alone, beside = workload(plain, replace(plain, route="any")), workload(plain, ANY)
    for index in range(500):
        (one, truth), (other, other_truth) = alone(index), beside(index)
        if other.route == "plain":
            assert one == other
            assert (truth.output_tokens, truth.session) == (other_truth.output_tokens, None)


# -- words -----------------------------------------------------------------------------------------------------------


def conversation(index, route, answers, **more):
    """The messages of every step."""
    request, truth = workload(route, **more)(index)
    found = [request.messages]
    for answer in answers:
        truth.session.after("ok", answer)
        request, truth = truth.session.ask()
        found.append(request.messages)
    return found


ONE_TOPIC = {"topics": Topics(zipf=Zipf(unique=1), paraphrases=0.0)}


def test_the_first_prompt_of_a_topic_is_equal_and_follow_ups_are_peoples_own():
    one, other = (conversation(index, CHAT, [7, 7], **ONE_TOPIC) for index in (1, 2))
    assert one[0] == other[0]
    assert one[1] != other[1] and one[2] != other[2]


def test_equal_conversations_have_equal_prompts_and_only_these():
    route = replace(CHAT, session=replace(CHAT.session, suggested=1.0))
    one = conversation(1, route, [7, 30, 9], **ONE_TOPIC)
    assert one == conversation(2, route, [7, 30, 9], **ONE_TOPIC)
    assert len(set(one)) == len(one)
    other = conversation(2, route, [7, 31, 9], **ONE_TOPIC)
    assert [a == b for a, b in zip(one, other, strict=True)] == [True, True, False, False], "another answer was given"
    elsewhere = conversation(1, replace(route, route="elsewhere"), [7, 30, 9], **ONE_TOPIC)
    assert not set(one) & set(elsewhere)


@pytest.mark.parametrize("context", ["none", Window(window=200)])
def test_a_prompt_that_forgot_the_beginning_still_says_what_it_was_about(context):
    route = replace(CHAT, session=replace(CHAT.session, suggested=1.0, context=context))
    topics = {"topics": Topics(zipf=Zipf(s=0.0, unique=1000), paraphrases=0.0)}
    one, other = (conversation(index, route, [7, 30, 9], **topics) for index in (1, 2))
    assert not set(one) & set(other)


def test_the_words_of_a_long_chain_stay_short():
    loop = replace(AGENT, agent=replace(AGENT.agent, runaway=1.0, runaway_steps=200))
    last = conversation(5, loop, [20] * 199)[-1]
    assert len(last) == 399
    assert max(len(message.content) for message in last) < 60
