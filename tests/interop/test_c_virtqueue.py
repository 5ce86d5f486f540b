"""Our driver against the firmware's device side in C, in two processes that sleep whenever they may."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from support.queue_host import Host
from support.queues import FORMS

pytestmark = pytest.mark.toolchain

HERE = Path(__file__).parent
LIBRARY = HERE.parents[1] / "firmware" / "lib"


@pytest.fixture(scope="module")
def peer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("peer") / "virtqueue_peer"
    sources = [str(HERE / "virtqueue_peer.c"), str(LIBRARY / "virtqueue.c")]
    command = ["cc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{LIBRARY}", "-o", str(program), *sources]
    subprocess.run(command, check=True, timeout=60)
    return program


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("num", [1, 4, 64, 1024])
def test_nothing_is_lost_between_our_driver_and_a_c_device(peer: Path, form: str, num: int) -> None:
    host = Host(FORMS[form], num, seed=num)
    fds = [host.memory.fd, host.other_bell, host.bell]
    with subprocess.Popen([str(peer), *map(str, fds), str(num), "7"], pass_fds=fds) as process:
        try:
            host.exchange(5000, lambda: process.wait(timeout=20))
            assert process.returncode == 0
        finally:
            process.kill()
    host.close()
