"""Exceptions of a Cortex-M on the unicorn engine: stacking, entry, return, tail-chaining, escalation.

Clauses are those of the ARMv7-M Architecture Reference Manual (ARM DDI 0403). Floating-point state is written to the
stack at once, although FPCCR.LSPACT says otherwise while that is what hardware would do: software cannot tell.
"""

from __future__ import annotations

import dataclasses
import struct
from abc import abstractmethod

from unicorn import arm_const as arm
from unicorn import unicorn_const as uc

from openamp.errors import BoardError
from openamp.memory import MemoryMap
from openamp.platforms.emulated.core import Access, Core, CoreConfig, RegisterBatch
from openamp.platforms.emulated.faults import FAULT_OF, FAULTS, Cfsr, Hfsr
from openamp.platforms.emulated.nvic import BUS_FAULT, HARD_FAULT, NMI, SYSTICK, Nvic
from openamp.platforms.emulated.scs import (
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

__all__ = ["ExceptionModel"]

CPUS = {
    "cortex-m0": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m0plus": arm.UC_CPU_ARM_CORTEX_M0,
    "cortex-m3": arm.UC_CPU_ARM_CORTEX_M3,
    "cortex-m4": arm.UC_CPU_ARM_CORTEX_M4,
    "cortex-m7": arm.UC_CPU_ARM_CORTEX_M7,
    "cortex-m33": arm.UC_CPU_ARM_CORTEX_M33,
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
EXC_RETURN = 0xFFFFFFE1
FTYPE, TO_THREAD, ON_PROCESS = 1 << 4, 1 << 3, 1 << 2  # fields of EXC_RETURN: no FP frame, thread mode, process stack

FRAME_REGISTERS = (*(R[f"r{n}"] for n in (0, 1, 2, 3, 12)), LR)
MASKS = (PRIMASK, BASEPRI, FAULTMASK)
PC_AT, XPSR_AT, SP_AT, CONTROL_AT, MASKS_AT = 6, 7, 8, 9, 10  # places in what `_state_batch` reads
DOUBLES = tuple(arm.UC_ARM_REG_D0 + n for n in range(8))
FPSCR = arm.UC_ARM_REG_FPSCR
FRAME_SIZE, FP_FRAME_SIZE = 0x20, 0x68
MASK32 = 0xFFFFFFFF

_FRAME = struct.Struct("<8I")
_FP_FRAME = struct.Struct("<8QI4x")


class Window:
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

    def read(self, address: int, size: int) -> bytes | memoryview | None:
        """Returns the bytes, also across neighbouring regions, or None where there is no memory."""
        found: bytes | memoryview | None = self.find(address, size)
        if found is None:
            words = [self.find(at, 4) for at in range(address, address + size, 4)]
            found = None if None in words else b"".join(word for word in words if word is not None)
        return found

    def write(self, address: int, data: bytes) -> bool:
        """Writes the bytes, also across neighbouring regions; False where there is no memory."""
        found = self.find(address, len(data))
        if found is not None:
            found[:] = data
            return True
        for offset in range(0, len(data), 4):
            word = self.find(address + offset, 4)
            if word is None:
                return False
            word[:] = data[offset : offset + 4]
        return True


class ExceptionModel(Core):
    """A core that takes exceptions and returns from them.

    Attributes:
        model: what distinguishes it from its relatives.
        nvic: the interrupt controller.
        systick: the timer.
        scs: all registers of the system control space.
    """

    def __init__(self, config: CoreConfig) -> None:
        """Creates the core; raises BoardError for a model that is not one of `MODELS`."""
        if config.model not in MODELS:
            raise BoardError(f'"{config.model}" is no Cortex-M core; there are {", ".join(MODELS)}')
        self.model = MODELS[config.model]
        self.nvic = Nvic(config.num_irqs, config.priority_bits, baseline=self.model.baseline, changed=self._reconsider)
        self.systick = SysTick(config.clock_hz, cycles=lambda: self.cycles, interrupt=lambda: self.nvic.pend(SYSTICK))
        self.scs = SystemControl(self, self.model, self.nvic, self.systick, vectors=config.vector_base)
        self._waits_for_event = False
        self._stack_window = Window(config.regions)
        self._code_window = Window(config.regions)
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

    # -- state of the engine --------------------------------------------------------------------------------------

    def fp_context_active(self) -> bool:
        """CONTROL.FPCA as the instructions executed so far left it."""
        return bool(self._engine.read(CONTROL) & FPCA)

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

    def _privileged_state(self) -> list[int]:
        state = self._state_batch.read()
        if state[CONTROL_AT] & NPRIV and not self.nvic.current:
            state[MASKS_AT:] = self._privileged(self._mask_batch)
        return state

    # -- entry ----------------------------------------------------------------------------------------------------

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
        with_fp = control & FPCA and scs.stacks_fp()
        frame = (stack & ~3) - (FP_FRAME_SIZE if with_fp else FRAME_SIZE) & MASK32
        xpsr = xpsr & ~(EXCEPTION | ALIGNED) | self.nvic.current
        if frame & 4 and (scs.ccr & STKALIGN or with_fp):
            frame = frame - 4 & MASK32
            xpsr |= ALIGNED
        pushed = self._stack_window.write(frame, _FRAME.pack(*state[:6], self._pc, xpsr))
        if with_fp and pushed:
            pushed = self._stack_window.write(frame + FRAME_SIZE, _FP_FRAME.pack(*self._fp_batch.read()))
            if scs.fpccr & LSPEN:
                scs.fpccr |= LSPACT
            scs.fpcar = frame + FRAME_SIZE
        if not pushed:
            number = self._stacking_failed(number, state, frame)
        link = EXC_RETURN | (0 if with_fp else FTYPE) | (TO_THREAD if thread else 0)
        if thread and control & SPSEL:
            link |= ON_PROCESS
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

    # -- return ---------------------------------------------------------------------------------------------------

    def _return(self) -> None:
        """Exception return: the engine's program counter holds EXC_RETURN without its lowest bit (B1.5.8)."""
        nvic, scs = self.nvic, self.scs
        number = nvic.current
        target, main, process, control, *masks = self._stack_batch.read()
        target |= 1
        if control & FPCA:
            scs.fpccr &= ~LSPACT
        valid = self._valid_return(target)
        # ARMv8-M with the security extension leaves FAULTMASK alone when HardFault returns too (rule R_KBNF).
        keeps_faultmask = number == NMI or (self.model.v8 and nvic.running < 0)
        nvic.deactivate(number)
        if masks[2] and not keeps_faultmask:
            self._engine.write(FAULTMASK, 0)
            masks[2] = 0
        if not nvic.active & FAULTS:
            self._recovered()
        if not valid:
            self._chain_fault(Cfsr.INVPC, target, control, masks)
            return
        if nvic.pending & nvic.enabled:
            chained, priority = nvic.highest()
            if priority < nvic.limit(*masks):
                self._chain(chained, target, control)
                return
        if not self._unstack(target, process if target & ON_PROCESS else main, control):
            self._chain_fault(Cfsr.UNSTKERR, target, control, masks)

    def _unstack(self, target: int, stack: int, control: int) -> bool:
        """Goes back to what was interrupted (PopStack); False where the stack pointer leads outside memory."""
        nvic, scs = self.nvic, self.scs
        frame = self._stack_window.read(stack, FRAME_SIZE)
        with_fp = not target & FTYPE
        saved = self._stack_window.read(stack + FRAME_SIZE, FP_FRAME_SIZE - FRAME_SIZE) if with_fp else b""
        if frame is None or saved is None:
            return False
        *general, pc, xpsr = _FRAME.unpack(frame)
        to_thread = bool(target & TO_THREAD)
        if bool(xpsr & EXCEPTION) == to_thread:
            self._chain_fault(Cfsr.INVPC, target, control, self._mask_batch.read())
            return True
        stack += FP_FRAME_SIZE if with_fp else FRAME_SIZE
        if xpsr & ALIGNED and (scs.ccr & STKALIGN or with_fp):
            stack += 4
        if with_fp and scs.fpccr & LSPACT:
            scs.fpccr &= ~LSPACT
        elif with_fp:
            self._fp_batch.write(_FP_FRAME.unpack(saved))
        nvic.current = xpsr & EXCEPTION
        control = control & NPRIV | (SPSEL if target & ON_PROCESS else 0)
        if with_fp:
            control |= FPCA | SFPA if self.model.v8 else FPCA
        xpsr &= ~ALIGNED
        flags = xpsr & CPSR_FLAGS | (self._cpsr if xpsr & T else self._cpsr & ~CPSR_T)
        self._return_batches[bool(target & ON_PROCESS)].write((*general, stack & MASK32, 0, xpsr, control, flags))
        self._pc = pc & ~1
        if to_thread and scs.scr & SLEEPONEXIT:
            self.asleep = True
            self._waits_for_event = False
        if not xpsr & T:
            self._fault(Cfsr.INVSTATE)
        return True

    def _valid_return(self, target: int) -> bool:
        """EXC_RETURN is one of the defined values and fits the active exceptions."""
        nvic = self.nvic
        fixed = 0xFFFFFF80 if self.model.v8 else 0xFFFFFFE0 if self.model.fpu else 0xFFFFFFF0
        if target & fixed != fixed or target & 2 or not nvic.active >> nvic.current & 1:
            return False
        others = nvic.active & ~(1 << nvic.current)
        if not target & TO_THREAD:
            return not target & ON_PROCESS and bool(others)
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

    # -- faults ---------------------------------------------------------------------------------------------------

    @abstractmethod
    def _fault(self, cause: int, address: int | None = None, access: Access = Access.FETCH) -> None:
        """A fault of the instruction at `self._pc`."""

    @abstractmethod
    def _note(self, cause: int, address: int | None, access: Access = Access.FETCH) -> None:
        """Keeps what there is to know of a fault."""

    @abstractmethod
    def _recovered(self) -> None:
        """No fault handler is active any more."""

    @abstractmethod
    def _lock_up(self) -> None:
        """A fault at the priority of HardFault or above."""
