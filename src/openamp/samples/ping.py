"""The sample client: a greeting goes back and forth a hundred times.

The host sends "hello world!" on `rpmsg-client-sample`, and "goodbye!" the last time; the remote sends back as many
messages as were agreed, a hundred, and ends by itself. As OpenAMP's rpmsg-sample-ping (the host) and
rpmsg-sample-echo (the remote); Linux's driver rpmsg_client_sample is such a host, too.
"""

from __future__ import annotations

import time
from typing import Final

from openamp.rpmsg import Bus
from openamp.samples.common import Mismatches, Result, Served, end_remote
from openamp.server import Server

__all__ = ["GOODBYE", "HELLO", "SERVICE", "host", "remote"]

SERVICE: Final = "rpmsg-client-sample"
HELLO: Final = b"hello world!"
GOODBYE: Final = b"goodbye!"


def host(bus: Bus, *, count: int = 100, timeout: float | None = 5.0, grace: float = 2.0) -> Result:
    """Greets the remote, says goodbye, and waits until it has ended.

    Args:
        bus: the host's.
        count: messages to send; the remote's count must be the same.
        timeout: seconds to wait for the remote's announcement, and for each answer.
        grace: seconds that the remote may take to end after the last answer.
    """
    wrong = Mismatches()
    num_bytes = 0
    with bus.create_endpoint(SERVICE, timeout=timeout) as endpoint:
        begin = time.perf_counter()
        for number in range(count):
            message = HELLO if number < count - 1 else GOODBYE
            endpoint.send(message, timeout=timeout)
            answer = endpoint.receive(timeout=timeout)
            wrong.check(number, message, answer)
            num_bytes += len(message) + len(answer)
        seconds = time.perf_counter() - begin
        ended = end_remote(bus, endpoint, grace=grace, ask=False)
    return Result.of(count, num_bytes, seconds, wrong, ended)


def remote(bus: Bus, *, count: int = 100) -> Served:
    """Sends `count` messages back, and ends."""
    server = Server(bus)

    def answer(message: bytes) -> bytes:
        if server.num_requests >= count:
            server.stop()
        return message

    server.add_service(SERVICE, answer, shutdown=None)
    ended = server.serve_forever()
    return Served(server.num_requests, ended)
