"""Firmware images: what every file format is turned into, and the formats themselves.

A `FirmwareImage` is a list of segments to copy into the remote's memory, the entry point, the resource table and
the symbols. Segment data are views of the file's bytes: opening an image copies nothing, loading it copies each
byte once.

What is odd about an image but can be loaded is a warning, as data, in `FirmwareImage.warnings`:

| code | meaning; `offset` is a file offset, `value` an address unless said otherwise |
|---|---|
| table-nobits | the resource table exists only in memory at run time; `resource_table` is None |
| table-zero-length | the table's section is empty; `resource_table` is None |
| table-all-zero | the table's section holds only zeros; `resource_table` is None |
| second-table | a second resource table, in a section or in the tail of the first; it is not used |
| table-address | the table is loaded elsewhere than its section's address says |
| table-not-loaded | no segment loads the table's bytes; they have to be written to its address |
| table-in-bss | the table lies in the zero-filled part of a segment: start-up code may erase it |
| overlap | a segment overwrites bytes that the file holds for an earlier one |
| overlap-code-data | the same, and only the execute flag differs: code and data have memories of their own |
| nothing-to-load | no segment occupies memory |
| sections-unusable | section headers without names or count: neither resource table nor symbols can be found |
| symbols-unusable | the symbol table cannot be read |
| records-after-end | records follow the end record; they are taken as well (`value`: line number) |
| no-end-record | an S-record file without its end record may be cut off |

Formats are chosen by content. Others can be added by the entry-point group `openamp.firmware_formats`; an entry
point names an object, or a class made without arguments, that fulfils `FirmwareFormat`.
"""

from __future__ import annotations

import enum
import importlib
import mmap
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from openamp.errors import AddressError, ImageError, UnknownFormatError
from openamp.firmware.machines import EM_ARM, machine_name
from openamp.firmware.overlap import Overlap, find_overlaps
from openamp.firmware.symbols import Symbol, SymbolIndex, SymbolKind, by_name
from openamp.memory import MemoryMap

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

__all__ = [
    "FirmwareFormat",
    "FirmwareImage",
    "ImageWarning",
    "Segment",
    "SegmentFlags",
    "TableSection",
    "format_names",
    "load_image",
]

MAX_FILE_SIZE = 1 << 30
"""Larger files are refused: no remote has so much memory, and a device file has no end."""

MAX_STREAM_SIZE = 64 << 20
"""The same for what is no regular file: pipes and devices."""

MAP_THRESHOLD = 4 << 20
"""Files of this size and more are mapped, smaller ones are read."""

_ZEROS = bytes(1 << 16)


class SegmentFlags(enum.IntFlag):
    """What the remote may do with a segment; the values are ELF's."""

    X = 1
    W = 2
    R = 4

    def __str__(self) -> str:
        return "".join(letter if self & flag else "-" for letter, flag in (("R", 4), ("W", 2), ("X", 1)))


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of memory that an image fills.

    Attributes:
        da: device address where it is loaded (ELF: p_paddr).
        size: bytes of memory; what `data` does not cover is filled with zeros.
        data: the bytes of the file.
        va: address by which the code refers to it (ELF: p_vaddr).
        flags: read, write, execute.
        offset: where `data` lies in the file, or None.
        name: for people and error texts.
    """

    da: int
    size: int
    data: bytes | memoryview
    va: int
    flags: SegmentFlags = SegmentFlags.R | SegmentFlags.W | SegmentFlags.X
    offset: int | None = None
    name: str = "segment"

    @property
    def end(self) -> int:
        """The first device address behind the segment."""
        return self.da + self.size

    def __repr__(self) -> str:
        file = "" if self.offset is None else f", file {self.offset:#x}+{len(self.data):#x}"
        return f"Segment({self.name!r}, {self.da:#x}..{self.end:#x} {self.flags}{file})"


@dataclass(frozen=True, slots=True)
class TableSection:
    """The resource table as the image holds it.

    Attributes:
        data: a copy of its bytes, as long as its section.
        da: device address where the table is loaded; its section's address where no segment loads it.
        section_address: the section's own address (sh_addr), or None where the format has no sections. Where it
            differs from `da`, the image has a warning "table-address".
        offset: file offset of the bytes, or None.
        loaded: a segment loads these bytes to `da`; otherwise whoever boots the image has to write them.
    """

    data: bytes
    da: int
    section_address: int | None = None
    offset: int | None = None
    loaded: bool = True

    def live_da(self, memory: MemoryMap) -> int:
        """Returns the device address of the live copy, which the host writes to and the remote reads.

        The remote's code refers to the table by its section's address, and so does Linux: that one counts where
        the memory has it. Otherwise it is an address that only the core's own translation knows, of the place
        where the table is loaded.
        """
        address = self.section_address
        return self.da if address is None or memory.find(address, len(self.data)) is None else address


@dataclass(frozen=True, slots=True)
class ImageWarning:
    """Something odd about an image that does not keep it from being loaded.

    Attributes:
        code: kebab-case; this module's documentation lists all.
        message: one sentence for people.
        offset: file offset concerned, or None.
        value: the value or address concerned, or None.
    """

    code: str
    message: str
    offset: int | None = None
    value: int | None = None

    def __str__(self) -> str:
        return self.message


class FirmwareImage:
    """A remote's firmware: what to load where, and what is known about it.

    `load_image`, `open` and `from_bytes` make one of a file; the constructor makes one of parts.

    Attributes:
        name: the file's name, for people and error texts.
        format: "elf32", "elf64", "raw", "ihex", "srec", or a further format's name.
        byte_order: "little" or "big"; formats that do not say are taken for little.
        machine: the core's kind as ELF's e_machine, or None where the format does not say.
        entry: entry point as the file has it (0 is often no more than "none"), or None.
        segments: in the file's order, which is the order of loading.
        resource_table: its bytes and address, or None.
        warnings: what is odd about the image.

    Args:
        symbols: the symbols, or a function that reads them when they are first asked for.
        (The other arguments become the attributes of the same name.)

    Raises:
        ImageError: a segment holds more bytes than its size, or lies below address 0.
    """

    def __init__(
        self,
        segments: Iterable[Segment],
        *,
        name: str = "image",
        format: str = "raw",
        byte_order: Literal["little", "big"] = "little",
        machine: int | None = None,
        entry: int | None = None,
        resource_table: TableSection | None = None,
        symbols: Iterable[Symbol] | Callable[[], Iterable[Symbol]] = (),
        warnings: Iterable[ImageWarning] = (),
    ) -> None:
        self.name = name
        self.format = format
        self.byte_order: Literal["little", "big"] = byte_order
        self.machine = machine
        self.entry = entry
        self.segments = tuple(segments)
        self.resource_table = resource_table
        self._read_symbols = symbols
        self._stamp: _FileStamp | None = None
        for segment in self.segments:
            if segment.da < 0 or len(segment.data) > segment.size:
                raise ImageError(
                    f"{name}: {segment!r} holds {len(segment.data):#x} bytes for {segment.size:#x} bytes of memory "
                    f"at {segment.da:#x}; give a segment an address from 0 on and a size that holds its data",
                    offset=segment.offset,
                    value=segment.size,
                )
        self._overlaps = find_overlaps(self.segments)
        self.warnings = (*warnings, *(_overlap_warning(overlap) for overlap in self._overlaps))

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, base: int | None = None, format: str | None = None) -> FirmwareImage:
        """Opens a firmware file; see `load_image`."""
        data, stamp = _read_file(path)
        image = cls.from_bytes(data, name=os.path.basename(os.fspath(path)), base=base, format=format)
        image._stamp = stamp
        return image

    @classmethod
    def from_bytes(
        cls,
        data: bytes | bytearray | memoryview | mmap.mmap,
        *,
        name: str = "image",
        base: int | None = None,
        format: str | None = None,
    ) -> FirmwareImage:
        """Makes an image of a file's bytes, which it keeps and must not change; see `load_image`."""
        view = memoryview(data)
        view = view.cast("B") if view.c_contiguous else memoryview(bytes(view))
        return _parse(view.toreadonly(), name, base=base, format=format)

    @property
    def machine_name(self) -> str:
        """The kind of core for people, such as "Arm" or "RISC-V"."""
        return machine_name(self.machine)

    @cached_property
    def symbols(self) -> tuple[Symbol, ...]:
        """The symbols in the file's order, read on first use."""
        source = self._read_symbols
        return tuple(source() if callable(source) else source)

    @cached_property
    def _by_name(self) -> dict[str, Symbol]:
        return by_name(self.symbols)

    @cached_property
    def _by_address(self) -> SymbolIndex:
        return SymbolIndex(self.symbols)

    def symbol(self, name: str) -> Symbol | None:
        """Returns the symbol of that name, a global one before a local one, or None."""
        return self._by_name.get(name)

    def locate(self, address: int) -> str:
        """Returns an address as symbol and offset, such as "main+0x4"; "" where no symbol covers it.

        On Arm bit 0 of an address within a function (a return address in Thumb state) is not counted.
        """
        symbol = self._by_address.find(address)
        if symbol is None:
            return ""
        if not symbol.size and not any(
            segment.va <= symbol.address <= address < segment.va + segment.size for segment in self.segments
        ):
            return symbol.name if symbol.address == address else ""
        if self.machine == EM_ARM and symbol.kind is SymbolKind.FUNCTION:
            address &= ~1
        offset = address - symbol.address
        return f"{symbol.name}+{offset:#x}" if offset else symbol.name

    def load(self, memory: MemoryMap, *, allow_overlap: bool = False) -> None:
        """Copies the segments to their addresses and fills the rest of each with zeros.

        Nothing is written when a segment has no place. A segment may cover several regions that follow each other
        without a gap.

        Args:
            memory: where to; found by the segments' `da`.
            allow_overlap: load an image whose segments overwrite each other; the later one wins, as in Linux.

        Raises:
            AddressError: a segment lies outside the memory's regions.
            ImageError: segments overwrite each other, or the file was changed in place since it was opened.
        """
        if self._stamp is not None:
            self._stamp.check(self.name)
        if self._overlaps and not allow_overlap:
            overlap = self._overlaps[0]
            raise ImageError(
                f"{self.name}: {overlap.describe()}; place them apart in the linker script, or load with "
                f"allow_overlap=True (the later one wins)",
                offset=overlap.later.offset,
                value=overlap.start,
            )
        places = [(segment, self._place(segment, memory)) for segment in self.segments]
        for segment, views in places:
            _store(segment, views)

    def _place(self, segment: Segment, memory: MemoryMap) -> list[memoryview]:
        """Returns the memory that the segment fills, region by region."""
        views: list[memoryview] = []
        address = segment.da
        while address < segment.end:
            region = memory.find(address)
            if region is None:
                file = "" if segment.offset is None else f", at file offset {segment.offset:#x}"
                raise AddressError(
                    f"{self.name}: segment {segment.name} needs {segment.da:#x}..{segment.end:#x} ({segment.size:#x} "
                    f"bytes{file}), but there is no memory at {address:#x}; there are {memory.describe()}; link the "
                    f"image for this memory or choose the board it was built for",
                    da=segment.da,
                    size=segment.size,
                )
            start = address - region.da
            view = region.data[start : start + segment.end - address]
            views.append(view)
            address += len(view)
        return views

    def __repr__(self) -> str:
        parts = [self.format, f"{self.byte_order}-endian"]
        if self.machine is not None:
            parts.append(self.machine_name)
        if self.entry is not None:
            parts.append(f"entry {self.entry:#x}")
        number = "1 segment" if len(self.segments) == 1 else f"{len(self.segments)} segments"
        parts.append(f"{number} of {sum(segment.size for segment in self.segments):#x} bytes")
        if self.resource_table is not None:
            parts.append(f"resource table at {self.resource_table.da:#x}")
        if self.warnings:
            parts.append("warnings: " + " ".join(dict.fromkeys(warning.code for warning in self.warnings)))
        return f"<FirmwareImage {self.name!r}: {', '.join(parts)}>"


@runtime_checkable
class FirmwareFormat(Protocol):
    """A file format. Keep `matches` cheap and its module light: it may be asked about every image."""

    @property
    def name(self) -> str:
        """The name by which `load_image(..., format=...)` chooses it."""

    def matches(self, data: memoryview) -> bool:
        """Tells by content whether these bytes are of this format."""

    def parse(self, data: memoryview, name: str, *, base: int | None = None) -> FirmwareImage:
        """Makes an image of a file's bytes.

        Args:
            data: the whole file, read-only, of format "B"; segments may refer to it without copying.
            name: for the image and for error texts.
            base: load address, given only for formats that have none of their own.

        Raises:
            ImageError: for any bytes that cannot be used, with offset, value and remedy.
        """


def load_image(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | mmap.mmap | FirmwareImage,
    *,
    base: int | None = None,
    format: str | None = None,
) -> FirmwareImage:
    """Makes a firmware image of a file or of bytes.

    Args:
        source: a path, or a file's bytes; an image is returned as it is.
        base: load address for a raw binary; formats with addresses of their own refuse it.
        format: a format's name; by default the content tells. A raw binary cannot be told by content: it needs
            `format="raw"`, or just `base` where no other format fits.

    Raises:
        UnknownFormatError: no format recognises the bytes, or there is none of that name.
        ImageError: the image cannot be used: what is wrong, where, and the remedy.
        OSError: the file cannot be read.
    """
    if isinstance(source, FirmwareImage):
        return source
    if isinstance(source, str | os.PathLike):
        return FirmwareImage.open(source, base=base, format=format)
    return FirmwareImage.from_bytes(source, base=base, format=format)


# Loading -------------------------------------------------------------------------------------------------------


def _store(segment: Segment, views: list[memoryview]) -> None:
    """Copies the segment's bytes and zeros over the memory it fills."""
    data = memoryview(segment.data)
    at = 0
    for view in views:
        part = data[at : at + len(view)]
        at += len(part)
        view[: len(part)] = part
        for start in range(len(part), len(view), len(_ZEROS)):
            gap = view[start : start + len(_ZEROS)]
            gap[:] = _ZEROS[: len(gap)]


def _overlap_warning(overlap: Overlap) -> ImageWarning:
    code = "overlap-code-data" if overlap.code_and_data else "overlap"
    return ImageWarning(code, overlap.describe(), overlap.later.offset, overlap.start)


# Formats -------------------------------------------------------------------------------------------------------

_GROUP = "openamp.firmware_formats"

_BUILT_IN = {
    "elf": "openamp.firmware.elf:ElfFormat",
    "ihex": "openamp.firmware.hexfile:IntelHexFormat",
    "srec": "openamp.firmware.hexfile:SRecordFormat",
    "raw": "openamp.firmware.raw:RawFormat",
}
"""Also in pyproject.toml as entry points. They are asked first: looking for installed ones takes as long as a boot."""

_LOOKS_LIKE = {
    b"\x1f\x8b": "gzip data; unpack it first",
    b"\xfd7zXZ": "xz data; unpack it first",
    b"BZh": "bzip2 data; unpack it first",
    b"\x28\xb5\x2f\xfd": "zstd data; unpack it first",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"!<arch>": "an archive of object files; link them first",
    b"\x27\x05\x19\x56": "a U-Boot image; unpack it with dumpimage first",
    b"\xd0\x0d\xfe\xed": "a device tree or FIT image; unpack it with dumpimage first",
    b"MZ": "a Windows program; build the firmware with a cross compiler that writes ELF",
}


def _built_in(name: str) -> FirmwareFormat:
    module, _, attribute = _BUILT_IN[name].partition(":")
    found: FirmwareFormat = getattr(importlib.import_module(module), attribute)()
    return found


def _installed() -> dict[str, EntryPoint]:
    """Returns the entry points of the formats that are not built in."""
    from importlib.metadata import entry_points

    return {point.name: point for point in entry_points(group=_GROUP) if point.name not in _BUILT_IN}


def _further(point: EntryPoint) -> FirmwareFormat:
    """Loads somebody else's format, in which anything may go wrong."""
    try:
        target = point.load()
        found = target() if isinstance(target, type) else target
        if not isinstance(found, FirmwareFormat):
            raise TypeError(f"{point.value} has not all of name, matches() and parse()")
    except Exception as error:
        raise ImageError(
            f"the firmware format {point.name} cannot be used ({error}); repair or remove the package that brings it"
        ) from error
    return found


def format_names() -> tuple[str, ...]:
    """Returns the names of all formats, the built-in ones first."""
    return (*_BUILT_IN, *sorted(_installed()))


def _parse(data: memoryview, name: str, *, base: int | None, format: str | None) -> FirmwareImage:
    if format is not None:
        return _by_format_name(format, name).parse(data, name, base=base)
    tried: list[str] = []
    broken: list[str] = []
    for candidate in _candidates(broken):
        if candidate.matches(data):
            return candidate.parse(data, name, base=base)
        tried.append(candidate.name)
    if base is not None:
        return _built_in("raw").parse(data, name, base=base)
    start = bytes(data[:8])
    kind = next((f", like {text}" for magic, text in _LOOKS_LIKE.items() if start.startswith(magic)), "")
    raise UnknownFormatError(
        f"{name}: this is no firmware image of a known format: it "
        f"{'starts with ' + start.hex(' ') if start else 'is empty'}{kind} (tried {', '.join(tried)}); "
        f"{''.join(text + '; ' for text in broken)}"
        f'give an ELF file, or load a raw binary with format="raw" and base=<load address>',
        offset=0,
        value=int.from_bytes(start[:4], "big"),
    )


def _candidates(broken: list[str]) -> Iterator[FirmwareFormat]:
    """Yields the formats that content can tell; adds to `broken` why others cannot be asked."""
    yield from (_built_in(name) for name in _BUILT_IN if name != "raw")
    for point in _installed().values():
        try:
            yield _further(point)
        except ImageError as error:  # a broken extension must not hide the others
            broken.append(str(error))


def _by_format_name(format: str, name: str) -> FirmwareFormat:
    if format in _BUILT_IN:
        return _built_in(format)
    point = _installed().get(format)
    if point is None:
        raise UnknownFormatError(f"{name}: there is no firmware format {format!r}; choose {', '.join(format_names())}")
    return _further(point)


# Files ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _FileStamp:
    """Tells whether a mapped file was rewritten in place: its bytes changed under us, or are gone (SIGBUS)."""

    path: str
    status: os.stat_result

    def check(self, name: str) -> None:
        try:
            now = os.stat(self.path)
        except OSError:
            return  # removed or renamed: the mapping keeps the bytes
        then = self.status
        same_file = (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino)
        if same_file and (now.st_size, now.st_mtime_ns) != (then.st_size, then.st_mtime_ns):
            raise ImageError(
                f"{name}: the file was changed since it was opened (it had {then.st_size} bytes, now {now.st_size}); "
                f"open it again",
                value=now.st_size,
            )


def _read_file(path: str | os.PathLike[str]) -> tuple[bytes | mmap.mmap, _FileStamp | None]:
    """Reads a small file; maps a large one, which is ten times faster and leaves debug information on the disk."""
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        regular = stat.S_ISREG(status.st_mode)
        if regular and MAP_THRESHOLD <= status.st_size <= MAX_FILE_SIZE:
            mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            return mapping, _FileStamp(os.path.abspath(path), status)
        limit = MAX_FILE_SIZE if regular else MAX_STREAM_SIZE
        size = status.st_size
        if size <= limit:
            data = file.read() if regular else file.read(limit + 1)
            if (size := len(data)) <= limit:
                return data, None
    raise ImageError(
        f"{os.fspath(path)}: {size:#x} bytes or more are too many for a firmware image (at most {limit:#x}); "
        f"give the firmware's own file",
        value=size,
    )
