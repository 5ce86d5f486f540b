"""A firmware's test with pytest, without a board."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import openamp
from openamp import images

FIRMWARE = images.path("echo", "stm32mp157")  # yours: "build/my-firmware.elf"


@pytest.fixture
def rproc() -> Iterator[openamp.RemoteProc]:
    with openamp.open("emulated", board="stm32mp157") as remote:
        remote.boot(FIRMWARE)
        yield remote


@pytest.mark.parametrize("size", [1, 100, 496])
def test_echo(rproc: openamp.RemoteProc, size: int) -> None:
    with rproc.create_endpoint("rpmsg-openamp-demo-channel") as endpoint:
        endpoint.send(bytes(size))
        assert endpoint.receive(timeout=1.0) == bytes(size)


def test_the_trace_tells_of_the_start(rproc: openamp.RemoteProc) -> None:
    rproc.create_endpoint("rpmsg-openamp-demo-channel")
    assert "host ready" in rproc.trace()
