"""A board brought to life: its memory, its devices, the wires between them, and the core.

The core executes, the devices answer; what leaves the machine (kicks to the host, console output, an exit status)
is collected here until the platform takes it.
"""

from __future__ import annotations

import dataclasses
import mmap
from typing import TYPE_CHECKING

from openamp.errors import MissingDependencyError
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.emulated.board import Board
from openamp.platforms.emulated.devices import (
    AccessLog,
    Device,
    HardwareSemaphores,
    Ipcc,
    IrqLine,
    Registers,
    Timer,
    no_irq,
)
from openamp.platforms.emulated.semihosting import STREAM, Semihosting
from openamp.platforms.emulated.uart import Uart, make_uart

if TYPE_CHECKING:
    from openamp.platforms.emulated.core import Core

__all__ = ["Machine", "create_core", "require_engine"]

MAX_OUTPUT = 1 << 16
"""Bytes of semihosting output that end a slice."""


class Machine:
    """The parts of one board.

    Attributes:
        board: what it was built from.
        memory: all memory, as host and core see it.
        ipcc: the mailbox.
        uarts: by name.
        timers: devices whose time somebody has to watch.
        log: accesses to registers without a model.
        kicked: the set of channels (bit 0 is channel 1) that the firmware kicked since somebody took them.
        exit_status: the status of an exit by semihosting, or None.
        core: the core, or None before the first start.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        # Without a descriptor: a process may have hundreds of machines.
        self._shared = SharedMemory(sum(m.size for m in board.memory), name=None)
        self.memory = MemoryMap(_regions(board, self._shared))
        self._used = False
        self.log = AccessLog()
        self.kicked = 0
        self.exit_status: int | None = None
        self.core: Core | None = None
        self._output: list[tuple[str, bytearray]] = []
        mailbox = board.mailbox
        self.ipcc = Ipcc(
            mailbox.base, mailbox.size, self._line(mailbox.receive_irq), self._line(mailbox.free_irq), self._kicked
        )
        self.uarts: dict[str, Uart] = {
            spec.name: make_uart(spec, self._line(spec.irq), self._put) for spec in board.uarts
        }
        self.timers: list[Timer] = []
        self.devices = self._devices()
        self.semihosting = Semihosting(
            self.memory,
            word_size=board.core.bits // 8,
            output=self._write,
            exited=self._exited,
            cycles=self._now,
            clock_hz=board.clock_hz,
        )

    def _devices(self) -> list[Device]:
        """Returns all devices; where ranges overlap, the earlier one answers."""
        solid: list[Device] = [self.ipcc, *self.uarts.values()]
        windows: list[Registers] = []
        for spec in self.board.peripherals:
            if spec.type == "hsem":
                solid.append(HardwareSemaphores(spec))
            elif spec.type == "stm32-timer":
                timer = Timer(spec, self._line(spec.irq), self._now, self._rescheduled)
                self.timers.append(timer)
                solid.append(timer)
            else:
                windows.append(Registers(spec, self.log))
        return [*solid, *sorted(windows, key=lambda window: window.size)]

    # -- wires ---------------------------------------------------------------------------------------------------

    def _line(self, irq: int | None) -> IrqLine:
        if irq is None:
            return no_irq

        def drive(level: bool) -> None:
            if self.core is not None:
                self.core.set_irq(irq, level)

        return drive

    def _now(self) -> int:
        return self.core.cycles if self.core is not None else 0

    def _rescheduled(self) -> None:
        if self.core is not None:
            self.core.request_stop()

    def _kicked(self, channels: int) -> None:
        self.kicked |= channels

    def _put(self, stream: str, byte: int) -> None:
        output = self._output
        if output and output[-1][0] == stream:
            output[-1][1].append(byte)
        else:
            output.append((stream, bytearray((byte,))))

    def _put_all(self, stream: str, data: bytes) -> None:
        for byte in data:
            self._put(stream, byte)

    def _write(self, data: bytes) -> None:
        output = self._output
        if not output or output[-1][0] != STREAM:
            output.append((STREAM, bytearray()))
        output[-1][1].extend(data)
        if len(output[-1][1]) > MAX_OUTPUT and self.core is not None:
            self.core.request_stop()  # one call writes much: have it taken before the slice is over

    def _exited(self, status: int) -> None:
        self.exit_status = status
        if self.core is not None:
            self.core.request_stop()

    def _semihosting_call(self, core: Core) -> None:
        registers = core.registers()
        first, second = ("r0", "r1") if self.board.core.is_cortex_m else ("a0", "a1")
        result = self.semihosting.call(registers[first] & 0xFFFFFFFF, registers[second])
        core.set_register(first, result & (1 << self.board.core.bits) - 1)

    # -- what the platform does ----------------------------------------------------------------------------------

    def install(self, core: Core) -> None:
        """Connects a core."""
        self.core = core
        core.on_output = self._put_all
        if self.board.semihosting:
            core.on_semihosting = self._semihosting_call

    def reset_devices(self) -> None:
        """Puts all devices into their state after reset and forgets what they had to tell."""
        for device in self.devices:
            device.reset()
        self.semihosting.reset()
        self.log.clear()
        self._output.clear()
        self.kicked = 0
        self.exit_status = None

    def close(self) -> None:
        """Gives core and devices back; the memory stays for those who still look at it."""
        if self.core is not None:
            self.core.close()
            self.core = None
        self.devices.clear()  # they know this machine: without these ends the collector has nothing to find
        self.uarts.clear()
        self.timers.clear()
        del self.ipcc, self.semihosting

    def clear_memory(self) -> None:
        """Makes all memory zero, as it is when a machine is new."""
        if not self._used:
            self._used = True
            return
        try:
            self._shared.mapping.madvise(mmap.MADV_REMOVE)  # gives the pages back: no cost for what was never used
        except (AttributeError, OSError):
            self._shared.view[:] = bytes(self._shared.size)

    def take_output(self) -> list[tuple[str, bytes]]:
        """Returns what the firmware wrote since the last call: (stream, bytes), in order."""
        if not self._output:
            return []
        output = [(stream, bytes(data)) for stream, data in self._output if data]
        self._output.clear()
        return output

    def feed(self, stream: str, data: bytes) -> None:
        """Lets the firmware receive `data` on a UART or by semihosting."""
        if stream == STREAM:
            self.semihosting.received.extend(data)
        else:
            self.uarts[stream].feed(data)

    def timer_due(self) -> int | None:
        """Returns the cycle at which the next timer interrupts, or None."""
        return min((due for timer in self.timers if (due := timer.due()) is not None), default=None)

    def advance_timers(self) -> None:
        """Lets all timers do what is due."""
        for timer in self.timers:
            timer.advance()


def _regions(board: Board, shared: SharedMemory) -> list[Region]:
    regions = []
    offset = 0
    for spec in board.memory:
        data = shared.view[offset : offset + spec.size]
        regions.append(Region(spec.name, spec.da, data, pa=spec.pa, pool=spec.pool))
        for number, da in enumerate(spec.aliases, 1):
            regions.append(Region(f"{spec.name}-alias{number}", da, data, pa=spec.da if spec.pa is None else spec.pa))
        offset += spec.size
    return regions


def require_engine() -> None:
    """Refuses early, with the remedy, when unicorn is not installed."""
    from importlib.util import find_spec

    if find_spec("unicorn") is None:
        raise MissingDependencyError(
            "the emulated platform needs the engine unicorn, which is not installed; pip install 'openamp[emulated]'"
        )


def create_core(machine: Machine) -> Core:
    """Creates the core of a machine.

    Raises:
        MissingDependencyError: unicorn is not installed.
        PlatformError: the engine cannot be created.
    """
    require_engine()
    from openamp.platforms.emulated.core import CoreConfig

    board = machine.board
    config = CoreConfig(
        model=board.core.name,
        regions=machine.memory,
        clock_hz=board.clock_hz,
        num_irqs=board.num_irqs,
        priority_bits=board.priority_bits,
        vector_base=board.vectors or 0,
        mmio=machine.devices,
    )
    if board.core.is_cortex_m:
        from openamp.platforms.emulated.cortexm import CortexM

        return CortexM(config)
    from openamp.platforms.emulated.riscv import RiscV

    if board.interrupts is not None:
        at = board.interrupts
        config = dataclasses.replace(config, clint=at.clint, plic=at.plic, timer_hz=at.timer_hz)
    return RiscV(config)
