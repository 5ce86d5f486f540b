"""How two processes signal each other, and how each learns of the other's end.

Both kinds wait in one `epoll` with one system call, and kick with one. Closing either end, and the death of either
process at any moment, closes the socket between them, so the other end knows at once. Where a child of the dead
process keeps the socket open, its pidfd tells.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from openamp.errors import PlatformError

__all__ = ["EventSignals", "Signals", "SocketSignals"]

GOODBYE = b"goodbye"
"""What an end that closes in good order says on the control socket."""


SPIN = 50e-6
"""Seconds: about what it costs to be woken."""


def spin_time(seconds: float | None) -> float:
    """Returns for how long a wait watches the shared memory before it blocks, at most.

    Args:
        seconds: what was asked for; None is the default.

    Raises:
        PlatformError: when it is impossible.
    """
    if seconds is not None and not 0 <= seconds <= 1:
        raise PlatformError(f"spin is {seconds}; give 0 (never) to 1 second, 0.00005 is usual")
    if len(os.sched_getaffinity(0)) < 2:
        return 0.0  # the peer waits for the processor that we would spin on
    return SPIN if seconds is None else seconds


class Bell:
    """Wakes a thread that waits, from another one.

    Attributes:
        fd: readable when it rang.
        rung: it rang, and `clear` has seen it.
    """

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.rung = False
        self._lock = threading.Lock()

    def ring(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.eventfd_write(self.fd, 1)

    def clear(self) -> None:
        os.eventfd_read(self.fd)
        self.rung = True

    def wait(self, door: socket.socket | None, timeout: float | None) -> bool:
        """Waits until somebody is at the door; returns True when it rang instead."""
        doors = [self.fd] if door is None else [self.fd, door.fileno()]
        if self.fd not in select.select(doors, [], [], timeout)[0]:
            return False
        os.eventfd_read(self.fd)
        return True

    def close(self) -> None:
        with self._lock:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def __del__(self) -> None:
        self.close()


def is_readable(door: socket.socket) -> bool:
    """Whether somebody is at the door."""
    return bool(select.select([door], [], [], 0)[0])


class Signals(Protocol):
    """One end of the signalling.

    Attributes:
        peer_gone: the other end is closed.
        goodbye: it said goodbye before.
    """

    peer_gone: bool
    goodbye: bool

    def kick(self) -> None:
        """Signals the other end. Never waits; a peer that is gone is no error."""

    def wait(self, timeout: float | None) -> bool:
        """Waits for a kick, the peer's end or a watched descriptor; True when there was a kick."""

    def watch(self, fd: int, ready: Callable[[], object]) -> None:
        """Calls `ready` from within `wait` when a further descriptor is readable."""

    def unwatch(self, fd: int) -> None:
        """Ends `watch`."""

    def rest(self) -> None:
        """Ends every `watch`: some of them would be readable for ever."""

    def follow(self, pid: int) -> None:
        """Takes the end of this process for the peer's, should a child of it keep the socket open."""

    def lose_peer(self) -> None:
        """Notes that the peer is gone; harmless when repeated."""

    def fileno(self) -> int:
        """A descriptor that is readable when `wait(0)` would find something."""

    def close(self, *, goodbye: bool = False) -> None:
        """Ends the signalling; harmless when repeated."""


class _Base:
    """The epoll and the socket that tells of the peer's end."""

    def __init__(self, control: socket.socket) -> None:
        control.setblocking(False)
        self.peer_gone = False
        self.goodbye = False
        self._control = control
        self._epoll = select.epoll()
        self._epoll.register(control.fileno(), select.EPOLLIN | select.EPOLLRDHUP)
        self._watched: dict[int, Callable[[], object]] = {}
        self._lock = threading.Lock()  # nothing is closed while another thread kicks
        self._process = -1
        self._closed = False

    def watch(self, fd: int, ready: Callable[[], object]) -> None:
        self._watched[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def rest(self) -> None:
        for fd in tuple(self._watched):
            self.unwatch(fd)

    def unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None and not self._closed:
            self._epoll.unregister(fd)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def follow(self, pid: int) -> None:
        try:
            if pid in (0, os.getpid()):  # in another pid namespace, or a thread
                return
            self._process = os.pidfd_open(pid)
        except OSError:
            return  # the socket has to tell
        self.watch(self._process, self._process_ended)

    def _process_ended(self) -> None:
        self.unwatch(self._process)
        if not self.peer_gone:
            self.goodbye = GOODBYE in self._receive() or self.goodbye
            self.lose_peer()

    def lose_peer(self) -> None:
        """Notes that the peer is gone; harmless when repeated."""
        if not self.peer_gone:
            self.peer_gone = True
            self._epoll.unregister(self._control.fileno())

    def _close(self) -> None:
        self._epoll.close()
        self._control.close()
        if self._process >= 0:
            os.close(self._process)

    def _receive(self) -> bytes:
        """Returns what is in the socket, b"" when the peer is gone (and notes it)."""
        try:
            data = self._control.recv(4096)
        except BlockingIOError:
            return b"\0"
        except OSError:
            data = b""
        if not data:
            self.lose_peer()
        return data


class EventSignals(_Base):
    """Our own signalling: an eventfd in each direction, and a socket that carries nothing but the end.

    The eventfds are registered edge-triggered, so they need not be read: every kick is a new edge.

    Args:
        receive: the eventfd that the peer writes; taken over.
        send: the eventfd that the peer waits for; taken over.
        control: the connected socket; taken over.
    """

    def __init__(self, receive: int, send: int, control: socket.socket) -> None:
        super().__init__(control)
        self._receive_fd = receive
        self._send_fd = send
        self._epoll.register(receive, select.EPOLLIN | select.EPOLLET)

    def kick(self) -> None:
        with self._lock, contextlib.suppress(BlockingIOError):  # the peer filled it: it has kicks enough
            if not self._closed:
                os.eventfd_write(self._send_fd, 1)

    def wait(self, timeout: float | None) -> bool:
        kicked = False
        for fd, _ in self._epoll.poll(timeout, 8):
            if fd == self._receive_fd:
                kicked = True
            elif fd in self._watched:
                self._watched[fd]()
            elif GOODBYE in self._receive():
                self.goodbye = True
                self.lose_peer()
        return kicked

    def close(self, *, goodbye: bool = False) -> None:
        if not self._closed:
            with self._lock:
                self._closed = True
            if goodbye and not self.peer_gone:
                with contextlib.suppress(OSError):  # it is gone already
                    self._control.send(GOODBYE)
            self._close()
            os.close(self._receive_fd)
            os.close(self._send_fd)


class SocketSignals(_Base):
    """The signalling of OpenAMP's generic Linux machine: each byte on a stream socket is a kick.

    Args:
        stream: the connected socket; taken over.
    """

    def kick(self) -> None:
        try:
            with self._lock:
                self._control.send(b"\0")
        except BlockingIOError:
            pass  # the peer has unread kicks; one more tells it nothing
        except OSError:
            pass  # it is gone; `wait` tells

    def wait(self, timeout: float | None) -> bool:
        kicked = False
        for fd, _ in self._epoll.poll(timeout, 8):
            if fd in self._watched:
                self._watched[fd]()
            elif self._receive():
                kicked = True
        return kicked

    def close(self, *, goodbye: bool = False) -> None:
        if not self._closed:
            with self._lock:
                self._closed = True
                self._close()
