"""The header and the announcement, byte by byte."""

from __future__ import annotations

import re
import struct

import pytest

from openamp.errors import RemoteProtocolError, RpmsgError
from openamp.rpmsg import wire
from openamp.rpmsg.wire import Header, NameServiceMessage, encode_name


@pytest.mark.parametrize(("record", "layout"), [(Header, wire.HEADER), (NameServiceMessage, wire.NAME_SERVICE)])
def test_docstring_tables(record: type, layout: struct.Struct) -> None:
    rows = re.findall(r"^\s*\| (\d+) \| (\d+) \| (\w+) \|", record.__doc__ or "", re.MULTILINE)
    codes = re.findall(r"\d*[a-zA-Z]", layout.format)
    assert [name for _, _, name in rows] == list(record._fields)  # type: ignore[attr-defined]
    at = 0
    for (offset, size, _), code in zip(rows, codes, strict=True):
        assert (int(offset), int(size)) == (at, struct.calcsize("<" + code))
        at += int(size)
    assert at == layout.size


def test_header_bytes() -> None:
    header = Header(src=0x400, dst=0x35, length=0x28)
    assert header.build() == bytes.fromhex("00040000 35000000 00000000 2800 0000")
    assert Header.parse(header.build() + b"payload") == header


def test_header_reserved_words_survive() -> None:
    raw = bytes(range(16))
    assert Header.parse(raw).build() == raw


def test_short_header() -> None:
    with pytest.raises(RemoteProtocolError, match="0xf bytes") as caught:
        Header.parse(bytes(15))
    assert caught.value.value == 15
    assert caught.value.clause == "struct rpmsg_hdr"


def test_announcement_bytes() -> None:
    message = NameServiceMessage(b"rpmsg-openamp-demo-channel", 0x400)
    raw = message.build()
    assert raw == b"rpmsg-openamp-demo-channel" + bytes(6) + b"\x00\x04\x00\x00" + bytes(4)
    assert NameServiceMessage.parse(memoryview(raw)) == message
    assert not message.destroy


def test_name_ends_at_first_nul_with_garbage_behind() -> None:
    raw = struct.pack("<32sII", b"echo\0stack garbage \xff\xfe\x80", 0x401, 0)
    assert NameServiceMessage.parse(raw) == (b"echo", 0x401, 0)


def test_name_fills_all_bytes() -> None:
    raw = struct.pack("<32sII", b"n" * 32, 0x401, 0)
    assert NameServiceMessage.parse(raw).text == "n" * 32
    assert NameServiceMessage(b"n" * 32, 0x401).build() == raw


@pytest.mark.parametrize(("flags", "destroy"), [(0, False), (1, True), (2, False), (0xFFFFFFFE, False), (0x101, True)])
def test_destroy_is_one_bit(flags: int, destroy: bool) -> None:
    assert NameServiceMessage(b"x", 1, flags).destroy is destroy


@pytest.mark.parametrize("size", [0, 39, 41, 44, 496])
def test_announcement_of_another_size(size: int) -> None:
    with pytest.raises(RemoteProtocolError, match="0x28"):
        NameServiceMessage.parse(bytes(size))


def test_name_that_is_not_utf8_can_be_printed() -> None:
    assert NameServiceMessage(b"caf\xe9\x1b", 1).text == "caf\\xe9\x1b"
    assert NameServiceMessage("café".encode(), 1).text == "café"


def test_encode_name() -> None:
    assert encode_name("n" * 32) == b"n" * 32
    assert encode_name("é" * 16) == "é".encode() * 16
    for name in ("n" * 33, "é" * 17, "a\0b"):
        with pytest.raises(RpmsgError, match="at most 32 bytes"):
            encode_name(name)
