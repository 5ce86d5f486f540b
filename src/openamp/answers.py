"""The host's answers in the live resource table: addresses, notify ids, features and status.

They are written each time before the remote is released from reset. Only DRIVER_OK comes afterwards: a remote that
polls for it looks at rings and buffers that are complete.
"""

from __future__ import annotations

from openamp.carveout import Placement
from openamp.errors import AddressError
from openamp.firmware import TableSection
from openamp.memory import MemoryMap
from openamp.resource_table import ADDR_ANY, LiveTable, ResourceTable
from openamp.virtio.device import VIRTIO_RPMSG_F_NS, VirtioStatus

__all__ = ["set_driver_ok", "write_table"]

_READY = VirtioStatus.ACKNOWLEDGE | VirtioStatus.DRIVER | VirtioStatus.DRIVER_OK
"""Legacy devices know no FEATURES_OK (virtio 1.2, 3.1.2)."""


def write_table(table: ResourceTable, section: TableSection, placement: Placement, memory: MemoryMap) -> LiveTable:
    """Puts the image's own table with our answers where the remote finds it, and returns the live one.

    Args:
        table: the image's table.
        section: its bytes and address in the image, which is in memory.
        placement: our decisions.
        memory: what the remote sees.

    Raises:
        AddressError: when the table's address is not in the memory.
    """
    da, size = section.live_da(memory), len(section.data)
    if memory.find(da, size) is None:
        raise AddressError(
            f"the resource table's address {da:#x} is not in the remote's memory ({memory.describe()}); correct the "
            f"section's load address",
            da=da,
            size=size,
        )
    view = memory.view(da, size)
    view[:] = section.data
    live = LiveTable(view, table)
    places = {carveout.entry: carveout.da for carveout in placement.carveouts}
    for carveout in live.carveouts:
        if carveout.entry.da == ADDR_ANY:
            carveout.da = places[carveout.index]
            carveout.pa = _physical(memory, places[carveout.index])
    for vdev, placed in zip(live.vdevs, placement.vdevs, strict=True):
        vdev.notifyid = placed.notify_id
        for vring, ring in zip(vdev.vrings, placed.vrings, strict=True):
            vring.da = ring.da
            vring.notifyid = ring.notify_id
        if placed.r2h_buffers is not None:
            vdev.gfeatures = placed.vdev.dfeatures & VIRTIO_RPMSG_F_NS
            vdev.status = _READY & ~VirtioStatus.DRIVER_OK
    if da != section.da and memory.find(section.da, size) is not None:
        # Start-up code that copies its data from where it was loaded brings our answers along, whenever it does.
        copy = bytearray(view)
        set_driver_ok(LiveTable(memoryview(copy), table), placement)
        memory.write(section.da, copy)
    return live


def set_driver_ok(live: LiveTable, placement: Placement) -> None:
    """Tells the remote that the drivers of its RPMsg devices are ready."""
    for vdev, placed in zip(live.vdevs, placement.vdevs, strict=True):
        if placed.r2h_buffers is not None:
            vdev.status |= _READY  # all of it: the firmware's start-up code may have cleared it


def _physical(memory: MemoryMap, da: int) -> int:
    """Returns the host's address of a device address, or what of it the table has room for."""
    region = memory.find(da)
    return da if region is None or region.pa is None else (region.pa + da - region.da) & 0xFFFFFFFF
