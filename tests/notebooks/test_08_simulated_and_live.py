"""Simulated and live: its story, from the saved run of a real model; and, with the model installed, a run now.

The saved run is made, and the notebook shown with it, by
``LLMSIM_NOTEBOOK_LIVE=keep python tests/notebook_tools.py notebooks/08_simulated_and_live.ipynb`` on a quiet machine;
``LLMSIM_NOTEBOOK_LIVE=never`` executes the notebook on the run that is saved.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from live import llama_server as llama
from notebooks.stories import FOLDER, committed, facts, figure, fresh, with_parameters

NAME = "08_simulated_and_live"


def test_its_story_holds() -> None:
    found = facts(committed(NAME))
    assert int(found["calls of the probe"]) == 16
    assert int(found["pairs"]) >= 20
    off = {(how, what): figure(found[f"{how}, {what}"]) for how in ("as in the evening", "calibrated") for what in
           ("ttft", "e2e")}  # fmt: skip
    # The surprise: calls that never met each other say what a crowd does, if taken as a mechanism.
    for what in ("ttft", "e2e"):
        assert off["as in the evening", what] > 30
        assert off["calibrated", what] < 15
    for how, least, most in (("as in the evening", 0.0, 0.7), ("calibrated", 0.8, 1.25)):
        simulated, live = (figure(part) for part in found[f"{how}, p95 of e2e"].split(","))
        assert least < simulated / live < most
    # The decision.
    assert figure(found["calibrated, the most that passes"]) < figure(found["rate"])
    assert found["as in the evening, twice as much"] == "PASS"
    assert {"output_tokens", "cost"} <= set(found["calibrated, to be trusted"].split(", "))


def test_the_saved_run_is_small_and_of_nobodys_machine() -> None:
    files = [path for path in (FOLDER / "saved" / "08_live").iterdir() if path.is_file()]
    assert len(files) == 8
    assert sum(path.stat().st_size for path in files) < 150_000
    texts = "".join(path.read_text(encoding="utf-8") for path in files if path.suffix == ".json")
    assert "127.0.0.1" not in texts
    assert not [word for word in ("/home/", "/root/", "/tmp/", "/work/") if word in texts]


@pytest.mark.slow
def test_the_saved_run_gives_what_is_committed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMSIM_NOTEBOOK_LIVE", "never")
    now, then = facts(fresh(NAME)), facts(committed(NAME))
    assert now.pop("shown") == "saved"
    assert then.pop("shown") in ("saved", "live")
    assert now == then, f"run LLMSIM_NOTEBOOK_LIVE=never python tests/notebook_tools.py {NAME}.ipynb"


@pytest.mark.slow
def test_it_runs_with_other_parameters(tmp_path: Path) -> None:
    assert facts(with_parameters(NAME, tmp_path, LIVE="never", RUNS=6))["shown"] == "saved"


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.clock
@pytest.mark.skipif(bool(llama.missing()), reason=llama.missing() or "-")
def test_it_runs_live(tmp_path: Path) -> None:
    """On a machine that may have much else to do: how far off the simulations are is not judged."""
    found = facts(with_parameters(NAME, tmp_path, LIVE="if installed", SECONDS=12, RUNS=6))
    assert found["shown"] == "live"
    assert int(found["calls of the probe"]) == 16
    assert 1 <= int(found["pairs"]) <= int(found["requests sent live"])
    assert "output_tokens" in found["calibrated, to be trusted"]
