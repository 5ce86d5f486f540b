"""docs/command-line.md says what the command does."""

from __future__ import annotations

import re
from pathlib import Path

from openamp.cli.common import EXIT_CODES_HELP, ExitCode

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "command-line.md").read_text()


def rows(title: str) -> list[str]:
    """Returns the first cells of the table with this title cell."""
    table = PAGE.split(f"| {title} |", 1)[1].split("\n\n", 1)[0]
    return [re.sub(r"^\| (.*?) \|.*", r"\1", line) for line in table.splitlines()[2:]]


def test_exit_statuses() -> None:
    assert [int(cell) for cell in rows("status")] == [code.value for code in ExitCode]
    for code in ExitCode:
        assert re.search(rf"\b{code.value} ", EXIT_CODES_HELP)


def test_events_of_run() -> None:
    documented = {name for cell in rows("event") for name in re.findall(r"`([\w-]+)`", cell)}
    sources = "".join((ROOT / "src" / "openamp" / "cli" / name).read_text() for name in ("run.py", "live.py"))
    emitted = set(re.findall(r'\.event\(\s*"([\w-]+)"', sources)) | {"output", "error"}
    assert documented == emitted


def test_verbs() -> None:
    verbs = set(re.findall(r'app\.command\("([\w-]+)"\)', (ROOT / "src" / "openamp" / "cli" / "app.py").read_text()))
    assert verbs == set(re.findall(r"^\| `openamp ([a-z-]+)[ `]", PAGE, re.MULTILINE)) - {"--version"}
