"""Builds small ELF files for tests: sound ones in one line, and broken ones on purpose.

```python
image = load_image(build_elf([ElfSegment(0x1000_0000, code)], resource_table=rpmsg_table().build()))
```
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from openamp.firmware import EM_ARM, SegmentFlags

__all__ = ["ElfSection", "ElfSegment", "ElfSymbol", "build_elf"]

PT_LOAD = 1
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_NOBITS = 1, 2, 3, 8
SHF_ALLOC = 2
ET_EXEC = 2
STT_FUNC = 2
STB_LOCAL, STB_GLOBAL = 0, 1


@dataclass(frozen=True, slots=True)
class ElfSegment:
    """A program header and what it loads.

    Attributes:
        da: p_paddr.
        data: bytes put into the file.
        size: p_memsz; by default the length of `data`.
        va: p_vaddr; by default `da`.
        flags: p_flags.
        type: p_type.
        offset: p_offset to claim; by default where the builder puts `data`.
        filled: p_filesz to claim; by default the length of `data`.
    """

    da: int
    data: bytes = b""
    size: int | None = None
    va: int | None = None
    flags: int = SegmentFlags.R | SegmentFlags.X
    type: int = PT_LOAD
    offset: int | None = None
    filled: int | None = None


@dataclass(frozen=True, slots=True)
class ElfSection:
    """A section header and its bytes.

    Attributes:
        name: its name.
        address: sh_addr.
        data: bytes put into the file, unless `segment` is given.
        size: sh_size; by default the length of `data`.
        type: sh_type.
        flags: sh_flags.
        segment: index of the segment whose data hold the section's bytes, or None.
        at: where in that segment's data.
    """

    name: str
    address: int = 0
    data: bytes = b""
    size: int | None = None
    type: int = SHT_PROGBITS
    flags: int = SHF_ALLOC
    segment: int | None = None
    at: int = 0


@dataclass(frozen=True, slots=True)
class ElfSymbol:
    """An entry of the symbol table.

    Attributes:
        name: its name.
        address: st_value.
        size: st_size.
        type: st_type (0 none, 1 object, 2 function, 3 section, 4 file).
        binding: st_bind (0 local, 1 global, 2 weak).
        section: st_shndx (0 undefined, 0xFFF1 absolute).
    """

    name: str
    address: int
    size: int = 0
    type: int = STT_FUNC
    binding: int = STB_GLOBAL
    section: int = 1


def build_elf(
    segments: Sequence[ElfSegment] = (),
    *,
    sections: Sequence[ElfSection] = (),
    symbols: Sequence[ElfSymbol] = (),
    resource_table: bytes | None = None,
    table_address: int | None = None,
    entry: int | None = None,
    machine: int = EM_ARM,
    bits: Literal[32, 64] = 32,
    byte_order: Literal["little", "big"] = "little",
    type: int = ET_EXEC,
) -> bytes:
    """Returns an ELF file.

    Args:
        segments: program headers, in order.
        sections: further sections; without any, and without symbols and table, there are no section headers.
        symbols: entries of .symtab; local ones are put first, as ELF wants it.
        resource_table: its bytes; they get a segment (after the others) and a section of their own.
        table_address: where it is loaded; by default behind the last segment, 16-byte aligned.
        entry: e_entry; by default the first segment's address.
        machine: e_machine.
        bits: 32 or 64.
        byte_order: of the headers.
        type: e_type.
    """
    headers, extra = list(segments), list(sections)
    if resource_table is not None:
        if table_address is None:
            table_address = max(
                (s.da + (len(s.data) if s.size is None else s.size) + 15 & ~15 for s in headers), default=0
            )
        extra.append(ElfSection(".resource_table", table_address, size=len(resource_table), segment=len(headers)))
        headers.append(ElfSegment(table_address, resource_table, flags=SegmentFlags.R | SegmentFlags.W))
    if entry is None:
        entry = headers[0].da if headers else 0
    return _Writer(bits, byte_order).build(headers, extra, symbols, entry, machine, type)


class _Writer:
    def __init__(self, bits: Literal[32, 64], byte_order: Literal["little", "big"]) -> None:
        self.bits = bits
        self.byte_order = byte_order
        self.order = "<" if byte_order == "little" else ">"
        self.ehdr, self.phdr, self.shdr = (52, 32, 40) if bits == 32 else (64, 56, 64)
        self.body = bytearray()
        self.start = 0

    def pack(self, layout: str, *values: int) -> bytes:
        """Packs integers; "N" is a number of the file's class."""
        return struct.pack(self.order + layout.replace("N", "I" if self.bits == 32 else "Q"), *values)

    def put(self, data: bytes) -> int:
        """Appends bytes, 16-byte aligned, and returns their file offset."""
        self.body += bytes(-len(self.body) % 16)
        offset = self.start + len(self.body)
        self.body += data
        return offset

    def build(
        self,
        segments: Sequence[ElfSegment],
        sections: Sequence[ElfSection],
        symbols: Sequence[ElfSymbol],
        entry: int,
        machine: int,
        type: int,
    ) -> bytes:
        self.start = self.ehdr + self.phdr * len(segments)
        self.start += -self.start % 16
        offsets = [self.put(segment.data) for segment in segments]
        program = b"".join(self.program_header(s, at) for s, at in zip(segments, offsets, strict=True))
        table, count = b"", 0
        if sections or symbols:
            rows = self.section_headers(sections, symbols, offsets)
            table, count = b"".join(rows), len(rows)
        table_offset = self.put(table) if table else 0
        ident = b"\x7fELF" + bytes([self.bits // 32, 1 if self.byte_order == "little" else 2, 1]) + bytes(9)
        header = ident + self.pack(
            "HHINNNIHHHHHH",
            *(type, machine, 1, entry, self.ehdr if segments else 0, table_offset, 0),
            *(self.ehdr, self.phdr, len(segments), self.shdr, count, max(count - 1, 0)),
        )
        return (header + program).ljust(self.start, b"\0") + bytes(self.body)

    def program_header(self, segment: ElfSegment, at: int) -> bytes:
        offset = at if segment.offset is None else segment.offset
        va = segment.da if segment.va is None else segment.va
        filled = len(segment.data) if segment.filled is None else segment.filled
        size = len(segment.data) if segment.size is None else segment.size
        if self.bits == 32:
            return self.pack("8I", segment.type, offset, va, segment.da, filled, size, segment.flags, 1)
        return self.pack("IIQQQQQQ", segment.type, segment.flags, offset, va, segment.da, filled, size, 1)

    def section_headers(
        self, sections: Sequence[ElfSection], symbols: Sequence[ElfSymbol], segments: Sequence[int]
    ) -> list[bytes]:
        """Puts the sections' bytes and returns the headers: null, the sections, symbols, strings, names."""
        names = bytearray(b"\0")

        def row(
            name: str,
            type: int,
            offset: int,
            size: int,
            *,
            flags: int = 0,
            at: int = 0,
            link: int = 0,
            info: int = 0,
            entry: int = 0,
        ) -> bytes:
            name_at = len(names)
            names.extend(name.encode() + b"\0")
            return self.pack("IINNNNIINN", name_at, type, flags, at, offset, size, link, info, 1, entry)

        rows = [bytes(self.shdr)]
        for section in sections:
            offset = self.put(section.data) if section.segment is None else segments[section.segment] + section.at
            size = len(section.data) if section.size is None else section.size
            rows.append(row(section.name, section.type, offset, size, flags=section.flags, at=section.address))
        if symbols:
            symbols = sorted(symbols, key=lambda symbol: symbol.binding != STB_LOCAL)
            num_local = 1 + sum(symbol.binding == STB_LOCAL for symbol in symbols)
            entries, strings = self.symbol_table(symbols)
            size = len(entries) // (len(symbols) + 1)
            strings_at = len(rows) + 1
            rows.append(
                row(".symtab", SHT_SYMTAB, self.put(entries), len(entries), link=strings_at, info=num_local, entry=size)
            )
            rows.append(row(".strtab", SHT_STRTAB, self.put(strings), len(strings)))
        own = b".shstrtab\0"
        offset = self.put(bytes(names) + own)
        rows.append(row(".shstrtab", SHT_STRTAB, offset, len(names) + len(own)))
        return rows

    def symbol_table(self, symbols: Sequence[ElfSymbol]) -> tuple[bytes, bytes]:
        entries, strings = bytearray(16 if self.bits == 32 else 24), bytearray(b"\0")
        for symbol in symbols:
            at, info = len(strings), symbol.binding << 4 | symbol.type
            strings += symbol.name.encode() + b"\0"
            if self.bits == 32:
                entries += self.pack("IIIBBH", at, symbol.address, symbol.size, info, 0, symbol.section)
            else:
                entries += self.pack("IBBHQQ", at, info, 0, symbol.section, symbol.address, symbol.size)
        return bytes(entries), bytes(strings)
