"""How far a calibrated simulation is from a real model: probe it, fit a profile, and predict open-loop runs.

    python tests/live/calibration.py [--short] [--out DIRECTORY]

Needs what ``llama_server.py`` needs. It probes the server one call at a time and with two at once, writes a profile,
and runs a scenario at three rates: the utilisation is the rate times what a call takes alone. Each run is made twice,
which tells what the machine itself repeats. The long form takes about half an hour, the short one four minutes. On a
machine that does other things besides, all figures are those of that machine at that hour.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from live.served import served

import llmsim
from llmsim.calibrate.probe import probe
from llmsim.calibrate.probe_design import Design
from llmsim.calibrate.profile_file import profile_document, write_profile
from llmsim.calibrate.upstream import Fitted, fit_upstream
from llmsim.live_run import run_live
from llmsim.providers.live.spec import LiveProvider
from llmsim.report.reality.distances import ks_band, ks_distance, per_request

SLOTS = 2  #: of that server
TEMPLATE_TOKENS = 31
BUDGET_USD = 1.0  #: of a server that costs nothing; the prices below are made up, to have costs to compare
PRICE = {"input": "$0.10/Mtok", "output": "$0.40/Mtok"}


class Form(NamedTuple):
    """How much is measured."""

    design: Design
    requests: int  #: of an open-loop run, about
    utilisations: tuple[float, ...]
    lengths: tuple[tuple[int, ...], tuple[int, ...]]  #: of prompts and answers


LONG = Form(
    Design((50, 150, 400), (16, 32, 64), (1, 2), repeats=2), 40, (0.2, 0.65, 1.05), ((50, 150, 400), (16, 32, 64))
)
SHORT = Form(Design((50, 120), (8, 24), (1, 2), repeats=4, warm_up=1), 12, (0.65,), ((50, 120), (8, 24)))


def live_file(url: str) -> dict[str, Any]:
    """Whom to call."""
    local = {"base_url": url, "model": "smollm2-135m", "template_tokens": TEMPLATE_TOKENS, "keep_alive": "0s",
             "extra_body": {"ignore_eos": True}, "price": PRICE}  # fmt: skip
    return {"version": 1, "providers": {"local": local}}


def fitted_to(url: str, form: Form) -> Fitted:
    """Probe and fit."""
    from llmsim.scenario.live_file import load_live

    live, _ = load_live(live_file(url))
    spec: LiveProvider = live.providers["local"]
    calls, _ = probe("local", spec, form.design, budget_usd=BUDGET_USD)
    return fit_upstream(calls, slots=SLOTS)


def scenario(form: Form, profile: Path, rate: float, seed: int) -> dict[str, Any]:
    """Open-loop traffic at this rate, as long as it takes for so many requests."""
    inputs, outputs = form.lengths
    # Plain words: digits in a route's name would make prompts longer than the scenario says.
    words = iter(["chat", "help", "mail", "news", "plan", "note", "code", "talk", "food"])
    mix = [{"route": next(words), "input_tokens": i, "output_tokens": o} for i in inputs for o in outputs]
    return {
        "version": 1,
        "name": f"open loop at {rate:.3g}/s",
        "seed": seed,
        "clock": {"duration": f"{form.requests / rate:.0f}s", "drain": "300s"},
        "traffic": {"base_rate": f"{rate:.5f}/s", "mix": mix},
        "providers": {"local": {"profile": str(profile), "price": PRICE}},
    }


def side_by_side(one: Any, other: Any) -> dict[str, tuple[Any, float, float]]:
    """By quantity, errors of `one` against `other`, request by request, the KS distance, and its band."""
    both = _billed(one).join(_billed(other), on="session", suffix="_live")
    found = {}
    for what in ("ttft_s", "e2e_s", "input_tokens", "output_tokens", "cost_usd"):
        ours, theirs = (both[name].to_numpy().astype(float) for name in (what, f"{what}_live"))
        found[what] = (per_request(ours, theirs), ks_distance(ours, theirs), ks_band(len(ours), len(theirs)))
    return found


def _billed(result: Any) -> pl.DataFrame:
    """The answered calls, as billed: one a request, since nothing is tried again."""
    calls = result.attempts.filter(pl.col("outcome").cast(pl.String) == "ok")
    return calls.with_columns(ttft_s=pl.col("first_s") - pl.col("start_s"), e2e_s=pl.col("end_s") - pl.col("start_s"))


def rehearsed(
    url: str, form: Form, fitted: Fitted, folder: Path, keep: Path | None = None
) -> list[tuple[float, dict[str, Any], dict[str, Any]]]:
    """By utilisation: the simulation against a live run, and that against the same again."""
    document = profile_document(fitted, name="local", date="today", of=f"tests/live/calibration.py at {url}")
    profile = write_profile(document, folder / "local.yaml")
    inputs, outputs = np.meshgrid(*form.lengths)
    spec = fitted.settings["serving"]
    alone_s = float(np.mean(
        spec.get("prefill_step", 0.0) + spec["prefill_token"] * inputs
        + (spec["decode_sequence"] + spec.get("decode_step", 0.0)) * (outputs - 1)
    ))  # fmt: skip
    found = []
    for number, utilisation in enumerate(form.utilisations):
        what = scenario(form, profile, utilisation / alone_s, seed=number + 1)
        sim = llmsim.run(what, replications=1)
        live, again = (run_live(what, live_file(url), budget_usd=BUDGET_USD) for _ in range(2))
        if keep is not None:
            for name, result in (("sim", sim), ("live", live), ("again", again)):
                result.save(keep / f"{name}-{utilisation:g}")
        found.append((utilisation, side_by_side(sim, live), side_by_side(again, live)))
    return found


def told(utilisation: float, sim: dict[str, Any], again: dict[str, Any]) -> Iterator[str]:
    """Lines for a person."""
    yield f"utilisation {utilisation:g}, {sim['ttft_s'][0].pairs} requests"
    for what, (apart, ks, band) in sim.items():
        machine = again[what][0]
        ratio = apart.mdape / machine.mdape if machine.mdape else float("nan")
        yield (
            f"  {what:<14} off {apart.mdape:6.1%}  bias {apart.bias:+6.1%}  KS {ks:.2f} (chance {band:.2f})   "
            f"the machine itself: {machine.mdape:6.1%}, bias {machine.bias:+6.1%}   ratio {ratio:.2f}"
        )


def main() -> None:
    """Measure and print."""
    from llmsim.calibrate.fit_text import fit_text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--out", type=Path, help="keep the profile and all results there")
    options = parser.parse_args()
    form = SHORT if options.short else LONG
    with served() as url, tempfile.TemporaryDirectory() as folder:
        fitted = fitted_to(url, form)
        print(fit_text(fitted), flush=True)
        for one in rehearsed(url, form, fitted, options.out or Path(folder), options.out):
            print("\n".join(told(*one)), flush=True)


if __name__ == "__main__":
    main()
