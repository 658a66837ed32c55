"""A reader of Python's source: which calls there are, by the names that the callee was imported under."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Call:
    """`callee` dotted and whole ("numpy.load" for `np.load` after `import numpy as np`), with its keyword arguments as
    they stand in the source.
    """

    callee: str
    keywords: dict[str, str]
    line: int


def calls(source: str) -> Iterator[Call]:
    """Every call in `source`, and every bare mention of a function that could be called later, as one without
    arguments: `map(pickle.loads, files)` unpickles too.
    """
    tree = ast.parse(source)
    known = _imported(tree)
    called = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called.add(node.func)
            keywords = {one.arg: ast.unparse(one.value) for one in node.keywords if one.arg is not None}
            yield Call(_whole(node.func, known), keywords, node.lineno)
    for node in ast.walk(tree):
        mentioned = isinstance(node, (ast.Attribute, ast.Name)) and isinstance(node.ctx, ast.Load)
        if mentioned and node not in called:
            yield Call(_whole(node, known), {}, node.lineno)


def imported_modules(source: str) -> set[str]:
    """The first part of every imported module's name."""
    tree = ast.parse(source)
    plain = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    given = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.split(".")[0] for name in plain | given}


def sources(folder: Path) -> dict[str, str]:
    """All Python files below `folder`, by their paths relative to it."""
    return {path.relative_to(folder).as_posix(): path.read_text("utf-8") for path in sorted(folder.rglob("*.py"))}


def _imported(tree: ast.AST) -> dict[str, str]:
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
        elif isinstance(node, ast.ImportFrom):
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _whole(node: ast.expr, known: dict[str, str]) -> str:
    first, _, rest = ast.unparse(node).partition(".")
    return f"{known.get(first, first)}.{rest}" if rest else known.get(first, first)
