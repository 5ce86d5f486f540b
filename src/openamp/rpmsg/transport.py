"""The seam under the bus: what carries messages to the peer and back."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from typing import Protocol

from openamp.errors import RpmsgError

__all__ = ["SPIN_FROM", "Lender", "Payload", "Returns", "Transport", "as_payload"]

SPIN_FROM = 0.001
"""Seconds: no shorter wait begins with a spin, which would make it longer than was asked for."""

Payload = bytes | bytearray | memoryview
"""What can be sent: bytes, or anything else that gives a `memoryview` of contiguous memory."""


def as_payload(data: Payload) -> Payload:
    """Returns the data as something whose `len` is its size in bytes.

    Raises:
        RpmsgError: when it has no bytes (str, list).
    """
    if isinstance(data, (bytes, bytearray)):
        return data
    try:
        view = memoryview(data)
    except TypeError as error:
        raise RpmsgError(f"a message must be bytes, not {type(data).__name__}; encode it first") from error
    if not view.c_contiguous:
        return view.tobytes()
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


class Returns(Protocol):
    """What takes message buffers back, known by a number."""

    def give_back(self, token: int) -> None:
        """Takes a received buffer back: the peer may use it again."""

    def unborrow(self, token: int) -> None:
        """Takes a transmit buffer back unsent."""


class Lender(Returns, Protocol):
    """The same for any thread.

    Attributes:
        lock: held by whoever gives a buffer back.
    """

    lock: RLock


class Transport(Returns, Protocol):
    """What a bus needs of the rings, or of whatever else carries messages. Nothing here waits.

    Messages that arrive go straight to the endpoints, within `drain`. Every call raises the cause of `shut`, or what
    the peer broke.

    Attributes:
        num_sent: messages handed to the peer.
        bytes_sent: their payloads.
        num_received: messages taken in for an endpoint.
        bytes_received: their payloads.
        num_malformed: messages that broke the format.
        num_kicks: signals sent to the peer.
        num_kicks_suppressed: signals saved because the peer did not want them.
        lazy: whoever is about to block calls `arm` before; until then the peer signals nothing.
    """

    num_sent: int
    bytes_sent: int
    num_received: int
    bytes_received: int
    num_malformed: int
    num_kicks: int
    num_kicks_suppressed: int
    lazy: bool

    @property
    def mtu(self) -> int:
        """The largest payload in bytes that one message to the peer carries."""

    def drain(self) -> bool:
        """Takes in a batch. True when there may be more; else the peer will signal the next (`lazy`: after `arm`)."""

    def set_spin(self, nanoseconds: int) -> None:
        """Sets how long `spin` lasts at most; 0, which it is at first, is never."""

    def spin(self, hasty: bool = False) -> bool:
        """Watches the shared memory for a moment, for whoever is about to wait. True as soon as there is news.

        It lasts as long as spins have been worth it lately, and is not repeated before `arm`.
        The lock need not be held. Only whoever is in the pump may spin, and any other thread `hasty`.

        Args:
            hasty: the caller goes on without a look at its link, should there be news: refused now and then.
        """

    def arm(self) -> bool:
        """Ends `lazy`: asks the peer for the signals that the caller is about to wait for.

        True when there is news for which none may come.
        """

    def resume(self) -> None:
        """Takes note that the signal for which the caller had called `arm` has come."""

    def try_send(self, src: int, dst: int, data: Payload) -> bool:
        """Sends one message; False when there is no buffer, or others wait for one."""

    def put_many(self, src: int, dst: int, messages: Sequence[Payload], start: int) -> int:
        """Puts messages into buffers, as many as there are, from `messages[start]`.

        The peer sees them after `publish_sent`. It does not look for others who wait; `Senders` does.

        Returns:
            The index behind the last one put.
        """

    def publish_sent(self) -> None:
        """Lets the peer see what was put, with one signal if it wants one."""

    def borrow(self) -> int:
        """Returns the number of a transmit buffer, or -1 when there is none."""

    def buffer(self, token: int) -> memoryview:
        """Returns the bytes of a borrowed transmit buffer: room for a header, then for the payload."""

    def put_buffer(self, token: int, src: int, dst: int, length: int) -> None:
        """Puts a borrowed buffer whose payload is written; see `put_many`."""

    def want_buffer(self, wanted: bool) -> None:
        """Asks the peer to signal free transmit buffers, or no longer."""

    def shut(self, cause: Exception) -> None:
        """Ends it: the peer's memory is not touched any more, and calls raise `cause`. The first cause stays."""
