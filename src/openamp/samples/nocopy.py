"""The no-copy echo: messages are written, read and sent back in the shared buffers themselves.

The same on the wire as the echo test, with the numbered payloads of OpenAMP's rpmsg-nocopy-ping (the host) and
rpmsg-nocopy-echo (the remote).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from openamp.errors import HostShutdown, NotBoundError
from openamp.rpmsg import Bus
from openamp.samples.common import DEMO_SERVICE, Mismatches, Numbered, Result, Served, end_remote, plan_sizes
from openamp.server import SHUTDOWN_MESSAGE, Ended

__all__ = ["host", "remote"]


def host(
    bus: Bus,
    *,
    sizes: Sequence[int] | None = None,
    count: int = 1,
    timeout: float | None = 5.0,
    grace: float = 2.0,
) -> Result:
    """Tests an echo without copying, and ends the remote.

    Args:
        bus: the host's.
        sizes: of the payloads; None takes each from 1 to what a message carries.
        count: how often to go through the sizes.
        timeout: seconds to wait for the remote's announcement, and for each answer.
        grace: seconds that the remote may take to end; 0 leaves it alone.
    """
    wrong = Mismatches()
    with bus.create_endpoint(DEMO_SERVICE, timeout=timeout) as endpoint:
        plan = plan_sizes(endpoint, sizes)
        begin = time.perf_counter()
        for number, size in enumerate(size for _ in range(count) for size in plan):
            message = Numbered.message(number, size)
            with endpoint.borrow(size, timeout=timeout) as view:
                view[:] = message
            with endpoint.hold(timeout=timeout) as answer:
                if answer != message:
                    wrong.check(number, message, answer.tobytes())
        seconds = time.perf_counter() - begin
        ended = end_remote(bus, endpoint, grace=grace)
    return Result.of(count * len(plan), 2 * count * sum(plan), seconds, wrong, ended)


def remote(bus: Bus) -> Served:
    """Sends every message back out of the buffer in which it came, until the shutdown message or the host's end."""
    answered = 0
    try:
        with bus.create_endpoint(DEMO_SERVICE, zero_copy=True) as endpoint:
            while True:
                try:
                    with endpoint.hold() as message:
                        if message[: len(SHUTDOWN_MESSAGE)] == SHUTDOWN_MESSAGE:
                            return Served(answered, Ended.STOPPED)
                        endpoint.send(message)
                    answered += 1
                except NotBoundError:  # the host closed its endpoint; it may make another one
                    endpoint.wait_bound()
    except HostShutdown:
        return Served(answered, Ended.HOST)
