"""What arrivals mean: addressed, shared between questions, said in usual, own and finite words; and traps."""

import math

import numpy as np
import pytest
from scipy.special import ndtri

from llmsim.luck import Luck
from llmsim.traffic import meanings as module
from llmsim.traffic.arrivals import BLOCK
from llmsim.traffic.meanings import OWN_WORDS, TRAP, USUAL_WORDS, Meanings
from llmsim.traffic.similarity import similarity_tables
from llmsim.traffic.topics import Topics, TrapKinds, Traps, Zipf

COUNT = 20 * BLOCK


def asked(seed=1, **topics):
    return Meanings(Topics(**topics), Luck(seed))


def columns(meanings, blocks=20):
    """All fields of many arrivals, as arrays by name."""
    parts = [meanings.block(number) for number in range(blocks)]
    return {name: np.concatenate([getattr(part, name) for part in parts]) for name in parts[0]._fields}


def near(share, expected, count):
    return abs(share - expected) < 4 * math.sqrt(expected * (1 - expected) / count) + 1e-9


MANY = {"zipf": Zipf(unique=300), "meanings": 40, "paraphrases": 0.4, "phrasings": 5, "traps": 0.1}


# -- addressed ---------------------------------------------------------------------------------------------------------


def test_a_meaning_does_not_depend_on_who_asks_first():
    one, other = asked(**MANY), asked(**MANY)
    indices = [5, 4000, 1024, 1023, 77_777, 0]
    told = [one(index) for index in indices]
    assert [other(index) for index in reversed(indices)] == told[::-1]
    assert one(5) == tuple(column[5] for column in one.block(0))
    assert [asked(2, **MANY)(index) for index in indices] != told


def test_what_a_block_forgot_is_drawn_again(monkeypatch):
    monkeypatch.setattr(module, "_MOST_BLOCKS", 3)
    meanings = asked(**MANY)
    before = [meanings(number * BLOCK + 7) for number in range(12)]
    assert len(meanings._blocks) == 3
    assert [meanings(number * BLOCK + 7) for number in range(12)] == before


def test_an_arrival_takes_no_more_memory_than_is_said():
    assert sum(column.itemsize for column in asked().block(0)) == 56


@pytest.mark.parametrize(
    "change",
    [{"traps": 0.3}, {"similarity": "clinc150"}, {"phrasings": None}, {"meanings": None}, {"zipf": Zipf(unique=900)}],
)
def test_a_word_changes_only_what_it_is_about(change):
    """The others keep their luck: two scenarios that differ in one word can be compared arrival by arrival."""
    before, after = columns(asked(**MANY)), columns(asked(**(MANY | change)))
    plain = (before["kind"] == USUAL_WORDS) & (after["kind"] == USUAL_WORDS)
    assert plain.mean() > 0.3
    if "zipf" not in change:
        assert (before["topic"] == after["topic"]).all()
        assert (before["same_luck"] == after["same_luck"])[plain].all()
    if "traps" not in change:
        assert (before["kind"] == after["kind"]).all()
    if not change.keys() & {"meanings", "zipf", "similarity"}:
        assert (before["answer"] == after["answer"])[plain].all()


# -- questions and their meanings --------------------------------------------------------------------------------------


def test_without_meanings_each_question_has_its_own():
    told = columns(asked(zipf=Zipf(unique=50), paraphrases=0.5))
    assert (told["answer"] == told["topic"]).all()


def test_questions_share_meanings_as_unevenly_as_in_the_corpus():
    sizes = np.array(similarity_tables("banking77").sizes)
    questions = 20_000
    counts = np.bincount(asked(zipf=Zipf(unique=questions), meanings=77)._answers, minlength=77)
    assert counts.min() > 0
    assert len(counts) == 77
    expected = np.sqrt((sizes.std() / sizes.mean()) ** 2 + 77 / questions)  # the corpus's spread, and that of counting
    assert counts.std() / counts.mean() == pytest.approx(expected, rel=0.1)
    even = np.bincount(asked(zipf=Zipf(unique=questions), meanings=77, similarity="clinc150")._answers, minlength=77)
    assert even.std() / even.mean() < 0.1


def test_a_question_always_has_the_same_meaning():
    told = columns(asked(**MANY))
    plain = told["kind"] < TRAP
    pairs = set(zip(told["topic"][plain].tolist(), told["answer"][plain].tolist(), strict=True))
    assert len(pairs) == len({topic for topic, _ in pairs})
    assert len({answer for _, answer in pairs}) == 40


# -- words -------------------------------------------------------------------------------------------------------------


def test_equal_words_are_equal_phrases_with_equal_luck():
    meanings = asked(**MANY)
    told = columns(meanings)
    texts = [text for block in range(20) for text in meanings.texts(block * BLOCK)]
    by_text, by_phrase = {}, {}
    for at, (text, phrase) in enumerate(zip(texts, told["phrase"].tolist(), strict=True)):
        everything = (phrase, *(told[name][at] for name in ("same_luck", "other_luck", "trap_luck", "topic", "answer")))
        assert by_text.setdefault(text, everything) == everything
        assert by_phrase.setdefault(phrase, text) == text
    assert len(by_text) < 300 * 6 + COUNT * 0.11


def test_own_words_are_new_each_time_or_some_of_a_few():
    never, few = columns(asked(**(MANY | {"phrasings": None}))), columns(asked(**MANY))
    own = never["kind"] == OWN_WORDS
    assert near(own.mean(), 0.4 * 0.9, COUNT)
    assert len(set(never["phrase"][own].tolist())) == own.sum()
    top = own & (few["topic"] == 0)
    _, counts = np.unique(few["phrase"][top], return_counts=True)
    assert len(counts) == 5
    assert all(near(count / top.sum(), 0.2, top.sum()) for count in counts)


def test_luck_is_uniform_and_the_two_similarities_of_a_phrase_go_together():
    told = columns(asked(paraphrases=1.0))
    for name in ("same_luck", "other_luck", "trap_luck"):
        u = np.sort(told[name])
        distance = np.abs(u - (np.arange(COUNT) + 0.5) / COUNT).max()
        assert distance < 1.95 / math.sqrt(COUNT), f"{name}: KS at one in a thousand"
        assert 0 < u[0] < u[-1] < 1
    scores = ndtri([told["same_luck"], told["other_luck"], told["trap_luck"]])
    correlation = np.corrcoef(scores)
    tolerance = 4 / math.sqrt(COUNT)
    assert correlation[0, 1] == pytest.approx(0.25, abs=tolerance), "as on banking77"
    assert abs(correlation[0, 2]) < tolerance
    clinc = ndtri(
        [columns(asked(paraphrases=1.0, similarity="clinc150"))[name] for name in ("same_luck", "other_luck")]
    )
    assert np.corrcoef(clinc)[0, 1] == pytest.approx(0.27, abs=tolerance)


# -- traps -------------------------------------------------------------------------------------------------------------


def test_traps_have_their_share_and_their_kinds():
    kinds = TrapKinds(negation=0.3, number=0.6, scope=0.1)
    told = columns(asked(traps=Traps(share=0.2, kinds=kinds)))
    trap = told["kind"] >= TRAP
    assert near(trap.mean(), 0.2, COUNT)
    for number, share in enumerate(kinds.shares):
        assert near((told["kind"][trap] == TRAP + number).mean(), share, trap.sum())
    even = columns(asked(traps=0.2))["kind"]
    assert all(near((even == TRAP + number).mean(), 0.05, COUNT) for number in range(4))


def test_a_trap_is_asked_once_and_has_an_answer_of_its_own():
    told = columns(asked(**MANY))
    trap = told["kind"] >= TRAP
    assert len(set(told["phrase"][trap].tolist())) == trap.sum()
    assert not set(told["answer"][trap].tolist()) & set(told["answer"][~trap].tolist())
