"""Driver and device in two processes, asleep whenever they may be: no wake-up and no byte is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support.queue_host import Host
from support.queues import FORMS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("device", FORMS)
@pytest.mark.parametrize("driver", FORMS)
@pytest.mark.parametrize("num", [1, 4, 64])
def test_nothing_is_lost_between_two_processes(driver: str, device: str, num: int) -> None:
    host = Host(FORMS[driver], num, seed=num)
    fds = [host.memory.fd, host.other_bell, host.bell]
    environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}"}
    environment["OPENAMP_PLAIN"] = "1" if device == "plain" else "0"
    command = [sys.executable, "-m", "support.queue_peer", *map(str, fds), str(num), "7"]
    with subprocess.Popen(command, pass_fds=fds, env=environment) as peer:
        try:
            host.exchange(3000, lambda: peer.wait(timeout=20))
            assert peer.returncode == 0
        finally:
            peer.kill()
    host.close()
