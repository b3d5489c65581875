"""``llmsim cache fit``."""

import json

import pytest
from made_prompts import embedder_of, made_vectors, write_csv

from llmsim.stores import prompts as stores


@pytest.fixture(scope="module")
def corpus():
    return made_vectors(intents=16, each=40)


@pytest.fixture(autouse=True)
def model(monkeypatch, corpus):
    monkeypatch.setattr(stores, "embed_prompts", embedder_of(*corpus))


QUICK = ("--streams", "2", "--requests", "500", "--capacity", "100", "--no-progress")


@pytest.mark.slow
def test_it_fits_and_writes(ask, corpus, tmp_path):
    file, out = write_csv(tmp_path / "log.csv", corpus[1]), tmp_path / "own.json"
    answer = ask("cache", "fit", file, "--out", out, "--no-check", "--no-progress")
    assert answer.exit_code == 0, answer.output
    assert "640 prompts, 640 different, 16 intents" in answer.stdout
    assert f"similarity: {out}" in answer.stdout
    assert set(json.loads(out.read_text())) >= {"levels", "same", "other", "correlation", "sizes"}


@pytest.mark.slow
def test_it_fits_says_how_well_and_writes(ask, corpus, tmp_path):
    file, out = write_csv(tmp_path / "log.csv", corpus[1]), tmp_path / "own.json"
    answer = ask("cache", "fit", file, "--out", out, *QUICK)
    assert answer.exit_code == 0, answer.output
    for words in ("640 prompts, 640 different, 16 intents", "None is asked twice", "near duplicates", "KS", "0.95"):
        assert words in answer.stdout
    rows = [line.split() for line in answer.stdout.splitlines() if line.startswith("     0.")]
    assert [row[0] for row in rows] == ["0.70", "0.75", "0.80", "0.85", "0.88", "0.90", "0.92", "0.95"]
    assert all(0 < float(row[1]) <= 1 and abs(float(row[1]) - float(row[2])) < 0.2 for row in rows)
    data = json.loads(out.read_text())
    assert data["same"]["8"] == sorted(data["same"]["8"])
    assert "log.csv" in data["source"]


@pytest.mark.slow
def test_without_intents_it_says_what_cannot_be_known_and_writes_nothing(ask, corpus, tmp_path):
    file, out = write_csv(tmp_path / "log.csv", corpus[1], labelled=False), tmp_path / "own.json"
    answer = ask("cache", "fit", file, "--out", out, "--no-check", "--no-progress")
    assert answer.exit_code == 0, answer.output
    assert "cannot be known" in answer.stdout
    assert "wrong hits" not in answer.stdout
    assert "Nothing was written" in answer.stderr
    assert not out.exists()


def test_what_is_wrong_is_said(ask, corpus, tmp_path):
    file = write_csv(tmp_path / "log.csv", corpus[1])
    bad = tmp_path / "bad.csv"
    bad.write_text("text,count\na,1\nb,x\n", encoding="utf-8")
    for words, said in (
        ((tmp_path / "lgo.csv",), "Did you mean"),
        ((bad,), "count 'x'"),
        ((file, "--label", "nonsense"), "no column nonsense"),
        ((file, "--embedder", "bert"), "minilm"),
        ((file, "--out", tmp_path / "no" / "where.json", "--no-check"), "cannot be written"),
    ):
        answer = ask("cache", "fit", *words, "--no-progress")
        assert answer.exit_code == 2, answer.output
        assert said in answer.stderr
        assert "Traceback" not in answer.stderr


def test_an_interruption_is_no_crash(ask, corpus, tmp_path, monkeypatch):
    def interrupted(texts, progress=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(stores, "embed_prompts", interrupted)
    answer = ask("cache", "fit", write_csv(tmp_path / "log.csv", corpus[1]))
    assert answer.exit_code == 130
    assert "goes on from there" in answer.stderr
