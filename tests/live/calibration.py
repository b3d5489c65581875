"""How far a calibrated simulation is from a real model: probe it, fit a profile, and predict open-loop runs.

    python tests/live/calibration.py [--short] [--only bursts] [--out DIRECTORY]

Needs what ``llama_server.py`` needs. It runs a scenario at three rates: the utilisation is the rate times what a call
takes alone. Then come bursts of requests sent in the same instant, more than the server has slots. Each run is made
twice, which tells what the machine itself repeats, and predicted from two probes, one call at a time and with two at
once: one before the first run and one after it, since a shared machine is a tenth faster or slower ten minutes later.
The long form takes about half an hour, the short one two minutes. All figures are those of that machine at that hour:
so the last line of each says what would be left if the probes had met it as fast as it was during the run.
``--only bursts`` makes these runs alone.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from live.served import served

import llmsim
from llmsim.calibrate.calls import Calls
from llmsim.calibrate.models import fit_alone
from llmsim.calibrate.probe import probe
from llmsim.calibrate.probe_design import Design
from llmsim.calibrate.profile_file import profile_document, write_profile
from llmsim.calibrate.upstream import Fitted, fit_upstream
from llmsim.live_run import run_live
from llmsim.report.reality.distances import ks_band, ks_distance, per_request
from llmsim.scenario.live_file import load_live

SLOTS = 2  #: of that server
#: Speeds of the machine that are tried, in steps of 2.5 %. A run that would need another stands at an end.
SPEEDS = np.geomspace(0.5, 2.0, 57)
TEMPLATE_TOKENS = 31
BUDGET_USD = 1.0  #: of a server that costs nothing; the prices below are made up, to have costs to compare
PRICE = {"input": "$0.10/Mtok", "output": "$0.40/Mtok"}


class Form(NamedTuple):
    """How much is measured."""

    design: Design
    requests: int  #: of an open-loop run, about
    utilisations: tuple[float, ...]
    lengths: tuple[tuple[int, ...], tuple[int, ...]]  #: of prompts and answers
    bursts: tuple[int, ...]  #: requests of each


LONG = Form(
    Design((50, 150, 400), (16, 32, 64), (1, 2), repeats=2),
    40,
    (0.2, 0.65, 1.05),
    ((50, 150, 400), (16, 32, 64)),
    (2, 4, 8, 2, 4, 8),
)
SHORT = Form(Design((50, 120), (8, 24), (1, 2), repeats=4, warm_up=1), 12, (0.65,), ((50, 120), (8, 24)), ())


def live_file(url: str) -> dict[str, Any]:
    """Whom to call."""
    local = {"base_url": url, "model": "smollm2-135m", "template_tokens": TEMPLATE_TOKENS, "keep_alive": "0s",
             "extra_body": {"ignore_eos": True}, "price": PRICE}  # fmt: skip
    return {"version": 1, "providers": {"local": local}}


def probed(url: str, form: Form, seed: int = 0) -> Calls:
    """What a probe of the server found."""
    live, _ = load_live(live_file(url))
    design = dataclasses.replace(form.design, seed=seed)
    return probe("local", live.providers["local"], design, budget_usd=BUDGET_USD)[0]


def together(one: Calls, other: Calls) -> Calls:
    """Both probes, an hour apart."""
    shifted = other._replace(sent_s=other.sent_s + one.sent_s[-1] + one.e2e_s[-1] + 3600.0)
    columns = [np.concatenate(pair) for pair in zip(one[2:], shifted[2:], strict=True)]
    found = Calls(one.upstream, one.model, *columns)
    return found._replace(outcome=(*one.outcome, *other.outcome))


def open_loop(form: Form, profile: Path, rate: float, seed: int) -> dict[str, Any]:
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


def in_bursts(form: Form, profile: Path, call_s: float, folder: Path) -> dict[str, Any]:
    """So many requests in the same instant, of all lengths in turn, and a pause until they are surely over."""
    inputs, outputs = form.lengths
    lengths = itertools.cycle([(i, o) for o in outputs for i in inputs])
    rows, at_s = [], 0.0
    for size in form.bursts:
        rows += [(at_s, *next(lengths)) for _ in range(size)]
        at_s += math.ceil(2 * size * call_s)
    trace = folder / "bursts.csv"
    lines = [f"{at_s:.3f},{i},{o}" for at_s, i, o in rows]
    trace.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines]), encoding="utf-8")
    return {
        "version": 1,
        "name": "bursts",
        "seed": 1,
        "clock": {"duration": f"{at_s:.0f}s", "drain": "300s"},
        "traffic": {"executor": "trace", "trace": {"file": str(trace)}, "mix": [{"route": "chat"}]},
        "providers": {"local": {"profile": str(profile), "price": PRICE}},
    }


class Compared(NamedTuple):
    """One quantity of two results."""

    by_request: Any  #: errors, request by request
    ks: float
    ks_band: float
    medians: float  #: of all requests: by what share that of the one is above that of the other


def side_by_side(one: Any, other: Any) -> dict[str, Compared]:
    """By quantity, how far `one` is from `other`."""
    both = _billed(one).join(_billed(other), on="session", suffix="_live")
    found = {}
    for what in ("ttft_s", "e2e_s", "input_tokens", "output_tokens", "cost_usd"):
        ours, theirs = (both[name].to_numpy().astype(float) for name in (what, f"{what}_live"))
        medians = float(np.median(ours) / np.median(theirs)) - 1
        band = ks_band(len(ours), len(theirs))
        found[what] = Compared(per_request(ours, theirs), ks_distance(ours, theirs), band, medians)
    return found


def _billed(result: Any) -> pl.DataFrame:
    """The answered calls, as billed: one a request, since nothing is tried again."""
    calls = result.attempts.filter(pl.col("outcome").cast(pl.String) == "ok")
    return calls.with_columns(ttft_s=pl.col("first_s") - pl.col("start_s"), e2e_s=pl.col("end_s") - pl.col("start_s"))


def alone_s(form: Form, calls: Calls) -> float:
    """What a call of this form takes of a server that has nothing else to do, on average."""
    inputs, outputs = np.meshgrid(*form.lengths)
    spec = fit_alone(calls.only(calls.alone & calls.ok))
    return float(np.mean(spec.prefill_step + spec.prefill_token * inputs + spec.decode_sequence * (outputs - 1)))


def names(form: Form) -> list[str]:
    """Of what is run."""
    return [
        *(f"utilisation {utilisation:g}" for utilisation in form.utilisations),
        *(["bursts"] if form.bursts else []),
    ]


def written(fitted: Fitted, folder: Path) -> Path:
    """The profile, as a file."""
    today = f"{datetime.now(tz=UTC):%Y-%m-%d}"
    document = profile_document(fitted, name="local", date=today, of="tests/live/calibration.py")
    return write_profile(document, folder / "local.yaml")


def scenario(form: Form, name: str, calls: Calls, folder: Path) -> dict[str, Any]:
    """What is run under this name, with a profile fitted to these calls."""
    profile = written(fit_upstream(calls, slots=SLOTS), folder)
    call_s = alone_s(form, calls)
    if name == "bursts":
        return in_bursts(form, profile, call_s, folder)
    number = names(form).index(name)
    return open_loop(form, profile, form.utilisations[number] / call_s, seed=number + 1)


class Found(NamedTuple):
    """How far apart the sides of one run are, by quantity."""

    name: str
    fitted: Fitted
    sim: dict[str, Compared]  #: the simulation from the live run
    again: dict[str, Compared]  #: a second live run from the first: what the machine itself repeats
    changed: float  #: how much the speed of the machine changed meanwhile: between the probes, or between the runs
    speed: float  #: by which all times of the profile must be multiplied to meet the live run's median
    at_speed: dict[str, Compared]  #: the simulation with that one change


def at_its_speed(what: dict[str, Any], fitted: Fitted, live: Any) -> tuple[float, dict[str, Compared]]:
    """One factor for all times of the server, fitted to the run itself, and what it leaves unexplained."""
    times = {name: value for name, value in fitted.settings["serving"].items() if isinstance(value, float)}
    scenario = llmsim.load(what)
    found = []
    for factor in SPEEDS:
        values = {f"providers.local.serving.{name}": value * float(factor) for name, value in times.items()}
        apart = side_by_side(llmsim.run(scenario.with_values(values), replications=1), live)
        found.append((abs(apart["e2e_s"].by_request.bias), float(factor), apart))
    _, factor, apart = min(found, key=lambda one: one[0])
    return factor, apart


def rehearsed(url: str, form: Form, name: str, folder: Path, keep: Path | None = None) -> Found:
    """Probe it, run it, probe it once more, run it again; simulate it with what the probes tell, and compare."""
    before = probed(url, form)
    what = scenario(form, name, before, folder)
    live = run_live(what, live_file(url), budget_usd=BUDGET_USD)
    after = probed(url, form, seed=1)
    again = run_live(what, live_file(url), budget_usd=BUDGET_USD)
    fitted = fit_upstream(together(before, after), slots=SLOTS)
    written(fitted, folder)  # in place of the first
    sim = llmsim.run(what, replications=1)
    if keep is not None:
        run = name.replace(" ", "-")
        for side, result in (("sim", sim), ("live", live), ("again", again)):
            result.save(keep / f"{side}-{run}")
        for when, calls in (("before", before), ("after", after)):
            pl.DataFrame(calls._asdict()).write_csv(keep / f"{when}-{run}.calls.csv")
    apart = side_by_side(again, live)
    changed = max(abs(alone_s(form, after) / alone_s(form, before) - 1), abs(apart["e2e_s"].by_request.bias))
    return Found(name, fitted, side_by_side(sim, live), apart, changed, *at_its_speed(what, fitted, live))


def told(found: Found) -> Iterator[str]:
    """Lines for a person."""
    yield f"{found.name}, {found.sim['ttft_s'].by_request.pairs} requests"
    for what, sim in found.sim.items():
        apart, again = sim.by_request, found.again[what]
        machine = again.by_request
        ratio = apart.mdape / machine.mdape if machine.mdape else float("nan")
        yield (
            f"  {what:<14} off {apart.mdape:6.1%}  bias {apart.bias:+6.1%}  medians {sim.medians:+6.1%}  "
            f"KS {sim.ks:.2f} (chance {sim.ks_band:.2f})   the machine itself: {machine.mdape:6.1%}, "
            f"bias {machine.bias:+6.1%}, medians {again.medians:+6.1%}   ratio {ratio:.2f}"
        )
    left = "; ".join(
        f"{what} off {apart.by_request.mdape:.1%}, bias {apart.by_request.bias:+.1%}, KS {apart.ks:.2f}"
        for what, apart in found.at_speed.items()
        if what.endswith("_s")
    )
    yield f"  the machine's speed changed by {found.changed:.1%} between the probes or the runs"
    yield f"  at the speed it had ({found.speed:.2f} of the probe's times): {left}"


def main() -> None:
    """Measure and print."""
    from llmsim.calibrate.fit_text import fit_text

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--only", default="", metavar="NAME", help="only runs whose name has this in it")
    parser.add_argument("--out", type=Path, help="keep the profile and all results there")
    options = parser.parse_args()
    form = SHORT if options.short else LONG
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    with served() as url, tempfile.TemporaryDirectory() as folder:
        for name in names(form):
            if options.only in name:
                found = rehearsed(url, form, name, options.out or Path(folder), options.out)
                print(fit_text(found.fitted), flush=True)
                print("\n".join(told(found)), flush=True)


if __name__ == "__main__":
    main()
