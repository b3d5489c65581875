"""Who may import whom, what may not be called where, and how long things may get (DESIGN 3)."""

import ast
import gc
from functools import cache
from pathlib import Path

import pytest

import llmsim

ROOT = Path(llmsim.__file__).parent
LEVELS = {
    "errors": 0, "error_words": 0, "processes": 0, "callbacks": 0, "units": 0, "types": 0, "luck": 0, "places": 0,
    "distributions": 0, "pricing": 0, "constructors": 0, "named": 0,
    "algorithms": 1,
    "gateway": 2, "traffic": 2, "telemetry": 2, "engine": 2,
    "stores": 3, "providers": 3,
    "scenario": 4,
    "report": 5, "production": 5, "parallel": 5,
    "api": 6, "live_run": 6,
    "tuning": 7, "chaos": 7, "calibrate": 7, "lab": 7,
    "cli": 8, "pytest_plugin": 8,
}  # fmt: skip
#: The package itself: its names load lazily, and ``python -m llmsim`` is the command line.
ROOTS = {"__init__", "__main__"}
#: Where a library may be imported. Everything else may not, whether inside of a function or not.
HOMES = {
    "simpy": {"engine", "providers.sim"},
    "httpx": {"providers.live"},
    "httpx_sse": {"providers.live"},
    "matplotlib": {"report.plots", "lab"},
    # Presets are for production too, where no scenario is loaded; tuned values go where the old ones stand.
    "ruamel": {"scenario.load", "scenario.rewrite", "gateway.presets"},
    "yaml": {"scenario.load"},
    "genai_prices": {"pricing"},
    "typer": {"cli"},
    "rich": {"cli"},
    "joblib": {"api", "processes", "parallel.processes", "tuning", "chaos", "cli.checks"},
    "distributed": {"parallel.cluster"},
    "cloudpickle": {"parallel"},
    "hypothesis": {"chaos.drawing"},
    "optuna": {"tuning.proposing", "tuning.optuna_study"},
    "redis": {"stores.redis_link"},
    "opentelemetry": {"production"},
}
#: In the code under test, time and chance come from the loop and from addressed luck.
BANNED = {"time", "random", "secrets", "numpy.random"}


@cache
def modules():
    """Every module of the package: dotted name below llmsim, its path, its tree, and what it imports."""
    found = {}
    gc.disable()  # all these nodes stay, so that looking among them for garbage takes longer than parsing
    try:
        for path in sorted(ROOT.rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            tree = ast.parse(path.read_text())
            found[name] = (path, tree, list(imports(tree)))
    finally:
        gc.enable()
    assert len(found) > 80, "the package was not found"
    return found


def statements(node):
    """Every statement of a tree, in order, without what is inside of expressions."""
    yield node
    for part in ("body", "handlers", "orelse", "finalbody", "cases"):
        for inner in getattr(node, part, ()):
            yield from statements(inner)


def imports(tree):
    """(module, line) of everything a tree imports, absolute."""
    for node in statements(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import in line {node.lineno}"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def within(name, packages):
    return any(name == package or name.startswith(f"{package}.") for package in packages)


def test_every_package_has_a_level():
    assert {name.partition(".")[0] for name in modules()} - ROOTS <= set(LEVELS)


def test_imports_point_downwards():
    wrong = []
    for name, (path, _, imported) in modules().items():
        package = name.partition(".")[0]
        if package in ROOTS:
            continue
        for target, line in imported:
            if not target.startswith("llmsim."):
                continue
            other = target.split(".")[1]
            if other not in LEVELS:  # a name of the lazy namespace
                other = "api"
            same_values = LEVELS[package] == LEVELS[other] == 0
            if other != package and LEVELS[other] >= LEVELS[package] and not same_values:
                wrong.append(f"{path}:{line}: {package} imports {other}")
    assert not wrong, "\n".join(wrong)


def test_values_do_not_import_each_other_in_circles():
    edges: dict[str, set[str]] = {}
    for name, (_, _, imported) in modules().items():
        package = name.partition(".")[0]
        if LEVELS.get(package) == 0:
            targets = {t.split(".")[1] for t, _ in imported if t.startswith("llmsim.")}
            edges.setdefault(package, set()).update(targets - {package})
    while edges:
        leaves = [name for name, targets in edges.items() if not targets & set(edges)]
        assert leaves, f"a circle among {sorted(edges)}"
        for name in leaves:
            del edges[name]


@pytest.mark.parametrize("library", sorted(HOMES))
def test_a_library_stays_at_home(library):
    wrong = [
        f"{path}:{line}"
        for name, (path, _, imported) in modules().items()
        for target, line in imported
        if within(target, [library]) and not within(name, HOMES[library])
    ]
    assert not wrong, "\n".join(wrong)


def test_gateway_and_algorithms_take_time_and_chance_from_outside():
    wrong = []
    for name, (path, tree, imported) in modules().items():
        if not within(name, ["gateway", "algorithms"]):
            continue
        if name == "gateway.plain":  # the world outside the lab: fresh luck from the system
            continue
        wrong += [f"{path}:{line}: {target}" for target, line in imported if within(target, BANNED)]
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and ast.unparse(node) in (
                "datetime.now",
                "datetime.utcnow",
                "os.urandom",
            ):
                wrong.append(f"{path}:{node.lineno}: {ast.unparse(node)}")
    assert not wrong, "\n".join(wrong)


def test_files_and_functions_stay_short():
    long = []
    for path, tree, _ in modules().values():
        lines = path.read_text().count("\n")
        if lines > 400:
            long.append(f"{path}: {lines} lines")
        for node in statements(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                doc = node.body[0] if ast.get_docstring(node) is not None else None
                length = node.end_lineno - node.lineno + 1 - (doc.end_lineno - doc.lineno + 1 if doc else 0)
                if length > 70:
                    long.append(f"{path}:{node.lineno}: {node.name} has {length} lines")
    assert not long, "\n".join(long)


def test_this_test_would_notice():
    """The helpers find what they are to find: an import in a function, a submodule, a from-import."""
    tree = ast.parse("def f():\n    import scipy.special\n    from llmsim.report import html\n")
    assert list(imports(tree)) == [("scipy.special", 2), ("llmsim.report.html", 3)]
    assert within("providers.sim.call", {"providers.sim"})
    assert not within("providers.simple", {"providers.sim"})
