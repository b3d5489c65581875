"""``import llmsim`` is small, sorted and cheap."""

import json
import subprocess
import sys

import pytest

import llmsim

HEAVY = (
    "polars",
    "pydantic",
    "httpx",
    "matplotlib",
    "scipy",
    "joblib",
    "ruamel",
    "IPython",
    "typer",
    "rich",
    "hypothesis",
    "optuna",
)
_MEASURE = """
import json, sys, time
start = time.perf_counter()
import llmsim
took = time.perf_counter() - start
print(json.dumps({"took": took, "loaded": sorted(name for name in sys.modules if "." not in name)}))
"""


def test_names_are_few_sorted_and_those_of_the_lazy_table():
    assert list(llmsim.__all__) == sorted(llmsim.__all__)
    assert len(llmsim.__all__) <= 30
    assert set(llmsim._HOME) == set(llmsim.__all__)
    assert set(dir(llmsim)) == {*llmsim.__all__, "__version__"}


def test_every_name_can_be_imported_and_is_what_its_home_says():
    for name in llmsim.__all__:
        thing = getattr(llmsim, name)
        home = sys.modules[llmsim._HOME[name]]
        if name in ("lab", "policies"):
            assert thing is home, "a room under its own name"
            continue
        assert getattr(home, name) is thing
        assert name in getattr(home, "__all__", ()), f"{home.__name__} does not say that {name} is public"
        assert thing.__doc__, f"{name} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    try:
        llmsim.Rerty
    except AttributeError as error:
        assert "Rerty" in str(error)
    else:
        raise AssertionError("there is no such name")


def _fresh_import():
    out = subprocess.run([sys.executable, "-c", _MEASURE], capture_output=True, text=True, check=True)
    return json.loads(out.stdout)


@pytest.mark.clock
def test_importing_is_quick_and_loads_nothing_heavy():
    _fresh_import()  # compiles what is not compiled yet
    # A busy machine can make any one of them slow; the best of five is what importing costs.
    runs = [_fresh_import() for _ in range(5)]
    assert not set(HEAVY) & set(runs[0]["loaded"])
    assert min(run["took"] for run in runs) < 0.4
