"""The resource table: what a firmware image asks of its host, and where the host writes its answers.

A table is parsed from the image's bytes (`ResourceTable.parse`) or put together by hand and built
(`ResourceTable.build`). Once the image is loaded, the copy in the remote's memory is the live one: the host writes
ring addresses, notify ids, features and status into it and the remote polls it. `LiveTable` is the view on that copy.

Entries of a type that is not known here (vendor, legacy, private) are kept as `Opaque` bytes and survive
parse and build unchanged.
"""

from __future__ import annotations

from openamp.resource_table.entries import (
    ADDR_ANY,
    CARVEOUT,
    DEVMEM,
    HEADER,
    TRACE,
    VDEV,
    VDEV_ID_RPMSG,
    VENDOR_TYPES,
    VRING,
    ByteOrder,
    Carveout,
    Devmem,
    Entry,
    Header,
    Opaque,
    Trace,
    Vdev,
    Vring,
    entry_size,
)
from openamp.resource_table.live import LiveCarveout, LiveTable, LiveTrace, LiveVdev, LiveVring
from openamp.resource_table.table import ResourceTable, rpmsg_table

__all__ = [
    "ADDR_ANY",
    "CARVEOUT",
    "DEVMEM",
    "HEADER",
    "TRACE",
    "VDEV",
    "VDEV_ID_RPMSG",
    "VENDOR_TYPES",
    "VRING",
    "ByteOrder",
    "Carveout",
    "Devmem",
    "Entry",
    "Header",
    "LiveCarveout",
    "LiveTable",
    "LiveTrace",
    "LiveVdev",
    "LiveVring",
    "Opaque",
    "ResourceTable",
    "Trace",
    "Vdev",
    "Vring",
    "entry_size",
    "rpmsg_table",
]
