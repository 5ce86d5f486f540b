"""What the RISC-V core must know of single instructions: their length, what they access, why one is illegal."""

from __future__ import annotations

import enum
from collections.abc import Callable

from openamp.platforms.emulated.csr import MACHINE, csr_name

__all__ = ["Trouble", "access_address", "explain_illegal", "find_trouble", "instruction_bits", "instruction_length"]


class Trouble(enum.Enum):
    """Why the engine must not execute an instruction itself."""

    COUNTER = "it reads a counter for user mode, and would get the host's clock"
    IGNORED = "it is illegal, and the engine takes it for a no-operation"
    IGNORED_WITHOUT_FLOAT = "the same, while mstatus.FS is off"


OPCODE_SYSTEM = 0x73
COUNTERS, COUNTER_MASK = 0xC00, 0xF60  # cycle, time, instret, hpmcounter3 to 31 and their high halves
READ_ONLY = 3

_BY_OPCODE = {
    0x07: "a floating-point or vector load",
    0x27: "a floating-point or vector store",
    0x43: "a floating-point instruction",
    0x47: "a floating-point instruction",
    0x4B: "a floating-point instruction",
    0x4F: "a floating-point instruction",
    0x53: "a floating-point instruction",
    0x57: "a vector instruction (extension V)",
    0x77: "a vector or packed-SIMD instruction (extensions V, P)",
    0x0B: "an instruction of a vendor's own (custom-0)",
    0x2B: "an instruction of a vendor's own (custom-1)",
    0x5B: "an instruction of a vendor's own (custom-2)",
    0x7B: "an instruction of a vendor's own (custom-3)",
    0x0F: "a cache-block instruction (Zicbom, Zicboz)",
    0x2F: "an atomic instruction of another width or kind (Zabha, Zacas)",
    0x13: "a bit-manipulation or cryptography instruction (Zb*, Zk*)",
    0x33: "a bit-manipulation or cryptography instruction (Zb*, Zk*)",
    0x1B: "an RV64 or bit-manipulation instruction",
    0x3B: "an RV64 or bit-manipulation instruction",
    0x03: "a load of another width (RV64)",
    0x23: "a store of another width (RV64)",
}
_FLOAT_OPCODES = {0x07, 0x27, 0x43, 0x47, 0x4B, 0x4F, 0x53}


def instruction_length(word: int) -> int:
    """Returns 2 for a compressed instruction, 4 for all others."""
    return 4 if word & 3 == 3 else 2


def instruction_bits(word: int) -> int:
    """Returns the instruction alone: its low half where it is compressed."""
    return word if word & 3 == 3 else word & 0xFFFF


def find_trouble(word: int, *, wide: bool) -> Trouble | None:
    """Returns why an instruction must not be left to the engine, or None.

    The engine refuses what it does not know, except compressed instructions: reserved ones, those of later extensions
    (Zcb), and those of the floating-point unit while that is off pass as if they were not there.
    """
    if word & 3 == 3:
        reads = word & 0x7F == OPCODE_SYSTEM and word >> 12 & 3 >= 2
        return Trouble.COUNTER if reads and word >> 20 & COUNTER_MASK == COUNTERS else None
    quadrant, function = word & 3, word >> 13 & 7
    if quadrant != 1 and (function in (1, 5) or (quadrant == 2 and function in (3, 7) and not wide)):
        return Trouble.IGNORED_WITHOUT_FLOAT
    if quadrant == 0:
        ignored = function == 4
    elif quadrant == 1:
        operation, high = word >> 10 & 3, bool(word & 0x1000)
        ignored = (
            function == 4 and high and (bool(word & 0x40) if operation == 3 and wide else not wide and operation != 2)
        )
    else:
        ignored = function == 0 and bool(word & 0x1000) and not wide
    return Trouble.IGNORED if ignored else None


def _signed12(value: int) -> int:
    return value - 0x1000 if value & 0x800 else value


def access_address(word: int, register: Callable[[int], int], *, xlen: int) -> int | None:
    """Returns the address that a load, store or atomic instruction accesses; None for any other instruction.

    Args:
        word: the instruction.
        register: gives a register's value.
        xlen: 32 or 64; some compressed instructions differ.
    """
    mask = (1 << xlen) - 1
    if word & 3 != 3:
        found = _compressed_access(word, wide=xlen == 64)
        return None if found is None else register(found[0]) + found[1] & mask
    opcode, base = word & 0x7F, word >> 15 & 31
    if opcode in (0x03, 0x07):
        offset = _signed12(word >> 20)
    elif opcode in (0x23, 0x27):
        offset = _signed12(word >> 25 << 5 | word >> 7 & 31)
    elif opcode == 0x2F:
        offset = 0
    else:
        return None
    return register(base) + offset & mask


def _compressed_access(word: int, *, wide: bool) -> tuple[int, int] | None:
    """Returns (base register, offset) of a compressed load or store, or None."""
    quadrant, function = word & 3, word >> 13 & 7
    if quadrant == 1 or function in (0, 4):
        return None
    double = function in (1, 5) or (wide and function in (3, 7))
    if quadrant == 0:
        offset = (word >> 10 & 7) << 3
        offset |= (word >> 5 & 3) << 6 if double else (word >> 6 & 1) << 2 | (word >> 5 & 1) << 6
        return 8 + (word >> 7 & 7), offset
    if function < 4:
        offset = (word >> 12 & 1) << 5
        offset |= (word >> 5 & 3) << 3 | (word >> 2 & 7) << 6 if double else (word >> 4 & 7) << 2 | (word >> 2 & 3) << 6
    elif double:
        offset = (word >> 10 & 7) << 3 | (word >> 7 & 7) << 6
    else:
        offset = (word >> 9 & 15) << 2 | (word >> 7 & 3) << 6
    return 2, offset


def explain_illegal(word: int, *, privilege: int, float_on: bool) -> str:
    """Returns one line that says why an instruction is illegal, for people.

    Args:
        word: the instruction (the low half where it is compressed).
        privilege: the mode it ran in.
        float_on: mstatus.FS is not off.
    """
    if word == 0:
        return "0x0000 is no instruction: the program ran into empty memory, or a pointer to code is wrong"
    if word == 0xFFFFFFFF:
        return "0xffffffff is no instruction: the program ran into erased memory"
    if word & 3 != 3:
        return _explain_compressed(word, float_on)
    opcode = word & 0x7F
    if opcode == OPCODE_SYSTEM:
        return _explain_system(word, privilege)
    if opcode in _FLOAT_OPCODES and not float_on:
        return f"{word:#010x} is {_BY_OPCODE[opcode]}, but mstatus.FS is off: the startup code must set it"
    what = _BY_OPCODE.get(opcode, "no instruction of this core")
    return f"{word:#010x} is {what}; the core has RV32/RV64 IMAFDC, Zicsr and Zifencei: build the firmware for that"


def _explain_compressed(word: int, float_on: bool) -> str:
    quadrant, function = word & 3, word >> 13
    if not float_on and (quadrant in (0, 2)) and function in (1, 3, 5, 7):
        return f"{word:#06x} is a compressed floating-point instruction, but mstatus.FS is off"
    if quadrant == 0 and function == 4:
        what = "a compressed instruction of Zcb"
    elif quadrant == 1 and word >> 10 & 7 == 7 and function == 4:
        what = "a compressed instruction of Zcb, or one of RV64"
    elif quadrant == 2 and function == 5:
        what = "a compressed instruction of Zcmp or Zcmt"
    else:
        what = "a reserved compressed instruction"
    return f"{word:#06x} is {what}; the core has RV32/RV64 IMAFDC: build the firmware for that"


def _explain_system(word: int, privilege: int) -> str:
    if word >> 12 & 7 in (0, 4):
        return f"{word:#010x} is a privileged instruction of a mode or extension that this core does not have"
    number = word >> 20
    name = csr_name(number)
    if number >> 8 & 3 > privilege:
        return f"access to {name} from {'machine' if privilege == MACHINE else 'user'} mode, which may not"
    if number in (1, 2, 3):
        return f"access to {name} while mstatus.FS is off: the startup code must set it"
    kind = word >> 12 & 3
    if number >> 10 == READ_ONLY and (kind == 1 or word >> 15 & 31):
        return f"write to {name}, which is read-only"
    return f"access to {name}, which this core does not have or does not allow here"
