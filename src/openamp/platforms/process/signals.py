"""How two processes signal each other, and how each learns of the other's end.

Both kinds wait in one `epoll` with one system call, and kick with one. Closing either end, and the death of either
process at any moment, closes the socket between them, so the other end knows at once.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from collections.abc import Callable
from typing import Protocol

__all__ = ["EventSignals", "Signals", "SocketSignals"]

GOODBYE = b"goodbye"
"""What an end that closes in good order says on the control socket."""


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

    def wake(self) -> None:
        """Ends a `wait` in another thread."""

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
        self._closed = False

    def watch(self, fd: int, ready: Callable[[], object]) -> None:
        self._watched[fd] = ready
        self._epoll.register(fd, select.EPOLLIN)

    def unwatch(self, fd: int) -> None:
        if self._watched.pop(fd, None) is not None and not self._closed:
            self._epoll.unregister(fd)

    def fileno(self) -> int:
        return self._epoll.fileno()

    def _lose_peer(self) -> None:
        self.peer_gone = True
        self._epoll.unregister(self._control.fileno())

    def _receive(self) -> bytes:
        """Returns what is in the socket, b"" when the peer is gone (and notes it)."""
        try:
            data = self._control.recv(4096)
        except BlockingIOError:
            return b"\0"
        except OSError:
            data = b""
        if not data:
            self._lose_peer()
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
        os.eventfd_write(self._send_fd, 1)

    def wake(self) -> None:
        os.eventfd_write(self._receive_fd, 1)

    def wait(self, timeout: float | None) -> bool:
        kicked = False
        for fd, _ in self._epoll.poll(timeout, 8):
            if fd == self._receive_fd:
                kicked = True
            elif fd in self._watched:
                self._watched[fd]()
            elif GOODBYE in self._receive():
                self.goodbye = True
                if not self.peer_gone:
                    self._lose_peer()
        return kicked

    def close(self, *, goodbye: bool = False) -> None:
        if not self._closed:
            self._closed = True
            if goodbye and not self.peer_gone:
                with contextlib.suppress(OSError):  # it is gone already
                    self._control.send(GOODBYE)
            self._epoll.close()
            self._control.close()
            os.close(self._receive_fd)
            os.close(self._send_fd)


class SocketSignals(_Base):
    """The signalling of OpenAMP's generic Linux machine: each byte on a stream socket is a kick.

    Args:
        stream: the connected socket; taken over.
    """

    def __init__(self, stream: socket.socket) -> None:
        super().__init__(stream)
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.watch(self._wake_fd, lambda: os.eventfd_read(self._wake_fd))

    def kick(self) -> None:
        try:
            self._control.send(b"\0")
        except BlockingIOError:
            pass  # the peer has unread kicks; one more tells it nothing
        except OSError:
            pass  # it is gone; `wait` tells

    def wake(self) -> None:
        os.eventfd_write(self._wake_fd, 1)

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
            self._closed = True
            self._epoll.close()
            self._control.close()
            os.close(self._wake_fd)
