"""Our host side against the firmware library's device side, in C, in this process.

The C code is `firmware/lib`, compiled for this machine by `make -C firmware native`: an implementation of the rings and
of RPMsg that shares no line with ours.
"""

from __future__ import annotations

import ctypes
import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from openamp.errors import RemoteProtocolError
from openamp.memory import SharedMemory
from openamp.resource_table import LiveTable, ResourceTable, rpmsg_table
from openamp.rpmsg import ADDR_ANY, Channel, Endpoint, HostBus
from openamp.virtio import DriverQueue
from openamp.virtio.device import VIRTIO_RPMSG_F_NS, VirtioStatus, vring_size

pytestmark = pytest.mark.toolchain

FIRMWARE = Path(__file__).parents[2] / "firmware"
BASE = 0x1004_0000  # device address of the shared memory
NUM, ALIGN = 16, 16
RINGS = (BASE + 0x400, BASE + 0x1000)
BUFFERS = 0x2000
SHUTDOWN = struct.pack("<I", 0xEF56A55A)
ECHO = "rpmsg-openamp-demo-channel"

Library = ctypes.CDLL


class VqBuffer(ctypes.Structure):
    """struct vq_buffer."""

    _fields_ = [
        ("data", ctypes.c_void_p),
        ("len", ctypes.c_uint32),
        ("head", ctypes.c_uint16),
        ("flags", ctypes.c_uint16),
    ]


WAIT = ctypes.CFUNCTYPE(ctypes.c_int)
MESSAGE = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    build = tmp_path_factory.mktemp("native")
    subprocess.run(["make", "-s", "-C", str(FIRMWARE), f"BUILD={build}", "native"], check=True, timeout=60)
    loaded = ctypes.CDLL(str(build / "native" / "remote.so"))
    pointer, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    prototypes: dict[str, tuple[Any, list[Any]]] = {
        "native_queue_new": (pointer, [pointer, u64, ctypes.c_size_t, u64, ctypes.c_uint, ctypes.c_size_t]),
        "native_queue_free": (None, [pointer]),
        "native_queue_fault": (ctypes.c_char_p, [pointer]),
        "native_queue_pop": (ctypes.c_int, [pointer, ctypes.POINTER(VqBuffer)]),
        "native_queue_push": (None, [pointer, ctypes.c_uint16, u32]),
        "native_queue_kick_wanted": (ctypes.c_int, [pointer]),
        "native_queue_disable": (None, [pointer]),
        "native_queue_enable": (ctypes.c_int, [pointer]),
        "native_remote_new": (pointer, [pointer, u64, ctypes.c_size_t, u64, WAIT]),
        "native_remote_start": (ctypes.c_int, [pointer]),
        "native_remote_free": (None, [pointer]),
        "native_remote_poll": (ctypes.c_int, [pointer]),
        "native_remote_flush": (None, [pointer]),
        "native_remote_take_kicks": (ctypes.c_uint, [pointer, ctypes.c_uint]),
        "native_remote_fault": (ctypes.c_char_p, [pointer]),
        "native_remote_count": (u32, [pointer, ctypes.c_int]),
        "native_service_new": (pointer, [pointer, ctypes.c_char_p, u32, MESSAGE]),
        "native_service_destroy": (None, [pointer]),
        "native_service_send": (ctypes.c_int, [pointer, u32, ctypes.c_char_p, u32]),
        "native_service_addr": (u32, [pointer]),
        "native_service_dst": (u32, [pointer]),
        "native_service_result": (ctypes.c_int, [pointer]),
        "native_service_shut_down": (ctypes.c_int, [pointer]),
    }
    for name, (result, arguments) in prototypes.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


class Pair:
    """A HostBus and a C remote over one shared memory; each kick runs the other side at the next `pump`."""

    def __init__(
        self,
        library: Library,
        *,
        features: int = VIRTIO_RPMSG_F_NS,
        acknowledge: bool = True,
        sizes: tuple[int, int] = (512, 512),
    ) -> None:
        self.library = library
        self.shared = SharedMemory(BUFFERS + NUM * sum(sizes))
        self.view = self.shared.view
        table = ResourceTable.parse(rpmsg_table(num=NUM, align=ALIGN).build())
        size = len(table.build())
        self.view[:size] = table.build()
        self.live = LiveTable(self.view[:size], table).vdevs[0]
        for vring, da in zip(self.live.vrings, RINGS, strict=True):
            vring.da = da
        self.live.gfeatures = features
        self.wakeups: list[Callable[[], None]] = []
        self._wait = WAIT(self._wait_for_host)
        anchor = (ctypes.c_char * len(self.view)).from_buffer(self.view)
        self.base = ctypes.addressof(anchor)
        vdev = BASE + table.offsets[0]
        self.remote = library.native_remote_new(self.base, BASE, len(self.view), vdev, self._wait)
        assert library.native_remote_start(self.remote) == 0, "the remote waits for DRIVER_OK"
        self.kicked = 0
        queues = [
            DriverQueue.contiguous(self.memory(da, vring_size(NUM, ALIGN)), NUM, ALIGN, name=name)
            for name, da in zip(("r2h", "h2r"), RINGS, strict=True)
        ]
        at = BASE + BUFFERS
        pools = []
        for length in sizes:
            pools.append([(at + i * length, self.memory(at + i * length, length)) for i in range(NUM)])
            at += NUM * length
        self.bus = HostBus(
            r2h=queues[0],
            h2r=queues[1],
            r2h_buffers=pools[0],
            h2r_buffers=pools[1],
            features=features,
            kick=self.kick,
            pump=self.pump,
            notify_ids=(0, 1),
            acknowledge=acknowledge,
        )
        self.live.status |= VirtioStatus.DRIVER_OK
        assert library.native_remote_start(self.remote) == 1, library.native_remote_fault(self.remote)

    def memory(self, da: int, size: int) -> memoryview:
        return self.view[da - BASE : da - BASE + size]

    def kick(self, notify_id: int) -> None:
        self.kicked += 1

    def pump(self, timeout: float | None) -> bool:
        while self.kicked:
            self.kicked = 0
            while self.library.native_remote_poll(self.remote) == 1:
                pass
        return self.deliver()

    def deliver(self) -> bool:
        """Passes the remote's kicks on to the host."""
        kicks = [self.library.native_remote_take_kicks(self.remote, vring) for vring in (0, 1)]
        for vring, count in enumerate(kicks):
            if count:
                self.bus.notified(vring)
        return any(kicks)

    def _wait_for_host(self) -> int:
        """Called by the C code when all r2h buffers are with the host."""
        for wakeup in self.wakeups:
            wakeup()
        self.deliver()
        self.bus.poll()
        return 1 if self.wakeups else 0

    def service(self, name: str | None, addr: int = ADDR_ANY) -> int:
        service: int = self.library.native_service_new(
            self.remote, name.encode() if name is not None else None, addr, MESSAGE()
        )
        assert self.library.native_service_result(service) == 0
        return service

    def close(self) -> None:
        self.bus.close()
        self.library.native_remote_free(self.remote)


@pytest.fixture
def pair(library: Library) -> Iterator[Pair]:
    made = Pair(library)
    yield made
    made.close()


def exchange(endpoint: Endpoint, data: bytes) -> None:
    endpoint.send(data, timeout=5)
    assert endpoint.receive(timeout=5) == data


@pytest.mark.parametrize("acknowledge", [True, False], ids=["openamp host", "linux-like host"])
def test_announcement_binds_both_ends(library: Library, acknowledge: bool) -> None:
    pair = Pair(library, acknowledge=acknowledge)
    service = pair.service(ECHO)
    assert pair.library.native_service_dst(service) == ADDR_ANY
    endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
    pair.pump(0)
    if acknowledge:
        assert library.native_service_dst(service) == endpoint.src
    exchange(endpoint, b"first")
    assert library.native_service_dst(service) == endpoint.src
    assert endpoint.dst == library.native_service_addr(service) == 1024
    pair.close()


def test_echo_of_every_size(pair: Pair) -> None:
    pair.service(ECHO)
    endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
    for size in range(endpoint.mtu + 1):
        exchange(endpoint, random.randbytes(size))
    assert endpoint.mtu == 496


@pytest.mark.parametrize("sizes", [(256, 1024), (1024, 256), (66000, 66000), (24, 24)])
def test_buffer_sizes_are_the_hosts_choice(library: Library, sizes: tuple[int, int]) -> None:
    pair = Pair(library, sizes=sizes, features=0)
    service = pair.service(None, 100)
    endpoint = pair.bus.create_endpoint(dst=100)
    largest = min(*(size - 16 for size in sizes), 0xFFFF)
    for size in {0, 1, 7, largest - 1, largest}:
        exchange(endpoint, random.randbytes(size))
    if sizes[0] < sizes[1]:
        endpoint.send(bytes(largest + 1))
        pair.pump(0)
        assert library.native_service_result(service) == -2, "the echo does not fit the host's buffer"
        exchange(endpoint, b"and it goes on")
    pair.close()


def test_used_lengths_are_those_of_the_buffers(library: Library) -> None:
    """Hosts of older OpenAMP take them for the room in the buffers that they get back."""
    pair = Pair(library, sizes=(256, 1024), features=0)
    pair.service(None, 100)
    endpoint = pair.bus.create_endpoint(dst=100)
    for size in (5, 100, 0):
        exchange(endpoint, bytes(size))
    for ring, length in zip(RINGS, (256, 1024), strict=True):
        used = ring - BASE + vring_size(NUM, ALIGN) - (6 + 8 * NUM)
        assert struct.unpack_from("<H", pair.view, used + 2) == (3,)
        assert [struct.unpack_from("<I", pair.view, used + 8 + 8 * i)[0] for i in range(3)] == [length] * 3
    pair.close()


def test_indices_wrap(pair: Pair) -> None:
    pair.service(ECHO)
    endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
    for number in range(0, 66_000, 11):
        burst = [struct.pack("<I", number + i) for i in range(11)]
        endpoint.send_many(burst, timeout=5)
        received: list[bytes] = []
        while len(received) < len(burst):
            received += endpoint.receive_many(timeout=5)
        assert received == burst
    assert pair.library.native_remote_count(pair.remote, 1) > 0xFFFF


def test_services_come_and_go(pair: Pair) -> None:
    created: list[Channel] = []
    destroyed: list[Channel] = []
    pair.bus.on_channel_created(created.append)
    pair.bus.on_channel_destroyed(destroyed.append)
    names = ["first", "second", "x" * 31, "y" * 32]
    services = [pair.service(name) for name in names]
    pair.deliver()
    assert [channel.name for channel in created] == names
    endpoints = [pair.bus.create_endpoint(name, timeout=5) for name in names]
    for endpoint in endpoints:
        exchange(endpoint, endpoint.name.encode())
    pair.library.native_service_destroy(services[1])
    pair.deliver()
    assert [channel.name for channel in destroyed] == ["second"]
    exchange(endpoints[2], b"the others go on")
    pair.bus.close()


def test_host_end_comes_and_goes(pair: Pair) -> None:
    service = pair.service(ECHO)
    for _ in range(3):
        with pair.bus.create_endpoint(ECHO, timeout=5) as endpoint:
            exchange(endpoint, b"hello")
            assert pair.library.native_service_dst(service) == endpoint.src
        pair.pump(0)


def test_shutdown_message_then_destruction_is_the_acknowledgement(pair: Pair) -> None:
    service = pair.service(ECHO)
    endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
    gone: list[Channel] = []
    pair.bus.on_channel_destroyed(gone.append)
    endpoint.send(SHUTDOWN)
    pair.pump(0)
    assert pair.library.native_service_shut_down(service) == 1
    pair.library.native_service_destroy(service)
    pair.deliver()
    assert [channel.name for channel in gone] == [ECHO]


def test_static_addresses_without_name_service(library: Library) -> None:
    pair = Pair(library, features=0)
    pair.service("never announced", 100)
    pair.service(None, 200)
    pair.deliver()
    assert pair.bus.channels == ()
    for addr in (100, 200):
        exchange(pair.bus.create_endpoint(dst=addr), b"hello")
    pair.bus.create_endpoint(dst=53).send(b"no name service lives here")
    pair.pump(0)
    assert library.native_remote_count(pair.remote, 2) == 1
    pair.close()


def test_unknown_addresses_and_bad_lengths_are_dropped(pair: Pair) -> None:
    pair.service(ECHO)
    endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
    endpoint.send_to(b"nobody", 4711)
    endpoint.send_to(b"too short for a name service message", 53)
    pair.pump(0)
    assert pair.library.native_remote_count(pair.remote, 2) == 2
    endpoint.send(b"a length beyond the descriptor's")
    for index in range(NUM):
        struct.pack_into("<H", pair.view, BUFFERS + (NUM + index) * 512 + 12, 497)
    pair.pump(0)
    assert pair.library.native_remote_count(pair.remote, 2) == 3
    assert pair.library.native_remote_fault(pair.remote) is None
    exchange(endpoint, b"and it goes on")


def test_the_remote_waits_for_buffers(pair: Pair) -> None:
    service = pair.service(ECHO)
    endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
    exchange(endpoint, b"bind")
    sent = [struct.pack("<I", i) for i in range(5 * NUM)]
    pair.wakeups.append(lambda: None)
    for data in sent:
        assert pair.library.native_service_send(service, ADDR_ANY, data, len(data)) == 0
    received: list[bytes] = []
    while len(received) < len(sent):
        received += endpoint.receive_many(timeout=5)
    assert received == sent


def test_without_a_wait_a_full_queue_is_an_error(pair: Pair) -> None:
    service = pair.service(ECHO)
    results = [pair.library.native_service_send(service, 9999, b"x", 1) for _ in range(NUM)]
    # One buffer went to the announcement.
    assert results == [0] * (NUM - 1) + [-1]


def test_kicks_are_suppressed_while_the_host_does_not_want_them(pair: Pair) -> None:
    pair.service(ECHO)
    endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
    exchange(endpoint, b"bind")
    before = pair.bus.statistics()
    for _ in range(100):
        exchange(endpoint, b"ping")
    after = pair.bus.statistics()
    assert pair.library.native_remote_take_kicks(pair.remote, 1) == 0, "the host wants no kick for its own buffers"
    assert after.num_kicks - before.num_kicks <= 100, "nor the remote for buffers that it does not wait for"


def corrupt_available_index(pair: Pair) -> None:
    struct.pack_into("<H", pair.view, RINGS[1] - BASE + 16 * NUM + 2, 0x7777)


def corrupt_head(pair: Pair) -> None:
    at = RINGS[1] - BASE + 16 * NUM
    index = struct.unpack_from("<H", pair.view, at + 2)[0]
    struct.pack_into("<H", pair.view, at + 4 + 2 * (index % NUM), NUM)
    struct.pack_into("<H", pair.view, at + 2, (index + 1) & 0xFFFF)


def corrupt_descriptors(**fields: int) -> Callable[[Pair], None]:
    def corrupt(pair: Pair) -> None:
        for index in range(NUM):
            at = RINGS[1] - BASE + 16 * index
            addr, length, flags, following = struct.unpack_from("<QIHH", pair.view, at)
            values = {"addr": addr, "length": length, "flags": flags, "following": following} | fields
            struct.pack_into("<QIHH", pair.view, at, *values.values())
        at = RINGS[1] - BASE + 16 * NUM
        index = struct.unpack_from("<H", pair.view, at + 2)[0]
        struct.pack_into("<H", pair.view, at + 2, (index + 1) & 0xFFFF)

    return corrupt


@pytest.mark.parametrize(
    ("corrupt", "fault"),
    [
        (corrupt_available_index, b"index jumped"),
        (corrupt_head, b"out of range"),
        (corrupt_descriptors(flags=1), b"chained"),
        (corrupt_descriptors(flags=4), b"indirect"),
        (corrupt_descriptors(addr=0), b"outside"),
        (corrupt_descriptors(addr=BASE - 1), b"outside"),
        (corrupt_descriptors(addr=1 << 40 | BASE), b"outside"),
        (corrupt_descriptors(addr=0xFFFF_FFFF_FFFF_FFFF), b"outside"),
        (corrupt_descriptors(length=0xFFFF_FFFF), b"outside"),
    ],
)
def test_a_hostile_host_stops_the_device_and_nothing_else(
    pair: Pair, corrupt: Callable[[Pair], None], fault: bytes
) -> None:
    pair.service(ECHO)
    endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
    for _ in range(NUM):
        exchange(endpoint, b"every descriptor was used once")
    corrupt(pair)
    assert pair.library.native_remote_poll(pair.remote) == -5
    assert fault in pair.library.native_remote_fault(pair.remote)
    assert pair.live.status & VirtioStatus.NEEDS_RESET


def test_random_damage_never_leaves_the_shared_memory(library: Library) -> None:
    """The process would crash: the memory is a mapping of its own."""
    chance = random.Random(20)
    for _ in range(300):
        pair = Pair(library)
        pair.service(ECHO)
        try:
            endpoint = pair.bus.create_endpoint(ECHO, timeout=5)
            for _ in range(20):
                for _ in range(chance.randrange(1, 6)):
                    at = chance.randrange(0x400, BUFFERS + NUM * 1024)
                    pair.view[at] = chance.randrange(256)
                endpoint.send(b"x" * chance.randrange(64), timeout=0)
                pair.kicked = 1
                pair.pump(0)
        except RemoteProtocolError:
            pass
        except TimeoutError:
            pass
        pair.close()


def test_queue_by_itself(library: Library) -> None:
    shared = SharedMemory(0x1000)
    view = shared.view
    anchor = (ctypes.c_char * len(view)).from_buffer(view)
    driver = DriverQueue.contiguous(view[0x100 : 0x100 + vring_size(8, 4096 // 64)], 8, 64)
    queue = library.native_queue_new(ctypes.addressof(anchor), BASE, len(view), BASE + 0x100, 8, 64)
    buffer = VqBuffer()
    assert library.native_queue_pop(queue, ctypes.byref(buffer)) == 0
    for number in range(70_000):
        head = driver.add(BASE + 0x800 + number % 64, 16 + number % 7, number % 2 == 0)
        assert driver.publish()
        assert library.native_queue_pop(queue, ctypes.byref(buffer)) == 1
        assert (buffer.head, buffer.len, buffer.flags) == (head, 16 + number % 7, 2 if number % 2 == 0 else 0)
        assert buffer.data == ctypes.addressof(anchor) + 0x800 + number % 64
        library.native_queue_push(queue, head, 5)
        assert library.native_queue_kick_wanted(queue) == 1
        assert driver.reclaim() == (head, 5)
    library.native_queue_disable(queue)
    driver.add(BASE, 1, False)
    assert not driver.publish()
    assert library.native_queue_enable(queue) == 1, "more arrived meanwhile"
    driver.disable_notifications()
    assert library.native_queue_pop(queue, ctypes.byref(buffer)) == 1
    library.native_queue_push(queue, buffer.head, 0)
    assert library.native_queue_kick_wanted(queue) == 0
    library.native_queue_free(queue)


@pytest.mark.parametrize(
    ("ring", "num", "align", "fault"),
    [
        (BASE, 0, 16, b"power of two"),
        (BASE, 12, 16, b"power of two"),
        (BASE, 16, 0, b"alignment"),
        (BASE, 16, 24, b"alignment"),
        (BASE + 4, 16, 16, b"multiple of 16"),
        (BASE - 16, 16, 16, b"outside"),
        (BASE + 0xF00, 16, 16, b"outside"),
        (BASE, 32768, 4096, b"outside"),
    ],
)
def test_unusable_rings_are_refused(library: Library, ring: int, num: int, align: int, fault: bytes) -> None:
    memory = ctypes.create_string_buffer(0x1010)
    base = (ctypes.addressof(memory) + 15) // 16 * 16
    queue = library.native_queue_new(base, BASE, 0x1000, ring, num, align)
    assert fault in library.native_queue_fault(queue)
    library.native_queue_free(queue)
