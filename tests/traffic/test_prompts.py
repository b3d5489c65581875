"""Logs of prompts: what can be read, what is said about what cannot, and what arrivals ask then."""

import numpy as np
import pytest

import llmsim
from llmsim.errors import ScenarioError
from llmsim.luck import Luck
from llmsim.traffic.arrivals import BLOCK
from llmsim.traffic.prompts import PromptMeanings, read_prompts
from llmsim.traffic.spec import Topics, Traffic, Zipf
from llmsim.traffic.workload import Workload
from llmsim.units import BadValue


def written(tmp_path, text, name="log.csv"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def test_csv_and_jsonl_say_the_same(tmp_path):
    table = written(
        tmp_path,
        "\ufeffPrompt,Category,count,time_s,tenant\n"
        '"a, b\n\nc",one,2,9,x\nlost card,two,1,3,y\n\n"a, b\n\nc",one,1,5,x\n',
    )
    lines = written(
        tmp_path,
        '{"text": "a, b\\n\\nc", "label": "one", "count": 2, "time_s": 9, "tenant": "x"}\n'
        '{"text": "lost card", "label": "two", "time_s": "3", "tenant": "y"}\n\n'
        '{"text": "a, b\\n\\nc", "label": "one", "count": 1, "time_s": 5, "tenant": "x", "more": [1]}\n',
        "log.jsonl",
    )
    for path in (table, lines):
        log = read_prompts(path)
        assert log.texts == ("a, b\n\nc", "lost card")
        assert log.labels == ("one", "two")
        assert log.answer.tolist() == [0, 1]
        assert log.count.tolist() == [3, 1]
        assert log.rows.tolist() == [1, 0, 0], "by time"
        assert log.tenants == ("y", "x", "x")
        assert log.counted
        assert log.labelled


def test_a_text_with_two_intents_has_the_first_and_is_counted(tmp_path):
    log = read_prompts(written(tmp_path, "text,intent\na,\na,one\nb,two\na,two\n"))
    assert log.answer.tolist() == [0, 1]
    assert log.contradictions == 1


def test_other_names_of_columns(tmp_path):
    path = written(tmp_path, "question,kind\nwhere,x\n")
    assert read_prompts(path, text="question", label="kind").labels == ("x",)
    with pytest.raises(ScenarioError, match="there is no column nonsense; there are question, kind"):
        read_prompts(path, text="question", label="nonsense")


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("text", "said", "line"),
    [
        ("", "the file is empty", None),
        ("text,intent\n", "there are no prompts", None),
        ("question,intent\nwhere,x\n", "no column text; there are question, intent", 1),
        ("text,intent\na,x\nb, c,x\n", "3 values for 2 columns", 3),
        ('text,intent\n"a\n\nb",x\n  ,x\n', "there is no prompt", 5),
        ("text,count\na,1\nb,1.5\n", "count '1.5' is no number of times", 3),
        ("text,count\na,0\n", "count '0'", 2),
        ("text,time_s\na,nan\n", "time_s 'nan' is no number of seconds", 2),
        ("text,time_s\na,1\nb,\n", "time_s ''", 3),
        ('{"text": "a"}\n{"text": "b"\n', "no JSON object", 2),
        ('{"text": "a"}\n{"text": 7}\n', "there is no prompt", 2),
        ('text,intent\n"a,x\nb,y\n', "no CSV", 3),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_line(tmp_path, text, said, line):
    with pytest.raises(ScenarioError) as caught:
        read_prompts(written(tmp_path, text))
    assert said in caught.value.problems[0].message
    assert caught.value.problems[0].line == line


def test_all_bad_lines_are_told_and_many_of_them_counted(tmp_path):
    with pytest.raises(ScenarioError) as caught:
        read_prompts(written(tmp_path, "text,count\n" + "a,x\n" * 30))
    assert len(caught.value.problems) == 21
    assert "10 more" in caught.value.problems[-1].message


def test_bytes_that_are_no_text_and_files_that_are_not_there(tmp_path):
    (tmp_path / "log.csv").write_bytes(b"text\n\xff\xfe\x00")
    with pytest.raises(ScenarioError, match="UTF-8"):
        read_prompts(tmp_path / "log.csv")
    with pytest.raises(ScenarioError, match=r"no such file[\s\S]*log\.csv"):
        read_prompts(tmp_path / "lgo.csv")


@pytest.fixture
def counted(tmp_path):
    return str(written(tmp_path, "text,intent,count,tenant\n" + "".join(f"t{n},i,{2**n},c{n}\n" for n in range(6))))


def asked(topics, count=8 * BLOCK, seed=1):
    meanings = PromptMeanings(topics, Luck(seed))
    return np.concatenate([meanings.block(number) for number in range(count // BLOCK)])


def test_in_turn(counted):
    assert asked(Topics(prompts=counted, order="file"))[:8].tolist() == [0, 1, 2, 3, 4, 5, 0, 1]


def test_by_count(counted):
    shares = np.bincount(asked(Topics(prompts=counted, order="count")), minlength=6) / (8 * BLOCK)
    expected = 2.0 ** np.arange(6) / 63
    assert np.all(np.abs(shares - expected) < 5 * np.sqrt(expected / (8 * BLOCK)))


def test_by_zipf_over_an_order_of_each_replication(counted):
    topics = Topics(prompts=counted, zipf=Zipf(s=1.2))
    drawn = [np.bincount(asked(topics, seed=seed), minlength=6) for seed in range(12)]
    mass = np.arange(1, 7.0) ** -1.2
    expected = mass / mass.sum()
    for counts in drawn:
        shares = np.sort(counts)[::-1] / (8 * BLOCK)
        assert np.all(np.abs(shares - expected) < 5 * np.sqrt(expected / (8 * BLOCK)))
    assert len({int(counts.argmax()) for counts in drawn}) > 2, "the most popular one is not always the same"


def test_requests_are_the_very_words_whoever_asks_first(counted):
    traffic = Traffic(base_rate=1.0, topics=Topics(prompts=counted, order="file"))
    workload = Workload(traffic, Luck(1))
    late, _ = workload(3000)
    first, _ = workload(0)
    assert (first.messages[0].content, first.tenant) == ("t0", "c0")
    assert (late.messages[0].content, late.tenant) == (f"t{3000 % 6}", f"c{3000 % 6}")
    assert Workload(traffic, Luck(1))(3000)[0] == late
    drawn = Workload(Traffic(base_rate=1.0, topics=Topics(prompts=counted)), Luck(1))(0)[0]
    assert drawn.tenant == "", "what is drawn by popularity is nobody's own row"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"order": "file"}, "write prompts: FILE"),
        ({"prompts": " "}, "name of the file is empty"),
        ({"prompts": "p.csv", "traps": 0.03}, "traps and all; remove it"),
        ({"prompts": "p.csv", "paraphrases": 0.1}, "paraphrases and all"),
        ({"prompts": "p.csv", "zipf": Zipf(unique=50)}, "as many as p.csv has"),
        ({"prompts": "p.csv", "zipf": Zipf(s=0.8), "order": "count"}, "does not go by popularity"),
    ],
)
def test_words_without_an_effect_are_refused(words, said):
    with pytest.raises(BadValue, match=said):
        Topics(**words)


def test_a_scenario_names_its_file_relative_to_itself(tmp_path, counted):
    scenario = tmp_path / "s.yaml"
    text = "version: 1\ntraffic: {base_rate: 1/s, topics: {prompts: NAME}}\nproviders: {openai: {}}\n"
    scenario.write_text(text.replace("NAME", "log.csv"), encoding="utf-8")
    assert llmsim.load(scenario).traffic.topics.prompts == counted
    scenario.write_text(text.replace("NAME", "lgo.csv"), encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"Did you mean .*log\.csv") as caught:
        llmsim.load(scenario)
    assert caught.value.problems[0].line == 2
