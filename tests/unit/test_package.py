"""The package's own names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import openamp

PACKAGE = Path(openamp.__file__).parent
ROOMS = {path.stem if path.is_file() else path.name for path in PACKAGE.iterdir() if not path.name.startswith("_")}


def test_no_public_name_is_a_modules() -> None:
    """Importing `openamp.x` puts the module in the place of a function `openamp.x`."""
    assert not ROOMS & set(openamp.__all__)


@pytest.mark.parametrize("name", openamp.__all__)
def test_public_names_are_there(name: str) -> None:
    assert getattr(openamp, name) is not None
    assert name in dir(openamp)


@pytest.mark.parametrize("name", ["errors", "images", "lcm", "resource_table"])
def test_modules_need_no_import_of_their_own(name: str) -> None:
    code = f"import sys, openamp; assert 'openamp.{name}' not in sys.modules; print(openamp.{name}.__name__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=PACKAGE.parent)
    assert done.stdout == f"openamp.{name}\n"


def test_what_is_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'opne'"):
        _ = openamp.opne  # type: ignore[attr-defined]


def test_platforms_are_listed() -> None:
    assert {"emulated", "loopback"} <= set(openamp.list_platforms())
