"""The flood: as many numbered messages as the buffers take, and each must come back once, in order, unchanged.

As OpenAMP's rpmsg-flood-ping (the host); its remote, rpmsg-update, is an echo.
"""

from __future__ import annotations

import time

from openamp.errors import HostShutdown, NotBoundError
from openamp.rpmsg import Bus
from openamp.samples.common import DEMO_SERVICE, Mismatches, Numbered, Result, Served, end_remote, plan_sizes
from openamp.server import SHUTDOWN_MESSAGE, Ended

__all__ = ["host", "remote"]

_BATCH = 64
_WINDOW = 1024
"""Messages under way, at most; more would only wait in lists."""


def host(bus: Bus, *, count: int = 100_000, size: int = 64, timeout: float | None = 5.0, grace: float = 2.0) -> Result:
    """Floods an echo, and ends the remote.

    Args:
        bus: the host's.
        count: messages to send.
        size: of each payload in bytes; from 8 on every message is told apart by its number.
        timeout: seconds to wait for the remote's announcement, and for the next answer.
        grace: seconds that the remote may take to end; 0 leaves it alone.
    """
    wrong = Mismatches()
    sent = received = 0
    with bus.create_endpoint(DEMO_SERVICE, timeout=timeout) as endpoint:
        plan_sizes(endpoint, (size,))
        begin = time.perf_counter()
        while received < count:
            if sent < count:
                batch = [Numbered.message(number, size) for number in range(sent, min(sent + _BATCH, count))]
                endpoint.send_many(batch, timeout=timeout)
                sent += len(batch)
            while sent - received > (_WINDOW if sent < count else 0):
                for answer in endpoint.receive_many(timeout=timeout):
                    wrong.check(received, Numbered.message(received, size), answer)
                    received += 1
        seconds = time.perf_counter() - begin
        ended = end_remote(bus, endpoint, grace=grace)
    return Result.of(count, 2 * count * size, seconds, wrong, ended)


def remote(bus: Bus) -> Served:
    """Sends everything back in batches, until the shutdown message comes, or the host ends us."""
    answered = 0
    try:
        with bus.create_endpoint(DEMO_SERVICE) as endpoint:
            while True:
                try:
                    batch = endpoint.receive_many()
                except NotBoundError:  # the host closed its endpoint; it may make another one
                    endpoint.wait_bound()
                    continue
                last = next((i for i, message in enumerate(batch) if message.startswith(SHUTDOWN_MESSAGE)), None)
                try:
                    endpoint.send_many(batch[:last])
                    answered += len(batch[:last])
                except NotBoundError:  # it does not want the answers any more
                    continue
                if last is not None:
                    return Served(answered, Ended.STOPPED)
    except HostShutdown:
        return Served(answered, Ended.HOST)
