"""Images whatever their format: opening, choosing the format, loading, finding symbols."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest

from openamp.errors import AddressError, ImageError, UnknownFormatError
from openamp.firmware import (
    EM_ARM,
    FirmwareFormat,
    FirmwareImage,
    ImageWarning,
    Segment,
    SegmentFlags,
    Symbol,
    SymbolKind,
    TableSection,
    format_names,
    load_image,
)
from openamp.firmware import image as image_module
from openamp.memory import MemoryMap, Region
from openamp.testing import ElfSegment, build_elf

CODE = bytes(range(64))
ELF = build_elf([ElfSegment(0x1000, CODE)])


def plain(*segments: tuple[int, bytes]) -> FirmwareImage:
    return FirmwareImage([Segment(da, len(data), data, da, name=f"s{da:x}") for da, data in segments])


# Sources -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, "array", "strided"])
def test_any_bytes_are_a_source(kind: object) -> None:
    import array

    source: bytes | bytearray | memoryview
    if kind == "array":
        source = memoryview(array.array("I", ELF + bytes(-len(ELF) % 4)))
    elif kind == "strided":
        source = memoryview(bytes(byte for byte in ELF for _ in range(2)))[::2]
    else:
        assert callable(kind)
        source = kind(ELF)
    assert bytes(load_image(source).segments[0].data) == CODE


def test_an_image_is_returned_as_it_is() -> None:
    image = load_image(ELF)
    assert load_image(image) is image


@pytest.mark.parametrize("threshold", [1, 1 << 30], ids=["mapped", "read"])
def test_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threshold: int) -> None:
    monkeypatch.setattr(image_module, "MAP_THRESHOLD", threshold)
    path = tmp_path / "some.bin"
    path.write_bytes(ELF)
    for source in (path, str(path)):
        image = load_image(source)
        assert (image.name, image.format, bytes(image.segments[0].data)) == ("some.bin", "elf32", CODE)
    memory = MemoryMap([Region("ram", 0x1000, bytearray(64))])
    image.load(memory)
    path.unlink()
    image.load(memory)
    assert memory.read(0x1000, 64) == CODE


def test_a_mapped_file_that_was_rewritten_in_place_is_not_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_module, "MAP_THRESHOLD", 1)
    path = tmp_path / "firmware.elf"
    path.write_bytes(ELF)
    image = FirmwareImage.open(path)
    os.truncate(path, 16)
    with pytest.raises(ImageError, match=r"firmware\.elf: the file was changed .* open it again"):
        image.load(MemoryMap([Region("ram", 0x1000, bytearray(64))]))
    path.write_bytes(ELF)
    image = FirmwareImage.open(path)
    replacement = tmp_path / "next.elf"
    replacement.write_bytes(build_elf([ElfSegment(0x1000, bytes(64))]))
    replacement.replace(path)
    memory = MemoryMap([Region("ram", 0x1000, bytearray(64))])
    image.load(memory)
    assert memory.read(0x1000, 64) == CODE


def test_pipes_are_read(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, ELF)
    os.close(writing)
    try:
        assert load_image(f"/dev/fd/{reading}").format == "elf32"
    finally:
        os.close(reading)


def test_endless_and_giant_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "MAX_STREAM_SIZE", 1 << 16)
    with pytest.raises(ImageError, match=r"/dev/zero: .* too many for a firmware image"):
        load_image("/dev/zero")
    path = tmp_path / "giant"
    with path.open("wb") as file:
        file.truncate(image_module.MAX_FILE_SIZE + 1)
    with pytest.raises(ImageError, match="too many") as caught:
        load_image(path)
    assert caught.value.value == image_module.MAX_FILE_SIZE + 1


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "nothing.elf")


# Formats -------------------------------------------------------------------------------------------------------


def test_unknown_bytes_say_what_they_start_with_and_what_helps() -> None:
    with pytest.raises(UnknownFormatError) as caught:
        FirmwareImage.from_bytes(b"\x1f\x8b\x08\x00rest", name="fw.gz")
    text = str(caught.value)
    assert "fw.gz: " in text
    assert "starts with 1f 8b 08 00" in text
    assert "gzip data; unpack it first" in text
    assert "tried elf, ihex, srec" in text
    assert 'format="raw" and base=' in text
    assert (caught.value.offset, caught.value.value) == (0, 0x1F8B0800)


def test_no_bytes() -> None:
    with pytest.raises(UnknownFormatError, match="it is empty"):
        load_image(b"")


def test_raw_binaries() -> None:
    image = load_image(CODE, format="raw", base=0x8000)
    assert (image.format, image.machine, image.entry, image.byte_order) == ("raw", None, None, "little")
    (segment,) = image.segments
    assert (segment.da, segment.size, segment.va, segment.offset, bytes(segment.data)) == (0x8000, 64, 0x8000, 0, CODE)
    assert image.machine_name == "unknown machine"
    assert load_image(CODE, base=0x8000).format == "raw"
    assert load_image(CODE, base=0).segments[0].da == 0


def test_raw_binaries_need_an_address_and_bytes() -> None:
    with pytest.raises(ImageError, match="give base=<load address>"):
        load_image(CODE, format="raw")
    with pytest.raises(ImageError, match="below 0"):
        load_image(CODE, format="raw", base=-1)
    with pytest.raises(ImageError, match="empty"):
        load_image(b"", format="raw", base=0)


def test_an_unknown_format_name_lists_the_known_ones() -> None:
    with pytest.raises(UnknownFormatError, match="no firmware format 'uimage'; choose elf, ihex, srec, raw"):
        load_image(ELF, format="uimage")


def test_built_in_formats_are_registered_as_entry_points() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["openamp.firmware_formats"] == image_module._BUILT_IN
    for name in image_module._BUILT_IN:
        built_in = image_module._built_in(name)
        assert isinstance(built_in, FirmwareFormat)
        assert built_in.name == name


PLUG_IN = """
from openamp.firmware import FirmwareImage, Segment

class Acme:
    name = "acme"
    def matches(self, data):
        return data[:4] == b"ACME"
    def parse(self, data, name, *, base=None):
        return FirmwareImage([Segment(0x42, len(data) - 4, data[4:], 0x42)], name=name, format="acme")

nonsense = 42
"""


@pytest.fixture
def installed_formats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_format.py").write_text(PLUG_IN)
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[openamp.firmware_formats]\nacme = acme_format:Acme\nbroken = acme_format:missing\n"
        "wrong = acme_format:nonsense\nelf = acme_format:Acme\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.mark.usefixtures("installed_formats")
def test_further_formats_come_by_entry_point_and_are_chosen_by_content() -> None:
    assert format_names() == ("elf", "ihex", "srec", "raw", "acme", "broken", "wrong")
    image = load_image(b"ACMEpayload")
    assert (image.format, bytes(image.segments[0].data)) == ("acme", b"payload")
    assert load_image(b"anything", format="acme").format == "acme"
    assert load_image(ELF).format == "elf32"


@pytest.mark.usefixtures("installed_formats")
def test_broken_formats_are_named() -> None:
    with pytest.raises(UnknownFormatError, match=r"tried elf, ihex, srec, acme\).*broken cannot.*wrong cannot.*base="):
        load_image(b"unknown")
    with pytest.raises(ImageError, match=r"format broken cannot be used .*missing"):
        load_image(b"unknown", format="broken")
    with pytest.raises(ImageError, match=r"wrong cannot be used .* not all of name, matches"):
        load_image(b"unknown", format="wrong")


# Images made of parts ------------------------------------------------------------------------------------------


def test_an_image_made_of_parts() -> None:
    calls: list[int] = []

    def read() -> list[Symbol]:
        calls.append(1)
        return [Symbol("main", 0x10, 4, SymbolKind.FUNCTION), Symbol("limit", 0x12, 0, SymbolKind.ABSOLUTE)]

    image = FirmwareImage(
        [Segment(0, 64, CODE[:32], 0, SegmentFlags.R | SegmentFlags.X, name="code")],
        name="made",
        machine=EM_ARM,
        entry=0x11,
        resource_table=TableSection(b"\x01", 0x20),
        symbols=read,
        warnings=[ImageWarning("odd", "something is odd")],
    )
    assert calls == []
    assert image.symbols == image.symbols == tuple(read())
    assert image.locate(0x13) == "main+0x2"
    assert len(calls) == 2
    assert repr(image) == (
        "<FirmwareImage 'made': raw, little-endian, Arm, entry 0x11, 1 segment of 0x40 bytes, resource table at 0x20, "
        "warnings: odd>"
    )
    assert repr(image.segments[0]) == "Segment('code', 0x0..0x40 R-X)"
    assert str(image.warnings[0]) == "something is odd"


@pytest.mark.parametrize("segment", [Segment(0, 3, b"four", 0), Segment(-1, 4, b"four", 0)])
def test_impossible_segments_are_refused(segment: Segment) -> None:
    with pytest.raises(ImageError, match="give a segment"):
        FirmwareImage([segment])


def test_all_warnings_are_documented() -> None:
    documented = set(re.findall(r"^\| ([a-z-]+) \|", image_module.__doc__ or "", re.MULTILINE))
    sources = [path.read_text() for path in Path(image_module.__file__).parent.glob("*.py")]
    used = {code for text in sources for code in re.findall(r'warn\(\s*"([a-z-]+)"', text)}
    assert documented - {"code"} == used | {"overlap", "overlap-code-data"}


# Loading -------------------------------------------------------------------------------------------------------


def test_a_segment_may_cover_neighbouring_regions() -> None:
    memory = MemoryMap([Region(f"sram{i}", 0x1000 + 16 * i, bytearray(b"\xaa" * 16)) for i in range(4)])
    FirmwareImage([Segment(0x1008, 48, CODE[:20], 0x1008)]).load(memory)
    content = b"".join(bytes(region.data) for region in memory)
    assert content == b"\xaa" * 8 + CODE[:20] + bytes(28) + b"\xaa" * 8


def test_nothing_is_written_when_a_segment_has_no_place() -> None:
    memory = MemoryMap([Region("flash", 0x1000, bytearray(64)), Region("ram", 0x2000, bytearray(64))])
    with pytest.raises(AddressError) as caught:
        plain((0x1000, CODE), (0x2020, CODE)).load(memory)
    assert (caught.value.da, caught.value.size) == (0x2020, 64)
    text = str(caught.value)
    assert "segment s2020 needs 0x2020..0x2060 (0x40 bytes)" in text
    assert "no memory at 0x2040" in text
    assert "flash 0x1000..0x1040, ram 0x2000..0x2040" in text
    assert "choose the board" in text
    assert memory.read(0x1000, 64) == bytes(64)


def test_segments_go_through_aliases() -> None:
    shared = bytearray(64)
    memory = MemoryMap([Region("sram", 0x1000, shared), Region("alias", 0x9000, shared)])
    plain((0x9010, b"alias")).load(memory)
    assert memory.read(0x1010, 5) == b"alias"


def test_the_live_table_is_at_its_sections_address_where_there_is_memory() -> None:
    rom, ram = Region("rom", 0x1000, bytearray(64)), Region("ram", 0x2000, bytearray(64))
    table = TableSection(bytes(16), 0x1000, section_address=0x2000)
    assert table.live_da(MemoryMap([rom, ram])) == 0x2000
    assert table.live_da(MemoryMap([rom])) == 0x1000
    assert TableSection(bytes(16), 0x1000).live_da(MemoryMap([rom, ram])) == 0x1000


def test_overlaps_of_many_segments_take_no_time() -> None:
    ones = b"\x01" * 4096
    image = FirmwareImage([Segment(0x1000, 4096, ones, 0x1000) for _ in range(4000)])
    assert all(warning.code == "overlap" for warning in image.warnings)
    image = plain(*((0x1000, bytes([index % 255])) for index in range(4000)))
    assert len(image.warnings) == 16
