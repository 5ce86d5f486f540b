"""The remote's end of a link between two processes."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Sequence

from openamp.errors import ClosedError, PlatformError
from openamp.link import Event, Exit, Kick
from openamp.memory import MemoryMap
from openamp.platforms.process.signals import Signals
from openamp.platforms.process.wire import ENVIRONMENT, address_of, connect, take_over

__all__ = ["ProcessRemote"]


class ProcessRemote:
    """The remote's end of a link (a `RemotePlatform`).

    The memory is there once the host has handed it over, which `wait` sees to.

    Args:
        door: the socket on which the host comes; taken over.
    """

    def __init__(self, door: socket.socket) -> None:
        self.memory = MemoryMap()
        self.table_da = 0
        self._door: socket.socket | None = door
        self._signals: Signals | None = None
        self._ended = False
        self._closed = False

    @classmethod
    def join_host(cls, *, name: str = "", timeout: float | None = None) -> ProcessRemote:
        """Returns the link to the host that started this program, or to the host of this name.

        Raises:
            TimeoutExpired: when there is no host in time.
            PlatformError: when the environment is broken.
        """
        inherited = os.environ.get(ENVIRONMENT)
        if inherited is not None and not name:
            return cls(_inherited(inherited))
        name = name or "default"
        return cls(
            connect(
                socket.SOCK_SEQPACKET,
                address_of(name),
                timeout,
                f"no host of a process link named {name!r} was there (start one with "
                f"openamp.open('process', name={name!r}).boot())",
            )
        )

    def kick(self, notify_id: int) -> None:
        """Signals the host."""
        if self._signals is not None and not self._closed:
            self._signals.kick()

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for the host's signals; see `Link.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        left = timeout
        while not self._closed and not self._ended:
            if self._signals is None:
                self._signals = self._arrive(left)
                if self._signals is not None:
                    self._signals.kick()  # whatever was kicked before it came
            else:
                events: list[Event] = [Kick()] if self._signals.wait(left) else []
                if self._signals.peer_gone:
                    self._ended = True
                    events.append(Exit(None))
                if events:
                    return events
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
        return ()

    def _arrive(self, timeout: float | None) -> Signals | None:
        """Waits for the host to come; None when the time passed."""
        if self._door is None or not select.select([self._door], [], [], timeout)[0]:
            return None
        door, self._door = self._door, None
        try:
            self.memory, self.table_da, signals = take_over(door)
        except BaseException:
            door.close()
            raise
        return signals

    def fileno(self) -> int:
        """A descriptor that becomes readable when `wait(0)` would return events."""
        if self._signals is not None:
            return self._signals.fileno()
        if self._door is not None:
            return self._door.fileno()
        raise ClosedError("the link is closed; serve again")

    def close(self) -> None:
        """Says goodbye to the host and leaves the link."""
        if not self._closed:
            self._closed = True
            if self._signals is not None:
                self._signals.close(goodbye=True)
            if self._door is not None:
                self._door.close()
                self._door = None


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
