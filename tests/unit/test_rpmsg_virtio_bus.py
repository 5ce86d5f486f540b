"""Messages in rings, seen from a peer that works on the rings itself: what is on the wire, and what it may break."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import pytest

from openamp.errors import MessageTooLongError, OpenAMPError, RemoteProtocolError, RpmsgError, StateError
from openamp.rpmsg import Endpoint, HostBus, RemoteBus
from openamp.rpmsg.wire import HEADER, NAME_SERVICE, Header
from openamp.testing.buses import Rings, make_rings
from openamp.virtio.device import VIRTIO_RPMSG_F_NS

NUM = 4


def no_pump(timeout: float | None) -> None:
    if timeout is None:
        raise StateError("waits for ever")


class HostAlone:
    """A host's bus whose remote is the test, on the device side of the rings."""

    def __init__(self, *, r2h_size: int = 512, h2r_size: int = 512, features: int = VIRTIO_RPMSG_F_NS) -> None:
        self.rings = make_rings(num=NUM, r2h_size=r2h_size, h2r_size=h2r_size)
        self.kicks: list[int] = []
        r2h, h2r = self.rings.driver_queues()
        self.driver = r2h
        self.bus = HostBus(
            r2h=r2h,
            h2r=h2r,
            r2h_buffers=self.rings.r2h_buffers,
            h2r_buffers=self.rings.h2r_buffers,
            features=features,
            kick=self.kicks.append,
            pump=no_pump,
            notify_ids=(7, 8),
        )
        self.r2h, self.h2r = self.rings.device_queues()

    def put(self, data: bytes, written: int | None = None) -> int:
        """Puts raw bytes into a buffer of r2h; returns its head."""
        taken = self.r2h.pop_single()
        assert taken is not None
        head, addr, _, writable = taken
        assert writable
        self.rings.memory.write(addr, data)
        self.r2h.push(head, len(data) if written is None else written)
        self.r2h.publish()
        return head

    def get(self) -> tuple[Header, bytes]:
        """Takes the next message of h2r."""
        taken = self.h2r.pop_single()
        assert taken is not None
        head, addr, length, writable = taken
        assert not writable
        data = self.rings.memory.read(addr, length)
        header = Header.parse(data)
        self.h2r.push(head, length)
        self.h2r.publish()
        return header, data[16 : 16 + header.length]


class RemoteAlone:
    """A remote's bus whose host is the test, on the driver side of the rings."""

    def __init__(self, *, sizes: Sequence[int] = (512,) * NUM, features: int = VIRTIO_RPMSG_F_NS) -> None:
        self.rings: Rings = make_rings(num=NUM, r2h_size=max(512, 512, *sizes), h2r_size=512)
        self.kicks: list[int] = []
        self.r2h, self.h2r = self.rings.driver_queues()
        self.posted: dict[int, tuple[int, memoryview]] = {}
        for (da, view), size in zip(self.rings.r2h_buffers, sizes, strict=False):
            self.post(da, view[:size])
        r2h, h2r = self.rings.device_queues()
        self.bus = RemoteBus(
            r2h=r2h,
            h2r=h2r,
            memory=self.rings.memory,
            features=features,
            kick=self.kicks.append,
            pump=no_pump,
            notify_ids=(7, 8),
        )
        self.at = 0

    def put(self, data: bytes, *, addr: int | None = None, length: int | None = None, writable: bool = False) -> int:
        """Offers raw bytes on h2r; returns the head."""
        da, view = self.rings.h2r_buffers[self.at % NUM]
        self.at += 1
        view[: len(data)] = data
        head = self.h2r.add(da if addr is None else addr, len(data) if length is None else length, writable)
        self.h2r.publish()
        return head

    def get(self) -> tuple[Header, bytes]:
        """Takes the next message of r2h and posts its buffer again."""
        used = self.r2h.reclaim()
        assert used is not None
        head, written = used
        da, view = self.posted.pop(head)
        data = bytes(view[:written])
        self.post(da, view)
        header = Header.parse(data)
        return header, data[16 : 16 + header.length]

    def post(self, da: int, view: memoryview) -> bool:
        """Offers an empty buffer on r2h; returns whether the remote wants a kick."""
        self.posted[self.r2h.add(da, len(view), True)] = (da, view)
        return self.r2h.publish()


def message(data: bytes, *, src: int = 0x500, dst: int = 0x20, length: int | None = None, reserved: int = 0) -> bytes:
    return HEADER.pack(src, dst, reserved, len(data) if length is None else length, 0) + data


# -- what is on the wire -----------------------------------------------------------------------------------------------


def test_host_on_the_wire() -> None:
    host = HostAlone()
    ept = host.bus.create_endpoint(src=0x20, dst=0x500)
    ept.send(b"hello")
    assert host.kicks == [8]
    assert host.get() == (Header(0x20, 0x500, 0, 5, 0), b"hello")
    with ept.borrow(3) as view:
        view[:] = b"abc"
    assert host.get() == (Header(0x20, 0x500, 0, 3, 0), b"abc")
    host.put(message(b"world", reserved=0xDEADBEEF))
    assert ept.receive(timeout=0) == b"world"


def test_remote_on_the_wire() -> None:
    remote = RemoteAlone()
    ept = remote.bus.create_endpoint(src=0x20, dst=0x500)
    ept.send(b"hello")
    assert remote.kicks == [7]
    assert remote.get() == (Header(0x20, 0x500, 0, 5, 0), b"hello")
    with ept.borrow(3) as view:
        view[:] = b"abc"
    assert remote.get() == (Header(0x20, 0x500, 0, 3, 0), b"abc")
    remote.put(message(b"world"))
    assert ept.receive(timeout=0) == b"world"
    assert remote.h2r.reclaim() is not None


def test_used_part_may_be_longer_than_the_message() -> None:
    """C remotes report the whole buffer as written; hosts may offer all of it as the descriptor's length."""
    host, remote = HostAlone(), RemoteAlone()
    for peer in (host, remote):
        ept = peer.bus.create_endpoint(src=0x20)
        if isinstance(peer, HostAlone):
            peer.put(message(b"hello"), written=512)
        else:
            peer.put(message(b"hello"), length=512)
        assert ept.receive(timeout=0) == b"hello"


def test_remote_reports_whole_buffers_as_used() -> None:
    """C hosts take the used ring's length for the room in the buffer that they get back, in both directions."""
    remote = RemoteAlone(sizes=(512, 300, 512, 512))
    ept = remote.bus.create_endpoint(src=0x20, dst=0x500)
    held = remote.bus.create_endpoint(src=0x21, dst=0x500, zero_copy=True)
    ept.send(b"hello")
    with ept.borrow(3) as view:
        view[:] = b"abc"
    ept.send_many([b"", b"x"])
    assert [written for _, written in remote.r2h.reclaim_many(NUM)] == [512, 300, 512, 512]
    for length in (512, 100):
        head = remote.put(message(b"hello"), length=length)
        assert ept.receive(timeout=0) == b"hello"
        assert remote.h2r.reclaim() == (head, length)
        head = remote.put(message(b"hello", dst=0x21), length=length)
        with held.hold(timeout=0) as view:
            assert bytes(view) == b"hello"
            assert remote.h2r.reclaim() is None
        assert remote.h2r.reclaim() == (head, length)


def test_announcement_on_the_wire() -> None:
    remote = RemoteAlone()
    ept = remote.bus.create_endpoint("rpmsg-openamp-demo-channel")
    header, payload = remote.get()
    assert header == Header(0x400, 53, 0, 40, 0)
    assert payload == struct.pack("<32sII", b"rpmsg-openamp-demo-channel", 0x400, 0)
    ept.close()
    assert remote.get()[1][-4:] == b"\1\0\0\0"


def test_announcement_waits_for_the_first_buffer() -> None:
    remote = RemoteAlone(sizes=())
    assert remote.bus.mtu == 496
    server = remote.bus.create_endpoint("svc", src=0x600)
    remote.bus.create_endpoint("short-lived").close()
    remote.put(message(b"", dst=0x600, src=0x99))
    remote.bus.poll()
    assert server.dst == 0x99
    assert remote.r2h.reclaim() is None
    wanted = [remote.post(da, view) for da, view in remote.rings.r2h_buffers]
    assert all(wanted), "the remote must want a kick while it waits for buffers"
    remote.bus.notified(7)
    payloads = [payload for _, payload in (remote.get() for _ in range(3))]
    assert [payload[:3] for payload in payloads] == [b"svc", b"sho", b"sho"]
    assert remote.bus.statistics().num_announcements_sent == 3
    assert remote.bus.statistics().num_sent == 0


def test_mtu_follows_the_buffers() -> None:
    remote = RemoteAlone(sizes=(64, 64, 128, 2048))
    ept = remote.bus.create_endpoint(src=0x20, dst=0x500)
    assert ept.mtu == 48
    with pytest.raises(MessageTooLongError) as caught:
        ept.send(bytes(49))
    assert caught.value.mtu == 48
    ept.send(bytes(48))
    ept.send(bytes(48))
    assert ept.mtu == 112
    with pytest.raises(MessageTooLongError):
        ept.borrow(113)
    with ept.borrow() as view:
        assert len(view) == 112
    assert ept.mtu == 2032


def test_host_without_buffers_for_a_message() -> None:
    host = HostAlone(h2r_size=16)
    ept = host.bus.create_endpoint(dst=1)
    assert ept.mtu == 0
    ept.send(b"")
    with pytest.raises(MessageTooLongError):
        ept.send(b"x")


# -- malformed messages: the bus goes on -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "written", "value"),
    [
        (message(b"", length=1), None, 1),
        (message(b"abc", length=4), None, 4),
        (message(b"abc", length=0xFFFF), 512, 0xFFFF),
        (message(b"", length=497), 512, 497),
        (b"short", None, 5),
        (b"", None, 0),
        (bytes(15), None, 15),
    ],
)
@pytest.mark.parametrize("role", [HostAlone, RemoteAlone])
def test_malformed_message(
    role: type[HostAlone] | type[RemoteAlone], raw: bytes, written: int | None, value: int
) -> None:
    peer = role()
    ept = peer.bus.create_endpoint(src=0x20)
    for data, used in ((message(b"before"), None), (raw, written), (message(b"after"), None)):
        if isinstance(peer, HostAlone):
            peer.put(data, used)
        else:
            peer.put(data, length=used)
    with pytest.raises(RemoteProtocolError, match="malformed") as caught:
        peer.bus.poll()
    assert caught.value.queue == ("r2h" if role is HostAlone else "h2r")
    assert caught.value.value == value
    assert caught.value.index is not None
    assert "rpmsg_hdr" in caught.value.clause
    assert ept.receive_many(timeout=0) == [b"before", b"after"]
    assert peer.bus.statistics().num_malformed == 1
    peer.bus.poll()
    for _ in range(2 * NUM):  # no buffer was lost
        if isinstance(peer, HostAlone):
            peer.put(message(b"x"))
        else:
            peer.put(message(b"x"))
            peer.bus.poll()
            assert peer.h2r.reclaim() is not None
        assert ept.receive(timeout=0) == b"x"


def test_malformed_messages_between_good_ones_come_out_of_receive() -> None:
    host = HostAlone()
    ept = host.bus.create_endpoint(src=0x20)
    for _ in range(3):
        host.put(message(b"", length=9))
        host.put(message(b"good"))
        with pytest.raises(RemoteProtocolError):
            ept.receive(timeout=0)
        assert ept.receive(timeout=0) == b"good"


# -- broken rings: the end ---------------------------------------------------------------------------------------------


def assert_dead(bus: HostBus | RemoteBus, ept: Endpoint, cause: OpenAMPError) -> None:
    for call in (bus.poll, ept.receive, lambda: ept.send(b""), lambda: bus.create_endpoint("x")):
        with pytest.raises(RemoteProtocolError) as caught:
            call()
        assert caught.value is cause
    ept.close()
    bus.close()


@pytest.mark.parametrize("index", [NUM + 1, 0x8000, 0xFFFF])
def test_used_index_jumps(index: int) -> None:
    host = HostAlone()
    ept = host.bus.create_endpoint(src=0x20, dst=0x500)
    host.put(message(b"kept"))
    host.rings.r2h[4096 + 2 : 4096 + 4] = struct.pack("<H", index)
    with pytest.raises(RemoteProtocolError, match=r"used\.idx") as caught:
        host.bus.poll()
    assert caught.value.queue == "r2h"
    assert_dead(host.bus, ept, caught.value)


def test_messages_before_the_broken_entry_are_kept() -> None:
    host = HostAlone()
    ept = host.bus.create_endpoint(src=0x20, dst=0x500)
    host.put(message(b"kept"))
    host.put(message(b"lost"))
    host.rings.r2h[4096 + 12 : 4096 + 16] = struct.pack("<I", 99)
    with pytest.raises(RemoteProtocolError, match="head 0x63"):
        host.bus.poll()
    assert ept.receive(timeout=0) == b"kept"
    with pytest.raises(RemoteProtocolError):
        ept.receive(timeout=0)


def test_callbacks_get_what_came_before_the_broken_entry() -> None:
    host = HostAlone()
    got: list[bytes] = []
    host.bus.create_endpoint(src=0x20, callback=lambda ept, data, src: got.append(data))
    for data in (b"1", b"2", b"lost"):
        host.put(message(data))
    host.rings.r2h[4096 + 20 : 4096 + 24] = struct.pack("<I", 99)
    with pytest.raises(RemoteProtocolError, match="head 0x63"):
        host.bus.poll()
    assert got == [b"1", b"2"]


def test_used_length_beyond_the_buffer() -> None:
    host = HostAlone()
    ept = host.bus.create_endpoint(src=0x20, dst=0x500)
    host.put(message(b"x"))
    host.rings.r2h[4096 + 8 : 4096 + 12] = struct.pack("<I", 513)
    with pytest.raises(RemoteProtocolError, match="0x201 bytes") as caught:
        ept.receive(timeout=0)
    assert_dead(host.bus, ept, caught.value)


def test_transmit_ring_breaks_while_sending() -> None:
    host = HostAlone()
    ept = host.bus.create_endpoint(src=0x20, dst=0x500)
    ept.send_many([b"x"] * NUM)
    host.rings.h2r[4096 + 2 : 4096 + 4] = struct.pack("<H", 0x7777)
    with pytest.raises(RemoteProtocolError, match=r"'h2r'.*used\.idx"):
        ept.send(b"more", timeout=0)
    with pytest.raises(RemoteProtocolError):
        ept.try_send(b"more")


@pytest.mark.parametrize(
    ("addr", "length", "writable", "what"),
    [
        (0, 32, False, "in no shared memory region"),
        (0xFFFFFFFFFFFFFFF0, 32, False, "in no shared memory region"),
        (None, 0x7FFFFFFF, False, "in no shared memory region"),
        (None, 32, True, "must be writable on r2h and only there"),
    ],
)
def test_bad_descriptor_on_h2r(addr: int | None, length: int, writable: bool, what: str) -> None:
    remote = RemoteAlone()
    ept = remote.bus.create_endpoint(src=0x20, dst=0x500)
    remote.put(message(b"kept"))
    head = remote.put(message(b"bad"), addr=addr, length=length, writable=writable)
    with pytest.raises(RemoteProtocolError, match=what) as caught:
        remote.bus.poll()
    assert (caught.value.queue, caught.value.index) == ("h2r", head)
    assert ept.receive(timeout=0) == b"kept"
    assert_dead(remote.bus, ept, caught.value)


@pytest.mark.parametrize(
    ("addr", "length", "writable", "what"),
    [
        (0x100, 512, True, "in no shared memory region"),
        (None, 512, False, "must be writable on r2h and only there"),
        (None, 15, True, "cannot hold the 16-byte header"),
    ],
)
def test_bad_descriptor_on_r2h(addr: int | None, length: int, writable: bool, what: str) -> None:
    remote = RemoteAlone(sizes=())
    ept = remote.bus.create_endpoint(src=0x20, dst=0x500)
    da = remote.rings.r2h_buffers[0][0]
    remote.r2h.add(da if addr is None else addr, length, writable)
    remote.r2h.publish()
    with pytest.raises(RemoteProtocolError, match=what) as caught:
        ept.send(b"x", timeout=0)
    assert caught.value.queue == "r2h"
    assert_dead(remote.bus, ept, caught.value)


@pytest.mark.parametrize(("addr", "length"), [(0, 0), ((1 << 64) - 1, (1 << 32) - 1)])
@pytest.mark.parametrize("queue", ["h2r", "r2h"])
def test_first_descriptor_that_looks_like_no_descriptor(queue: str, addr: int, length: int) -> None:
    """Buffers are remembered by head; what is remembered before the first one must not fit anything."""
    remote = RemoteAlone(sizes=())
    ept = remote.bus.create_endpoint(src=0x20, dst=0x500)
    ring = remote.h2r if queue == "h2r" else remote.r2h
    ring.add(addr, length, queue == "r2h")
    ring.publish()
    with pytest.raises(RemoteProtocolError):
        remote.bus.poll() if queue == "h2r" else ept.send(b"x", timeout=0)


@pytest.mark.parametrize("direction", ["r2h_buffers", "h2r_buffers"])
@pytest.mark.parametrize(
    ("buffer", "what"),
    [
        (memoryview(bytearray(15)), "has 0xf bytes"),
        (memoryview(bytes(512)), "is read-only"),
        (memoryview(bytearray(1024))[::2], "contiguous"),
    ],
)
def test_buffers_that_cannot_be(direction: str, buffer: memoryview, what: str) -> None:
    rings = make_rings(num=NUM, r2h_size=512, h2r_size=512)
    r2h, h2r = rings.driver_queues()
    buffers: dict[str, Any] = {"r2h_buffers": rings.r2h_buffers, "h2r_buffers": rings.h2r_buffers}
    buffers[direction] = [(0, buffer)]
    with pytest.raises(RpmsgError, match=what):
        HostBus(r2h=r2h, h2r=h2r, features=0, kick=print, pump=no_pump, notify_ids=(7, 8), **buffers)


def test_buffers_outlive_the_views_that_the_program_gave() -> None:
    """Releasing its own view does not take the memory from under the bus."""
    host = HostAlone()
    for _, view in [*host.rings.r2h_buffers, *host.rings.h2r_buffers]:
        view.release()
    ept = host.bus.create_endpoint(src=0x20, dst=0x500)
    ept.send(b"out")
    assert host.get()[1] == b"out"
    host.put(message(b"in"))
    assert ept.receive(timeout=0) == b"in"


def test_endpoint_closed_within_a_batch_gets_no_more_of_it() -> None:
    """The peer runs within our kick: a drain inside a drain, whose callback closes the endpoint of the outer one."""
    host = HostAlone()
    ept = host.bus.create_endpoint("svc", src=0x20, dst=0x500)
    inner: list[int] = []

    def kick(notify_id: int) -> None:
        if not inner:
            inner.append(notify_id)
            host.put(message(b"3"))
            host.bus.notified()
            ept.close()

    transport: Any = host.bus._transport
    transport._kick = kick
    host.put(message(b"1"))
    host.put(message(NAME_SERVICE.pack(b"new", 0x600, 0), src=0x600, dst=53))
    host.bus.create_endpoint("new", src=0x21, timeout=0)
    host.put(message(b"2"))
    host.bus.poll()
    assert inner
    assert host.bus.statistics().num_received + host.bus.statistics().num_dropped == 3
    assert not ept._queue, "nothing is left where nobody can read it"


def test_same_address_changes_its_role() -> None:
    """The remote remembers buffers by address; a later descriptor is checked all the same."""
    remote = RemoteAlone()
    ept = remote.bus.create_endpoint(src=0x20, dst=0x500)
    remote.put(message(b"x"))
    assert ept.receive(timeout=0) == b"x"
    remote.h2r.reclaim()
    remote.at = 0
    remote.put(message(b"x"), writable=True)
    with pytest.raises(RemoteProtocolError, match="must be writable on r2h"):
        remote.bus.poll()


def test_host_that_makes_up_new_buffers_all_the_time() -> None:
    remote = RemoteAlone()
    ept = remote.bus.create_endpoint(src=0x20, dst=0x500)
    base = remote.rings.h2r_buffers[0][0]
    for i in range(400):
        raw = message(b"%d" % i)
        remote.rings.memory.write(base + i, raw)
        remote.put(b"", addr=base + i, length=len(raw))
        assert ept.receive(timeout=0) == b"%d" % i
        assert remote.h2r.reclaim() is not None


def test_chain_where_a_message_is_one_descriptor() -> None:
    remote = RemoteAlone()
    da = remote.rings.h2r_buffers[0][0]
    remote.h2r.add_chain([(da, 16, False), (da + 16, 16, False)])
    remote.h2r.publish()
    with pytest.raises(RemoteProtocolError, match="h2r"):
        remote.bus.poll()


def test_queues_stay_the_owners() -> None:
    host = HostAlone()
    host.bus.close()
    host.driver.reset()
    assert host.driver.num_free == NUM
