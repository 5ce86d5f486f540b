"""Where everything goes: carve-outs, rings and buffers in the memory that host and remote share.

The resource table asks, the memory map offers, and `place()` decides, before any virtio device exists. It follows
what Linux's remoteproc does where firmware depends on it: fixed addresses are kept, ADDR_ANY is allocated, a
carve-out named `vdev0vring0`, `vdev0vring1` or `vdev0buffer` holds that ring or those buffers, notify ids that are
ADDR_ANY or already taken get the lowest id that no ring and no device has. `place()` only computes; nothing is written.
"""

from __future__ import annotations

import ctypes
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from openamp.errors import AddressError, AllocationError, ResourceTableError
from openamp.firmware import FirmwareImage, Segment
from openamp.memory import MemoryMap, Region
from openamp.resource_table import ADDR_ANY, VDEV_ID_RPMSG, Carveout, ResourceTable, Vdev, Vring, entry_size
from openamp.virtio.device import vring_size

__all__ = ["BufferPool", "PlacedCarveout", "PlacedVdev", "PlacedVring", "Placement", "place"]

_PAGE = 4096
_BUFFER_ALIGN = 64  # a cache line, so that no two buffers share one
_RING_ALIGN = 16  # of a descriptor table (virtio 1.2, 2.7)
_THE_TABLE = "the resource table"


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


class _Ranges:
    """Ranges of host addresses, kept disjoint and sorted."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        first, behind = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < behind:
            start, end = min(start, self._starts[first]), max(end, self._ends[behind - 1])
        self._starts[first:behind] = [start]
        self._ends[first:behind] = [end]

    def gaps(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yields what is free between two addresses, from the lowest."""
        at = bisect_right(self._ends, start)
        for taken, behind in zip(self._starts[at:], self._ends[at:], strict=True):
            if taken >= end:
                break
            if taken > start:
                yield start, taken
            start = behind
        if start < end:
            yield start, end


class _Area:
    """Where something may be placed: pieces of regions, without what is taken.

    Args:
        pieces: (first device address, first address behind, host address minus device address), in order of choice.
        taken: what is not free.
    """

    def __init__(self, pieces: Sequence[tuple[int, int, int]], taken: _Ranges) -> None:
        self._pieces = pieces
        self._taken = taken

    def _runs(self, align: int) -> Iterator[tuple[int, int]]:
        """Yields device address and size of what is free."""
        for first, behind, base in self._pieces:
            for start, end in self._taken.gaps(first + base, behind + base):
                da = _align(start - base, align)
                yield da, end - base - da

    def fit(self, size: int, align: int) -> int | None:
        """Returns the first device address where that much room is, or None."""
        return next((da for da, room in self._runs(align) if room >= size), None)

    def largest(self, align: int) -> int:
        """Returns the size of the largest free run."""
        return max((room for _, room in self._runs(align) if room > 0), default=0)


class _Room:
    """What is taken and what is free. Kept by host address, so that aliases of one memory agree.

    Zero-filled parts of segments are taken, but not in the way of what asks for just that place: firmware reserves
    rings, buffers and carve-outs as zero-filled sections.
    """

    def __init__(self, memory: MemoryMap) -> None:
        self._memory = memory
        self._bases = {id(region): _host_address(region) - region.da for region in memory if region.size}
        self._taken = _Ranges()
        self._in_the_way: list[tuple[int, int, str, int]] = []  # host range, name, the carve-out's entry or -1

    def _pieces(self, da: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Yields what of a range of device addresses is memory; see `_Area`."""
        for region in self._memory:
            first, behind = max(da, region.da), min(da + size, region.end)
            if first < behind:
                yield first, behind, self._bases[id(region)]

    def covers(self, da: int, size: int) -> bool:
        """The range is memory throughout, in one region or in several that follow each other."""
        return sum(behind - first for first, behind, _ in self._pieces(da, size)) == size

    def reserve(self, da: int, size: int, name: str, *, entry: int = -1, zero_fill: bool = False) -> None:
        for first, behind, base in self._pieces(da, size):
            self._taken.add(first + base, behind + base)
            if not zero_fill:
                self._in_the_way.append((first + base, behind + base, name, entry))

    def holders(self, da: int, size: int) -> list[str]:
        """Returns the names of what is in the way of this range."""
        return [
            name
            for first, behind, base in self._pieces(da, size)
            for start, end, name, _ in self._in_the_way
            if start < behind + base and first + base < end
        ]

    def inside(self, carveout: PlacedCarveout) -> _Area:
        """Returns a carve-out's own memory."""
        taken = _Ranges()
        for start, end, _, entry in self._in_the_way:
            if entry != carveout.entry:
                taken.add(start, end)
        return _Area(list(self._pieces(carveout.da, carveout.size)), taken)

    def pool(self, near: int | None = None) -> _Area:
        """Returns the pool regions; only the one that holds the address `near`, where it is given."""
        pools = [region for region in self._memory if region.pool and region.size]
        if near is not None:
            pools = [region for region in pools if region.da <= near < region.end]
        return _Area([(region.da, region.end, self._bases[id(region)]) for region in pools], self._taken)

    def allocate(self, size: int, align: int, name: str, *, entry: int = -1) -> int:
        """Reserves room in the first pool region that has it."""
        da = self.pool().fit(size, align)
        if da is None:
            raise AllocationError(
                f"no room for {name} ({size:#x} bytes, aligned to {align:#x}) in the shared memory "
                f"({self.describe_pools()}); use fewer or smaller rings and buffers, or a larger pool region",
                size=size,
            )
        self.reserve(da, size, name, entry=entry)
        return da

    def describe_pools(self) -> str:
        pools = (f"{r.name} {r.da:#x}..{r.end:#x}" for r in self._memory if r.pool and r.size)
        return ", ".join(pools) or "no region is marked as a pool"


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
    room = _Room(memory)
    notes: list[str] = []
    _reserve_image(room, table, image, memory, notes)
    # Everything with a fixed address first: what is allocated afterwards keeps clear of it.
    entries = list(enumerate(table.entries))
    asked = [(i, entry) for i, entry in entries if isinstance(entry, Carveout)]
    carveouts = [_fixed_carveout(i, entry, table, memory, room) for i, entry in asked if entry.da != ADDR_ANY]
    _note_overlaps(carveouts, notes)
    rings = _Rings(table, image.segments, memory, room, notes)
    for i, entry in entries:
        if isinstance(entry, Vdev):
            rings.check(i, entry)
    carveouts += [_free_carveout(i, entry, table, room) for i, entry in asked if entry.da == ADDR_ANY]
    named: dict[str, PlacedCarveout] = {}
    for carveout in carveouts:
        named.setdefault(carveout.name, carveout)
    vdevs = []
    for number, (i, entry) in enumerate((i, entry) for i, entry in entries if isinstance(entry, Vdev)):
        vrings = rings.place(i, entry, number, named)
        pools: tuple[BufferPool | None, BufferPool | None] = (None, None)
        if entry.id == VDEV_ID_RPMSG:
            pools = _place_buffers(number, vrings, (r2h_buf_size, h2r_buf_size), named, room, notes)
        notify_id = rings.new_id() if entry.notifyid == ADDR_ANY else entry.notifyid
        vdevs.append(PlacedVdev(i, entry, notify_id, vrings, *pools))
    return Placement(tuple(sorted(carveouts)), tuple(vdevs), tuple(notes))


def _reserve_image(
    room: _Room, table: ResourceTable, image: FirmwareImage, memory: MemoryMap, notes: list[str]
) -> None:
    """Keeps clear of what the image brings along."""
    for segment in image.segments:
        filled = len(segment.data)
        room.reserve(segment.da, filled, f"segment {segment.name}")
        room.reserve(segment.da + filled, segment.size - filled, f"segment {segment.name}", zero_fill=True)
    if image.resource_table is not None:
        section = image.resource_table
        size = max((at + entry_size(e) for at, e in zip(table.offsets, table.entries, strict=True)), default=0)
        for da in {section.da, section.live_da(memory)}:
            room.reserve(da, size, _THE_TABLE)
            room.reserve(da + size, len(section.data) - size, _THE_TABLE, zero_fill=True)  # padding, often zeros
    for trace in table.traces:
        if trace.len and memory.find(trace.da, trace.len) is None:
            notes.append(
                f"the trace buffer {trace.name!r} at {trace.da:#x}..{trace.da + trace.len:#x} is not in the remote's "
                f"memory, so it cannot be shown"
            )
        room.reserve(trace.da, trace.len, f"trace {trace.name!r}")


def _check_carveout(index: int, entry: Carveout, table: ResourceTable) -> None:
    if entry.len == 0:
        raise ResourceTableError(
            f"carve-out {entry.name!r} (entry {index} at table offset {table.offsets[index]:#x}) has length 0; "
            f"Linux refuses it too: give it the size the firmware needs, or remove the entry",
            offset=table.offsets[index],
            value=0,
        )


def _fixed_carveout(
    index: int, entry: Carveout, table: ResourceTable, memory: MemoryMap, room: _Room
) -> PlacedCarveout:
    _check_carveout(index, entry, table)
    if not room.covers(entry.da, entry.len):
        raise AddressError(
            f"carve-out {entry.name!r} (entry {index}) wants {entry.da:#x}..{entry.da + entry.len:#x}, which is not "
            f"all memory of the remote ({memory.describe()}); Linux would say \"carveout doesn't fit da "
            f'request": correct the address in the resource table, use ADDR_ANY (0xffffffff), or add the region',
            da=entry.da,
            size=entry.len,
        )
    room.reserve(entry.da, entry.len, f"carve-out {entry.name!r}", entry=index)
    return PlacedCarveout(index, entry.name, entry.da, entry.len)


def _free_carveout(index: int, entry: Carveout, table: ResourceTable, room: _Room) -> PlacedCarveout:
    _check_carveout(index, entry, table)
    align = _PAGE if entry.len >= _PAGE else _BUFFER_ALIGN
    da = room.allocate(entry.len, align, f"carve-out {entry.name!r}", entry=index)
    return PlacedCarveout(index, entry.name, da, entry.len)


def _note_overlaps(carveouts: Sequence[PlacedCarveout], notes: list[str]) -> None:
    last: PlacedCarveout | None = None
    for carveout in sorted(carveouts, key=lambda carveout: carveout.da):
        if last is not None and carveout.da < last.da + last.size:
            notes.append(f"the carve-outs {last.name!r} and {carveout.name!r} overlap from {carveout.da:#x} on")
        if last is None or carveout.da + carveout.size > last.da + last.size:
            last = carveout


class _Rings:
    """Places the rings of all vdevs and gives each a notify id of its own."""

    def __init__(
        self,
        table: ResourceTable,
        segments: Sequence[Segment],
        memory: MemoryMap,
        room: _Room,
        notes: list[str],
    ) -> None:
        self._table = table
        self._segments = segments
        self._memory = memory
        self._room = room
        self._notes = notes
        self._ids: set[int] = set()
        vdevs = [entry for entry in table.entries if isinstance(entry, Vdev)]
        asked = {vdev.notifyid for vdev in vdevs} | {ring.notifyid for vdev in vdevs for ring in vdev.vrings}
        self._asked = asked - {ADDR_ANY}
        self._fixed: set[tuple[int, int]] = set()

    def check(self, index: int, vdev: Vdev) -> None:
        """Checks the rings' sizes and reserves those with a fixed address."""
        offset = self._table.offsets[index]
        if vdev.id == VDEV_ID_RPMSG and len(vdev.vrings) != 2:
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
            except ResourceTableError as error:
                raise ResourceTableError(f"{name}: {error}", offset=offset, value=error.value) from error
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
        return region is None or not region.pool or bool(self._room.holders(0, size))

    def _check_fixed(self, name: str, offset: int, ring: Vring, size: int) -> None:
        end = ring.da + size
        if self._memory.find(ring.da, size) is None:
            raise AddressError(
                f"{name} wants {ring.da:#x}..{end:#x}, which is not in one memory region of the remote "
                f"({self._memory.describe()}); correct its address in the resource table or use ADDR_ANY (0xffffffff)",
                da=ring.da,
                size=size,
            )
        for holder in self._room.holders(ring.da, size):
            if holder.startswith("vring") or holder == _THE_TABLE:
                raise ResourceTableError(
                    f"{name} ({ring.da:#x}..{end:#x}) overlaps {holder}; the ring needs {size:#x} bytes: move one of "
                    f"them",
                    offset=offset,
                    value=ring.da,
                )
            if holder.startswith("trace"):
                self._notes.append(f"{name} ({ring.da:#x}..{end:#x}) overlaps {holder}, which will not be readable")
        if ring.da % ring.align:
            raise ResourceTableError(
                f"{name} is at {ring.da:#x}, which is no multiple of its alignment {ring.align:#x}, so that host and "
                f"remote would look for the used ring at different places; align the address",
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
                carveout = named.get(f"vdev{vdev_number}vring{number}")
                da = self._free_ring(f"vring {number} of the vdev in entry {index}", ring, size, carveout)
            placed.append(PlacedVring(da, ring.num, ring.align, size, self._notify_id(ring.notifyid)))
        return tuple(placed)

    def _free_ring(self, name: str, ring: Vring, size: int, carveout: PlacedCarveout | None) -> int:
        if carveout is None:
            return self._room.allocate(size, max(ring.align, _BUFFER_ALIGN), name)
        da = self._room.inside(carveout).fit(size, max(ring.align, _RING_ALIGN))
        if da is None:
            raise AllocationError(
                f"carve-out {carveout.name!r} ({carveout.da:#x}, {carveout.size:#x} bytes) has no room for {name}, "
                f"which needs {size:#x} bytes aligned to {ring.align:#x}: enlarge it, or align it",
                size=size,
            )
        return da

    def _notify_id(self, asked: int) -> int:
        if asked == ADDR_ANY or asked in self._ids:
            return self.new_id()
        self._ids.add(asked)
        return asked

    def new_id(self) -> int:
        """Returns the lowest id that nobody has or asks for.

        Devices count too: a remote with OpenAMP's C library takes no signal for a ring that has its device's id.
        """
        chosen = next(i for i in range(0x10000) if i not in self._ids and i not in self._asked)
        self._ids.add(chosen)
        return chosen


def _place_buffers(
    vdev_number: int,
    vrings: Sequence[PlacedVring],
    sizes: tuple[int, int],
    named: dict[str, PlacedCarveout],
    room: _Room,
    notes: list[str],
) -> tuple[BufferPool, BufferPool]:
    """Places the r2h buffers and behind them the h2r buffers: one a descriptor, fewer when there is less room."""
    strides = [_align(size, 4) for size in sizes]
    wanted = [ring.num for ring in vrings]
    carveout = named.get(f"vdev{vdev_number}buffer")
    where = f"the shared memory ({room.describe_pools()})"
    if carveout is not None:
        where = f"carve-out {carveout.name!r} ({carveout.da:#x}, {carveout.size:#x} bytes)"
        area = room.inside(carveout)
    else:
        area = room.pool(near=vrings[0].da)
        if area.largest(_BUFFER_ALIGN) < sum(strides):
            area = room.pool()
    available = area.largest(_BUFFER_ALIGN)
    counts = _fewer(wanted, strides, available)
    total = _total(counts, strides)
    da = area.fit(total, _BUFFER_ALIGN)
    if da is None:
        raise AllocationError(
            f"no room for even one buffer in each direction ({total:#x} bytes) for vdev {vdev_number} in {where}; "
            f"enlarge it, or use fewer or smaller rings and buffers",
            size=total,
        )
    if counts != wanted:
        notes.append(
            f"{_total(wanted, strides):#x} bytes of buffers asked for by the rings of vdev {vdev_number} do not fit "
            f"into {available:#x}: {counts[0]} remote-to-host and {counts[1]} host-to-remote buffers instead of "
            f"{wanted[0]} and {wanted[1]}"
        )
    room.reserve(da, total, f"the buffers of vdev {vdev_number}")
    r2h = BufferPool(da, counts[0], strides[0])
    return r2h, BufferPool(da + counts[0] * strides[0], counts[1], strides[1])


def _fewer(wanted: list[int], sizes: list[int], available: int) -> list[int]:
    """Returns how many of each size fit, in about the proportion wanted, but at least one."""
    need = _total(wanted, sizes)
    if need <= available:
        return wanted
    counts = [max(1, count * available // need) for count in wanted]
    while max(counts) > 1 and _total(counts, sizes) > available:
        counts[counts.index(max(counts))] -= 1
    for i, size in enumerate(sizes):
        counts[i] = min(wanted[i], counts[i] + max(available - _total(counts, sizes), 0) // size)
    return counts


def _total(counts: list[int], sizes: list[int]) -> int:
    return sum(count * size for count, size in zip(counts, sizes, strict=True))


def _align(value: int, align: int) -> int:
    return (value + align - 1) // align * align


def _host_address(region: Region) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(region.data))
