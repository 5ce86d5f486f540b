"""A peer that writes anything anywhere: whatever the program then does gives a value or an OpenAMPError."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from openamp.errors import OpenAMPError
from openamp.memory import MemoryMap, Region
from openamp.rpmsg import BorrowedBuffer, Bus, Endpoint, HeldBuffer, HostBus, RemoteBus
from openamp.rpmsg.wire import HEADER, NAME_SERVICE, NS_ADDR
from openamp.testing.buses import Rings, make_rings
from openamp.virtio.virtqueue import DeviceQueue, DriverQueue

NUM = 4
ADDRESS = st.sampled_from([0, 1, 2, 53, 0x400, 0x401, 0xFFFFFFFF]) | st.integers(0, 0xFFFFFFFF)
LENGTH = st.sampled_from([0, 40, 48, 0xFFFF]) | st.integers(0, 0xFFFF)
MESSAGE = st.one_of(
    st.builds(HEADER.pack, ADDRESS, ADDRESS, st.just(0), LENGTH, st.just(0)),
    st.builds(
        lambda data, dst: HEADER.pack(7, dst, 0, len(data), 0) + data, st.binary(max_size=40), st.sampled_from([1, 2])
    ),
    st.builds(
        lambda name, addr, flags: HEADER.pack(7, NS_ADDR, 0, 40, 0) + NAME_SERVICE.pack(name, addr, flags),
        st.sampled_from([b"svc", b"", b"\xff\0\xff", b"n" * 32]),
        ADDRESS,
        st.integers(0, 3),
    ),
    st.binary(max_size=64),
)
WORD = st.sampled_from([0, 1, 2, NUM, NUM + 1, 0x7FFF, 0x8000, 0xFFFF]) | st.integers(0, 0xFFFF)


class Hostile(RuleBasedStateMachine):
    """Peer's rules write to the rings, through a queue or past it; the program's rules call everything there is."""

    bus: Bus

    def make(self) -> None:
        """Makes the bus, and the peer's own queue ends."""
        raise AssertionError

    def offer(self, data: bytes, length: int, addr: int | None, writable: bool) -> None:
        """Has the peer put a message into the ring that we read."""
        raise AssertionError

    def free(self) -> None:
        """Has the peer take our messages."""
        raise AssertionError

    @initialize()
    def start(self) -> None:
        self.rings: Rings = make_rings(num=NUM, r2h_size=64, h2r_size=64)
        self.held: list[HeldBuffer] = []
        self.borrowed: list[BorrowedBuffer] = []
        self.make()
        self.bus.on_channel_created(lambda channel: self.bus.create_endpoint(channel.name, dst=channel.dst))

    def quiet(self, call: Callable[[], object]) -> object:
        try:
            return call()
        except OpenAMPError:
            return None

    # -- the peer --

    @rule(
        data=MESSAGE,
        length=st.none() | st.integers(0, 70),
        addr=st.none() | ADDRESS,
        writable=st.none() | st.booleans(),
    )
    def message(self, data: bytes, length: int | None, addr: int | None, writable: bool | None) -> None:
        self.quiet(lambda: self.offer(data, len(data) if length is None else length, addr, bool(writable)))

    @rule()
    def take(self) -> None:
        self.quiet(self.free)

    @rule(ring=st.sampled_from(["r2h", "h2r"]), at=st.integers(0, 40), value=WORD)
    def poke_used(self, ring: str, at: int, value: int) -> None:
        view: memoryview = getattr(self.rings, ring)
        view[4096:].cast("B")[2 * at : 2 * at + 2] = value.to_bytes(2, "little")[: len(view) - 4096 - 2 * at]

    @rule(ring=st.sampled_from(["r2h", "h2r"]), at=st.integers(0, 16 * NUM // 2 + 6), value=WORD)
    def poke_descriptors_and_avail(self, ring: str, at: int, value: int) -> None:
        view: memoryview = getattr(self.rings, ring)
        view[2 * at : 2 * at + 2] = value.to_bytes(2, "little")

    # -- the program --

    @rule(
        name=st.sampled_from(["", "svc", "\\xff"]),
        src=st.sampled_from([0xFFFFFFFF, 1, 2]),
        dst=st.sampled_from([0xFFFFFFFF, 7]),
        callback=st.booleans(),
        zero_copy=st.booleans(),
        timeout=st.sampled_from([0, 1e-6]),
    )
    def create(self, name: str, src: int, dst: int, callback: bool, zero_copy: bool, timeout: float) -> None:
        def answer(ept: Endpoint, data: bytes | HeldBuffer, src: int) -> None:
            ept.send(data if isinstance(data, bytes) else data.data, timeout=0)

        self.quiet(
            lambda: self.bus.create_endpoint(
                name,
                src=src,
                dst=dst,
                callback=answer if callback else None,
                zero_copy=zero_copy,
                timeout=timeout,
                backlog=2,
            )
        )

    @rule()
    def poll(self) -> None:
        self.quiet(self.bus.poll)

    @rule()
    def notified(self) -> None:
        self.quiet(self.bus.notified)

    @precondition(lambda self: self.bus.endpoints)
    @rule(
        data=st.data(),
        number=st.integers(0, 9),
    )
    def use(self, data: st.DataObject, number: int) -> None:
        ept = data.draw(st.sampled_from(self.bus.endpoints))
        calls: list[Callable[[], object]] = [
            lambda: ept.send(b"x" * 48, timeout=0),
            lambda: ept.try_send(b""),
            lambda: ept.send_to(b"y", 7, timeout=0),
            lambda: ept.send_many([b"z"] * 6, timeout=0),
            lambda: ept.receive(timeout=0),
            lambda: ept.receive_message(timeout=0),
            lambda: ept.receive_many(timeout=0),
            ept.try_receive,
            lambda: ept.wait_bound(timeout=0),
            ept.close,
        ]
        self.quiet(calls[number])

    @precondition(lambda self: self.bus.endpoints)
    @rule(data=st.data(), hold=st.booleans())
    def lend(self, data: st.DataObject, hold: bool) -> None:
        ept = data.draw(st.sampled_from(self.bus.endpoints))
        lent = self.quiet(lambda: ept.hold(timeout=0) if hold else ept.borrow(timeout=0))
        if isinstance(lent, HeldBuffer):
            self.held.append(lent)
        elif isinstance(lent, BorrowedBuffer):
            self.borrowed.append(lent)

    @precondition(lambda self: self.held or self.borrowed)
    @rule(send=st.booleans())
    def end(self, send: bool) -> None:
        if self.held:
            self.quiet(self.held.pop(0).release)
        else:
            buffer = self.borrowed.pop(0)
            self.quiet(buffer.send if send else buffer.release)
            self.quiet(buffer.release)

    def teardown(self) -> None:
        if hasattr(self, "bus"):
            self.quiet(self.bus.close)
            for held in self.held:
                held.release()
            for borrowed in self.borrowed:
                borrowed.release()
            self.bus.statistics()


def nothing(*args: object) -> None:
    """Neither kicks nor waits."""


class HostileRemote(Hostile):
    """We are the host."""

    def make(self) -> None:
        r2h, h2r = self.rings.driver_queues()
        self.bus = HostBus(
            r2h=r2h,
            h2r=h2r,
            r2h_buffers=self.rings.r2h_buffers,
            h2r_buffers=self.rings.h2r_buffers,
            features=1,
            kick=nothing,
            pump=nothing,
            notify_ids=(0, 1),
        )
        self.peer: tuple[DeviceQueue, DeviceQueue] = self.rings.device_queues()

    def offer(self, data: bytes, length: int, addr: int | None, writable: bool) -> None:
        taken = self.peer[0].pop_single()
        if taken is not None:
            self.rings.memory.write(taken[1], data[:64])
            self.peer[0].push(taken[0], length)
            self.peer[0].publish()

    def free(self) -> None:
        for chain in self.peer[1].pop_many(NUM):
            self.peer[1].push(chain.head, 0)
        self.peer[1].publish()


class HostileHost(Hostile):
    """We are the remote."""

    def make(self) -> None:
        r2h, h2r = self.rings.driver_queues()
        self.peer: tuple[DriverQueue, DriverQueue] = (r2h, h2r)
        for da, view in self.rings.r2h_buffers:
            r2h.add(da, len(view), True)
        r2h.publish()
        devices = self.rings.device_queues()
        self.bus = RemoteBus(
            r2h=devices[0],
            h2r=devices[1],
            memory=self.rings.memory,
            features=1,
            kick=nothing,
            pump=nothing,
            notify_ids=(0, 1),
        )

    def offer(self, data: bytes, length: int, addr: int | None, writable: bool) -> None:
        self.peer[1].reclaim_many(NUM)
        da, view = self.rings.h2r_buffers[0]
        view[: len(data)] = data[:64]
        self.peer[1].add(da if addr is None else addr, length, writable)
        self.peer[1].publish()

    def free(self) -> None:
        for _ in self.peer[0].reclaim_many(NUM):
            da, view = self.rings.r2h_buffers[0]
            self.peer[0].add(da, len(view), True)
        self.peer[0].publish()


TestHostileRemote = HostileRemote.TestCase
TestHostileRemote.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestHostileHost = HostileHost.TestCase
TestHostileHost.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)


@settings(max_examples=150, deadline=None)
@given(ring=st.binary(min_size=0, max_size=300), messages=st.binary(max_size=400))
def test_rings_full_of_anything(ring: bytes, messages: bytes) -> None:
    """The host's memory holds anything from the start, and the remote's bus is made on it."""
    rings = make_rings(num=NUM)
    region = next(iter(rings.memory))
    region.data[: len(ring)] = ring
    region.data[len(rings.r2h) : len(rings.r2h) + len(ring)] = ring
    region.data[4096 : 4096 + len(messages)] = messages
    region.data[len(rings.r2h) + 4096 : len(rings.r2h) + 4096 + len(messages)] = messages
    r2h, h2r = rings.device_queues()
    bus = RemoteBus(
        r2h=r2h,
        h2r=h2r,
        memory=MemoryMap([Region("low", 0, bytearray(0x10000))]),
        features=1,
        kick=nothing,
        pump=nothing,
        notify_ids=(0, 1),
    )
    calls: list[Callable[[], object]] = [
        lambda: bus.create_endpoint("svc"),
        bus.poll,
        lambda: bus.create_endpoint().send_to(b"x", 1, timeout=0),
        bus.poll,
        lambda: bus.mtu,
        bus.close,
    ]
    for call in calls:
        with contextlib.suppress(OpenAMPError):
            call()
