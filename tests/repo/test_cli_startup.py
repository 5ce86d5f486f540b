"""`openamp --help` imports nothing heavy: a regression here is felt at every use of the command."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).parents[2] / "src"
HEAVY = ("unicorn", "elftools", "bincopy", "rich.table", "numpy", "asyncio", "importlib.metadata")


def imported_by(*arguments: str) -> set[str]:
    code = (
        "import sys\n"
        f"sys.argv = ['openamp', *{arguments!r}]\n"
        "from openamp.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SRC)},
        timeout=60,
        check=True,
    )
    return set(done.stderr.split())


def test_help_imports_nothing_heavy() -> None:
    modules = imported_by("--help")
    assert "typer" in modules
    assert not {name for name in HEAVY if name in modules} - {"rich.table"}
    ours = {name for name in modules if name.startswith("openamp")}
    assert {name for name in ours if not name.startswith("openamp.cli")} <= {"openamp", "openamp.errors"}


def test_boards_needs_no_engine() -> None:
    modules = imported_by("boards")
    assert "unicorn" not in modules
    assert "elftools" not in modules
