"""What the README and the documentation show runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import openamp

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(p for p in (ROOT / "examples").glob("*.py") if not p.name.startswith(("test_", "remote_")))


def run(*arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_readme_runs() -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert run("-c", block) == "b'hello'\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_run(path: Path) -> None:
    assert run(str(path))


def test_the_example_of_a_test_passes() -> None:
    output = run(
        "-m", "pytest", "-q", "-c", os.devnull, "-p", "no:cacheprovider", str(ROOT / "examples" / "test_my_firmware.py")
    )
    assert "4 passed" in output


def test_links_in_the_documentation_lead_somewhere() -> None:
    pages = [ROOT / "README.md", ROOT / "firmware" / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_the_example_of_a_remote_process() -> None:
    with openamp.open("process", env={"PYTHONPATH": str(ROOT / "src")}) as rproc:
        rproc.boot(ROOT / "examples" / "remote_echo.py")
        with rproc.create_endpoint("rpmsg-openamp-demo-channel", timeout=20) as endpoint:
            endpoint.send(b"hello")
            assert endpoint.receive(timeout=5) == b"hello"
