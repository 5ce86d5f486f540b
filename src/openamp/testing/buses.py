"""A host's bus and a remote's bus on the same memory, in one thread: the whole of RPMsg without a platform.

```python
pair = bus_pair()
server = pair.remote.create_endpoint("echo", callback=lambda ept, data, src: ept.send(data))
client = pair.host.create_endpoint("echo")
client.send(b"hello")
assert client.receive() == b"hello"
```

While one side waits, the other one runs, but only if it was kicked: a signal that gets lost is seen as a wait that
does not end, as it would be with a real link.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from openamp.errors import StateError
from openamp.memory import MemoryMap, Region
from openamp.rpmsg.bus import Bus
from openamp.rpmsg.virtio_bus import HostBus, RemoteBus
from openamp.rpmsg.waiting import WaitingRoom
from openamp.virtio.device import VIRTIO_RPMSG_F_NS, vring_size
from openamp.virtio.virtqueue import DeviceQueue, DriverQueue

__all__ = ["BusPair", "Rings", "bus_pair", "make_rings"]

R2H_ID = 1
H2R_ID = 2
_ALIGN = 4096


@dataclass(frozen=True)
class Rings:
    """Two rings and their buffers in one region of memory, for both sides to look at.

    Attributes:
        memory: the one region, named "shared".
        num: descriptors of each ring.
        r2h: the ring's bytes, in the legacy layout aligned to 4096.
        h2r: the same of the other ring.
        r2h_buffers: (device address, memory) of each buffer.
        h2r_buffers: the same of the other direction.
    """

    memory: MemoryMap
    num: int
    r2h: memoryview
    h2r: memoryview
    r2h_buffers: list[tuple[int, memoryview]]
    h2r_buffers: list[tuple[int, memoryview]]

    def driver_queues(self) -> tuple[DriverQueue, DriverQueue]:
        """Returns new driver sides of r2h and h2r; the rings are zeroed."""
        return (
            DriverQueue.contiguous(self.r2h, self.num, _ALIGN, name="r2h"),
            DriverQueue.contiguous(self.h2r, self.num, _ALIGN, name="h2r"),
        )

    def device_queues(self) -> tuple[DeviceQueue, DeviceQueue]:
        """Returns new device sides of r2h and h2r."""
        return (
            DeviceQueue.contiguous(self.r2h, self.num, _ALIGN, name="r2h"),
            DeviceQueue.contiguous(self.h2r, self.num, _ALIGN, name="h2r"),
        )


def make_rings(*, num: int = 16, h2r_size: int = 512, r2h_size: int = 512, da: int = 0x10000000) -> Rings:
    """Lays out two rings and `num` buffers for each, from the device address `da` on.

    Args:
        num: descriptors of each ring, a power of two.
        h2r_size: size of the host's transmit buffers in bytes, header included.
        r2h_size: size of the remote's transmit buffers.
        da: where the memory begins for the remote.
    """
    ring_size = (vring_size(num, _ALIGN) + _ALIGN - 1) // _ALIGN * _ALIGN
    data = memoryview(bytearray(2 * ring_size + num * (r2h_size + h2r_size)))
    memory = MemoryMap([Region("shared", da, data)])
    at = 2 * ring_size
    pools: list[list[tuple[int, memoryview]]] = []
    for size in (r2h_size, h2r_size):
        pools.append([(da + at + i * size, data[at + i * size : at + (i + 1) * size]) for i in range(num)])
        at += num * size
    return Rings(memory, num, data[:ring_size], data[ring_size : 2 * ring_size], pools[0], pools[1])


class BusPair:
    """Both buses, and the events between them. Made by `bus_pair`.

    Attributes:
        host: the host's bus.
        remote: the remote's bus.
        rings: the memory under both.
    """

    def __init__(self, rings: Rings, *, features: int, acknowledge: bool) -> None:
        self.rings = rings
        self._kicks: dict[str, list[int]] = {"host": [], "remote": []}
        self._wake = threading.Event()
        r2h, h2r = rings.driver_queues()
        self.host = HostBus(
            r2h=r2h,
            h2r=h2r,
            r2h_buffers=rings.r2h_buffers,
            h2r_buffers=rings.h2r_buffers,
            features=features,
            kick=self._kick("remote"),
            pump=WaitingRoom(self._pump("host", "remote"), self._wake.set),
            notify_ids=(R2H_ID, H2R_ID),
            acknowledge=acknowledge,
        )
        r2h_device, h2r_device = rings.device_queues()
        self.remote = RemoteBus(
            r2h=r2h_device,
            h2r=h2r_device,
            memory=rings.memory,
            features=features,
            kick=self._kick("host"),
            pump=WaitingRoom(self._pump("remote", "host"), self._wake.set),
            notify_ids=(R2H_ID, H2R_ID),
        )

    def _kick(self, side: str) -> Callable[[int], None]:
        kicks = self._kicks[side]

        def kick(notify_id: int) -> None:
            kicks.append(notify_id)

        return kick

    def _pump(self, side: str, peer: str) -> Callable[[float | None], bool]:
        def pump(timeout: float | None) -> bool:
            if self.step(peer) | self.step(side):
                return True
            if timeout is None:
                raise StateError(f"the {side} waits for ever: the {peer} was not kicked and has nothing to do")
            if self._wake.wait(timeout):
                self._wake.clear()
            return False

        return pump

    def step(self, side: str) -> bool:
        """Lets one side ("host" or "remote") handle the kicks it got; returns whether there were any."""
        kicks = self._kicks[side]
        happened = bool(kicks)
        bus: Bus = self.host if side == "host" else self.remote
        while kicks:
            bus.notified(kicks.pop(0))
        return happened or (bus.pending and bus.poll())

    def settle(self) -> None:
        """Lets both sides run until neither has anything to do."""
        while self.step("remote") | self.step("host"):
            pass


def bus_pair(
    *,
    num: int = 16,
    h2r_size: int = 512,
    r2h_size: int = 512,
    features: int = VIRTIO_RPMSG_F_NS,
    acknowledge: bool = True,
) -> BusPair:
    """Makes a host's bus and a remote's bus on the same rings.

    Args:
        num: descriptors and buffers of each direction, a power of two.
        h2r_size: size of the host's transmit buffers in bytes, header included.
        r2h_size: size of the remote's transmit buffers.
        features: the negotiated features.
        acknowledge: whether the host answers announcements (an OpenAMP host) or not (Linux).
    """
    return BusPair(
        make_rings(num=num, h2r_size=h2r_size, r2h_size=r2h_size), features=features, acknowledge=acknowledge
    )
