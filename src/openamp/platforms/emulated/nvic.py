"""The nested vectored interrupt controller of a Cortex-M: which exceptions are pending, enabled and active.

Exceptions are numbered as in the architecture: 2 NMI, 3 HardFault, ... 15 SysTick, and 16 + n for external interrupt
n. Sets of exceptions are integers with bit n for exception n. Priorities are the architecture's: smaller is more
urgent, -1 is HardFault, -2 NMI, and 256 stands for thread mode with nothing masked.

Clauses are those of the ARMv7-M Architecture Reference Manual (ARM DDI 0403).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

__all__ = [
    "BUS_FAULT",
    "DEBUG_MONITOR",
    "EXCEPTION_NAMES",
    "FIRST_IRQ",
    "HARD_FAULT",
    "LOWEST",
    "MEM_MANAGE",
    "NMI",
    "PENDSV",
    "SVCALL",
    "SYSTICK",
    "USAGE_FAULT",
    "Nvic",
    "exception_name",
]

NMI, HARD_FAULT, MEM_MANAGE, BUS_FAULT, USAGE_FAULT = 2, 3, 4, 5, 6
SVCALL, DEBUG_MONITOR, PENDSV, SYSTICK = 11, 12, 14, 15
FIRST_IRQ = 16
LOWEST = 256
"""The execution priority of thread mode with nothing masked."""

EXCEPTION_NAMES = {
    1: "Reset",
    NMI: "NMI",
    HARD_FAULT: "HardFault",
    MEM_MANAGE: "MemManage",
    BUS_FAULT: "BusFault",
    USAGE_FAULT: "UsageFault",
    SVCALL: "SVCall",
    DEBUG_MONITOR: "DebugMonitor",
    PENDSV: "PendSV",
    SYSTICK: "SysTick",
}

ALWAYS_ENABLED = 1 << NMI | 1 << HARD_FAULT | 1 << SVCALL | 1 << PENDSV | 1 << SYSTICK
CONFIGURABLE = (MEM_MANAGE, BUS_FAULT, USAGE_FAULT, SVCALL, DEBUG_MONITOR, PENDSV, SYSTICK)
CONFIGURABLE_V6 = (SVCALL, PENDSV, SYSTICK)
MASK32 = 0xFFFFFFFF

Reader = Callable[[], int]
Writer = Callable[[int], None]


def exception_name(number: int) -> str:
    """Returns "SysTick", "interrupt 5" and the like."""
    return f"interrupt {number - FIRST_IRQ}" if number >= FIRST_IRQ else EXCEPTION_NAMES.get(number, "thread mode")


class Nvic:
    """State of all exceptions.

    Attributes:
        pending: the set of pending exceptions.
        enabled: the set of those that may be taken.
        active: the set of those that have begun and not ended.
        lines: the set of external interrupts whose line is high.
        current: the exception being executed (IPSR), 0 in thread mode.
        running: the execution priority that the active exceptions give, before any masking.
        group_mask: which bits of a priority decide about preemption.
        event: the event register of WFE.
        send_event_on_pending: SCR.SEVONPEND.
    """

    def __init__(self, num_irqs: int, priority_bits: int, *, baseline: bool, changed: Callable[[], None]) -> None:
        """Creates the controller.

        Args:
            num_irqs: external interrupts.
            priority_bits: implemented bits of a priority.
            baseline: ARMv6-M, with fewer system exceptions.
            changed: called when a pending enabled exception may have become the most urgent one.
        """
        self.num_irqs = num_irqs
        self.priority_mask = 0xFF & 0xFF << (8 - priority_bits)
        self._irqs = ((1 << num_irqs) - 1) << FIRST_IRQ
        self._baseline = baseline
        self._configurable = CONFIGURABLE_V6 if baseline else CONFIGURABLE
        self._changed = changed
        self.lines = 0
        self.reset()

    def reset(self) -> None:
        """Nothing is pending, active or enabled; external lines keep their level and so become pending again."""
        self.pending = self.lines
        self.enabled = ALWAYS_ENABLED
        self.active = 0
        self.current = 0
        self.running = LOWEST
        self.group_mask = 0xFE
        self.event = False
        self.send_event_on_pending = False
        self._priorities = [0] * (FIRST_IRQ + self.num_irqs)
        self._priorities[1:4] = (-3, -2, -1)

    # -- deciding ------------------------------------------------------------------------------------------------

    def highest(self) -> tuple[int, int]:
        """Returns the most urgent of the pending enabled exceptions and its group priority; (0, 256) for none."""
        candidates = self.pending & self.enabled
        best, urgency = 0, LOWEST
        while candidates:
            number = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            priority = self._priorities[number]
            if priority < urgency:
                best, urgency = number, priority
        return best, urgency if urgency < 0 else urgency & (self.group_mask | LOWEST)

    def group_priority(self, number: int) -> int:
        """Returns the priority of `number` as far as it decides about preemption."""
        priority = self._priorities[number]
        return priority if priority < 0 else priority & self.group_mask

    def limit(self, primask: int, basepri: int, faultmask: int) -> int:
        """Returns the execution priority (B1.5.4): an exception is taken when its priority is smaller."""
        limit = self.running
        if basepri:
            limit = min(limit, basepri & self.group_mask)
        if primask & 1:
            limit = min(limit, 0)
        if faultmask & 1:
            limit = min(limit, -1)
        return limit

    def _update_running(self) -> None:
        active = self.active
        running = LOWEST
        while active:
            number = (active & -active).bit_length() - 1
            active &= active - 1
            running = min(running, self.group_priority(number))
        self.running = running

    def _reconsider(self) -> None:
        if self.pending & self.enabled and self.highest()[1] < self.running:
            self._changed()

    def reconsider(self) -> None:
        """Makes the core look at the state again before its next block."""
        self._changed()

    # -- changing ------------------------------------------------------------------------------------------------

    def pend(self, number: int) -> None:
        """Makes an exception pending."""
        bit = 1 << number
        if not self.pending & bit:
            self.pending |= bit
            self.event |= self.send_event_on_pending
            self._reconsider()

    def set_line(self, irq: int, level: bool) -> None:
        """Drives an external interrupt line. A rising line pends; a line still high when its handler ends does too."""
        bit = 1 << FIRST_IRQ + irq
        if not level:
            self.lines &= ~bit
        elif not self.lines & bit:
            self.lines |= bit
            self.pend(FIRST_IRQ + irq)

    def activate(self, number: int) -> None:
        """An exception begins."""
        bit = 1 << number
        self.pending &= ~bit
        self.active |= bit
        self.current = number
        self.event = True
        self.running = min(self.running, self.group_priority(number))

    def deactivate(self, number: int) -> None:
        """An exception ends."""
        bit = 1 << number
        self.active &= ~bit
        if self.lines & bit:
            self.pending |= bit
        self.event = True
        self._update_running()

    def set_priority_group(self, group: int) -> None:
        """Sets AIRCR.PRIGROUP: bits 7 down to group + 1 of a priority decide about preemption (table B1-4)."""
        self.group_mask = 0xFF & 0xFF << (group + 1)
        self._update_running()
        self._reconsider()

    def set_sets(self, *, enabled: int | None = None, pending: int | None = None, active: int | None = None) -> None:
        """Replaces whole sets, as writes to registers with several of their bits do."""
        if enabled is not None:
            self.enabled = enabled
        if pending is not None:
            self.event |= self.send_event_on_pending and bool(pending & ~self.pending)
            self.pending = pending
        if active is not None:
            self.active = active
            self._update_running()
        self._reconsider()

    # -- registers -----------------------------------------------------------------------------------------------

    def registers(self) -> tuple[dict[int, Reader], dict[int, Writer]]:
        """Returns the readers and writers of NVIC_ISER..NVIC_IPR by offset from 0xE000E000 (table B3-8)."""
        readers: dict[int, Reader] = {}
        writers: dict[int, Writer] = {}
        for word in range((self.num_irqs + 31) // 32):
            shift = FIRST_IRQ + 32 * word
            for offset, name in ((0x100, "enabled"), (0x180, "enabled"), (0x200, "pending"), (0x280, "pending")):
                readers[offset + 4 * word] = partial(self._read_set, name, shift)
            if not self._baseline:
                readers[0x300 + 4 * word] = partial(self._read_set, "active", shift)
            writers[0x100 + 4 * word] = partial(self._set_enabled, shift)
            writers[0x180 + 4 * word] = partial(self._clear_enabled, shift)
            writers[0x200 + 4 * word] = partial(self._set_pending, shift)
            writers[0x280 + 4 * word] = partial(self._clear_pending, shift)
        for word in range((self.num_irqs + 3) // 4):
            readers[0x400 + 4 * word] = partial(self.read_priorities, FIRST_IRQ + 4 * word)
            writers[0x400 + 4 * word] = partial(self.write_priorities, FIRST_IRQ + 4 * word)
        return readers, writers

    def read_priorities(self, first: int) -> int:
        """Returns the priorities of four exceptions in one word."""
        values = self._priorities[first : first + 4]
        return sum((value & 0xFF) << 8 * index for index, value in enumerate(values))

    def write_priorities(self, first: int, value: int) -> None:
        """Sets the priorities of four exceptions; those that are fixed or do not exist ignore it."""
        for number in range(first, min(first + 4, FIRST_IRQ + self.num_irqs)):
            if number >= FIRST_IRQ or number in self._configurable:
                self._priorities[number] = value >> 8 * (number - first) & self.priority_mask
        self._update_running()
        self._reconsider()

    def _read_set(self, name: str, shift: int) -> int:
        value: int = getattr(self, name)
        return (value & self._irqs) >> shift & MASK32

    def _set_enabled(self, shift: int, value: int) -> None:
        self.enabled |= value << shift & self._irqs
        self._reconsider()

    def _clear_enabled(self, shift: int, value: int) -> None:
        self.enabled &= ~(value << shift & self._irqs)

    def _set_pending(self, shift: int, value: int) -> None:
        self.set_sets(pending=self.pending | (value << shift & self._irqs))

    def _clear_pending(self, shift: int, value: int) -> None:
        """A line that is still high keeps its interrupt pending, unless the handler runs already (B3.4)."""
        self.pending &= ~(value << shift & self._irqs & ~(self.lines & ~self.active))
