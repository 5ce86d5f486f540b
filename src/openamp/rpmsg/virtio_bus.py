"""RPMsg over virtqueues: the host drives both queues, the remote is the device of both.

Every message is one buffer of one descriptor. On `r2h` the host posts empty buffers, the remote fills them; on `h2r`
the host fills its own buffers, the remote reads them. The buffers' sizes are the host's choice, per direction; the
remote learns them from the descriptors.

What the peer may break, and what becomes of it:

- a *message* whose length field exceeds what was written (or a buffer too short for a header): it is counted, its
  buffer goes back, the messages around it are delivered, and the call that took it in raises RemoteProtocolError. The
  bus goes on.
- a *ring* (indices, heads), or a descriptor that points outside the shared memory: nothing that follows could be
  trusted, so every later call raises the RemoteProtocolError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from struct import Struct

from openamp.errors import AddressError, ClosedError, MessageTooLongError, RemoteProtocolError
from openamp.memory import MemoryMap
from openamp.rpmsg.buffers import HeldBuffer
from openamp.rpmsg.bus import Bus
from openamp.rpmsg.endpoint import as_payload
from openamp.rpmsg.senders import Payload
from openamp.rpmsg.wire import ADDR_ANY, HEADER, HEADER_SIZE
from openamp.virtio.device import VIRTIO_RPMSG_F_NS
from openamp.virtio.virtqueue import DeviceQueue, DriverQueue

__all__ = ["HostBus", "RemoteBus", "VirtioBus"]

DEFAULT_BUFFER_SIZE = 512
"""What a remote assumes of the host's buffers before it has seen one (`RPMSG_BUFFER_SIZE`)."""

_LARGE = 4096
"""Payloads from here on are not joined with the header first: one more memcpy would cost more than a slice."""

_pack: Callable[[int, int, int, int, int], bytes] = HEADER.pack
_unpack_from = Struct("<II4xH").unpack_from  # src, dst, length


class VirtioBus(Bus):
    """What both roles share: the format of a message in a buffer.

    Args:
        features: the negotiated features; bit 0 (F_NS) is looked at.
        kick: signals the peer's queue with this notify id.
        notify_ids: of r2h and h2r.
    """

    def __init__(
        self,
        *,
        features: int,
        kick: Callable[[int], object],
        pump: Callable[[float | None], object],
        notify_ids: tuple[int, int],
        num_receive: int,
        receive_name: str,
        announces: bool,
        acknowledges: bool,
        diagnose: Callable[[], str] | None,
    ) -> None:
        super().__init__(
            name_service=bool(features & VIRTIO_RPMSG_F_NS),
            announces=announces,
            acknowledges=acknowledges,
            pump=pump,
            diagnose=diagnose,
        )
        self._kick = kick
        self._notify_ids = notify_ids
        self._receive_name = receive_name
        self._num_receive = num_receive
        self._armed = False  # the peer signals what arrives
        self._wanting = False  # the peer signals free transmit buffers
        self._shut_down = False
        self._parked = 0  # received buffers that are left in place or held
        self._park_limit = num_receive - max(1, num_receive // 4)

    def notified(self, notify_id: int | None = None) -> None:
        if notify_id is None or notify_id in self._notify_ids:
            super().notified(notify_id)

    def _deliver(self, token: int, view: memoryview, written: int) -> bool:
        """Takes a message in; True when its buffer can go back to the peer at once.

        Args:
            token: what `_give_back` wants, should the message be left in place.
            view: the buffer, all of it.
            written: as many of its bytes were used.
        """
        if written < HEADER_SIZE or written > len(view):
            self._bad_message(token, written, f"{written:#x} bytes cannot hold the {HEADER_SIZE}-byte header")
            return True
        src, dst, length = _unpack_from(view)
        end = HEADER_SIZE + length
        if end > written:
            self._bad_message(token, length, f"its header says {length:#x} bytes of payload, {written:#x} were used")
            return True
        endpoint = self._endpoints.get(dst)
        if endpoint is None:
            self._arrived_elsewhere(view[HEADER_SIZE:end].tobytes(), src, dst)
            return True
        self._received += 1
        self._bytes_received += length
        if length > self._longest:
            self._grew(length)
        if endpoint._dst == ADDR_ANY:
            self._names.bind_by_message(endpoint, src)
        queue = endpoint._queue
        if endpoint._callback is not None:
            self._ready.append(endpoint)
        if len(queue) >= endpoint._backlog or (endpoint._parks and self._parked < self._park_limit):
            self._parked += 1
            queue.append((HeldBuffer(self, token, view[HEADER_SIZE:end].toreadonly(), src, dst), src))
            return False
        queue.append((view[HEADER_SIZE:end].tobytes(), src))
        return True

    def _bad_message(self, token: int, value: int, what: str) -> None:
        self._malformed += 1
        self._defer(
            RemoteProtocolError(
                f"queue {self._receive_name!r}: the message in buffer {token:#x} is malformed: {what} "
                f"(struct rpmsg_hdr, len); it was dropped, look at how the peer fills its buffers",
                queue=self._receive_name,
                index=token,
                value=value,
                clause="struct rpmsg_hdr: header and len bytes of payload lie within the used part of the buffer",
            )
        )

    def _fill(self, view: memoryview, src: int, dst: int, data: Payload, length: int) -> None:
        """Writes a message into a buffer that is ours."""
        if length < _LARGE:
            view[: HEADER_SIZE + length] = _pack(src, dst, 0, length, 0) + data
        else:
            view[:HEADER_SIZE] = _pack(src, dst, 0, length, 0)
            view[HEADER_SIZE : HEADER_SIZE + length] = data

    def _signal(self, wanted: bool, notify_id: int) -> None:
        """Kicks the peer if it wants that."""
        if wanted:
            self._kicks += 1
            self._kick(notify_id)
        else:
            self._kicks_suppressed += 1

    def _shut(self) -> None:
        self._shut_down = True

    def _unusable(self) -> Exception:
        """Why nothing can be sent any more."""
        if self._failure is not None:
            return self._failure.with_traceback(None)
        return ClosedError("the bus is closed; open the remote again for another one")


def _room(size: int) -> int:
    """Returns the largest payload that a buffer of this size and the header's 16-bit length field allow."""
    return min(max(size - HEADER_SIZE, 0), 0xFFFF)


def _too_long(length: int, mtu: int) -> MessageTooLongError:
    return MessageTooLongError(
        f"a message of {length:#x} bytes exceeds the mtu of {mtu:#x}; split it, or configure larger buffers",
        size=length,
        mtu=mtu,
    )


class HostBus(VirtioBus):
    """The host's end: driver of both queues.

    The queues are new (or reset) when the bus is made; it posts the r2h buffers at once, without a kick. The owner
    then sets DRIVER_OK and kicks r2h.

    Args:
        r2h: the queue of messages from the remote.
        h2r: the queue of messages to the remote.
        r2h_buffers: (device address, memory) of each buffer the remote fills; as many as r2h has descriptors are used.
        h2r_buffers: the same of each buffer that we fill.
        features: the negotiated features; bit 0 (F_NS) is looked at.
        kick: signals the remote's queue with this notify id.
        pump: called as `pump(timeout)` to wait for events and hand them to `notified`.
        notify_ids: of r2h and h2r.
        acknowledge: answer announcements as an OpenAMP host does; False is what Linux does.
        diagnose: returns what the platform knows of why nothing happens.
    """

    def __init__(
        self,
        *,
        r2h: DriverQueue,
        h2r: DriverQueue,
        r2h_buffers: Sequence[tuple[int, memoryview]],
        h2r_buffers: Sequence[tuple[int, memoryview]],
        features: int,
        kick: Callable[[int], object],
        pump: Callable[[float | None], object],
        notify_ids: tuple[int, int],
        acknowledge: bool = True,
        diagnose: Callable[[], str] | None = None,
    ) -> None:
        self._r2h = r2h
        self._h2r = h2r
        self._r2h_buffers = tuple(r2h_buffers[: r2h.num_free])
        self._h2r_buffers = tuple(h2r_buffers[: h2r.num_free])
        super().__init__(
            features=features,
            kick=kick,
            pump=pump,
            notify_ids=notify_ids,
            num_receive=len(self._r2h_buffers),
            receive_name="r2h",
            announces=False,
            acknowledges=acknowledge,
            diagnose=diagnose,
        )
        self._mtu = _room(min((len(view) for _, view in self._h2r_buffers), default=0))
        self._posted = [0] * r2h.num  # by head: the buffer's number
        self._in_flight = [0] * h2r.num  # by head: the buffer's number
        self._free = list(range(len(self._h2r_buffers) - 1, -1, -1))
        for index in range(len(self._r2h_buffers)):
            self._post(index)
        h2r.disable_notifications()
        r2h.publish()
        self._armed = True

    @property
    def mtu(self) -> int:
        return self._mtu

    def _post(self, index: int) -> None:
        da, view = self._r2h_buffers[index]
        self._posted[self._r2h.put(da, len(view), True)] = index

    def _drain(self) -> bool:
        queue, buffers, posted = self._r2h, self._r2h_buffers, self._posted
        num = 0
        try:
            while num < self._num_receive and queue.take():
                if self._armed:
                    self._armed = False
                    queue.disable_notifications()
                num += 1
                index = posted[queue.head]
                if self._deliver(index, buffers[index][1], queue.written):
                    self._post(index)
        finally:
            if num:
                self._signal(queue.publish(), self._notify_ids[0])
        if num:
            return True
        if self._armed:
            return False
        self._armed = True
        return queue.enable_notifications()

    def _give_back(self, token: int) -> None:
        self._parked -= 1
        if not self._shut_down:
            self._post(token)
            self._signal(self._r2h.publish(), self._notify_ids[0])

    def _acquire(self) -> int:
        """Returns the number of a free buffer, or -1."""
        if self._shut_down:
            raise self._unusable()
        free, queue, in_flight = self._free, self._h2r, self._in_flight
        if not free:
            while queue.take():
                free.append(in_flight[queue.head])
            if not free:
                return -1
        return free.pop()

    def _put(self, src: int, dst: int, data: Payload, length: int) -> bool:
        """Fills a buffer and gives it to the queue, unpublished; False when there is none."""
        if length > self._mtu:
            raise _too_long(length, self._mtu)
        index = self._acquire()
        if index < 0:
            return False
        da, view = self._h2r_buffers[index]
        self._fill(view, src, dst, data, length)
        self._in_flight[self._h2r.put(da, len(view), False)] = index
        self._sent += 1
        self._bytes_sent += length
        return True

    def _try_send(self, src: int, dst: int, data: Payload) -> bool:
        if type(data) is not bytes:
            data = as_payload(data)
        if self._waiting or not self._put(src, dst, data, len(data)):
            return False
        self._signal(self._h2r.publish(), self._notify_ids[1])
        return True

    def _try_send_many(self, src: int, dst: int, messages: Sequence[Payload], start: int) -> int:
        at, end = start, len(messages)
        try:
            while at < end and self._put(src, dst, messages[at], len(messages[at])):
                at += 1
        finally:
            if at > start:
                self._signal(self._h2r.publish(), self._notify_ids[1])
        return at

    def _borrow(self) -> int:
        return self._acquire()

    def _buffer(self, token: int) -> memoryview:
        return self._h2r_buffers[token][1][: HEADER_SIZE + self._mtu]

    def _unborrow(self, token: int) -> None:
        self._free.append(token)

    def _send_buffer(self, token: int, src: int, dst: int, length: int) -> None:
        da, view = self._h2r_buffers[token]
        view[:HEADER_SIZE] = _pack(src, dst, 0, length, 0)
        self._in_flight[self._h2r.put(da, len(view), False)] = token
        self._sent += 1
        self._bytes_sent += length
        self._signal(self._h2r.publish(), self._notify_ids[1])

    def _want_buffer(self, wanted: bool) -> None:
        if wanted == self._wanting or self._shut_down or (self._waiting and not wanted):
            return
        self._wanting = wanted
        if wanted:
            self._h2r.enable_notifications()
        else:
            self._h2r.disable_notifications()


class RemoteBus(VirtioBus):
    """The remote's end: device of both queues.

    The driver is ready (DRIVER_OK) when the bus is made.

    Args:
        r2h: the queue of messages to the host.
        h2r: the queue of messages from the host.
        memory: where the addresses in the descriptors lie.
        features: the negotiated features; bit 0 (F_NS) is looked at.
        kick: signals the host's queue with this notify id.
        pump: called as `pump(timeout)` to wait for events and hand them to `notified`.
        notify_ids: of r2h and h2r.
        diagnose: returns what the platform knows of why nothing happens.
    """

    def __init__(
        self,
        *,
        r2h: DeviceQueue,
        h2r: DeviceQueue,
        memory: MemoryMap,
        features: int,
        kick: Callable[[int], object],
        pump: Callable[[float | None], object],
        notify_ids: tuple[int, int],
        diagnose: Callable[[], str] | None = None,
    ) -> None:
        super().__init__(
            features=features,
            kick=kick,
            pump=pump,
            notify_ids=notify_ids,
            num_receive=h2r.num,
            receive_name="h2r",
            announces=True,
            acknowledges=False,
            diagnose=diagnose,
        )
        self._r2h = r2h
        self._h2r = h2r
        self._memory = memory
        self._views: dict[int, memoryview] = {}  # by device address: the buffers seen so far
        self._empty: dict[int, memoryview] = {}  # by head: r2h buffers that are ours now
        self._spare: list[int] = []  # heads of those that nobody borrowed
        self._mtu = _room(DEFAULT_BUFFER_SIZE)
        r2h.disable_notifications()
        h2r.enable_notifications()
        self._armed = True

    @property
    def mtu(self) -> int:
        """The largest payload of the next message; 496 while the host has not posted any buffer."""
        if not self._spare and not self._shut_down:
            head = self._acquire()
            if head >= 0:
                self._spare.append(head)
        return self._mtu

    def _view(self, queue: DeviceQueue) -> memoryview:
        """Returns the bytes of the descriptor that was taken last."""
        if queue.writable != (queue is self._r2h):
            raise self._bad_descriptor(queue, "must be writable on r2h and only there", "virtio 1.2, 2.7.4")
        addr, length = queue.addr, queue.length
        view = self._views.get(addr)
        if view is not None and len(view) == length:
            return view
        try:
            view = self._memory.view(addr, length)
        except AddressError as error:
            there = f"is in no shared memory region ({self._memory.describe()})"
            raise self._bad_descriptor(queue, there, "virtio 1.2, 2.7.5: addr is the buffer's address") from error
        if len(self._views) >= 4 * (self._r2h.num + self._h2r.num):
            self._views.clear()  # the host makes up new ones all the time
        self._views[addr] = view
        return view

    def _bad_descriptor(self, queue: DeviceQueue, what: str, clause: str) -> RemoteProtocolError:
        error = RemoteProtocolError(
            f"queue {queue.name!r}: the buffer of {queue.length:#x} bytes at {queue.addr:#x} in descriptor "
            f"{queue.head:#x} {what} ({clause}); correct the host's buffers",
            queue=queue.name,
            index=queue.head,
            value=queue.addr,
            clause=clause,
        )
        self.fail(error)
        return error

    def _drain(self) -> bool:
        queue = self._h2r
        num = 0
        try:
            while num < self._num_receive and queue.take():
                if self._armed:
                    self._armed = False
                    queue.disable_notifications()
                num += 1
                head = queue.head
                if self._deliver(head, self._view(queue), queue.length):
                    queue.put(head, 0)
        finally:
            if num:
                self._signal(queue.publish(), self._notify_ids[1])
        if num:
            return True
        if self._armed:
            return False
        self._armed = True
        return queue.enable_notifications()

    def _give_back(self, token: int) -> None:
        self._parked -= 1
        if not self._shut_down:
            self._h2r.put(token, 0)
            self._signal(self._h2r.publish(), self._notify_ids[1])

    def _acquire(self) -> int:
        """Returns the head of an empty buffer, or -1."""
        if self._shut_down:
            raise self._unusable()
        if self._spare:
            return self._spare.pop()
        queue = self._r2h
        if not queue.take():
            return -1
        if queue.length < HEADER_SIZE:
            raise self._bad_descriptor(queue, f"cannot hold the {HEADER_SIZE}-byte header", "struct rpmsg_hdr")
        head = queue.head
        self._empty[head] = self._view(queue)
        self._mtu = _room(queue.length)
        return head

    def _put(self, src: int, dst: int, data: Payload, length: int) -> bool:
        """Fills a buffer and gives it to the queue, unpublished; False when there is none."""
        head = self._acquire()
        if head < 0:
            return False
        view = self._empty[head]
        if HEADER_SIZE + length > len(view) or length > 0xFFFF:
            self._spare.append(head)
            raise _too_long(length, _room(len(view)))
        del self._empty[head]
        self._fill(view, src, dst, data, length)
        self._r2h.put(head, HEADER_SIZE + length)
        self._sent += 1
        self._bytes_sent += length
        return True

    def _try_send(self, src: int, dst: int, data: Payload) -> bool:
        if type(data) is not bytes:
            data = as_payload(data)
        if self._waiting or not self._put(src, dst, data, len(data)):
            return False
        self._signal(self._r2h.publish(), self._notify_ids[0])
        return True

    def _try_send_many(self, src: int, dst: int, messages: Sequence[Payload], start: int) -> int:
        at, end = start, len(messages)
        try:
            while at < end and self._put(src, dst, messages[at], len(messages[at])):
                at += 1
        finally:
            if at > start:
                self._signal(self._r2h.publish(), self._notify_ids[0])
        return at

    def _borrow(self) -> int:
        return self._acquire()

    def _buffer(self, token: int) -> memoryview:
        view = self._empty[token]
        return view[: HEADER_SIZE + _room(len(view))]

    def _unborrow(self, token: int) -> None:
        self._spare.append(token)

    def _send_buffer(self, token: int, src: int, dst: int, length: int) -> None:
        view = self._empty.pop(token)
        view[:HEADER_SIZE] = _pack(src, dst, 0, length, 0)
        self._r2h.put(token, HEADER_SIZE + length)
        self._sent += 1
        self._bytes_sent += length
        self._signal(self._r2h.publish(), self._notify_ids[0])

    def _want_buffer(self, wanted: bool) -> None:
        if wanted == self._wanting or self._shut_down or (self._waiting and not wanted):
            return
        self._wanting = wanted
        if wanted:
            self._r2h.enable_notifications()
        else:
            self._r2h.disable_notifications()
