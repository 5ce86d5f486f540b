"""SysTick, the 24-bit timer of a Cortex-M, in virtual time."""

from __future__ import annotations

from collections.abc import Callable

from openamp.platforms.emulated.counter import NEVER

__all__ = ["SysTick"]

ENABLE, TICKINT, CLKSOURCE, COUNTFLAG = 1 << 0, 1 << 1, 1 << 2, 1 << 16
MASK24 = 0xFFFFFF
REFERENCE_DIVIDER = 8
"""The reference clock (CLKSOURCE = 0) is an eighth of the core's, as on STM32."""


class SysTick:
    """The timer; nothing counts, the counter's value follows from the time.

    Attributes:
        due: the cycle at which it next interrupts, NEVER where it does not.
    """

    def __init__(self, clock_hz: int, *, cycles: Callable[[], int], interrupt: Callable[[], None]) -> None:
        """Creates the timer.

        Args:
            clock_hz: the core's clock.
            cycles: gives the time.
            interrupt: called when the counter reaches zero, if that is enabled.
        """
        self._cycles = cycles
        self._interrupt = interrupt
        self._tenms = min(max(clock_hz // 100 - 1, 0), MASK24)
        self.reset()

    def reset(self) -> None:
        """Stops; reload value and counter are zero."""
        self.due = NEVER
        self._control = 0
        self._reload = 0
        self._value = 0  # the counter while it stands
        self._zero = NEVER  # the cycle at which it next reaches zero
        self._flag = False

    def _ticks(self) -> int:
        return 1 if self._control & CLKSOURCE else REFERENCE_DIVIDER

    def advance(self) -> None:
        """Does what is due by now."""
        now = self._cycles()
        if now < self._zero:
            return
        self._flag = True
        self._value = 0
        period = (self._reload + 1) * self._ticks()
        if self._reload:
            self._zero += ((now - self._zero) // period + 1) * period
        else:  # reload 0 stops the counter at zero (B3.3.1)
            self._zero = NEVER
        if self._control & TICKINT:
            self._interrupt()
        self._update()

    def _update(self) -> None:
        self.due = self._zero if self._control & TICKINT else NEVER

    def _current(self) -> int:
        if self._zero == NEVER:
            return self._value
        value = -((self._cycles() - self._zero) // self._ticks())
        return 0 if value > max(self._reload, self._value) else value

    def _run(self, value: int) -> None:
        """Lets the counter go on from `value`; from zero it reloads at the next tick."""
        self._value = value
        if not self._control & ENABLE or not (value or self._reload):
            self._zero = NEVER
        else:
            self._zero = self._cycles() + (value or self._reload + 1) * self._ticks()
        self._update()

    def read_control(self) -> int:
        """SYST_CSR; reading clears COUNTFLAG."""
        self.advance()
        flag, self._flag = self._flag, False
        return self._control | (COUNTFLAG if flag else 0)

    def write_control(self, value: int) -> None:
        """SYST_CSR."""
        self.advance()
        current = self._current()
        self._control = value & (ENABLE | TICKINT | CLKSOURCE)
        self._run(current)

    def read_reload(self) -> int:
        """SYST_RVR."""
        return self._reload

    def write_reload(self, value: int) -> None:
        """SYST_RVR: counts from the next reload on."""
        self.advance()
        current = self._current()
        self._reload = value & MASK24
        self._run(current)

    def read_value(self) -> int:
        """SYST_CVR."""
        self.advance()
        return self._current()

    def write_value(self, _value: int) -> None:
        """SYST_CVR: any write clears counter and COUNTFLAG."""
        self.advance()
        self._flag = False
        self._run(0)

    def read_calibration(self) -> int:
        """SYST_CALIB: the reload value for 10 ms of the core's clock; exact, and there is a reference clock."""
        return self._tenms
