"""Intel HEX and S-record files."""

from __future__ import annotations

import sys

import bincopy
import pytest

from openamp.errors import ImageError, MissingDependencyError
from openamp.firmware import FirmwareImage, load_image
from openamp.memory import MemoryMap, Region


def ihex(*records: tuple[int, int, bytes], end: bool = True) -> bytes:
    lines = [bincopy.pack_ihex(kind, address, len(data), data) for kind, address, data in records]
    return "\n".join([*lines, *([":00000001FF"] if end else [])]).encode() + b"\n"


def srec(*records: tuple[str, int, bytes]) -> bytes:
    return "".join(bincopy.pack_srec(kind, address, len(data), data) + "\n" for kind, address, data in records).encode()


def content(image: FirmwareImage) -> list[tuple[int, bytes]]:
    return [(segment.da, bytes(segment.data)) for segment in image.segments]


def refused(data: bytes) -> ImageError:
    with pytest.raises(ImageError) as caught:
        load_image(data)
    assert ";" in str(caught.value)
    return caught.value


# Intel HEX -----------------------------------------------------------------------------------------------------


def test_intel_hex() -> None:
    image = load_image(
        ihex((0, 0x10, b"low"), (4, 0, b"\x10\x04"), (0, 4, b"efgh"), (0, 0, b"abcd"), (5, 0, b"\x10\x04\x00\x01"))
    )
    assert (image.format, image.byte_order, image.machine, image.entry) == ("ihex", "little", None, 0x10040001)
    assert content(image) == [(0x10, b"low"), (0x10040000, b"abcdefgh")]
    assert image.warnings == ()
    memory = MemoryMap([Region("a", 0, bytearray(32)), Region("b", 0x10040000, bytearray(32))])
    image.load(memory)
    assert memory.read(0x10040000, 8) == b"abcdefgh"


def test_intel_hex_segment_addresses() -> None:
    image = load_image(ihex((2, 0, b"\x12\x34"), (0, 5, b"x"), (3, 0, b"\x12\x34\x00\x05")))
    assert (content(image), image.entry) == ([(0x12345, b"x")], 0x12345)


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("before", ["", "\n \n"])
def test_lines_end_as_they_like(ending: str, before: str) -> None:
    text = before + ihex((0, 0x10, b"data")).decode().lower().replace("\n", ending) + "\x1a"
    assert content(load_image(text.encode())) == [(0x10, b"data")]


def test_a_cut_off_intel_hex_file() -> None:
    error = refused(ihex((0, 0, b"data"), end=False))
    assert "cut off" in str(error)
    whole = ihex((0, 0, b"data"), (0, 4, b"more"))
    for length in range(11, len(whole) - 1):
        refused(whole[:length])


def test_joined_intel_hex_files() -> None:
    image = load_image(ihex((4, 0, b"\x10\x00"), (0, 0, b"one")) + ihex((0, 0, b"two")))
    assert content(image) == [(0, b"two"), (0x10000000, b"one")]
    assert [(warning.code, warning.value) for warning in image.warnings] == [("records-after-end", 4)]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (":0400000064617461", "no valid Intel HEX record"),
        (":040000006461746160", "no valid Intel HEX record .*crc"),
        ("garbage", "no valid Intel HEX record"),
        (":0400zz006461746160", "no valid Intel HEX record"),
        (":\xe4\xf6\xfc", "no valid Intel HEX record"),
        (bincopy.pack_ihex(9, 0, 0, b""), "unknown type 0x09"),
        (bincopy.pack_ihex(4, 0, 1, b"\0"), "has 1 bytes of data, its type 04 has 2"),
        (bincopy.pack_ihex(5, 0, 2, b"\0\0"), "has 2 bytes"),
        (bincopy.pack_ihex(1, 0, 1, b"\0"), "has 1 bytes"),
    ],
)
def test_broken_records_say_where(line: str, what: str) -> None:
    good = ihex((0, 0, b"data"), end=False)
    with pytest.raises(ImageError, match=rf"line 2 \(offset {len(good):#x}\) .*{what}.*; copy or build") as caught:
        load_image(good + line.encode("latin-1") + b"\n:00000001FF\n")
    assert caught.value.offset == len(good)


def test_addresses_end_at_4_gib() -> None:
    assert content(load_image(ihex((4, 0, b"\xff\xff"), (0, 0xFFFE, b"ok")))) == [(0xFFFFFFFE, b"ok")]
    assert refused(ihex((4, 0, b"\xff\xff"), (0, 0xFFFE, b"bad"))).value == 0xFFFFFFFE


def test_no_data_at_all() -> None:
    assert "no data records" in str(refused(ihex()))


def test_records_that_overwrite_each_other() -> None:
    image = load_image(ihex((0, 0, b"abcdefgh"), (0, 4, b"WXYZ")))
    assert [(warning.code, warning.value) for warning in image.warnings] == [("overlap", 4)]
    with pytest.raises(ImageError, match="overwrites"):
        image.load(MemoryMap([Region("ram", 0, bytearray(16))]))


def test_scattered_records_take_linear_time() -> None:
    records = [(0, 2 * address, b"x") for address in range(0x7FFF, 0, -1)]
    assert len(load_image(ihex(*records)).segments) == 0x7FFF


# S-records -----------------------------------------------------------------------------------------------------


def test_s_records() -> None:
    image = load_image(
        srec(("0", 0, b"name"), ("1", 0x10, b"a"), ("2", 0x11, b"b"), ("3", 0x10040000, b"c"), ("7", 0x10040001, b""))
    )
    assert (image.format, image.entry, image.warnings) == ("srec", 0x10040001, ())
    assert content(image) == [(0x10, b"ab"), (0x10040000, b"c")]


@pytest.mark.parametrize("end", ["7", "8", "9"])
def test_each_end_record_has_the_entry(end: str) -> None:
    assert load_image(srec(("1", 0, b"data"), (end, 0x1234, b""))).entry == 0x1234


def test_s_records_without_an_end() -> None:
    image = load_image(srec(("1", 0, b"data")))
    assert ([warning.code for warning in image.warnings], image.entry) == (["no-end-record"], None)


def test_counts_of_s_records() -> None:
    assert load_image(srec(("1", 0, b"a"), ("2", 1, b"b"), ("5", 2, b""), ("9", 0, b""))).warnings == ()
    error = refused(srec(("1", 0, b"a"), ("5", 2, b""), ("9", 0, b"")))
    assert error.value == 2
    assert "counts 2 data records, but there are 1" in str(error)


@pytest.mark.parametrize("line", ["S107000001020304", "S1070000010203047F", "S4030000FC", "S1", "T1", "S9zz0000FC"])
def test_broken_s_records_say_where(line: str) -> None:
    good = srec(("1", 0, b"data"))
    error = refused(good + line.encode())
    assert error.offset == len(good)
    assert "line 2" in str(error)


def test_joined_s_record_files() -> None:
    one = srec(("1", 0, b"a"), ("9", 0, b""))
    image = load_image(one + srec(("1", 8, b"b"), ("9", 0, b"")))
    assert content(image) == [(0, b"a"), (8, b"b")]
    assert [warning.code for warning in image.warnings] == ["records-after-end"]


# Both ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [ihex((0, 0, b"data")), srec(("1", 0, b"data"))])
def test_a_load_address_is_refused(data: bytes) -> None:
    with pytest.raises(ImageError, match="leave base out"):
        load_image(data, base=0x1000)


@pytest.mark.parametrize("data", [ihex((0, 0, b"data")), srec(("1", 0, b"data"))])
def test_without_bincopy_the_error_says_what_to_install(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bincopy", None)
    with pytest.raises(MissingDependencyError, match=r"pip install openamp\[formats\]"):
        load_image(data)


@pytest.mark.parametrize("data", [ihex((0, 0, b"data")), srec(("1", 0, b"data"))])
def test_bincopy_reads_the_same(data: bytes) -> None:
    oracle = bincopy.BinFile()
    oracle.add(data.decode())
    assert content(load_image(data)) == [(segment.address, bytes(segment.data)) for segment in oracle.segments]
