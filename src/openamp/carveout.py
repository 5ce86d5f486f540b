"""Where everything goes: carve-outs, rings and buffers in the memory that host and remote share.

The resource table asks, the memory map offers, and `place()` decides, before any virtio device exists. It follows
what Linux's remoteproc does where firmware depends on it: fixed addresses are kept, ADDR_ANY is allocated, a
carve-out named `vdev0vring0`, `vdev0vring1` or `vdev0buffer` holds that ring or those buffers, notify ids that are
ADDR_ANY or already taken get the lowest free id. `place()` only computes; nothing is written.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

from openamp.errors import AddressError, AllocationError, ResourceTableError
from openamp.firmware import FirmwareImage, Segment
from openamp.memory import MemoryMap, Region
from openamp.resource_table import ADDR_ANY, Carveout, ResourceTable, Trace, Vdev, Vring
from openamp.virtio.device import vring_size

__all__ = ["BufferPool", "PlacedCarveout", "PlacedVdev", "PlacedVring", "Placement", "place"]

_PAGE = 4096
_BUFFER_ALIGN = 64  # a cache line, so that no two buffers share one


class PlacedCarveout(NamedTuple):
    """A carve-out with its address; `entry` is its index in the table's entries."""

    entry: int
    name: str
    da: int
    size: int


class PlacedVring(NamedTuple):
    """A ring with its address and unique notify id; sizes in bytes."""

    da: int
    num: int
    align: int
    size: int
    notify_id: int


class BufferPool(NamedTuple):
    """`num` buffers of `size` bytes, one behind the other from device address `da`."""

    da: int
    num: int
    size: int

    def addresses(self) -> range:
        """The device address of each buffer."""
        return range(self.da, self.da + self.num * self.size, self.size)


class PlacedVdev(NamedTuple):
    """A virtio device whose rings (and, for RPMsg, buffers) have their places; `entry` indexes the table's entries."""

    entry: int
    vdev: Vdev
    notify_id: int
    vrings: tuple[PlacedVring, ...]
    r2h_buffers: BufferPool | None
    h2r_buffers: BufferPool | None


class Placement(NamedTuple):
    """The decisions of `place()`; `notes` tell people what was not as the firmware asked."""

    carveouts: tuple[PlacedCarveout, ...]
    vdevs: tuple[PlacedVdev, ...]
    notes: tuple[str, ...]


class _Allocator:
    """Free space in the pool regions. Ranges are kept by host address, so that aliases of one memory agree."""

    def __init__(self, memory: MemoryMap) -> None:
        self._memory = memory
        self._host = {id(region): _host_address(region) for region in memory if region.size}
        self._taken: list[tuple[int, int, str]] = []

    def host_range(self, da: int, size: int) -> tuple[int, int] | None:
        region = self._memory.find(da, size)
        if region is None or id(region) not in self._host:
            return None
        start = self._host[id(region)] + da - region.da
        return start, start + size

    def reserve(self, da: int, size: int, name: str) -> None:
        where = self.host_range(da, size)
        if where is not None and size:
            self._taken.append((*where, name))

    def holder(self, da: int, size: int) -> str | None:
        """Returns the name of a reserved range that overlaps this one."""
        where = self.host_range(da, size)
        if where is None:
            return None
        return next((name for start, end, name in self._taken if start < where[1] and where[0] < end), None)

    def fit(self, size: int, align: int, region: Region) -> int | None:
        """Returns the lowest free device address of the region that fits, or None."""
        base = self._host[id(region)] - region.da
        da = _align(region.da, align)
        for start, end, _ in sorted(self._taken):
            if da + size <= start - base:
                break
            if end - base > da:
                da = _align(end - base, align)
        return da if da + size <= region.end else None

    def allocate(self, size: int, align: int, name: str, near: int | None = None) -> int:
        """Reserves room in a pool region, in the one that holds address `near` if that is possible."""
        pools = [region for region in self._memory if region.pool and region.size]
        pools.sort(key=lambda region: near is None or not region.da <= near < region.end)
        for region in pools:
            da = self.fit(size, align, region)
            if da is not None:
                self.reserve(da, size, name)
                return da
        where = ", ".join(f"{r.name} {r.da:#x}..{r.end:#x}" for r in pools) or "no region is marked as a pool"
        raise AllocationError(
            f"no room for {name} ({size:#x} bytes, aligned to {align:#x}) in the shared memory ({where}); "
            f"use fewer or smaller rings and buffers, or a larger pool region",
            size=size,
        )

    def largest(self, align: int, near: int | None) -> int:
        """Returns the size of the largest free run in the pool that holds `near` (in any pool without it)."""
        best = 0
        for region in self._memory:
            if region.pool and region.size and (near is None or region.da <= near < region.end):
                base = self._host[id(region)] - region.da
                da = _align(region.da, align)
                for start, end, _ in [*sorted(self._taken), (region.end + base, region.end + base, "")]:
                    best = max(best, min(start - base, region.end) - da)
                    if end - base > da:
                        da = _align(end - base, align)
        return best


def place(
    table: ResourceTable, image: FirmwareImage, memory: MemoryMap, *, h2r_buf_size: int = 512, r2h_buf_size: int = 512
) -> Placement:
    """Finds a place for every carve-out, ring and buffer that the table asks for.

    Args:
        table: the parsed resource table.
        image: its image; the segments' memory is not given away again.
        memory: what both sides see; room is taken only from regions with `pool`.
        h2r_buf_size: size of a host-to-remote buffer in bytes, the 16-byte header included.
        r2h_buf_size: the same for remote-to-host buffers.

    Raises:
        AddressError: when a fixed address lies outside the memory.
        AllocationError: when there is no room.
        ResourceTableError: when a request makes no sense (its offset is that of the entry).
    """
    for name, size in (("h2r_buf_size", h2r_buf_size), ("r2h_buf_size", r2h_buf_size)):
        if not 16 < size <= 0x10000:
            raise AllocationError(f"{name} is {size}; it must be 17..65536 (16 bytes are the RPMsg header)", size=size)
    room = _Allocator(memory)
    for segment in image.segments:
        room.reserve(segment.da, segment.size, f"segment {segment.name}")
    if image.resource_table is not None:
        section = image.resource_table
        for da in {section.da, section.live_da(memory)}:
            room.reserve(da, len(section.data), "the resource table")
    entries = list(enumerate(table.entries))
    for _, entry in entries:
        if isinstance(entry, Trace) and entry.da != ADDR_ANY:
            room.reserve(entry.da, entry.len, f"trace {entry.name!r}")
    # Everything with a fixed address first: what is allocated afterwards keeps clear of it.
    fixed = [(i, entry) for i, entry in entries if isinstance(entry, Carveout) and entry.da != ADDR_ANY]
    free = [(i, entry) for i, entry in entries if isinstance(entry, Carveout) and entry.da == ADDR_ANY]
    carveouts = [_fixed_carveout(i, entry, table, memory, room) for i, entry in fixed]
    notes: list[str] = []
    rings = _Rings(table, image.segments, memory, room, notes)
    for i, entry in entries:
        if isinstance(entry, Vdev):
            rings.check(i, entry)
    for i, entry in free:
        _check_carveout(i, entry, table)
        align = _PAGE if entry.len >= _PAGE else _BUFFER_ALIGN
        carveouts.append(
            PlacedCarveout(i, entry.name, room.allocate(entry.len, align, f"carve-out {entry.name!r}"), entry.len)
        )
    named = {carveout.name: carveout for carveout in carveouts}
    vdevs = []
    number = 0
    for i, entry in entries:
        if isinstance(entry, Vdev):
            vrings = rings.place(i, entry, number, named)
            pools: tuple[BufferPool | None, BufferPool | None] = (None, None)
            if entry.id == 7 and len(vrings) == 2:
                pools = _place_buffers(number, vrings, (r2h_buf_size, h2r_buf_size), named, room, notes)
            notify_id = rings.new_id() if entry.notifyid == ADDR_ANY else entry.notifyid
            vdevs.append(PlacedVdev(i, entry, notify_id, vrings, *pools))
            number += 1
    return Placement(tuple(sorted(carveouts)), tuple(vdevs), tuple(notes))


def _check_carveout(index: int, entry: Carveout, table: ResourceTable) -> None:
    if entry.len == 0:
        raise ResourceTableError(
            f"carve-out {entry.name!r} (entry {index} at table offset {table.offsets[index]:#x}) has length 0; "
            f"Linux refuses it too: give it the size the firmware needs, or remove the entry",
            offset=table.offsets[index],
            value=0,
        )


def _fixed_carveout(
    index: int, entry: Carveout, table: ResourceTable, memory: MemoryMap, room: _Allocator
) -> PlacedCarveout:
    _check_carveout(index, entry, table)
    if memory.find(entry.da, entry.len) is None:
        raise AddressError(
            f"carve-out {entry.name!r} (entry {index}) wants {entry.da:#x}..{entry.da + entry.len:#x}, which is not in "
            f"one memory region of the remote ({memory.describe()}); Linux would say \"carveout doesn't fit da "
            f'request": correct the address in the resource table, use ADDR_ANY (0xffffffff), or add the region',
            da=entry.da,
            size=entry.len,
        )
    if not entry.name.startswith("vdev"):  # such a carve-out is there to be handed out again
        room.reserve(entry.da, entry.len, f"carve-out {entry.name!r}")
    return PlacedCarveout(index, entry.name, entry.da, entry.len)


class _Rings:
    """Places the rings of all vdevs and gives each a notify id of its own."""

    def __init__(
        self,
        table: ResourceTable,
        segments: Sequence[Segment],
        memory: MemoryMap,
        room: _Allocator,
        notes: list[str],
    ) -> None:
        self._table = table
        self._segments = segments
        self._memory = memory
        self._room = room
        self._notes = notes
        self._ids: set[int] = set()
        self._asked = {
            ring.notifyid
            for entry in table.entries
            if isinstance(entry, Vdev)
            for ring in entry.vrings
            if ring.notifyid != ADDR_ANY
        }
        self._fixed: set[tuple[int, int]] = set()

    def check(self, index: int, vdev: Vdev) -> None:
        """Checks the rings' sizes and reserves those with a fixed address."""
        offset = self._table.offsets[index]
        if vdev.id == 7 and len(vdev.vrings) != 2:
            raise ResourceTableError(
                f"the RPMsg vdev (entry {index} at table offset {offset:#x}) has {len(vdev.vrings)} vrings; it needs "
                f"exactly 2: remote to host, then host to remote",
                offset=offset,
                value=len(vdev.vrings),
            )
        for number, ring in enumerate(vdev.vrings):
            name = f"vring {number} of the vdev in entry {index}"
            try:
                size = vring_size(ring.num, ring.align)
            except Exception as error:
                raise ResourceTableError(f"{name}: {error}", offset=offset, value=ring.num) from error
            if ring.da == ADDR_ANY:
                continue
            if self._must_move(ring.da, size):
                self._notes.append(
                    f"{name} has address 0, where no ring can be: it is placed like ADDR_ANY (Linux would take the 0)"
                )
                continue
            self._check_fixed(name, offset, ring, size)
            self._fixed.add((index, number))
            self._room.reserve(ring.da, size, name)

    def _must_move(self, da: int, size: int) -> bool:
        if da != 0:
            return False
        region = self._memory.find(0, size)
        return region is None or not region.pool or self._room.holder(0, size) is not None

    def _check_fixed(self, name: str, offset: int, ring: Vring, size: int) -> None:
        end = ring.da + size
        if self._memory.find(ring.da, size) is None:
            raise AddressError(
                f"{name} wants {ring.da:#x}..{end:#x}, which is not in one memory region of the remote "
                f"({self._memory.describe()}); correct its address in the resource table or use ADDR_ANY (0xffffffff)",
                da=ring.da,
                size=size,
            )
        holder = self._room.holder(ring.da, size)
        if holder is not None and holder.startswith("vring"):
            raise ResourceTableError(
                f"{name} ({ring.da:#x}..{end:#x}) overlaps {holder}; each needs {size:#x} bytes: move one of them",
                offset=offset,
                value=ring.da,
            )
        for segment in self._segments:
            loaded = segment.da + len(segment.data)
            if (
                segment.da < end
                and ring.da < loaded
                and any(segment.data[max(ring.da - segment.da, 0) : end - segment.da])
            ):
                raise ResourceTableError(
                    f"{name} ({ring.da:#x}..{end:#x}) would overwrite code or data of segment {segment.name} "
                    f"({segment.da:#x}..{loaded:#x}); move the ring or the segment",
                    offset=offset,
                    value=ring.da,
                )

    def place(
        self, index: int, vdev: Vdev, vdev_number: int, named: dict[str, PlacedCarveout]
    ) -> tuple[PlacedVring, ...]:
        """Returns the vdev's rings with their addresses and ids."""
        placed = []
        for number, ring in enumerate(vdev.vrings):
            size = vring_size(ring.num, ring.align)
            da = ring.da
            if (index, number) not in self._fixed:
                name = f"vdev{vdev_number}vring{number}"
                carveout = named.get(name)
                align = max(ring.align, _BUFFER_ALIGN)
                if carveout is None:
                    da = self._room.allocate(size, align, f"vring {number} of the vdev in entry {index}")
                elif carveout.size < size:
                    raise AllocationError(
                        f"carve-out {name!r} has {carveout.size:#x} bytes; the ring needs {size:#x}: enlarge it",
                        size=size,
                    )
                else:
                    da = carveout.da
            placed.append(PlacedVring(da, ring.num, ring.align, size, self._notify_id(ring.notifyid)))
        return tuple(placed)

    def _notify_id(self, asked: int) -> int:
        if asked == ADDR_ANY or asked in self._ids:
            return self.new_id()
        self._ids.add(asked)
        return asked

    def new_id(self) -> int:
        """Returns the lowest id that nobody has or asks for."""
        chosen = next(i for i in range(0x10000) if i not in self._ids and i not in self._asked)
        self._ids.add(chosen)
        return chosen


def _place_buffers(
    vdev_number: int,
    vrings: Sequence[PlacedVring],
    sizes: tuple[int, int],
    named: dict[str, PlacedCarveout],
    room: _Allocator,
    notes: list[str],
) -> tuple[BufferPool, BufferPool]:
    """Places the r2h buffers and behind them the h2r buffers: one a descriptor, fewer when there is less room."""
    strides = [_align(size, 4) for size in sizes]
    wanted = [ring.num for ring in vrings]
    need = sum(count * stride for count, stride in zip(wanted, strides, strict=True))
    carveout = named.get(f"vdev{vdev_number}buffer")
    near: int | None = vrings[0].da
    available = carveout.size if carveout else max(room.largest(_BUFFER_ALIGN, near), 0)
    if available < sum(strides) and carveout is None:
        near, available = None, room.largest(_BUFFER_ALIGN, None)
    counts = wanted
    if need > available:
        counts = [max(1, count * available // need) for count in wanted]
        notes.append(
            f"{need:#x} bytes of buffers asked for by the rings of vdev {vdev_number} do not fit into {available:#x}: "
            f"{counts[0]} remote-to-host and {counts[1]} host-to-remote buffers instead of {wanted[0]} and {wanted[1]}"
        )
    total = sum(count * stride for count, stride in zip(counts, strides, strict=True))
    if carveout is not None and total <= carveout.size:
        da = carveout.da
    else:
        da = room.allocate(total, _BUFFER_ALIGN, f"the buffers of vdev {vdev_number}", near)
    r2h = BufferPool(da, counts[0], strides[0])
    return r2h, BufferPool(da + counts[0] * strides[0], counts[1], strides[1])


def _align(value: int, align: int) -> int:
    return (value + align - 1) // align * align


def _host_address(region: Region) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(region.data))
