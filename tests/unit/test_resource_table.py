"""Resource tables: parse, build, and the live view."""

from __future__ import annotations

import dataclasses
import re
import struct
import sys
import time
from typing import Any

import pytest

from openamp.errors import ResourceTableError
from openamp.resource_table import (
    ADDR_ANY,
    CARVEOUT,
    DEVMEM,
    HEADER,
    TRACE,
    VDEV,
    VRING,
    ByteOrder,
    Carveout,
    Devmem,
    Header,
    LiveTable,
    Opaque,
    ResourceTable,
    Trace,
    Vdev,
    Vring,
    rpmsg_table,
)

ORDERS: list[ByteOrder] = ["little", "big"]

STM32_VDEV = Vdev(7, 0, 1, 0, 0, (Vring(ADDR_ANY, 16, 16, 0), Vring(ADDR_ANY, 16, 16, 1)))
SAMPLE = ResourceTable(
    (
        Carveout(0x10040000, ADDR_ANY, 0x8000, 0, 0, "vdev0buffer"),
        Devmem(0x40000000, 0x40000000, 0x1000, 3, 0, "timers"),
        Trace(0x10050000, 0x1000, 0, "cm4_log"),
        STM32_VDEV,
        Opaque(128, struct.pack("<I4s", 4, b"\x01\x02\x03\x04")),
    )
)


def codes(table: ResourceTable) -> list[str]:
    return [w.code for w in table.warnings]


def raw(*words: int, tail: bytes = b"") -> bytes:
    return struct.pack(f"<{len(words)}I", *words) + tail


class TestRoundTrip:
    @pytest.mark.parametrize("order", ORDERS)
    def test_all_kinds(self, order: ByteOrder) -> None:
        table = dataclasses.replace(SAMPLE, byte_order=order)
        again = ResourceTable.parse(table.build(), order)
        assert again == table
        assert again.warnings == ()
        assert again.build() == table.build()

    def test_bytes_of_the_usual_table(self) -> None:
        table = rpmsg_table(num=4, align=16, vring_da=(0x1000, 0x2000), notifyids=(1, 2))
        vrings = raw(0x1000, 16, 4, 1, 0) + raw(0x2000, 16, 4, 2, 0)
        head = raw(1, 1, 0, 0, 20) + raw(3, 7, 0, 1, 0, 0) + bytes([0, 2, 0, 0])
        assert table.build() == head + vrings
        assert table.vdevs[0].vrings[1].da == 0x2000

    def test_big_endian_bytes(self) -> None:
        built = rpmsg_table(byte_order="big").build()
        assert built[:20] == struct.pack(">5I", 1, 1, 0, 0, 20)

    def test_config_space_and_reserved(self) -> None:
        vdev = STM32_VDEV._replace(config=b"\x01\x02\x03\x04\x05", reserved=b"ab", status=0x80)
        table = ResourceTable((vdev, Trace(0, 16)))
        assert ResourceTable.parse(table.build()) == table

    @pytest.mark.parametrize("kind", [4, 5, 6, 127, 128, 511, 512, 0xFFFFFFFF])
    def test_opaque_entries_survive(self, kind: int) -> None:
        table = ResourceTable((Opaque(kind, b"\x07\0\0\0abcdefg"), STM32_VDEV, Opaque(kind, b"xyz")))
        built = table.build()
        assert ResourceTable.parse(built) == table
        assert built.count(b"abcdefg") == 1
        assert table.offsets[1] % 4 == 0, "a known entry is aligned, whatever comes before it"

    def test_entry_off_a_word_boundary(self) -> None:
        custom = raw(5) + b"\x09" * 7
        vdev = rpmsg_table().build()[20:]
        data = raw(1, 2, 0, 0, 24, 24 + len(custom)) + custom + vdev
        table = ResourceTable.parse(data)
        assert table.offsets == (24, 35)
        assert table.entries[0] == Opaque(5, b"\x09" * 7)
        assert isinstance(table.entries[1], Vdev)
        assert table.build() == data

    def test_padding_and_stale_slots_and_tail_come_back_unchanged(self) -> None:
        vdev = rpmsg_table().build()[20:]
        data = raw(1, 1, 0, 0, 48, 0, 0x74, 0, 0, 0, 0, 0) + vdev + bytes(300)
        table = ResourceTable.parse(data)
        assert codes(table) == ["stale-offsets"]
        assert (table.warnings[0].offset, table.warnings[0].value) == (24, 0x74)
        assert table.build() == data

    def test_garbage_behind_a_name_comes_back_unchanged(self) -> None:
        data = bytearray(ResourceTable((Trace(0, 16, 0, "log"),)).build())
        data[-5:] = b"stale"
        table = ResourceTable.parse(data)
        assert table.traces[0].name == "log"
        assert table.build() == data

    def test_changed_table_is_built_anew(self) -> None:
        parsed = ResourceTable.parse(SAMPLE.build())
        fewer = dataclasses.replace(parsed, entries=parsed.entries[3:4], offsets=(), size=0)
        assert fewer.build() == ResourceTable((STM32_VDEV,)).build()

    def test_full_length_and_undecodable_names(self) -> None:
        table = ResourceTable((Trace(0, 16, 0, "x" * 32),))
        assert ResourceTable.parse(table.build()) == table
        data = table.build()[:-32] + b"\xff\xfe" + bytes(30)
        parsed = ResourceTable.parse(data)
        assert parsed.traces[0].name == "\\xff\\xfe"
        assert parsed.build() == data


class TestOddTables:
    def test_all_zero(self) -> None:
        table = ResourceTable.parse(bytes(64))
        assert (table.entries, table.version, codes(table)) == ((), 0, ["table-all-zero"])
        assert table.build() == bytes(64)

    def test_zero_length(self) -> None:
        table = ResourceTable.parse(b"")
        assert (table.entries, codes(table), table.build()) == ((), ["table-zero-length"], b"")

    def test_no_entries(self) -> None:
        table = ResourceTable.parse(raw(1, 0, 0, 0) + bytes(48))
        assert (table.entries, table.version, codes(table)) == ((), 1, [])

    def test_no_entries_but_stale_slots(self) -> None:
        assert codes(ResourceTable.parse(raw(1, 0, 0, 0, 0x14, 3, 7))) == ["stale-offsets"]

    def test_padding_before_the_first_entry(self) -> None:
        table = ResourceTable.parse(raw(1, 1, 0, 0, 44) + bytes(24) + rpmsg_table().build()[20:])
        assert codes(table) == []
        assert table.vdevs == rpmsg_table().vdevs

    def test_second_table_in_the_tail(self) -> None:
        data = rpmsg_table().build() + bytes(12)
        table = ResourceTable.parse(data + rpmsg_table().build())
        assert codes(table) == ["second-table"]
        assert table.warnings[0].offset == len(data)

    @pytest.mark.parametrize(
        ("ids", "warned"), [((0, 0), True), ((1, 1), True), ((0, 1), False), ((ADDR_ANY,) * 2, False)]
    )
    def test_duplicate_notifyids(self, ids: tuple[int, int], warned: bool) -> None:
        table = ResourceTable.parse(rpmsg_table(notifyids=ids).build())
        assert codes(table) == (["duplicate-notifyid"] if warned else [])
        if warned:
            assert (table.warnings[0].offset, table.warnings[0].value) == (20 + 28 + 20 + 12, ids[0])

    def test_reserved_words(self) -> None:
        data = bytearray(rpmsg_table().build())
        data[8] = 1
        table = ResourceTable.parse(data)
        assert codes(table) == ["reserved-not-zero"]
        assert table.build() == data

    def test_unknown_types_warn_and_vendor_types_do_not(self) -> None:
        table = ResourceTable((Opaque(4), Opaque(5), Opaque(128), Opaque(77)))
        assert codes(ResourceTable.parse(table.build())) == ["unknown-entry-type"]

    def test_overlapping_entries_warn(self) -> None:
        trace = ResourceTable((Trace(0, 16),)).build()[20:]
        for second in (24, 24 + 8):
            data = raw(1, 2, 0, 0, 24, second) + raw(2) + raw(0) + raw(2) + trace
            table = ResourceTable.parse(data)
            assert codes(table) == ["overlapping-entries"]
            assert len(table.entries) == 2
            assert table.build() == data


class TestRefusals:
    @pytest.mark.parametrize(
        ("data", "offset", "value", "words"),
        [
            (b"\1", 0, 1, "header"),
            (raw(2, 0, 0, 0), 0, 2, "version"),
            (raw(0, 1, 0, 0, 20), 0, 0, "version"),
            (struct.pack(">4I", 1, 0, 0, 0), 0, 0x01000000, "other byte order"),
            (raw(1, 0xFFFFFFFF, 0, 0, 20), 4, 0xFFFFFFFF, "num"),
            (raw(1, 2, 0, 0, 24), 4, 2, "num"),
            (raw(1, 1, 0, 0, 4, 0, 0), 16, 4, "offset[0]"),
            (raw(1, 1, 0, 0, 0xFFFFFFFF), 16, 0xFFFFFFFF, "offset[0]"),
            (raw(1, 1, 0, 0, 18, 0), 16, 18, "offset[0]"),
            (raw(1, 1, 0, 0, 20, 2, 0, 0), 20, 48, "truncated"),
            (raw(1, 1, 0, 0, 20, 0) + bytes(51), 20, 56, "truncated"),
            (raw(1, 1, 0, 0, 20, 3, 7, 0, 0, 0, 0) + b"\0\xff\0\0", 20, 28 + 255 * 20, "255 vrings"),
            (raw(1, 1, 0, 0, 20, 3, 7, 0, 0, 0, 0xFFFFFFFF) + bytes(4), 20, 28 + 0xFFFFFFFF, "config"),
        ],
    )
    def test_names_offset_and_value(self, data: bytes, offset: int, value: int, words: str) -> None:
        with pytest.raises(ResourceTableError) as caught:
            ResourceTable.parse(data)
        assert (caught.value.offset, caught.value.value) == (offset, value)
        assert words in str(caught.value)

    def test_absurd_number_of_entries_that_would_fit(self) -> None:
        with pytest.raises(ResourceTableError, match="num") as caught:
            ResourceTable.parse(raw(1, 0x10001, 0, 0) + bytes(0x100000))
        assert caught.value.value == 0x10001

    def test_many_overlapping_entries_cost_no_memory(self) -> None:
        size = 1 << 18
        num = size // 8
        data = struct.pack("<4I", 1, num, 0, 0) + struct.pack("<I", 16 + 4 * num) * num + b"\x80" + bytes(size // 2)
        begin = time.monotonic()
        with pytest.raises(ResourceTableError, match="overlap"):
            ResourceTable.parse(data)
        assert time.monotonic() - begin < 5

    @pytest.mark.parametrize(
        "entry",
        [
            Carveout(da=1 << 32),
            Carveout(len=-1),
            Trace(0, 0, 0, "x" * 33),
            Trace(0, 0, 0, "a\0b"),
            Trace(0, 0, 0, "\udc80"),
            Vdev(7, status=0x100),
            Vdev(7, vrings=(Vring(0, 0, 0, 0),) * 256),
            Vdev(7, vrings=(Vring(0, 0, 1 << 32, 0),)),
            Vdev(7, reserved=b""),
            Opaque(3, b""),
            Opaque(1 << 40),
        ],
    )
    def test_values_that_do_not_fit(self, entry: Any) -> None:
        with pytest.raises(ResourceTableError, match="entry 0"):
            ResourceTable((entry,)).build()

    def test_offsets_that_do_not_fit(self) -> None:
        with pytest.raises(ResourceTableError, match="one offset for each"):
            ResourceTable((Trace(0, 0),), offsets=(20, 80))
        with pytest.raises(ResourceTableError, match="overlaps"):
            ResourceTable((Trace(0, 0), Trace(0, 0)), offsets=(24, 40)).build()
        with pytest.raises(ResourceTableError, match="overlaps"):
            ResourceTable((Trace(0, 0),), offsets=(16,)).build()
        with pytest.raises(ResourceTableError, match="limit"):
            ResourceTable((Trace(0, 0),), offsets=(0xFFFFFF00,))
        with pytest.raises(ResourceTableError, match="version 0"):
            ResourceTable((Trace(0, 0),), version=0)


class TestLive:
    @pytest.mark.parametrize("order", ORDERS)
    def test_write_back(self, order: ByteOrder) -> None:
        table = dataclasses.replace(SAMPLE, byte_order=order)
        memory = bytearray(table.build() + b"beyond")
        live = LiveTable(memoryview(memory), table)
        vdev = live.vdevs[0]
        vdev.vrings[0].da, vdev.vrings[1].da = 0x10040000, 0x10041000
        vdev.vrings[0].notifyid, vdev.vrings[1].pa = 5, 0xDEADBEEF
        vdev.notifyid, vdev.gfeatures, vdev.status = 9, 1, 7
        live.carveouts[0].da, live.carveouts[0].pa = 0x10042000, 0x38042000
        now = ResourceTable.parse(memory[: table.size], order)
        assert now.vdevs[0] == STM32_VDEV._replace(
            notifyid=9,
            gfeatures=1,
            status=7,
            vrings=(Vring(0x10040000, 16, 16, 5, 0), Vring(0x10041000, 16, 16, 1, 0xDEADBEEF)),
        )
        assert now.carveouts[0] == table.carveouts[0]._replace(da=0x10042000, pa=0x38042000)
        assert (vdev.vrings[1].pa, vdev.status, vdev.dfeatures, live.traces[0].da) == (0xDEADBEEF, 7, 1, 0x10050000)
        live.reset()
        assert memory == table.build() + b"beyond"

    def test_remote_rewrites_the_table(self) -> None:
        memory = bytearray(SAMPLE.build())
        live = LiveTable(memoryview(memory), SAMPLE)
        memory[:] = b"\xff" * len(memory)
        vdev = live.vdevs[0]
        vdev.vrings[0].da = 0
        vdev.status = 0
        assert memory.count(0) == 5
        assert vdev.vrings[0].entry.num == 16

    def test_misaligned_entry(self) -> None:
        table = ResourceTable((Opaque(5, b"abc"), STM32_VDEV), offsets=(24, 31))
        memory = bytearray(table.build())
        live = LiveTable(memoryview(memory), table)
        live.vdevs[0].vrings[1].da = 0x12345678
        assert ResourceTable.parse(memory).vdevs[0].vrings[1].da == 0x12345678

    def test_config_space(self) -> None:
        table = rpmsg_table(config=b"\1\2\3\4")
        memory = bytearray(table.build())
        live = LiveTable(memoryview(memory), table)
        live.vdevs[0].config[1:3] = b"xy"
        assert memory.endswith(b"\1xy\4")

    def test_refusals(self) -> None:
        table = rpmsg_table()
        memory = memoryview(bytearray(table.build()))
        with pytest.raises(ResourceTableError, match="memory"):
            LiveTable(memory[:-1], table)
        live = LiveTable(memory, table)
        with pytest.raises(ResourceTableError, match="32-bit"):
            live.vdevs[0].vrings[0].da = 1 << 32
        with pytest.raises(ResourceTableError, match="8 bits"):
            live.vdevs[0].status = 256
        with pytest.raises(ResourceTableError, match="own"):
            live.reset(b"")
        assert bytes(memory) == table.build()

    def test_store_is_one_item(self) -> None:
        """A store must not go through zero or single bytes: the native order of the item is the table's."""
        table = rpmsg_table(byte_order="little" if sys.byteorder == "little" else "big")
        live = LiveTable(memoryview(bytearray(table.build())), table)
        assert not live.vdevs[0]._swap


@pytest.mark.parametrize(
    ("doc", "layout", "fields"),
    [
        (Carveout.__doc__, CARVEOUT, ("type", *Carveout._fields)),
        (Devmem.__doc__, DEVMEM, ("type", *Devmem._fields)),
        (Trace.__doc__, TRACE, ("type", *Trace._fields)),
        (Vring.__doc__, VRING, Vring._fields),
        (Vdev.__doc__, VDEV, ("type", *Vdev._fields[:4], "config_len", "status", "num_of_vrings", "reserved")),
        (Header.__doc__, HEADER, Header._fields),
    ],
    ids=["carveout", "devmem", "trace", "vring", "vdev", "header"],
)
def test_docstring_tables(doc: str, layout: struct.Struct, fields: tuple[str, ...]) -> None:
    rows = re.findall(r"^\s*\| (\d+) \| (\d+) \| (\w+) \|", doc, re.MULTILINE)
    assert tuple(name for _, _, name in rows) == fields
    assert re.search(rf"\b{layout.size} bytes", doc)
    items = re.findall(r"\d*s|[IB]", re.sub(r"(\d+)([IB])", lambda m: m[2] * int(m[1]), layout.format))
    at = 0
    for (offset, size, _), item in zip(rows, items, strict=True):
        assert (int(offset), int(size)) == (at, struct.calcsize("<" + item))
        at += int(size)
    assert at == layout.size
