"""The remote's side of the life cycle: we are the firmware.

`serve()` is what a remote's start-up code does with its resource table: wait until the host's driver is ready, then
drive the device side of the rings that the host placed.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from openamp.errors import HostShutdown, RemoteProtocolError, ResourceTableError, TimeoutExpired
from openamp.link import Concurrent, Cooperative, Event, Exit, Kick, RemotePlatform, Wakeable
from openamp.resource_table import VDEV_ID_RPMSG, ResourceTable, Vdev
from openamp.rpmsg import RemoteBus
from openamp.rpmsg.transport import SPIN_FROM
from openamp.rpmsg.waiting import WaitingRoom
from openamp.virtio import DeviceQueue
from openamp.virtio.device import VirtioStatus, vring_size

__all__ = ["Remote", "serve_link"]

_STATUS_POLL = 0.1
"""Seconds between looks at the status byte: a host need not kick when it sets DRIVER_OK."""


def serve_link(link: RemotePlatform, *, timeout: float | None = None) -> RemoteBus:
    """Waits for the host's driver and returns the bus on the first RPMsg device of the live resource table.

    Args:
        link: memory and signals, seen from the remote's end.
        timeout: how long to wait for DRIVER_OK, in seconds; None waits for ever.

    Raises:
        HostShutdown: when the host ends us while we wait.
        ResourceTableError: when there is no RPMsg device in the table.
        TimeoutExpired: when the driver does not come up.
    """
    try:
        return Remote(link).serve(timeout)
    except BaseException:
        link.close()
        raise


class _ServedBus(RemoteBus):
    """The bus of a served link; closing it leaves the link."""

    link: RemotePlatform

    def close(self) -> None:
        super().close()
        with self._room.alone():
            self.link.close()


class Remote:
    """The life of one remote context: one link, one bus.

    Args:
        link: memory and signals, seen from the remote's end.

    Attributes:
        pump: handles what has happened, see `WaitingRoom.pump`.
    """

    def __init__(self, link: RemotePlatform) -> None:
        self._link = link
        self._bus: _ServedBus | None = None
        self._ended = False
        self._room = WaitingRoom(self._pump, link.wake if isinstance(link, Wakeable) else None)
        self.pump = self._room.pump

    def serve(self, timeout: float | None) -> RemoteBus:
        """Waits for the driver; see `serve_link`."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (bus := self.poll()) is None:
            left = _STATUS_POLL if deadline is None else min(deadline - time.monotonic(), _STATUS_POLL)
            if left <= 0:
                raise self.late(timeout)
            self._handle(self._link.wait(left))
        return bus

    def late(self, timeout: float | None) -> TimeoutExpired:
        """Returns the error of a driver that does not come up in time."""
        if not self._link.memory:
            return TimeoutExpired(
                f"the host did not hand over the shared memory within {timeout} s; does it wait for its remote?",
                timeout=timeout,
            )
        return TimeoutExpired(
            f"the host's driver did not set DRIVER_OK within {timeout} s (status is {self._vdev().status:#x}); "
            f"is the host running, and does it drive the device with id {VDEV_ID_RPMSG}?",
            timeout=timeout,
        )

    def poll(self) -> RemoteBus | None:
        """Returns the bus if the host's driver is ready; never waits."""
        if not self._link.memory:
            return None  # the host has not come yet
        vdev = self._vdev()
        if not vdev.status & VirtioStatus.DRIVER_OK:
            return None
        if len(vdev.vrings) != 2:
            raise ResourceTableError(f"the RPMsg vdev has {len(vdev.vrings)} vrings; it needs exactly 2", offset=None)
        memory = self._link.memory
        queues = []
        for name, ring in zip(("r2h", "h2r"), vdev.vrings, strict=True):
            if memory.find(ring.da, vring_size(ring.num, ring.align)) is None:
                raise RemoteProtocolError(
                    f"the host put the {name} ring at {ring.da:#x}, which is not in the shared memory "
                    f"({memory.describe()})",
                    queue=name,
                    value=ring.da,
                    clause="resource table, vring.da: an address that the remote can reach",
                )
            view = memory.view(ring.da, vring_size(ring.num, ring.align))
            queues.append(DeviceQueue.contiguous(view, ring.num, ring.align, name=name))
        self._bus = _ServedBus(
            r2h=queues[0],
            h2r=queues[1],
            memory=memory,
            features=vdev.gfeatures,
            kick=self._link.kick,
            pump=self._room,
            notify_ids=(vdev.vrings[0].notifyid, vdev.vrings[1].notifyid),
        )
        self._bus.link = self._link
        if isinstance(self._link, Concurrent):
            self._bus.set_spin(self._link.spin)
        if isinstance(self._link, Cooperative):
            self._link.cooperate(lambda: self.pump(0))
        return self._bus

    def _vdev(self) -> Vdev:
        """Returns the RPMsg entry of the live table as it is now."""
        region = self._link.memory.find(self._link.table_da)
        if region is None:
            raise ResourceTableError(
                f"the resource table's address {self._link.table_da:#x} is not in the shared memory "
                f"({self._link.memory.describe()})"
            )
        data = bytes(region.data[self._link.table_da - region.da :][:_TABLE_MAX])
        table = ResourceTable.parse(data, "big" if data.startswith(b"\0\0\0\1") else "little")
        for entry in table.entries:
            if isinstance(entry, Vdev) and entry.id == VDEV_ID_RPMSG:
                return entry
        raise ResourceTableError(
            f"the resource table at {self._link.table_da:#x} has no vdev entry with id {VDEV_ID_RPMSG}; "
            f"build one with openamp.resource_table.rpmsg_table()"
        )

    def _pump(self, timeout: float | None) -> bool:
        """Waits for events and handles them: the bus's pump."""
        if self._ended:
            raise HostShutdown(_ENDED)
        bus = self._bus
        spins = bus is not None and (timeout is None or timeout >= SPIN_FROM)
        pending = bus is not None and (bus.pending or (spins and bus.spin()) or bus.arm())
        events = self._link.wait(0 if pending else timeout)
        if bus is not None and events and spins:
            bus.resume()
        self._handle([Kick(), *events] if pending else events)  # the host kicks no more before the ring is empty
        return pending or bool(events)

    def _handle(self, events: Sequence[Event]) -> None:
        ended = any(isinstance(event, Exit) for event in events)
        self._ended = self._ended or ended  # before callbacks run: other threads must not wait for more
        try:
            for event in events:
                if isinstance(event, Kick) and self._bus is not None:
                    self._bus.notified(event.notify_id)
        finally:  # what a callback raises must not lose the end
            if ended:
                if self._bus is None:
                    raise HostShutdown(_ENDED)
                self._bus.fail(HostShutdown(_ENDED))


_TABLE_MAX = 65536
_ENDED = "the host ended this remote's context; clean up and return"
