"""The core-local interruptor (CLINT) of RISC-V: software interrupt, timer comparison and time.

Time is virtual: it counts the core's cycles, converted to the timer's frequency, so equal runs read equal times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openamp.platforms.emulated.devices import Device

__all__ = ["Clint", "Window"]

PAGE = 0x1000
MASK32 = 0xFFFFFFFF
MASK64 = (1 << 64) - 1
MTIMECMP = 0x4000
MTIME = 0xBFF8


class Window(Device):
    """A part of a device's registers; each window costs the engine a mapping, so holes between them are left out."""

    def __init__(
        self, name: str, base: int, size: int, read: Callable[[int], int], write: Callable[[int, int], None]
    ) -> None:
        """Creates the window; `read(offset)` and `write(offset, value)` take words, offsets from `base`."""
        super().__init__(name, base, size)
        self._read = read
        self._write = write

    def reset(self) -> None:
        """Does nothing: the owner resets itself."""

    def read_word(self, offset: int) -> int:
        return self._read(offset)

    def write_word(self, offset: int, value: int) -> None:
        self._write(offset, value)


class Clint:
    """One hart's registers in a CLINT.

    | offset | register |
    |---|---|
    | 0x0000 + 4 * hart | msip: bit 0 is the software interrupt |
    | 0x4000 + 8 * hart | mtimecmp: the timer interrupt is pending while mtime >= mtimecmp |
    | 0xBFF8 | mtime |

    Other harts' registers read as zero and ignore writes.

    Attributes:
        software: the software interrupt is pending.
        due: the core cycle from which on the timer interrupt is pending.
        windows: the registers, for the core's bus.
    """

    def __init__(
        self,
        base: int,
        *,
        hart: int,
        cycles: Callable[[], int],
        clock_hz: int,
        timer_hz: int,
        changed: Callable[[], None],
    ) -> None:
        """Creates the registers.

        Args:
            base: device address.
            hart: whose registers work.
            cycles: the core's virtual time.
            clock_hz: its frequency.
            timer_hz: the frequency of mtime.
            changed: called when an interrupt may have become pending or not.
        """
        self._cycles = cycles
        self._clock_hz = clock_hz
        self._timer_hz = timer_hz
        self._changed = changed
        self._msip = 4 * hart
        self._mtimecmp = MTIMECMP + 8 * hart
        software = self._msip & -PAGE
        compare = self._mtimecmp & -PAGE
        time = MTIME & -PAGE
        self.windows: Sequence[Window] = tuple(
            Window("CLINT", base + page, PAGE, self._reader(page), self._writer(page))
            for page in sorted({software, compare, time})
        )
        self.reset()

    def reset(self) -> None:
        """Nothing is pending; mtime begins with the core's cycles."""
        self.software = False
        self._compare = MASK64
        self._offset = 0
        self._schedule()

    def _reader(self, page: int) -> Callable[[int], int]:
        return lambda offset: self._read(page + offset)

    def _writer(self, page: int) -> Callable[[int, int], None]:
        return lambda offset, value: self._write(page + offset, value)

    @property
    def time(self) -> int:
        """The value of mtime."""
        return self._offset + self._cycles() * self._timer_hz // self._clock_hz & MASK64

    @property
    def timer(self) -> bool:
        """The timer interrupt is pending."""
        return self._cycles() >= self.due

    def _schedule(self) -> None:
        """Computes the first cycle with mtime >= mtimecmp, rounded up."""
        ticks = self._compare - self._offset
        self.due = max(-(-ticks * self._clock_hz // self._timer_hz), 0)

    def _read(self, offset: int) -> int:
        if offset & -8 == MTIME:
            return self.time >> 8 * (offset & 4) & MASK32
        if offset & -8 == self._mtimecmp:
            return self._compare >> 8 * (offset & 4) & MASK32
        return int(self.software) if offset == self._msip else 0

    def _write(self, offset: int, value: int) -> None:
        if offset == self._msip:
            self.software = bool(value & 1)
            self._changed()
        elif offset & -8 == self._mtimecmp:
            self._compare = self._replace(self._compare, offset, value)
            self._schedule()
            self._changed()
        elif offset & -8 == MTIME:
            now = self.time
            self._offset += self._replace(now, offset, value) - now
            self._schedule()
            self._changed()

    @staticmethod
    def _replace(old: int, offset: int, value: int) -> int:
        """Returns 64 bits with one half replaced."""
        shift = 8 * (offset & 4)
        return old & ~(MASK32 << shift) | value << shift
