"""ELF files: every line of what to accept, to warn of and to refuse."""

from __future__ import annotations

import struct
import subprocess
import sys
from typing import Literal

import pytest

from openamp.errors import ImageError
from openamp.firmware import EM_AARCH64, EM_ARM, EM_RISCV, FirmwareImage, Segment, SegmentFlags, load_image
from openamp.firmware.elf import MAX_PROGRAM_HEADERS, MAX_SECTIONS
from openamp.memory import MemoryMap, Region
from openamp.testing import ElfSection, ElfSegment, ElfSymbol, build_elf

Bits = Literal[32, 64]
ByteOrder = Literal["little", "big"]

SHAPES: list[tuple[Bits, ByteOrder]] = [(32, "little"), (32, "big"), (64, "little"), (64, "big")]
CODE = bytes(range(1, 33))
TABLE = struct.pack("<5I", 1, 1, 0, 0, 20) + struct.pack("<4I32s", 2, 0x10000000, 0x100, 0, b"trace")
NOBITS = 8


def patched(elf: bytes, offset: int, layout: str, value: int) -> bytes:
    data = bytearray(elf)
    struct.pack_into(layout, data, offset, value)
    return bytes(data)


def codes(image: FirmwareImage) -> list[str]:
    return [warning.code for warning in image.warnings]


def refused(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(data)
    return caught.value


# What is read --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("bits", "byte_order"), SHAPES)
def test_both_classes_and_byte_orders(bits: Bits, byte_order: ByteOrder) -> None:
    order = "<" if byte_order == "little" else ">"
    table = struct.pack(f"{order}4I", 1, 0, 0, 0)
    elf = build_elf(
        [ElfSegment(0x1000, CODE, size=64, va=0x8000, flags=5), ElfSegment(0x2000, b"data", flags=6)],
        resource_table=table,
        symbols=[ElfSymbol("main", 0x8004, 8), ElfSymbol("state", 0x2000, 4, type=1)],
        entry=0x8004,
        machine=EM_RISCV,
        bits=bits,
        byte_order=byte_order,
    )
    image = load_image(elf)
    assert (image.format, image.byte_order, image.machine, image.entry) == (f"elf{bits}", byte_order, EM_RISCV, 0x8004)
    assert image.machine_name == "RISC-V"
    code, data, last = image.segments
    assert (code.da, code.va, code.size, bytes(code.data), code.flags) == (0x1000, 0x8000, 64, CODE, SegmentFlags(5))
    assert code.offset is not None
    assert elf[code.offset : code.offset + 32] == CODE
    assert (data.da, data.size, bytes(data.data), str(data.flags)) == (0x2000, 4, b"data", "RW-")
    assert last.end == last.da + len(table)
    assert image.resource_table is not None
    assert (image.resource_table.data, image.resource_table.da) == (table, last.da)
    assert image.locate(0x8006) == "main+0x2"
    assert image.symbol("state") is not None
    assert image.warnings == ()


def test_data_are_views_of_the_file() -> None:
    elf = build_elf([ElfSegment(0x1000, CODE)])
    data = load_image(elf).segments[0].data
    assert isinstance(data, memoryview)
    assert data.obj is elf
    assert data.readonly


def test_nothing_of_pyelftools_is_imported_before_the_first_elf() -> None:
    code = (
        "import sys, openamp.firmware as f\n"
        "f.load_image(b'\\0', format='raw', base=0)\n"
        "assert not {'elftools', 'bincopy', 'importlib.metadata'} & set(sys.modules), sorted(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})


# Accept --------------------------------------------------------------------------------------------------------


def test_accepts_an_unknown_machine() -> None:
    image = load_image(build_elf([ElfSegment(0, CODE)], machine=0x1234))
    assert (image.machine, image.machine_name) == (0x1234, "machine 0x1234")


@pytest.mark.parametrize(
    ("number", "name"), [(40, "Arm"), (183, "AArch64"), (94, "Xtensa"), (144, "TI PRU"), (1, "M32")]
)
def test_machines_have_names(number: int, name: str) -> None:
    image = load_image(build_elf([ElfSegment(0, CODE)], machine=number))
    assert (image.machine, image.machine_name) == (number, name)


def test_accepts_entry_0() -> None:
    assert load_image(build_elf([ElfSegment(0x1000, CODE)], entry=0)).entry == 0


def test_accepts_an_entry_outside_of_every_segment() -> None:
    assert load_image(build_elf([ElfSegment(0x1000, CODE)], entry=0xFFFF0000)).entry == 0xFFFF0000


def test_accepts_an_image_without_section_headers() -> None:
    image = load_image(build_elf([ElfSegment(0x1000, CODE)]))
    assert (image.resource_table, image.symbols, image.warnings) == (None, (), ())


def test_accepts_sections_without_a_table() -> None:
    elf = build_elf([ElfSegment(0x1000, CODE)], sections=[ElfSection(".comment", data=b".resource_table\0")])
    assert load_image(elf).resource_table is None


def test_accepts_a_table_without_entries_and_padding() -> None:
    table = struct.pack("<4I", 1, 0, 0, 0) + bytes(4080)
    image = load_image(build_elf([ElfSegment(0x1000, CODE)], resource_table=table))
    assert image.resource_table is not None
    assert image.resource_table.data == table
    assert image.warnings == ()


@pytest.mark.parametrize("flags", [0, 4, 7])
def test_accepts_read_only_and_rwx_segments(flags: int) -> None:
    image = load_image(build_elf([ElfSegment(0x1000, CODE, flags=flags)]))
    assert (image.segments[0].flags, image.warnings) == (flags, ())


def test_accepts_bss_only_segments() -> None:
    image = load_image(build_elf([ElfSegment(0x1000, CODE), ElfSegment(0x2000, size=0x100, offset=0xFFFF0000)]))
    assert (image.segments[1].size, len(image.segments[1].data)) == (0x100, 0)


def test_ignores_null_note_and_empty_segments() -> None:
    elf = build_elf(
        [
            ElfSegment(0x10, CODE, type=0),
            ElfSegment(0x20, CODE, type=4),
            ElfSegment(0x30, size=0, filled=16, offset=0xFFFFFFF0),
            ElfSegment(0x1000, CODE),
            ElfSegment(0x40, CODE, type=0x70000001),
        ]
    )
    image = load_image(elf)
    assert [segment.name for segment in image.segments] == ["LOAD 3"]
    assert image.warnings == ()


def test_accepts_a_segment_that_maps_the_headers() -> None:
    elf = build_elf([ElfSegment(0x1000, offset=0, filled=0x54, size=0x54)])
    assert bytes(load_image(elf).segments[0].data) == elf[:0x54]


def test_accepts_program_headers_with_room_between() -> None:
    elf = build_elf([ElfSegment(0x1000, CODE), ElfSegment(0x2000, CODE)])
    wide = bytearray(elf)
    first, second = elf[52:84], elf[84:116]
    at = len(wide)
    wide += first + bytes(8) + second + bytes(8)
    wide = bytearray(patched(patched(bytes(wide), 28, "<I", at), 42, "<H", 40))
    assert [segment.da for segment in load_image(bytes(wide)).segments] == [0x1000, 0x2000]


def test_an_image_that_loads_nothing_is_warned_of() -> None:
    image = load_image(build_elf([ElfSegment(0x1000, type=0)]))
    assert (image.segments, codes(image)) == ((), ["nothing-to-load"])


# The table's address -------------------------------------------------------------------------------------------


def test_the_table_is_where_its_segment_is_loaded() -> None:
    elf = build_elf(
        [ElfSegment(0x38000000, CODE + TABLE, va=0x10000000)],
        sections=[ElfSection(".resource_table", 0x10000000 + 32, size=len(TABLE), segment=0, at=32)],
    )
    image = load_image(elf)
    table = image.resource_table
    assert table is not None
    assert (table.da, table.section_address, table.loaded) == (0x38000020, 0x10000020, True)
    assert elf[table.offset or 0 :][: len(TABLE)] == table.data == TABLE
    (warning,) = image.warnings
    assert (warning.code, warning.value) == ("table-address", 0x10000020)
    assert "0x38000020" in str(warning)


def test_the_segment_that_agrees_with_the_section_wins() -> None:
    """A LOAD that maps the whole file, headers included, holds the table's bytes too."""
    elf = build_elf([ElfSegment(0x9000, size=0x400, filled=0x80, offset=0)], resource_table=TABLE, table_address=0x4000)
    image = load_image(elf)
    assert image.resource_table is not None
    assert image.resource_table.da == 0x4000
    assert image.warnings == ()


def test_a_table_outside_of_every_segment() -> None:
    elf = build_elf([ElfSegment(0x1000, CODE)], sections=[ElfSection(".resource_table", 0x5000, TABLE)])
    image = load_image(elf)
    assert image.resource_table is not None
    assert (image.resource_table.da, image.resource_table.loaded) == (0x5000, False)
    assert codes(image) == ["table-not-loaded"]


def test_a_table_in_the_bss_of_another_segment() -> None:
    elf = build_elf([ElfSegment(0x1000, CODE, size=0x1000)], resource_table=TABLE, table_address=0x1800)
    image = load_image(elf)
    assert codes(image) == ["table-in-bss"]
    memory = memory_at(0x1000, 0x1000)
    image.load(memory)
    assert memory.read(0x1800, len(TABLE)) == TABLE


def test_a_table_section_within_the_bss_of_its_own_segment() -> None:
    elf = build_elf(
        [ElfSegment(0x1000, CODE, size=0x1000, va=0x3000)], sections=[ElfSection(".resource_table", 0x3100, TABLE)]
    )
    image = load_image(elf)
    assert image.resource_table is not None
    assert (image.resource_table.da, image.resource_table.loaded) == (0x1100, False)
    assert codes(image) == ["table-not-loaded", "table-address", "table-in-bss"]


# Tables that are none ------------------------------------------------------------------------------------------


def test_a_nobits_table_is_never_read_from_the_file() -> None:
    section = ElfSection(".resource_table", 0x1000, size=len(TABLE), type=NOBITS, segment=0)
    image = load_image(build_elf([ElfSegment(0x1000, TABLE)], sections=[section]))
    assert image.resource_table is None
    assert [(w.code, w.value) for w in image.warnings] == [("table-nobits", 0x1000)]


def test_a_nobits_table_may_claim_any_size() -> None:
    section = ElfSection(".resource_table", 0x1000, size=0xFFFFFFFF, type=NOBITS)
    assert codes(load_image(build_elf([ElfSegment(0x1000, TABLE)], sections=[section]))) == ["table-nobits"]


def test_a_zero_length_table() -> None:
    image = load_image(build_elf([ElfSegment(0, CODE)], sections=[ElfSection(".resource_table", 0x20)]))
    assert image.resource_table is None
    assert codes(image) == ["table-zero-length"]


def test_an_all_zero_table() -> None:
    image = load_image(build_elf([ElfSegment(0, CODE)], resource_table=bytes(64), table_address=0x40))
    assert image.resource_table is None
    assert [(w.code, w.value) for w in image.warnings] == [("table-all-zero", 0x40)]


def test_a_second_table_section() -> None:
    second = ElfSection(".resource_table", 0x9000, TABLE)
    elf = build_elf(
        [ElfSegment(0x1000, TABLE)], sections=[ElfSection(".resource_table", 0x1000, size=68, segment=0), second]
    )
    image = load_image(elf)
    assert image.resource_table is not None
    assert image.resource_table.da == 0x1000
    assert [(w.code, w.value) for w in image.warnings] == [("second-table", 0x9000)]


@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_a_second_table_in_the_tail(byte_order: ByteOrder) -> None:
    order = "<" if byte_order == "little" else ">"
    table = struct.pack(f"{order}5I", 1, 1, 0, 0, 20) + struct.pack(f"{order}4I32s", 2, 0x10000000, 0x100, 0, b"trace")
    section = table.ljust(128, b"\0") + table + bytes(60)
    image = load_image(
        build_elf([ElfSegment(0, CODE)], resource_table=section, table_address=0x100, byte_order=byte_order)
    )
    assert [(w.code, w.value) for w in image.warnings] == [("second-table", 0x180)]
    assert image.resource_table is not None
    assert image.resource_table.data == section


def test_a_vring_that_looks_like_a_version_is_no_second_table() -> None:
    vdev = struct.pack("<6I4B", 3, 7, 0, 1, 0, 0, 0, 2, 0, 0)
    vrings = struct.pack("<10I", 0xFFFFFFFF, 4096, 256, 1, 0, 0xFFFFFFFF, 4096, 1, 2, 0)
    table = struct.pack("<5I", 1, 1, 0, 0, 20) + vdev + vrings + bytes(128)
    assert load_image(build_elf([ElfSegment(0, CODE)], resource_table=table)).warnings == ()


# Overlaps ------------------------------------------------------------------------------------------------------


def test_overlapping_file_bytes_are_warned_of_and_not_loaded() -> None:
    image = load_image(build_elf([ElfSegment(0x1000, CODE), ElfSegment(0x1010, b"\xff" * 32)]))
    (warning,) = image.warnings
    assert (warning.code, warning.value, warning.offset) == ("overlap", 0x1010, image.segments[1].offset)
    memory = memory_at(0x1000, 0x100)
    with pytest.raises(ImageError, match=r"LOAD 1 .*overwrites 0x1010\.\.0x1020 of segment LOAD 0.*linker script"):
        image.load(memory)
    assert memory.read(0x1000, 0x100) == b"\xaa" * 0x100
    image.load(memory, allow_overlap=True)
    assert memory.read(0x1000, 0x30) == CODE[:16] + b"\xff" * 32


def test_code_and_data_memories_with_the_same_addresses() -> None:
    """PRU: IRAM and DRAM are both at 0, told apart only by the execute flag."""
    image = load_image(
        build_elf([ElfSegment(0, CODE, flags=5), ElfSegment(0, b"data", size=0x100, flags=6)], machine=144)
    )
    assert [(w.code, w.value) for w in image.warnings] == [("overlap-code-data", 0)]


def test_zeros_over_file_bytes_are_an_overlap() -> None:
    image = load_image(build_elf([ElfSegment(0x1010, CODE), ElfSegment(0x1000, CODE[:16], size=0x20)]))
    assert codes(image) == ["overlap"]


def test_harmless_overlaps_are_no_overlaps() -> None:
    zero_over_zero = build_elf([ElfSegment(0x1000, CODE, size=0x100), ElfSegment(0x1080, size=0x100)])
    file_over_zero = build_elf([ElfSegment(0x1000, CODE, size=0x100), ElfSegment(0x1080, CODE)])
    equal_bytes = build_elf([ElfSegment(0x1000, CODE), ElfSegment(0x1010, CODE[16:])])
    zeros_of_the_file = build_elf([ElfSegment(0x1000, bytes(16)), ElfSegment(0x1000, size=16)])
    neighbours = build_elf([ElfSegment(0x1020, CODE), ElfSegment(0x1000, CODE)])
    for elf in (zero_over_zero, file_over_zero, equal_bytes, zeros_of_the_file, neighbours):
        image = load_image(elf)
        assert image.warnings == ()
        image.load(memory_at(0x1000, 0x1000))


# Refuse --------------------------------------------------------------------------------------------------------


def test_refuses_every_truncation() -> None:
    elf = build_elf([ElfSegment(0x1000, CODE)], resource_table=TABLE, symbols=[ElfSymbol("main", 0x1000)])
    for length in range(len(elf)):
        error = refused(elf[:length])
        if length >= 4:
            assert error.offset is not None
            assert error.value is not None
            assert "cut off" in str(error)


def test_refuses_segments_past_the_end_and_names_split_images() -> None:
    error = refused(build_elf([ElfSegment(0x1000, CODE), ElfSegment(0x2000, offset=0x5000, filled=0x100, size=0x100)]))
    assert (error.offset, error.value) == (52 + 32 + 4, 0x5000)
    assert ".mdt" in str(error)
    assert "0x5000..0x5100" in str(error)


@pytest.mark.parametrize(("bits", "byte_order"), SHAPES)
def test_the_named_offset_is_that_of_the_named_value(bits: Bits, byte_order: ByteOrder) -> None:
    def build(segment: ElfSegment) -> bytes:
        return build_elf([ElfSegment(0, CODE), segment], bits=bits, byte_order=byte_order)

    width = bits // 8
    for elf in (build(ElfSegment(0, offset=0x4321, filled=5, size=5)), build(ElfSegment(0, filled=0x4321, size=5))):
        error = refused(elf)
        assert error.offset is not None
        assert error.value == 0x4321 == int.from_bytes(elf[error.offset : error.offset + width], byte_order)
        assert "offset 0x" in str(error)
        assert "value 0x4321" in str(error)


def test_refuses_more_bytes_in_the_file_than_in_memory() -> None:
    assert refused(build_elf([ElfSegment(0, CODE, size=16)])).value == 32


@pytest.mark.parametrize(("offset", "what"), [(4, "class"), (5, "byte order")])
@pytest.mark.parametrize("value", [0, 3, 255])
def test_refuses_a_wrong_identification(offset: int, what: str, value: int) -> None:
    error = refused(patched(build_elf([ElfSegment(0, CODE)]), offset, "B", value))
    assert (error.offset, error.value) == (offset, value)
    assert what in str(error)


def test_refuses_object_files() -> None:
    error = refused(build_elf(sections=[ElfSection(".text", data=CODE)], type=1))
    assert error.offset == 44
    assert "not linked" in str(error)


def test_refuses_a_table_section_past_the_end() -> None:
    error = refused(build_elf([ElfSegment(0, CODE)], sections=[ElfSection(".resource_table", 0, TABLE, size=0x10000)]))
    assert ".resource_table" in str(error)


@pytest.mark.parametrize("bits", [32, 64])
def test_refuses_names_past_the_end(bits: Bits) -> None:
    elf = build_elf([ElfSegment(0, CODE)], resource_table=TABLE, bits=bits)
    layout, size = ("<I", 40) if bits == 32 else ("<Q", 64)
    (headers,) = struct.unpack_from(layout, elf, 32 if bits == 32 else 40)
    field = headers + 2 * size + (16 if bits == 32 else 24)
    error = refused(patched(elf, field, layout, 0x7FFFFFFF))
    assert (error.offset, error.value) == (field, 0x7FFFFFFF)


@pytest.mark.parametrize(
    ("bits", "offset", "layout", "value"),
    [
        (32, 28, "<I", 0xFFFFFFFF),  # e_phoff
        (32, 32, "<I", 0xFFFFFFFF),  # e_shoff
        (32, 42, "<H", 31),  # e_phentsize
        (32, 44, "<H", 0),  # e_phnum
        (32, 44, "<H", 0xFFFF),
        (32, 46, "<H", 0),  # e_shentsize
        (32, 48, "<H", 0xFFFF),  # e_shnum
        (32, 50, "<H", 0xFFF0),  # e_shstrndx
        (64, 32, "<Q", 0xFFFFFFFFFFFFFFFF),
        (64, 40, "<Q", 0xFFFFFFFFFFFFFFFF),
        (64, 54, "<H", 55),
        (64, 56, "<H", 0xFFFF),
        (64, 58, "<H", 63),
        (64, 60, "<H", 0xFFFF),
    ],
)
def test_refuses_hostile_headers(bits: Bits, offset: int, layout: str, value: int) -> None:
    elf = build_elf([ElfSegment(0x1000, CODE)], resource_table=TABLE, bits=bits)
    error = refused(patched(elf, offset, layout, value))
    assert error.offset == offset
    assert ";" in str(error)


def test_refuses_absurd_numbers_of_headers_quickly() -> None:
    many = bytes(32 * 0xFFFF)
    error = refused(patched(patched(build_elf() + many, 28, "<I", 52), 44, "<H", 0xFFFF))
    assert error.value == 0xFFFF > MAX_PROGRAM_HEADERS
    elf = build_elf([ElfSegment(0, CODE)], resource_table=TABLE)
    error = refused(patched(patched(elf + bytes(40 * 0xFFFE), 32, "<I", len(elf)), 48, "<H", 0xFFFE))
    assert error.value == 0xFFFE > MAX_SECTIONS


def test_refuses_a_load_address() -> None:
    with pytest.raises(ImageError, match="leave base out") as caught:
        load_image(build_elf([ElfSegment(0, CODE)]), base=0x1000)
    assert caught.value.value == 0x1000


def test_refuses_what_is_no_elf_at_all() -> None:
    with pytest.raises(ImageError, match="is no ELF file: it starts with 00 01 02 03"):
        load_image(bytes(range(64)), format="elf")
    with pytest.raises(ImageError, match="starts with nothing"):
        load_image(b"", format="elf")


def test_sections_without_names_or_count() -> None:
    elf = build_elf([ElfSegment(0, CODE)], resource_table=TABLE)
    assert codes(load_image(patched(elf, 50, "<H", 0))) == ["sections-unusable"]
    assert codes(load_image(patched(elf, 48, "<H", 0))) == ["sections-unusable"]


def test_the_extended_index_of_the_names() -> None:
    elf = build_elf([ElfSegment(0, CODE)], resource_table=TABLE)
    (headers,), (names,) = struct.unpack_from("<I", elf, 32), struct.unpack_from("<H", elf, 50)
    elf = patched(patched(elf, 50, "<H", 0xFFFF), headers + 24, "<I", names)
    assert load_image(elf).resource_table is not None


# Symbols -------------------------------------------------------------------------------------------------------


def test_thumb_bit_and_mapping_symbols() -> None:
    elf = build_elf(
        [ElfSegment(0x8000, bytes(range(256)))],
        symbols=[
            ElfSymbol("$t", 0x8000, type=0, binding=0),
            ElfSymbol("$d.7", 0x8008, type=0, binding=0),
            ElfSymbol(".L12", 0x8004, type=0, binding=0),
            ElfSymbol("start.c", 0, type=4, binding=0, section=0xFFF1),
            ElfSymbol("", 0x8000, type=3, binding=0),
            ElfSymbol("printf", 0, section=0),
            ElfSymbol("main", 0x8001, 16),
            ElfSymbol("stack_size", 0x8010, type=0, section=0xFFF1),
            ElfSymbol("$tart", 0x8040, type=0),
            ElfSymbol("_ZN3foo3barEv", 0x8081, 4),
        ],
    )
    image = load_image(elf)
    assert [symbol.name for symbol in image.symbols] == ["main", "stack_size", "$tart", "_ZN3foo3barEv"]
    main = image.symbol("main")
    assert main is not None
    assert (main.address, main.size, main.kind.value) == (0x8000, 16, "function")
    assert image.symbol("nothing") is None
    assert image.locate(0x8000) == image.locate(0x8001) == "main"
    assert image.locate(0x8005) == "main+0x4"
    assert image.locate(0x8010) == ""
    assert image.locate(0x8050) == "$tart+0x10"
    assert image.locate(0x8082) == "_ZN3foo3barEv+0x2"
    assert image.locate(0x9000) == ""


def test_the_end_of_a_section_does_not_hide_what_begins_there() -> None:
    sections = [ElfSection(".text", 0x1000, size=32, segment=0), ElfSection(".stack", 0xF00, size=0x100, type=NOBITS)]
    symbols = [ElfSymbol("_start", 0x1000, type=0), ElfSymbol("stack_top", 0x1000, type=0, section=2)]
    image = load_image(build_elf([ElfSegment(0x1000, CODE)], sections=sections, symbols=symbols, machine=EM_RISCV))
    assert image.locate(0x1002) == "_start+0x2"
    mark = image.symbol("stack_top")
    assert mark is not None
    assert (mark.address, mark.kind.value) == (0x1000, "mark")


@pytest.mark.parametrize("machine", [EM_AARCH64, EM_RISCV])
def test_mapping_symbols_of_other_machines(machine: int) -> None:
    names = ["$x", "$d", "$x.3", "$xrv64i2p1_m2p0", "$start"]  # the last one is somebody's own
    symbols = [ElfSymbol(name, 0x1001 if name == "$start" else 0x1000, type=0, binding=0) for name in names]
    image = load_image(build_elf([ElfSegment(0x1000, CODE)], symbols=symbols, machine=machine))
    assert [symbol.name for symbol in image.symbols] == ["$start"]
    assert image.locate(0x1001) == "$start"


def test_odd_addresses_are_kept_where_there_is_no_thumb() -> None:
    image = load_image(build_elf([ElfSegment(0, CODE)], symbols=[ElfSymbol("f", 1, 8)], machine=EM_RISCV))
    assert image.locate(4) == "f+0x3"


def test_global_names_win_over_local_ones() -> None:
    symbols = [ElfSymbol("init", 0x20, 4), ElfSymbol("init", 0x10, 4, binding=0)]
    image = load_image(build_elf([ElfSegment(0, CODE)], symbols=symbols))
    symbol = image.symbol("init")
    assert symbol is not None
    assert symbol.address == 0x20


@pytest.mark.parametrize(
    ("field", "value"), [(16, 0xFFFFFF00), (20, 0xFFFFFF00), (24, 0xFFFFFFFF), (36, 0), (36, 1), (36, 0xFFFFFFFF)]
)
def test_broken_symbol_tables_only_cost_the_symbols(field: int, value: int) -> None:
    elf = build_elf([ElfSegment(0, CODE)], symbols=[ElfSymbol("main", 0, 8)])
    (headers,) = struct.unpack_from("<I", elf, 32)
    image = load_image(patched(elf, headers + 40 + field, "<I", value))
    assert image.symbols == ()
    assert codes(image) == ["symbols-unusable"]


def test_names_that_share_one_endless_string_stay_cheap() -> None:
    count = 20_000
    strings = b"a" * 200_000
    symbols = struct.pack("<IIIBBH", 1, 0x10, 4, 0x12, 0, 1) * count
    elf = bytearray(build_elf([ElfSegment(0, CODE)], symbols=[ElfSymbol("main", 0, 8)]))
    (headers,) = struct.unpack_from("<I", elf, 32)
    struct.pack_into("<II", elf, headers + 40 + 16, len(elf), len(symbols))
    elf += symbols
    struct.pack_into("<II", elf, headers + 80 + 16, len(elf), len(strings))
    elf += strings
    image = load_image(bytes(elf))
    assert sum(len(symbol.name) for symbol in image.symbols) <= 4 * len(strings) + 65536


# Loading -------------------------------------------------------------------------------------------------------


def memory_at(da: int, size: int) -> MemoryMap:
    return MemoryMap([Region("ram", da, bytearray(b"\xaa" * size))])


def test_the_rest_of_a_segment_is_filled_with_zeros() -> None:
    memory = memory_at(0x1000, 0x30000)
    load_image(build_elf([ElfSegment(0x1100, CODE, size=0x20000)])).load(memory)
    assert memory.read(0x1000, 0x100) == b"\xaa" * 0x100
    assert memory.read(0x1100, 0x20000) == CODE + bytes(0x20000 - 32)
    assert memory.read(0x21100, 1) == b"\xaa"


def test_a_huge_zero_fill_allocates_nothing_and_is_refused_by_load() -> None:
    from openamp.errors import AddressError

    image = load_image(build_elf([ElfSegment(0x1000, CODE, size=0xFFFFFFFF)]))
    assert isinstance(image.segments[0], Segment)
    memory = memory_at(0x1000, 0x100)
    with pytest.raises(
        AddressError, match=r"LOAD 0 needs 0x1000\.\.0x100000fff .*no memory at 0x1100.*ram 0x1000"
    ) as caught:
        image.load(memory)
    assert (caught.value.da, caught.value.size) == (0x1000, 0xFFFFFFFF)
    assert memory.read(0x1000, 0x100) == b"\xaa" * 0x100
    wide = load_image(build_elf([ElfSegment(0, CODE, size=0xFFFFFFFFFFFFFFFF)], bits=64))
    with pytest.raises(AddressError):
        wide.load(memory)


def test_elf_bytes_can_be_loaded_as_they_are() -> None:
    elf = build_elf([ElfSegment(0x1000, CODE)], machine=EM_ARM)
    image = load_image(elf, format="raw", base=0x4000)
    assert (image.format, image.segments[0].da, bytes(image.segments[0].data)) == ("raw", 0x4000, elf)
