"""The samples' host sides at the firmware that comes with the package."""

from __future__ import annotations

import pytest

import openamp
from openamp import images
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
