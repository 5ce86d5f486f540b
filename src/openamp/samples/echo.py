"""The echo test: every message comes back as it was sent.

The host sends messages of every size on `rpmsg-openamp-demo-channel` and compares; then it sends the shutdown message,
and the remote takes its channel back. As OpenAMP's rpmsg-ping (the host) and rpmsg-echo (the remote).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from openamp.rpmsg import Bus, Endpoint
from openamp.samples.common import DEMO_SERVICE, Mismatch, Mismatches, Result, Served, end_remote, plan_sizes
from openamp.server import Server

__all__ = ["EchoResult", "exchange", "host", "remote"]


def host(
    bus: Bus,
    *,
    sizes: Sequence[int] | None = None,
    count: int = 1,
    timeout: float | None = 5.0,
    grace: float = 2.0,
) -> Result:
    """Tests an echo, and ends the remote.

    Args:
        bus: the host's.
        sizes: of the payloads; None takes each from 1 to what a message carries, 496 bytes as a rule.
        count: how often to go through the sizes.
        timeout: seconds to wait for the remote's announcement, and for each answer.
        grace: seconds that the remote may take to end; 0 leaves it alone.
    """
    with bus.create_endpoint(DEMO_SERVICE, timeout=timeout) as endpoint:
        plan = plan_sizes(endpoint, sizes)
        begin = time.perf_counter()
        found = exchange(endpoint, plan, count, timeout)
        seconds = time.perf_counter() - begin
        return Result(
            num_messages=len(found.latencies),
            num_bytes=found.num_bytes,
            seconds=seconds,
            num_errors=found.num_errors,
            mismatches=found.mismatches,
            ended_after=end_remote(bus, endpoint, grace=grace),
        )


def remote(bus: Bus) -> Served:
    """Sends everything back until the shutdown message comes, or the host ends us."""
    server = Server(bus)
    server.add_service(DEMO_SERVICE, lambda message: message)
    ended = server.serve_forever()
    return Served(server.num_requests, ended)


class EchoResult(NamedTuple):
    """Round trips and what was wrong with them; latencies in nanoseconds, in order."""

    latencies: tuple[int, ...]
    num_bytes: int
    num_errors: int
    mismatches: tuple[Mismatch, ...]


def exchange(endpoint: Endpoint, sizes: Sequence[int], count: int, timeout: float | None) -> EchoResult:
    """Sends a message of each size, `count` times over, and compares the answers."""
    latencies: list[int] = []
    wrong = Mismatches()
    clock = time.perf_counter_ns
    for number, (size, round_) in enumerate((s, r) for r in range(count) for s in sizes):
        message = bytes((size + round_ + i * 7) & 0xFF for i in range(size))
        sent = clock()
        endpoint.send(message, timeout=timeout)
        answer = endpoint.receive(timeout=timeout)
        latencies.append(clock() - sent)
        wrong.check(number, message, answer)
    return EchoResult(tuple(latencies), 2 * count * sum(sizes), wrong.count, tuple(wrong.kept))
