"""What the RISC-V core knows of single instructions; the disassembler of binutils is the judge."""

from __future__ import annotations

import random
import re
import struct
import subprocess
from pathlib import Path

import pytest

from openamp.platforms.emulated.riscv import ABI_NAMES
from openamp.platforms.emulated.rvdecode import (
    Trouble,
    access_address,
    explain_illegal,
    find_trouble,
    instruction_bits,
    instruction_length,
)

SP, A1 = 2, 11
VALUES = {number: 0x1000_0000 * (number % 8) + number for number in range(32)}


@pytest.mark.parametrize(("word", "length"), [(0x0000_0013, 4), (0xA001, 2), (0x9002, 2), (0xFFFF_FFFF, 4), (0, 2)])
def test_length_and_bits(word: int, length: int) -> None:
    assert instruction_length(word) == length
    assert instruction_bits(word | 0xABCD_0000) == (word | 0xABCD_0000 if length == 4 else word)


@pytest.mark.parametrize(
    ("word", "offset", "base", "xlen"),
    [
        (0x0045_A503, 4, A1, 32),  # lw a0, 4(a1)
        (0x8005_A503, -2048, A1, 32),  # lw a0, -2048(a1)
        (0xFEA5_AFA3, -1, A1, 32),  # sw a0, -1(a1)
        (0x00A5_A52F, 0, A1, 32),  # amoadd.w a0, a0, (a1)
        (0x0085_A507, 8, A1, 32),  # flw fa0, 8(a1)
        (0x41C8, 4, A1, 32),  # c.lw a0, 4(a1)
        (0x6588, 8, A1, 64),  # c.ld a0, 8(a1)
        (0x6588, 8, A1, 32),  # c.flw fa0, 8(a1)
        (0x4512, 4, SP, 32),  # c.lwsp a0, 4(sp)
        (0xC22A, 4, SP, 32),  # c.swsp a0, 4(sp)
        (0xE42A, 8, SP, 64),  # c.sdsp a0, 8(sp)
    ],
)
def test_the_address_of_an_access(word: int, offset: int, base: int, xlen: int) -> None:
    assert access_address(word, VALUES.__getitem__, xlen=xlen) == (VALUES[base] + offset) & (1 << xlen) - 1


@pytest.mark.parametrize("word", [0x0000_0013, 0x0000_0073, 0x0000_0063, 0xA001, 0x0001, 0x8082, 0x0000_006F])
def test_other_instructions_access_nothing(word: int) -> None:
    assert access_address(word, VALUES.__getitem__, xlen=32) is None


def test_an_address_wraps() -> None:
    assert access_address(0x0045_A503, lambda _: 0xFFFF_FFFE, xlen=32) == 2
    assert access_address(0x0045_A503, lambda _: (1 << 64) - 2, xlen=64) == 2


@pytest.mark.parametrize(
    ("word", "on_32", "on_64"),
    [
        (0xC000_2573, Trouble.COUNTER, Trouble.COUNTER),  # rdcycle a0
        (0xC020_3573, Trouble.COUNTER, Trouble.COUNTER),  # csrrc a0, instret, zero
        (0xC800_6573, Trouble.COUNTER, Trouble.COUNTER),  # csrrsi a0, cycleh, 0
        (0xC1F0_2573, Trouble.COUNTER, Trouble.COUNTER),  # csrr a0, hpmcounter31
        (0xC000_1073, None, None),  # a write to cycle is refused
        (0xC005_2573, Trouble.COUNTER, Trouble.COUNTER),  # csrrs a0, cycle, a0: a write, whatever a0 is
        (0xC200_2573, None, None),  # csrr a0, vl
        (0xB000_2573, None, None),  # mcycle is refused
        (0x8000, Trouble.IGNORED, Trouble.IGNORED),  # c.lbu of Zcb
        (0x9C41, Trouble.IGNORED, Trouble.IGNORED),  # c.mul of Zcb
        (0x9C01, Trouble.IGNORED, None),  # c.subw
        (0x9021, Trouble.IGNORED, None),  # c.srli by 40
        (0x1522, Trouble.IGNORED, None),  # c.slli by 40
        (0x9941, None, None),  # c.andi with a negative immediate
        (0x2000, Trouble.IGNORED_WITHOUT_FLOAT, Trouble.IGNORED_WITHOUT_FLOAT),  # c.fld
        (0xA002, Trouble.IGNORED_WITHOUT_FLOAT, Trouble.IGNORED_WITHOUT_FLOAT),  # c.fsdsp
        (0x6002, Trouble.IGNORED_WITHOUT_FLOAT, None),  # c.flwsp, c.ldsp
        (0x6000, None, None),  # c.flw is refused by the engine itself; c.ld
        (0x4108, None, None),  # c.lw
        (0x8082, None, None),  # ret
        (0x0001, None, None),  # c.nop
    ],
)
def test_trouble(word: int, on_32: Trouble | None, on_64: Trouble | None) -> None:
    assert find_trouble(word, wide=False) is on_32
    assert find_trouble(word, wide=True) is on_64


def test_every_illegal_instruction_has_an_explanation() -> None:
    chance = random.Random(7)
    words = [*range(0, 0x1_0000, 7), *(chance.getrandbits(32) | 3 for _ in range(20_000))]
    for word in words:
        for privilege in (0, 3):
            for float_on in (False, True):
                text = explain_illegal(instruction_bits(word), privilege=privilege, float_on=float_on)
                assert text
                assert "\n" not in text


def objdump(code: bytes, machine: str, tmp_path: Path) -> dict[int, str]:
    """Returns the disassembly by offset."""
    path = tmp_path / "code.bin"
    path.write_bytes(code)
    command = ["riscv64-unknown-elf-objdump", "-D", "-b", "binary", "-m", machine, "-M", "no-aliases", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = re.findall(r"^ +([0-9a-f]+):\t[0-9a-f ]+\t(.*)$", text, re.MULTILINE)
    return {int(offset, 16): instruction for offset, instruction in found}


@pytest.mark.toolchain
@pytest.mark.parametrize("xlen", [32, 64])
def test_addresses_agree_with_the_disassembler(xlen: int, tmp_path: Path) -> None:
    chance = random.Random(xlen)
    words = [word for word in range(0x1_0000) if word & 3 != 3]
    opcodes = (0x03, 0x07, 0x23, 0x27, 0x2F)
    wide = [(chance.getrandbits(25) << 7) | chance.choice(opcodes) for _ in range(20_000)]
    code = struct.pack(f"<{len(words)}H", *words) + struct.pack(f"<{len(wide)}I", *wide)
    disassembly = objdump(code, f"riscv:rv{xlen}", tmp_path)
    offset = checked = 0
    for word in [*words, *wide]:
        text = disassembly.get(offset, "")
        offset += instruction_length(word)
        access = re.match(r"(?:c\.)?(f?[ls][bhwd]u?(?:sp)?|(?:lr|sc|amo\w+)\.\S+)\s+(?:\w+,)*(-?\d*)\((\w+)\)", text)
        if access is None:
            continue
        base = ABI_NAMES.index(access[3])
        expected = VALUES[base] + int(access[2] or 0) & (1 << xlen) - 1
        assert access_address(word, VALUES.__getitem__, xlen=xlen) == expected, text
        checked += 1
    assert checked > 10_000
