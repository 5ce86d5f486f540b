"""Both forms of the queues in one process, and rings whose every word a test can read and write."""

from __future__ import annotations

import struct
from types import ModuleType
from typing import cast

from openamp.virtio import virtqueue
from openamp.virtio.device import split_ring, vring_size
from openamp.virtio.virtqueue import DeviceQueue, DriverQueue
from support.forms import plain

NEXT, WRITE, INDIRECT = 1, 2, 4
SUPPRESS = 1


FORMS = {"plain": plain("openamp.virtio.virtqueue"), **({"compiled": virtqueue} if virtqueue.COMPILED else {})}
"""By name: each form of the module that runs here."""

PAIRS = {f"{a}-{b}": (FORMS[a], FORMS[b]) for a in FORMS for b in FORMS}
"""By name: a form for the driver and one for the device."""


class Ring:
    """A ring in the legacy layout, with a driver or device on it and access to each of its words.

    Args:
        num: number of descriptors.
        align: alignment of the used ring.
    """

    def __init__(self, num: int = 8, align: int = 64) -> None:
        self.num = num
        self.align = align
        self.memory = memoryview(bytearray(vring_size(num, align)))
        self.desc, self.avail, self.used = split_ring(self.memory, num, align)

    def driver(self, form: ModuleType, name: str = "r2h") -> DriverQueue:
        return cast(DriverQueue, form.DriverQueue(self.desc, self.avail, self.used, self.num, name=name))

    def device(self, form: ModuleType, name: str = "r2h") -> DeviceQueue:
        return cast(DeviceQueue, form.DeviceQueue(self.desc, self.avail, self.used, self.num, name=name))

    # What a peer, good or bad, writes.

    def describe(self, index: int, addr: int, length: int, flags: int, link: int = 0) -> None:
        struct.pack_into("<QIHH", self.desc, 16 * index, addr, length, flags, link)

    def offer(self, *heads: int) -> None:
        """Puts heads into the available ring and moves avail.idx."""
        at = self.avail_idx
        for head in heads:
            struct.pack_into("<H", self.avail, 4 + 2 * (at % self.num), head)
            at += 1
        self.avail_idx = at

    def give_back(self, *used: tuple[int, int]) -> None:
        """Puts (head, written) into the used ring and moves used.idx."""
        at = self.used_idx
        for head, written in used:
            struct.pack_into("<II", self.used, 4 + 8 * (at % self.num), head, written)
            at += 1
        self.used_idx = at

    # What a test reads.

    def descriptor(self, index: int) -> tuple[int, int, int, int]:
        return cast(tuple[int, int, int, int], struct.unpack_from("<QIHH", self.desc, 16 * index))

    def avail_ring(self) -> list[int]:
        return list(struct.unpack_from(f"<{self.num}H", self.avail, 4))

    def used_ring(self) -> list[tuple[int, int]]:
        return [cast(tuple[int, int], struct.unpack_from("<II", self.used, 4 + 8 * i)) for i in range(self.num)]

    @property
    def avail_flags(self) -> int:
        return self.avail.cast("H")[0]

    @avail_flags.setter
    def avail_flags(self, value: int) -> None:
        self.avail.cast("H")[0] = value

    @property
    def avail_idx(self) -> int:
        return self.avail.cast("H")[1]

    @avail_idx.setter
    def avail_idx(self, value: int) -> None:
        self.avail.cast("H")[1] = value & 0xFFFF

    @property
    def used_flags(self) -> int:
        return self.used.cast("H")[0]

    @used_flags.setter
    def used_flags(self, value: int) -> None:
        self.used.cast("H")[0] = value

    @property
    def used_idx(self) -> int:
        return self.used.cast("H")[1]

    @used_idx.setter
    def used_idx(self, value: int) -> None:
        self.used.cast("H")[1] = value & 0xFFFF
