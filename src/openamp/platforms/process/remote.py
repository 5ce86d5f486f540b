"""The remote's end of a link between two processes."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence

from openamp.errors import ClosedError, PlatformError
from openamp.link import Event, Exit, Kick
from openamp.memory import MemoryMap
from openamp.platforms.process.signals import Bell, Signals, is_readable, spin_time
from openamp.platforms.process.wire import ENVIRONMENT, address_of, connect, knock, peer_of, take_over

__all__ = ["ProcessRemote"]


_KNOCK = 0.05
"""Seconds between looks for the next host."""


class ProcessRemote:
    """The remote's end of a link (a `RemotePlatform`).

    The memory is there once the host has handed it over, which `wait` sees to.

    Args:
        door: the socket on which the host comes; taken over.
        name: by which the next host is found, should this one go before it has come; "" for no other host.
        spin: seconds to watch the shared memory, at most, before a wait blocks; 0 is never. None is 50 us where this
            process may use two processors, else 0.
    """

    def __init__(self, door: socket.socket, spin: float | None = None, *, name: str = "") -> None:
        self.spin = spin_time(spin)
        self.memory = MemoryMap()
        self.table_da = 0
        self._door: socket.socket | None = door
        self._signals: Signals | None = None
        self.name = name
        self._peer = 0  # process id
        self._ended = False
        self._closed = False
        self._bell = Bell()

    @classmethod
    def join_host(cls, *, name: str = "", spin: float | None = None, timeout: float | None = None) -> ProcessRemote:
        """Returns the link to the host that started this program, or to the host of this name.

        Raises:
            TimeoutExpired: when there is no host in time.
            PlatformError: when the environment is broken.
        """
        inherited = os.environ.get(ENVIRONMENT)
        if inherited is not None and not name:
            return cls(_inherited(inherited), spin)
        name = name or "default"
        return cls(
            connect(
                socket.SOCK_SEQPACKET,
                address_of(name),
                timeout,
                f"no host of a process link named {name!r} was there (start one with "
                f"openamp.open('process', name={name!r}).boot())",
            ),
            spin,
            name=name,
        )

    def kick(self, notify_id: int) -> None:
        """Signals the host."""
        signals = self._signals
        if signals is not None and not self._closed:
            signals.kick()

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Waits for the host's signals; see `Link.wait`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        left = timeout
        while not self._closed and not self._ended:
            if self._signals is None:
                self._signals = self._arrive()
                if self._signals is None:
                    nobody = self._door is None  # and a UNIX socket cannot be waited for
                    if self._bell.wait(self._door, _KNOCK if nobody and (left is None or left > _KNOCK) else left):
                        break
                else:
                    self._signals.follow(self._peer)
                    self._signals.watch(self._bell.fd, self._bell.clear)
                    self._signals.kick()  # whatever was kicked before it came
            else:
                events: list[Event] = [Kick()] if self._signals.wait(left) else []
                if self._signals.peer_gone:
                    self._ended = True
                    events.append(Exit(None))
                if events or self._bell.rung:
                    self._bell.rung = False
                    return events
            if deadline is not None:
                left = deadline - time.monotonic()
                if left <= 0:
                    break
        return ()

    def _arrive(self) -> Signals | None:
        """Takes the host's hand, if it has come."""
        if self._door is None:
            self._door = self._knock_again()
        if self._door is None or not is_readable(self._door):
            return None
        door = self._door
        try:
            self.memory, self.table_da, signals = take_over(door)
            self._peer, _ = peer_of(door)
        except ConnectionResetError as error:
            self._door = self._knock_again()  # before the old one goes, so that the descriptors are different
            door.close()
            if not self.name:
                raise PlatformError(f"{error}; start this program again from a host") from error
            return None
        except BaseException:
            self._door = None
            door.close()
            raise
        self._door = None
        return signals

    def _knock_again(self) -> socket.socket | None:
        """Goes to the next host of our name, if there is one."""
        if not self.name:
            return None
        try:
            return knock(socket.SOCK_SEQPACKET, address_of(self.name))
        except OSError:
            return None

    def wake(self) -> None:
        """Ends a `wait` in another thread, or the next one."""
        self._bell.ring()

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
            self._bell.close()


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
