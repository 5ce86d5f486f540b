"""Tells firmware that handles its traps from firmware that is stuck in one.

These count as a crash: an exception that repeats in place for ever (the handler itself faults, or returns to the
instruction without having changed anything); an exception's handler that, with interrupts off, spins on one spot,
waits for an interrupt, or has not come back after a second of virtual time; an interrupt's handler that jumps to itself
with interrupts off. A handler that goes on (prints, repairs, kills a task, switches to another) is left alone: a
return from the trap or enabling interrupts ends the suspicion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from openamp.platforms.emulated.counter import NEVER

__all__ = ["Trap", "TrapWatch"]

REPEATS = 16
"""So often an exception comes back in place before it is a loop."""

NEAR = 1000
"""Within so many instructions the same exception in a trap handler counts as a repetition."""

NESTED = 256
"""So many exceptions without a return from one of them are a loop."""

FIRST_LOOK = 10_000
"""Instructions in a handler until it is looked at; ten and hundred times as many until the next looks."""

LAST_LOOK = 100 * FIRST_LOOK
LOOKS = 3


@dataclass(frozen=True, slots=True)
class Trap:
    """An exception that the firmware took, as it was before the handler ran."""

    cause: int
    value: int
    pc: int
    registers: Mapping[str, int]


class TrapWatch:
    """Watches one core's traps.

    Args:
        patience: cycles that an exception's handler may take.

    Attributes:
        first: the exception that the firmware has not come back from, or None.
        look_at: the instruction count at which `stuck` wants to be called.
    """

    def __init__(self, patience: int) -> None:
        self._patience = patience
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        self.first: Trap | None = None
        self.look_at = NEVER
        self._last: tuple[int, int, int] | None = None
        self._repeats = 0
        self._nested = 0
        self._at = 0
        self._since = 0
        self._returned: tuple[int, int] | None = None
        self._step = FIRST_LOOK
        self._sample: object = None
        self._equal = 0

    def exception(
        self, cause: int, value: int, pc: int, count: int, registers: Callable[[], Mapping[str, int]]
    ) -> bool:
        """Notes an exception.

        Args:
            cause, value, pc: what goes into mcause, mtval and mepc.
            count: instructions executed.
            registers: gives the registers.

        Returns:
            True when it repeats for ever.
        """
        if self._returned is None:  # in the handler; its stack moves on and the faulting address with it
            again = self._last is not None and self._last[::2] == (cause, pc) and count - self._at <= NEAR
        else:
            again = self._last == (cause, value, pc) and self._returned[0] == pc and count - self._returned[1] <= 1
        self._repeats = self._repeats + 1 if again else 0
        self._nested = self._nested + 1 if self.first is not None else 0
        self._last = (cause, value, pc)
        self._at = count
        self._returned = None
        if self.first is None:
            self.first = Trap(cause, value, pc, registers())
            self._since = count
            self._sample = None
            self._equal = 0
            self.interrupt(count)
        return self._repeats >= REPEATS or self._nested >= NESTED

    def interrupt(self, count: int) -> None:
        """Notes that an interrupt is taken."""
        self._step = FIRST_LOOK
        self.look_at = count + FIRST_LOOK

    def returned(self, pc: int, count: int) -> None:
        """Notes a return from a trap to `pc`."""
        self._returned = (pc, count)
        self.released()

    def released(self) -> None:
        """The firmware goes on: it returned from the trap, or enabled interrupts."""
        self.first = None
        self.look_at = NEVER

    def stuck(self, state: object, count: int) -> bool:
        """Looks at a handler that runs with interrupts off.

        Args:
            state: of the core, in whatever form; compared with that at the last look.
            count: instructions executed.

        Returns:
            True when an exception's handler has not moved for long, or has run too long.
        """
        self._equal = self._equal + 1 if state == self._sample else 0
        self._sample = state
        self._step = min(10 * self._step, LAST_LOOK)
        self.look_at = count + self._step
        return self.first is not None and (self._equal >= LOOKS - 1 or count - self._since > self._patience)
