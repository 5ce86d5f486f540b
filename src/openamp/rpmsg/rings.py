# cython: annotation_typing=False, wraparound=False, initializedcheck=False, nonecheck=True
"""Messages in virtqueues: the hot path of RPMsg, for the driver of both queues and for the device of both.

Every message is one buffer of one descriptor. On `r2h` the host posts empty buffers, the remote fills them; on `h2r`
the host fills its own buffers, the remote reads them. The buffers' sizes are the host's choice, per direction; the
remote learns them from the descriptors.

What the peer may break, and what becomes of it:

- a *message* whose length field exceeds what was written (or a buffer too short for a header): it is counted, its
  buffer goes back, the messages around it are delivered, and the call that took it in raises RemoteProtocolError. The
  bus goes on.
- a *ring* (indices, heads), or a descriptor that points outside the shared memory: nothing that follows could be
  trusted, so every later call raises the RemoteProtocolError.

This file runs as it is, and compiles as it is, like `virtqueue.py`: `rings.pxd` beside it gives the C types. In the
compiled form `unpack`, `copy_out`, `fill` and `fill_header` come from there; `_plain` says what they are here.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from openamp.errors import AddressError, MessageTooLongError, RemoteProtocolError, RpmsgError
from openamp.memory import MemoryMap
from openamp.rpmsg import _plain as cython
from openamp.rpmsg.buffers import HeldBuffer
from openamp.rpmsg.endpoint import Endpoint
from openamp.rpmsg.senders import PendingSend
from openamp.rpmsg.transport import Lender, Payload, as_payload
from openamp.rpmsg.wire import ADDR_ANY, HEADER_SIZE
from openamp.virtio.virtqueue import DeviceQueue, DriverQueue

if False:
    import cython  # type: ignore  # for the compiler: it knows cython.compiled, and drops what that decides

if not cython.compiled:
    from openamp.rpmsg._plain import copy_out, fill, fill_header, monotonic, unpack

__all__ = ["COMPILED", "HostRings", "Inbox", "RemoteRings"]

COMPILED: bool = cython.compiled
"""Whether this is the compiled form."""

DEFAULT_BUFFER_SIZE = 512
"""What a remote assumes of the host's buffers before it has seen one (`RPMSG_BUFFER_SIZE`)."""

_HEADER_SIZE = HEADER_SIZE  # once more, for C
_NOBODY = -1  # no address
_MANY = 1 << 30
_SHORTEST_SPIN = 2_000  # nanoseconds; what is shorter is not worth it
_INSTANT = 200  # nanoseconds
_MOST_PATIENCE = 63  # quick signals, until spinning is tried again
_LOOK_EVERY = 64  # spins in a row, until the caller looks at its link again


class Inbox(Protocol):
    """The rare things that an arriving message may mean to the bus."""

    def _arrived_elsewhere(self, data: bytes, src: int, dst: int) -> None:
        """Takes in a message for an address that no endpoint has."""

    def _bind_by_message(self, endpoint: Endpoint, src: int) -> None:
        """Binds an endpoint without destination to the source of a message that reached it."""

    def _grew(self, length: int) -> None:
        """Takes note of the longest message so far."""

    def _defer(self, error: Exception) -> None:
        """Keeps an error for the next call that waits or polls."""


class _Rings:
    """What both ends share: a message's way from a buffer to its endpoint, the counts, and the end."""

    def __init__(self, kick: Callable[[int], object], notify_ids: tuple[int, int]) -> None:
        self.num_sent = self.bytes_sent = 0
        self.num_received = self.bytes_received = 0
        self.num_malformed = 0
        self.num_kicks = self.num_kicks_suppressed = 0
        self._kick = kick
        self._r2h_id, self._h2r_id = notify_ids
        self._cause: Exception | None = None
        self._armed = False  # the peer signals what arrives
        self._wanting = False  # somebody waits for free transmit buffers
        self._out_armed = False  # the peer signals them
        # Spinning: see `spin`.
        self.lazy = False  # `drain` leaves it to `arm` to ask for signals
        self._spin_limit = 0  # nanoseconds
        self._budget = 0  # of the next spin: what is left of the limit after spins for nothing
        self._spent = False  # spun for nothing since the last `arm`
        self._patience = 0  # quick signals to await before the next try
        self._num_quick = 0  # of them
        self._num_spins = 0
        self._armed_at = 0
        self._unpublished = False  # messages were put that the peer cannot see yet
        self._num_receive = 0  # buffers that the peer sends in
        self._parked = 0  # of them, those with a message that is left in place
        self._park_limit = 0
        self._longest = 0  # of the messages received
        # The endpoint of the last message of this batch, when it takes messages in the simple way: for the next one.
        self._last_dst = _NOBODY
        self._last_room = 0  # messages until its queue is full
        self._last_called: Endpoint | None = None  # it, if it has a callback
        self._last_append: Callable[[tuple[bytes, int]], object] | None = None

    def attach(
        self,
        inbox: Inbox,
        endpoints: dict[int, Endpoint],
        ready: deque[Any],
        waiting: deque[PendingSend],
        lender: Lender,
    ) -> None:
        """Connects the bus.

        Args:
            inbox: the bus.
            endpoints: its open endpoints, by address.
            ready: where an endpoint with a callback is put for each of its messages.
            waiting: those who wait for a transmit buffer.
            lender: where the program gives received buffers back.
        """
        self._inbox = inbox
        self._endpoints = endpoints
        self._ready = ready
        self._waiting = waiting
        self._lender = lender

    def shut(self, cause: Exception) -> None:
        if self._cause is None:
            self._cause = cause

    def set_spin(self, nanoseconds: int) -> None:
        self._spin_limit = self._budget = nanoseconds

    def _spun(self, found: bool, nanoseconds: int) -> bool:
        """Learns from a spin.

        One for nothing makes the next one shorter, the next for nothing is the last, and each of them doubles the
        number of quick signals that it takes to try again: where the peer cannot run while we spin, every wait is
        quick as soon as we do not. News that was there at once, or came after longer than we wanted to spin,
        tells nothing: the peer had our processor, before or meanwhile.
        """
        if found:
            if _INSTANT < nanoseconds < self._budget:
                self._budget = self._spin_limit
                self._patience //= 2
            self._num_spins += 1
            return True
        self._spent = True
        self._budget = 0 if self._patience or self._budget < _SHORTEST_SPIN else self._budget // 2
        self._patience = min(2 * self._patience + 1, _MOST_PATIENCE)
        self._num_quick = 0
        return False

    def resume(self) -> None:
        if self._budget < self._spin_limit and monotonic() - self._armed_at < 2 * self._spin_limit:
            self._num_quick += 1  # a spin might have seen it
            if self._num_quick >= self._patience:
                self._budget = self._spin_limit
        self.lazy = self._budget != 0

    def _set_num_receive(self, num: int) -> None:
        self._num_receive = num
        self._park_limit = num - max(1, num // 4)

    def _deliver(self, token: int, view: memoryview, size: int, written: int, queue_name: str) -> bool:
        """Takes a message in; True when its buffer can go back to the peer at once.

        Args:
            token: what `give_back` wants, should the message be left in place.
            view: the buffer, all of it.
            size: its length.
            written: as many of its bytes were used; the queue has checked that they are not more than there are.
            queue_name: for error texts.
        """
        if not _HEADER_SIZE <= written <= size:
            what = f"{written:#x} bytes cannot hold the {HEADER_SIZE}-byte header"
            self._bad_message(queue_name, token, written, what)
            return True
        src, dst, length = unpack(view)
        end = _HEADER_SIZE + length
        if end > written:
            what = f"its header says {length:#x} bytes of payload, {written:#x} were used"
            self._bad_message(queue_name, token, length, what)
            return True
        if dst != self._last_dst:
            self._look_up(dst)
        if self._last_room == 0 or length > self._longest:
            returned = self._deliver_slowly(token, view, src, dst, length)
            self._last_dst = _NOBODY  # the bus may have bound or closed endpoints, and even drained
            return returned
        self._last_room -= 1
        self.num_received += 1
        self.bytes_received += length
        if self._last_called is not None:
            self._ready.append(self._last_called)
        self._last_append((copy_out(view, _HEADER_SIZE, end), src))  # type: ignore[misc]
        return True

    def _look_up(self, dst: int) -> None:
        """Finds out whether this address takes messages in the simple way, and how many."""
        self._last_dst = dst
        self._last_room = 0
        endpoint = self._endpoints.get(dst)
        if endpoint is not None and endpoint._dst != ADDR_ANY and not endpoint._parks:
            self._last_room = max(min(endpoint._backlog - len(endpoint._queue), _MANY), 0)
            self._last_append = endpoint._queue.append
            self._last_called = None if endpoint._callback is None else endpoint

    def _deliver_slowly(self, token: int, view: memoryview, src: int, dst: int, length: int) -> bool:
        """Takes a message in that is for nobody, binds its endpoint, stays in its buffer or is longer than any."""
        end = HEADER_SIZE + length
        endpoint = self._endpoints.get(dst)
        if endpoint is None:
            self._inbox._arrived_elsewhere(view[HEADER_SIZE:end].tobytes(), src, dst)
            return True
        self.num_received += 1
        self.bytes_received += length
        if length > self._longest:
            self._longest = length
            self._inbox._grew(length)
        if endpoint._dst == ADDR_ANY:
            self._inbox._bind_by_message(endpoint, src)
        messages = endpoint._queue
        if endpoint._callback is not None:
            self._ready.append(endpoint)
        if len(messages) >= endpoint._backlog or (endpoint._parks and self._parked < self._park_limit):
            self._parked += 1
            held = HeldBuffer(self._lender, token, view[HEADER_SIZE:end].toreadonly(), src, dst)
            messages.append((held, src))
            return False
        messages.append((view[HEADER_SIZE:end].tobytes(), src))
        return True

    def _bad_message(self, queue_name: str, token: int, value: int, what: str) -> None:
        self.num_malformed += 1
        self._inbox._defer(
            RemoteProtocolError(
                f"queue {queue_name!r}: the message in buffer {token:#x} is malformed: {what} "
                f"(struct rpmsg_hdr, len); it was dropped, look at how the peer fills its buffers",
                queue=queue_name,
                index=token,
                value=value,
                clause="struct rpmsg_hdr: header and len bytes of payload lie within the used part of the buffer",
            )
        )

    def _signal(self, wanted: bool, notify_id: int) -> None:
        """Kicks the peer if it wants that."""
        if wanted:
            self.num_kicks += 1
            self._kick(notify_id)
        else:
            self.num_kicks_suppressed += 1


def _write(view: memoryview, src: int, dst: int, data: Payload, length: int) -> None:
    """Writes a message into a buffer that is ours and large enough."""
    if type(data) is bytes:
        fill(view, src, dst, data, length)
    else:
        fill_header(view, src, dst, length)
        view[HEADER_SIZE : HEADER_SIZE + length] = data


def _own(view: memoryview) -> memoryview:
    """Returns a view of a buffer that is ours alone: the compiled form uses its address, so nobody may release it."""
    return memoryview(view) if view.format == "B" and view.ndim == 1 else view.cast("B")


def _checked(view: memoryview) -> memoryview:
    """Returns a view of our own of a buffer that the program gave, after checking that it can be one."""
    if view.readonly or not view.c_contiguous or view.nbytes < HEADER_SIZE:
        what = "is read-only" if view.readonly else f"has {view.nbytes:#x} bytes"
        raise RpmsgError(
            f"a message buffer {what}; give writable, contiguous memory of more than {HEADER_SIZE:#x} bytes"
        )
    return _own(view)


def _room(size: int) -> int:
    """Returns the largest payload that a buffer of this size and the header's 16-bit length field allow."""
    return min(max(size - HEADER_SIZE, 0), 0xFFFF)


def _too_long(length: int, mtu: int) -> MessageTooLongError:
    return MessageTooLongError(
        f"a message of {length:#x} bytes exceeds the mtu of {mtu:#x}; split it, or configure larger buffers",
        size=length,
        mtu=mtu,
    )


class HostRings(_Rings):
    """The driver of both queues (a `Transport`); posts the r2h buffers when it is made, without a kick.

    Args:
        r2h: the queue of messages from the remote, new or reset.
        h2r: the queue of messages to the remote, new or reset.
        r2h_buffers: (device address, memory) of each buffer that the remote fills; at most as many as descriptors.
        h2r_buffers: the same of each buffer that we fill.
        kick: signals the remote's queue with this notify id.
        notify_ids: of r2h and h2r.
    """

    def __init__(
        self,
        r2h: DriverQueue,
        h2r: DriverQueue,
        r2h_buffers: Sequence[tuple[int, memoryview]],
        h2r_buffers: Sequence[tuple[int, memoryview]],
        kick: Callable[[int], object],
        notify_ids: tuple[int, int],
    ) -> None:
        super().__init__(kick, notify_ids)
        self._r2h = r2h
        self._h2r = h2r
        # By the buffer's number.
        self._in_views = [_checked(view) for _, view in r2h_buffers[: r2h.num_free]]
        self._in_sizes = array("I", map(len, self._in_views))
        self._in_das = array("Q", [da for da, _ in r2h_buffers[: r2h.num_free]])
        self._out_views = [_checked(view) for _, view in h2r_buffers[: h2r.num_free]]
        self._out_sizes = array("I", map(len, self._out_views))
        self._out_das = array("Q", [da for da, _ in h2r_buffers[: h2r.num_free]])
        self._set_num_receive(len(self._in_views))
        self._mtu = _room(min(self._out_sizes, default=0))
        self._posted = array("I", [0]) * r2h.num  # by head: the buffer's number
        self._in_flight = array("I", [0]) * h2r.num  # by head: the buffer's number
        self._free = array("I", range(len(self._out_views) - 1, -1, -1))  # a stack; its top is at _num_free - 1
        self._num_free = len(self._out_views)
        for index in range(len(self._in_views)):
            self._post(index)
        h2r.disable_notifications()
        r2h.publish()
        self._armed = True

    @property
    def mtu(self) -> int:
        return self._mtu

    def _post(self, index: int) -> None:
        head = self._r2h.put(self._in_das[index], self._in_sizes[index], True)
        self._posted[head] = index

    def drain(self) -> bool:
        if self._cause is not None:
            raise self._cause.with_traceback(None)
        queue = self._r2h
        self._last_dst = _NOBODY
        taken = returned = 0
        try:
            while taken < self._num_receive and queue.take():
                if self._armed:
                    self._armed = False
                    queue.disable_notifications()
                taken += 1
                index = self._posted[queue.head]
                if self._deliver(index, self._in_views[index], self._in_sizes[index], queue.written, "r2h"):
                    self._post(index)
                    returned += 1
        finally:
            if returned:
                self._signal(queue.publish(), self._r2h_id)
        if taken:
            return True
        if self._armed or self.lazy:
            return False
        self._armed = True
        return queue.enable_notifications()

    def spin(self, hasty: bool = False) -> bool:
        if self._budget == 0 or self._spent or self._cause is not None:
            return False
        if hasty and not (self.lazy and self._num_spins % _LOOK_EVERY):
            return False
        self.lazy = True
        began = monotonic()
        found = self._r2h.spin(self._h2r if self._wanting else self._r2h, self._budget)
        return self._spun(found, monotonic() - began)

    def arm(self) -> bool:
        self.lazy = self._spent = False
        if self._cause is not None:
            return False
        news = False
        if not self._armed:
            self._armed = True
            news = self._r2h.enable_notifications()
        if self._wanting and not self._out_armed:
            self._out_armed = True
            news = self._h2r.enable_notifications() or news
        if self._spin_limit:
            self._armed_at = monotonic()
        return news

    def give_back(self, token: int) -> None:
        self._parked -= 1
        if self._cause is None:
            self._post(token)
            self._signal(self._r2h.publish(), self._r2h_id)

    def borrow(self) -> int:
        if self._cause is not None:
            raise self._cause.with_traceback(None)
        if self._num_free == 0:
            queue = self._h2r
            try:
                while queue.take():
                    self._free[self._num_free] = self._in_flight[queue.head]
                    self._num_free += 1
            except RemoteProtocolError as error:
                self.shut(error)
                raise
            if self._num_free == 0:
                return -1
        self._num_free -= 1
        return self._free[self._num_free]

    def buffer(self, token: int) -> memoryview:
        return self._out_views[token][: HEADER_SIZE + self._mtu]

    def unborrow(self, token: int) -> None:
        self._free[self._num_free] = token
        self._num_free += 1

    def _put(self, src: int, dst: int, data: Payload) -> bool:
        """Fills a buffer and gives it to the queue, unpublished; False when there is none."""
        if type(data) is not bytes:
            data = as_payload(data)
        length = len(data)
        if length > self._mtu:
            raise _too_long(length, self._mtu)
        index = self.borrow()
        if index < 0:
            return False
        _write(self._out_views[index], src, dst, data, length)
        self._give(index, length)
        return True

    def _give(self, index: int, length: int) -> None:
        head = self._h2r.put(self._out_das[index], self._out_sizes[index], False)
        self._in_flight[head] = index
        self.num_sent += 1
        self.bytes_sent += length

    def try_send(self, src: int, dst: int, data: Payload) -> bool:
        if self._waiting or not self._put(src, dst, data):
            return False
        self._signal(self._h2r.publish(), self._h2r_id)
        return True

    def put_many(self, src: int, dst: int, messages: Sequence[Payload], start: int) -> int:
        at, end = start, len(messages)
        while at < end and self._put(src, dst, messages[at]):
            at += 1
            self._unpublished = True
        return at

    def publish_sent(self) -> None:
        if self._unpublished:
            self._unpublished = False
            self._signal(self._h2r.publish(), self._h2r_id)

    def put_buffer(self, token: int, src: int, dst: int, length: int) -> None:
        fill_header(self._out_views[token], src, dst, length)
        self._give(token, length)
        self._unpublished = True

    def want_buffer(self, wanted: bool) -> None:
        if wanted == self._wanting or self._cause is not None or (self._waiting and not wanted):
            return
        self._wanting = wanted
        if wanted and not self.lazy:
            self._out_armed = True
            self._h2r.enable_notifications()
        elif self._out_armed and not wanted:
            self._out_armed = False
            self._h2r.disable_notifications()


class RemoteRings(_Rings):
    """The device of both queues (a `Transport`); the driver is ready (DRIVER_OK) when it is made.

    The lengths in both used rings are those of the buffers, whatever the messages': the host of OpenAMP's C library
    takes them for the room in the buffer that it gets back.

    Args:
        r2h: the queue of messages to the host.
        h2r: the queue of messages from the host.
        memory: where the addresses in the descriptors lie.
        kick: signals the host's queue with this notify id.
        notify_ids: of r2h and h2r.
    """

    def __init__(
        self,
        r2h: DeviceQueue,
        h2r: DeviceQueue,
        memory: MemoryMap,
        kick: Callable[[int], object],
        notify_ids: tuple[int, int],
    ) -> None:
        super().__init__(kick, notify_ids)
        self._r2h = r2h
        self._h2r = h2r
        self._memory = memory
        self._set_num_receive(h2r.num)
        self._mtu = _room(DEFAULT_BUFFER_SIZE)
        # By head: where the descriptor pointed when it was last seen, and a view of that.
        self._in_views: list[memoryview | None] = [None] * h2r.num
        self._in_sizes = array("I", [0]) * h2r.num
        self._in_das = array("Q", [0]) * h2r.num
        self._out_views: list[memoryview | None] = [None] * r2h.num
        self._out_sizes = array("I", [0]) * r2h.num
        self._out_das = array("Q", [0]) * r2h.num
        self._spare = array("I", [0]) * r2h.num  # a stack of heads that are ours and unused
        self._num_spare = 0
        r2h.disable_notifications()
        h2r.enable_notifications()
        self._armed = True

    @property
    def mtu(self) -> int:
        """The largest payload of the next message; 496 while the host has not posted any buffer."""
        if self._num_spare == 0 and self._cause is None:
            head = self.borrow()
            if head >= 0:
                self.unborrow(head)
        return self._mtu

    def _find(self, queue: DeviceQueue, writable: bool) -> memoryview:
        """Returns the bytes of the descriptor that was taken last."""
        if queue.writable != writable:
            raise self._bad_descriptor(queue, "must be writable on r2h and only there", "virtio 1.2, 2.7.4")
        if writable and queue.length < HEADER_SIZE:
            raise self._bad_descriptor(queue, f"cannot hold the {HEADER_SIZE}-byte header", "struct rpmsg_hdr")
        try:
            view = self._memory.view(queue.addr, queue.length)
        except AddressError as error:
            there = f"is in no shared memory region ({self._memory.describe()})"
            raise self._bad_descriptor(queue, there, "virtio 1.2, 2.7.5: addr is the buffer's address") from error
        if len(view) != queue.length or (writable and view.readonly):
            raise self._bad_descriptor(queue, "is in memory that cannot be used for it", "virtio 1.2, 2.7.5")
        return _own(view)

    def _bad_descriptor(self, queue: DeviceQueue, what: str, clause: str) -> RemoteProtocolError:
        error = RemoteProtocolError(
            f"queue {queue.name!r}: the buffer of {queue.length:#x} bytes at {queue.addr:#x} in descriptor "
            f"{queue.head:#x} {what} ({clause}); correct the host's buffers",
            queue=queue.name,
            index=queue.head,
            value=queue.addr,
            clause=clause,
        )
        self.shut(error)
        return error

    def drain(self) -> bool:
        if self._cause is not None:
            raise self._cause.with_traceback(None)
        queue = self._h2r
        self._last_dst = _NOBODY
        taken = returned = 0
        try:
            while taken < self._num_receive and queue.take():
                if self._armed:
                    self._armed = False
                    queue.disable_notifications()
                taken += 1
                head = queue.head
                length = queue.length
                view = self._in_views[head]
                if view is None or queue.writable or self._in_das[head] != queue.addr or self._in_sizes[head] != length:
                    view = self._find(queue, False)
                    self._in_views[head] = view
                    self._in_sizes[head] = length
                    self._in_das[head] = queue.addr
                if self._deliver(head, view, length, length, "h2r"):
                    queue.put(head, length)
                    returned += 1
        finally:
            if returned:
                self._signal(queue.publish(), self._h2r_id)
        if taken:
            return True
        if self._armed or self.lazy:
            return False
        self._armed = True
        return queue.enable_notifications()

    def spin(self, hasty: bool = False) -> bool:
        if self._budget == 0 or self._spent or self._cause is not None:
            return False
        if hasty and not (self.lazy and self._num_spins % _LOOK_EVERY):
            return False
        self.lazy = True
        began = monotonic()
        found = self._h2r.spin(self._r2h if self._wanting else self._h2r, self._budget)
        return self._spun(found, monotonic() - began)

    def arm(self) -> bool:
        self.lazy = self._spent = False
        if self._cause is not None:
            return False
        news = False
        if not self._armed:
            self._armed = True
            news = self._h2r.enable_notifications()
        if self._wanting and not self._out_armed:
            self._out_armed = True
            news = self._r2h.enable_notifications() or news
        if self._spin_limit:
            self._armed_at = monotonic()
        return news

    def give_back(self, token: int) -> None:
        self._parked -= 1
        if self._cause is None:
            self._h2r.put(token, self._in_sizes[token])
            self._signal(self._h2r.publish(), self._h2r_id)

    def borrow(self) -> int:
        if self._cause is not None:
            raise self._cause.with_traceback(None)
        if self._num_spare:
            self._num_spare -= 1
            return self._spare[self._num_spare]
        queue = self._r2h
        try:
            if not queue.take():
                return -1
        except RemoteProtocolError as error:
            self.shut(error)
            raise
        head = queue.head
        length = queue.length
        if (
            self._out_views[head] is None
            or not queue.writable
            or self._out_das[head] != queue.addr
            or self._out_sizes[head] != length
        ):
            self._out_views[head] = self._find(queue, True)
            self._out_sizes[head] = length
            self._out_das[head] = queue.addr
        self._mtu = _room(length)
        return head

    def _empty(self, head: int) -> memoryview:
        """Returns the bytes of a borrowed buffer."""
        view = self._out_views[head]
        assert view is not None
        return view

    def buffer(self, token: int) -> memoryview:
        return self._empty(token)[: HEADER_SIZE + _room(self._out_sizes[token])]

    def unborrow(self, token: int) -> None:
        self._spare[self._num_spare] = token
        self._num_spare += 1

    def _put(self, src: int, dst: int, data: Payload) -> bool:
        """Fills a buffer and gives it to the queue, unpublished; False when there is none."""
        if type(data) is not bytes:
            data = as_payload(data)
        length = len(data)
        head = self.borrow()
        if head < 0:
            return False
        room = _room(self._out_sizes[head])
        if length > room:
            self.unborrow(head)
            raise _too_long(length, room)
        _write(self._empty(head), src, dst, data, length)
        self._give(head, length)
        return True

    def _give(self, head: int, length: int) -> None:
        self._r2h.put(head, self._out_sizes[head])
        self.num_sent += 1
        self.bytes_sent += length

    def try_send(self, src: int, dst: int, data: Payload) -> bool:
        if self._waiting or not self._put(src, dst, data):
            return False
        self._signal(self._r2h.publish(), self._r2h_id)
        return True

    def put_many(self, src: int, dst: int, messages: Sequence[Payload], start: int) -> int:
        at, end = start, len(messages)
        while at < end and self._put(src, dst, messages[at]):
            at += 1
            self._unpublished = True
        return at

    def publish_sent(self) -> None:
        if self._unpublished:
            self._unpublished = False
            self._signal(self._r2h.publish(), self._r2h_id)

    def put_buffer(self, token: int, src: int, dst: int, length: int) -> None:
        fill_header(self._empty(token), src, dst, length)
        self._give(token, length)
        self._unpublished = True

    def want_buffer(self, wanted: bool) -> None:
        if wanted == self._wanting or self._cause is not None or (self._waiting and not wanted):
            return
        self._wanting = wanted
        if wanted and not self.lazy:
            self._out_armed = True
            self._r2h.enable_notifications()
        elif self._out_armed and not wanted:
            self._out_armed = False
            self._r2h.disable_notifications()
