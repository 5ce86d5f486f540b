# cython: annotation_typing=False, wraparound=False, initializedcheck=False, cdivision=True
"""Split virtqueues: the driver's side and the device's side (virtio 1.2, clause 2.7).

A queue is three runs of shared memory and a few private integers. It never waits, never kicks, never touches the
buffers themselves: it hands out descriptors, and says when the peer wants to be kicked.

- The **driver** offers buffers (`add`, `publish`) and takes them back when they are used (`reclaim`).
- The **device** takes what is offered (`pop`) and gives it back used (`push`, `publish`).

RPMsg's host is the driver of both its queues, the remote is the device of both.

Everything the peer writes is untrusted: each of its words is read once, into a local, and checked before it is
used. All bookkeeping is private; nothing is ever read back from memory that the peer could have changed. A peer
that breaks the rules gets a `RemoteProtocolError`, and so does every later call on that queue, until `reset` (driver)
or a new queue.

A queue belongs to one thread at a time. Words are in native byte order, as the legacy interface has it (2.7.3).

This file runs as it is, and compiles as it is: `virtqueue.pxd` beside it gives the C types and the fences. In the
compiled form `address_of` and the three barriers come from there; `_plain` says what they are here.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from openamp.errors import ClosedError, OpenAMPError, RemoteProtocolError, VirtqueueError, WouldBlock
from openamp.virtio import _checks, _faults
from openamp.virtio import _plain as cython
from openamp.virtio.device import split_ring

if False:
    import cython  # type: ignore  # for the compiler: it knows cython.compiled, and drops what that decides

if not cython.compiled:
    from openamp.virtio._plain import address_of, full_barrier, load_barrier, monotonic, relax, store_barrier

__all__ = ["COMPILED", "Chain", "DeviceQueue", "DriverQueue"]

COMPILED: bool = cython.compiled
"""Whether this is the compiled form."""

_NEXT = 1
_WRITE = 2
_INDIRECT = 4
_NO_INTERRUPT = 1
_NO_NOTIFY = 1
_MAX_CHAIN = 1 << 32
_LOOKS = 8  # at an index, between two at the clock

_FREE = -1  # in _limits: nobody holds this head
_END = -1  # in _links: the last descriptor of its chain
_UNKNOWN = 0xFFFF  # in _set_flags: what the descriptor table holds is not known
_CLOSED = memoryview(bytearray(16))  # what a closed queue looks at: nothing of the caller's


class Chain(NamedTuple):
    """What the driver offered under one head.

    Attributes:
        head: the first descriptor's index, which `DeviceQueue.push` wants back.
        segments: (address, length, writable) of each descriptor, in order.
    """

    head: int
    segments: tuple[tuple[int, int, bool], ...]


def _refusal(cause: OpenAMPError | None, queue: str) -> OpenAMPError:
    """Returns why a queue does not work any more: what broke it first, or that it was closed."""
    if cause is None:
        return ClosedError(f"queue {queue!r} is closed; make a new one")
    return cause.with_traceback(None)


class DriverQueue:
    """The driver's side of a split virtqueue: offers buffers, takes them back used.

    A new queue has empty, zeroed rings; make it before the device looks at them (before DRIVER_OK).

    Args:
        desc: the descriptor table: shared memory, writable, 16 `num` bytes.
        avail: the available ring, 6 + 2 `num` bytes.
        used: the used ring, 6 + 8 `num` bytes.
        num: number of descriptors, a power of two up to 32768.
        name: the queue's direction ("h2r" or "r2h"), for error texts.

    Attributes:
        num: number of descriptors.
        num_free: how many of them no chain holds.
        name: as given.
        head: of the last buffer that `take` took back.
        written: how many bytes the device says it wrote into it.

    Raises:
        VirtqueueError: when a part is too small, read-only or misaligned, or `num` cannot be.
    """

    def __init__(self, desc: memoryview, avail: memoryview, used: memoryview, num: int, *, name: str = "") -> None:
        _checks.number(num, name)
        desc = _checks.part(desc, 16 * num, "descriptor table", name)
        avail = _checks.part(avail, 6 + 2 * num, "available ring", name)
        used = _checks.part(used, 6 + 8 * num, "used ring", name)
        _checks.even(address_of(desc) | address_of(avail) | address_of(used), name)
        self.name = name
        self.num = num
        self._mask = num - 1
        self._parts = (desc, avail, used)
        self._desc64 = desc.cast("Q")  # descriptor i: address at 2 i
        self._desc32 = desc.cast("I")  # length at 4 i + 2
        self._desc16 = desc.cast("H")  # flags at 8 i + 6, next at 8 i + 7
        self._avail16 = avail.cast("H")  # flags, idx, then the ring
        self._used16 = used.cast("H")  # flags, idx
        self._used32 = used[4 : 4 + 8 * num].cast("I")  # element i: id at 2 i, length at 2 i + 1
        self._open = True
        self.reset()

    @classmethod
    def contiguous(cls, ring: memoryview, num: int, align: int, *, name: str = "") -> DriverQueue:
        """Makes a queue on a ring in the legacy layout (2.7.2).

        Args:
            ring: the ring's shared memory; see `vring_size` for its length.
            num: number of descriptors, a power of two.
            align: alignment of the used ring, a power of two.
            name: the queue's direction, for error texts.

        Raises:
            ResourceTableError: when `num` or `align` cannot be.
            AllocationError: when the ring is too short.
        """
        desc, avail, used = split_ring(ring, num, align)
        return cls(desc, avail, used, num, name=name)

    def reset(self) -> None:
        """Zeroes the rings and forgets everything, a broken peer's error too; the device must not be looking.

        Raises:
            ClosedError: when the queue was closed.
        """
        if not self._open:
            raise self._refusal()
        for part in self._parts:
            part[:] = bytes(len(part))
        num = self.num
        self._live = True
        self._cause: OpenAMPError | None = None  # what the peer broke first
        self._published = 0  # what avail.idx says
        self._pending = 0  # chains added since
        self._last = 0  # used elements taken so far
        self._seen = 0  # used.idx when we last looked
        self.head = 0
        self.written = 0
        self._free = array("H", range(num - 1, -1, -1))  # a stack; its top is at num_free - 1
        self.num_free = num
        self._limits = array("q", [_FREE]) * num  # by head: bytes offered, or _FREE
        self._places = array("H", [0]) * num  # by head: its running number in the available ring
        self._links = array("i", [_END]) * num  # by descriptor: the next of its chain
        # What we wrote into the descriptor table: an equal descriptor is not written again, which spares the peer
        # a cache miss.
        self._set_addr = array("Q", [0]) * num
        self._set_length = array("I", [0]) * num
        self._set_flags = array("H", [0]) * num

    def close(self) -> None:
        """Lets go of the shared memory; harmless when repeated."""
        self._live = self._open = False
        self._cause = None
        self._parts = (_CLOSED, _CLOSED, _CLOSED)
        self._desc64 = _CLOSED.cast("Q")
        self._desc32 = self._used32 = _CLOSED.cast("I")
        self._desc16 = self._avail16 = self._used16 = _CLOSED.cast("H")

    def add(self, addr: int, length: int, writable: bool) -> int:
        """Offers one buffer; the device sees it after `publish`.

        Args:
            addr: its device address.
            length: its length in bytes: the whole buffer's, even when a message fills only part of it.
            writable: the device writes into it (else reads from it).

        Returns:
            The head, by which `reclaim` will name the buffer.

        Raises:
            WouldBlock: when all descriptors are in use.
            VirtqueueError: when the address or length cannot be.
        """
        try:
            return self.put(addr, length, writable)
        except (OverflowError, ValueError):
            raise self._misuse(f"a buffer of {length:#x} bytes at {addr:#x}; descriptors hold 32 and 64 bits") from None

    def put(self, addr: int, length: int, writable: bool) -> int:
        """Does the work of `add`, at the speed of C where both are compiled."""
        if not self._live:
            raise self._refusal()
        if self.num_free == 0:
            raise WouldBlock(f"queue {self.name!r}: all {self.num} descriptors are in use; reclaim() used ones first")
        head = self._free[self.num_free - 1]
        flags = _WRITE if writable else 0
        if self._set_addr[head] != addr or self._set_length[head] != length or self._set_flags[head] != flags:
            self._describe(head, addr, length, flags, 0)
        self.num_free -= 1  # first: an interrupt between these two loses a descriptor, it does not use it twice
        self._offer(head, length)
        return head

    def _describe(self, index: int, addr: int, length: int, flags: int, link: int) -> None:
        self._set_flags[index] = _UNKNOWN  # until all is stored: a length that cannot be ends this half-way
        self._desc64[2 * index] = addr
        self._desc32[4 * index + 2] = length
        self._desc16[8 * index + 6] = flags
        self._desc16[8 * index + 7] = link
        self._set_addr[index] = addr
        self._set_length[index] = length
        self._set_flags[index] = flags

    def _offer(self, head: int, limit: int) -> None:
        place = (self._published + self._pending) & 0xFFFF
        self._avail16[2 + (place & self._mask)] = head
        self._places[head] = place
        self._limits[head] = limit
        self._pending += 1

    def add_many(self, buffers: Iterable[tuple[int, int]], writable: bool) -> list[int]:
        """Offers (address, length) buffers as `add` does, each by itself, until all are or no descriptor is free.

        Returns:
            The heads; fewer than buffers when the queue is full.
        """
        heads = []
        for addr, length in buffers:
            if self.num_free == 0:
                break
            heads.append(self.add(addr, length, writable))
        return heads

    def add_chain(self, segments: Sequence[tuple[int, int, bool]]) -> int:
        """Offers one buffer made of several pieces of memory.

        Args:
            segments: (address, length, writable) of each; readable ones first.

        Returns:
            The head.

        Raises:
            WouldBlock: when fewer descriptors are free than there are segments.
            VirtqueueError: when the chain cannot be: empty, longer than the queue, over 4 GiB, out of order.
        """
        if not self._live:
            raise self._refusal()
        limit = _checks.chain(segments, self.num, self.name)
        count = len(segments)
        if count > self.num_free:
            raise WouldBlock(
                f"queue {self.name!r}: {count} descriptors are wanted, {self.num_free} are free; "
                "reclaim() used ones first"
            )
        link = _END
        at = self.num_free - count  # the chain takes the stack's top, its tail lowest
        self.num_free = at
        for addr, length, writable in reversed(segments):
            index = self._free[at]
            flags = (_WRITE if writable else 0) | (_NEXT if link != _END else 0)
            self._describe(index, addr, length, flags, link & 0xFFFF if link != _END else 0)
            self._links[index] = link
            link = index
            at += 1
        self._offer(link, limit)
        return link

    def publish(self) -> bool:
        """Lets the device see what was added.

        Returns:
            True when the device wants a kick for it; False also when there was nothing to publish.
        """
        if not self._live:
            raise self._refusal()
        if self._pending == 0:
            return False
        self._published = (self._published + self._pending) & 0xFFFF
        self._pending = 0
        # Our stores to the descriptor table, avail.ring and the buffers before our store to avail.idx: the device
        # that sees the index sees them.
        store_barrier()
        self._avail16[1] = self._published
        # Our store to avail.idx before our load of used.flags: the device stores the flags and then loads the
        # index, so one of us sees the other's news and no wake-up is lost.
        full_barrier()
        return (self._used16[0] & _NO_NOTIFY) == 0

    def take(self) -> bool:
        """Takes back one used buffer and leaves it in `head` and `written`; False when there is none.

        This is the step under `reclaim`, for callers that are compiled too.
        """
        if not self._live:
            raise self._refusal()
        last = self._last
        if last == self._seen and not self._look():
            return False
        slot = last & self._mask
        head = self._used32[2 * slot]
        written = self._used32[2 * slot + 1]
        if head >= self.num or self._limits[head] < 0:
            raise self._broken(_faults.used_head(self.name, slot, head, self.num))
        # Running numbers from _published on are chains that the device cannot have seen yet.
        if (self._places[head] - self._published) & 0xFFFF < 0x8000:
            raise self._broken(_faults.used_head(self.name, slot, head, self.num))
        if written > self._limits[head]:
            raise self._broken(_faults.used_length(self.name, slot, written, head, self._limits[head]))
        self._last = (last + 1) & 0xFFFF
        self._limits[head] = _FREE
        self._free[self.num_free] = head
        self.num_free += 1
        if self._links[head] != _END:
            self._free_links(head)
        self.head = head
        self.written = written
        return True

    def _free_links(self, head: int) -> None:
        at = self._links[head]
        self._links[head] = _END
        while at != _END:
            self._free[self.num_free] = at
            self.num_free += 1
            link = self._links[at]
            self._links[at] = _END
            at = link

    def _look(self) -> bool:
        """Looks at used.idx; returns whether there is more."""
        index = self._used16[1]
        news = (index - self._last) & 0xFFFF
        if news == 0:
            return False
        in_flight = (self._published - self._last) & 0xFFFF
        if news > in_flight:
            raise self._broken(_faults.used_index(self.name, self._last, index, in_flight))
        # Our load of used.idx before our loads of used.ring and of the buffers: what the device stored before the
        # index is what we read.
        load_barrier()
        self._seen = index
        return True

    def reclaim(self) -> tuple[int, int] | None:
        """Takes back one used buffer.

        Returns:
            (head, written): what `add` returned and the number of bytes the device says it wrote (for a buffer that
            it could only read, whatever it reports, which means nothing); None when no buffer is used.

        Raises:
            RemoteProtocolError: when the device broke the used ring.
        """
        return (self.head, self.written) if self.take() else None

    def reclaim_many(self, limit: int) -> list[tuple[int, int]]:
        """Takes back up to `limit` used buffers; see `reclaim`.

        Their heads are free from now on: look up all of them before the next `add`, which may return one of them.
        What came before the device broke the ring is returned; the next call raises.
        """
        taken: list[tuple[int, int]] = []
        try:
            while len(taken) < limit and self.take():
                taken.append((self.head, self.written))
        except RemoteProtocolError:
            if not taken:
                raise
        return taken

    def spin(self, other: DriverQueue, nanoseconds: int) -> bool:
        """Watches two queues for news, without a system call: this one, and `other` (which may be this one again).

        It stores nothing and takes nothing, so that another thread may use the queues meanwhile; in the compiled form
        other threads run.

        Returns:
            True as soon as the device has moved either index, False when the time passed.
        """
        ours, others = self._used16, other._used16
        last, other_last = self._seen, other._seen
        if ours[1] != last or others[1] != other_last or self._last != last:
            return True
        found = False
        end = monotonic() + nanoseconds
        with cython.nogil:
            while not found:
                for _ in range(_LOOKS):
                    if ours[1] != last or others[1] != other_last:
                        found = True
                        break
                    relax()
                if not found and monotonic() >= end:
                    break
        return found

    def disable_notifications(self) -> None:
        """Asks the device not to kick us; it may all the same."""
        if not self._live:
            raise self._refusal()
        self._avail16[0] = _NO_INTERRUPT

    def enable_notifications(self) -> bool:
        """Asks the device to kick us again.

        Returns:
            True when used buffers arrived meanwhile, for which no kick may come: take them first.
        """
        if not self._live:
            raise self._refusal()
        self._avail16[0] = 0
        # Our store to avail.flags before our load of used.idx: the device stores the index and then loads the
        # flags, so either we see its buffers or it sees that we want a kick.
        full_barrier()
        return self._last != self._seen or self._look()

    def _broken(self, error: RemoteProtocolError) -> RemoteProtocolError:
        self._live = False
        self._cause = error
        return error

    def _refusal(self) -> OpenAMPError:
        return _refusal(self._cause, self.name)

    def _misuse(self, what: str) -> VirtqueueError:
        return VirtqueueError(f"queue {self.name!r}: {what}", queue=self.name)


class DeviceQueue:
    """The device's side of a split virtqueue: takes what the driver offers, gives it back used.

    The driver zeroes the rings; a new queue starts at index 0 and stores nothing until `publish`.

    The parts, their checks and the name are those of `DriverQueue`.

    Attributes:
        num: number of descriptors.
        num_held: how many chains were popped and not pushed.
        name: as given.
        head: of the last buffer that `take` took.
        addr: its device address.
        length: its length in bytes.
        writable: whether we write into it (else read from it).
    """

    def __init__(self, desc: memoryview, avail: memoryview, used: memoryview, num: int, *, name: str = "") -> None:
        _checks.number(num, name)
        desc = _checks.part(desc, 16 * num, "descriptor table", name)
        avail = _checks.part(avail, 6 + 2 * num, "available ring", name)
        used = _checks.part(used, 6 + 8 * num, "used ring", name)
        _checks.even(address_of(desc) | address_of(avail) | address_of(used), name)
        self.name = name
        self.num = num
        self._mask = num - 1
        self._desc64 = desc.cast("Q")  # descriptor i: address at 2 i
        self._desc32 = desc.cast("I")  # length at 4 i + 2
        self._desc16 = desc.cast("H")  # flags at 8 i + 6, next at 8 i + 7
        self._avail16 = avail.cast("H")  # flags, idx, then the ring
        self._used16 = used.cast("H")  # flags, idx
        self._used32 = used[4 : 4 + 8 * num].cast("I")  # element i: id at 2 i, length at 2 i + 1
        self._live = True
        self._cause: OpenAMPError | None = None  # what the peer broke first
        self._last = 0  # chains taken so far
        self._seen = 0  # avail.idx when we last looked
        self._published = 0  # what used.idx says
        self._pending = 0  # chains pushed since
        self.num_held = 0
        self._limits = array("q", [_FREE]) * num  # by head: the most that may be written, or _FREE
        self.head = 0
        self.addr = 0
        self.length = 0
        self.writable = False

    @classmethod
    def contiguous(cls, ring: memoryview, num: int, align: int, *, name: str = "") -> DeviceQueue:
        """Makes a queue on a ring in the legacy layout (2.7.2); see `DriverQueue.contiguous`."""
        desc, avail, used = split_ring(ring, num, align)
        return cls(desc, avail, used, num, name=name)

    def close(self) -> None:
        """Lets go of the shared memory; harmless when repeated."""
        self._live = False
        self._cause = None
        self._desc64 = _CLOSED.cast("Q")
        self._desc32 = self._used32 = _CLOSED.cast("I")
        self._desc16 = self._avail16 = self._used16 = _CLOSED.cast("H")

    def take(self) -> bool:
        """Takes the next buffer, of one descriptor, into `head`, `addr`, `length`, `writable`; False for none.

        This is the step under `pop_single`, for callers that are compiled too.
        """
        if not self._live:
            raise self._refusal()
        if self._last == self._seen and not self._look():
            return False
        head = self._next_head()
        addr = self._desc64[2 * head]
        length = self._desc32[4 * head + 2]
        flags = self._desc16[8 * head + 6]
        if flags & (_NEXT | _INDIRECT):
            raise self._broken(_faults.chain_flags(self.name, head, flags))
        self._hold(head, length)
        self.head = head
        self.addr = addr
        self.length = length
        self.writable = (flags & _WRITE) != 0
        return True

    def _look(self) -> bool:
        """Looks at avail.idx; returns whether there is more."""
        index = self._avail16[1]
        news = (index - self._last) & 0xFFFF
        if news == 0:
            return False
        # Chains that we hold, or have pushed where the driver cannot see it yet, cannot be offered again.
        room = self.num - self.num_held - self._pending
        if news > room:
            raise self._broken(_faults.avail_index(self.name, self._last, index, room))
        # Our load of avail.idx before our loads of avail.ring, the descriptors and the buffers: what the driver
        # stored before the index is what we read.
        load_barrier()
        self._seen = index
        return True

    def _next_head(self) -> int:
        slot = self._last & self._mask
        head = self._avail16[2 + slot]
        if head >= self.num or self._limits[head] >= 0:
            raise self._broken(_faults.avail_head(self.name, slot, head, self.num))
        return head

    def _hold(self, head: int, limit: int) -> None:
        self._limits[head] = limit
        self._last = (self._last + 1) & 0xFFFF
        self.num_held += 1

    def pop(self) -> Chain | None:
        """Takes the next chain that the driver offers.

        Returns:
            The chain, or None when there is none. Lengths and addresses are the driver's word: check them against
            the memory that there is.

        Raises:
            RemoteProtocolError: when the driver broke the available ring or the chain.
        """
        if not self._live:
            raise self._refusal()
        if self._last == self._seen and not self._look():
            return None
        head = self._next_head()
        segments: list[tuple[int, int, bool]] = []
        readable = writable = 0
        any_writable = False
        index = head
        while True:
            addr = self._desc64[2 * index]
            length = self._desc32[4 * index + 2]
            flags = self._desc16[8 * index + 6]
            link = self._desc16[8 * index + 7]
            if flags & _INDIRECT:
                raise self._broken(_faults.chain_flags(self.name, index, flags))
            if flags & _WRITE:
                any_writable = True
                writable += length
            elif any_writable:
                raise self._broken(_faults.chain_order(self.name, index, flags))
            else:
                readable += length
            segments.append((addr, length, (flags & _WRITE) != 0))
            if readable + writable > _MAX_CHAIN:
                raise self._broken(_faults.chain_size(self.name, head, readable + writable, "bytes"))
            if not flags & _NEXT:
                break
            if link >= self.num:
                raise self._broken(_faults.chain_link(self.name, index, link, self.num))
            if len(segments) == self.num:
                raise self._broken(_faults.chain_size(self.name, head, len(segments) + 1, "descriptors"))
            index = link
        self._hold(head, writable if any_writable else readable)
        return Chain(head, tuple(segments))

    def pop_single(self) -> tuple[int, int, int, bool] | None:
        """Takes the next chain, which must be one descriptor, as all of RPMsg's are.

        Returns:
            (head, address, length, writable), or None when there is none.

        Raises:
            RemoteProtocolError: when the driver broke the ring, or the chain has more than one descriptor.
        """
        return (self.head, self.addr, self.length, self.writable) if self.take() else None

    def pop_singles(self, limit: int) -> list[tuple[int, int, int, bool]]:
        """Takes up to `limit` chains of one descriptor; see `pop_single`, and `pop_many` for errors."""
        taken: list[tuple[int, int, int, bool]] = []
        try:
            while len(taken) < limit and self.take():
                taken.append((self.head, self.addr, self.length, self.writable))
        except RemoteProtocolError:
            if not taken:
                raise
        return taken

    def pop_many(self, limit: int) -> list[Chain]:
        """Takes up to `limit` chains; see `pop`.

        What came before the driver broke the ring is returned; the next call raises.
        """
        taken: list[Chain] = []
        try:
            while len(taken) < limit:
                chain = self.pop()
                if chain is None:
                    break
                taken.append(chain)
        except RemoteProtocolError:
            if not taken:
                raise
        return taken

    def push(self, head: int, written: int) -> None:
        """Gives a chain back; the driver sees it after `publish`.

        Args:
            head: of a chain that was popped.
            written: how many bytes we wrote into it. For a chain that is only read, 0, or its length as C devices
                report it.

        Raises:
            VirtqueueError: when the chain is not held, or `written` exceeds what it offers.
        """
        try:
            self.put(head, written)
        except OverflowError:
            raise self._misuse(f"push({head:#x}, {written:#x}): no such head or length") from None

    def put(self, head: int, written: int) -> None:
        """Does the work of `push`, at the speed of C where both are compiled."""
        if not self._live:
            raise self._refusal()
        if not 0 <= head < self.num or self._limits[head] < 0:
            raise self._misuse(f"push of head {head:#x}, which is not held; push each popped head once")
        if not 0 <= written <= self._limits[head]:
            raise self._misuse(
                f"push of head {head:#x} with {written:#x} bytes written; it offers {self._limits[head]:#x}"
            )
        slot = (self._published + self._pending) & self._mask
        self._used32[2 * slot] = head
        self._used32[2 * slot + 1] = written
        self._limits[head] = _FREE
        self.num_held -= 1
        self._pending += 1

    def push_many(self, used: Iterable[tuple[int, int]]) -> None:
        """Gives back (head, written) chains in this order; see `push`."""
        for head, written in used:
            self.push(head, written)

    def publish(self) -> bool:
        """Lets the driver see what was pushed.

        Returns:
            True when the driver wants a kick for it; False also when there was nothing to publish.
        """
        if not self._live:
            raise self._refusal()
        if self._pending == 0:
            return False
        self._published = (self._published + self._pending) & 0xFFFF
        self._pending = 0
        # Our stores to the buffers and used.ring, and our loads of the buffers, before our store to used.idx: the
        # driver that sees the index sees the data, and reuses only what we have read.
        store_barrier()
        self._used16[1] = self._published
        # Our store to used.idx before our load of avail.flags: the driver stores the flags and then loads the
        # index, so one of us sees the other's news and no wake-up is lost.
        full_barrier()
        return (self._avail16[0] & _NO_INTERRUPT) == 0

    def spin(self, other: DeviceQueue, nanoseconds: int) -> bool:
        """Watches two queues for news, without a system call: this one, and `other` (which may be this one again).

        It stores nothing and takes nothing, so that another thread may use the queues meanwhile; in the compiled form
        other threads run.

        Returns:
            True as soon as the driver has moved either index, False when the time passed.
        """
        ours, others = self._avail16, other._avail16
        last, other_last = self._seen, other._seen
        if ours[1] != last or others[1] != other_last or self._last != last:
            return True
        found = False
        end = monotonic() + nanoseconds
        with cython.nogil:
            while not found:
                for _ in range(_LOOKS):
                    if ours[1] != last or others[1] != other_last:
                        found = True
                        break
                    relax()
                if not found and monotonic() >= end:
                    break
        return found

    def disable_notifications(self) -> None:
        """Asks the driver not to kick us; it may all the same."""
        if not self._live:
            raise self._refusal()
        self._used16[0] = _NO_NOTIFY

    def enable_notifications(self) -> bool:
        """Asks the driver to kick us again.

        Returns:
            True when chains arrived meanwhile, for which no kick may come: take them first.
        """
        if not self._live:
            raise self._refusal()
        self._used16[0] = 0
        # Our store to used.flags before our load of avail.idx: the driver stores the index and then loads the
        # flags, so either we see its chains or it sees that we want a kick.
        full_barrier()
        return self._last != self._seen or self._look()

    def _broken(self, error: RemoteProtocolError) -> RemoteProtocolError:
        self._live = False
        self._cause = error
        return error

    def _refusal(self) -> OpenAMPError:
        return _refusal(self._cause, self.name)

    def _misuse(self, what: str) -> VirtqueueError:
        return VirtqueueError(f"queue {self.name!r}: {what}", queue=self.name)
