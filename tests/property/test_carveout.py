"""Whatever a table asks for: nothing that is placed lies over something else, or the error is ours."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from openamp.carveout import Placement, place
from openamp.errors import OpenAMPError
from openamp.firmware import FirmwareImage, Segment, TableSection
from openamp.memory import MemoryMap, Region
from openamp.resource_table import ADDR_ANY, Carveout, Devmem, Entry, ResourceTable, Trace, Vdev, Vring
from openamp.virtio.device import vring_size

CODE, SHARED, ALIAS = 0x1000, 0x9000, 0x20000
END = SHARED + 0x8000

addresses = st.one_of(
    st.just(ADDR_ANY), st.just(ADDR_ANY), st.integers(CODE, END - 0x600).map(lambda da: da & ~0x3F), st.integers(0, END)
)
names = st.sampled_from(["vdev0vring0", "vdev0vring1", "vdev0buffer", "vdev1buffer", "heap", ""])
sizes = st.one_of(*[st.integers(1, 0x600)] * 8, st.integers(0, 0x4000), st.just(0xFFFFFFFF))
ids = st.one_of(st.integers(0, 3), st.just(ADDR_ANY))
aligns = st.sampled_from([4, 16, 16, 16, 64, 64, 64, 4096, 0, 1])
numbers = st.sampled_from([1, 2, 4, 4, 4, 8, 8, 16, 0, 100])
vrings = st.builds(Vring, addresses, aligns, numbers, ids, st.just(0))
entries = st.one_of(
    st.builds(lambda da, size, name: Carveout(da=da, len=size, name=name), addresses, sizes, names),
    st.builds(lambda da: Devmem(da, da, 0x1000), addresses),
    st.builds(Trace, addresses, sizes, st.just(0), st.just("log")),
    st.builds(
        lambda kind, nid, rings: Vdev(kind, nid, 1, vrings=tuple(rings)),
        st.sampled_from([7, 7, 7, 3]),
        ids,
        st.lists(vrings, min_size=2, max_size=2),
    ),
)


def memory() -> MemoryMap:
    """Code, and behind it without a gap the pool, which has an alias."""
    pool = memoryview(bytearray(END - SHARED))
    code = memoryview(bytearray(SHARED - CODE))
    return MemoryMap(
        [Region("code", CODE, code), Region("shared", SHARED, pool, pool=True), Region("alias", ALIAS, pool)]
    )


def where(da: int, size: int) -> tuple[int, int]:
    """The range in one address space: what is in the alias is in the pool."""
    start = da - ALIAS + SHARED if da >= ALIAS else da
    return start, start + size


def check(table: ResourceTable, image: FirmwareImage, placement: Placement) -> None:
    map_ = memory()
    placed: list[tuple[int, int]] = []
    for vdev in placement.vdevs:
        for asked, ring in zip(vdev.vdev.vrings, vdev.vrings, strict=True):
            assert map_.find(ring.da, ring.size) is not None
            assert ring.size == vring_size(ring.num, ring.align)
            assert ring.da % ring.align == 0
            assert asked.da in (ADDR_ANY, 0, ring.da)
            placed.append(where(ring.da, ring.size))
        pools = [pool for pool in (vdev.r2h_buffers, vdev.h2r_buffers) if pool is not None]
        assert len(pools) == (2 if vdev.vdev.id == 7 else 0)
        for pool in pools:
            assert pool.num >= 1
            assert map_.find(pool.da, pool.num * pool.size) is not None
            placed.append(where(pool.da, pool.num * pool.size))
    anywhere = [c for c in placement.carveouts if table.entries[c.entry][0] == ADDR_ANY]
    named = [c for c in anywhere if c.name.startswith("vdev")]
    placed += [where(c.da, c.size) for c in anywhere if c not in named]  # the others hold rings and buffers
    section = image.resource_table
    assert section is not None
    used = len(table.build())
    for (_, end), (start, _) in itertools.pairwise(sorted([*placed, where(section.da, used)])):
        assert end <= start
    notify_ids = [ring.notify_id for vdev in placement.vdevs for ring in vdev.vrings]
    assert len(set(notify_ids)) == len(notify_ids)
    for one in named:
        for other in anywhere:
            (start, end), (first, behind) = where(one.da, one.size), where(other.da, other.size)
            assert one is other or end <= first or behind <= start


@given(
    st.lists(entries, max_size=6),
    st.integers(CODE, END).map(lambda da: da & ~3),
    st.integers(0, 0x2000),
    st.sampled_from([17, 64, 512, 4096]),
    st.booleans(),
)
def test_what_is_placed_is_apart(wanted: list[Entry], da: int, bss: int, size: int, through_alias: bool) -> None:
    table = ResourceTable(tuple(wanted))
    data = table.build()
    if through_alias and da >= SHARED:
        da = da - SHARED + ALIAS
    segment = Segment(da=da, size=len(data) + bss, data=data, va=da)
    image = FirmwareImage(name="any", segments=(segment,), resource_table=TableSection(data=data, da=da))
    try:
        placement = place(table, image, memory(), h2r_buf_size=size, r2h_buf_size=64)
    except OpenAMPError:
        return
    check(table, image, placement)
