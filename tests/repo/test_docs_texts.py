"""The messages that the documentation quotes are those of the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TABLE = (ROOT / "docs" / "finding-out-why.md").read_text().split("|---|---|", 1)[1]
QUOTED = [text for row in re.findall(r"^\| (.*?) \|", TABLE, re.MULTILINE) for text in re.findall(r'"([^"]+)"', row)]


def texts() -> str:
    """Every string of the sources, with a gap where a value is put in."""
    found = []
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(str(v.value) if isinstance(v, ast.Constant) else "\0" for v in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


TEXTS = texts()


@pytest.mark.parametrize("quoted", QUOTED)
def test_quoted_messages_exist(quoted: str) -> None:
    for part in quoted.split(" ... "):
        assert part.removesuffix(" ...").removeprefix("... ") in TEXTS
