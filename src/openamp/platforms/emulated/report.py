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
FIRST_IRQ = 16  # the exception number of a Cortex-M's external interrupt 0
PLIC_ENABLE = 0x2000


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
    reason = "the firmware asked for a system reset"
    advice = ["rings and status are shared, so only the host can start it again: recover it"]
    if fault is None:
        fault = getattr(core, "last_fault", None)  # what it took before, and reset itself for
        if fault is None:
            return CrashReport(reason=reason, details=tuple(advice), output_tail=output_tail)
        reason = f"{fault.reason}; then {reason}"
    else:
        reason, advice = fault.reason, []
    details = list(fault.details)
    if fault.address is not None:
        details.append(describe_address(fault.address, memory))
    return CrashReport(
        reason=reason,
        pc=fault.pc,
        location=locate(image, fault.pc),
        address=fault.address,
        registers=dict(fault.registers) or core.registers(),
        details=(*details, *advice),
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
    ipcc, irq = machine.ipcc, machine.board.mailbox.receive_irq
    flags = ipcc.to_firmware
    if not flags:
        return "it has taken all kicks of the host"
    channels = ", ".join(str(n + 1) for n in range(ipcc.CHANNELS) if flags >> n & 1)
    kick = f"the host's kick on mailbox channel {channels} is not taken yet"
    if not ipcc.receive_pending:
        why = "is masked for that channel" if ipcc.receive_enabled else "is not enabled in the mailbox"
        return f"{kick}: the mailbox's receive interrupt {irq} {why}"
    why = why_not_taken(machine.core, irq)
    return f"{kick}: the mailbox's receive interrupt {irq} is pending" + (f" but {why}" if why else "")


def why_not_taken(core: Core | None, irq: int) -> str:
    """Returns what holds a pending external interrupt back, or "" when nothing does."""
    nvic, plic = getattr(core, "nvic", None), getattr(core, "plic", None)
    registers = core.registers() if core is not None else {}
    if nvic is not None:
        if not nvic.enabled >> FIRST_IRQ + irq & 1:
            return "disabled in the NVIC"
        masks = [name for name in ("primask", "faultmask", "basepri") if registers.get(name)]
        if masks:
            return f"held back by {masks[0].upper()}"
        return f"waits for the handler of exception {nvic.current}" if nvic.current else ""
    if plic is None:
        return ""
    registers_of_plic, context = plic.windows
    if not registers_of_plic.read_word(PLIC_ENABLE + irq // 32 * 4) >> irq % 32 & 1:
        return "disabled in the PLIC"
    if registers_of_plic.read_word(4 * irq) <= context.read_word(0):
        return "has a priority in the PLIC that is not above the threshold"
    if not registers["mie"] & 1 << 11:
        return "disabled in mie (MEIE)"
    return "" if registers["mstatus"] & 1 << 3 else "held back by mstatus.MIE"
