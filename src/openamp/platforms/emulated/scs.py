"""The private peripheral bus of a Cortex-M: system control block, SysTick, NVIC, MPU, FPU, debug and trace registers.

`SystemControl` is one device over 0xE0000000..0xE000F000. Registers that only have to exist read back what was written
(MPU, SAU, auxiliary control) or read as zero; cache maintenance does nothing. The MPU and the SAU enforce nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from openamp.platforms.emulated.nvic import (
    BUS_FAULT,
    DEBUG_MONITOR,
    FIRST_IRQ,
    MEM_MANAGE,
    NMI,
    PENDSV,
    SVCALL,
    SYSTICK,
    USAGE_FAULT,
    Nvic,
    Reader,
    Writer,
)
from openamp.platforms.emulated.systick import SysTick

__all__ = ["MODELS", "Model", "PrivateBus", "SystemControl"]

BASE = 0xE000_0000
SIZE = 0xF000
SCS = 0xE000
MASK32 = 0xFFFFFFFF

VECTKEY = 0x05FA
SYSRESETREQ, VECTCLRACTIVE = 1 << 2, 1 << 1
STKALIGN, BFHFNMIGN, NONBASETHRDENA = 1 << 9, 1 << 8, 1 << 0
SLEEPONEXIT, SEVONPEND = 1 << 1, 1 << 4
ASPEN, LSPEN, LSPACT = 1 << 31, 1 << 30, 1 << 0
TRCENA, MON_EN = 1 << 24, 1 << 16
ICSR_PENDSTCLR, ICSR_PENDSTSET, ICSR_PENDSVCLR, ICSR_PENDSVSET, ICSR_NMIPENDSET = (1 << n for n in (25, 26, 27, 28, 31))

# SHCSR (B3.2.13): bit of "active", bit of "pending", bit of "enable" for each exception that has one.
ACTIVE_BITS = {MEM_MANAGE: 0, BUS_FAULT: 1, USAGE_FAULT: 3, SVCALL: 7, DEBUG_MONITOR: 8, PENDSV: 10, SYSTICK: 11}
PENDING_BITS = {USAGE_FAULT: 12, MEM_MANAGE: 13, BUS_FAULT: 14, SVCALL: 15}
ENABLE_BITS = {MEM_MANAGE: 16, BUS_FAULT: 17, USAGE_FAULT: 18}


@dataclass(frozen=True, slots=True)
class Model:
    """What distinguishes the cores of the family.

    Attributes:
        cpuid: CPUID.
        baseline: ARMv6-M.
        v8: ARMv8-M.
        vtor: there is a VTOR.
        fpu: there is a floating-point unit.
        mpu_regions: number of MPU regions.
        caches: there are caches to maintain.
        features: the feature registers that are not zero, by offset from 0xE000E000.
    """

    cpuid: int
    baseline: bool = False
    v8: bool = False
    vtor: bool = True
    fpu: bool = False
    mpu_regions: int = 8
    caches: bool = False
    features: Mapping[int, int] = field(default_factory=dict)


def _features(pfr: tuple[int, int], dfr0: int, mmfr: tuple[int, ...], isar: tuple[int, ...]) -> dict[int, int]:
    values = (*pfr, dfr0, 0, *mmfr, *isar)
    return {0xD40 + 4 * index: value for index, value in enumerate(values) if value}


_M3 = _features(
    (0x30, 0x200),
    0x00100000,
    (0x00100030, 0, 0x01000000, 0),
    (0x01141110, 0x02111000, 0x21112231, 0x01111110, 0x01310102),
)
_M4 = _features(
    (0x30, 0x200),
    0x00100000,
    (0x00100030, 0, 0x01000000, 0),
    (0x01141110, 0x02112000, 0x21232231, 0x01111131, 0x01310102),
) | {0xF40: 0x10110021, 0xF44: 0x11000011}
_M7 = _features(
    (0x30, 0x200),
    0x00100000,
    (0x00100030, 0, 0x01000000, 0),
    (0x01101110, 0x02112000, 0x20232231, 0x01111131, 0x01310132),
) | {0xF40: 0x10110221, 0xF44: 0x12000011, 0xF48: 0x40, 0xD78: 0x09000003, 0xD7C: 0x8303C003}
_M33 = _features(
    (0x30, 0x210),
    0x00200000,
    (0x00101F40, 0, 0x01000000, 0),
    (0x01101110, 0x02212000, 0x20232232, 0x01111131, 0x01310132),
) | {0xF40: 0x10110021, 0xF44: 0x11000011, 0xF48: 0x40, 0xD7C: 0x8000C000}

MODELS: Mapping[str, Model] = {
    "cortex-m0": Model(0x410CC200, baseline=True, vtor=False, mpu_regions=0),
    "cortex-m0plus": Model(0x410CC601, baseline=True),
    "cortex-m3": Model(0x412FC231, features=_M3),
    "cortex-m4": Model(0x410FC241, fpu=True, features=_M4),
    "cortex-m7": Model(0x411FC272, fpu=True, caches=True, features=_M7),
    "cortex-m33": Model(0x410FD213, v8=True, fpu=True, features=_M33),
}

SMALL_CACHE = 0xF007E019
"""CCSIDR: 4 KiB, 32 sets of 4 ways of 32 bytes; a loop over all of it is short."""


class PrivateBus:
    """The rest of the private peripheral bus: trace port, cross trigger, ROM table; reads as zero."""

    name = "private peripheral bus"
    base = BASE + SIZE
    size = 0x10_0000 - SIZE

    def read(self, offset: int, size: int) -> int:
        """Reads zero."""
        return 0

    def write(self, offset: int, size: int, value: int) -> None:
        """Does nothing."""


class Host(Protocol):
    """What the registers need of their core."""

    @property
    def cycles(self) -> int: ...

    def fp_context_active(self) -> bool:
        """CONTROL.FPCA as the instructions executed so far left it."""


class SystemControl:
    """The registers, and the state that is nowhere but in them.

    Attributes:
        name, base, size: as of every device.
        nvic: the interrupt controller.
        systick: the timer.
        vtor: address of the vector table.
        ccr, scr: configuration and control, system control.
        cfsr, hfsr, mmfar, bfar: fault status.
        fpccr, fpcar: floating-point context.
        reset_requested: the firmware wrote AIRCR.SYSRESETREQ.
        on_itm: called with (port, bytes) for what the firmware writes to a stimulus port.
    """

    name = "system control space"
    base = BASE
    size = SIZE

    def __init__(self, core: Host, model: Model, nvic: Nvic, systick: SysTick, *, vectors: int) -> None:
        """Creates the registers; `vectors` is the vector table's address at reset."""
        self._core = core
        self.model = model
        self.nvic = nvic
        self.systick = systick
        self._vectors = vectors
        self.on_itm: Callable[[int, bytes], None] | None = None
        self._readers: dict[int, Reader] = {}
        self._writers: dict[int, Writer] = {}
        self._build()
        self.reset()

    def reset(self) -> None:
        """Puts all registers into their state after reset."""
        self.nvic.reset()
        self.systick.reset()
        self.vtor = self._vectors
        self.scr = 0
        self.ccr = STKALIGN | (1 << 3 if self.model.baseline else NONBASETHRDENA if self.model.v8 else 0)
        self.cfsr = self.hfsr = self.mmfar = self.bfar = 0
        self.fpccr = ASPEN | LSPEN if self.model.fpu else 0
        self.fpcar = 0
        self._always_stacks_fp = False
        self.reset_requested = False
        self._group = 0
        self._aircr = 0
        self._demcr = 0
        self._dwt = 0
        self._cycle_offset = 0
        self._mpu_number = 0
        self._mpu: dict[tuple[int, int], int] = {}
        self._stored: dict[int, int] = {0xE80: 1, 0xE00: MASK32}  # ITM_TCR, ITM_TER: a debugger has enabled them

    # -- the device ----------------------------------------------------------------------------------------------

    def read(self, offset: int, size: int) -> int:
        """Reads a register, or a part of one."""
        reader = self._readers.get(offset & ~3)
        if reader is None:
            return 0
        value = reader()
        return value if size == 4 else value >> 8 * (offset & 3) & ((1 << 8 * size) - 1)

    def write(self, offset: int, size: int, value: int) -> None:
        """Writes a register; of those that hold state, also a part."""
        word = offset & ~3
        writer = self._writers.get(word)
        if writer is None:
            if word < 0x80:
                self._stimulus(word // 4, value, size)
            return
        if size != 4:
            shift = 8 * (offset & 3)
            value <<= shift
            if word in self._partial:
                mask = ((1 << 8 * size) - 1) << shift
                value |= self._readers[word]() & ~mask
        writer(value)

    # -- the table -----------------------------------------------------------------------------------------------

    def _build(self) -> None:
        """Fills the table of registers for this model."""
        readers, writers = self.nvic.registers()
        self._partial = {SCS + offset for offset in readers if offset >= 0x400}
        for offset, reader in readers.items():
            self._add(offset, reader, writers.get(offset))
        tick = self.systick
        self._add(0x010, tick.read_control, tick.write_control)
        self._add(0x014, tick.read_reload, tick.write_reload)
        self._add(0x018, tick.read_value, tick.write_value)
        self._add(0x01C, tick.read_calibration)
        self._build_scb()
        if not self.model.baseline:
            self._build_mainline()
        if self.model.mpu_regions:
            self._build_mpu()
        if self.model.v8:
            self._store(*range(0xDD0, 0xDEC, 4), 0xD8C)  # SAU, NSACR
        if self.model.fpu:
            self._add(0xF34, self._read_fpccr, self._write_fpccr)
            self._add(0xF38, lambda: self.fpcar, self._write_fpcar)
            self._store(0xF3C, 0xD88)  # FPDSCR, CPACR
        if self.model.caches:
            self._add(0xD80, lambda: SMALL_CACHE)
            self._store(0xD84, *range(0xF90, 0xFAC, 4))  # CSSELR; TCM, AHB and cache control
        for offset, value in self.model.features.items():
            self._add(offset, partial(int, value))

    def _build_scb(self) -> None:
        nvic = self.nvic
        self._add(0x004, lambda: max((nvic.num_irqs + 31) // 32 - 1, 0))
        self._store(0x008)
        self._add(0xD00, lambda: self.model.cpuid)
        self._add(0xD04, self._read_icsr, self._write_icsr)
        if self.model.vtor:
            self._add(0xD08, lambda: self.vtor, self._write_vtor)
        self._add(0xD0C, self._read_aircr, self._write_aircr)
        self._add(0xD10, lambda: self.scr, self._write_scr)
        self._add(0xD14, lambda: self.ccr, None if self.model.baseline else self._write_ccr)
        for index in range(3):
            offset = 0xD18 + 4 * index
            first = 4 + 4 * index
            self._add(offset, partial(nvic.read_priorities, first), partial(nvic.write_priorities, first))
            self._partial.add(SCS + offset)
        self._add(0xD24, self._read_shcsr, self._write_shcsr)

    def _build_mainline(self) -> None:
        """What ARMv6-M does not have."""
        self._add(0xD28, lambda: self.cfsr, self._clear_cfsr)
        self._add(0xD2C, lambda: self.hfsr, self._clear_hfsr)
        self._add(0xD30, int, lambda value: None)  # DFSR
        self._add(0xD34, lambda: self.mmfar, self._write_mmfar)
        self._add(0xD38, lambda: self.bfar, self._write_bfar)
        self._store(0xD3C, 0xDF4, 0xDF8)  # AFSR, DCRSR, DCRDR
        self._add(0xDFC, lambda: self._demcr, self._write_demcr)
        self._add(0xF00, int, self._trigger)
        self._partial.update(SCS + offset for offset in (0xD14, 0xD34, 0xD38, 0xDFC))
        self._readers[0x1000] = lambda: 0x40000000 | self._dwt  # DWT_CTRL: four comparators
        self._writers[0x1000] = self._write_dwt_control
        self._readers[0x1004] = self._read_cycle_counter
        self._writers[0x1004] = self._write_cycle_counter
        for word in range(32):  # a stimulus port reads as "ready"
            self._readers[4 * word] = partial(int, 1)
        for offset in (0xE00, 0xE40, 0xE80):
            self._readers[offset] = partial(self._stored_value, offset)
            self._writers[offset] = partial(self._set_stored, offset)
            self._partial.add(offset)

    def _build_mpu(self) -> None:
        self._add(0xD90, lambda: self.model.mpu_regions << 8)
        self._store(0xD94)
        self._add(0xD98, lambda: self._mpu_number, self._write_mpu_number)
        if self.model.v8:  # RBAR, RLAR and three more pairs for the other regions of the group; MAIR0, MAIR1
            for index in range(4):
                for part in range(2):
                    offset = 0xD9C + 8 * index + 4 * part
                    self._add(offset, partial(self._read_mpu8, index, part), partial(self._write_mpu8, index, part))
            self._store(0xDC0, 0xDC4)
            return
        for index in range(4):  # RBAR, RASR and their aliases
            self._add(0xD9C + 8 * index, self._read_rbar, self._write_rbar)
            self._add(0xDA0 + 8 * index, partial(self._read_mpu, 1), partial(self._write_mpu, 1))

    def _add(self, offset: int, reader: Reader, writer: Writer | None = None) -> None:
        """Adds a register by its offset from 0xE000E000; without a writer it is read-only."""
        self._readers[SCS + offset] = reader
        if writer is not None:
            self._writers[SCS + offset] = writer

    def _store(self, *offsets: int) -> None:
        """Adds registers that read back what was written."""
        for offset in offsets:
            self._add(offset, partial(self._stored_value, SCS + offset), partial(self._set_stored, SCS + offset))
            self._partial.add(SCS + offset)

    def _stored_value(self, offset: int) -> int:
        return self._stored.get(offset, 0)

    def _set_stored(self, offset: int, value: int) -> None:
        self._stored[offset] = value

    # -- system control block ------------------------------------------------------------------------------------

    def _read_icsr(self) -> int:
        nvic = self.nvic
        pending = nvic.pending
        value = nvic.current | nvic.highest()[0] << 12
        value |= (pending >> SYSTICK & 1) << 26 | (pending >> PENDSV & 1) << 28 | (pending >> NMI & 1) << 31
        if pending >> FIRST_IRQ:
            value |= 1 << 22
        if not nvic.active & ~(1 << nvic.current):
            value |= 1 << 11
        return value

    def _write_icsr(self, value: int) -> None:
        if value & ICSR_NMIPENDSET:
            self.nvic.pend(NMI)
        if value & ICSR_PENDSVSET:
            self.nvic.pend(PENDSV)
        elif value & ICSR_PENDSVCLR:
            self.nvic.pending &= ~(1 << PENDSV)
        if value & ICSR_PENDSTSET:
            self.nvic.pend(SYSTICK)
        elif value & ICSR_PENDSTCLR:
            self.nvic.pending &= ~(1 << SYSTICK)

    def _write_vtor(self, value: int) -> None:
        self.vtor = value & (0xFFFFFF00 if self.model.baseline else 0xFFFFFF80)

    def _read_aircr(self) -> int:
        return 0xFA05 << 16 | self._group << 8 | self._aircr

    def _write_aircr(self, value: int) -> None:
        if value >> 16 != VECTKEY:
            return
        if not self.model.baseline:
            self._group = value >> 8 & 7
            self.nvic.set_priority_group(self._group)
        if self.model.v8:
            self._aircr = value & (1 << 14 | 1 << 13 | 1 << 3)  # PRIS, BFHFNMINS, SYSRESETREQS
        if value & VECTCLRACTIVE:
            self.nvic.set_sets(active=0)
        if value & SYSRESETREQ:
            self.reset_requested = True
            self.nvic.reconsider()

    def _write_scr(self, value: int) -> None:
        self.scr = value & 0x1E
        self.nvic.send_event_on_pending = bool(value & SEVONPEND)

    def _write_ccr(self, value: int) -> None:
        if self.model.v8:
            self.ccr = value & 0x7051A | STKALIGN | NONBASETHRDENA
        else:
            self.ccr = value & 0x7031B

    def _read_shcsr(self) -> int:
        nvic = self.nvic
        value = 0
        for number, bit in PENDING_BITS.items():
            value |= (nvic.pending >> number & 1) << bit
        if self.model.baseline:
            return value & 1 << 15
        for number, bit in ACTIVE_BITS.items():
            value |= (nvic.active >> number & 1) << bit
        for number, bit in ENABLE_BITS.items():
            value |= (nvic.enabled >> number & 1) << bit
        return value

    def _write_shcsr(self, value: int) -> None:
        def merged(present: int, bits: Mapping[int, int]) -> int:
            for number, bit in bits.items():
                present = present & ~(1 << number) | (value >> bit & 1) << number
            return present

        nvic = self.nvic
        if self.model.baseline:
            nvic.set_sets(pending=merged(nvic.pending, {SVCALL: 15}))
            return
        nvic.set_sets(
            pending=merged(nvic.pending, PENDING_BITS),
            active=merged(nvic.active, ACTIVE_BITS),
            enabled=merged(nvic.enabled, ENABLE_BITS),
        )

    def _clear_cfsr(self, value: int) -> None:
        self.cfsr &= ~value

    def _clear_hfsr(self, value: int) -> None:
        self.hfsr &= ~value

    def _write_mmfar(self, value: int) -> None:
        self.mmfar = value

    def _write_bfar(self, value: int) -> None:
        self.bfar = value

    def _trigger(self, value: int) -> None:
        """STIR: pends an interrupt by number."""
        if value & 0x1FF < self.nvic.num_irqs:
            self.nvic.pend(FIRST_IRQ + (value & 0x1FF))

    # -- floating point, debug, trace ----------------------------------------------------------------------------

    def _read_fpccr(self) -> int:
        """LSPACT ends with the first floating-point instruction of a handler, which sets CONTROL.FPCA."""
        if self.fpccr & LSPACT and self._core.fp_context_active():
            self.fpccr &= ~LSPACT
        return self.fpccr

    def _write_fpccr(self, value: int) -> None:
        """Without ASPEN hardware leaves CONTROL.FPCA to the software, but the engine goes on setting it by itself.

        So what counts from then on is what FPCA was at this moment: set by firmware that wants all its frames with
        floating-point state, clear in firmware that wants none.
        """
        if self.fpccr & ASPEN and not value & ASPEN:
            self._always_stacks_fp = self._core.fp_context_active()
        self.fpccr = value & (0xFF0007FF if self.model.v8 else 0xC000017B)

    def stacks_fp(self) -> bool:
        """An exception that finds CONTROL.FPCA set saves floating-point state."""
        return bool(self.fpccr & ASPEN) or self._always_stacks_fp

    def _write_fpcar(self, value: int) -> None:
        self.fpcar = value & ~7

    def _write_demcr(self, value: int) -> None:
        count = self._read_cycle_counter()
        self._demcr = value & 0x010F07F1
        self._write_cycle_counter(count)
        nvic = self.nvic
        bit = 1 << DEBUG_MONITOR
        nvic.set_sets(enabled=nvic.enabled | bit if value & MON_EN else nvic.enabled & ~bit)
        if value & 1 << 17:
            nvic.pend(DEBUG_MONITOR)

    def _read_cycle_counter(self) -> int:
        return (self._core.cycles - self._cycle_offset if self._counting() else self._cycle_offset) & MASK32

    def _counting(self) -> bool:
        return bool(self._dwt & 1 and self._demcr & TRCENA)

    def _write_cycle_counter(self, value: int) -> None:
        self._cycle_offset = self._core.cycles - value if self._counting() else value

    def _write_dwt_control(self, value: int) -> None:
        count = self._read_cycle_counter()
        self._dwt = value & 0x0FFF1FFF
        self._write_cycle_counter(count)

    def _stimulus(self, port: int, value: int, size: int) -> None:
        enabled = self._stored[0xE80] & 1 and self._stored[0xE00] >> port & 1
        if enabled and self.on_itm is not None and not self.model.baseline:
            self.on_itm(port, value.to_bytes(size, "little"))

    # -- MPU -----------------------------------------------------------------------------------------------------

    def _write_mpu_number(self, value: int) -> None:
        self._mpu_number = value & 0xFF

    def _read_mpu(self, part: int) -> int:
        return self._mpu.get((self._mpu_number, part), 0)

    def _write_mpu(self, part: int, value: int) -> None:
        if self._mpu_number < self.model.mpu_regions:
            self._mpu[self._mpu_number, part] = value

    def _read_rbar(self) -> int:
        return self._read_mpu(0) & ~0x1F | self._mpu_number & 0xF

    def _write_rbar(self, value: int) -> None:
        """With VALID set, the region number comes from the address register itself (B3.5.8)."""
        if value & 0x10:
            self._mpu_number = value & 0xF
        self._write_mpu(0, value & ~0x1F)

    def _read_mpu8(self, index: int, part: int) -> int:
        return self._mpu.get((self._mpu_region(index), part), 0)

    def _write_mpu8(self, index: int, part: int, value: int) -> None:
        region = self._mpu_region(index)
        if region < self.model.mpu_regions:
            self._mpu[region, part] = value

    def _mpu_region(self, index: int) -> int:
        return self._mpu_number if index == 0 else self._mpu_number & ~3 | index
