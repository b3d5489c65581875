import json

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from report.results import result, scenario, spike
from telemetry.recorded import replication

from llmsim.errors import LlmsimError, PolicyError
from llmsim.report.describe import SavedCode
from llmsim.report.result import Result
from llmsim.report.save import load_result


@pytest.mark.parametrize("kind", ["whole", "partial", "empty", "nothing"])
def test_what_is_loaded_is_what_was_saved(tmp_path, kind):
    saved = {
        "whole": lambda: result(6, requested=20),
        "partial": lambda: result(2, partial=True),
        "empty": lambda: Result(scenario(), [replication(partial=True, simulated_s=-3.0)], partial=True),
        "nothing": lambda: Result(scenario(), [], partial=True, requested=5),
    }[kind]()
    assert saved.save(tmp_path / "out") == tmp_path / "out"
    loaded = load_result(tmp_path / "out")
    for name in ("requests", "attempts", "events", "windows"):
        assert_frame_equal(getattr(loaded, name), getattr(saved, name), check_exact=True)
    assert loaded.event_hash == saved.event_hash
    assert loaded.verdict == saved.verdict
    assert loaded.to_json() == saved.to_json()
    assert repr(loaded) == repr(saved)
    assert loaded.scenario == saved.scenario


@pytest.mark.parametrize("partial", [False, True])
def test_what_was_computed_is_not_computed_again(tmp_path, monkeypatch, partial):
    saved = result(6, requested=20, partial=partial)
    saved.save(tmp_path)
    # Whoever needs it has it computed: so it would be seen if it were.
    monkeypatch.setattr("llmsim.report.result.metrics", lambda samples: {"computed": "again"})
    monkeypatch.setattr("llmsim.report.result.measure", lambda lines, sample: None)
    loaded = load_result(tmp_path)
    assert loaded._repr_html_() == saved._repr_html_()
    assert loaded.samples  # for pictures, which need more
    with monkeypatch.context() as another:
        another.setattr("llmsim.report.computed.version", lambda name: "another")
        assert load_result(tmp_path).metrics == {"computed": "again"}
    # Between two releases the version is the same, and what counts may not be.
    monkeypatch.setattr("llmsim.report.computed._code", lambda: "changed")
    assert load_result(tmp_path).metrics == {"computed": "again"}


def test_tables_are_plain_parquet(tmp_path):
    saved = result(1)
    saved.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "attempts.parquet", "events.parquet", "requests.parquet", "result.json", "scenario.json", "windows.parquet",
    ]  # fmt: skip
    assert_frame_equal(pl.read_parquet(tmp_path / "requests.parquet"), saved.requests)


def test_results_of_earlier_versions_have_fewer_columns(tmp_path):
    saved = result(1)
    saved.save(tmp_path)
    pl.read_parquet(tmp_path / "attempts.parquet").drop("server_s").write_parquet(tmp_path / "attempts.parquet")
    loaded = load_result(tmp_path)
    assert loaded.event_hash == saved.event_hash
    assert_frame_equal(loaded.attempts, saved.attempts)
    assert loaded.attempts["server_s"].null_count() == loaded.attempts.height


@pytest.mark.slow
def test_saving_again_replaces(tmp_path):
    result(2).save(tmp_path)
    result(1).save(tmp_path)
    assert len(load_result(tmp_path).replications) == 1


def test_lines_of_the_scenario_file_survive(tmp_path):
    from llmsim.scenario.load import load_scenario

    path = tmp_path / "s.yaml"
    path.write_text(
        "version: 1\ntraffic: {base_rate: 4/s}\nproviders: {a: {}}\nslo:\n  ttft:\n  - p(50) < 2s\n  - p(90) < 3s\n"
    )
    saved = Result(load_scenario(path), [spike()])
    saved.save(tmp_path / "out")
    assert [line.objective.line for line in load_result(tmp_path / "out").slo] == [6, 7]


@pytest.mark.slow
def test_code_is_saved_by_name(tmp_path):
    async def my_gateway(request, providers):
        return await providers["openai"].send(request)

    saved = Result(scenario().with_gateway(my_gateway), [spike()])
    saved.save(tmp_path)
    loaded = load_result(tmp_path)
    assert loaded.scenario.gateway.entry == SavedCode("my_gateway")
    assert loaded.to_json() == saved.to_json()
    with pytest.raises(PolicyError, match=r"my_gateway.*was code when this result was saved"):
        loaded.scenario.gateway.entry.start(None)


def test_policies_in_code_are_saved_by_name(tmp_path):
    from llmsim.gateway.contract import policy

    @policy
    async def small_talk(request, call_next):
        return await call_next(request)

    given = scenario(gateway={"policies": [{"retry": {"max_attempts": 4}}]})
    given = given.with_gateway([*given.gateway.policies, small_talk])
    saved = Result(given, [spike()])
    saved.save(tmp_path)
    loaded = load_result(tmp_path)
    assert loaded.scenario.gateway.policies == (given.gateway.policies[0], SavedCode("small_talk"))
    assert loaded.to_json() == saved.to_json()


def test_directories_that_hold_no_result(tmp_path):
    with pytest.raises(LlmsimError, match=r"holds no saved result \(result.json is missing\)"):
        load_result(tmp_path)
    result(1).save(tmp_path)
    (tmp_path / "events.parquet").unlink()
    with pytest.raises(LlmsimError, match=r"events.parquet is missing"):
        load_result(tmp_path)
    (tmp_path / "events.parquet").write_bytes(b"nonsense")
    with pytest.raises(LlmsimError, match=r"events.parquet is damaged"):
        load_result(tmp_path)
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(LlmsimError, match=r"result.json is damaged"):
        load_result(tmp_path)
    (tmp_path / "result.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(LlmsimError, match="format 99"):
        load_result(tmp_path)


def test_tables_that_were_changed_are_noticed(tmp_path):
    result(1).save(tmp_path)
    path = tmp_path / "requests.parquet"
    pl.read_parquet(path).with_columns(pl.col("e2e_s") + 1).write_parquet(path)
    with pytest.raises(LlmsimError, match=r"the tables are not those of result.json"):
        load_result(tmp_path)
