"""The remote's end of a link between two processes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from openamp.errors import PlatformError
from openamp.link import Event, Exit, Kick
from openamp.memory import MemoryMap
from openamp.platforms.process.signals import Signals
from openamp.platforms.process.wire import ENVIRONMENT, address_of, connect, take_over

__all__ = ["ProcessRemote"]


class ProcessRemote:
    """The remote's end of a link (a `RemotePlatform`).

    Args:
        memory: what both sides see.
        table_da: where the live resource table is.
        signals: this end of the signalling; taken over.
    """

    def __init__(self, memory: MemoryMap, table_da: int, signals: Signals) -> None:
        self.memory = memory
        self.table_da = table_da
        self._signals = signals
        self._ended = False
        self._closed = False

    @classmethod
    def join_host(cls, *, name: str = "", timeout: float | None = None) -> ProcessRemote:
        """Returns the link to the host that started this program, or to the host of this name.

        Raises:
            TimeoutExpired: when there is no host in time.
            PlatformError: when the environment or the host's answer is broken.
        """
        inherited = os.environ.get(ENVIRONMENT)
        if inherited is not None and not name:
            control = _inherited(inherited)
        else:
            name = name or "default"
            control = connect(
                socket.SOCK_SEQPACKET,
                address_of(name),
                timeout,
                f"no host of a process link named {name!r} was there (start one with "
                f"openamp.open('process', name={name!r}).boot())",
            )
        try:
            return cls(*take_over(control, timeout))
        except BaseException:
            control.close()
            raise

    def kick(self, notify_id: int) -> None:
        """Signals the host."""
        if not self._closed:
            self._signals.kick()

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for the host's signals; see `Link.wait`."""
        if self._closed or self._ended:
            return ()
        signals = self._signals
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
            events: list[Event] = [Kick()] if signals.wait(left) else []
            if signals.peer_gone:
                self._ended = True
                events.append(Exit(None))
            if events or left == 0.0:
                return events

    def fileno(self) -> int:
        """A descriptor that becomes readable when `wait(0)` would return events."""
        return self._signals.fileno()

    def close(self) -> None:
        """Says goodbye to the host and leaves the link."""
        if not self._closed:
            self._closed = True
            self._signals.close(goodbye=True)


def _inherited(value: str) -> socket.socket:
    try:
        control = socket.socket(fileno=int(value))
        control.getpeername()
    except (ValueError, OSError) as error:
        raise PlatformError(
            f"the environment has {ENVIRONMENT}={value!r}, which is not the socket of a host that started this program "
            f"({error}); unset it, or give serve() a name="
        ) from error
    del os.environ[ENVIRONMENT]  # the link is ours now, not our children's
    control.set_inheritable(False)
    return control
