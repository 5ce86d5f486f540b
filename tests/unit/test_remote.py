"""The remote's side of the life cycle, on a link whose events the test decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pytest

from openamp.errors import HostShutdown, ResourceTableError
from openamp.link import Event, Exit, Kick
from openamp.memory import MemoryMap, Region
from openamp.remote import Remote, serve_link
from openamp.resource_table import Trace, rpmsg_table
from openamp.rpmsg import Endpoint, HostBus
from openamp.virtio import DriverQueue, vring_size

RINGS = (0x1000, 0x2000)
BUFFERS = 0x3000


class Link:
    """The remote's end, and a host that has set its driver up."""

    def __init__(self, *, status: int = 7, byte_order: Literal["little", "big"] = "little") -> None:
        self.memory = MemoryMap([Region("shared", 0, memoryview(bytearray(0x10000)))])
        self.table_da = 0
        self.events: list[Event] = []
        self.kicks: list[int] = []
        table = rpmsg_table(num=8, align=16, vring_da=RINGS, byte_order=byte_order)
        (vdev,) = table.vdevs
        table = type(table)((vdev._replace(status=status, gfeatures=1),), byte_order=byte_order)
        self.memory.write(0, table.build())
        queues = []
        for name, da in zip(("r2h", "h2r"), RINGS, strict=True):
            queue = DriverQueue.contiguous(self.memory.view(da, vring_size(8, 16)), 8, 16, name=name)
            queue.reset()
            queues.append(queue)
        buffers = [(BUFFERS + 512 * i, self.memory.view(BUFFERS + 512 * i, 512)) for i in range(16)]
        self.host = HostBus(
            r2h=queues[0],
            h2r=queues[1],
            r2h_buffers=buffers[:8],
            h2r_buffers=buffers[8:],
            features=1,
            kick=lambda notify_id: self.events.append(Kick(notify_id)),
            pump=lambda timeout: None,
            notify_ids=(0, 1),
        )

    def kick(self, notify_id: int) -> None:
        self.kicks.append(notify_id)

    def wait(self, timeout: float | None) -> Sequence[Event]:
        events, self.events = self.events, []
        return events

    def close(self) -> None:
        pass


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_the_bus_is_the_one_of_the_live_table(byte_order: Literal["little", "big"]) -> None:
    link = Link(byte_order=byte_order)
    endpoint = serve_link(link, timeout=1).create_endpoint("svc")
    link.host.poll()
    link.host.create_endpoint("svc").send(b"hello")
    assert endpoint.receive(timeout=1) == b"hello"


def test_the_end_is_not_lost_when_a_callback_raises() -> None:
    link = Link()
    bus = serve_link(link, timeout=1)

    def fail(endpoint: Endpoint, data: bytes, src: int) -> None:
        raise ValueError("in the callback")

    bus.create_endpoint("svc", src=100, callback=fail)
    bus.wait(timeout=0)  # nothing yet: the message comes with the end
    host = link.host.create_endpoint(src=200, dst=100)

    def both(timeout: float | None) -> Sequence[Event]:
        if not link.events:
            host.send(b"x")
            link.events = [Kick(1), Exit()]
        return Link.wait(link, timeout)

    link.wait = both  # type: ignore[method-assign]
    with pytest.raises(ValueError, match="in the callback"):
        bus.wait(timeout=0)
    with pytest.raises(HostShutdown):
        bus.wait(timeout=0)


def test_what_one_turn_leaves_behind_the_next_one_takes() -> None:
    link = Link()
    remote = Remote(link)
    bus = remote.poll()
    assert bus is not None
    host = link.host.create_endpoint(src=200, dst=100)
    left = [1000]

    def received(endpoint: Endpoint, data: bytes, src: int) -> None:
        if left[0]:
            left[0] -= 1
            host.try_send(b"again")
            link.events.clear()  # the host need not kick while we look at the ring

    bus.create_endpoint(src=100, callback=received)
    host.send(b"first")
    while left[0]:
        assert remote.pump(0)


def test_an_end_before_the_driver_is_ready() -> None:
    link = Link(status=0)
    link.events = [Exit()]
    with pytest.raises(HostShutdown):
        serve_link(link, timeout=1)


def test_a_table_without_a_device() -> None:
    link = Link()
    table = rpmsg_table()
    link.memory.write(0, type(table)((Trace(0x100, 0x100),)).build().ljust(0x400, b"\0"))
    with pytest.raises(ResourceTableError, match="no vdev entry with id 7"):
        serve_link(link, timeout=1)
