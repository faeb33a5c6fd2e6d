"""Imports only point down: the layers of CONTRIBUTING.md, as a table that is checked."""

from __future__ import annotations

import ast
import importlib.util
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

from cgctl.launch.program import NAME, ROOMS

# From the top down. A module may import from its own line (but not in a circle) and from every line below it. A name
# stands for a module and all that is in it. "cgctl" is the facade: what `import cgctl` shows.
LAYERS = (
    ("__main__", "cli"),
    ("cgctl",),
    ("testing", "metrics"),
    (
        "group",
        "runner",
        "launching",
        "leaf",
        "system",
        "address",
        "claim",
        "block",
        "making",
        "owning",
        "guarding",
        "joined",
    ),
    ("delegating", "peaks", "events", "sampling"),
    ("killing", "freezing"),
    ("reading", "members"),
    ("gathering",),
    ("launch",),
    ("rootfs",),
    ("systemd", "owner"),
    ("fake",),
    ("filesystem",),
    ("bpf",),
    ("plan", "diagnose"),
    ("layout",),
    ("controllers",),
    ("convert", "names", "marks"),
    ("mounts",),
    ("formats", "units", "errors", "remembering", "closing"),
)

# What may be imported from above for annotations alone (`if TYPE_CHECKING:`), with the reason.
TYPE_ONLY = {
    ("fake", "group"): "the fake's tasks are spawned in a Group",
}

RANKS = {name: -height for height, names in enumerate(LAYERS) for name in names}


class Import(NamedTuple):
    """One import statement's view of one module."""

    importer: str
    imported: str
    line: int
    for_types: bool
    lazy: bool


def _package() -> Path:
    """Find cgctl's source, in the tree or installed, without importing it."""
    spec = importlib.util.find_spec("cgctl")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent


def _modules() -> dict[str, Path]:
    """Every module of the package: ``{"cgctl.launch.plan": path}``."""
    package = _package()
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = list(path.relative_to(package.parent).with_suffix("").parts)
        if parts[-1] == "__init__":
            parts.pop()
        modules[".".join(parts)] = path
    return modules


MODULES = _modules()


def _layer(module: str) -> str:
    """Name the row entry of a module: ``cgctl.launch.plan`` is in ``launch``, and ``cgctl`` is the facade."""
    return module.split(".")[1] if "." in module else module


def _is_type_checking(test: ast.expr) -> bool:
    return (isinstance(test, ast.Name) and test.id == "TYPE_CHECKING") or (
        isinstance(test, ast.Attribute) and test.attr == "TYPE_CHECKING"
    )


class _Imports(ast.NodeVisitor):
    """Collects the imports of cgctl's own modules."""

    def __init__(self, module: str, modules: frozenset[str]) -> None:
        self.module = module
        self.modules = modules
        self.found: list[Import] = []
        self.for_types = False
        self.lazy = False

    def _add(self, name: str, line: int) -> None:
        self.found.append(Import(self.module, name, line, self.for_types, self.lazy))

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            if alias.name.split(".")[0] == "cgctl":
                self._add(alias.name, node.lineno)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, f"{self.module}:{node.lineno}: a relative import"
        name = node.module or ""
        if name.split(".")[0] != "cgctl":
            return
        for alias in node.names:
            submodule = f"{name}.{alias.name}"
            self._add(submodule if submodule in self.modules else name, node.lineno)

    def visit_Call(self, node: ast.Call) -> None:
        match node:
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ) if name.split(".")[0] == "cgctl":
                self._add(name, node.lineno)
            case _:
                pass
        self.generic_visit(node)

    def visit_If(self, node: ast.If) -> None:
        if not _is_type_checking(node.test):
            self.generic_visit(node)
            return
        before, self.for_types = self.for_types, True
        for statement in node.body:
            self.visit(statement)
        self.for_types = before
        for statement in node.orelse:
            self.visit(statement)

    def _visit_function(self, node: ast.AST) -> None:
        before, self.lazy = self.lazy, True
        self.generic_visit(node)
        self.lazy = before

    visit_FunctionDef = visit_AsyncFunctionDef = visit_Lambda = _visit_function  # noqa: N815 - ast's names


def imports(module: str, source: str, modules: frozenset[str] = frozenset(MODULES)) -> list[Import]:
    """Read the imports of cgctl's own modules out of the source of one of them."""
    visitor = _Imports(module, modules)
    visitor.visit(ast.parse(source))
    return visitor.found


def violations(found: list[Import]) -> list[str]:
    """Say which imports point up."""
    wrong = []
    for item in found:
        importer, imported = _layer(item.importer), _layer(item.imported)
        if RANKS[imported] <= RANKS[importer]:
            continue
        if item.for_types and (importer, imported) in TYPE_ONLY:
            continue
        wrong.append(f"{item.importer}:{item.line} imports {item.imported}, which is above it")
    return wrong


def circle(found: list[Import]) -> list[str]:
    """Find modules that import each other while they are being imported; a function's imports come later."""
    graph: dict[str, set[str]] = {}
    for item in found:
        # A package is above its own modules: importing one of them runs its __init__ first, which is no circle.
        if not (item.for_types or item.lazy or item.imported == item.importer):
            graph.setdefault(item.importer, set()).add(item.imported)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return [str(name) for name in error.args[1]]
    return []


class TestTheHelper:
    """The rooms of the launch helper, which run where there is no cgctl."""

    @pytest.mark.parametrize("room", ROOMS)
    def test_a_room_imports_those_before_it(self, room: str) -> None:
        """Of cgctl, nothing but the rooms that are packed before."""
        before = {*ROOMS[: ROOMS.index(room)]}
        found = imports(room, MODULES[room].read_text(encoding="utf-8"))

        assert {item.imported for item in found if not item.for_types} <= before

    def test_every_room_is_packed(self) -> None:
        """And none is forgotten."""
        assert {module for module in MODULES if module.startswith(f"{NAME}.")} <= {*ROOMS}


class TestThePackage:
    """The source as it is."""

    def test_every_module_has_a_layer(self) -> None:
        """A new module must be given its place in the table."""
        unknown = sorted({_layer(module) for module in MODULES} - RANKS.keys())

        assert unknown == []

    @pytest.mark.parametrize("module", MODULES)
    def test_imports_point_down(self, module: str) -> None:
        """No module imports from a layer above its own."""
        assert violations(imports(module, MODULES[module].read_text(encoding="utf-8"))) == []

    def test_no_circles(self) -> None:
        """No two modules need each other to be imported."""
        found = [item for module, path in MODULES.items() for item in imports(module, path.read_text(encoding="utf-8"))]

        assert circle(found) == []


KNOWN = frozenset({"cgctl", "cgctl.fake", "cgctl.group", "cgctl.plan", "cgctl.launch.plan", "cgctl.units"})


class TestTheChecker:
    """The check itself: it must see what it is there to see."""

    @pytest.mark.parametrize(
        "source",
        [
            "import cgctl.group",
            "import cgctl.group as g",
            "from cgctl import group",
            "from cgctl.group import Group",
            "from cgctl import Group",
            "import cgctl",
            "def lazily():\n    from cgctl.group import Group",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cgctl.group import Group",
            "try:\n    import cgctl.group\nexcept ImportError:\n    pass",
            "import importlib\nimportlib.import_module('cgctl.group')",
        ],
    )
    def test_sees_an_upward_import(self, source: str) -> None:
        """However it is written, an import from above is found."""
        assert len(violations(imports("cgctl.plan", source, KNOWN))) == 1

    @pytest.mark.parametrize(
        "source",
        ["from cgctl.units import MAX", "from cgctl import units", "import cgctl.plan", "import os, json"],
    )
    def test_lets_others_pass(self, source: str) -> None:
        """What is on the same line of the table or below, or not ours, is fine."""
        assert violations(imports("cgctl.diagnose", source, KNOWN)) == []

    def test_types_from_above_only_where_the_table_says(self) -> None:
        """An exception is for annotations alone."""
        guarded = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from cgctl.group import Group"

        assert violations(imports("cgctl.fake", guarded, KNOWN)) == []
        assert len(violations(imports("cgctl.fake", "from cgctl.group import Group", KNOWN))) == 1
        assert len(violations(imports("cgctl.fake", guarded + "\nelse:\n    import cgctl.group", KNOWN))) == 1

    def test_sees_a_circle(self) -> None:
        """Two modules on one line may not import each other at import time."""
        there = imports("cgctl.plan", "import cgctl.diagnose", KNOWN)

        assert circle(there + imports("cgctl.diagnose", "import cgctl.plan", KNOWN)) != []
        assert circle(there + imports("cgctl.diagnose", "def f():\n    import cgctl.plan", KNOWN)) == []

    def test_a_relative_import_is_refused(self) -> None:
        """Absolute names only: they can be checked by eye."""
        with pytest.raises(AssertionError, match="a relative import"):
            imports("cgctl.plan", "from . import units", KNOWN)
