"""The resource table in the remote's memory, where the host writes its answers."""

from __future__ import annotations

import sys
from typing import overload

from openamp.errors import ResourceTableError
from openamp.resource_table.entries import (
    CARVEOUT,
    TRACE,
    VDEV,
    VRING,
    ByteOrder,
    Carveout,
    Trace,
    Vdev,
    Vring,
    entry_size,
)
from openamp.resource_table.table import ResourceTable

__all__ = ["LiveCarveout", "LiveTable", "LiveTrace", "LiveVdev", "LiveVring"]


class _Word:
    """A 32-bit field of a live structure, `offset` bytes from its start."""

    def __init__(self, offset: int) -> None:
        self.offset = offset

    @overload
    def __get__(self, obj: None, owner: type) -> _Word: ...
    @overload
    def __get__(self, obj: _Live, owner: type) -> int: ...
    def __get__(self, obj: _Live | None, owner: type) -> int | _Word:
        return self if obj is None else obj.load(self.offset)

    def __set__(self, obj: _Live, value: int) -> None:
        obj.store(self.offset, value)


class _Live:
    """A structure at a fixed place of the live table."""

    def __init__(self, view: memoryview, at: int, size: int, order: ByteOrder) -> None:
        self._bytes = view[at : at + size]
        self._swap = order != sys.byteorder

    def load(self, offset: int) -> int:
        value: int = self._bytes[offset : offset + 4].cast("I")[0]
        return int.from_bytes(value.to_bytes(4, "little"), "big") if self._swap else value

    def store(self, offset: int, value: int) -> None:
        # One item store, so the remote never sees half a word. An entry off a 4-byte boundary (an opaque one of odd
        # length comes before it) goes the same way: the store is then whole only where the machine can do that, but
        # such a remote has to put the word together from bytes itself.
        if not 0 <= value <= 0xFFFFFFFF:
            raise ResourceTableError(
                f"the value {value:#x} does not fit a 32-bit field of the resource table; pass less", value=value
            )
        if self._swap:
            value = int.from_bytes(value.to_bytes(4, "little"), "big")
        self._bytes[offset : offset + 4].cast("I")[0] = value


class LiveCarveout(_Live):
    """A carve-out in the remote's memory: `da` and `pa` are written back.

    Attributes:
        index: the entry's number in the table.
        entry: the entry as the image has it.
    """

    da = _Word(4)
    pa = _Word(8)

    def __init__(self, view: memoryview, at: int, order: ByteOrder, index: int, entry: Carveout) -> None:
        super().__init__(view, at, CARVEOUT.size, order)
        self.index = index
        self.entry = entry


class LiveTrace(_Live):
    """A trace buffer's entry in the remote's memory; a remote may put in `da` at run time.

    Attributes:
        index: the entry's number in the table.
        entry: the entry as the image has it.
    """

    da = _Word(4)
    len = _Word(8)

    def __init__(self, view: memoryview, at: int, order: ByteOrder, index: int, entry: Trace) -> None:
        super().__init__(view, at, TRACE.size, order)
        self.index = index
        self.entry = entry


class LiveVring(_Live):
    """A vring in the remote's memory: `da`, `notifyid` and `pa` are written back.

    Attributes:
        entry: the vring as the image has it; its `num` and `align` hold, whatever the remote writes later.
    """

    da = _Word(0)
    notifyid = _Word(12)
    pa = _Word(16)

    def __init__(self, view: memoryview, at: int, order: ByteOrder, entry: Vring) -> None:
        super().__init__(view, at, VRING.size, order)
        self.entry = entry


class LiveVdev(_Live):
    """A virtio device in the remote's memory: `notifyid`, `gfeatures` and `status` are written back.

    Attributes:
        index: the entry's number in the table.
        entry: the entry as the image has it.
        vrings: the device's vrings.
        config: the config space itself, writable, in the remote's memory.
    """

    notifyid = _Word(8)
    dfeatures = _Word(12)
    gfeatures = _Word(16)

    def __init__(self, view: memoryview, at: int, order: ByteOrder, index: int, entry: Vdev) -> None:
        super().__init__(view, at, entry_size(entry), order)
        self.index = index
        self.entry = entry
        first = at + VDEV.size
        self.vrings = tuple(
            LiveVring(view, first + VRING.size * i, order, vring) for i, vring in enumerate(entry.vrings)
        )
        config_at = VDEV.size + VRING.size * len(entry.vrings)
        self.config = self._bytes[config_at : config_at + len(entry.config)]

    @property
    def status(self) -> int:
        """The virtio device status; the remote may set NEEDS_RESET or FAILED."""
        return self._bytes[24]

    @status.setter
    def status(self, value: int) -> None:
        if not 0 <= value <= 0xFF:
            raise ResourceTableError(f"the status {value:#x} does not fit 8 bits; pass VirtioStatus bits", value=value)
        self._bytes[24] = value


class LiveTable:
    """The table in the remote's memory.

    Where each entry lies comes from the image's own table. What the remote writes over offsets, counts and types is
    never followed, so a hostile or broken remote cannot lead a store of ours astray.

    Args:
        view: the remote's memory from the table's start on, of format "B", at least `table.size` bytes.
        table: the image's table.

    Attributes:
        table: the image's table.
        vdevs, carveouts, traces: the live entries of these kinds, in the table's order.

    Raises:
        ResourceTableError: when the view is shorter than the table.
    """

    def __init__(self, view: memoryview, table: ResourceTable) -> None:
        if len(view) < table.size:
            raise ResourceTableError(
                f"the resource table has {table.size:#x} bytes but the memory for it only {len(view):#x}; "
                f"place it inside one memory region",
                value=len(view),
            )
        self.table = table
        self.view = view[: table.size]
        order = table.byte_order
        places = list(zip(range(len(table.entries)), table.offsets, table.entries, strict=True))
        self.vdevs = tuple(LiveVdev(self.view, at, order, i, e) for i, at, e in places if isinstance(e, Vdev))
        self.carveouts = tuple(
            LiveCarveout(self.view, at, order, i, e) for i, at, e in places if isinstance(e, Carveout)
        )
        self.traces = tuple(LiveTrace(self.view, at, order, i, e) for i, at, e in places if isinstance(e, Trace))

    def reset(self, original: bytes | None = None) -> None:
        """Puts the image's bytes back; only while the remote does not run.

        Args:
            original: the bytes; by default those that the table was parsed from, or its `build`.

        Raises:
            ResourceTableError: when their number is not the table's size.
        """
        data = self.table.build() if original is None else original
        if len(data) != self.table.size:
            raise ResourceTableError(
                f"{len(data):#x} bytes do not fit the resource table of {self.table.size:#x}; pass the image's own",
                value=len(data),
            )
        self.view[:] = data
