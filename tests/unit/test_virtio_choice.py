"""Which form of the queues runs, and that a compiled one never hides a newer source."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

import openamp
from openamp import virtio
from openamp.virtio import virtqueue
from openamp.virtio._choice import choose

PACKAGE = Path(openamp.__file__).parent
ASK = """
from openamp import virtio
from openamp.rpmsg import rings
from openamp.virtio import virtqueue
print(virtio.implementation, virtqueue.__file__, rings.__file__)
"""


def ask(root: Path, plain: str | None = None, *options: str) -> subprocess.CompletedProcess[str]:
    """Asks a fresh interpreter, with the package under `root`, which form it runs."""
    environment = {key: value for key, value in os.environ.items() if key != "OPENAMP_PLAIN"}
    environment |= {"PYTHONPATH": str(root), **({} if plain is None else {"OPENAMP_PLAIN": plain})}
    command = [sys.executable, *options, "-c", ASK]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package's sources, without the compiled form."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.elf")
    shutil.copytree(PACKAGE, tmp_path / "openamp", ignore=ignored)
    return tmp_path


def test_implementation_says_what_runs() -> None:
    built = any(virtqueue.__file__.endswith(suffix) for suffix in EXTENSION_SUFFIXES)
    assert (virtio.implementation == "compiled") is built is virtqueue.COMPILED


@pytest.mark.parametrize("plain", ["1", "yes"])
def test_the_environment_chooses_the_plain_form(plain: str) -> None:
    answer = ask(PACKAGE.parent, plain, "-W", "error")
    sources = [str(PACKAGE / "virtio" / "virtqueue.py"), str(PACKAGE / "rpmsg" / "rings.py")]
    assert answer.stdout.split() == ["plain", *sources], answer.stderr


@pytest.mark.parametrize("plain", [None, "", "0"])
def test_otherwise_what_was_built_runs(plain: str | None) -> None:
    here = ask(PACKAGE.parent, plain)
    there = any((PACKAGE / "virtio" / f"virtqueue{suffix}").exists() for suffix in EXTENSION_SUFFIXES)
    if not there:
        assert here.stdout.split()[0] == "plain"
    elif "older than its source" not in here.stderr:
        assert here.stdout.split()[0] == "compiled"


def test_without_a_compiled_form_the_plain_one_runs(copy: Path) -> None:
    answer = ask(copy, None, "-W", "error")
    sources = [str(copy / "openamp" / "virtio" / "virtqueue.py"), str(copy / "openamp" / "rpmsg" / "rings.py")]
    assert answer.stdout.split() == ["plain", *sources], answer.stderr


@pytest.mark.parametrize("source", ["virtqueue.py", "virtqueue.pxd"])
def test_a_compiled_form_older_than_its_source_is_not_used(copy: Path, source: str) -> None:
    virtio_folder = copy / "openamp" / "virtio"
    built = virtio_folder / f"virtqueue{EXTENSION_SUFFIXES[0]}"
    built.write_bytes(b"no library at all")
    newest = (virtio_folder / source).stat().st_mtime
    os.utime(built, (newest - 10, newest - 10))
    answer = ask(copy)
    assert answer.stdout.split()[0] == "plain"
    assert "is older than its source" in answer.stderr
    assert "pip install -e ." in answer.stderr
    assert ask(copy, "1", "-W", "error").stdout.split()[0] == "plain", "on purpose: no warning"
    loud = ask(copy, None, "-W", "error")
    assert "is older than its source" in loud.stderr
    assert loud.returncode != 0


@pytest.mark.parametrize("source", ["a/module.py", "a/module.pxd", "b/layout.pxd"])
def test_every_file_that_a_module_is_made_from_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.delenv("OPENAMP_PLAIN", raising=False)
    built = tmp_path / "a" / f"module{EXTENSION_SUFFIXES[0]}"
    for name in ("a/module.py", "a/module.pxd", "b/layout.pxd"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    built.touch()
    modules = [("module.py", "module.pxd", "../b/layout.pxd")]
    choose([str(tmp_path / "a")], modules)
    newer = built.stat().st_mtime + 10
    os.utime(tmp_path / source, (newer, newer))
    with pytest.warns(RuntimeWarning, match="is older than its source"):
        choose([str(tmp_path / "a")], modules)


def test_compiled_rings_are_not_put_upon_plain_queues(copy: Path) -> None:
    """They would look for the queues' layout in C."""
    built = copy / "openamp" / "rpmsg" / f"rings{EXTENSION_SUFFIXES[0]}"
    built.write_bytes(b"no library at all")
    answer = ask(copy, None, "-W", "error")
    assert answer.stdout.split()[2:] == [str(copy / "openamp" / "rpmsg" / "rings.py")], answer.stderr


def test_files_of_one_installation_are_not_called_old(copy: Path) -> None:
    """An installer may write the source a moment after what was built from it."""
    virtio_folder = copy / "openamp" / "virtio"
    built = virtio_folder / f"virtqueue{EXTENSION_SUFFIXES[0]}"
    built.write_bytes(b"no library at all")
    newest = max((virtio_folder / name).stat().st_mtime for name in ("virtqueue.py", "virtqueue.pxd"))
    os.utime(built, (newest - 1, newest - 1))
    answer = ask(copy)
    assert "ImportError" in answer.stderr, "it is used, and says that it is no library"
    assert "older than" not in answer.stderr
