"""Many remotes in one process: memory each and time in total, from open to a first echo with every one of them.

python benchmarks/many_remotes.py [NUMBER] [BOARD]
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

import openamp
from openamp import images

CHANNEL = "rpmsg-openamp-demo-channel"


def resident() -> int:
    """Returns this process's resident memory in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def main(number: str = "64", board: str = "virt-m4") -> None:
    """Boots `number` remotes, echoes with all of them, and prints what that took."""
    count = int(number)
    with contextlib.ExitStack() as stack:
        before = begin = 0.0
        endpoints = []
        for index in range(count):
            if index == 1:  # the first one pays for imports
                before, begin = resident(), time.perf_counter()
            rproc = stack.enter_context(openamp.open("emulated", board=board))
            rproc.boot(images.path("echo", board))
            endpoints.append(rproc.create_endpoint(CHANNEL))
        booted = time.perf_counter()
        for index, endpoint in enumerate(endpoints):
            endpoint.send(b"hello %d" % index)
        for index, endpoint in enumerate(endpoints):
            if endpoint.receive(timeout=1.0) != b"hello %d" % index:
                raise SystemExit("an echo came back changed")
        echoed = time.perf_counter()
        each = (resident() - before) / (count - 1)
        print(
            f"{count} remotes on {board}: {(booted - begin) * 1e3:.0f} ms to boot {count - 1} of them "
            f"({(booted - begin) / (count - 1) * 1e3:.1f} ms each), {(echoed - booted) * 1e3:.1f} ms for an echo with "
            f"each, {each / 2**20:.2f} MiB resident each"
        )
        begin = time.perf_counter()
    print(f"closing all of them: {(time.perf_counter() - begin) * 1e3:.0f} ms")


if __name__ == "__main__":
    main(*sys.argv[1:])
