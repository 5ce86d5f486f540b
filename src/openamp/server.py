"""Simple servers on a bus: one function for each service, whose return value is the reply.

```python
with openamp.serve("process") as bus:
    server = openamp.Server(bus)

    @server.service("rpmsg-openamp-demo-channel")
    def echo(message: bytes) -> bytes:
        return message

    server.serve_forever()
```

It is for the remote's side in the first place; on a host's bus it offers services that the remote may find.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from openamp.errors import HostShutdown, StateError, TimeoutExpired
from openamp.rpmsg import ADDR_ANY, Bus, Endpoint, Payload

__all__ = ["SHUTDOWN_MESSAGE", "Ended", "Handler", "Server"]

SHUTDOWN_MESSAGE = (0xEF56A55A).to_bytes(4, "little")
"""What OpenAMP's samples send for "clean up and end"."""

Handler = Callable[[bytes], Payload | None]
"""Gets a message's payload; what it returns goes back to the sender, None sends nothing."""

H = TypeVar("H", bound=Handler)


class Ended(enum.Enum):
    """Why a server's run ended."""

    STOPPED = "stopped"  # by stop(), by `until`, or by the shutdown message
    HOST = "host"  # the host ended this remote's context


class Server:
    """Services on a bus, each a function.

    Use it from the bus's thread. The functions run within `run`, one after the other; replies wait for a free buffer.

    Args:
        bus: from `openamp.serve()`.
        on_error: called with what a service's function raises, and the server goes on; without it the error ends
            `run`, and with it, as a rule, the program: the host learns of it as a crash.

    Attributes:
        num_requests: messages that were given to a service's function.
    """

    def __init__(self, bus: Bus, *, on_error: Callable[[Exception], object] | None = None) -> None:
        self._bus = bus
        self._on_error = on_error
        self._endpoints: list[Endpoint] = []
        self._stopped = False
        self._closed = False
        self.num_requests = 0

    def service(
        self, name: str = "", *, src: int = ADDR_ANY, shutdown: bytes | None = SHUTDOWN_MESSAGE
    ) -> Callable[[H], H]:
        """Returns a decorator that makes a function a service; see `add_service`."""

        def decorate(handler: H) -> H:
            self.add_service(name, handler, src=src, shutdown=shutdown)
            return handler

        return decorate

    def add_service(
        self, name: str, handler: Handler, *, src: int = ADDR_ANY, shutdown: bytes | None = SHUTDOWN_MESSAGE
    ) -> Endpoint:
        """Announces a service and returns its endpoint.

        Args:
            name: the service's name; "" for one that is known by its address alone.
            handler: called with each message's payload.
            src: its address; ADDR_ANY takes the next free one.
            shutdown: a message that begins with these bytes stops the server; None has no such message.

        Raises:
            AddressInUseError, RpmsgError: as `Bus.create_endpoint`.
            StateError: when the server is closed.
        """
        if self._closed:
            raise StateError("the server is closed; make another one on the bus", state="closed")

        def receive(endpoint: Endpoint, data: Any, sender: int) -> None:
            if self._stopped:
                return
            if shutdown is not None and data.startswith(shutdown):
                self.stop()
                return
            self.num_requests += 1
            try:
                reply = handler(data)
                if reply is not None:
                    endpoint.send_to(reply, sender)
            except HostShutdown:
                raise
            except Exception as error:
                if self._on_error is None:
                    raise
                self._on_error(error)

        endpoint = self._bus.create_endpoint(name, src=src, callback=receive, announce=bool(name))
        self._endpoints.append(endpoint)
        return endpoint

    def stop(self) -> None:
        """Lets `run` end after the message that is being handled; messages that came after it are not."""
        self._stopped = True

    def run(self, *, until: Callable[[], bool] | None = None, timeout: float | None = None) -> Ended:
        """Serves until the host ends us, `stop` is called or `until()` is true, and closes the services.

        Closing tells the host: it sees the channels go.

        Args:
            until: looked at after everything that happens.
            timeout: seconds; None serves as long as it takes.

        Raises:
            TimeoutExpired: when the time passed before; the services are still there.
            Exception: what a service's function raised, unless there is an `on_error`.
            RemoteError: on a host's bus, when the remote ended.
        """
        try:
            ended = self._serve(until, timeout)
        except BaseException:
            self.close()
            raise
        if ended is None:
            raise TimeoutExpired(f"nothing ended the server within {timeout} s", timeout=timeout)
        self.close()
        return ended

    def _serve(self, until: Callable[[], bool] | None, timeout: float | None) -> Ended | None:
        deadline = None if timeout is None else time.monotonic() + timeout
        left = timeout
        while not self._stopped and not (until is not None and until()):
            if left is not None and left < 0:
                return None
            try:
                self._bus.wait(timeout=left)
            except HostShutdown:
                return Ended.HOST
            if deadline is not None:
                left = deadline - time.monotonic()
        return Ended.STOPPED

    def serve_forever(self) -> Ended:
        """Serves until the host ends us or `stop` is called: `run` without conditions."""
        return self.run()

    def close(self) -> None:
        """Closes the services, which tells the other side; harmless when repeated."""
        self._closed = True
        for endpoint in self._endpoints:
            endpoint.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
