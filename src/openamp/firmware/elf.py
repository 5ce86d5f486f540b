"""ELF files, 32 and 64 bits, both byte orders, any machine.

pyelftools declares the structures; which of them are read, and how many, is bounded here, because the bytes are
not trusted (docs/adr/0010-firmware-readers.md). Segments are views of the file.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

from openamp.errors import ImageError
from openamp.firmware.image import FirmwareImage, ImageWarning, Segment, SegmentFlags, TableSection
from openamp.firmware.machines import EM_AARCH64, EM_ARM, EM_RISCV
from openamp.firmware.symbols import Symbol, SymbolKind

if TYPE_CHECKING:
    from elftools.elf.structs import ELFStructs

__all__ = ["ElfFormat"]

TABLE_SECTION = ".resource_table"

MAX_PROGRAM_HEADERS = 4096
MAX_SECTIONS = 16384
"""Far more than any firmware has; they bound the time a hostile file can take."""

_MAGIC = b"\x7fELF"
_EXTENDED_INDEX = 0xFFFF
_ALLOC = 2  # SHF_ALLOC: the section occupies memory
_LONGEST_NAME = 4096

_FIELDS = {
    32: {"e_entry": 24, "e_phoff": 28, "e_shoff": 32, "e_phentsize": 42, "e_phnum": 44, "e_shentsize": 46}
    | {"e_shnum": 48, "e_shstrndx": 50, "p_offset": 4, "p_filesz": 16, "sh_offset": 16},
    64: {"e_entry": 24, "e_phoff": 32, "e_shoff": 40, "e_phentsize": 54, "e_phnum": 56, "e_shentsize": 58}
    | {"e_shnum": 60, "e_shstrndx": 62, "p_offset": 8, "p_filesz": 32, "sh_offset": 24},
}
"""Offsets of the fields that errors point at, in the file's header and in a program or section header."""


ByteOrder = Literal["little", "big"]


class ElfFormat:
    """ELF."""

    name = "elf"

    def matches(self, data: memoryview) -> bool:
        """Tells whether the bytes start with ELF's magic."""
        return data[:4] == _MAGIC

    def parse(self, data: memoryview, name: str, *, base: int | None = None) -> FirmwareImage:
        """Makes an image of an ELF file.

        Raises:
            ImageError: no ELF file, cut off, or with headers that contradict each other or the file's size.
        """
        if base is not None:
            raise ImageError(
                f"{name}: an ELF file has addresses of its own, base={base:#x} has no meaning; leave base out, or "
                f'give format="raw" to load the file\'s bytes as they are',
                value=base,
            )
        return _Elf(data, name).image()


class _Section(NamedTuple):
    """A section header, as far as it is used; `header` is its own file offset."""

    name: str
    type: str | int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    entry_size: int
    header: int


class _Elf:
    """One pass over the headers of one file."""

    def __init__(self, data: memoryview, name: str) -> None:
        self.data = data
        self.name = name
        self.warnings: list[ImageWarning] = []
        ident = bytes(data[:16])
        if ident[:4] != _MAGIC:
            self.refuse(
                f"is no ELF file: it starts with {ident[:4].hex(' ') or 'nothing'}, not 7f 45 4c 46",
                "give an ELF file, or name the format it has",
                0,
                int.from_bytes(ident[:4], "big"),
            )
        if len(ident) < 16:
            self.refuse_cut_off("the ELF identification", 0, 16, 0)
        if ident[4] not in (1, 2):
            self.refuse(f"has the ELF class {ident[4]}, not 1 (32 bits) or 2 (64)", "build it again", 4, ident[4])
        if ident[5] not in (1, 2):
            self.refuse(f"has the byte order {ident[5]}, not 1 (little) or 2 (big)", "build it again", 5, ident[5])
        self.bits: Literal[32, 64] = 64 if ident[4] == 2 else 32
        self.byte_order: ByteOrder = "big" if ident[5] == 2 else "little"
        self.fields = _FIELDS[self.bits]
        self.structs = _structs(self.bits, self.byte_order)
        size = self.structs.Elf_Ehdr.sizeof()
        if len(data) < size:
            self.refuse_cut_off("the ELF header", 0, size, 0)
        self.header = self.structs.Elf_Ehdr.parse(bytes(data[:size]))
        self.machine = self._machine_number()
        self.structs.create_advanced_structs(
            self.header["e_type"], self.header["e_machine"], self.header["e_ident"]["EI_OSABI"]
        )

    def image(self) -> FirmwareImage:
        segments = list(self._segments())
        if not segments:
            self.warn("nothing-to-load", "no segment occupies memory: there is nothing to load", self.header["e_phoff"])
        sections = self._sections()
        return FirmwareImage(
            segments,
            name=self.name,
            format=f"elf{self.bits}",
            byte_order=self.byte_order,
            machine=self.machine,
            entry=self.header["e_entry"],
            resource_table=self._table(sections, segments),
            symbols=self._symbol_reader(sections),
            warnings=self.warnings,
        )

    # Errors and warnings

    def refuse(self, what: str, remedy: str, offset: int, value: int) -> NoReturn:
        raise ImageError(
            f"{self.name}: {what} (offset {offset:#x}, value {value:#x}); {remedy}", offset=offset, value=value
        )

    def refuse_cut_off(self, what: str, start: int, size: int, field: int) -> NoReturn:
        """Refuses what lies at `start` and goes beyond the end of the file; `field` is the offset of `start` itself."""
        self.refuse(
            f"the file is cut off: it has {len(self.data):#x} bytes, {what} lies at {start:#x}..{start + size:#x}",
            "copy or build it again",
            field,
            start,
        )

    def warn(self, code: str, message: str, offset: int | None = None, value: int | None = None) -> None:
        self.warnings.append(ImageWarning(code, message, offset, value))

    # Headers

    def _machine_number(self) -> int:
        machine = self.header["e_machine"]
        if isinstance(machine, int):
            return machine
        from elftools.elf.enums import ENUM_E_MACHINE

        return ENUM_E_MACHINE[machine]

    def _table_of_headers(self, what: str, kind: str, count: int, layout: Any) -> Iterator[tuple[int, Any]]:
        """Yields file offset and content of each header of the program ("ph") or section ("sh") header table."""
        start, stride = self.header[f"e_{kind}off"], self.header[f"e_{kind}entsize"]
        size = layout.sizeof()
        if stride < size:
            self.refuse(
                f"{what} have {stride} bytes each, ELF has {size}",
                "build it again",
                self.fields[f"e_{kind}entsize"],
                stride,
            )
        if start + count * stride > len(self.data):
            self.refuse_cut_off(f"the table of {count} {what}", start, count * stride, self.fields[f"e_{kind}off"])
        for offset in range(start, start + count * stride, stride):
            yield offset, layout.parse(bytes(self.data[offset : offset + size]))

    def _segments(self) -> Iterator[Segment]:
        count = self.header["e_phnum"]
        if not count:
            kind = " (it is an object file that was not linked)" if self.header["e_type"] == "ET_REL" else ""
            self.refuse(
                f"there are no program headers, nothing says what to load{kind}",
                "give the linked firmware",
                self.fields["e_phnum"],
                0,
            )
        if count > MAX_PROGRAM_HEADERS:
            self.refuse(
                f"there are {count} program headers, at most {MAX_PROGRAM_HEADERS} are read",
                "build it again with fewer segments",
                self.fields["e_phnum"],
                count,
            )
        headers = self._table_of_headers("program headers", "ph", count, self.structs.Elf_Phdr)
        for index, (at, header) in enumerate(headers):
            if header["p_type"] == "PT_LOAD" and header["p_memsz"]:
                yield self._segment(index, at, header)

    def _segment(self, index: int, at: int, header: Any) -> Segment:
        offset, filled, size = header["p_offset"], header["p_filesz"], header["p_memsz"]
        if filled > size:
            self.refuse(
                f"program header {index} has more bytes in the file ({filled:#x}) than in memory ({size:#x})",
                "build it again",
                at + self.fields["p_filesz"],
                filled,
            )
        if filled and offset + filled > len(self.data):
            self.refuse(
                f"the segment of program header {index} lies at {offset:#x}..{offset + filled:#x} of the file, which "
                f"has only {len(self.data):#x} bytes",
                "the file is cut off, or it is the first part of a split image (.mdt with .b00, .b01, ...): copy it "
                "again, or join the parts into one ELF file",
                at + self.fields["p_offset"],
                offset,
            )
        return Segment(
            da=header["p_paddr"],
            size=size,
            data=self.data[offset : offset + filled],
            va=header["p_vaddr"],
            flags=SegmentFlags(header["p_flags"] & 7),
            offset=offset,
            name=f"LOAD {index}",
        )

    def _sections(self) -> list[_Section]:
        """Returns the sections, or none where the file has none or they cannot be told apart."""
        header = self.header
        count, names_index = header["e_shnum"], header["e_shstrndx"]
        if not header["e_shoff"]:
            return []
        if not count or not names_index:
            lack = "are not counted" if not count else "have no names"
            at = self.fields["e_shstrndx" if count else "e_shnum"]
            self.warn("sections-unusable", f"the section headers {lack}: no resource table can be found", at, 0)
            return []
        if count > MAX_SECTIONS:
            self.refuse(
                f"there are {count} sections, at most {MAX_SECTIONS} are read",
                "strip the debug information or link with fewer sections",
                self.fields["e_shnum"],
                count,
            )
        raw = list(self._table_of_headers("section headers", "sh", count, self.structs.Elf_Shdr))
        if names_index == _EXTENDED_INDEX:
            names_index = raw[0][1]["sh_link"]
        if names_index >= count:
            self.refuse(
                f"the section with the names is number {names_index}, but there are {count}",
                "build it again",
                self.fields["e_shstrndx"],
                names_index,
            )
        at, strings = raw[names_index]
        if strings["sh_offset"] + strings["sh_size"] > len(self.data):
            self.refuse_cut_off(
                "the section with the names", strings["sh_offset"], strings["sh_size"], at + self.fields["sh_offset"]
            )
        names = _Strings(self.data[strings["sh_offset"] : strings["sh_offset"] + strings["sh_size"]])
        return [
            _Section(
                names.get(section["sh_name"]),
                section["sh_type"],
                section["sh_flags"],
                section["sh_addr"],
                section["sh_offset"],
                section["sh_size"],
                section["sh_link"],
                section["sh_entsize"],
                at,
            )
            for at, section in raw
        ]

    # The resource table

    def _table(self, sections: Sequence[_Section], segments: Sequence[Segment]) -> TableSection | None:
        tables = [section for section in sections if section.name == TABLE_SECTION]
        for other in tables[1:]:
            self.warn(
                "second-table",
                f"there is a second section {TABLE_SECTION} at {other.address:#x}; the first one is used",
                other.header,
                other.address,
            )
        if not tables:
            return None
        section = tables[0]
        if section.type == "SHT_NOBITS":
            self.warn(
                "table-nobits",
                f"the section {TABLE_SECTION} at {section.address:#x} is of type NOBITS: the table exists only in "
                f"memory at run time, the file holds nothing of it",
                section.header,
                section.address,
            )
            return None
        if not section.size:
            self.warn("table-zero-length", f"the section {TABLE_SECTION} is empty", section.header, section.address)
            return None
        if section.offset + section.size > len(self.data):
            self.refuse_cut_off(
                f"the section {TABLE_SECTION}", section.offset, section.size, section.header + self.fields["sh_offset"]
            )
        data = bytes(self.data[section.offset : section.offset + section.size])
        if not data.strip(b"\0"):
            self.warn(
                "table-all-zero",
                f"the resource table at {section.address:#x} holds only zeros: it has no version and no entries",
                section.offset,
                section.address,
            )
            return None
        second = _second_table(data, self.byte_order)
        if second is not None:
            self.warn(
                "second-table",
                f"the section {TABLE_SECTION} holds a second table at its offset {second:#x}; the first one is used",
                section.offset + second,
                section.address + second,
            )
        return self._place_table(section, data, segments)

    def _place_table(self, section: _Section, data: bytes, segments: Sequence[Segment]) -> TableSection:
        da, loaded = _load_address(section, segments)
        if not loaded:
            self.warn(
                "table-not-loaded",
                f"no segment loads the resource table; it has to be written to {da:#x} before the start",
                section.header,
                da,
            )
        if da != section.address:
            self.warn(
                "table-address",
                f"the resource table is loaded at {da:#x}, but its section's address is {section.address:#x}: the live "
                f"copy is taken to be at the latter where there is memory, Linux takes it always",
                section.header,
                section.address,
            )
        end = da + len(data)
        for segment in segments:
            zeros = segment.da + len(segment.data)
            if zeros < segment.end and da < segment.end and zeros < end:
                self.warn(
                    "table-in-bss",
                    f"the resource table ({da:#x}..{end:#x}) lies in the zero-filled part of segment {segment.name} "
                    f"({zeros:#x}..{segment.end:#x}): start-up code may erase it",
                    section.header,
                    da,
                )
        return TableSection(data, da, section.address, section.offset, loaded)

    # Symbols

    def _symbol_reader(self, sections: Sequence[_Section]) -> Callable[[], list[Symbol]]:
        """Returns the function that reads the symbols: of .symtab, or of .dynsym in a stripped file."""
        tables = [section for kind in ("SHT_SYMTAB", "SHT_DYNSYM") for section in sections if section.type == kind]
        if not tables:
            return list
        table = tables[0]
        layout = struct.Struct(
            ("<" if self.byte_order == "little" else ">") + ("IIIBBH" if self.bits == 32 else "IBBHQQ")
        )
        strings = sections[table.link] if table.link < len(sections) else None
        if (
            table.entry_size != layout.size
            or strings is None
            or strings.type == "SHT_NOBITS"
            or max(table.offset + table.size, strings.offset + strings.size) > len(self.data)
        ):
            self.warn("symbols-unusable", "the symbol table cannot be read: no addresses by name", table.header)
            return list
        # Copies: the file may be mapped, and a crash is located long after somebody has built the next firmware.
        entries = bytes(self.data[table.offset : table.offset + table.size // layout.size * layout.size])
        names = _Strings(self.data[strings.offset : strings.offset + strings.size])
        places = [
            range(section.address, section.address + section.size) if section.flags & _ALLOC else range(1 << 64)
            for section in sections
        ]
        return lambda: list(_symbols(layout.iter_unpack(entries), names, places, self.bits, self.machine))


# Helpers -------------------------------------------------------------------------------------------------------


def _structs(bits: Literal[32, 64], byte_order: ByteOrder) -> ELFStructs:
    from elftools.elf.structs import ELFStructs

    structs = ELFStructs(little_endian=byte_order == "little", elfclass=bits)
    structs.create_basic_structs()
    return structs


class _Strings:
    """A string table; all names together are limited, because they may all share one endless string."""

    def __init__(self, data: memoryview) -> None:
        self._data = bytes(data)
        self._left = 4 * len(self._data) + 65536

    def get(self, at: int) -> str:
        """Returns the name at `at`, or "" where there is none."""
        end = self._data.find(b"\0", at, at + _LONGEST_NAME)
        name = self._data[at : end if end >= 0 else at + _LONGEST_NAME]
        self._left -= len(name)
        return name.decode("utf-8", "replace") if self._left >= 0 else ""


def _load_address(section: _Section, segments: Sequence[Segment]) -> tuple[int, bool]:
    """Returns the device address of a section's bytes, and whether a segment loads them there."""
    holders = [
        (segment, section.offset - segment.offset)
        for segment in segments
        if segment.offset is not None
        and segment.offset <= section.offset
        and section.offset + section.size <= segment.offset + len(segment.data)
    ]
    for segment, delta in holders:
        if segment.va + delta == section.address:
            return segment.da + delta, True
    if holders:
        segment, delta = holders[0]
        return segment.da + delta, True
    for segment in segments:
        if segment.va <= section.address and section.address + section.size <= segment.va + segment.size:
            return segment.da + section.address - segment.va, False
    return section.address, False


_SEARCHED = 16384
_MOST_ENTRIES = 256
"""Where and among how many entries a second table is looked for: real ones are below 4 KiB, with 18 entries at most."""


def _second_table(data: bytes, byte_order: ByteOrder) -> int | None:
    """Returns where in a resource table's section a second complete table starts, or None."""
    first = _table_offsets(data, 0, byte_order)
    if first is None:
        return None
    mark = (1).to_bytes(4, byte_order)
    at = max((offset + 4 for offset in first), default=16)
    while (at := data.find(mark, at, _SEARCHED)) >= 0:
        if at % 4 == 0 and _table_offsets(data, at, byte_order):
            return at
        at += 1
    return None


def _table_offsets(data: bytes, at: int, byte_order: ByteOrder) -> tuple[int, ...] | None:
    """Returns the offsets of the entries if a sound resource table starts at `at`, or None."""
    order = "<" if byte_order == "little" else ">"
    if at + 16 > len(data):
        return None
    version, count, *reserved = struct.unpack_from(f"{order}4I", data, at)
    if version != 1 or any(reserved) or count > _MOST_ENTRIES or 16 + 4 * count > len(data) - at:
        return None
    offsets: tuple[int, ...] = struct.unpack_from(f"{order}{count}I", data, at + 16)
    for offset in offsets:
        if not 16 + 4 * count <= offset <= len(data) - at - 4:
            return None
        (kind,) = struct.unpack_from(f"{order}I", data, at + offset)
        if kind > 5 and not 128 <= kind <= 511:
            return None
    return offsets


# Symbol types (gABI, "Symbol Table"; 10 is GNU's indirect function, 13 an old Thumb function)
_KINDS = {
    0: SymbolKind.LABEL,
    1: SymbolKind.OBJECT,
    2: SymbolKind.FUNCTION,
    5: SymbolKind.OBJECT,
    10: SymbolKind.FUNCTION,
    13: SymbolKind.FUNCTION,
}
_UNDEFINED, _ABSOLUTE = 0, 0xFFF1
_MAPPED = (EM_ARM, EM_AARCH64, EM_RISCV)


def _symbols(
    entries: Iterator[tuple[int, ...]], names: _Strings, sections: Sequence[range], bits: int, machine: int
) -> Iterator[Symbol]:
    """Yields the symbols that name a place or a number, in the file's order."""
    for entry in entries:
        if bits == 32:
            at, value, size, info, _, section = entry
        else:
            at, info, _, section, value, size = entry
        kind = _KINDS.get(info & 15)
        if kind is None or section == _UNDEFINED or not (name := names.get(at)):
            continue
        if kind is SymbolKind.LABEL:
            if section == _ABSOLUTE:
                kind = SymbolKind.ABSOLUTE
            elif name.startswith(".L") or (machine in _MAPPED and _is_mapping_symbol(name)):
                continue
            elif section < len(sections) and value not in sections[section]:
                kind = SymbolKind.MARK
        elif kind is SymbolKind.FUNCTION and machine == EM_ARM:
            value &= ~1
        yield Symbol(name, value, size, kind)


def _is_mapping_symbol(name: str) -> bool:
    """Tells whether a symbol only marks where code ($a, $t, $x) or data ($d) begins."""
    return name[:1] == "$" and name[1:2] in ("a", "t", "d", "x") and (name[2:3] in ("", ".") or name[:4] == "$xrv")
