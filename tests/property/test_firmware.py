"""Images: building then parsing is identity; any bytes give an image or an ImageError; models agree."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Literal

import bincopy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from openamp.errors import AddressError, ImageError
from openamp.firmware import FirmwareImage, Segment, Symbol, load_image
from openamp.firmware.symbols import SymbolIndex
from openamp.memory import MemoryMap, Region
from openamp.testing import ElfSection, ElfSegment, ElfSymbol, build_elf

Bits = Literal[32, 64]
ByteOrder = Literal["little", "big"]

bits_of_files: st.SearchStrategy[Bits] = st.sampled_from([32, 64])
byte_orders: st.SearchStrategy[ByteOrder] = st.sampled_from(["little", "big"])
words = st.integers(0, 0xFFFFFFFF)
data = st.binary(max_size=40)
segments = st.builds(
    lambda da, data, extra, va, flags: ElfSegment(da, data, size=len(data) + extra, va=va, flags=flags),
    *(words, data, st.integers(0, 100), words, st.integers(0, 7)),
)
symbols = st.builds(
    ElfSymbol,
    st.text("abc_$.", min_size=1, max_size=5),
    words,
    words,
    st.integers(0, 15),
    st.integers(0, 2),
    st.just(1),
)
TABLE = struct.pack("<5I", 1, 1, 0, 0, 20) + struct.pack("<4I32s", 2, 0x10000000, 0x100, 0, b"trace")


def look_at(image: FirmwareImage) -> None:
    """Uses all that is read late."""
    assert all(str(item) for item in (repr(image), *image.warnings))
    for symbol in image.symbols:
        image.locate(symbol.address)
    memory = MemoryMap([Region("ram", 0x1000, bytearray(4096))])
    with suppress(AddressError):
        image.load(memory, allow_overlap=True)


def read(data: bytes, format: str | None = None) -> None:
    """Reads bytes that may be anything: only an ImageError with a remedy is allowed to come out."""
    refusal: ImageError | None = None
    try:
        look_at(load_image(data, format=format))
    except ImageError as error:
        refusal = error
    assert refusal is None or "; " in str(refusal)


@given(
    st.lists(segments, min_size=1, max_size=5),
    st.lists(symbols, max_size=5),
    st.none() | st.binary(max_size=80),
    words,
    st.integers(1, 0xFFFF),
    bits_of_files,
    byte_orders,
)
def test_building_then_parsing_is_identity(
    parts: list[ElfSegment],
    names: list[ElfSymbol],
    table: bytes | None,
    entry: int,
    machine: int,
    bits: Bits,
    byte_order: ByteOrder,
) -> None:
    elf = build_elf(
        *(parts,),
        symbols=names,
        resource_table=table,
        table_address=0x100000000 - 80,
        entry=entry,
        machine=machine,
        bits=bits,
        byte_order=byte_order,
    )
    image = load_image(elf)
    assert (image.format, image.byte_order, image.machine, image.entry) == (f"elf{bits}", byte_order, machine, entry)
    own = [part for part in parts if part.size]
    assert [(s.da, s.va, s.size, s.flags, bytes(s.data)) for s in image.segments[: len(own)]] == [
        (part.da, part.va, part.size, part.flags, part.data) for part in own
    ]
    if table and any(table):
        assert image.resource_table is not None
        assert (image.resource_table.data, image.resource_table.da) == (table, 0x100000000 - 80)
    else:
        assert image.resource_table is None
    assert {symbol.name for symbol in image.symbols} <= {name.name for name in names}
    look_at(image)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x7fELF", b"\x7fELF\1\1\1", b"\x7fELF\2\2\1", b":00", b"S1"]))
def test_any_bytes_give_an_image_or_an_image_error(rest: bytes, start: bytes) -> None:
    read(start + rest)


@given(
    bits_of_files,
    byte_orders,
    st.lists(
        st.tuples(
            st.integers(0, 2000),
            st.sampled_from("BHIQ"),
            st.sampled_from([0, 1, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 63, (1 << 64) - 1])
            | st.integers(0, 2000),
        ),
        min_size=1,
        max_size=6,
    ),
    st.none() | st.integers(0, 2000),
)
def test_damaged_elf_files_give_an_image_or_an_image_error(
    bits: Bits, byte_order: ByteOrder, damages: list[tuple[int, Literal["B", "H", "I", "Q"], int]], length: int | None
) -> None:
    elf = bytearray(
        build_elf(
            [
                ElfSegment(0x1000, bytes(range(64)), size=128),
                ElfSegment(0x1040, bytes(64)),
                ElfSegment(0x3000, size=64),
            ],
            resource_table=TABLE,
            sections=[ElfSection(".resource_table", type=8, size=64)],
            symbols=[
                ElfSymbol("main", 0x1001, 8),
                ElfSymbol("$t", 0x1000, type=0),
                ElfSymbol("buffer", 0x3000, type=1),
            ],
            bits=bits,
            byte_order=byte_order,
        )
    )
    for at, width, value in damages:
        size = struct.calcsize(width)
        at %= len(elf) - size
        elf[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, byte_order)
    read(bytes(elf[:length]))


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=8), st.integers(0, 90))
def test_the_symbol_index_agrees_with_a_plain_search(places: list[tuple[int, int]], address: int) -> None:
    table = [Symbol(f"s{number}", at, size) for number, (at, size) in enumerate(places)]
    found = SymbolIndex(table).find(address)
    covering = [s for s in table if s.size and s.address <= address < s.address + s.size]
    if covering:
        assert found is not None
        assert found in covering
        assert found.address == max(s.address for s in covering)
    elif found is not None:
        assert found.size == 0
        assert not any(found.address < s.address <= address for s in table)
    else:
        before = [s for s in table if s.address <= address]
        if before:
            last = max(s.address for s in before)
            assert any(s.size for s in before)
            covered = max(s.address + s.size for s in before)
            assert last < covered <= address or all(s.size for s in before if s.address == last)


@given(st.lists(st.tuples(st.integers(0, 90), data, st.integers(0, 20)), max_size=5))
def test_loading_agrees_with_a_plain_copy(parts: list[tuple[int, bytes, int]]) -> None:
    image = FirmwareImage(Segment(da, len(data) + extra, data, da) for da, data, extra in parts)
    memory = MemoryMap(Region(f"r{start}", start, bytearray(b"\xaa" * 50)) for start in (0, 50, 100))
    model, held = bytearray(b"\xaa" * 150), dict[int, int]()
    lost = False
    for da, data, extra in parts:
        for at, byte in enumerate(data + bytes(extra), da):
            lost |= held.get(at, byte) != byte
            model[at] = byte
            if at < da + len(data):
                held[at] = byte
    if lost:
        with pytest.raises(ImageError):
            image.load(memory)
    assert any(warning.code == "overlap" for warning in image.warnings) == lost
    image.load(memory, allow_overlap=True)
    assert b"".join(bytes(region.data) for region in memory) == model


@given(
    st.dictionaries(st.integers(0, 40).map(lambda block: block * 48), st.binary(min_size=1, max_size=48), min_size=1),
    st.sampled_from(["ihex", "srec"]),
    st.sampled_from([16, 24, 32]),
    words,
)
def test_hex_files_agree_with_bincopy(blocks: dict[int, bytes], kind: str, address_bits: int, entry: int) -> None:
    oracle = bincopy.BinFile()
    for address, content in blocks.items():
        oracle.add_binary(content, address)
    oracle.execution_start_address = entry % (1 << address_bits)
    text = oracle.as_ihex(16, 32) if kind == "ihex" else oracle.as_srec(16, address_bits)
    image = load_image(text.encode())
    assert image.format == kind
    assert [(s.da, bytes(s.data)) for s in image.segments] == [(s.address, bytes(s.data)) for s in oracle.segments]
    assert image.entry == oracle.execution_start_address


@given(
    st.lists(
        st.sampled_from([":0400000064617461", "60", ":00000001FF", ":", "S1", "S9030000FC", "\n", "\0", "é"]),
        max_size=9,
    )
)
def test_damaged_hex_files_give_an_image_or_an_image_error(parts: list[str]) -> None:
    for format in ("ihex", "srec"):
        read("".join(parts).encode("latin-1"), format)
