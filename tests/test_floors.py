"""Imports point down only, and each dependency has one home: read from the source, so that nothing has to run."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1] / "kdsearch"

# A name ending in a dot stands for all modules below that package. A module may import from its own floor and below.
FLOORS = {
    0: [
        "allowances", "belief", "comparable", "decoder", "evidence", "files", "further_losses", "gain", "interrupts",
        "layers", "lease", "losses", "markup", "masking", "mistakes", "owner", "pareto", "patience", "plain",
        "processes", "rounding", "seeds", "signal_files", "spawning", "stopping", "sums", "surroundings", "thinning",
        "threads", "watching", "workspace", "data", "data.",
    ],
    1: [
        "metrics", "predicting", "reading", "saved", "signals", "students", "students.", "teacher", "training",
    ],
    2: ["stages", "stages."],
    3: ["recipe"],
    4: ["screening", "smoke", "source", "space", "study", "trial"],
    5: [
        "accounting", "attempts", "bookkeeping", "budget", "confirm", "database", "driver", "driving", "endings",
        "entries", "events", "executors", "executors.", "export", "export.", "facts", "features", "findings", "history",
        "intake", "keeping", "ledger", "legible", "mirror", "opening", "outlook", "pausing", "pool", "prepare",
        "queueing", "records", "repeats", "sampling", "search", "size_aware", "starts", "store", "tracking",
        "tracking.", "underway",
    ],
    6: [
        "choice", "comparing", "frame", "importance", "progress", "progress.", "report", "report.", "results", "stored",
        "summary",
    ],
    7: [
        "__main__", "api", "cli", "commands", "console", "dashboard", "figures", "repetition", "reporting", "serving",
        "student_commands", "tables", "taking", "template", "ui", "upkeep", "upkeep.",
    ],
}  # fmt: skip
TRAINING_FLOORS = range(4)

# package -> the modules that may import it; a trailing dot again stands for all below
HOMES = {
    "mlflow": {"tracking", "tracking."},
    "plotly": {"report", "report."},
    "ray": {
        *("executors.ray", "executors.ray_board", "executors.ray_files", "executors.ray_joining"),
        *("executors.ray_outcome", "executors.ray_worker"),
    },
    "optuna": {
        *("space", "screening", "store", "ledger", "legible", "endings", "intake", "importance", "database", "driving"),
        *("bookkeeping", "entries", "opening", "queueing"),
        *("sampling", "features", "history", "mirror", "outlook", "pool", "size_aware", "dashboard"),
        *("upkeep.rows", "upkeep.transcript"),
    },
    "optuna_dashboard": {"dashboard"},
    "psutil": {"processes"},
    "IPython": {"progress.notebook"},
    "PIL": {"decoder"},
    "pooch": {"data.fetching"},
    "onnx": {"export.formats.", "export.runner", "tracking.network"},
    "onnx_ir": {"export.formats.graph"},
    "onnxscript": {"export.formats.graph"},
    "onnxruntime": {"export.formats.quantized", "export.runner", "predicting"},
}
# and those that may name its types for the type checker alone
TYPES_ONLY = {"optuna": {"study"}, "plotly": {"results"}, "onnx": {"tracking.registry"}}
KEPT_FROM_TRAINING = {"optuna", "mlflow", "plotly", "pandas", "ray"}


@dataclass(frozen=True)
class Import:
    module: str  # who imports, without "kdsearch.": "data.base", "" for the package itself
    target: str  # what, dotted and whole
    line: int
    at_import: bool  # runs when the module is imported, rather than in a function
    for_types: bool  # under TYPE_CHECKING


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(ROOT.rglob("*.py"))}


def imports_in(module: str, nodes: list[ast.stmt], at_import: bool = True, for_types: bool = False) -> Iterator[Import]:
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, alias.name, node.lineno, at_import, for_types)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"kdsearch/{module}, line {node.lineno}: imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                ours = whole.removeprefix("kdsearch.")
                yield Import(module, whole if ours in MODULES else str(node.module), node.lineno, at_import, for_types)
        else:
            inner = at_import and not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
            checking = for_types or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
            yield from imports_in(module, children_of(node), inner, checking)


def children_of(node: ast.AST) -> list[ast.stmt]:
    """Statements directly within `node`, also by way of its except and case clauses."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            found.append(child)
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            found += children_of(child)
    return found


IMPORTS = [one for module, path in MODULES.items() for one in imports_in(module, ast.parse(path.read_text()).body)]
OURS = [
    (one, one.target.removeprefix("kdsearch").removeprefix("."))
    for one in IMPORTS
    if one.target.split(".")[0] == "kdsearch"
]


def within(module: str, names: set[str] | list[str]) -> bool:
    return any(module == name or (name.endswith(".") and module.startswith(name)) for name in names)


def floor_of(module: str) -> int | None:
    return next((floor for floor, names in FLOORS.items() if within(module, names)), None)


def place(one: Import) -> str:
    return f"{MODULES[one.module].relative_to(ROOT.parent)}, line {one.line}"


def test_every_module_has_a_floor():
    missing = [module for module in MODULES if module and floor_of(module) is None]
    assert not missing, f"{', '.join(missing)}: no floor in tests/test_floors.py; add each to FLOORS where it belongs"


def test_imports_point_down():
    wrong = []
    for one, target in OURS:
        if not one.module:  # the package itself names its public parts, which it imports when they are used
            continue
        if not target:  # the package itself: its version; whatever else is there comes from a floor above
            continue
        above, below = floor_of(one.module), floor_of(target)
        if above is not None and below is not None and below > above:
            wrong.append(f"{place(one)}: {one.module} (floor {above}) imports {target} (floor {below})")
    assert not wrong, "imports must point down:\n" + "\n".join(wrong)


def test_modules_do_not_import_each_other_in_circles():
    edges: dict[str, set[str]] = {module: set() for module in MODULES}
    for one, target in OURS:
        if one.at_import and not one.for_types and target in MODULES and target != one.module:
            edges[one.module].add(target)
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, f"import circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            for target in sorted(edges[module]):
                visit(target, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("package", HOMES)
def test_each_dependency_has_one_home(package):
    wrong = [
        f"{place(one)} imports {one.target}"
        for one in IMPORTS
        if one.target.split(".")[0] == package
        and not within(one.module, HOMES[package])
        and not (one.for_types and within(one.module, TYPES_ONLY.get(package, set())))
    ]
    assert not wrong, f"only {', '.join(sorted(HOMES[package]))} may import {package}:\n" + "\n".join(wrong)


def test_training_code_imports_nothing_of_the_search():
    wrong = [
        f"{place(one)} imports {one.target}"
        for one in IMPORTS
        if floor_of(one.module) in TRAINING_FLOORS and one.target.split(".")[0] in KEPT_FROM_TRAINING
    ]
    assert not wrong, "\n".join(wrong)


def test_training_code_runs_without_the_search():
    code = (
        "import sys, kdsearch.recipe, kdsearch.signals, kdsearch.students, kdsearch.trial, kdsearch.data\n"
        f"print(sorted({KEPT_FROM_TRAINING!r} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert found.stdout.strip() == "[]"


def test_the_package_itself_costs_nothing_to_import():
    code = "import sys, kdsearch; print(sorted({'torch', 'optuna', 'mlflow', 'numpy', 'pandas'} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT.parent)
    assert found.stdout.strip() == "[]"


def test_every_public_name_can_be_imported():
    import kdsearch

    for name in kdsearch.__all__:
        assert getattr(kdsearch, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = kdsearch.Nothing


def test_the_reader_of_imports_sees_what_it_should():
    source = """
import optuna.samplers
from kdsearch.data import base, Data
if TYPE_CHECKING:
    from mlflow import MlflowClient
def late():
    try:
        pass
    except ValueError:
        match 1:
            case _:
                import ray
class Part:
    import json
"""
    found = {one.target: (one.at_import, one.for_types) for one in imports_in("cli", ast.parse(source).body)}
    assert found == {
        "optuna.samplers": (True, False),
        "kdsearch.data.base": (True, False),
        "kdsearch.data": (True, False),
        "mlflow": (True, True),
        "ray": (False, False),
        "json": (True, False),
    }
