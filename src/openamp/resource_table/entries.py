"""The entries of a resource table: one NamedTuple a C structure, with its `struct.Struct` beside it.

The Structs are little-endian; `ordered` gives the same layout in the remote's byte order.
"""

from __future__ import annotations

from functools import cache
from struct import Struct
from typing import Literal, NamedTuple

__all__ = [
    "ADDR_ANY",
    "CARVEOUT",
    "DEVMEM",
    "HEADER",
    "NAME_SIZE",
    "TRACE",
    "VDEV",
    "VDEV_ID_RPMSG",
    "VENDOR_TYPES",
    "VRING",
    "WORD",
    "ByteOrder",
    "Carveout",
    "Devmem",
    "Entry",
    "Header",
    "Opaque",
    "Trace",
    "Vdev",
    "Vring",
    "entry_size",
    "ordered",
]

ADDR_ANY = 0xFFFFFFFF
"""An address or notify id that the host chooses and writes back (`FW_RSC_ADDR_ANY`)."""

VDEV_ID_RPMSG = 7
"""The virtio device id of RPMsg."""

VENDOR_TYPES = range(128, 512)
"""Entry types that belong to vendors (`RSC_VENDOR_START` .. `RSC_VENDOR_END`)."""

NAME_SIZE = 32

ByteOrder = Literal["little", "big"]


class Header(NamedTuple):
    """What a table begins with: `struct resource_table`, 16 bytes, in the table's byte order.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | ver | 1 |
    | 4 | 4 | num | number of entries; as many offsets (4 bytes each, from the table's start) follow |
    | 8 | 4 | reserved0 | 0 |
    | 12 | 4 | reserved1 | 0 |
    """

    ver: int
    num: int
    reserved0: int = 0
    reserved1: int = 0


HEADER = Struct("<4I")


class Carveout(NamedTuple):
    """Memory that the host sets aside: `struct fw_rsc_carveout`, 56 bytes, in the table's byte order.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | type | 0 |
    | 4 | 4 | da | device address, or `ADDR_ANY`: the host chooses and writes it back |
    | 8 | 4 | pa | physical address on the host's side, written back |
    | 12 | 4 | len | length in bytes |
    | 16 | 4 | flags | memory attributes for an IOMMU |
    | 20 | 4 | reserved | 0 |
    | 24 | 32 | name | NUL padded |
    """

    da: int = ADDR_ANY
    pa: int = ADDR_ANY
    len: int = 0
    flags: int = 0
    reserved: int = 0
    name: str = ""


CARVEOUT = Struct("<6I32s")


class Devmem(NamedTuple):
    """Device registers that the remote needs: `struct fw_rsc_devmem`, 56 bytes, in the table's byte order.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | type | 1 |
    | 4 | 4 | da | device address |
    | 8 | 4 | pa | physical address |
    | 12 | 4 | len | length in bytes |
    | 16 | 4 | flags | memory attributes for an IOMMU |
    | 20 | 4 | reserved | 0 |
    | 24 | 32 | name | NUL padded |
    """

    da: int
    pa: int
    len: int
    flags: int = 0
    reserved: int = 0
    name: str = ""


DEVMEM = Struct("<6I32s")


class Trace(NamedTuple):
    """A buffer of text that the remote writes: `struct fw_rsc_trace`, 48 bytes, in the table's byte order.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | type | 2 |
    | 4 | 4 | da | device address |
    | 8 | 4 | len | length in bytes |
    | 12 | 4 | reserved | 0 |
    | 16 | 32 | name | NUL padded |
    """

    da: int
    len: int
    reserved: int = 0
    name: str = ""


TRACE = Struct("<4I32s")


class Vring(NamedTuple):
    """One ring of a virtio device: `struct fw_rsc_vdev_vring`, 20 bytes, in the table's byte order.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | da | device address of the ring, or `ADDR_ANY`: the host chooses and writes it back |
    | 4 | 4 | align | alignment of the used ring in bytes |
    | 8 | 4 | num | number of descriptors |
    | 12 | 4 | notifyid | id of the kick for this ring, unique in the table; the host writes it back |
    | 16 | 4 | pa | physical address on the host's side, written back; reserved in older headers |
    """

    da: int
    align: int
    num: int
    notifyid: int
    pa: int = 0


VRING = Struct("<5I")


class Vdev(NamedTuple):
    """A virtio device: `struct fw_rsc_vdev`, 28 bytes, in the table's byte order, then vrings and config space.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | type | 3 |
    | 4 | 4 | id | virtio device id; 7 is RPMsg |
    | 8 | 4 | notifyid | id of the kick for a change of the config space |
    | 12 | 4 | dfeatures | features that the remote offers |
    | 16 | 4 | gfeatures | features that the host accepts, written back |
    | 20 | 4 | config_len | length of the config space behind the vrings |
    | 24 | 1 | status | virtio device status, written by the host |
    | 25 | 1 | num_of_vrings | number of vrings behind this structure |
    | 26 | 2 | reserved | 0 |
    """

    id: int
    notifyid: int = 0
    dfeatures: int = 0
    gfeatures: int = 0
    status: int = 0
    vrings: tuple[Vring, ...] = ()
    config: bytes = b""
    reserved: bytes = bytes(2)


VDEV = Struct("<6I2B2s")


class Opaque(NamedTuple):
    """An entry whose type is the vendor's, legacy or unknown, kept byte for byte.

    It reaches from its offset to the next entry or the end of the table, whatever length it may state itself.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | type | neither of 0 to 3; 128 to 511 are vendors' |
    """

    type: int
    data: bytes = b""


Entry = Carveout | Devmem | Trace | Vdev | Opaque

WORD = Struct("<I")


@cache
def ordered(layout: Struct, byte_order: ByteOrder) -> Struct:
    """Returns a little-endian layout in the given byte order."""
    return layout if byte_order == "little" else Struct(">" + layout.format[1:])


def entry_size(entry: Entry) -> int:
    """Returns the length of an entry in the table, in bytes, type included."""
    match entry:
        case Vdev():
            return VDEV.size + VRING.size * len(entry.vrings) + len(entry.config)
        case Opaque():
            return 4 + len(entry.data)
        case Trace():
            return TRACE.size
        case _:
            return CARVEOUT.size
