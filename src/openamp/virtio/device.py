"""What every virtio device has: the status byte, feature bits, and the legacy layout of a split ring.

Clauses are those of virtio 1.2.
"""

from __future__ import annotations

import enum

from openamp.errors import AllocationError, ResourceTableError
from openamp.resource_table import ADDR_ANY, VDEV_ID_RPMSG

__all__ = [
    "ADDR_ANY",
    "VDEV_ID_RPMSG",
    "VIRTIO_F_ACCESS_PLATFORM",
    "VIRTIO_F_ANY_LAYOUT",
    "VIRTIO_F_INDIRECT_DESC",
    "VIRTIO_F_IN_ORDER",
    "VIRTIO_F_EVENT_IDX",
    "VIRTIO_F_NOTIFY_ON_EMPTY",
    "VIRTIO_F_RING_PACKED",
    "VIRTIO_F_VERSION_1",
    "VIRTIO_RPMSG_F_NS",
    "VirtioStatus",
    "check_ring",
    "split_ring",
    "vring_size",
]


class VirtioStatus(enum.IntFlag):
    """The device status byte (clause 2.1): how far the driver has come."""

    RESET = 0
    ACKNOWLEDGE = 1
    DRIVER = 2
    DRIVER_OK = 4
    FEATURES_OK = 8
    NEEDS_RESET = 0x40
    FAILED = 0x80


# Feature masks (clause 6, and 2.7 for the rings). The resource table has room for the first 32 bits only.
VIRTIO_RPMSG_F_NS = 1 << 0
"""RPMsg: the remote announces its services by name (Linux `VIRTIO_RPMSG_F_NS`)."""
VIRTIO_F_NOTIFY_ON_EMPTY = 1 << 24
VIRTIO_F_ANY_LAYOUT = 1 << 27
VIRTIO_F_INDIRECT_DESC = 1 << 28
VIRTIO_F_EVENT_IDX = 1 << 29
VIRTIO_F_VERSION_1 = 1 << 32
VIRTIO_F_ACCESS_PLATFORM = 1 << 33
VIRTIO_F_RING_PACKED = 1 << 34
VIRTIO_F_IN_ORDER = 1 << 35

MAX_RING = 32768


def check_ring(num: int, align: int) -> None:
    """Checks the geometry of a split ring.

    Raises:
        ResourceTableError: when `num` is no power of two up to 32768 (clause 2.7) or `align` is none.
    """
    if not 1 <= num <= MAX_RING or num & (num - 1):
        raise ResourceTableError(
            f"a vring of {num:#x} descriptors; the number must be a power of two from 1 to {MAX_RING:#x}", value=num
        )
    if not 1 <= align <= 1 << 31 or align & (align - 1):
        raise ResourceTableError(f"a vring with the alignment {align:#x}; it must be a power of two", value=align)


def _used_offset(num: int, align: int) -> int:
    return (16 * num + 2 * (3 + num) + align - 1) & -align


def vring_size(num: int, align: int) -> int:
    """Returns the length in bytes of a ring in the legacy layout (clause 2.7.2; C function `vring_size`).

    Args:
        num: number of descriptors, a power of two.
        align: alignment of the used ring in bytes, a power of two.

    Raises:
        ResourceTableError: when `num` or `align` cannot be.
    """
    check_ring(num, align)
    return _used_offset(num, align) + 6 + 8 * num


def split_ring(view: memoryview, num: int, align: int) -> tuple[memoryview, memoryview, memoryview]:
    """Cuts a ring in the legacy layout into descriptor table, available ring and used ring.

    Args:
        view: the ring's bytes; longer is fine.
        num: number of descriptors, a power of two.
        align: alignment of the used ring in bytes, a power of two.

    Returns:
        Views of 16 num, 6 + 2 num and 6 + 8 num bytes.

    Raises:
        ResourceTableError: when `num` or `align` cannot be.
        AllocationError: when the view is too short.
    """
    size = vring_size(num, align)
    if len(view) < size:
        raise AllocationError(
            f"a vring of {num} descriptors aligned to {align:#x} takes {size:#x} bytes, there are {len(view):#x}; "
            f"give it more memory or fewer descriptors",
            size=size,
        )
    used = _used_offset(num, align)
    return view[: 16 * num], view[16 * num : 18 * num + 6], view[used:size]
