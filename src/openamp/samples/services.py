"""Several services at a time on one device.

| service | its answer | known from |
|---|---|---|
| `rpmsg-openamp-demo-channel` | the message | OpenAMP's echo; its shutdown message ends all |
| `rpmsg-client-sample` | the message | Linux's sample driver |
| `rpmsg-tty` | "TTY 0: " and the message | OpenAMP's rpmsg_multi_services for Zephyr |
| `rpmsg-raw` | "from ept 0x0403: " and the message | the same; the number is the service's address |
| address 100, not announced | the message in upper case | our firmware `services` |

The host talks to all that the remote has, in turns. The last two of the names answer with a NUL at the end, as the C
program does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

from openamp.errors import TimeoutExpired
from openamp.rpmsg import ADDR_ANY, Bus, Endpoint
from openamp.samples.common import DEMO_SERVICE, Mismatches, Result, Served, end_remote
from openamp.samples.ping import SERVICE as CLIENT_SERVICE
from openamp.server import SHUTDOWN_MESSAGE, Server

__all__ = ["RAW_SERVICE", "TTY_SERVICE", "UPPER_ADDRESS", "host", "remote"]

TTY_SERVICE: Final = "rpmsg-tty"
RAW_SERVICE: Final = "rpmsg-raw"
UPPER_ADDRESS: Final = 100
_QUIET = 0.1
"""Seconds without a further announcement after which the remote has made all of them."""


class _Service(NamedTuple):
    """How a service answers: from the message and its own address; `extra` bytes behind that are not looked at."""

    answer: Callable[[bytes, int], bytes]
    extra: int = 0


_SERVICES = {
    DEMO_SERVICE: _Service(lambda message, address: message),
    CLIENT_SERVICE: _Service(lambda message, address: message),
    TTY_SERVICE: _Service(lambda message, address: b"TTY 0: " + message, 1),
    RAW_SERVICE: _Service(lambda message, address: b"from ept 0x%04x: " % address + message, 1),
}
_UPPER = _Service(lambda message, address: message.upper())


def host(bus: Bus, *, count: int = 100, static: bool = True, timeout: float | None = 5.0, grace: float = 2.0) -> Result:
    """Talks to all services of the remote in turns, and ends it.

    Args:
        bus: the host's.
        count: messages to each service.
        static: the remote has the service at address 100.
        timeout: seconds to wait for the remote's first announcement, and for each answer.
        grace: seconds that the remote may take to end; 0 leaves it alone.
    """
    wrong = Mismatches()
    num_bytes = 0
    talks = [(endpoint, _SERVICES[endpoint.name]) for endpoint in _find(bus, timeout)]
    if static:
        talks.append((bus.create_endpoint(dst=UPPER_ADDRESS), _UPPER))
    begin = time.perf_counter()
    for number in range(count):
        message = b"message %d" % number
        for endpoint, _ in talks:
            endpoint.send(message, timeout=timeout)
        for endpoint, service in reversed(talks):
            received = endpoint.receive(timeout=timeout)
            wrong.check(number, service.answer(message, endpoint.dst), received[: len(received) - service.extra])
            num_bytes += len(message) + len(received)
    seconds = time.perf_counter() - begin
    demo = next((endpoint for endpoint, _ in talks if endpoint.name == DEMO_SERVICE), None)
    ended = end_remote(bus, demo, grace=grace) if demo is not None else None
    for endpoint, _ in talks:
        endpoint.close()
    return Result.of(count * len(talks), num_bytes, seconds, wrong, ended)


def _find(bus: Bus, timeout: float | None) -> list[Endpoint]:
    """Returns an endpoint for each channel of the remote that we know how to talk to."""
    deadline = None if timeout is None else time.monotonic() + timeout
    while not (channels := [channel for channel in bus.channels if channel.name in _SERVICES]):
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise TimeoutExpired(
                f"the remote announced none of {', '.join(_SERVICES)} within {timeout} s; announced channels: "
                f"{', '.join(channel.name for channel in bus.channels) or 'none'}",
                timeout=timeout,
            )
        bus.wait(timeout=left)
    while bus.wait(timeout=_QUIET):
        channels = [channel for channel in bus.channels if channel.name in _SERVICES]
    return [bus.create_endpoint(channel.name, dst=channel.dst) for channel in channels]


def remote(bus: Bus) -> Served:
    """Serves all of them until the shutdown message comes, or the host ends us."""
    server = Server(bus)

    def add(name: str, service: _Service, src: int = ADDR_ANY, shutdown: bytes | None = None) -> None:
        def answer(message: bytes) -> bytes:
            return service.answer(message, endpoint.src) + bytes(service.extra)

        endpoint = server.add_service(name, answer, src=src, shutdown=shutdown)

    for name, service in _SERVICES.items():
        add(name, service, shutdown=SHUTDOWN_MESSAGE if name == DEMO_SERVICE else None)
    add("", _UPPER, src=UPPER_ADDRESS)
    ended = server.serve_forever()
    return Served(server.num_requests, ended)
