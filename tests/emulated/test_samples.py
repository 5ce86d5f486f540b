"""The samples' host sides at the firmware that comes with the package."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

import openamp
from openamp import images
from openamp.cli.app import app
from openamp.samples import SAMPLES


@pytest.mark.parametrize("board", ["stm32mp157", "virt-m0", "virt-rv32", "virt-rv64"])
@pytest.mark.parametrize(
    ("name", "options", "messages"),
    [
        ("echo", {}, 496),
        ("nocopy", {}, 496),
        ("matrix", {"count": 20}, 20),
        ("flood", {"count": 500}, 500),
        ("services", {"count": 20}, 60),
        ("ping", {"grace": 0}, 100),
    ],
)
def test_at_the_firmware(board: str, name: str, options: dict[str, object], messages: int) -> None:
    sample = SAMPLES[name]
    with openamp.open("emulated", board=board) as rproc:
        rproc.boot(images.path(sample.firmware, board))
        result = sample.host(rproc.bus, **options)
    assert (result.num_messages, result.num_errors) == (messages, 0)
    if name != "ping":  # it ends by itself after a hundred messages, our firmware does not
        assert result.ended_after is not None


@pytest.mark.parametrize("arguments", [["--board", "virt-rv32"], ["--image", str(images.path("matrix", "virt-rv32"))]])
def test_the_command(arguments: list[str]) -> None:
    result = CliRunner().invoke(
        app, ["sample", "matrix", "--platform", "emulated", "--count", "5", "--json", *arguments]
    )
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["platform"], found["messages"], found["errors"]) == ("emulated", 5, 0)
