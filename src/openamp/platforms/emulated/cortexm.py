"""Cortex-M cores: M0, M0+, M3, M4, M7 and M33 on the unicorn engine.

The engine executes instructions and keeps the special registers (CONTROL, the two stack pointers, PRIMASK, BASEPRI,
FAULTMASK, stack limits). Exceptions are ours: entry, return, priorities, escalation, lock-up. Clauses are those of
the ARMv7-M Architecture Reference Manual (ARM DDI 0403), which calls this code B1.5.

Exceptions are taken between two blocks of instructions. Every instruction that can let one through (CPS, MSR, ISB,
exception return, WFI) ends a block, so this is as exact as on hardware; a write to a register of the system control
space takes effect at the end of its block, hardware promises no more without a barrier.

**Faults.** Firmware with handlers of its own runs them, as on hardware, and goes on if they return. The core gives up,
with `fault` set to what happened *first*, when it locks up or when a fault handler spins in place, sleeps, or has not
returned after one second of virtual time. Not modelled: MPU and SAU enforcement, the traps of CCR.DIV_0_TRP and
UNALIGN_TRP, faults of unaligned LDM/LDRD, NOCP of a disabled CPACR, and the stack limit check during exception entry.
"""

from __future__ import annotations

import dataclasses
import struct
from types import MappingProxyType
from typing import Any

from unicorn import arm_const as arm
from unicorn import unicorn_const as uc

from openamp.errors import BoardError
from openamp.memory import MemoryMap
from openamp.platforms.emulated.core import HANDLED, NEVER, Access, Core, CoreConfig, Fault, RegisterBatch, Stop
from openamp.platforms.emulated.engine import FILL_FETCH
from openamp.platforms.emulated.faults import (
    CFSR_BITS,
    FAULT_OF,
    FAULTS,
    HFSR_BITS,
    Cfsr,
    Hfsr,
    decode,
    describe_access,
    no_execute,
)
from openamp.platforms.emulated.nvic import (
    BUS_FAULT,
    FIRST_IRQ,
    HARD_FAULT,
    LOWEST,
    NMI,
    SVCALL,
    SYSTICK,
    Nvic,
    exception_name,
)
from openamp.platforms.emulated.scs import (
    ASPEN,
    BFHFNMIGN,
    LSPACT,
    LSPEN,
    MODELS,
    NONBASETHRDENA,
    SLEEPONEXIT,
    STKALIGN,
    PrivateBus,
    SystemControl,
)
from openamp.platforms.emulated.systick import SysTick

__all__ = ["CortexM"]

CPUS = {
    "cortex-m0": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m0plus": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm.UC_CPU_ARM_CORTEX_M33,
}

# The engine's own exception numbers.
TRAP_SVC, TRAP_ALIGNMENT, TRAP_BREAKPOINT, TRAP_EXCEPTION_RETURN = 2, 4, 7, 8
TRAP_CAUSES = {
    3: Cfsr.IBUSERR,
    TRAP_ALIGNMENT: Cfsr.UNALIGNED,
    17: Cfsr.NOCP,
    18: Cfsr.INVSTATE,
    19: Cfsr.STKOF,
    22: Cfsr.UNALIGNED,
}

R = {f"r{n}": arm.UC_ARM_REG_R0 + n for n in range(13)}
SP, LR, PC, XPSR, CPSR = (
    arm.UC_ARM_REG_R13,
    arm.UC_ARM_REG_R14,
    arm.UC_ARM_REG_R15,
    arm.UC_ARM_REG_XPSR,
    arm.UC_ARM_REG_CPSR,
)
SET_XPSR = arm.UC_ARM_REG_XPSR_NZCVQG
MSP, PSP, CONTROL = arm.UC_ARM_REG_MSP, arm.UC_ARM_REG_PSP, arm.UC_ARM_REG_CONTROL
PRIMASK, BASEPRI, FAULTMASK = arm.UC_ARM_REG_PRIMASK, arm.UC_ARM_REG_BASEPRI, arm.UC_ARM_REG_FAULTMASK
REGISTERS = {
    **R,
    "sp": SP,
    "lr": LR,
    "pc": PC,
    "xpsr": XPSR,
    "msp": MSP,
    "psp": PSP,
    "control": CONTROL,
    "primask": PRIMASK,
    "basepri": BASEPRI,
    "faultmask": FAULTMASK,
}

NPRIV, SPSEL, FPCA, SFPA = 1, 2, 4, 8
T = 1 << 24
EXCEPTION = 0x1FF
ALIGNED = 1 << 9
IT_STATE = 0x0600FC00
CPSR_FLAGS = 0xFE0FFC00  # the bits of xPSR that have the same place in CPSR: NZCVQ, IT, GE
CPSR_T = 1 << 5
EXC_RETURN_MIN = 0xFF000000

WFE, SEV, SEMIHOSTING = 0xBF20, 0xBF40, 0xBEAB
WFE_WIDE = (0x8002, 0xF3AF)
BRANCH_TO_SELF = 0xE7FE
BRANCH_TO_SELF_WIDE = (0xF7FF, 0xBFFE)
HANDLER_LOOK = 10_000
"""Instructions between two looks at whether a fault handler spins."""
SPIN_BLOCKS = 32
"""The longest loop, in blocks, that counts as spinning in place."""

FRAME_REGISTERS = (*(R[f"r{n}"] for n in (0, 1, 2, 3, 12)), LR)
MASKS = (PRIMASK, BASEPRI, FAULTMASK)
PC_AT, XPSR_AT, SP_AT, CONTROL_AT, MASKS_AT = 6, 7, 8, 9, 10  # places in what `_state_batch` reads
DOUBLES = tuple(arm.UC_ARM_REG_D0 + n for n in range(8))
FPSCR = arm.UC_ARM_REG_FPSCR
FRAME_SIZE, FP_FRAME_SIZE = 0x20, 0x68
MASK32 = 0xFFFFFFFF

_FRAME = struct.Struct("<8I")
_FP_FRAME = struct.Struct("<8QI4x")


class _Window:
    """Finds bytes in memory, fast where the last ones were."""

    def __init__(self, memory: MemoryMap) -> None:
        self._memory = memory
        self._start = self._end = 0
        self._data = memoryview(b"")

    def find(self, address: int, size: int) -> memoryview | None:
        """Returns the bytes themselves, or None where there is no memory."""
        if not (self._start <= address and address + size <= self._end):
            region = self._memory.find(address, size)
            if region is None:
                return None
            self._start, self._end, self._data = region.da, region.end, region.data
        at = address - self._start
        return self._data[at : at + size]


class CortexM(Core):
    """A Cortex-M core.

    Attributes:
        model: what distinguishes it from its relatives.
        nvic: the interrupt controller.
        systick: the timer.
        scs: all registers of the system control space.
        last_fault: the last fault that the firmware took, also when it recovered from it or reset itself.
    """

    def __init__(self, config: CoreConfig) -> None:
        """Creates the core; raises BoardError for a model that is not one of `MODELS`."""
        if config.model not in MODELS:
            raise BoardError(f'"{config.model}" is no Cortex-M core; there are {", ".join(MODELS)}')
        self.model = MODELS[config.model]
        self.nvic = Nvic(config.num_irqs, config.priority_bits, baseline=self.model.baseline, changed=self._reconsider)
        self.systick = SysTick(config.clock_hz, cycles=lambda: self.cycles, interrupt=lambda: self.nvic.pend(SYSTICK))
        self.scs = SystemControl(self, self.model, self.nvic, self.systick, vectors=config.vector_base)
        self.last_fault: Fault | None = None
        self._first_fault: Fault | None = None
        self._look_at = NEVER  # the instruction count at which a fault handler is looked at
        self._handler_deadline = NEVER
        self._waits_for_event = False
        self._watched = (LOWEST, 0)  # the priority, and its group's bits, whose unmasking the counter watches for
        self._stack_window = _Window(config.regions)
        self._code_window = _Window(config.regions)
        super().__init__(
            dataclasses.replace(config, mmio=(*config.mmio, PrivateBus())),
            arch=uc.UC_ARCH_ARM,
            mode=uc.UC_MODE_THUMB,
            cpu=CPUS[config.model],
            pc=PC,
            devices=(self.scs,),
        )
        handle = self._handle
        self._state_batch = RegisterBatch(handle, (*FRAME_REGISTERS, PC, XPSR, SP, CONTROL, *MASKS))
        self._mask_batch = RegisterBatch(handle, MASKS)
        self._stack_batch = RegisterBatch(handle, (PC, SP, PSP, CONTROL, *MASKS))
        self._all_batch = RegisterBatch(handle, tuple(REGISTERS.values()))
        self._enter_batch = RegisterBatch(handle, (SP, CONTROL, LR, SET_XPSR, CPSR))
        self._enter_unprivileged_batch = RegisterBatch(
            handle, (SP, SET_XPSR, CONTROL, SET_XPSR, CONTROL, LR, SET_XPSR, CONTROL, CPSR)
        )
        self._chain_batch = RegisterBatch(handle, (CONTROL, LR, SET_XPSR, CPSR))
        self._return_batches = tuple(
            RegisterBatch(handle, (*FRAME_REGISTERS, stack, CONTROL, SET_XPSR, CONTROL, CPSR)) for stack in (SP, PSP)
        )
        self._fp_batch = RegisterBatch(handle, (*DOUBLES, FPSCR), 8)
        # The mode and mask bits of the engine's CPSR mean nothing here; writing it is what makes the engine notice a
        # change between thread and handler mode.
        self._cpsr = self._engine.read(CPSR) & ~CPSR_FLAGS | CPSR_T

    # -- what the platform uses ----------------------------------------------------------------------------------

    def reset(self, entry: int | None = None) -> None:
        """Starts through the vector table; `entry` is ignored, as by hardware."""
        self._reset()
        self.last_fault = None
        self._start()

    def _start(self) -> None:
        """What reset does to the core itself (B1.5.5)."""
        self.scs.reset()
        self._first_fault = None
        self._look_at = NEVER
        self._waits_for_event = False
        self._unwatch()
        self._pc = 0
        table = self.scs.vtor
        stack, start = self._word(table), self._word(table + 4)
        if stack is None or start is None:
            self.fault = Fault(f"no memory at 0x{table:08x}, where the vector table should be", table)
            return
        if start < 2:
            self.fault = Fault(f"no vector table at 0x{table:08x}: its reset vector is 0x{start:08x}", start)
            return
        self._engine.write(SP, stack & ~3)
        self._engine.write(LR, MASK32)
        self._engine.write(CPSR, self._cpsr)
        self._pc = start & ~1
        if not start & 1:
            self._fault(Cfsr.INVSTATE)

    def set_irq(self, number: int, level: bool) -> None:
        """Drives an external interrupt line; raises BoardError for a number that the core does not have."""
        if not 0 <= number < self.nvic.num_irqs:
            raise BoardError(f"there is no interrupt {number}; the core has {self.nvic.num_irqs}, from 0")
        self.nvic.set_line(number, level)

    def idle_cycles(self) -> int | None:
        """While asleep: cycles until SysTick interrupts, None: never."""
        return None if self.systick.due == NEVER else max(self.systick.due - self.cycles, 0)

    def registers(self) -> dict[str, int]:
        """Returns r0 .. r12, sp, lr, pc, xpsr and the special registers."""
        values = dict(zip(REGISTERS, self._privileged(self._all_batch), strict=True))
        control = self._engine.read(CONTROL)
        values |= {"control": control, "xpsr": values["xpsr"] & ~EXCEPTION | self.nvic.current, "pc": self._pc}
        values["sp"] = values["psp"] if control & SPSEL and not self.nvic.current else values["msp"]
        return values

    def set_register(self, name: str, value: int) -> None:
        """Sets one register by its name in `registers()`."""
        if name == "pc":
            self._pc = value & ~1
        else:
            self._engine.write(SET_XPSR if name == "xpsr" else REGISTERS[name], value)

    def fp_context_active(self) -> bool:
        """CONTROL.FPCA as the instructions executed so far left it."""
        return bool(self._engine.read(CONTROL) & FPCA)

    def run(self, budget: int) -> Stop:
        """Executes about `budget` instructions; as in `Core`. A handler that spins for ever is a fault."""
        stop = super().run(budget)
        if stop is Stop.BUDGET and self.nvic.current and self._stuck():
            name = exception_name(self.nvic.current)
            self._give_up(f"the handler of {name} spins at 0x{self._pc:08x} and nothing can interrupt it")
            return Stop.FAULT
        return stop

    # -- between two engine runs ---------------------------------------------------------------------------------

    def _service(self) -> int:
        if self.scs.reset_requested:
            self._restart()
        systick, state = self.systick, self._state
        if systick.due <= state.count + self._idle:
            systick.advance()
        if state.count >= self._look_at:
            self._look()
        nvic = self.nvic
        if nvic.pending & nvic.enabled:
            self._deliver()
        else:
            self._unwatch()
        if self.asleep and self._waits_for_event and nvic.event:
            nvic.event = False
            self.asleep = False
        return min(systick.due - self._idle, self._look_at)

    def _deliver(self) -> None:
        """Takes the most urgent exception, or has its unmasking watched for, or wakes the core."""
        nvic = self.nvic
        number, priority = nvic.highest()
        if priority >= nvic.running:
            self._unwatch()
            return
        state = self._state_batch.read()
        unprivileged = state[CONTROL_AT] & NPRIV and not nvic.current
        if unprivileged:  # the engine hides the masks then
            state[MASKS_AT:] = self._privileged(self._mask_batch)
        primask, basepri, faultmask = state[MASKS_AT:]
        if priority < nvic.limit(primask, basepri, faultmask):
            self._unwatch()
            self.asleep = False
            self._take(number, state)
            return
        if self.asleep and not self._waits_for_event and priority < nvic.limit(0, basepri, faultmask):
            self.asleep = False  # WFI ends for what only PRIMASK holds back (B1.5.19)
        if unprivileged:
            self._unwatch()  # unprivileged code cannot unmask
        elif self._watched != (priority, nvic.group_mask):
            self._watched = (priority, nvic.group_mask)
            urgency = max(priority, 0)
            self._counter.watch(((PRIMASK, 1, 1, 1), (FAULTMASK, 1, 1, 1), (BASEPRI, nvic.group_mask, 1, urgency)))

    def _unwatch(self) -> None:
        if self._watched[0] != LOWEST:
            self._watched = (LOWEST, 0)
            self._counter.watch(())

    def _restart(self) -> None:
        """Does the reset that the firmware asked for; the platform hears of it."""
        count, idle, last = self._state.count, self._idle, self.last_fault
        self._reset()
        self._state.count, self._idle, self.last_fault = count, idle, last
        self._start()
        self._stop_requested = True
        if self.on_reset is not None:
            self.on_reset()

    def _privileged(self, batch: RegisterBatch) -> list[int]:
        """Reads registers that the engine shows as zero to unprivileged code."""
        if self.nvic.current or not self._engine.read(CONTROL) & NPRIV:
            return batch.read()
        xpsr = self._engine.read(XPSR)
        self._engine.write(SET_XPSR, xpsr | HARD_FAULT)
        values = batch.read()
        self._engine.write(SET_XPSR, xpsr)
        return values

    def _word(self, address: int) -> int | None:
        """Returns the word at `address`, or None where there is no memory."""
        found = self._code_window.find(address, 4)
        return None if found is None else int.from_bytes(found, "little")

    def _code(self, address: int) -> int:
        """Returns the halfword at `address`, or 0 where there is no memory."""
        return int.from_bytes(self._code_window.find(address, 2) or b"", "little")

    # -- what the engine reports ---------------------------------------------------------------------------------

    def _interrupt(self, engine: int, number: int, data: object) -> None:
        """Exception return and SVC need not leave the engine: its registers change within the hook, and it goes on."""
        if number not in (TRAP_EXCEPTION_RETURN, TRAP_SVC):
            super()._interrupt(engine, number, data)
            return
        try:
            if number == TRAP_SVC:
                self._supervisor_call()
            else:
                self._return()
            if self.nvic.pending & self.nvic.enabled:
                self._reconsider()
            self._charge()
        except BaseException as error:
            self._failed(error)
        if self.asleep or self.fault is not None or self._error is not None:
            self._trap = HANDLED
            self._engine.stop()
        else:
            self._engine.write(PC, self._pc | 1)

    def _supervisor_call(self) -> None:
        state = self._privileged_state()
        self._pc = state[PC_AT]
        self._raise(SVCALL, state)

    def _trapped(self, number: int) -> None:
        if self.nvic.current and self._pc >= EXC_RETURN_MIN:
            self._return()
        elif number == TRAP_BREAKPOINT:
            self._breakpoint()
        else:
            self._counter.retract(self._pc)
            self._fault(TRAP_CAUSES.get(number, Cfsr.UNDEFINSTR))

    def _breakpoint(self) -> None:
        if self.on_semihosting is not None and self._code(self._pc) == SEMIHOSTING:
            self._pc += 2
            self._counter.retract(self._pc)
            self.on_semihosting(self)
            return
        self._counter.retract(self._pc)
        self._fault(0)

    def _halted(self) -> None:
        self.asleep = True
        self._waits_for_event = False
        self._check_waiting_handler()

    def _invalid(self) -> None:
        """WFE and YIELD come here, behind the instruction; undefined instructions and ARM code on it."""
        pc, state = self._pc, self._state
        if not self._engine.read(XPSR) & T:
            self._counter.retract(pc)
            self._fault(Cfsr.INVSTATE)
        elif pc != state.block + state.size:
            self._counter.retract(pc)
            self._fault(Cfsr.UNDEFINSTR)
        elif self._code(pc - 2) == WFE or (self._code(pc - 2), self._code(pc - 4)) == WFE_WIDE:
            self._wait_for_event()

    def _wait_for_event(self) -> None:
        """WFE. The engine does not tell of SEV, so one directly before counts; spurious returns are allowed."""
        nvic = self.nvic
        if nvic.event or self._code(self._pc - 4) == SEV:
            nvic.event = False
            return
        self.asleep = True
        self._waits_for_event = True
        self._check_waiting_handler()

    def _fill(self, engine: int, address: int, kind: int, result: Any, data: object) -> bool:
        """Translates one page, and keeps the engine from losing an instruction over it.

        Before the engine asks for a translation it stores the state of the instruction that wants it, with its
        place in an IT block, and does not take that back: the next block would begin inside an IT block. (Translated
        code keeps account of IT by itself, so the stored state is not needed unless the access fails.)
        """
        found = super()._fill(engine, address, kind, result, data)
        if found and kind != FILL_FETCH:
            xpsr = self._engine.read(XPSR)
            if xpsr & IT_STATE:
                self._engine.write(SET_XPSR, xpsr & ~IT_STATE)
        return found

    def _unmapped(self, address: int, access: Access) -> None:
        self._counter.retract(self._pc)
        if access is Access.FETCH:
            if self.nvic.current and address >= EXC_RETURN_MIN:
                self._return()
            else:
                self._fault(Cfsr.IACCVIOL if no_execute(address) else Cfsr.IBUSERR)
            return
        address = self._exact_address(address)
        if self.scs.ccr & BFHFNMIGN and not self.model.baseline:
            state = self._privileged_state()
            if self.nvic.limit(*state[MASKS_AT:]) < 0:  # such handlers may probe for devices (B1.5.14)
                self.scs.bfar = address
                self.scs.cfsr |= Cfsr.PRECISERR | Cfsr.BFARVALID
                self._pc += 4 if self._code(self._pc) >= 0xE800 else 2
                return
        self._fault(Cfsr.PRECISERR, address, access)

    def _privileged_state(self) -> list[int]:
        state = self._state_batch.read()
        if state[CONTROL_AT] & NPRIV and not self.nvic.current:
            state[MASKS_AT:] = self._privileged(self._mask_batch)
        return state

    # -- exception entry and return ------------------------------------------------------------------------------

    def _raise(self, number: int, state: list[int], why: int = Hfsr.FORCED) -> None:
        """Takes a synchronous exception at `self._pc`, or HardFault in its place, or locks up (B1.5.14)."""
        nvic = self.nvic
        limit = nvic.limit(*state[MASKS_AT:])
        if not (nvic.enabled >> number & 1 and nvic.group_priority(number) < limit):
            if limit <= -1:
                self._lock_up()
                return
            self.scs.hfsr |= why
            number = HARD_FAULT
        self._take(number, state)

    def _take(self, number: int, state: list[int]) -> None:
        """Exception entry: PushStack and ExceptionTaken (B1.5.6)."""
        xpsr, stack, control = state[XPSR_AT], state[SP_AT], state[CONTROL_AT]
        thread = not self.nvic.current
        scs = self.scs
        if control & FPCA:
            scs.fpccr &= ~LSPACT
        with_fp = control & FPCA and scs.fpccr & ASPEN
        frame = (stack & ~3) - (FP_FRAME_SIZE if with_fp else FRAME_SIZE) & MASK32
        xpsr = xpsr & ~(EXCEPTION | ALIGNED) | self.nvic.current
        if frame & 4 and (scs.ccr & STKALIGN or with_fp):
            frame = frame - 4 & MASK32
            xpsr |= ALIGNED
        pushed = self._store(frame, _FRAME.pack(*state[:6], self._pc, xpsr))
        if with_fp and pushed:
            pushed = self._store(frame + FRAME_SIZE, _FP_FRAME.pack(*self._fp_batch.read()))
            if scs.fpccr & LSPEN:
                scs.fpccr |= LSPACT
            scs.fpcar = frame + FRAME_SIZE
        if not pushed:
            number = self._stacking_failed(number, state, frame)
        link = 0xFFFFFFE1 | (0 if with_fp else 0x10) | (8 if thread else 0)
        if thread and control & SPSEL:
            link |= 4
        entered = number | T
        if thread and control & NPRIV:
            self._enter_unprivileged_batch.write((frame, number | T, 0, T, 0, link, entered, NPRIV, self._cpsr))
        else:
            self._enter_batch.write((frame, control & NPRIV, link, entered, self._cpsr))
        self._begin(number)

    def _stacking_failed(self, number: int, state: list[int], frame: int) -> int:
        """Returns the exception to enter in place of `number` when its stack frame could not be written."""
        nvic = self.nvic
        self._note(Cfsr.STKERR, frame)
        limit = nvic.limit(*state[MASKS_AT:])
        fault = BUS_FAULT
        if not (nvic.enabled >> BUS_FAULT & 1 and nvic.group_priority(BUS_FAULT) < limit):
            fault = HARD_FAULT
            self.scs.hfsr |= Hfsr.FORCED
        if number in (HARD_FAULT, NMI) or limit <= -1:
            self._lock_up()
            return number
        first, second = sorted((fault, number), key=nvic.group_priority)
        nvic.pend(second)
        return first

    def _begin(self, number: int) -> None:
        """Goes to the handler: registers are done, vector and state are not."""
        self.nvic.activate(number)
        vector = self._word(self.scs.vtor + 4 * number)
        if vector is None:
            self.scs.hfsr |= Hfsr.VECTTBL
            self._lock_up()
            return
        self._pc = vector & ~1
        if not vector & 1 and self.fault is None:
            self._fault(Cfsr.INVSTATE)

    def _return(self) -> None:
        """Exception return: the engine's program counter holds EXC_RETURN without its lowest bit (B1.5.8)."""
        nvic, scs = self.nvic, self.scs
        number = nvic.current
        target, main, process, control, *masks = self._stack_batch.read()
        target |= 1
        if control & FPCA:
            scs.fpccr &= ~LSPACT
        valid = self._valid_return(target)
        nvic.deactivate(number)
        if masks[2] and number != NMI:
            self._engine.write(FAULTMASK, 0)
            masks[2] = 0
        if self._first_fault is not None and not nvic.active & FAULTS:
            self._first_fault = None
            self._look_at = NEVER
        if not valid:
            self._chain_fault(Cfsr.INVPC, target, control, masks)
            return
        if nvic.pending & nvic.enabled:
            chained, priority = nvic.highest()
            if priority < nvic.limit(*masks):
                self._chain(chained, target, control)
                return
        stack = process if target & 4 else main
        frame = self._stack_window.find(stack, FRAME_SIZE)
        with_fp = not target & 0x10
        saved = self._stack_window.find(stack + FRAME_SIZE, FP_FRAME_SIZE - FRAME_SIZE) if with_fp else b""
        if frame is None or saved is None:
            self._chain_fault(Cfsr.UNSTKERR, target, control, masks)
            return
        *general, pc, xpsr = _FRAME.unpack(frame)
        if bool(xpsr & EXCEPTION) == bool(target & 8):
            self._chain_fault(Cfsr.INVPC, target, control, masks)
            return
        stack += FP_FRAME_SIZE if with_fp else FRAME_SIZE
        if xpsr & ALIGNED and (scs.ccr & STKALIGN or with_fp):
            stack += 4
        if with_fp and scs.fpccr & LSPACT:
            scs.fpccr &= ~LSPACT
        elif with_fp:
            self._fp_batch.write(_FP_FRAME.unpack(saved))
        nvic.current = xpsr & EXCEPTION
        to_thread = bool(target & 8)
        control = control & NPRIV | (SPSEL if target & 4 else 0)
        if with_fp:
            control |= FPCA | SFPA if self.model.v8 else FPCA
        xpsr &= ~ALIGNED
        flags = xpsr & CPSR_FLAGS | (self._cpsr if xpsr & T else self._cpsr & ~CPSR_T)
        self._return_batches[bool(target & 4)].write((*general, stack & MASK32, 0, xpsr, control, flags))
        self._pc = pc & ~1
        if to_thread and scs.scr & SLEEPONEXIT:
            self.asleep = True
            self._waits_for_event = False
        if not xpsr & T:
            self._fault(Cfsr.INVSTATE)

    def _valid_return(self, target: int) -> bool:
        """EXC_RETURN is one of the defined values and fits the active exceptions."""
        nvic = self.nvic
        fixed = 0xFFFFFF80 if self.model.v8 else 0xFFFFFFE0 if self.model.fpu else 0xFFFFFFF0
        if target & fixed != fixed or target & 2 or not nvic.active >> nvic.current & 1:
            return False
        others = nvic.active & ~(1 << nvic.current)
        if not target & 8:
            return not target & 4 and bool(others)
        return not others or bool(self.scs.ccr & NONBASETHRDENA)

    def _chain(self, number: int, target: int, control: int) -> None:
        """Enters the next handler without unstacking and stacking again."""
        self._chain_batch.write((control & NPRIV, target, number | T, self._cpsr))
        self._begin(number)

    def _chain_fault(self, cause: int, target: int, control: int, masks: list[int]) -> None:
        """A fault of exception return itself: its handler finds the frame still on the stack."""
        nvic = self.nvic
        self.nvic.current = 0 if not nvic.active else nvic.current
        self._note(cause, None)
        number = FAULT_OF[cause]
        limit = nvic.limit(*masks)
        if not (nvic.enabled >> number & 1 and nvic.group_priority(number) < limit):
            if limit <= -1:
                self._lock_up()
                return
            self.scs.hfsr |= Hfsr.FORCED
            number = HARD_FAULT
        self._chain(number, target, control)

    def _store(self, address: int, data: bytes) -> bool:
        found = self._stack_window.find(address, len(data))
        if found is None:
            return False
        found[:] = data
        return True

    # -- faults --------------------------------------------------------------------------------------------------

    def _fault(self, cause: int, address: int | None = None, access: Access = Access.FETCH) -> None:
        """A fault of the instruction at `self._pc`; cause 0 is a breakpoint."""
        state = self._privileged_state()
        self._note(cause, address, access)
        number = HARD_FAULT if self.model.baseline else FAULT_OF[cause]
        why = 0 if self.model.baseline else Hfsr.FORCED if cause else Hfsr.DEBUGEVT
        self._raise(number, state, why)

    def _note(self, cause: int, address: int | None, access: Access = Access.FETCH) -> None:
        """Sets the status registers and keeps what there is to know of a fault."""
        scs = self.scs
        if not self.model.baseline:
            scs.cfsr |= cause
            if cause == Cfsr.PRECISERR and address is not None:
                scs.cfsr |= Cfsr.BFARVALID
                scs.bfar = address
        fault = self._describe(cause, address, access)
        self.last_fault = fault
        if self._first_fault is None:
            self._first_fault = fault
            self._look_at = self._state.count + HANDLER_LOOK
            self._reconsider()
            self._handler_deadline = self.cycles + self.config.clock_hz

    def _describe(self, cause: int, address: int | None, access: Access) -> Fault:
        number = FAULT_OF[cause]
        name = "HardFault" if self.model.baseline or not cause else exception_name(number)
        text = CFSR_BITS[cause][1] if cause else "breakpoint without a debugger"
        if cause == Cfsr.PRECISERR and address is not None:
            text = f"{describe_access(access, address)}, where there is nothing"
        details = [f"in {exception_name(self.nvic.current)}"]
        if not self.model.baseline and cause:
            details.append(decode("CFSR", self.scs.cfsr, CFSR_BITS))
        if address is not None:
            details.append(f"memory there is: {self.memory.describe()}")
        registers = MappingProxyType(self.registers())
        return Fault(f"{name}: {text}", self._pc, address, registers, tuple(details))

    def _lock_up(self) -> None:
        """A fault at the priority of HardFault or above (B1.5.15)."""
        scs = self.scs
        where = exception_name(self.nvic.current)
        self._give_up(f"lock-up: a fault in {where} at 0x{self._pc:08x}; {decode('HFSR', scs.hfsr, HFSR_BITS)}")

    def _give_up(self, why: str) -> None:
        """Ends the core, telling of the first fault where there was one."""
        first = self._first_fault
        if first is not None:
            self.fault = dataclasses.replace(first, details=(*first.details, why))
        else:
            self.fault = Fault(why, self._pc, registers=MappingProxyType(self.registers()))

    def _look(self) -> None:
        """Looks whether a fault handler goes on."""
        current = self.nvic.current
        if self._first_fault is None:
            self._look_at = NEVER
        elif self.cycles >= self._handler_deadline:
            self._give_up(f"{exception_name(current)} has not returned within a second, now at 0x{self._pc:08x}")
        elif self._spins():
            self._give_up(f"{exception_name(current)} spins at 0x{self._pc:08x}")
        else:
            self._look_at = self._state.count + HANDLER_LOOK

    def _spins(self) -> bool:
        """Runs block by block; True when the core comes back to where it was with nothing changed."""
        state, start, before = self._state, self._pc, self._all_batch.read()
        for _ in range(SPIN_BLOCKS):
            state.limit = state.count + 1
            self._enter()
            if self.fault is not None or self.asleep:
                return False
            if self._pc == start and self._all_batch.read() == before:
                return True
        return False

    def _check_waiting_handler(self) -> None:
        """A fault handler that waits for an interrupt has given up."""
        if self._first_fault is not None and FAULTS >> self.nvic.current & 1:
            self._give_up(f"{exception_name(self.nvic.current)} waits for an interrupt at 0x{self._pc:08x}")

    def _stuck(self) -> bool:
        """The core branches to itself and no enabled interrupt can preempt it."""
        code = self._code(self._pc)
        if code != BRANCH_TO_SELF and (code, self._code(self._pc + 2)) != BRANCH_TO_SELF_WIDE:
            return False
        nvic = self.nvic
        limit = nvic.limit(*self._mask_batch.read())
        sources = nvic.enabled & (-1 << FIRST_IRQ | (1 << SYSTICK if self.systick.due != NEVER else 0))
        return not any(nvic.group_priority(n) < limit for n in range(SYSTICK, sources.bit_length()) if sources >> n & 1)
