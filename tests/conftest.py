"""What every test may count on, and how the suite runs on more than one core."""

import atexit
import gc
import linecache
import os
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers
from matrices import is_slow_case

# A process started in the background, as some CI runners do, inherits an ignored SIGINT: then tests of Ctrl-C, ours and
# CPython's own, would wait for ever for an interrupt that cannot come, and so would the programs they start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Where Python is told to write no bytecode (images of containers do), every process of a suite compiles all libraries
# again, and rewrites the asserts of five hundred modules: half of the time that the default suite takes. What is
# written is ignored by git, and where nothing can be written nothing is.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# jsonschema would ask it about URIs, which nothing here does; importing it compiles grammars for a second.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

# Two processes run the suite: threads of polars in each would wait for each other, over tables of a few rows.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
# So would those of numpy and scipy: a fit with two of them took four times the CPU of one with one.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# As Hypothesis has it where CI is set: how long an example takes says how busy the machine is, and nothing about it.
# The suite takes a minute; `HYPOTHESIS_PROFILE=thorough pytest -m hypothesis`, as CI does, tries more (and so does what
# says by `examples.examples` how many it tries).
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=12)
settings.register_profile("thorough", settings.get_profile("suite"), max_examples=200)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))

# Hypothesis reads and parses every module of this project to draw numbers and texts that stand in it: seconds in each
# process, whichever test comes first. The thorough profile, which has 200 tries to use them in, does.
if settings.get_current_profile_name() == "suite" and hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants

# Importing and collecting makes a million objects, all of which stay: looking through them for garbage again and again
# takes a tenth of the time. On again in `pytest_collection_finish`.
gc.disable()

ROOT = Path(__file__).parents[1]

#: Each worker imports everything and collects every test, which takes seconds: more workers gain little.
WORKERS = 2


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many processes `-n auto` means: two for the whole suite, none besides this one for a part of it.

    None either for tests of a real model, which takes a core of its own. The answer of xdist would be the number of
    physical cores: one on a machine of two hyperthreads, 64 in a container that may use two of 64.
    """
    named = [(config.invocation_params.dir / word.partition("::")[0]).resolve() for word in config.args]
    part = config.args_source is config.ArgsSource.ARGS and not {ROOT, ROOT / "tests"} & set(named)
    if part or config.getoption("markexpr") == "live":
        return 0
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(WORKERS, usable) if usable > 1 else 0


def pytest_configure(config: pytest.Config) -> None:
    """Only tests have their asserts rewritten, so that they say what was compared; those of llmsim are none of a test.

    pytest takes every module of a package that has a plugin for a part of that plugin. Rewriting all of llmsim takes
    each process a second the first time, and rewritten asserts are not what users run.
    """
    hook = config.pluginmanager.rewrite_hook
    getattr(hook, "_must_rewrite", set()).discard("llmsim")
    getattr(hook, "_marked_for_rewrite_cache", {}).clear()
    if hasattr(config, "workerinput") and "coverage" not in sys.modules:
        # A worker's last act, after what others want done at its exit (but what coverage wants came before): else it
        # takes half a gigabyte of modules, tables and pictures apart, object by object, for two seconds. Nobody asks
        # for its exit code.
        atexit.register(os._exit, 0)


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(file_path: Path) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Examples in docstrings are looked for where there are any: not in tests, nor in half of the package.

    Looking takes a second, and loads benchmarks. A file is given to each plugin in turn; the one for docstrings is
    known by its name only, which is not public.
    """
    collectors = yield
    others = [one for one in collectors if type(one).__name__ != "DoctestModule"]
    if len(others) == len(collectors) or ROOT / "tests" in file_path.parents:
        return others
    return collectors if b">>> " in file_path.read_bytes() else others


@pytest.hookimpl(tryfirst=True)  # before what -m says is looked at
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a matrix most cases are slow, and what is long is slow; tests that watch a wall clock come first.

    ``--dist worksteal`` gives each worker a stretch of the list and lets others take from its far end: unless they are
    more than such a stretch they run one after the other in one process, and no two of them disturb each other.
    """
    for item in items:
        if is_slow_case(item) or item.get_closest_marker("long"):
            item.add_marker("slow")
    items.sort(key=lambda item: item.get_closest_marker("clock") is None)


def pytest_collection_finish() -> None:
    """What the imports of all the tests left in memory is no garbage: no collection has to walk it again.

    Else garbage of the tests themselves (tasks, tables) piles up to a quarter of all that before the next full one.
    """
    # Whoever looked for examples read every source; before each example all of those would be looked after on the disk.
    linecache.clearcache()
    gc.freeze()
    gc.enable()
    # And what tests make is looked through less often, all of it (a second each time) hardly ever: there is memory
    # enough.
    gc.set_threshold(30_000, 10, 100)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(nextitem: pytest.Item | None) -> Generator[None]:
    """What complains only as garbage, such as a socket that nobody closed, fails the last test of its process.

    pytest looks at the end, too, but of what it finds in a worker nobody hears. It then has little to look through.
    """
    yield
    if nextitem is None:
        left: list[str] = []
        hook, sys.unraisablehook = sys.unraisablehook, lambda one: left.append(f"{one.object!r}: {one.exc_value!r}")
        try:
            gc.collect()
        finally:
            sys.unraisablehook = hook
        gc.freeze()
        assert not left, "\n".join(["garbage of this test, or of one before, complained as it went:", *left])
