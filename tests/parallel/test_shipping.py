"""What travels to a cluster, and what does not."""

import json
import pickle
from pathlib import Path

import pytest

import llmsim as ls
from llmsim.parallel import at_worker, shipping
from llmsim.parallel.shipping import Shipping, here

pytest.importorskip("cloudpickle")
SCENARIO = {"version": 1, "replications": 1, "traffic": {"base_rate": "5/s"}, "providers": {"a": {}}}
SECRET = "not-a-real-secret-4711"


def _sent(scenario: ls.Scenario, expected: dict[str, str] | None = None) -> ls.Scenario:
    """There and back, as a worker gets it."""
    ships = Shipping()
    parcel = ships.packed((_same, (scenario,)))
    digests = [*parcel.needs, *(need for one in parcel.needs for need in ships.contents[one].needs)]
    contents = [ships.contents[one].content for one in digests]
    return at_worker.do(here() if expected is None else expected, parcel.content, tuple(digests), *contents)


def _same(scenario: ls.Scenario) -> ls.Scenario:
    return scenario


def test_a_scenario_arrives_as_it_was() -> None:
    scenario = ls.load(SCENARIO)
    assert _sent(scenario) == scenario


def test_a_scenario_is_packed_once() -> None:
    scenario, ships = ls.load(SCENARIO), Shipping()
    parcels = [ships.packed((_same, (scenario,))) for _ in range(3)]
    assert len({parcel.needs for parcel in parcels}) == len(ships.contents) == 1
    assert len(parcels[0].content) < 300


def _traced(folder: Path) -> ls.Scenario:
    rows = "".join(f"{n / 4},50,20\n" for n in range(100))
    (folder / "trace.csv").write_text(f"arrival_s,input_tokens,output_tokens\n{rows}", encoding="utf-8")
    traffic = {"executor": "trace", "trace": {"file": "trace.csv"}}
    (folder / "it.yaml").write_text(json.dumps(SCENARIO | {"traffic": traffic}), encoding="utf-8")
    return ls.load(folder / "it.yaml")


def test_a_small_file_travels(tmp_path: Path) -> None:
    scenario = _traced(tmp_path)
    text = (tmp_path / "trace.csv").read_text(encoding="utf-8")
    arrived = Path(_sent(scenario).traffic.trace.file)
    assert arrived != tmp_path / "trace.csv" and arrived.name == "trace.csv"
    assert arrived.read_text(encoding="utf-8") == text


def test_a_large_file_has_to_be_there_and_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "SHIPPED_BYTES", 100)
    scenario = _traced(tmp_path)
    assert _sent(scenario).traffic.trace.file == str(tmp_path / "trace.csv")
    ships = Shipping()
    packed = pickle.loads(ships.contents[ships.scenario(scenario)].content)
    name = packed.traffic.trace.file
    (tmp_path / "trace.csv").write_text("another", encoding="utf-8")
    with pytest.raises(ls.LlmsimError, match="another content on a worker"):
        shipping.unpacked_name(name, lambda *_: Path())
    (tmp_path / "trace.csv").unlink()
    with pytest.raises(ls.LlmsimError, match="cannot read"):
        shipping.unpacked_name(name, lambda *_: Path())


def test_a_secret_of_the_environment_does_not_travel(monkeypatch: pytest.MonkeyPatch) -> None:
    async def gateway(request, providers, key=SECRET):
        return await providers["a"].send(request)

    scenario = ls.load(SCENARIO).with_gateway(gateway)
    assert _sent(scenario).gateway.entry is not None
    monkeypatch.setenv("SOME_API_KEY", SECRET)
    with pytest.raises(ls.LlmsimError, match="SOME_API_KEY") as caught:
        _sent(ls.load(SCENARIO).with_gateway(gateway))
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("numpy", "1.0", "Install the same"),
        ("instructions", "X86_V9", 'NPY_DISABLE_CPU_FEATURES="'),
        ("source", "0", "not 0"),
    ],
)
def test_other_versions_there_are_refused(name: str, value: str, hint: str) -> None:
    with pytest.raises(ls.LlmsimError, match=f"a worker has {name} .*{hint}"):
        _sent(ls.load(SCENARIO), here() | {name: value})
