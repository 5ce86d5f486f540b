"""What a person is told of a core: the report of its crash, and one sentence on what it is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from openamp.errors import CrashReport
from openamp.firmware import FirmwareImage
from openamp.memory import MemoryMap

if TYPE_CHECKING:
    from openamp.platforms.emulated.core import Core
    from openamp.platforms.emulated.machine import Machine

__all__ = ["OutputTail", "crash_report", "describe_activity"]

TAIL_BYTES = 4096
TAIL_LINES = 12


class OutputTail:
    """The last lines of all console output."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def clear(self) -> None:
        """Forgets everything."""
        self._bytes.clear()

    def add(self, data: bytes) -> None:
        """Takes further output."""
        self._bytes += data
        if len(self._bytes) > 2 * TAIL_BYTES:
            del self._bytes[:-TAIL_BYTES]

    def text(self) -> str:
        """Returns the last lines."""
        lines = self._bytes[-TAIL_BYTES:].decode(errors="replace").splitlines()
        return "\n".join(lines[-TAIL_LINES:])


def locate(image: FirmwareImage | None, address: int) -> str:
    """Returns `address` as symbol+offset, or ""."""
    return image.locate(address) if image is not None else ""


def crash_report(core: Core, image: FirmwareImage | None, memory: MemoryMap, output_tail: str) -> CrashReport:
    """Puts together what is known of a core that cannot go on, or that asked for a reset."""
    fault = core.fault
    if fault is None:
        return CrashReport(
            reason="the firmware asked for a system reset",
            details=("rings and status are shared, so only the host can start it again: recover it",),
            output_tail=output_tail,
        )
    details = list(fault.details)
    if fault.address is not None:
        details.append(describe_address(fault.address, memory))
    return CrashReport(
        reason=fault.reason,
        pc=fault.pc,
        location=locate(image, fault.pc),
        address=fault.address,
        registers=dict(fault.registers) or core.registers(),
        details=tuple(details),
        output_tail=output_tail,
    )


def describe_address(address: int, memory: MemoryMap) -> str:
    """Returns where an address is in, or how far from, the memory."""
    inside = memory.find(address)
    if inside is not None:
        return f"{address:#x} is in memory region {inside.name} ({inside.da:#x}..{inside.end:#x})"
    nearest = min(memory, key=lambda region: region.da - address if address < region.da else address - region.end + 1)
    if address < nearest.da:
        where = f"{nearest.da - address:#x} bytes before"
    else:
        where = f"{address - nearest.end:#x} bytes behind"
    return f"{address:#x} is in no memory region; it is {where} {nearest.name} ({nearest.da:#x}..{nearest.end:#x})"


def describe_activity(machine: Machine, image: FirmwareImage | None, running: bool) -> str:
    """Returns one sentence: where the core is, and whether it can see the host's kicks."""
    core = machine.core
    if core is None:
        return "the core was never started"
    if not running:
        if core.fault is not None:
            return f"the core crashed: {core.fault.reason}"
        return "the core is in reset" if machine.exit_status is None else "the firmware ended by itself"
    where = locate(image, core.pc) or f"{core.pc:#x}"
    text = f"the core {'sleeps' if core.asleep else 'executes'} at {where} after {core.instructions} instructions"
    return f"{text}; {_describe_mailbox(machine)}"


def _describe_mailbox(machine: Machine) -> str:
    flags = machine.ipcc.to_firmware
    channels = ", ".join(str(n + 1) for n in range(machine.ipcc.CHANNELS) if flags >> n & 1)
    irq = machine.board.mailbox.receive_irq
    if not flags:
        return "it has taken all kicks of the host"
    kick = f"the host's kick on mailbox channel {channels} is not taken yet"
    if not machine.ipcc.receive_pending:
        why = "is not enabled (RXOIE)" if not machine.ipcc.receive_enabled else "is masked for that channel"
        return f"{kick}: the mailbox's receive interrupt {why}, so the firmware has to poll its status register"
    return f"{kick}: the mailbox's receive interrupt {irq} is pending"
