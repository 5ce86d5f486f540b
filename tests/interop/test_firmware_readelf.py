"""What binutils say about the same files: readelf for ELF, objcopy for the other formats."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from openamp.firmware import FirmwareImage, SymbolKind, load_image
from openamp.memory import MemoryMap, Region
from openamp.testing import ElfSegment, ElfSymbol, build_elf

pytestmark = pytest.mark.toolchain

SOURCE = """
__attribute__((section(".resource_table"), used)) struct { unsigned ver, num, reserved[2]; } table = {1, 0, {0, 0}};
static volatile int counter = 42;
volatile int zeros[100];
__attribute__((noinline)) static int helper(int x) { return x * counter; }
int main(void) { return helper(zeros[3]); }
void _start(void) { for (;;) main(); }
"""
SCRIPT = """
ENTRY(_start)
MEMORY { ROM (rx) : ORIGIN = 0x08000000, LENGTH = 64K
         RAM (rwx) : ORIGIN = 0x20000000, LENGTH = 64K }
stack_size = 0x800;
SECTIONS {
  .text : { *(.text*) *(.rodata*) } > ROM
  .resource_table : { KEEP(*(.resource_table)) } > RAM AT> ROM
  .data : { *(.data*) } > RAM AT> ROM
  .bss (NOLOAD) : { bss_start = .; *(.bss*) } > RAM
  /DISCARD/ : { *(.ARM.exidx*) *(.eh_frame*) }
}
"""
BUILDS = {
    "m4": ("arm-none-eabi-", ["-mcpu=cortex-m4", "-mthumb"]),
    "m4-big": ("arm-none-eabi-", ["-mcpu=cortex-m4", "-mthumb", "-mbig-endian"]),
    "r5": ("arm-none-eabi-", ["-mcpu=cortex-r5"]),
    "rv32": ("riscv64-unknown-elf-", ["-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany"]),
    "rv64": ("riscv64-unknown-elf-", ["-march=rv64imac", "-mabi=lp64", "-mcmodel=medany"]),
}


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module", params=BUILDS)
def firmware(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    prefix, flags = BUILDS[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    (folder / "main.c").write_text(SOURCE)
    (folder / "link.ld").write_text(SCRIPT)
    elf = folder / "main.elf"
    common = ["-O1", "-g", "-ffreestanding", "-nostdlib", "-nostartfiles", "-Wl,--build-id=none", "-no-pie"]
    run(f"{prefix}gcc", *flags, *common, "-T", folder / "link.ld", "-o", elf, folder / "main.c")
    return elf, prefix


def check_against_readelf(path: Path) -> FirmwareImage:
    image = load_image(path)
    header = run("readelf", "-hW", path)
    assert re.search(r"Class: +ELF(\d+)", header)[1] == image.format[3:]  # type: ignore[index]
    assert f"{image.byte_order} endian" in header
    assert int(re.search(r"Entry point address: +(0x[0-9a-f]+)", header)[1], 16) == image.entry  # type: ignore[index]
    loads = re.findall(r"^  LOAD +(0x\w+) (0x\w+) (0x\w+) (0x\w+) (0x\w+) (...) ", run("readelf", "-lW", path), re.M)
    expected = [
        (*(int(number, 16) for number in load[:5]), load[5].replace(" ", "-").replace("E", "X")) for load in loads
    ]
    assert [(s.offset, s.va, s.da, len(s.data), s.size, str(s.flags)) for s in image.segments] == [
        row for row in expected if row[4]
    ]
    return image


@pytest.mark.parametrize("path", ["/bin/ls", "/bin/sh", sys.executable, shutil.which("readelf") or "/usr/bin/readelf"])
def test_programs_of_this_machine(path: str) -> None:
    check_against_readelf(Path(path))


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("byte_order", ["little", "big"])
def test_built_files_are_sound_elf_files(
    tmp_path: Path, bits: Literal[32, 64], byte_order: Literal["little", "big"]
) -> None:
    path = tmp_path / "built.elf"
    path.write_bytes(
        build_elf(
            [ElfSegment(0x1000, b"code" * 8, size=64, va=0x8000), ElfSegment(0x2000, b"data", flags=6)],
            resource_table=bytes([1]) + bytes(15),
            symbols=[ElfSymbol("main", 0x8000, 8), ElfSymbol("local", 0x8008, binding=0)],
            bits=bits,
            byte_order=byte_order,
        )
    )
    image = check_against_readelf(path)
    assert len(image.segments) == 3
    complaints = subprocess.run(["readelf", "-aW", path], check=True, capture_output=True, text=True)
    assert "arning" not in complaints.stdout + complaints.stderr


def test_firmware_of_the_cross_compilers(firmware: tuple[Path, str]) -> None:
    path, prefix = firmware
    image = check_against_readelf(path)
    assert image.machine_name == ("Arm" if prefix.startswith("arm") else "RISC-V")
    table = image.resource_table
    assert table is not None
    assert (table.section_address, len(table.data)) == (0x20000000, 16)
    assert 0x08000000 < table.da < 0x08001000
    assert [warning.code for warning in image.warnings] == ["table-address"]


def test_symbols_of_the_cross_compilers(firmware: tuple[Path, str]) -> None:
    path, prefix = firmware
    image = load_image(path)
    rows = [line.split() for line in run(f"{prefix}nm", "-S", "--defined-only", path).splitlines()]
    expected = {row[-1]: (int(row[0], 16), int(row[1], 16) if len(row) == 4 else 0) for row in rows}
    assert {symbol.name: (symbol.address, symbol.size) for symbol in image.symbols} == expected
    kinds = {symbol.name: symbol.kind for symbol in image.symbols}
    assert (kinds["main"], kinds["counter"]) == (SymbolKind.FUNCTION, SymbolKind.OBJECT)
    assert (kinds["bss_start"], kinds["stack_size"]) == (SymbolKind.LABEL, SymbolKind.ABSOLUTE)
    for name in ("main", "helper", "_start"):
        address, size = expected[name]
        assert [image.locate(address), image.locate(address + size - 2)] == [name, f"{name}+{size - 2:#x}"]
    assert image.locate(expected["zeros"][0] + 5) == "zeros+0x5"


@pytest.mark.parametrize("kind", ["ihex", "srec", "binary"])
def test_other_formats_of_the_same_firmware(firmware: tuple[Path, str], kind: str, tmp_path: Path) -> None:
    path, prefix = firmware
    image = load_image(path)
    other = tmp_path / "main.other"
    run(f"{prefix}objcopy", "-O", kind, path, other)
    converted = load_image(other, base=image.segments[0].da) if kind == "binary" else load_image(other)
    assert converted.format == {"ihex": "ihex", "srec": "srec", "binary": "raw"}[kind]
    if kind != "binary":
        assert converted.entry == image.entry
    memories = [
        MemoryMap([Region("rom", 0x08000000, bytearray(0x10000)), Region("ram", 0x20000000, bytearray(0x10000))])
        for _ in range(2)
    ]
    image.load(memories[0])
    converted.load(memories[1])
    assert memories[0].read(0x08000000, 0x10000) == memories[1].read(0x08000000, 0x10000)
