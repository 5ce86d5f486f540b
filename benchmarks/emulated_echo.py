"""Echoes through an emulated core: round trips and bursts a second, instructions each, and the time to the first.

python benchmarks/emulated_echo.py [SECONDS] [BOARD...]
"""

from __future__ import annotations

import statistics
import sys
import time

import openamp
from openamp import images
from openamp.platforms.emulated import EmulatedPlatform

CHANNEL = "rpmsg-openamp-demo-channel"
BURST = 64


def measure(board: str, seconds: float) -> None:
    """Prints the figures of one board."""
    begin = time.perf_counter()
    platform = EmulatedPlatform(board)
    with openamp.RemoteProc(platform) as rproc:
        rproc.boot(images.path("echo", board))
        with rproc.create_endpoint(CHANNEL) as ept:
            ready = platform.statistics().instructions
            boot = time.perf_counter() - begin
            for size in (4, 496):
                payload = (bytes(range(256)) * 2)[:size]
                before = platform.statistics().instructions
                times = []
                end = time.perf_counter() + seconds
                while time.perf_counter() < end:
                    start = time.perf_counter()
                    ept.send(payload)
                    if ept.receive(timeout=1.0) != payload:
                        raise SystemExit("an echo came back changed")
                    times.append(time.perf_counter() - start)
                each = (platform.statistics().instructions - before) / len(times)
                rate = len(times) / sum(times)
                messages = burst(ept, payload, seconds)
                median = statistics.median(times) * 1e6
                print(
                    f"{board:<11} {size:>4} B  {rate:7.0f} round trips/s  median {median:6.1f} us  "
                    f"{each:6.0f} instructions/echo  {messages:7.0f} messages/s in bursts"
                )
            print(f"{board:<11} announced after {ready} instructions, {boot * 1e3:.1f} ms with the engine's creation")


def burst(ept: openamp.Endpoint, payload: bytes, seconds: float) -> float:
    """Returns messages a second when many are under way."""
    done = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        ept.send_many([payload] * BURST)
        left = BURST
        while left:
            left -= len(ept.receive_many(timeout=1.0))
        done += BURST
    return done / (time.perf_counter() - begin)


def main(seconds: str = "1", *boards: str) -> None:
    """Measures the boards named, or one of each kind."""
    for board in boards or ("virt-m4", "virt-rv32", "virt-rv64"):
        measure(board, float(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
