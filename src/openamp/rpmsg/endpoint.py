"""Endpoints: where messages are sent from and where they arrive."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from threading import RLock
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Protocol

from openamp.errors import (
    ClosedError,
    MessageTooLongError,
    NotBoundError,
    OpenAMPError,
    StateError,
    TimeoutExpired,
    WouldBlock,
)
from openamp.rpmsg.buffers import BorrowedBuffer, HeldBuffer
from openamp.rpmsg.senders import PendingSend, Senders
from openamp.rpmsg.transport import SPIN_FROM, Lender, Payload, Transport, as_payload
from openamp.rpmsg.waiting import Ready, WaitingRoom
from openamp.rpmsg.wire import ADDR_ANY, HEADER_SIZE, check_address

__all__ = ["Callback", "Carrier", "Endpoint", "Message", "check_address"]

Callback = Callable[["Endpoint", Any, int], object]
"""Called with (endpoint, data, src): `data` is bytes, or a HeldBuffer at an endpoint made with `zero_copy`."""


class Message(NamedTuple):
    """A received message with its addresses."""

    data: bytes
    src: int
    dst: int


class Carrier(Protocol):
    """What an endpoint needs of its bus; it calls all of this with the lock held. Only `_wait` waits."""

    _lock: RLock
    _loans: Lender
    _transport: Transport
    _quick: bool  # `try_send` of bytes is a single step for other threads, so it needs no lock
    _room: WaitingRoom
    _senders: Senders
    _waiting: deque[PendingSend]

    def _enqueue(self, pending: PendingSend) -> None:
        """Lets messages wait for buffers behind those that wait already."""

    def _cancel(self, pending: PendingSend) -> None:
        """Takes waiting messages back."""

    def _commit(self, token: int, src: int, dst: int, length: int) -> None:
        """Sends a borrowed buffer behind those who wait."""

    def _turn(self) -> bool:
        """Takes in what is there and runs callbacks; True when there may be more. Never waits, never raises."""

    def _wait(self, deadline: float | None, ready: Ready) -> bool:
        """Waits for news; True when the deadline has passed. Raises what callbacks raised, and the remote's end.

        Args:
            deadline: of `time.monotonic`; None waits for ever.
            ready: true when another thread has done what is waited for.
        """

    def _has_news(self) -> bool:
        """Whether `_wait` need not wait, whatever it is that is waited for."""

    def _raise_errors(self) -> None:
        """Raises the first error that a turn met, once."""

    def _defer(self, error: Exception) -> None:
        """Keeps an error for the next call that waits or polls."""

    def _rebind(self, endpoint: Endpoint) -> None:
        """Binds the endpoint to a channel of its name that nobody has, if there is one."""

    def _close_endpoint(self, endpoint: Endpoint) -> None:
        """Takes the endpoint out of the bus and announces its end where it was announced."""

    def _explain(self) -> str:
        """Returns what may help a person to understand a timeout."""


class Endpoint:
    """A local address with a receiver, and usually a destination. Made by `Bus.create_endpoint`.

    An endpoint is *bound* when it has a destination: from the start with `dst=`, by an announcement of its name, or
    by the source of the first message that reaches it.

    Messages of an endpoint without a callback queue here until they are received. The queue is bounded: beyond
    `backlog` messages they stay in the shared buffers, so that a peer that floods an endpoint which nobody reads
    comes to a halt; nothing is lost.

    Attributes:
        name: the service's name, "" without one.
        src: the local address.
    """

    __slots__ = (
        "_announced",
        "_auto_backlog",
        "_backlog",
        "_bus",
        "_callback",
        "_closed",
        "_dst",
        "_lock",
        "_lost",
        "_parks",
        "_queue",
        "_quick",
        "_src",
        "_transport",
        "_wanted_dst",
        "_wire_name",
        "name",
    )

    def __init__(
        self,
        bus: Carrier,
        name: str,
        wire_name: bytes,
        src: int,
        dst: int,
        *,
        callback: Callback | None,
        backlog: int,
        zero_copy: bool,
    ) -> None:
        self.name = name
        self._announced = False  # we told the peer of this endpoint, so we tell of its end
        self._bus = bus
        self._lock = bus._lock
        self._quick = bus._quick
        self._transport = bus._transport
        self._wire_name = wire_name
        self._src = src
        self._dst = dst
        self._wanted_dst = dst
        self._callback = callback
        self._backlog = backlog
        self._auto_backlog = False
        self._parks = zero_copy  # leave messages in the shared buffers until they are taken
        self._queue: deque[tuple[bytes | HeldBuffer, int]] = deque()
        self._closed = False
        self._lost = ""  # why there is no destination any more

    def __repr__(self) -> str:
        dst = "unbound" if self._dst == ADDR_ANY else f"{self._dst:#x}"
        return f"<Endpoint {self.name!r} {self._src:#x} -> {'closed' if self._closed else dst}>"

    @property
    def src(self) -> int:
        """The local address."""
        return self._src

    @property
    def dst(self) -> int:
        """The destination, or ADDR_ANY while the endpoint is not bound."""
        return self._dst

    @property
    def mtu(self) -> int:
        """The largest payload in bytes that one message carries."""
        with self._lock:
            return self._transport.mtu

    @property
    def is_bound(self) -> bool:
        """The endpoint has a destination."""
        return self._dst != ADDR_ANY

    @property
    def is_closed(self) -> bool:
        """The endpoint, or its bus, was closed."""
        return self._closed

    # -- sending ---------------------------------------------------------------------------------------------------

    def send(self, data: Payload, *, timeout: float | None = None) -> None:
        """Sends a message to the endpoint's destination; waits while no transmit buffer is free.

        Waiting senders are served in the order of their calls. While one waits, messages are taken in and callbacks
        run.

        Raises:
            NotBoundError: when there is no destination.
            MessageTooLongError: when the payload exceeds the mtu.
            TimeoutExpired: when no buffer came free in time; nothing was sent.
            ClosedError: when the endpoint is closed.
            RemoteError: when the remote ended.
        """
        dst = self._dst
        quick = self._quick and type(data) is bytes and dst != ADDR_ANY
        if quick and self._transport.try_send(self._src, dst, data):
            return
        with self._lock:
            dst = self._dst
            if dst == ADDR_ANY:
                self._raise_unbound()
            if not self._transport.try_send(self._src, dst, data):
                self._send_slowly(self._src, dst, (data,), timeout)

    def try_send(self, data: Payload) -> None:
        """Sends a message if a transmit buffer is free; raises WouldBlock otherwise, and what `send` raises."""
        with self._lock:
            self._try(self._src, self._destination(), data)

    def send_to(self, data: Payload, dst: int, *, timeout: float | None = None) -> None:
        """Sends a message to any address of the peer; see `send`."""
        self.send_offchannel(self._src, dst, data, timeout=timeout)

    def try_send_to(self, data: Payload, dst: int) -> None:
        """Sends a message to any address of the peer if a transmit buffer is free; see `try_send`."""
        self.try_send_offchannel(self._src, dst, data)

    def send_offchannel(self, src: int, dst: int, data: Payload, *, timeout: float | None = None) -> None:
        """Sends a message to any address of the peer in the name of any local address; see `send`."""
        check_address(src, "source")
        check_address(dst, "destination")
        with self._lock:
            self._check_open()
            if not self._transport.try_send(src, dst, data):
                self._send_slowly(src, dst, (data,), timeout)

    def try_send_offchannel(self, src: int, dst: int, data: Payload) -> None:
        """Sends as `send_offchannel` does if a transmit buffer is free; see `try_send`."""
        check_address(src, "source")
        check_address(dst, "destination")
        with self._lock:
            self._check_open()
            self._try(src, dst, data)

    def send_many(self, messages: Iterable[Payload], *, timeout: float | None = None) -> None:
        """Sends messages in order, with one signal to the peer for as many as there are buffers.

        Raises:
            TimeoutExpired: when the buffers did not suffice in time; `completed` says how many were sent.
            MessageTooLongError: when one exceeds the mtu; none was sent.
            OpenAMPError: as `send` does.
        """
        batch = [data if type(data) is bytes else as_payload(data) for data in messages]
        longest = max(map(len, batch), default=0)
        with self._lock:
            dst = self._destination()
            if not batch:
                return
            mtu = self._transport.mtu
            if longest > mtu:
                raise MessageTooLongError(
                    f"one of the messages has {longest} bytes, the mtu is {mtu}; split it", size=longest, mtu=mtu
                )
            sent = self._send_some(dst, batch)
            if sent < len(batch):
                self._send_slowly(self._src, dst, batch, timeout, sent)

    def borrow(self, size: int | None = None, *, timeout: float | None = None) -> BorrowedBuffer:
        """Lends a transmit buffer to write a payload into, in place.

        ```python
        with ept.borrow(5) as view:
            view[:] = b"hello"
        ```

        Args:
            size: length of the payload; None gives all of the mtu.
            timeout: seconds to wait for a free buffer.

        Raises:
            MessageTooLongError: when `size` exceeds the mtu.
            TimeoutExpired: when no buffer came free in time.
            ClosedError: when the endpoint is closed.
        """
        with self._lock:
            self._check_open()
            transport = self._transport
            token = transport.borrow()
            if token < 0:
                token = self._borrow_slowly(timeout)
            whole = transport.buffer(token)
            room = len(whole) - HEADER_SIZE
            if size is None:
                size = room
            elif not 0 <= size <= room:
                transport.unborrow(token)
                raise MessageTooLongError(f"{size} bytes exceed the mtu of {room}; send in parts", size=size, mtu=room)
        return BorrowedBuffer(self._bus._loans, token, whole[HEADER_SIZE : HEADER_SIZE + size], self)

    # -- receiving -------------------------------------------------------------------------------------------------

    def receive(self, *, timeout: float | None = None) -> bytes:
        """Returns the next message's payload; waits for it.

        Raises:
            TimeoutExpired: when none came in time.
            NotBoundError: when the peer destroyed the channel and nothing is left to receive.
            ClosedError: when the endpoint is closed.
            StateError: when the endpoint has a callback.
            RemoteError: when the remote ended and nothing is left to receive.
        """
        if self._queue and self._callback is None:
            try:
                data = self._queue.popleft()[0]  # a single step, so it needs no lock
                return data if type(data) is bytes else _taken(data)
            except IndexError:  # another thread was quicker
                pass
        if self._transport.lazy and (timeout is None or timeout >= SPIN_FROM):
            self._transport.spin(True)
        with self._lock:
            self._await_message(timeout)
            try:
                data = self._queue.popleft()[0]
            except IndexError:  # another thread was quicker, above
                data = self._take(timeout)[0]
        return data if type(data) is bytes else _taken(data)

    def receive_message(self, *, timeout: float | None = None) -> Message:
        """Returns the next message with its addresses; see `receive`."""
        data, src = self._take(timeout)
        return Message(data if type(data) is bytes else _taken(data), src, self._src)

    def receive_many(self, limit: int | None = None, *, timeout: float | None = None) -> list[bytes]:
        """Returns all messages that are there, at most `limit`; waits until there is one. See `receive`."""
        queue = self._queue
        taken: list[bytes] = []
        if self._transport.lazy and not queue and (timeout is None or timeout >= SPIN_FROM):
            self._transport.spin(True)
        with self._lock:
            while True:
                self._await_message(timeout)
                for _ in range(len(queue) if limit is None else min(limit, len(queue))):
                    try:
                        data = queue.popleft()[0]
                    except IndexError:  # another thread was quicker
                        break
                    taken.append(data if type(data) is bytes else _taken(data))
                if taken or (limit is not None and limit <= 0):
                    return taken

    def try_receive(self) -> bytes:
        """Returns the next message's payload if there is one; raises WouldBlock, or what `receive` raises, if not."""
        with self._lock:
            queue = self._queue
            if not queue:
                self._glance()
            if self._callback is not None:
                return self.receive()  # says what is wrong
            try:
                data = queue.popleft()[0]
            except IndexError:
                error = self._unreadable()
                raise error or WouldBlock(f"no message at {self!r} now; use receive() to wait for one") from None
            return data if type(data) is bytes else _taken(data)

    def hold(self, *, timeout: float | None = None) -> HeldBuffer:
        """Lends the next message where it lies, in the shared buffer; waits for it.

        ```python
        with ept.hold() as view:
            total = sum(view)
        ```

        From the first call on (or with `zero_copy=True` from the start) the endpoint's messages stay in the shared
        buffers until they are taken; a quarter of the buffers keeps going round, for the others, and messages
        beyond that are copied first. A held message is the program's as long as it likes; the messages behind it
        are received meanwhile, in order.

        Raises:
            OpenAMPError: as `receive` does.
        """
        with self._lock:
            self._parks = self._parks or self._callback is None
            data, src = self._take(timeout)
        if isinstance(data, HeldBuffer):
            return data
        return HeldBuffer.of_copy(data, src, self._src)

    def __iter__(self) -> Iterator[bytes]:
        """Yields payloads as they come, until the endpoint is closed or the peer destroys the channel."""
        while True:
            try:
                data = self.receive()
            except (ClosedError, NotBoundError):
                return
            yield data

    # -- the rest --------------------------------------------------------------------------------------------------

    def wait_bound(self, *, timeout: float | None = None) -> None:
        """Waits until the endpoint has a destination.

        An endpoint whose channel was destroyed does not go over to another channel of the name by itself; this call
        lets it.

        Raises:
            TimeoutExpired: when nobody announced the name or wrote to the endpoint in time.
            ClosedError: when the endpoint is closed.
        """
        bus = self._bus
        deadline = _deadline(timeout)
        expired = False
        with self._lock:
            if self._dst == ADDR_ANY and not self._closed:
                bus._rebind(self)
            while self._dst == ADDR_ANY:
                bus._turn()
                self._check_open()
                if self._dst != ADDR_ANY:
                    return
                if expired:
                    raise TimeoutExpired(
                        f"{self!r} was not bound within {timeout} s; {bus._explain()}", timeout=timeout
                    )
                expired = bus._wait(deadline, lambda: self._dst != ADDR_ANY or self._closed or bus._has_news())

    def close(self) -> None:
        """Frees the address and announces the end of an announced service; harmless when repeated.

        Messages that were not received are discarded (and counted by the bus).
        """
        with self._lock:
            if not self._closed:
                self._bus._close_endpoint(self)

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"endpoint {self.name!r} at {self._src:#x} is closed; create another one")

    def _destination(self) -> int:
        dst = self._dst
        if dst == ADDR_ANY:
            self._raise_unbound()
        return dst

    def _raise_unbound(self) -> NoReturn:
        self._check_open()
        if self._lost:
            raise NotBoundError(
                f"endpoint {self.name!r} at {self._src:#x} has no destination any more: {self._lost}; "
                f"wait_bound() waits for it to come back"
            )
        raise NotBoundError(
            f"endpoint {self.name!r} at {self._src:#x} has no destination yet; wait_bound() waits for one, "
            f"send_to() takes one"
        )

    def _commit(self, token: int, src: int, dst: int, length: int) -> None:
        self._bus._commit(token, src, dst, length)

    def _send_some(self, dst: int, batch: list[Payload]) -> int:
        """Sends what there are buffers for, unless others wait for them; returns how many."""
        if self._bus._waiting:
            return 0
        try:
            return self._transport.put_many(self._src, dst, batch, 0)
        finally:
            self._transport.publish_sent()

    def _try(self, src: int, dst: int, data: Payload) -> None:
        if self._transport.try_send(src, dst, data):
            return
        self._glance()
        self._check_open()
        if not self._transport.try_send(src, dst, data):
            raise WouldBlock("no transmit buffer is free now; use send() to wait for one")

    def _glance(self) -> None:
        """Looks for news once, without waiting; lets a remote run that only runs while we wait."""
        bus = self._bus
        bus._turn()
        bus._wait(0.0, bus._has_news)
        bus._turn()

    def _send_slowly(
        self, src: int, dst: int, messages: Sequence[Payload], timeout: float | None, sent: int = 0
    ) -> None:
        """Waits in the queue of senders until all messages are sent."""
        bus = self._bus
        pending = PendingSend(src, dst, messages, sent=sent)
        bus._enqueue(pending)
        deadline = _deadline(timeout)
        expired = False

        def ready() -> bool:
            return pending.done or self._closed or bus._has_news()

        try:
            while not pending.done:
                bus._turn()
                if pending.done:
                    break
                self._check_open()
                if expired:
                    raise TimeoutExpired(
                        f"no transmit buffer came free within {timeout} s ({pending.sent} of {len(messages)} "
                        f"messages sent): the peer does not take its messages; {bus._explain()}",
                        timeout=timeout,
                        completed=pending.sent,
                    )
                try:
                    expired = bus._wait(deadline, ready)
                except Exception as error:
                    if not pending.done:
                        raise
                    bus._defer(error)  # the messages are sent all the same, so the next call tells of it
        finally:
            if not pending.done:
                bus._cancel(pending)
        if pending.error is not None:
            raise pending.error

    def _borrow_slowly(self, timeout: float | None) -> int:
        bus, transport = self._bus, self._transport
        deadline = _deadline(timeout)
        expired = False
        bus._senders.num_borrowers += 1
        try:
            while True:
                bus._turn()
                self._check_open()
                transport.want_buffer(True)
                token = transport.borrow()
                if token >= 0:
                    return token
                if expired:
                    raise TimeoutExpired(
                        f"no transmit buffer came free within {timeout} s: the peer does not take its messages; "
                        f"{bus._explain()}",
                        timeout=timeout,
                    )
                before = bus._room.num_rounds
                expired = bus._wait(
                    deadline,
                    lambda: bus._room.num_rounds != before or self._closed or bus._has_news(),  # noqa: B023
                )
        finally:
            bus._senders.num_borrowers -= 1
            if not bus._senders.num_borrowers:
                transport.want_buffer(False)

    def _take(self, timeout: float | None) -> tuple[bytes | HeldBuffer, int]:
        """Waits for the next message and takes it out. The lock need not be held."""
        with self._lock:
            while True:
                self._await_message(timeout)
                try:
                    return self._queue.popleft()
                except IndexError:  # another thread was quicker, in `receive`
                    pass

    def _await_message(self, timeout: float | None) -> None:
        """Returns when the queue has a message."""
        bus, queue = self._bus, self._queue
        if self._callback is not None:
            raise StateError(
                f"endpoint {self.name!r} at {self._src:#x} gives its messages to a callback; create it without one "
                f"to receive them here",
                state="callback",
            )
        if queue:
            return
        deadline = _deadline(timeout)
        expired = False
        while True:
            bus._turn()
            bus._raise_errors()
            if queue:
                return
            error = self._unreadable()
            if error is not None:
                raise error
            if expired:
                raise TimeoutExpired(
                    f"no message at endpoint {self.name!r} ({self._src:#x}) within {timeout} s; {bus._explain()}",
                    timeout=timeout,
                )
            expired = bus._wait(deadline, self._has_news)

    def _has_news(self) -> bool:
        return bool(self._queue) or self._closed or bool(self._lost) or self._bus._has_news()

    def _unreadable(self) -> OpenAMPError | None:
        """Why no message can come, or None."""
        if self._closed:
            return ClosedError(f"endpoint {self.name!r} at {self._src:#x} is closed; create another one")
        if self._lost:
            return NotBoundError(
                f"no more messages at endpoint {self.name!r} ({self._src:#x}): {self._lost}; "
                f"wait_bound() waits for it to come back"
            )
        return None


def _taken(data: bytes | HeldBuffer) -> bytes:
    return data.take() if isinstance(data, HeldBuffer) else data


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout
