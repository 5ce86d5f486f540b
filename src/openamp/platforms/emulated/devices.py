"""Device models: the mailbox, registers without a model, hardware semaphores, a timer.

Each is an `Mmio` of the core: `read(offset, size)` and `write(offset, size, value)` come from the firmware. Interrupt
lines are levels, driven through the callable each device gets. `reset()` puts a device into its state after reset.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar

from openamp.platforms.emulated.board import PeripheralSpec

__all__ = ["AccessLog", "Device", "HardwareSemaphores", "Ipcc", "Registers", "Timer"]

MASK32 = 0xFFFFFFFF
IrqLine = Callable[[bool], None]


def no_irq(_level: bool) -> None:
    """The interrupt line of a device that has none."""


class Device(ABC):
    """A block of 32-bit registers; narrower and wider accesses are put together from words.

    Attributes:
        name: for people.
        base: first device address.
        size: in bytes.
    """

    def __init__(self, name: str, base: int, size: int) -> None:
        self.name = name
        self.base = base
        self.size = size

    def read(self, offset: int, size: int) -> int:
        """Returns the bits that an access of `size` bytes at `offset` reads."""
        if size == 4 and not offset & 3:
            return self.read_word(offset)
        word = offset & ~3
        value = self.read_word(word)
        if (offset & 3) + size > 4 and word + 4 < self.size:
            value |= self.read_word(word + 4) << 32
        return value >> 8 * (offset & 3) & (1 << 8 * size) - 1

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes a write; the bytes of a word that a narrow write does not name are written as zero."""
        if size == 4 and not offset & 3:
            self.write_word(offset, value)
            return
        word = offset & ~3
        value = (value & (1 << 8 * size) - 1) << 8 * (offset & 3)
        self.write_word(word, value & MASK32)
        if (offset & 3) + size > 4 and word + 4 < self.size:
            self.write_word(word + 4, value >> 32 & MASK32)

    @abstractmethod
    def reset(self) -> None:
        """Puts all registers into their state after reset."""

    @abstractmethod
    def read_word(self, offset: int) -> int:
        """Returns the register at `offset`, a multiple of 4."""

    @abstractmethod
    def write_word(self, offset: int, value: int) -> None:
        """Writes the register at `offset`, a multiple of 4."""


class Ipcc(Device):
    """ST's inter-processor communication controller; the host is processor 1, the firmware processor 2.

    A channel and a direction have one flag. The sender sets it (SCR bits 21:16) and may not send again until the
    receiver has cleared it (SCR bits 5:0). The receiver's "channel occupied" interrupt is the level of (flag and not
    masked), the sender's "channel free" interrupt that of (no flag and not masked).

    The host takes a kick in the instant it is sent: `on_kick` is called, and the flag is clear again when the
    firmware looks. So firmware that waits for a free channel never waits, and the free interrupt fires as it would
    with a quick host. A kick to the firmware stays until the firmware clears it.

    | offset | register | bits |
    |---|---|---|
    | 0x00 / 0x10 | C1CR / C2CR | 0 RXOIE, 16 TXFIE |
    | 0x04 / 0x14 | C1MR / C2MR | 5:0 receive masks, 21:16 transmit masks |
    | 0x08 / 0x18 | C1SCR / C2SCR | 5:0 clear the flag received, 21:16 set the flag sent; reads as zero |
    | 0x0C / 0x1C | C1TOC2SR / C2TOC1SR | 5:0 flags |
    """

    CHANNELS = 6
    ALL = (1 << CHANNELS) - 1
    _MASKS = ALL | ALL << 16
    _IDENTIFICATION: ClassVar = {0x3F0: CHANNELS, 0x3F4: 0x10, 0x3F8: 0x00100071, 0x3FC: 0xA3C5DD01}

    def __init__(self, base: int, size: int, receive: IrqLine, free: IrqLine, on_kick: Callable[[int], None]) -> None:
        """Creates the controller.

        Args:
            base: first device address.
            size: in bytes.
            receive: the firmware's "channel occupied" interrupt.
            free: the firmware's "channel free" interrupt.
            on_kick: called with the set of channels (bit 0 is channel 1) that the firmware kicked.
        """
        super().__init__("ipcc", base, size)
        self._receive_line = receive
        self._free_line = free
        self._on_kick = on_kick
        self._clear()

    def _clear(self) -> None:
        self.to_firmware = 0
        self._control = [0, 0]
        self._mask = [self._MASKS, self._MASKS]
        self._receive_level = False
        self._free_level = False

    def reset(self) -> None:
        """Clears all flags and masks all channels; both interrupt lines go low."""
        self._clear()
        self._receive_line(False)
        self._free_line(False)

    def kick(self, channels: int) -> bool:
        """Sets flags towards the firmware (bit 0 is channel 1), as processor 1 does.

        Returns:
            False when they were all set already: the firmware has not yet seen the last kick.
        """
        flags = self.to_firmware | channels
        if flags == self.to_firmware:
            return False
        self.to_firmware = flags
        self._update()
        return True

    @property
    def receive_enabled(self) -> bool:
        """The firmware has enabled the receive interrupt on at least one channel."""
        return bool(self._control[1] & 1 and ~self._mask[1] & self.ALL)

    @property
    def receive_pending(self) -> bool:
        """The receive interrupt line is high."""
        return self._receive_level

    def _update(self) -> None:
        control, mask = self._control[1], self._mask[1]
        level = bool(control & 1 and self.to_firmware & ~mask)
        if level != self._receive_level:
            self._receive_level = level
            self._receive_line(level)
        level = bool(control & 0x10000 and ~mask >> 16 & self.ALL)
        if level != self._free_level:
            self._free_level = level
            self._free_line(level)

    def read_word(self, offset: int) -> int:
        if offset == 0x0C:
            return self.to_firmware
        if offset < 0x20:
            register = offset & 0xF
            if register == 0:
                return self._control[offset >> 4]
            return self._mask[offset >> 4] if register == 4 else 0
        return self._IDENTIFICATION.get(offset, 0)

    def write_word(self, offset: int, value: int) -> None:
        if offset == 0x18:
            self.to_firmware &= ~value
            sent = value >> 16 & self.ALL
            if sent:
                self._on_kick(sent)
        elif offset == 0x08:
            self.to_firmware |= value >> 16 & self.ALL
        elif offset in (0x00, 0x10):
            self._control[offset >> 4] = value & 0x10001
        elif offset in (0x04, 0x14):
            self._mask[offset >> 4] = value & self._MASKS
        else:
            return
        self._update()


class AccessLog:
    """Counts accesses to registers that have no model, so that a person can see what the firmware wanted.

    Attributes:
        counts: (device address, "read" or "write") to the number of accesses; the first `limit` addresses.
        others: accesses beyond those addresses.
    """

    def __init__(self, limit: int = 1024) -> None:
        self.counts: dict[tuple[int, str], int] = {}
        self.others = 0
        self._limit = limit

    def clear(self) -> None:
        """Forgets all accesses."""
        self.counts.clear()
        self.others = 0

    def add(self, address: int, kind: str) -> None:
        """Counts one access."""
        key = (address, kind)
        count = self.counts.get(key)
        if count is not None:
            self.counts[key] = count + 1
        elif len(self.counts) < self._limit:
            self.counts[key] = 1
        else:
            self.others += 1


class Registers(Device):
    """Registers without a model: they read back what was written, with the rules of the board file.

    At most `LIMIT` registers are remembered, so firmware that writes everywhere cannot use up the host's memory.
    """

    LIMIT = 65536

    def __init__(self, spec: PeripheralSpec, log: AccessLog) -> None:
        super().__init__(spec.name, spec.base, spec.size)
        self._spec = spec
        self._log = log
        self._clears: dict[int, int] = {}
        for first, end in spec.set_clear:
            for offset in range(first, end, 8):
                self._clears[offset + 4] = offset
        self._sets = frozenset(self._clears.values())
        self._follow: dict[int, list[tuple[int, int, int]]] = {}
        for offset, bits, source, wanted in spec.follow:
            self._follow.setdefault(offset, []).append((bits, source, wanted))
        self._values = dict(spec.reset)

    def reset(self) -> None:
        self._values = dict(self._spec.reset)

    def read_word(self, offset: int) -> int:
        self._log.add(self.base + offset, "read")
        offset = self._clears.get(offset, offset)
        value = self._values.get(offset, 0) | self._spec.ones.get(offset, 0)
        for bits, source, wanted in self._follow.get(offset, ()):
            ready = self._values.get(source, 0) & wanted == wanted
            value = value | bits if ready else value & ~bits
        return value

    def write(self, offset: int, size: int, value: int) -> None:
        """Takes a write; a narrow one keeps the word's other bytes."""
        if size < 4:
            word, shift = offset & ~3, 8 * (offset & 3)
            mask = (1 << 8 * size) - 1 << shift
            if word not in self._sets and word not in self._clears:
                value = self._values.get(word, 0) & ~mask | value << shift & mask
                self.write_word(word, value & MASK32)
                return
        super().write(offset, size, value)

    def write_word(self, offset: int, value: int) -> None:
        self._log.add(self.base + offset, "write")
        target = self._clears.get(offset)
        if target is not None:
            self._values[target] = self._values.get(target, 0) & ~value
        elif offset in self._sets:
            self._values[offset] = self._values.get(offset, 0) | value
        elif offset in self._values or len(self._values) < self.LIMIT:
            self._values[offset] = value


class HardwareSemaphores(Device):
    """ST's HSEM: 32 locks, taken by reading RLR (one step) or by writing and reading back R (two steps).

    Only the firmware takes locks; the host never does, so a lock is always free or ours.
    """

    NUMBER = 32
    LOCK = 1 << 31

    def __init__(self, spec: PeripheralSpec) -> None:
        super().__init__(spec.name, spec.base, spec.size)
        self._core = spec.core_id << 8
        self.reset()

    def reset(self) -> None:
        self._locks = [0] * self.NUMBER
        self._interrupts = 0
        self._released = 0
        self._key = 0

    def read_word(self, offset: int) -> int:
        number = offset >> 2 & 31
        if offset < 0x80:
            return self._locks[number]
        if offset < 0x100:
            if not self._locks[number]:
                self._locks[number] = self.LOCK | self._core
            return self._locks[number]
        values = {0x110: self._interrupts, 0x118: self._released, 0x11C: self._released & self._interrupts}
        return self._key if offset == 0x144 else values.get(offset, 0)

    def write_word(self, offset: int, value: int) -> None:
        number = offset >> 2 & 31
        if offset < 0x80:
            self._write_lock(number, value)
        elif offset == 0x110:
            self._interrupts = value
        elif offset == 0x114:
            self._released &= ~value
        elif offset == 0x140:
            if value >> 16 == self._key:
                self._locks = [0 if lock & 0xF00 == value & 0xF00 else lock for lock in self._locks]
        elif offset == 0x144:
            self._key = value >> 16

    def _write_lock(self, number: int, value: int) -> None:
        if value & 0xF00 != self._core:
            return
        lock = self._locks[number]
        if value & self.LOCK:
            if not lock:
                self._locks[number] = self.LOCK | value & 0xFFF
        elif lock & 0xFFF == value & 0xFFF:
            self._locks[number] = 0
            self._released |= 1 << number


class Timer(Device):
    """The counting part of ST's general and basic timers: prescaler, auto-reload, update event and interrupt.

    The counter is computed from virtual time whenever somebody looks; `due()` says when the update interrupt comes,
    so that the platform runs and sleeps up to it.
    """

    CR1, DIER, SR, EGR, CNT, PSC, ARR = 0x00, 0x0C, 0x10, 0x14, 0x24, 0x28, 0x2C

    def __init__(
        self, spec: PeripheralSpec, irq: IrqLine, now: Callable[[], int], rescheduled: Callable[[], None]
    ) -> None:
        """Creates the timer.

        Args:
            spec: name and place.
            irq: its interrupt.
            now: virtual time in ticks of its clock.
            rescheduled: called when `due()` may have changed.
        """
        super().__init__(spec.name, spec.base, spec.size)
        self._irq = irq
        self._now = now
        self._rescheduled = rescheduled
        self._clear()

    def _clear(self) -> None:
        self._others: dict[int, int] = {}
        self._control = 0
        self._enable = 0
        self._status = 0
        self._prescaler = self._active_prescaler = 0
        self._reload = 0xFFFF
        self._start = 0  # virtual time at which the counter was zero
        self._held = 0  # the counter while it stands still
        self._level = False

    def reset(self) -> None:
        self._clear()
        self._irq(False)

    @property
    def _counts(self) -> bool:
        return bool(self._control & 1 and self._reload)  # an auto-reload value of zero blocks the counter

    @property
    def _period(self) -> int:
        return (self._active_prescaler + 1) * (self._reload + 1)

    def _counter(self) -> int:
        if not self._counts:
            return self._held
        return min((self._now() - self._start) // (self._active_prescaler + 1), self._reload)

    def due(self) -> int | None:
        """Virtual time of the next update event while its interrupt is enabled, or None."""
        if self._counts and self._enable & 1:
            return self._start + self._period
        return None

    def advance(self) -> None:
        """Does what is due by now: the update event, its flag and interrupt."""
        if self._counts:
            elapsed = self._now() - self._start
            if elapsed >= self._period:
                if not self._control & 2:
                    self._status |= 1
                if self._control & 8:  # one pulse
                    self._control &= ~1
                    self._held = 0
                self._start += elapsed // self._period * self._period
                self._active_prescaler = self._prescaler
        self._update()

    def _update(self) -> None:
        level = bool(self._status & self._enable & 1)
        if level != self._level:
            self._level = level
            self._irq(level)

    def read_word(self, offset: int) -> int:
        self.advance()
        if offset == self.CNT:
            return self._counter()
        values = {
            self.CR1: self._control,
            self.DIER: self._enable,
            self.SR: self._status,
            self.EGR: 0,
            self.PSC: self._prescaler,
            self.ARR: self._reload,
        }
        return values.get(offset, self._others.get(offset, 0))

    def write_word(self, offset: int, value: int) -> None:
        self.advance()
        if offset == self.CR1:
            self._set_control(value)
        elif offset == self.DIER:
            self._enable = value & 0xFFFF
        elif offset == self.SR:
            self._status &= value
        elif offset == self.EGR:
            if value & 1:
                self._active_prescaler = self._prescaler
                self._restart(0)
                if not self._control & 4:
                    self._status |= 1
        elif offset == self.CNT:
            self._restart(value)
        elif offset == self.PSC:
            self._prescaler = value & 0xFFFF
        elif offset == self.ARR:
            self._reload = value
        else:
            self._others[offset] = value
            return
        self._update()
        self._rescheduled()

    def _set_control(self, value: int) -> None:
        counter = self._counter()
        self._control = value & 0xFFFF
        self._start = self._now() - counter * (self._active_prescaler + 1)
        self._held = counter

    def _restart(self, counter: int) -> None:
        self._held = counter
        self._start = self._now() - counter * (self._active_prescaler + 1)
