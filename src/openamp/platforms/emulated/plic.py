"""The platform-level interrupt controller (PLIC) of RISC-V, with one context: machine mode of one hart.

After the RISC-V Platform-Level Interrupt Controller Specification 1.0.0. Every source has a level-triggered gateway:
a request that has been accepted stays pending until it is claimed, also when the line falls; while the source is
being served (from claim to complete) nothing is accepted; at completion a line that is still high asks again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from openamp.platforms.emulated.clint import Window

__all__ = ["Plic"]

PAGE = 0x1000
MASK32 = 0xFFFFFFFF
PENDING = 0x1000
ENABLE = 0x2000
ENABLE_END = 0x2080  # of context 0
CONTEXT = 0x200000
MAX_PRIORITY = 7


class Plic:
    """Interrupt sources 1 to `num_sources - 1` for context 0.

    | offset | register |
    |---|---|
    | 0x000000 + 4 * source | priority, 0 (never) to 7 |
    | 0x001000 + 4 * (source // 32) | pending bits, read-only |
    | 0x002000 + 4 * (source // 32) | enable bits |
    | 0x200000 | threshold: only higher priorities interrupt |
    | 0x200004 | read: claim; write: complete |

    Attributes:
        external: the machine external interrupt is pending.
        windows: the registers, for the core's bus.
    """

    def __init__(self, base: int, *, num_sources: int, changed: Callable[[], None]) -> None:
        """Creates the registers.

        Args:
            base: device address.
            num_sources: one more than the highest source; source 0 does not exist.
            changed: called when the external interrupt has become pending or not.
        """
        self.num_sources = num_sources
        self._valid = (1 << num_sources) - 2
        self._changed = changed
        self.windows: Sequence[Window] = (
            Window("PLIC", base, ENABLE + PAGE, self._read, self._write),
            Window("PLIC", base + CONTEXT, PAGE, self._read_context, self._write_context),
        )
        self._levels = 0
        self.reset()

    def reset(self) -> None:
        """All registers are zero; lines keep their level, and so high ones are pending again."""
        self._priority = [0] * self.num_sources
        self._threshold = self._enabled = self._serving = 0
        self._pending = self._levels
        self.external = False

    def set_level(self, source: int, level: bool) -> None:
        """Drives a source's line; unknown sources are ignored."""
        bit = 1 << source & self._valid
        if not level:
            self._levels &= ~bit
        elif not self._levels & bit:
            self._levels |= bit
            self._accept(bit)

    def _accept(self, bits: int) -> None:
        """Lets the gateways of `bits` pass on the requests of their lines."""
        requests = bits & self._levels & ~self._serving & ~self._pending
        if requests:
            self._pending |= requests
            self._update()

    def _best(self) -> tuple[int, int]:
        """Returns (priority, source) of what would be claimed; (0, 0) for nothing. The lowest source wins a tie."""
        best = (0, 0)
        candidates = self._pending & self._enabled
        while candidates:
            source = (candidates & -candidates).bit_length() - 1
            candidates &= candidates - 1
            if self._priority[source] > best[0]:
                best = (self._priority[source], source)
        return best

    def _update(self) -> None:
        external = self._best()[0] > self._threshold
        if external != self.external:
            self.external = external
            self._changed()

    def _read(self, offset: int) -> int:
        if offset < PENDING:
            source = offset // 4
            return self._priority[source] if source < self.num_sources else 0
        if offset < ENABLE:
            return self._pending >> 8 * (offset - PENDING) & MASK32
        return self._enabled >> 8 * (offset - ENABLE) & MASK32 if offset < ENABLE_END else 0

    def _write(self, offset: int, value: int) -> None:
        if offset < PENDING:
            source = offset // 4
            if 0 < source < self.num_sources:
                self._priority[source] = value & MAX_PRIORITY
                self._update()
        elif ENABLE <= offset < ENABLE_END:
            shift = 8 * (offset - ENABLE)
            self._enabled = (self._enabled & ~(MASK32 << shift) | value << shift) & self._valid
            self._update()

    def _read_context(self, offset: int) -> int:
        if offset == 0:
            return self._threshold
        return self._claim() if offset == 4 else 0

    def _write_context(self, offset: int, value: int) -> None:
        if offset == 0:
            self._threshold = value & MAX_PRIORITY
            self._update()
        elif offset == 4:
            bit = 1 << value & self._valid if value < self.num_sources else 0
            if bit & self._serving & self._enabled:
                self._serving &= ~bit
                self._accept(bit)

    def _claim(self) -> int:
        """Returns the best source, whatever the threshold, and marks it as being served."""
        source = self._best()[1]
        if source:
            bit = 1 << source
            self._pending &= ~bit
            self._serving |= bit
            self._update()
        return source
