"""Resource tables: any bytes give a value or an OpenAMPError, and what is built parses to the same."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from openamp.errors import OpenAMPError
from openamp.resource_table import (
    ByteOrder,
    Carveout,
    Devmem,
    Entry,
    LiveTable,
    Opaque,
    ResourceTable,
    Trace,
    Vdev,
    Vring,
)

u32 = st.one_of(st.integers(0, 0xFFFFFFFF), st.sampled_from([0, 1, 0xFFFFFFFF]))
orders: st.SearchStrategy[ByteOrder] = st.sampled_from(["little", "big"])
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
vrings = st.builds(Vring, u32, u32, u32, u32, u32)
entries: st.SearchStrategy[Entry] = st.one_of(
    st.builds(Carveout, u32, u32, u32, u32, u32, names),
    st.builds(Devmem, u32, u32, u32, u32, u32, names),
    st.builds(Trace, u32, u32, u32, names),
    st.builds(
        Vdev,
        u32,
        u32,
        u32,
        u32,
        st.integers(0, 255),
        st.lists(vrings, max_size=4).map(tuple),
        st.binary(max_size=9),
        st.binary(min_size=2, max_size=2),
    ),
    st.builds(Opaque, st.integers(4, 0xFFFFFFFF), st.binary(max_size=13)),
)
tables = st.builds(
    lambda items, order: ResourceTable(tuple(items), byte_order=order), st.lists(entries, max_size=6), orders
)


@given(tables)
def test_parse_inverts_build(table: ResourceTable) -> None:
    built = table.build()
    parsed = ResourceTable.parse(built, table.byte_order)
    assert parsed == table
    assert parsed.build() == built


@given(st.binary(max_size=200), orders)
def test_any_bytes(data: bytes, order: ByteOrder) -> None:
    try:
        table = ResourceTable.parse(data, order)
    except OpenAMPError:
        return
    assert table.build() == data


@given(tables, st.data())
def test_damaged_tables(table: ResourceTable, data: st.DataObject) -> None:
    image = bytearray(table.build())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(image) // 4 - 1)) * 4
        image[at : at + 4] = struct.pack("<I", data.draw(st.one_of(st.integers(0, 300), u32)))
    image = image[: data.draw(st.integers(0, len(image)))]
    try:
        parsed = ResourceTable.parse(image, table.byte_order)
    except OpenAMPError:
        return
    assert parsed.build() == image


@given(tables, st.randoms(use_true_random=False))
def test_live_table_stays_inside_whatever_the_remote_writes(table: ResourceTable, random: object) -> None:
    memory = bytearray(table.build() + b"\xa5" * 64)
    live = LiveTable(memoryview(memory), table)
    memory[: table.size] = random.randbytes(table.size)  # type: ignore[attr-defined]
    for vdev in live.vdevs:
        vdev.status, vdev.gfeatures, vdev.notifyid = 7, 1, 2
        for vring in vdev.vrings:
            vring.da, vring.notifyid, vring.pa = 3, 4, 5
            assert (vring.da, vring.notifyid, vring.pa) == (3, 4, 5)
        assert (vdev.status, vdev.gfeatures, vdev.notifyid) == (7, 1, 2)
    for carveout in live.carveouts:
        carveout.da, carveout.pa = 6, 7
        assert (carveout.da, carveout.pa) == (6, 7)
    assert memory[table.size :] == b"\xa5" * 64
