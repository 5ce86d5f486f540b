"""A RISC-V core with the devices that its test programs use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from openamp.firmware import load_image
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.emulated.board import UartSpec
from openamp.platforms.emulated.core import CoreConfig, Mmio, Stop
from openamp.platforms.emulated.devices import Device
from openamp.platforms.emulated.riscv import RiscV
from openamp.platforms.emulated.uart import make_uart

PROGRAMS = Path(__file__).parents[1] / "emulated" / "riscv"
RAM = 0x8000_0000
RAM_SIZE = 0x8_0000
CLINT = 0x0200_0000
PLIC = 0x0C00_0000
MODELS = ("rv32", "rv64")
UART_SOURCE, RTC_SOURCE, WIRE = 10, 11, 20


class Finisher(Device):
    """QEMU's test device: any write ends the run."""

    def __init__(self, bench: Bench) -> None:
        super().__init__("finisher", 0x0010_0000, 0x1000)
        self._bench = bench

    def reset(self) -> None: ...

    def read_word(self, offset: int) -> int:
        return 0

    def write_word(self, offset: int, value: int) -> None:
        self._bench.result = value
        self._bench.core.request_stop()


class Rtc(Device):
    """Of QEMU's goldfish clock what the test needs: an alarm that is due at once."""

    def __init__(self, bench: Bench) -> None:
        super().__init__("rtc", 0x0010_1000, 0x1000)
        self._bench = bench
        self._pending = self._enabled = False

    def reset(self) -> None: ...

    def read_word(self, offset: int) -> int:
        return 0

    def write_word(self, offset: int, value: int) -> None:
        if offset == 0x08:
            self._pending = True
        elif offset == 0x10:
            self._enabled = bool(value)
        elif offset == 0x1C:
            self._pending = False
        self._bench.core.set_irq(RTC_SOURCE, self._pending and self._enabled)


class Bench:
    """One core, 512 KiB of memory, a 16550, and a device that ends the run.

    Attributes:
        core: the core.
        ram: its memory.
        output: what the program printed.
        result: what it wrote to the finisher, or None.
    """

    def __init__(
        self,
        model: str,
        *,
        plain: bool = False,
        clock_hz: int = 100_000_000,
        timer_hz: int | None = 10_000_000,
        devices: Iterable[Mmio] = (),
        hart: int = 0,
    ) -> None:
        self.output = bytearray()
        self.result: int | None = None
        self._memory = SharedMemory(RAM_SIZE)
        self.ram = self._memory.view
        self.map = MemoryMap([Region("ram", RAM, self.ram)])
        spec = UartSpec("uart", "16550", 0x1000_0000, UART_SOURCE)
        uart = make_uart(spec, self._uart_irq, lambda _name, byte: self.output.append(byte))
        self.core = RiscV(
            CoreConfig(
                model=model,
                regions=self.map,
                clock_hz=clock_hz,
                timer_hz=timer_hz,
                num_irqs=96,
                mmio=(uart, Finisher(self), Rtc(self), *devices),
                core_id=hart,
                plain_counter=plain,
            )
        )
        self.symbols: dict[str, int] = {}

    def _uart_irq(self, level: bool) -> None:
        if hasattr(self, "core"):
            self.core.set_irq(UART_SOURCE, level)

    def load(self, name: str, entry: str | None = None) -> None:
        """Loads `name`-rv32.elf or `name`-rv64.elf and resets the core to the symbol `entry`."""
        image = load_image(PROGRAMS / f"{name}-{self.core.config.model}.elf")
        image.load(self.map)
        self.symbols = {symbol.name: symbol.address for symbol in image.symbols}
        self.core.reset(image.entry if entry is None else self.symbols[entry])

    def program(self, *words: int) -> None:
        """Writes instructions to the start of memory and resets the core to them."""
        data = b"".join(word.to_bytes(4 if word & 3 == 3 else 2, "little") for word in words)
        self.ram[: len(data)] = data
        self.core.reset(RAM)

    def run(self, limit: int = 50_000_000) -> Stop:
        """Runs until the program ends, faults or sleeps for ever; time that the core sleeps is skipped."""
        while self.result is None and self.core.instructions < limit:
            stop = self.core.run(1_000_000)
            if stop is Stop.FAULT:
                return stop
            if stop is Stop.SLEEP:
                cycles = self.core.idle_cycles()
                if cycles is None:
                    return stop
                self.core.skip(cycles)
        return Stop.BUDGET if self.result is None else Stop.EVENT
