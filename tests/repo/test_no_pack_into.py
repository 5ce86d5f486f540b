"""`pack_into` clears its destination before it writes: a peer that looks meanwhile reads zeros.

Anything the peer may read now is stored through an item of a cast memoryview, or as a whole slice.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src"
MODULES = sorted(SRC.rglob("*.py"))

# Path below src: why nobody else can see what it packs into.
ALLOWED: dict[str, str] = {}


def uses(tree: ast.AST) -> list[int]:
    """The lines that name pack_into, as an attribute, by import or as text for getattr."""
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr == "pack_into")
        or (isinstance(node, ast.Name) and node.id == "pack_into")
        or (isinstance(node, ast.Constant) and node.value == "pack_into")
        or (isinstance(node, ast.ImportFrom) and any(alias.name == "pack_into" for alias in node.names))
    ]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_nothing_is_packed_into_live_memory(path: Path) -> None:
    found = uses(ast.parse(path.read_text()))
    if str(path.relative_to(SRC)) in ALLOWED:
        assert found, "the exception is no longer needed: take it out of ALLOWED"
    else:
        assert not found, f"{path}:{found[0]}: store through a cast memoryview's item, or assign a whole slice"


@pytest.mark.parametrize(
    "source",
    ["import struct\nstruct.pack_into('<I', b, 0, 1)", "from struct import pack_into", "getattr(HEADER, 'pack_into')"],
)
def test_the_ban_sees_every_spelling(source: str) -> None:
    assert uses(ast.parse(source))
