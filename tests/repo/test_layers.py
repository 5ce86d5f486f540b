"""A room imports only from rooms above it: the architecture as a test."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"

# From the top down. A module belongs to the longest prefix; platforms never import each other.
ROOMS = [
    "openamp.errors",
    "openamp.memory",
    "openamp.firmware",
    "openamp.resource_table",
    "openamp.virtio",
    "openamp.rpmsg",
    "openamp.link",
    "openamp.carveout",
    "openamp.answers",
    "openamp.trace",
    "openamp.remoteproc",
    "openamp.remote",
    "openamp.server",
    "openamp.images",
    "openamp.platforms",
    "openamp.registry",
    "openamp",
    "openamp.lcm",
    "openamp.aio",
    "openamp.rpc",
    "openamp.samples",
    "openamp.testing",
    "openamp.cli",
    "openamp.__main__",
]
MODULES = sorted(SRC.rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room(module: str) -> str:
    fitting = [r for r in ROOMS if module == r or (r != "openamp" and module.startswith(r + "."))]
    return max(fitting, key=len) if fitting else ""


def imports(path: Path) -> list[tuple[str, int]]:
    """Every module of ours that the file imports, anywhere in it, with the line."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            module = node.module or ""
            submodules = [f"{module}.{alias.name}" for alias in node.names]
            known = {module_name(p) for p in MODULES}
            inner = [name for name in submodules if name in known]
            found += [(name, node.lineno) for name in inner] or [(module, node.lineno)]
    return [(name, line) for name, line in found if name == "openamp" or name.startswith("openamp.")]


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_only_from_rooms_above(path: Path) -> None:
    importer = module_name(path)
    here = room(importer)
    assert here, f"{importer} is in no room: add it to ROOMS and to the architecture"
    for imported, line in imports(path):
        there = room(imported)
        assert there, f"{path}:{line}: {imported} is in no room"
        assert ROOMS.index(there) <= ROOMS.index(here), (
            f"{path}:{line}: {importer} ({here}) imports {imported} ({there}), which is below it"
        )
        if here == there == "openamp.platforms":
            own, other = importer.split(".")[2:3], imported.split(".")[2:3]
            assert own == other, f"{path}:{line}: platforms do not import each other"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_public_modules_say_what_is_public(path: Path) -> None:
    name = path.stem
    if (name.startswith("_") and name != "__init__") or name == "__main__":
        return
    tree = ast.parse(path.read_text())
    body = [node for node in tree.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    if not any(isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Assign) for node in body):
        return
    assigned = {t.id for node in body if isinstance(node, ast.Assign) for t in node.targets if isinstance(t, ast.Name)}
    assert "__all__" in assigned, f"{path} has no __all__"
    assert ast.get_docstring(tree), f"{path} has no docstring"


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_module_stays_readable(path: Path) -> None:
    # A compiled module is one translation unit: what a hot loop calls in C has to be in the same file.
    limit = 800 if path.with_suffix(".pxd").exists() else 700
    assert len(path.read_text().splitlines()) <= limit, f"{path} is too long: split it"
