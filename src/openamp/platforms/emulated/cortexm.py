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
from types import MappingProxyType
from typing import Any

from openamp.errors import BoardError
from openamp.platforms.emulated.core import HANDLED, NEVER, Access, CoreConfig, Fault, Stop
from openamp.platforms.emulated.engine import FILL_FETCH
from openamp.platforms.emulated.exceptions import (
    BASEPRI,
    CONTROL,
    CONTROL_AT,
    CPSR,
    EXC_RETURN_MIN,
    EXCEPTION,
    FAULTMASK,
    IT_STATE,
    LR,
    MASK32,
    MASKS_AT,
    NPRIV,
    PC,
    PC_AT,
    PRIMASK,
    REGISTERS,
    SET_XPSR,
    SP,
    SPSEL,
    XPSR,
    ExceptionModel,
    T,
)
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
from openamp.platforms.emulated.nvic import FIRST_IRQ, HARD_FAULT, LOWEST, SVCALL, SYSTICK, exception_name
from openamp.platforms.emulated.scs import BFHFNMIGN

__all__ = ["CortexM"]

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

WFI, WFE, SEV, SEMIHOSTING = 0xBF30, 0xBF20, 0xBF40, 0xBEAB
WFI_WIDE, WFE_WIDE = (0x8003, 0xF3AF), (0x8002, 0xF3AF)
BRANCH_TO_SELF = 0xE7FE
BRANCH_TO_SELF_WIDE = (0xF7FF, 0xBFFE)
HANDLER_LOOK = 10_000
"""Instructions between two looks at whether a fault handler spins."""
SPIN_BLOCKS = 32
"""The longest loop, in blocks, that counts as spinning in place."""
LOST = Cfsr.INVSTATE | Cfsr.IBUSERR | Cfsr.IACCVIOL
"""Faults whose program counter is not where the mistake was."""
MAX_REPEATS = 64
"""So often a fault comes back with all registers as before until nothing will change any more."""


class CortexM(ExceptionModel):
    """A Cortex-M core.

    Attributes:
        last_fault: the last fault that the firmware took, also when it recovered from it or reset itself.
    """

    def __init__(self, config: CoreConfig) -> None:
        """Creates the core; raises BoardError for a model that is not one of `MODELS`."""
        self.last_fault: Fault | None = None
        self._first_fault: Fault | None = None
        self._look_at = NEVER  # the instruction count at which a fault handler is looked at
        self._handler_deadline = NEVER
        self._repeats = 0
        self._watched = (LOWEST, 0)  # the priority, and its group's bits, whose unmasking the counter watches for
        super().__init__(config)
        self.scs.on_itm = self._stimulus

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
        elif name == "xpsr":
            self._engine.write(SET_XPSR, value & ~EXCEPTION | self.nvic.current)
        else:
            self._engine.write(REGISTERS[name], value)

    def run(self, budget: int) -> Stop:
        """Executes about `budget` instructions; as in `Core`. A handler that spins for ever is a fault."""
        stop = super().run(budget)
        if stop is Stop.BUDGET and self.nvic.current and self._stuck():
            name = exception_name(self.nvic.current)
            self._give_up(f"the handler of {name} spins at 0x{self._pc:08x} and nothing can interrupt it")
            return Stop.FAULT
        return stop

    def _stimulus(self, port: int, data: bytes) -> None:
        """The firmware wrote to an ITM stimulus port; port 0 is what printf uses."""
        if self.on_output is not None:
            self.on_output(f"itm{port}" if port else "itm", data)

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
            # BASEPRI is zero, or its group is less urgent than the exception's: a group ends with all other bits set.
            last = max(priority, 0) | 0xFF & ~nvic.group_mask
            self._counter.watch(((PRIMASK, 1, 1, 1), (FAULTMASK, 1, 1, 1), (BASEPRI, 0xFF, 1, last)))

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

    # -- what the engine reports ---------------------------------------------------------------------------------

    def _interrupt(self, engine: int, number: int, data: object) -> None:
        """Exception return and SVC need not leave the engine: its registers change within the hook, and it goes on."""
        if number not in (TRAP_EXCEPTION_RETURN, TRAP_SVC) or self._probed_page is not None:
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
        code = self._code(self._pc - 2)
        if code != WFI and (code, self._code(self._pc - 4)) != WFI_WIDE:
            self._pc = self._pc_batch.read()[0]  # the engine came back for a reason of its own
            return
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

    def _translate(self, address: int, kind: int, result: Any) -> bool:
        """Translates one page, and keeps the engine from losing an instruction over it.

        Before the engine asks for a translation it stores the state of the instruction that wants it, with its
        place in an IT block, and does not take that back: the next block would begin inside an IT block. (Translated
        code keeps account of IT by itself, so the stored state is not needed unless the access fails.)
        """
        found = super()._translate(address, kind, result)
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

    # -- faults --------------------------------------------------------------------------------------------------

    def _fault(self, cause: int, address: int | None = None, access: Access = Access.FETCH) -> None:
        """A fault of the instruction at `self._pc`; cause 0 is a breakpoint."""
        state = self._privileged_state()
        self._note(cause, address, access)
        if self.fault is not None:
            return
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
        fault, last = self._describe(cause, address, access), self.last_fault
        again = last is not None and (fault.reason, fault.pc, fault.registers) == (last.reason, last.pc, last.registers)
        self._repeats = self._repeats + 1 if again else 0
        self.last_fault = fault
        if self._repeats >= MAX_REPEATS:
            self._first_fault = fault
            self._give_up("the same fault comes back for ever: its handler changes nothing")
            return
        if self._first_fault is None:
            self._first_fault = fault
            self._look_at = self._state.count + HANDLER_LOOK
            self._reconsider()
            self._handler_deadline = self.cycles + self.config.clock_hz

    def _recovered(self) -> None:
        """The firmware returned from its fault handler."""
        self._first_fault = None
        self._look_at = NEVER

    def _describe(self, cause: int, address: int | None, access: Access) -> Fault:
        number = FAULT_OF[cause]
        name = "HardFault" if self.model.baseline or not cause else exception_name(number)
        text = CFSR_BITS[cause][1] if cause else "breakpoint without a debugger"
        if cause == Cfsr.PRECISERR and address is not None:
            text = f"{describe_access(access, address)}, where there is nothing"
        details = [f"in {exception_name(self.nvic.current)}"]
        if not self.model.baseline and cause:
            details.append(decode("CFSR", self.scs.cfsr, CFSR_BITS))
        registers = MappingProxyType(self.registers())
        if address is not None:
            details.append(f"memory there is: {self.memory.describe()}")
        if cause & LOST:
            details.append(f"the branch may have come from before 0x{registers['lr'] & ~1:08x} (lr)")
        return Fault(f"{name}: {text}", self._pc, address, registers, tuple(details))

    def _lock_up(self) -> None:
        """A fault at the priority of HardFault or above (B1.5.15)."""
        where = exception_name(self.nvic.current)
        status = decode("HFSR", self.scs.hfsr, HFSR_BITS)
        self._give_up(f"lock-up: a fault in {where} at 0x{self._pc:08x}; {status}")

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
