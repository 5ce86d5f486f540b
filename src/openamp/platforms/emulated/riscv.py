"""RISC-V cores of 32 and 64 bits on the unicorn engine: machine and user mode, CLINT and PLIC.

The engine knows neither traps nor interrupts as the architecture has them, its counters show the host's clock and
its mip is always zero. So it always runs in *its* user mode, where every privileged instruction is refused, and each
of those is executed here, on registers of our own (`csr.CsrFile`). That makes unmasking exact (an interrupt that a
write to mstatus or mie lets through is taken before the next instruction), every counter deterministic, and taking
an interrupt cheap: it moves none of the engine's registers.

Refused instructions arrive through the interrupt hook with the program counter advanced by 4, also for a compressed
one. A CSR access is finished within the hook and the engine runs on; all else (mret, exceptions) stops the engine.
Misaligned loads and stores work, as on QEMU; misaligned atomics trap. Physical memory protection is not enforced.
"""

from __future__ import annotations

import ctypes
import struct
from types import MappingProxyType

from unicorn import riscv_const as rv
from unicorn import unicorn_const as uc

from openamp.errors import BoardError
from openamp.platforms.emulated.clint import Clint
from openamp.platforms.emulated.core import HANDLED, Access, Core, CoreConfig, Fault, RegisterBatch
from openamp.platforms.emulated.counter import NEEDS_LOOK
from openamp.platforms.emulated.csr import (
    CAUSES,
    FS,
    FS_SHIFT,
    INTERRUPTS,
    MACHINE,
    MEI,
    MSI,
    MTI,
    TW,
    USER,
    CsrFile,
)
from openamp.platforms.emulated.engine import BLOCK, quick_function
from openamp.platforms.emulated.plic import Plic
from openamp.platforms.emulated.rvdecode import (
    Trouble,
    access_address,
    explain_illegal,
    find_trouble,
    instruction_bits,
    instruction_length,
)
from openamp.platforms.emulated.trapwatch import Trap, TrapWatch

__all__ = ["RiscV"]

ILLEGAL, BREAKPOINT, LOAD_MISALIGNED, STORE_MISALIGNED, ECALL = 2, 3, 4, 6, 8
ECALLS = (ECALL + USER, ECALL + MACHINE)
ACCESS_FAULTS = {Access.FETCH: 1, Access.READ: 5, Access.WRITE: 7}
DATA_FAULTS = (LOAD_MISALIGNED, 5, STORE_MISALIGNED, 7)
EXTERNAL, SOFTWARE, TIMER = 11, 3, 7

MRET, WFI, EBREAK, C_EBREAK = 0x30200073, 0x10500073, 0x00100073, 0x9002
JUMP_TO_SELF, C_JUMP_TO_SELF = 0x0000006F, 0xA001
SEMIHOSTING = (0x01F01013, EBREAK, 0x40705013)  # slli x0,x0,31; ebreak; srai x0,x0,7
OPCODE_ATOMIC, OPCODE_SYSTEM = 0x2F, 0x73
LOAD_RESERVED = 2
PC = rv.UC_RISCV_REG_PC
READ, WRITE, SET, CLEAR = 0, 1, 2, 3  # what a CSR access does; the last three are its low funct3 bits
READ_ONLY = 3
ENGINE_MACHINE = 3  # in the engine's privilege register
FLOAT_OFF, FLOAT_INITIAL, FLOAT_CLEAN = 0, 1, 2
PAGE = 0x1000
NOT_SOON = 1 << 62
SUSPECT = 1 << 30  # our own trap number: an instruction that must not run natively

ABI_NAMES = (
    "zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
)  # fmt: skip
FLOAT_NAMES = tuple(f"f{n}" for n in range(32))
TRAP_REGISTERS = {
    "mstatus": 0x300,
    "mie": 0x304,
    "mip": 0x344,
    "mtvec": 0x305,
    "mscratch": 0x340,
    "mepc": 0x341,
    "mcause": 0x342,
    "mtval": 0x343,
}
_WORD = struct.Struct("<I")


class RiscV(Core):
    """An RV32IMAFDC or RV64IMAFDC hart with machine and user mode.

    Attributes:
        csr: the control and status registers.
        clint: software and timer interrupt.
        plic: external interrupts.
    """

    def __init__(self, config: CoreConfig) -> None:
        """Creates the core; raises BoardError for a model that is not "rv32" or "rv64"."""
        if config.model not in ("rv32", "rv64"):
            raise BoardError(f'"{config.model}" is no RISC-V core; there are "rv32" and "rv64"')
        wide = config.model == "rv64"
        self._xlen = 64 if wide else 32
        self._mask = (1 << self._xlen) - 1
        self._float = FLOAT_OFF
        self._decoded: dict[int, tuple[int, int, int, int, int]] = {}
        self._here = (0, 0, memoryview(b""))
        self._hooked: set[int] = set()
        self._on_suspect = BLOCK(self._before_suspect)
        self._watch = TrapWatch(config.clock_hz)
        self.csr = CsrFile(self, xlen=self._xlen, hart_id=config.core_id)
        self._csrs = self.csr.table
        self.plic = Plic(config.plic, num_sources=config.num_irqs, changed=self.interrupts_changed)
        self.clint = Clint(
            config.clint,
            hart=config.core_id,
            cycles=lambda: self.cycles,
            clock_hz=config.clock_hz,
            timer_hz=config.timer_hz or config.clock_hz,
            changed=self.interrupts_changed,
        )
        super().__init__(
            config,
            arch=uc.UC_ARCH_RISCV,
            mode=uc.UC_MODE_RISCV64 if wide else uc.UC_MODE_RISCV32,
            cpu=rv.UC_CPU_RISCV64_ANY if wide else rv.UC_CPU_RISCV32_ANY,
            pc=PC,
            width=self._xlen // 8,
            devices=(*self.clint.windows, *self.plic.windows),
        )
        self._connect_registers()

    def _connect_registers(self) -> None:
        """Prepares the calls that move registers."""
        self._read_register, self._write_register = quick_function("uc_reg_read"), quick_function("uc_reg_write")
        self._value: ctypes.c_uint32 | ctypes.c_uint64 = ctypes.c_uint64() if self._xlen == 64 else ctypes.c_uint32()
        self._transfer = ctypes.c_void_p(self._handle), ctypes.c_void_p(ctypes.addressof(self._value))
        width = self._xlen // 8
        self._general = RegisterBatch(self._handle, [rv.UC_RISCV_REG_X0 + n for n in range(32)], width)
        self._floats = RegisterBatch(self._handle, [rv.UC_RISCV_REG_F0 + n for n in range(32)], 8)

    def _get(self, register: int) -> int:
        """Returns one of the engine's registers."""
        handle, at = self._transfer
        self._read_register(handle, register, at)
        return self._value.value

    def _put(self, register: int, value: int) -> None:
        """Sets one of the engine's registers."""
        handle, at = self._transfer
        self._value.value = value
        self._write_register(handle, register, at)

    # -- what the platform uses --------------------------------------------------------------------------------

    def reset(self, entry: int | None = None) -> None:
        """Starts at `entry` (None: where memory begins) in machine mode, a0 = hart id as boot loaders pass it."""
        self._reset()
        self.csr.reset()
        self.clint.reset()
        self.plic.reset()
        self._watch.reset()
        self._state.block = self._state.size = 0
        self._float = FLOAT_OFF
        self._put(rv.UC_RISCV_REG_PRIV, USER)
        self._put(rv.UC_RISCV_REG_A0, self.config.core_id)
        self._pc = (next(iter(self.memory)).da if entry is None else entry) & self._mask & ~1

    def set_irq(self, number: int, level: bool) -> None:
        self.plic.set_level(number, level)

    def idle_cycles(self) -> int | None:
        cycles = max(self.clint.due - self.cycles, 0)
        return cycles if self.csr.mie & MTI and cycles < NOT_SOON else None

    def registers(self) -> dict[str, int]:
        result = {"pc": self._pc}
        result.update(zip(ABI_NAMES, self._general.read(), strict=True))
        result.update((name, self._csrs[number][0]()) for name, number in TRAP_REGISTERS.items())
        result["priv"] = self.csr.privilege
        if self._float:
            result.update(zip(FLOAT_NAMES, self._floats.read(), strict=True))
        return result

    def set_register(self, name: str, value: int) -> None:
        value &= self._mask
        if name == "pc":
            self._pc = value & ~1
        elif name in ABI_NAMES[1:]:
            self._put(rv.UC_RISCV_REG_X0 + ABI_NAMES.index(name), value)
        elif name in TRAP_REGISTERS:
            self._csrs[TRAP_REGISTERS[name]][1](value)

    # -- what the control and status registers see (csr.Hart) --------------------------------------------------------

    def time(self) -> int:
        """Returns mtime."""
        return self.clint.time

    def pending_interrupts(self) -> int:
        """Returns mip."""
        clint = self.clint
        return (
            (MSI if clint.software else 0)
            | (MTI if self._state.count + self._idle >= clint.due else 0)
            | (MEI if self.plic.external else 0)
        )

    def float_state(self) -> int:
        """Returns mstatus.FS; instructions make it dirty in the engine."""
        if self._float in (FLOAT_INITIAL, FLOAT_CLEAN):
            self._put(rv.UC_RISCV_REG_PRIV, ENGINE_MACHINE)
            self._float = self._get(rv.UC_RISCV_REG_MSTATUS) >> FS_SHIFT & 3
            self._put(rv.UC_RISCV_REG_PRIV, USER)
        return self._float

    def set_float_state(self, state: int) -> None:
        """Writes mstatus.FS."""
        if state != self.float_state():
            self._put(rv.UC_RISCV_REG_PRIV, ENGINE_MACHINE)
            self._put(rv.UC_RISCV_REG_MSTATUS, state << FS_SHIFT)
            self._put(rv.UC_RISCV_REG_PRIV, USER)
            self._float = state

    def interrupts_changed(self) -> None:
        """Stops the engine in time if an interrupt can be taken now, or will be by the timer."""
        csr = self.csr
        if not csr.interrupts_enabled:
            return
        if csr.mie & self.pending_interrupts():
            self._reconsider()
        elif csr.mie & MTI:
            self._state.limit = min(self._state.limit, self.clint.due - self._idle)
        if self._watch.first is not None:
            self._watch.released()

    # -- within an engine run --------------------------------------------------------------------------------------

    def _interrupt(self, _engine: int, number: int, _data: object) -> None:
        """Executes what the engine refused and lets it go on; stops it only where the firmware cannot go on."""
        try:
            pc = self._get(PC) - 4 & self._mask
            self._charge()
            if number == ILLEGAL:
                word = self._fetch(pc)
                access = self._decoded.get(word) or self._decode(word)
                if access is not None and self._access_csr(*access):
                    return
            self._pc = pc
            self._refused(number)
        except BaseException as error:
            self._failed(error)
        if self.fault is None and self._error is None:
            self._put(PC, self._pc)
        else:
            self._trap = HANDLED
            self._engine.stop()

    def _fetch(self, pc: int) -> int:
        """Returns the 4 bytes at `pc`; what is not in memory reads as zero."""
        start, end, view = self._here
        if not start <= pc < end:
            region = self.memory.find(pc)
            if region is None:
                return 0
            self._here = start, end, view = region.da, region.end, region.data
        if end - pc >= 4:
            return int(_WORD.unpack_from(view, pc - start)[0])
        return int.from_bytes(view[pc - start :], "little")

    def _decode(self, word: int) -> tuple[int, int, int, int, int] | None:
        """Returns (number, operation, destination, source register or 0, immediate) of a legal CSR access."""
        function = word >> 12 & 7
        if word & 0x7F != OPCODE_SYSTEM or function in (0, 4):
            return None
        number, source = word >> 20, word >> 15 & 31
        operation = function & 3 if function & 3 == WRITE or source else READ
        if operation != READ and number >> 10 == READ_ONLY:
            return None
        register = rv.UC_RISCV_REG_X0 + source if source and not function & 4 else 0
        access = (number, operation, word >> 7 & 31, register, source if function & 4 else 0)
        self._decoded[word] = access
        return access

    def _access_csr(self, number: int, operation: int, destination: int, source: int, operand: int) -> bool:
        """Executes a CSR access; returns False if it is illegal here."""
        csr = self.csr
        found = self._csrs.get(number)
        if found is None or number >> 8 & 3 > csr.privilege:
            return False
        if csr.privilege == USER and not csr.user_counter_allowed(number):
            return False
        read, write = found
        old = read() if destination or operation != WRITE else 0
        if operation != READ:
            if source:
                operand = self._get(source)
            if operation == SET:
                operand |= old
            elif operation == CLEAR:
                operand = old & ~operand
            write(operand)
        if destination:
            self._put(rv.UC_RISCV_REG_X0 + destination, old)
        return True

    def _look_through(self, start: int, size: int) -> None:
        """Looks through a new block; the engine is to stop before what must not run natively."""
        end = start + size
        while start < end:
            word = self._fetch(start)
            step = instruction_length(word)
            trouble = find_trouble(instruction_bits(word), wide=self._xlen == 64)
            if trouble is not None and self._concerned(trouble) and start not in self._hooked:
                self._hooked.add(start)
                self._engine.hook(uc.UC_HOOK_CODE, self._on_suspect, first=start, last=start)
                self._engine.forget_code(start, step)
            start += step

    def _concerned(self, trouble: Trouble) -> bool:
        return trouble is not Trouble.IGNORED_WITHOUT_FLOAT or self._float == FLOAT_OFF

    def _before_suspect(self, _engine: int, address: int, _size: int, _data: object) -> None:
        """Stops the engine before an instruction that `_trapped` is to execute."""
        try:
            trouble = find_trouble(instruction_bits(self._fetch(address)), wide=self._xlen == 64)
            if trouble is not None and self._concerned(trouble):
                self._trap = SUSPECT
                self._engine.stop()
        except BaseException as error:
            self._failed(error)

    # -- between two engine runs -------------------------------------------------------------------------------------

    def _service(self) -> int:
        csr, watch, state = self.csr, self._watch, self._state
        if state.stopped == NEEDS_LOOK:
            state.stopped = 0
            self._look_through(state.block, state.size)
        if state.count >= watch.look_at:
            self._look()
        pending = csr.mie & self.pending_interrupts()
        if pending:
            self.asleep = False
            if csr.interrupts_enabled:
                self._take(EXTERNAL if pending & MEI else SOFTWARE if pending & MSI else TIMER)
        if csr.mie & MTI and csr.interrupts_enabled:
            return min(self.clint.due - self._idle, watch.look_at)
        return watch.look_at

    def _take(self, cause: int) -> None:
        """Takes an interrupt."""
        if self._handler_missing():
            self._fail(f"{INTERRUPTS[cause]} without a trap handler")
            return
        self._pc = self.csr.enter(cause, 0, self._pc, interrupt=True)
        self._watch.interrupt(self._state.count)
        self._put(rv.UC_RISCV_REG_PRIV, USER)  # ends a load reservation

    def _refused(self, number: int) -> None:
        """Deals with a refused instruction that is no legal CSR access."""
        pc = self._pc
        word = self._fetch(pc)
        if number == ILLEGAL:
            if word == MRET and self.csr.privilege == MACHINE:
                self._pc = self.csr.leave()
                self._watch.returned(self._pc, self._state.count)
                self.interrupts_changed()
            else:
                self._raise(ILLEGAL, instruction_bits(word))
        elif number == ECALL:
            self._raise(ECALL + self.csr.privilege, 0)
        elif number in (LOAD_MISALIGNED, STORE_MISALIGNED):
            address = self._get(rv.UC_RISCV_REG_X0 + (word >> 15 & 31))
            self._raise(LOAD_MISALIGNED if word >> 27 == LOAD_RESERVED else STORE_MISALIGNED, address)
        else:
            self._fail(f"the engine raised its exception {number}, which this core does not know")

    def _trapped(self, number: int) -> None:
        """Executes the instruction before which `_before_suspect` stopped the engine."""
        word = instruction_bits(self._fetch(self._pc))
        access = self._decode(word)
        if access is not None and self._access_csr(*access):
            self._pc += 4
        else:
            self._raise(ILLEGAL, word)

    def _halted(self) -> None:
        csr = self.csr
        self._pc = self._get(PC)  # a wait does not end its block
        if csr.privilege == USER and csr.mstatus & TW:
            self._pc -= 4
            self._raise(ILLEGAL, WFI)
            return
        self._counter.retract(self._pc)
        self.asleep = True
        if self._watch.first is not None and not csr.interrupts_enabled and not csr.mie & self.pending_interrupts():
            self._stuck("waits for an interrupt (wfi) with interrupts off")

    def _invalid(self) -> None:
        word = self._fetch(self._pc)
        if word != EBREAK and word & 0xFFFF != C_EBREAK:
            self._raise(ILLEGAL, instruction_bits(word))
        elif self.on_semihosting is not None and self._is_semihosting():
            self._pc += 4
            self.on_semihosting(self)
        else:
            self._raise(BREAKPOINT, 0)

    def _is_semihosting(self) -> bool:
        return tuple(self._fetch(self._pc + offset) for offset in (-4, 0, 4)) == SEMIHOSTING

    def _unmapped(self, address: int, access: Access) -> None:
        """Raises an access fault; the engine names only the page, the instruction says what in it."""
        pc = self._pc
        if access is Access.FETCH:
            if address & self._mask < pc & -PAGE:  # it took an illegal compressed instruction for an empty block
                self._raise(ILLEGAL, instruction_bits(self._fetch(pc)))
                return
            address = max(address & self._mask, pc)
        else:
            word = self._fetch(pc)
            exact = access_address(word, lambda n: self._get(rv.UC_RISCV_REG_X0 + n), xlen=self._xlen)
            if exact is not None and exact & -PAGE == address & -PAGE:
                address = exact
            if word & 0x7F == OPCODE_ATOMIC and word >> 27 != LOAD_RESERVED:
                access = Access.WRITE
        self._raise(ACCESS_FAULTS[access], address & self._mask)

    def _raise(self, cause: int, value: int) -> None:
        """Takes an exception of the instruction at `self._pc`, or finds that the firmware cannot go on."""
        pc, watch, state = self._pc, self._watch, self._state
        self._counter.retract(pc + instruction_length(self._fetch(pc)))
        if cause not in ECALLS and watch.exception(cause, value, pc, state.count, self.registers):
            self._stuck(f"gets nowhere: the same exception comes back at {pc:#x}")
        elif self._handler_missing():
            trap = watch.first or Trap(cause, value, pc, self.registers())
            self._crash(trap, f"{CAUSES[cause]} without a trap handler", ())
        else:
            self._pc = self.csr.enter(cause, value, pc, interrupt=False)
            self._put(rv.UC_RISCV_REG_PRIV, USER)  # ends a load reservation
            state.limit = min(state.limit, watch.look_at)

    def _handler_missing(self) -> bool:
        return not self.csr.handler_set or self.memory.find(self.csr.mtvec & ~3) is None

    # -- when the firmware cannot go on ------------------------------------------------------------------------------

    def _look(self) -> None:
        """Finds a trap handler that will not come back."""
        if self.csr.interrupts_enabled:
            self._watch.released()
            return
        word = self._fetch(self._pc)
        if word == JUMP_TO_SELF or word & 0xFFFF == C_JUMP_TO_SELF:
            self._stuck(f"spins at {self._pc:#x} with interrupts off")
        elif self._watch.stuck((self._pc, self._general.read()), self._state.count):
            self._stuck(f"goes round at {self._pc:#x} with interrupts off and does not come back")

    def _stuck(self, how: str) -> None:
        """Ends the run for the exception that the firmware did not come back from, or for its latest interrupt."""
        csr, trap = self.csr, self._watch.first
        if trap is None:
            self._fail(f"the handler of the {INTERRUPTS.get(csr.mcause & 0xFF, 'last trap')} {how}")
            return
        last = f"now at {self._pc:#x}; mcause {csr.mcause:#x}, mtval {csr.mtval:#x}, mepc {csr.mepc:#x}"
        self._crash(trap, CAUSES[trap.cause], (f"its handler {how}", last))

    def _crash(self, trap: Trap, reason: str, details: tuple[str, ...]) -> None:
        """Ends the run with an exception's report."""
        lines = [f"mcause {trap.cause} ({CAUSES[trap.cause]}), mtval {trap.value:#x}, mepc {trap.pc:#x}"]
        registers = trap.registers
        if trap.cause == ILLEGAL:
            float_on = bool(registers["mstatus"] & FS)
            lines.append(explain_illegal(trap.value, privilege=registers["priv"], float_on=float_on))
        elif trap.cause == ACCESS_FAULTS[Access.FETCH]:
            lines.append(f"{trap.value:#x} is in no memory, so no code can be there; memory: {self.memory.describe()}")
        if self._handler_missing():
            lines.append(self._describe_handler())
        address = trap.value if trap.cause in DATA_FAULTS else None
        self.fault = Fault(reason, trap.pc, address, MappingProxyType(dict(registers)), (*lines, *details))

    def _fail(self, reason: str) -> None:
        """Ends the run where it is."""
        details = (self._describe_handler(),) if self._handler_missing() else ()
        self.fault = Fault(reason, self._pc, None, MappingProxyType(self.registers()), details)

    def _describe_handler(self) -> str:
        if not self.csr.handler_set:
            return "mtvec was never written: the startup code must set it"
        return f"mtvec is {self.csr.mtvec:#x}; memory: {self.memory.describe()}"
