"""``llmsim cache threshold``."""

import json


def test_a_threshold_of_one_library_on_the_scales_of_all(ask):
    answer = ask("cache", "threshold", "0.8", "--from", "gptcache")
    assert answer.exit_code == 0, answer.output
    assert "gptcache 0.8 is a cosine of 0.6; write semantic_cache: {threshold: 0.6}" in answer.stdout
    rows = {line.split()[0]: line.split()[1:] for line in answer.stdout.splitlines()[3:-2]}
    assert rows["redisvl"] == ["0.4", "<=", "1", "-", "cos", "0.1", "0.9"]
    assert rows["khazad"] == ["0.8", ">=", "(1", "+", "cos)", "/", "2", "0.9", "0.8"]
    assert rows["litellm"] == ["0.6", ">=", "cos", "none"]


def test_json_is_one_object_with_sources(ask):
    found = json.loads(ask("cache", "threshold", "0.92", "--json").stdout)
    assert found["cosine"] == 0.92
    by_name = {each["name"]: each for each in found["libraries"]}
    assert by_name["betterdb"]["value"] == 0.08
    assert all(each["source"] for each in found["libraries"])


def test_a_negative_cosine_is_no_threshold_of_ours(ask):
    answer = ask("cache", "threshold", "3", "--from", "squared-l2")
    assert "is a cosine of -0.5\n" in answer.stdout
    assert "write" not in answer.stdout


def test_bad_values_and_names(ask):
    for words, said in ((("3", "--from", "redisvl"), "outside"), (("0.5", "--from", "redis"), "unknown scale 'redis'")):
        answer = ask("cache", "threshold", *words)
        assert answer.exit_code == 2
        assert said in answer.stderr
