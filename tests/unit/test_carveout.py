from __future__ import annotations

import itertools

import pytest

from openamp.carveout import Placement, place
from openamp.errors import AddressError, AllocationError, ResourceTableError
from openamp.firmware import FirmwareImage, Segment, TableSection
from openamp.memory import MemoryMap, Region
from openamp.resource_table import ADDR_ANY, Carveout, Entry, ResourceTable, Trace, Vdev, Vring, rpmsg_table
from openamp.virtio.device import vring_size

CODE = 0x1000_0000
POOL = 0x1004_0000
POOL_SIZE = 0x20000


def memory() -> MemoryMap:
    return MemoryMap(
        [
            Region("code", CODE, memoryview(bytearray(0x40000))),
            Region("shared", POOL, memoryview(bytearray(POOL_SIZE)), pool=True),
        ]
    )


def image(table: ResourceTable, *segments: Segment) -> FirmwareImage:
    data = table.build()
    main = Segment(da=CODE, size=0x1000, data=bytes(0x800), va=CODE, name="text")
    return FirmwareImage(
        name="test.elf",
        format="elf32",
        segments=(main, *segments),
        resource_table=TableSection(data=data, da=CODE + 0x800),
    )


def placed(table: ResourceTable, *segments: Segment, **sizes: int) -> Placement:
    return place(table, image(table, *segments), memory(), **sizes)


def vdev(*vrings: Vring, id: int = 7, notifyid: int = 0) -> Vdev:
    return Vdev(id, notifyid, 1, vrings=vrings)


def table(*entries: Entry) -> ResourceTable:
    return ResourceTable(entries)


def spans(placement: Placement) -> list[tuple[int, int]]:
    found = [(c.da, c.da + c.size) for c in placement.carveouts]
    for device in placement.vdevs:
        found += [(ring.da, ring.da + ring.size) for ring in device.vrings]
        for pool in (device.r2h_buffers, device.h2r_buffers):
            if pool is not None:
                found.append((pool.da, pool.da + pool.num * pool.size))
    return sorted(found)


def assert_apart(placement: Placement) -> None:
    found = spans(placement)
    for (_, end), (start, _) in itertools.pairwise(found):
        assert end <= start


def test_rings_and_buffers_anywhere_lie_in_the_pool_side_by_side() -> None:
    placement = placed(rpmsg_table(num=16, align=4096))
    assert_apart(placement)
    assert all(start >= POOL and end <= POOL + POOL_SIZE for start, end in spans(placement))
    (device,) = placement.vdevs
    assert [ring.da % 4096 for ring in device.vrings] == [0, 0]
    assert device.r2h_buffers is not None
    assert (device.r2h_buffers.num, device.r2h_buffers.size) == (16, 512)


def test_fixed_rings_stay_where_they_are_and_buffers_come_near() -> None:
    placement = placed(rpmsg_table(num=16, align=16, vring_da=(POOL, POOL + 0x1000)))
    (device,) = placement.vdevs
    assert [ring.da for ring in device.vrings] == [POOL, POOL + 0x1000]
    assert_apart(placement)


def test_buffer_sizes_are_per_direction() -> None:
    (device,) = placed(rpmsg_table(num=8), h2r_buf_size=1024, r2h_buf_size=256).vdevs
    assert device.r2h_buffers is not None
    assert device.h2r_buffers is not None
    assert (device.r2h_buffers.size, device.h2r_buffers.size) == (256, 1024)


@pytest.mark.parametrize("size", [0, 16, 70000])
def test_buffer_sizes_out_of_range_are_refused(size: int) -> None:
    with pytest.raises(AllocationError, match="h2r_buf_size"):
        placed(rpmsg_table(num=8), h2r_buf_size=size)


def test_fewer_buffers_where_there_is_less_room_and_a_note_says_so() -> None:
    placement = placed(rpmsg_table(num=256, align=16))
    (device,) = placement.vdevs
    assert device.r2h_buffers is not None
    assert 1 < device.r2h_buffers.num < 256
    assert "instead of 256" in placement.notes[0]
    assert_apart(placement)


def test_no_room_at_all_names_the_pool() -> None:
    with pytest.raises(AllocationError, match=r"vring 0 .*\(shared 0x10040000"):
        placed(rpmsg_table(num=8192))


def test_carveouts_are_placed_before_rings_and_kept_apart() -> None:
    placement = placed(
        table(
            Carveout(da=ADDR_ANY, len=0x2345, name="heap"),
            Carveout(da=POOL + 0x1000, len=0x1000, name="fixed"),
            *rpmsg_table(num=16).entries,
        )
    )
    assert [c.name for c in placement.carveouts] == ["heap", "fixed"]
    assert placement.carveouts[1].da == POOL + 0x1000
    assert_apart(placement)


def test_rings_and_buffers_go_into_carveouts_named_for_them() -> None:
    placement = placed(
        table(
            Carveout(da=POOL + 0x10000, len=0x1000, name="vdev0vring0"),
            Carveout(da=POOL + 0x11000, len=0x1000, name="vdev0vring1"),
            Carveout(da=POOL + 0x12000, len=0x8000, name="vdev0buffer"),
            *rpmsg_table(num=16, align=16).entries,
        )
    )
    (device,) = placement.vdevs
    assert [ring.da for ring in device.vrings] == [POOL + 0x10000, POOL + 0x11000]
    assert device.r2h_buffers is not None
    assert device.r2h_buffers.da == POOL + 0x12000


def test_a_named_carveout_that_is_too_small_is_an_error() -> None:
    entries = (Carveout(da=POOL, len=64, name="vdev0vring0"), *rpmsg_table(num=16).entries)
    with pytest.raises(AllocationError, match="vdev0vring0"):
        placed(table(*entries))


@pytest.mark.parametrize("name", ["vdev0vring0", "vdev0vring1", "vdev0buffer", "heap"])
def test_nothing_else_is_placed_in_a_fixed_carveout(name: str) -> None:
    fixed = Carveout(da=POOL, len=0x8000, name=name)
    placement = placed(table(fixed, Carveout(da=ADDR_ANY, len=0x100, name="any"), *rpmsg_table(num=16).entries))
    (device,) = placement.vdevs
    inside = {"vdev0vring0": device.vrings[0].da, "vdev0vring1": device.vrings[1].da}
    assert device.r2h_buffers is not None
    inside["vdev0buffer"] = device.r2h_buffers.da
    for what, da in inside.items():
        assert (da == POOL) is (what == name)
    others = Placement(placement.carveouts[1:], placement.vdevs, ())
    assert_apart(others)


def test_buffers_keep_clear_of_a_fixed_ring_in_their_carveout() -> None:
    shared = Carveout(da=POOL, len=0x8000, name="vdev0buffer")
    placement = placed(table(shared, *rpmsg_table(num=16, align=16, vring_da=(POOL, POOL + 0x1000)).entries))
    assert_apart(Placement((), placement.vdevs, ()))
    (device,) = placement.vdevs
    assert device.r2h_buffers is not None
    assert POOL < device.r2h_buffers.da < POOL + 0x8000


def test_a_carveout_of_zero_filled_memory_still_holds_its_buffers() -> None:
    section = Segment(da=POOL, size=0x8000, data=b"", va=POOL, name="shmem")
    asked = table(Carveout(da=POOL, len=0x8000, name="vdev0buffer"), *rpmsg_table(num=8).entries)
    (device,) = placed(asked, section).vdevs
    assert device.r2h_buffers is not None
    assert device.r2h_buffers.da == POOL
    assert device.vrings[0].da >= POOL + 0x8000


def test_a_buffer_carveout_without_room_for_one_buffer_is_an_error() -> None:
    entries = (Carveout(da=POOL, len=0x300, name="vdev0buffer"), *rpmsg_table(num=16).entries)
    with pytest.raises(AllocationError, match=r"one buffer in each direction.*'vdev0buffer'"):
        placed(table(*entries))


def test_the_first_of_two_carveouts_of_the_same_name_counts() -> None:
    twice = [Carveout(da=POOL + at, len=0x1000, name="vdev0vring0") for at in (0x2000, 0x4000)]
    assert placed(table(*twice, *rpmsg_table(num=16, align=16).entries)).vdevs[0].vrings[0].da == POOL + 0x2000


def test_a_fixed_carveout_may_span_regions_that_follow_each_other() -> None:
    placement = placed(table(Carveout(da=POOL - 0x1000, len=0x3000, name="heap"), *rpmsg_table(num=16).entries))
    assert placement.carveouts[0].da == POOL - 0x1000
    assert_apart(placement)


def test_carveouts_that_overlap_are_noted() -> None:
    placement = placed(table(Carveout(da=POOL, len=0x1000, name="a"), Carveout(da=POOL + 0x800, len=0x10, name="b")))
    assert placement.notes == ("the carve-outs 'a' and 'b' overlap from 0x10040800 on",)


def test_a_fixed_carveout_outside_the_memory_is_explained() -> None:
    with pytest.raises(AddressError, match=r"0x90000000\.\.0x90001000.*carveout doesn't fit da request") as caught:
        placed(table(Carveout(da=0x9000_0000, len=0x1000, name="data")))
    assert caught.value.da == 0x9000_0000


def test_a_carveout_of_no_length_is_refused() -> None:
    with pytest.raises(ResourceTableError, match="length 0"):
        placed(table(Carveout(da=ADDR_ANY, len=0, name="none")))


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ((0, 1), (0, 1)),
        ((1, 2), (1, 2)),
        ((0, 0), (0, 1)),
        ((1, 1), (1, 0)),
        ((ADDR_ANY, ADDR_ANY), (0, 1)),
        ((ADDR_ANY, 0), (1, 0)),
        ((5, ADDR_ANY), (5, 0)),
    ],
)
def test_notify_ids_are_unique(asked: tuple[int, int], given: tuple[int, int]) -> None:
    (device,) = placed(rpmsg_table(num=8, notifyid=31, notifyids=asked)).vdevs
    assert tuple(ring.notify_id for ring in device.vrings) == given
    assert device.notify_id == 31


@pytest.mark.parametrize(
    ("own", "asked", "given"),
    [
        (0, (ADDR_ANY, ADDR_ANY), (1, 2)),
        (1, (ADDR_ANY, ADDR_ANY), (0, 2)),
        (0, (1, 1), (1, 2)),
        (1, (0, 0), (0, 2)),
        (ADDR_ANY, (ADDR_ANY, ADDR_ANY), (0, 1)),
    ],
)
def test_rings_get_no_devices_notify_id(own: int, asked: tuple[int, int], given: tuple[int, int]) -> None:
    """A C remote would not look at the ring."""
    (device,) = placed(rpmsg_table(num=8, notifyid=own, notifyids=asked)).vdevs
    assert tuple(ring.notify_id for ring in device.vrings) == given
    assert device.notify_id not in given


def test_notify_ids_are_unique_over_all_devices() -> None:
    rings = (Vring(ADDR_ANY, 16, 8, 0), Vring(ADDR_ANY, 16, 8, 1))
    placement = placed(table(vdev(*rings), vdev(*rings)))
    assert [ring.notify_id for device in placement.vdevs for ring in device.vrings] == [0, 1, 2, 3]
    assert_apart(placement)


def test_a_devices_own_notify_id_is_its_own_affair_unless_it_asks() -> None:
    (device,) = placed(rpmsg_table(num=8, notifyid=0, notifyids=(0, 1))).vdevs
    assert device.notify_id == 0
    (device,) = placed(rpmsg_table(num=8, notifyid=ADDR_ANY, notifyids=(0, 1))).vdevs
    assert device.notify_id == 2


def test_ring_address_0_means_anywhere_where_no_ring_can_be_at_0() -> None:
    placement = placed(rpmsg_table(num=8, vring_da=(0, 0)))
    (device,) = placement.vdevs
    assert all(ring.da >= POOL for ring in device.vrings)
    assert len(placement.notes) == 2


def test_ring_outside_the_memory() -> None:
    with pytest.raises(AddressError, match=r"vring 1 .* 0x50000000"):
        placed(rpmsg_table(num=8, vring_da=(ADDR_ANY, 0x5000_0000)))


def test_rings_that_overlap() -> None:
    with pytest.raises(ResourceTableError, match="overlaps vring 0"):
        placed(rpmsg_table(num=16, align=4096, vring_da=(POOL, POOL + 0x100)))


def test_rings_that_overlap_inside_a_trace_buffer() -> None:
    entries = (Trace(POOL, 0x1000, name="log"), *rpmsg_table(num=16, align=16, vring_da=(POOL, POOL)).entries)
    with pytest.raises(ResourceTableError, match="overlaps vring 0"):
        placed(table(*entries))


def test_a_ring_over_the_table_is_refused() -> None:
    with pytest.raises(ResourceTableError, match="overlaps the resource table"):
        placed(rpmsg_table(num=16, align=16, vring_da=(CODE + 0x7F0, ADDR_ANY)))


def test_a_ring_may_begin_in_the_padding_behind_the_table() -> None:
    asked = rpmsg_table(num=4, align=16, vring_da=(CODE + 0x900, ADDR_ANY))
    padded = asked.build().ljust(0x200, b"\0")
    image = FirmwareImage(name="t", segments=(), resource_table=TableSection(data=padded, da=CODE + 0x800))
    parsed = ResourceTable.parse(padded)
    assert place(parsed, image, memory()).vdevs[0].vrings[0].da == CODE + 0x900


@pytest.mark.parametrize(("da", "align"), [(POOL + 0x10, 0x1000), (POOL + 2, 4)])
def test_a_ring_off_its_alignment_is_refused(da: int, align: int) -> None:
    with pytest.raises(ResourceTableError, match=f"{da:#x}, which is no multiple of its alignment {align:#x}"):
        placed(rpmsg_table(num=16, align=align, vring_da=(da, ADDR_ANY)))


def test_a_ring_in_a_carveout_off_its_alignment_is_moved_up() -> None:
    entries = (Carveout(da=POOL + 8, len=0x3000, name="vdev0vring0"), *rpmsg_table(num=16, align=0x1000).entries)
    assert placed(table(*entries)).vdevs[0].vrings[0].da == POOL + 0x1000


def test_traces_out_of_sight_are_noted() -> None:
    placement = placed(table(Trace(0xDEAD_0000, 0x100, name="log"), *rpmsg_table(num=16).entries))
    assert "'log' at 0xdead0000..0xdead0100 is not in the remote's memory" in placement.notes[0]


def test_a_ring_over_code_is_refused_but_over_zero_fill_is_fine() -> None:
    code = Segment(da=CODE + 0x10000, size=0x4000, data=b"\1" * 0x1000, va=0, name="data")
    with pytest.raises(ResourceTableError, match="overwrite code or data of segment data"):
        placed(rpmsg_table(num=16, align=16, vring_da=(CODE + 0x10800, ADDR_ANY)), code)
    (device,) = placed(rpmsg_table(num=16, align=16, vring_da=(CODE + 0x12000, ADDR_ANY)), code).vdevs
    assert device.vrings[0].da == CODE + 0x12000


@pytest.mark.parametrize(("num", "align"), [(0, 16), (3, 16), (1 << 16, 16), (16, 0), (16, 3)])
def test_ring_geometry_that_cannot_be(num: int, align: int) -> None:
    with pytest.raises(ResourceTableError, match="vring 0"):
        placed(rpmsg_table(num=num, align=align))


@pytest.mark.parametrize("count", [0, 1, 3])
def test_an_rpmsg_device_has_two_rings(count: int) -> None:
    rings = tuple(Vring(ADDR_ANY, 16, 8, i) for i in range(count))
    with pytest.raises(ResourceTableError, match="exactly 2"):
        placed(table(vdev(*rings)))


def test_other_devices_get_rings_but_no_buffers() -> None:
    (device,) = placed(table(vdev(Vring(ADDR_ANY, 16, 8, 0), id=3))).vdevs
    assert device.r2h_buffers is None
    assert device.vrings[0].size == vring_size(8, 16)


def test_nothing_is_placed_over_traces_segments_or_the_table() -> None:
    low = Segment(da=POOL, size=0x3000, data=b"", va=POOL, name="bss")
    placement = placed(table(Trace(POOL + 0x3000, 0x1000, name="log"), *rpmsg_table(num=16).entries), low)
    assert min(start for start, _ in spans(placement)) >= POOL + 0x4000


def test_a_segment_that_spans_regions_is_kept_clear_of() -> None:
    code = Segment(da=POOL - 0x1000, size=0x2000, data=b"c" * 0x2000, va=0, name="code")
    assert min(start for start, _ in spans(placed(rpmsg_table(num=16), code))) >= POOL + 0x1000


def test_buffers_of_very_different_sizes_share_what_is_there() -> None:
    (device,) = placed(rpmsg_table(num=256, align=16), h2r_buf_size=0x10000, r2h_buf_size=17).vdevs
    assert device.r2h_buffers is not None
    assert device.h2r_buffers is not None
    assert (device.r2h_buffers.num > 1, device.h2r_buffers.num) == (True, 1)
    assert device.h2r_buffers.addresses()[-1] + device.h2r_buffers.size <= POOL + POOL_SIZE


def test_aliases_of_one_memory_are_one_memory() -> None:
    data = memoryview(bytearray(0x10000))
    aliased = MemoryMap([Region("shared", POOL, data, pool=True), Region("alias", 0x3000_0000, data)])
    asked = rpmsg_table(num=8)
    through_the_alias = FirmwareImage(
        name="a", format="elf32", segments=(Segment(da=0x3000_0000, size=0x4000, data=b"", va=0, name="bss"),)
    )
    placement = place(asked, through_the_alias, aliased)
    assert min(start for start, _ in spans(placement)) >= POOL + 0x4000
