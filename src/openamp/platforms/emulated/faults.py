"""The fault status registers of a Cortex-M: bits, names, and the text of a crash report."""

from __future__ import annotations

from openamp.platforms.emulated.core import Access
from openamp.platforms.emulated.nvic import BUS_FAULT, DEBUG_MONITOR, HARD_FAULT, MEM_MANAGE, USAGE_FAULT

__all__ = [
    "CFSR_BITS",
    "FAULTS",
    "HFSR_BITS",
    "Cfsr",
    "Hfsr",
    "decode",
    "no_execute",
]

FAULTS = 1 << HARD_FAULT | 1 << MEM_MANAGE | 1 << BUS_FAULT | 1 << USAGE_FAULT
"""The set of the fault exceptions."""


class Cfsr:
    """CFSR (B3.2.15): MMFSR, BFSR and UFSR in one word."""

    IACCVIOL = 1 << 0
    IBUSERR = 1 << 8
    PRECISERR = 1 << 9
    UNSTKERR = 1 << 11
    STKERR = 1 << 12
    BFARVALID = 1 << 15
    UNDEFINSTR = 1 << 16
    INVSTATE = 1 << 17
    INVPC = 1 << 18
    NOCP = 1 << 19
    STKOF = 1 << 20
    UNALIGNED = 1 << 24


class Hfsr:
    """HFSR (B3.2.16)."""

    VECTTBL = 1 << 1
    FORCED = 1 << 30
    DEBUGEVT = 1 << 31


CFSR_BITS = {
    Cfsr.IACCVIOL: ("IACCVIOL", "fetch from a region that cannot be executed"),
    Cfsr.IBUSERR: ("IBUSERR", "fetch from an address where there is nothing"),
    Cfsr.PRECISERR: ("PRECISERR", "data access to an address where there is nothing"),
    Cfsr.UNSTKERR: ("UNSTKERR", "the stack pointer leads outside memory on exception return"),
    Cfsr.STKERR: ("STKERR", "the stack pointer leads outside memory on exception entry"),
    Cfsr.BFARVALID: ("BFARVALID", "BFAR holds the address"),
    Cfsr.UNDEFINSTR: ("UNDEFINSTR", "undefined instruction"),
    Cfsr.INVSTATE: ("INVSTATE", "branch to an even address: not Thumb code"),
    Cfsr.INVPC: ("INVPC", "exception return with a wrong EXC_RETURN value or stack frame"),
    Cfsr.NOCP: ("NOCP", "coprocessor instruction without that coprocessor"),
    Cfsr.STKOF: ("STKOF", "the stack pointer passed its limit register"),
    Cfsr.UNALIGNED: ("UNALIGNED", "unaligned access"),
}

HFSR_BITS = {
    Hfsr.VECTTBL: ("VECTTBL", "the vector table leads outside memory"),
    Hfsr.FORCED: ("FORCED", "escalated from a fault that could not be taken"),
    Hfsr.DEBUGEVT: ("DEBUGEVT", "breakpoint without a debugger"),
}

FAULT_OF = {
    Cfsr.IACCVIOL: MEM_MANAGE,
    Cfsr.IBUSERR: BUS_FAULT,
    Cfsr.PRECISERR: BUS_FAULT,
    Cfsr.UNSTKERR: BUS_FAULT,
    Cfsr.STKERR: BUS_FAULT,
    Cfsr.UNDEFINSTR: USAGE_FAULT,
    Cfsr.INVSTATE: USAGE_FAULT,
    Cfsr.INVPC: USAGE_FAULT,
    Cfsr.NOCP: USAGE_FAULT,
    Cfsr.STKOF: USAGE_FAULT,
    Cfsr.UNALIGNED: USAGE_FAULT,
    0: DEBUG_MONITOR,
}
"""The exception that each cause raises; 0 stands for a breakpoint."""


def decode(name: str, value: int, bits: dict[int, tuple[str, str]]) -> str:
    """Returns a line such as "CFSR 0x00000100: IBUSERR (fetch from ...)"."""
    known = ", ".join(f"{short} ({text})" for bit, (short, text) in bits.items() if value & bit)
    return f"{name} 0x{value:08x}" + (f": {known}" if known else "")


def no_execute(address: int) -> bool:
    """The default memory map (B3.1) forbids to execute there: peripherals, external devices, system space."""
    return address >> 29 in (2, 5, 6, 7)


def describe_access(access: Access, address: int) -> str:
    """Returns what was tried, such as "write to 0x50000000"."""
    return f"{'write to' if access is Access.WRITE else 'read from'} 0x{address:08x}"
