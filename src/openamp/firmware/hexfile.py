"""Intel HEX and Motorola S-record files.

bincopy decodes the records; putting them together is done here, in linear time for any order of records and with
the place of every error (docs/adr/0010-firmware-readers.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn

from openamp.errors import ImageError, MissingDependencyError
from openamp.firmware.image import FirmwareImage, ImageWarning, Segment

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["IntelHexFormat", "SRecordFormat"]

_IHEX_START = re.compile(rb"\s*:[0-9A-Fa-f]{10}")
_SREC_START = re.compile(rb"\s*S[0-9][0-9A-Fa-f]{4}")
_START_LENGTH = 256

_BLANK = b" \t\r\n\v\f\0\x1a"
"""Also what old editors and programmers append: NUL and Ctrl-Z."""

_ADDRESS_LIMIT = 1 << 32

# Intel HEX record types
_DATA, _END, _SEGMENT_BASE, _SEGMENT_START, _LINEAR_BASE, _LINEAR_START = range(6)
_LENGTHS = {_END: 0, _SEGMENT_BASE: 2, _SEGMENT_START: 4, _LINEAR_BASE: 2, _LINEAR_START: 4}


class IntelHexFormat:
    """Intel HEX: record types 00 to 05."""

    name = "ihex"

    def matches(self, data: memoryview) -> bool:
        """Tells whether the first line starts as an Intel HEX record."""
        return _IHEX_START.match(bytes(data[:_START_LENGTH])) is not None

    def parse(self, data: memoryview, name: str, *, base: int | None = None) -> FirmwareImage:
        """Makes an image of Intel HEX records.

        Raises:
            ImageError: a broken record, an unknown record type, or no end record (the file is cut off).
            MissingDependencyError: bincopy is not installed.
        """
        content = _Content(name, self.name, base, data)
        unpack = content.bincopy().unpack_ihex
        upper = 0
        for content.offset, line in _lines(data):
            try:
                kind, address, _, payload = unpack(line.decode("ascii"))
            except Exception as error:  # bincopy.Error, ValueError and more, by the line's content
                content.fail(f"is no valid Intel HEX record ({_reason(error)})")
            if kind in _LENGTHS and len(payload) != _LENGTHS[kind]:
                content.fail(f"has {len(payload)} bytes of data, its type {kind:02x} has {_LENGTHS[kind]}")
            if content.ended:
                content.more_after_end()
            if kind == _DATA:
                content.add(upper + address, payload)
            elif kind == _END:
                content.ended = True
                upper = 0
            elif kind == _SEGMENT_BASE:
                upper = int.from_bytes(payload, "big") << 4
            elif kind == _LINEAR_BASE:
                upper = int.from_bytes(payload, "big") << 16
            elif kind == _SEGMENT_START:
                content.entry = (int.from_bytes(payload[:2], "big") << 4) + int.from_bytes(payload[2:], "big")
            elif kind == _LINEAR_START:
                content.entry = int.from_bytes(payload, "big")
            else:
                content.fail(f"has the unknown type {kind:#04x}", kind)
        if not content.ended:
            raise ImageError(
                f"{name}: the Intel HEX file has no end record (:00000001FF) up to its end at offset {len(data):#x}, "
                f"it is cut off; copy or build it again",
                offset=len(data),
            )
        return content.image()


class SRecordFormat:
    """Motorola S-records: S0 to S9 with 16-, 24- and 32-bit addresses."""

    name = "srec"

    def matches(self, data: memoryview) -> bool:
        """Tells whether the first line starts as an S-record."""
        return _SREC_START.match(bytes(data[:_START_LENGTH])) is not None

    def parse(self, data: memoryview, name: str, *, base: int | None = None) -> FirmwareImage:
        """Makes an image of S-records.

        Raises:
            ImageError: a broken record or a wrong count of records.
            MissingDependencyError: bincopy is not installed.
        """
        content = _Content(name, self.name, base, data)
        unpack = content.bincopy().unpack_srec
        records = 0
        for content.offset, line in _lines(data):
            try:
                kind, address, _, payload = unpack(line.decode("ascii"))
            except Exception as error:  # bincopy.Error, ValueError, IndexError and more, by the line's content
                content.fail(f"is no valid S-record ({_reason(error)})")
            if content.ended:
                content.more_after_end()
            if kind in "123":
                records += 1
                content.add(address, payload)
            elif kind in "56":
                if address != records & (0xFFFF if kind == "5" else 0xFFFFFF):
                    content.fail(f"counts {address} data records, but there are {records} before it", address)
            elif kind in "789":
                content.entry = address
                content.ended = True
        if not content.ended:
            content.warn("no-end-record", "there is no end record (S7, S8 or S9): the file may be cut off", len(data))
        return content.image()


@dataclass
class _Content:
    """What the records read so far say."""

    name: str
    format: str
    base: int | None
    file: memoryview
    entry: int | None = None
    ended: bool = False
    runs: list[tuple[int, bytearray]] = field(default_factory=list)
    warnings: list[ImageWarning] = field(default_factory=list)
    offset: int = 0

    def bincopy(self) -> ModuleType:
        if self.base is not None:
            raise ImageError(
                f"{self.name}: the records have addresses of their own, base={self.base:#x} has no meaning; "
                f"leave base out",
                value=self.base,
            )
        try:
            import bincopy
        except ImportError as error:
            raise MissingDependencyError(
                f"{self.name}: reading {self.format} files needs bincopy; install it with pip install openamp[formats]"
            ) from error
        module: ModuleType = bincopy
        return module

    def line(self) -> int:
        """Returns the number of the present line, for people."""
        return 1 + sum(1 for _ in re.finditer(rb"\r\n|\n|\r", self.file[: self.offset]))

    def fail(self, what: str, value: int | None = None) -> NoReturn:
        raise ImageError(
            f"{self.name}: line {self.line()} (offset {self.offset:#x}) {what}; copy or build the file again",
            offset=self.offset,
            value=value,
        )

    def warn(self, code: str, message: str, offset: int, value: int | None = None) -> None:
        self.warnings.append(ImageWarning(code, message, offset, value))

    def more_after_end(self) -> None:
        self.ended = False
        if not self.warnings:
            line = self.line()
            self.warn(
                "records-after-end",
                f"line {line} and more follow the end record; they are taken as well, other tools may stop there",
                self.offset,
                line,
            )

    def add(self, address: int, payload: bytes) -> None:
        if address + len(payload) > _ADDRESS_LIMIT:
            self.fail(f"ends at {address + len(payload):#x}, beyond 32-bit addresses", address)
        if self.runs and self.runs[-1][0] + len(self.runs[-1][1]) == address:
            self.runs[-1][1].extend(payload)
        elif payload:
            self.runs.append((address, bytearray(payload)))

    def image(self) -> FirmwareImage:
        if not self.runs:
            raise ImageError(f"{self.name}: there are no data records; build the file again", offset=0, value=0)
        joined: list[tuple[int, bytearray]] = []
        for address, data in sorted(self.runs, key=lambda run: run[0]):
            if joined and joined[-1][0] + len(joined[-1][1]) == address:
                joined[-1][1].extend(data)
            else:
                joined.append((address, data))
        segments = [
            Segment(address, len(data), memoryview(data).toreadonly(), address, name=f"{index}")
            for index, (address, data) in enumerate(joined)
        ]
        return FirmwareImage(
            segments, name=self.name, format=self.format, entry=self.entry, warnings=tuple(self.warnings)
        )


def _lines(data: memoryview) -> Iterator[tuple[int, bytes]]:
    """Yields file offset and content of each line that is not blank; lines end with LF, CR or both."""
    for match in re.finditer(rb"[^\r\n]+", data):
        if text := match.group().strip(_BLANK):
            yield match.start(), text


def _reason(error: Exception) -> str:
    text = str(error)
    return text if len(text) <= 120 else text[:117] + "..."
