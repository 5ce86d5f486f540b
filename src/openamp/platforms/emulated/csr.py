"""The control and status registers of a RISC-V hart with machine and user mode.

After the RISC-V Privileged Architecture 1.12. What a field may hold is decided here on writing (WARL), so reading
gives back stored values. The floating-point registers (fflags, frm, fcsr) are the engine's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

__all__ = ["CAUSES", "INTERRUPTS", "MACHINE", "USER", "CsrFile", "Hart", "csr_name"]

USER, MACHINE = 0, 3
MASK32 = 0xFFFFFFFF
MASK64 = (1 << 64) - 1

MIE, MPIE, MPP, FS, MPRV, TW = 1 << 3, 1 << 7, 3 << 11, 3 << 13, 1 << 17, 1 << 21
MPP_SHIFT, FS_SHIFT = 11, 13
MSI, MTI, MEI = 1 << 3, 1 << 7, 1 << 11
MISA_EXTENSIONS = sum(1 << ord(letter) - ord("a") for letter in "acdfimu")
PMP_ENTRIES = 16
PMP_CONFIG_BITS = 0x9F
PMP_LOCKED = 0x80
PMP_ADDRESS_BITS = {32: 32, 64: 54}

CAUSES: Mapping[int, str] = {
    0: "instruction address misaligned",
    1: "instruction access fault",
    2: "illegal instruction",
    3: "breakpoint",
    4: "load address misaligned",
    5: "load access fault",
    6: "store or atomic address misaligned",
    7: "store or atomic access fault",
    8: "environment call from user mode",
    11: "environment call from machine mode",
}
INTERRUPTS: Mapping[int, str] = {
    3: "machine software interrupt",
    7: "machine timer interrupt",
    11: "machine external interrupt",
}

_NAMES: Mapping[int, str] = {
    0x001: "fflags", 0x002: "frm", 0x003: "fcsr",
    0x008: "vstart", 0x009: "vxsat", 0x00A: "vxrm", 0x00F: "vcsr", 0xC20: "vl", 0xC21: "vtype", 0xC22: "vlenb",
    0xC00: "cycle", 0xC01: "time", 0xC02: "instret", 0xC80: "cycleh", 0xC81: "timeh", 0xC82: "instreth",
    0x100: "sstatus", 0x104: "sie", 0x105: "stvec", 0x106: "scounteren", 0x140: "sscratch", 0x141: "sepc",
    0x142: "scause", 0x143: "stval", 0x144: "sip", 0x180: "satp",
    0x300: "mstatus", 0x301: "misa", 0x302: "medeleg", 0x303: "mideleg", 0x304: "mie", 0x305: "mtvec",
    0x306: "mcounteren", 0x307: "mtvt", 0x30A: "menvcfg", 0x310: "mstatush", 0x31A: "menvcfgh",
    0x320: "mcountinhibit", 0x340: "mscratch", 0x341: "mepc", 0x342: "mcause", 0x343: "mtval", 0x344: "mip",
    0x345: "mnxti", 0x34A: "mtinst", 0x34B: "mtval2", 0x747: "mseccfg", 0x757: "mseccfgh",
    0x7A0: "tselect", 0x7A1: "tdata1", 0x7A2: "tdata2", 0x7A3: "tdata3", 0x7A4: "tinfo", 0x7A5: "tcontrol",
    0x7B0: "dcsr", 0x7B1: "dpc", 0x7B2: "dscratch0", 0x7B3: "dscratch1",
    0xB00: "mcycle", 0xB02: "minstret", 0xB80: "mcycleh", 0xB82: "minstreth",
    0xF11: "mvendorid", 0xF12: "marchid", 0xF13: "mimpid", 0xF14: "mhartid", 0xF15: "mconfigptr",
}  # fmt: skip


def csr_name(number: int) -> str:
    """Returns the name of a control and status register, such as "mstatus" or "csr 0x7c0"."""
    for first, count, prefix in ((0x3A0, 16, "pmpcfg"), (0x3B0, 64, "pmpaddr")):
        if first <= number < first + count:
            return f"{prefix}{number - first}"
    for base, prefix, suffix in (
        (0xC00, "hpmcounter", ""),
        (0xC80, "hpmcounter", "h"),
        (0xB00, "mhpmcounter", ""),
        (0xB80, "mhpmcounter", "h"),
        (0x320, "mhpmevent", ""),
    ):
        if base + 3 <= number < base + 32:
            return f"{prefix}{number - base}{suffix}"
    return _NAMES.get(number, f"csr {number:#x}")


class Hart(Protocol):
    """What the registers show of the core around them."""

    @property
    def instructions(self) -> int: ...

    @property
    def cycles(self) -> int: ...

    def time(self) -> int:
        """Returns mtime."""

    def pending_interrupts(self) -> int:
        """Returns mip."""

    def float_state(self) -> int:
        """Returns mstatus.FS as the engine has it: an instruction may have made it dirty."""

    def set_float_state(self, state: int) -> None:
        """Turns floating point on and off."""

    def interrupts_changed(self) -> None:
        """Something that decides over taking an interrupt was written."""


class _Counter:
    """A counter that follows `source` until it is inhibited."""

    def __init__(self, source: Callable[[], int]) -> None:
        self._source = source
        self._offset = 0
        self._frozen: int | None = None

    def read(self) -> int:
        return (self._source() + self._offset if self._frozen is None else self._frozen) & MASK64

    def write(self, value: int) -> None:
        if self._frozen is None:
            self._offset = value - self._source()
        else:
            self._frozen = value

    def inhibit(self, on: bool) -> None:
        value = self.read()
        self._frozen = value if on else None
        self.write(value)


Reader = Callable[[], int]
Writer = Callable[[int], None]


class CsrFile:
    """The registers' state, and how each is read and written.

    Attributes:
        table: number to (read, write); a register that is not here does not exist.
        privilege: the present mode, `USER` or `MACHINE`.
        mstatus: without FS and SD, which `read_mstatus` adds.
        mie, mtvec, mepc, mcause, mtval, mscratch, mcounteren: as stored.
        handler_set: mtvec was written since reset.
    """

    def __init__(self, hart: Hart, *, xlen: int, hart_id: int) -> None:
        self._hart = hart
        self._xlen = xlen
        self._mask = (1 << xlen) - 1
        self._hart_id = hart_id
        self.table: dict[int, tuple[Reader, Writer]] = {}
        self.reset()
        self._build_trap_registers()
        self._build_fixed()
        self._build_counters()
        self._build_protection()

    def reset(self) -> None:
        """Puts all registers into their state after reset."""
        self.privilege = MACHINE
        self.mstatus = MPP
        self.mie = self.mtvec = self.mepc = self.mcause = self.mtval = self.mscratch = self.mcounteren = 0
        self.handler_set = False
        self._menvcfg = 0
        self._mcountinhibit = 0
        self._pmp_config = [0] * PMP_ENTRIES
        self._pmp_address = [0] * PMP_ENTRIES
        self._mcycle = _Counter(lambda: self._hart.cycles)
        self._minstret = _Counter(lambda: self._hart.instructions)

    # -- traps -------------------------------------------------------------------------------------------------

    @property
    def interrupts_enabled(self) -> bool:
        """An interrupt that mie and mip have would be taken now."""
        return bool(self.privilege < MACHINE or self.mstatus & MIE)

    def enter(self, cause: int, value: int, pc: int, *, interrupt: bool) -> int:
        """Takes a trap; returns the address of its handler."""
        status = self.mstatus & ~(MPP | MPIE | MIE)
        if self.mstatus & MIE:
            status |= MPIE
        self.mstatus = status | self.privilege << MPP_SHIFT
        self.privilege = MACHINE
        self.mepc = pc & ~1
        self.mtval = value
        if not interrupt:
            self.mcause = cause
            return self.mtvec & ~3
        self.mcause = cause | 1 << self._xlen - 1
        return (self.mtvec & ~3) + (4 * cause if self.mtvec & 1 else 0)

    def leave(self) -> int:
        """Returns from a trap (mret); returns where to go on."""
        status = self.mstatus
        self.privilege = status >> MPP_SHIFT & 3
        status = status & ~(MPP | MIE) | (MIE if status & MPIE else 0) | MPIE
        self.mstatus = status if self.privilege == MACHINE else status & ~MPRV
        return self.mepc

    def user_counter_allowed(self, number: int) -> bool:
        """User mode may read this counter (cycle, time, instret and their high halves)."""
        return bool(self.mcounteren >> (number & 31) & 1)

    # -- registers ---------------------------------------------------------------------------------------------

    def read_mstatus(self) -> int:
        """Returns mstatus whole."""
        state = self._hart.float_state()
        value = self.mstatus | state << FS_SHIFT | (2 << 32 if self._xlen == 64 else 0)
        return value | 1 << self._xlen - 1 if state == 3 else value

    def _write_mstatus(self, value: int) -> None:
        mode = value & MPP
        if mode not in (0, MPP):
            mode = self.mstatus & MPP
        old = self.mstatus
        self.mstatus = value & (MIE | MPIE | MPRV | TW) | mode
        self._hart.set_float_state(value >> FS_SHIFT & 3)
        if self.mstatus & ~old & MIE:
            self._hart.interrupts_changed()

    def _write_mie(self, value: int) -> None:
        self.mie = value & (MSI | MTI | MEI)
        self._hart.interrupts_changed()

    def _write_mtvec(self, value: int) -> None:
        """Modes other than direct and vectored are not supported: such a write changes nothing."""
        if value & 2 == 0:
            self.mtvec = value
            self.handler_set = True

    def _field(self, name: str, mask: int) -> tuple[Reader, Writer]:
        return (lambda: int(getattr(self, name))), (lambda value: setattr(self, name, value & mask))

    @staticmethod
    def _constant(value: int) -> tuple[Reader, Writer]:
        return (lambda: value), (lambda _value: None)

    def _build_trap_registers(self) -> None:
        table = self.table
        table[0x300] = (self.read_mstatus, self._write_mstatus)
        table[0x304] = (lambda: self.mie), self._write_mie
        table[0x305] = (lambda: self.mtvec), self._write_mtvec
        table[0x340] = self._field("mscratch", self._mask)
        table[0x341] = self._field("mepc", self._mask & ~1)
        table[0x342] = self._field("mcause", self._mask)
        table[0x343] = self._field("mtval", self._mask)
        table[0x344] = self._hart.pending_interrupts, lambda _value: None

    def _build_fixed(self) -> None:
        """What never changes: identification, and features that are not there."""
        table = self.table
        table[0x301] = self._constant((1 if self._xlen == 32 else 2) << self._xlen - 2 | MISA_EXTENSIONS)
        for number in (0xF11, 0xF12, 0xF13, 0xF15, 0x7A0, 0x7A1, 0x7A2, 0x7A3):
            table[number] = self._constant(0)
        table[0xF14] = self._constant(self._hart_id)
        table[0x30A] = self._field("_menvcfg", 1)
        if self._xlen == 32:
            table[0x310] = table[0x31A] = self._constant(0)

    def _build_counters(self) -> None:
        table = self.table
        table[0x306] = self._field("mcounteren", MASK32)
        table[0x320] = (lambda: self._mcountinhibit), self._write_mcountinhibit
        wide = self._xlen == 64
        for index in range(3, 32):
            for base in (0xB00, 0xC00, 0x320) if wide else (0xB00, 0xC00, 0xB80, 0xC80, 0x320):
                table[base + index] = self._constant(0)
        counters: tuple[tuple[int, Callable[[], _Counter]], ...] = (
            (0, lambda: self._mcycle),
            (2, lambda: self._minstret),
        )
        for index, counter in counters:
            low = self._counter_part(counter, 0, self._mask)
            high = self._counter_part(counter, 32, MASK32)
            table[0xB00 + index] = table[0xC00 + index] = low
            if not wide:
                table[0xB80 + index] = table[0xC80 + index] = high
        table[0xC01] = (lambda: self._hart.time() & self._mask), lambda _value: None
        if not wide:
            table[0xC81] = (lambda: self._hart.time() >> 32), lambda _value: None

    def _counter_part(self, counter: Callable[[], _Counter], shift: int, mask: int) -> tuple[Reader, Writer]:
        def read() -> int:
            return counter().read() >> shift & mask

        def write(value: int) -> None:
            counter().write(counter().read() & ~(mask << shift) | value << shift)

        return read, write

    def _write_mcountinhibit(self, value: int) -> None:
        self._mcountinhibit = value & 5
        self._mcycle.inhibit(bool(value & 1))
        self._minstret.inhibit(bool(value & 4))

    # -- physical memory protection: the registers store, nothing is enforced --------------------------------------

    def _build_protection(self) -> None:
        step = self._xlen // 8
        for first in range(0, PMP_ENTRIES, step):
            self.table[0x3A0 + first // 4] = self._pmp_config_word(first, step)
        for index in range(PMP_ENTRIES):
            self.table[0x3B0 + index] = self._pmp_address_word(index)

    def _pmp_config_word(self, first: int, count: int) -> tuple[Reader, Writer]:
        def read() -> int:
            return sum(self._pmp_config[first + i] << 8 * i for i in range(count))

        def write(value: int) -> None:
            for i in range(count):
                if not self._pmp_config[first + i] & PMP_LOCKED:
                    self._pmp_config[first + i] = value >> 8 * i & PMP_CONFIG_BITS

        return read, write

    def _pmp_address_word(self, index: int) -> tuple[Reader, Writer]:
        mask = (1 << PMP_ADDRESS_BITS[self._xlen]) - 1

        def write(value: int) -> None:
            if not self._pmp_config[index] & PMP_LOCKED:
                self._pmp_address[index] = value & mask

        return (lambda: self._pmp_address[index]), write
