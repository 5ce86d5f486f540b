"""The diagram in the documentation is the table in the code."""

from __future__ import annotations

import re
from pathlib import Path

from openamp.remoteproc import TRANSITIONS

PAGE = Path(__file__).parents[2] / "docs" / "life-cycle.md"


def test_the_diagram_is_the_table() -> None:
    arrows = re.findall(r"^    (\w+) --> (\w+): (\w+)$", PAGE.read_text(), re.MULTILINE)
    table = [(s.value, n.value, action) for s, actions in TRANSITIONS.items() for action, n in actions.items()]
    assert arrows == table
