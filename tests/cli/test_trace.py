"""``llmsim trace describe``."""

import json

import numpy as np
import pytest


@pytest.fixture
def requests_csv(tmp_path):
    """400 requests at 5/s."""
    rng = np.random.default_rng(5)
    times = np.cumsum(rng.exponential(0.2, 400))
    tokens = np.exp(rng.normal(6, 1, (400, 2))).astype(int) + 1
    rows = [f"{time:.4f},{a},{b},chat" for time, (a, b) in zip(times, tokens, strict=True)]
    path = tmp_path / "requests.csv"
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens,route", *rows]) + "\n", encoding="utf-8")
    return path


def test_it_says_what_the_trace_is_like(ask, requests_csv):
    answer = ask("trace", "describe", requests_csv)
    assert answer.exit_code == 0, answer.output
    assert "requests.csv (llmsim): 400 requests in 1m" in answer.stdout
    for word in ("cv of the gaps", "dispersion of counts per 1s", "exponential", "rank correlation", "routes  ", "few"):
        assert word in answer.stdout
    assert "arrivals: poisson" in answer.stdout


def test_json_is_one_object_and_nothing_else(ask, requests_csv):
    answer = ask("trace", "describe", requests_csv, "--json", "-")
    found = json.loads(answer.stdout)
    assert found["requests"] == 400
    assert {fit["family"] for fit in found["gaps"]["fits"]} == {"exponential", "gamma", "weibull", "lognormal"}


@pytest.mark.slow
def test_a_window_a_rate_a_limit_a_file_and_a_picture(ask, requests_csv, tmp_path):
    picture, out = tmp_path / "p.png", tmp_path / "d.json"
    words = ("--from", "10s", "--to", "30s", "--rate", "2x", "--limit", "50", "--json", out, "--plot", picture)
    answer = ask("trace", "describe", requests_csv, *words)
    assert answer.exit_code == 0, answer.output
    found = json.loads(out.read_text())
    assert found["requests"] == 50
    assert found["rate_per_s"] == pytest.approx(10, rel=0.4)
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"Drawn in {picture}" in answer.stdout


@pytest.mark.matrix
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nothing.csv",), "there is no such file"),
        (("request.csv",), "Did you mean requests.csv?"),
        (("requests.csv", "--format", "azur"), "did you mean azure?"),
        (("requests.csv", "--format", "azure"), "there is no column timestamp"),
        (("requests.csv", "--from", "ten"), "'ten' is not a duration"),
        (("requests.csv", "--from", "1h"), "no request is between"),
        (("requests.csv", "--from", "20s", "--to", "10s"), "--to is not after --from"),
        (("requests.csv", "--rate", "0x"), "would stand still"),
        (("requests.csv", "--plot", "p.pdf"), "name it p.png"),
        pytest.param(
            ("requests.csv", "--plot", "no/where.png"), "cannot be written", marks=pytest.mark.slow
        ),  # draws it
        (("requests.csv", "--json", "no/where.json"), "cannot be written"),
        (("bad.csv",), "bad.csv:3:1: input_tokens is 'x'"),
    ],
)
def test_bad_input_is_said_and_ends_with_2(ask, requests_csv, words, says):
    (requests_csv.parent / "bad.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1,1\n1,x,1\n")
    answer = ask("trace", "describe", *words)
    assert answer.exit_code == 2, answer.output
    assert says in " ".join(answer.stderr.split()) or says in answer.stderr


def test_help_has_examples(ask):
    assert "llmsim trace describe AzureLLM" in ask("trace", "describe", "--help").output
    assert "describe" in ask("trace").output


def test_a_gateways_log_becomes_traffic(ask, tmp_path):
    (tmp_path / "log.csv").write_text("when,p,c,code\n10,5,7,200\n12.5,6,,500\n", encoding="utf-8")
    fields = ("sent_s=when", "input_tokens=p", "output_tokens=c", "outcome=code")
    answer = ask("trace", "convert", "log.csv", *(word for one in fields for word in ("--map", one)))
    assert answer.exit_code == 0, answer.output
    assert "trace.csv: 2 requests in 0:02, 1 of them failed" in answer.stdout
    assert (tmp_path / "trace.csv").read_text(encoding="utf-8").splitlines()[2] == "2.500000,6,0,1"
    assert ask("trace", "describe", "trace.csv").exit_code == 0


def test_what_it_says_to_write_next_can_be_copied(ask, tmp_path):
    (tmp_path / "log.csv").write_text("when,p,c\n10,5,7\n", encoding="utf-8")
    fields = ("sent_s=when", "input_tokens=p", "output_tokens=c")
    words = [word for one in fields for word in ("--map", one)]
    answer = ask("trace", "convert", "log.csv", *words, "--out", "monday, all.csv")
    assert "llmsim trace describe 'monday, all.csv'" in answer.stdout
    assert "trace: {file: 'monday, all.csv'}" in answer.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("log.csv", "--out", "log.csv"), "is the log itself"),
        (("log.csv", "--out", "log.json"), "name it log.csv"),
        (("log.csv", "--map", "when=x"), "fields are sent_s, input_tokens"),
        (("log.csv",), "Its columns: when, p, c"),
        (("none.csv",), "there is no such file"),
    ],
)
def test_what_cannot_be_converted_is_2(ask, tmp_path, words, says):
    (tmp_path / "log.csv").write_text("when,p,c\n10,5,7\n", encoding="utf-8")
    answer = ask("trace", "convert", *words)
    assert answer.exit_code == 2
    assert says in answer.stderr
