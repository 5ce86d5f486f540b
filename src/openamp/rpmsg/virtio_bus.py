"""The two buses over virtqueues: the host drives both queues, the remote is the device of both. See `rings`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openamp.memory import MemoryMap
from openamp.rpmsg.bus import Bus
from openamp.rpmsg.rings import COMPILED, HostRings, RemoteRings
from openamp.rpmsg.waiting import WaitingRoom
from openamp.virtio.device import VIRTIO_RPMSG_F_NS
from openamp.virtio.virtqueue import DeviceQueue, DriverQueue

__all__ = ["HostBus", "RemoteBus"]


class HostBus(Bus):
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
        pump: called as `pump(timeout)` to wait for events and hand them to `notified`, or a WaitingRoom around that.
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
        pump: Callable[[float | None], object] | WaitingRoom,
        notify_ids: tuple[int, int],
        acknowledge: bool = True,
        diagnose: Callable[[], str] | None = None,
    ) -> None:
        rings = HostRings(r2h, h2r, r2h_buffers, h2r_buffers, kick, notify_ids)
        super().__init__(
            rings,
            name_service=bool(features & VIRTIO_RPMSG_F_NS),
            announces=False,
            acknowledges=acknowledge,
            pump=pump,
            notify_ids=notify_ids,
            diagnose=diagnose,
        )
        rings.attach(self, self._endpoints, self._ready, self._waiting, self._loans)
        self._quick = COMPILED  # it runs no Python code before all is done, so no other thread


class RemoteBus(Bus):
    """The remote's end: device of both queues.

    The driver is ready (DRIVER_OK) when the bus is made.

    Args:
        r2h: the queue of messages to the host.
        h2r: the queue of messages from the host.
        memory: where the addresses in the descriptors lie.
        features: the negotiated features; bit 0 (F_NS) is looked at.
        kick: signals the host's queue with this notify id.
        pump: called as `pump(timeout)` to wait for events and hand them to `notified`, or a WaitingRoom around that.
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
        pump: Callable[[float | None], object] | WaitingRoom,
        notify_ids: tuple[int, int],
        diagnose: Callable[[], str] | None = None,
    ) -> None:
        rings = RemoteRings(r2h, h2r, memory, kick, notify_ids)
        super().__init__(
            rings,
            name_service=bool(features & VIRTIO_RPMSG_F_NS),
            announces=True,
            acknowledges=False,
            pump=pump,
            notify_ids=notify_ids,
            diagnose=diagnose,
        )
        rings.attach(self, self._endpoints, self._ready, self._waiting, self._loans)
        self._quick = COMPILED  # it runs no Python code before all is done, so no other thread
