from __future__ import annotations

import os

import pytest

from openamp.errors import AddressError, AllocationError
from openamp.memory import MemoryMap, Region, SharedMemory


def region(name: str, da: int, size: int, **options: bool) -> Region:
    return Region(name, da, memoryview(bytearray(size)), **options)


def test_view_is_the_memory_itself() -> None:
    memory = MemoryMap([region("ram", 0x1000, 0x100)])
    memory.view(0x1010, 4)[:] = b"abcd"
    assert memory.read(0x100F, 6) == b"\0abcd\0"


def test_ranges_are_half_open() -> None:
    ram = region("ram", 0x1000, 0x100)
    memory = MemoryMap([ram])
    assert memory.find(0x10FF) is ram
    assert memory.find(0x1100) is None
    assert memory.find(0x0FFF) is None
    assert memory.find(0x1000, 0x100) is ram
    assert memory.find(0x1000, 0x101) is None


def test_an_address_outside_names_address_and_regions() -> None:
    memory = MemoryMap([region("ram", 0x1000, 0x100)])
    with pytest.raises(AddressError, match=r"0x2000\.\.0x2010 .* ram 0x1000\.\.0x1100") as caught:
        memory.view(0x2000, 0x10)
    assert (caught.value.da, caught.value.size) == (0x2000, 0x10)


@pytest.mark.parametrize(("da", "size"), [(0x1000, 0x100), (0xFFF, 2), (0x10FF, 1), (0x800, 0x1000), (0x1080, 1)])
def test_overlaps_are_refused(da: int, size: int) -> None:
    memory = MemoryMap([region("ram", 0x1000, 0x100), region("far", 0x8000, 0x10)])
    with pytest.raises(AddressError, match="overlaps"):
        memory.add(region("new", da, size))


def test_neighbours_are_not_overlaps() -> None:
    memory = MemoryMap([region("b", 0x1100, 0x100), region("a", 0x1000, 0x100)])
    assert [r.name for r in memory] == ["a", "b"]
    with pytest.raises(AddressError):
        memory.view(0x10F0, 0x20)  # no range spans two regions


def test_an_alias_shows_the_same_bytes() -> None:
    data = memoryview(bytearray(16))
    memory = MemoryMap([Region("ram", 0x1000, data), Region("alias", 0x9000, data)])
    memory.write(0x1004, b"x")
    assert memory.read(0x9004, 1) == b"x"


def test_removed_regions_are_gone() -> None:
    ram = region("ram", 0x1000, 0x100)
    memory = MemoryMap([ram])
    memory.remove(ram)
    assert memory.find(0x1000) is None
    assert len(memory) == 0


def test_shared_memory_is_seen_through_its_descriptor() -> None:
    shared = SharedMemory(100)
    other = SharedMemory(shared.size, fd=shared.fd)
    shared.view[5] = 7
    assert other.view[5] == 7
    assert shared.size % os.sysconf("SC_PAGE_SIZE") == 0
    for mapping in (shared, other):
        mapping.close()
        mapping.close()


def test_shared_memory_that_cannot_be_had() -> None:
    with pytest.raises(AllocationError, match="cannot map"):
        SharedMemory(1 << 62)


def test_memory_for_this_process_alone_needs_no_descriptor() -> None:
    before = len(os.listdir("/proc/self/fd"))
    shared = SharedMemory(4096, name=None)
    assert len(os.listdir("/proc/self/fd")) <= before  # fewer: what an earlier test left was collected
    shared.view[0] = 7
    shared.close()
    assert shared.view[0] == 7


def test_shared_memory_leaves_no_descriptor_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        SharedMemory(4096)
    assert len(os.listdir("/proc/self/fd")) <= before  # fewer: what an earlier test left was collected
