"""Instructions a second of the emulated RISC-V cores, beside qemu-system-riscv32/64, and what privileged work costs.

python benchmarks/emulated_riscv.py [REPEATS]

Each kernel runs for two lengths; the difference of the two times leaves start-up and translation out on both sides.
The instructions are those that our core counted; qemu executes the same ones.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from openamp.firmware import load_image
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.emulated.core import CoreConfig, Stop
from openamp.platforms.emulated.counter import implementation
from openamp.platforms.emulated.devices import Device
from openamp.platforms.emulated.riscv import RiscV

IMAGES = Path(__file__).parent / "emulated_riscv"
KERNELS = {"ALU loop": (0, 4_000_000), "store loop": (1, 4_000_000), "mix": (2, 3_000)}
SLEEP, SOFTWARE, LOCKS = 3, 4, 5
TRAPS = 20_000
SLICE = 64_000
SOURCE = 20
RAM = 0x8000_0000
KERNEL_AT, ROUNDS_AT = 4, 8


class Finisher(Device):
    """QEMU's test device: a write ends the run."""

    def __init__(self) -> None:
        super().__init__("finisher", 0x0010_0000, 0x1000)
        self.core: RiscV | None = None
        self.done = False

    def reset(self) -> None:
        self.done = False

    def read_word(self, offset: int) -> int:
        return 0

    def write_word(self, offset: int, value: int) -> None:
        self.done = True
        if self.core is not None:
            self.core.request_stop()


def patched(bits: int, kernel: int, rounds: int) -> bytes:
    """Returns the image with its two words set."""
    data = bytearray((IMAGES / f"kernels-rv{bits}.elf").read_bytes())
    segment = load_image(bytes(data)).segments[0]
    start = (segment.offset or 0) + RAM - segment.da
    for offset, value in ((KERNEL_AT, kernel), (ROUNDS_AT, rounds)):
        data[start + offset : start + offset + 4] = value.to_bytes(4, "little")
    return bytes(data)


def create(bits: int, image: bytes, *, plain: bool = False) -> tuple[RiscV, Finisher]:
    """Returns a core after reset, with the image in its memory."""
    finisher = Finisher()
    memory = MemoryMap([Region("ram", RAM, SharedMemory(0x8_0000).view)])
    core = RiscV(CoreConfig(f"rv{bits}", memory, num_irqs=96, mmio=(finisher,), plain_counter=plain))
    finisher.core = core
    load_image(image).load(memory)
    core.reset(RAM)
    return core, finisher


def ours(bits: int, kernel: int, rounds: int, *, plain: bool = False) -> tuple[float, int]:
    """Runs a kernel to its end; returns seconds and instructions."""
    core, finisher = create(bits, patched(bits, kernel, rounds), plain=plain)
    begin = time.perf_counter()
    while not finisher.done:
        if core.run(SLICE) is Stop.FAULT:
            raise SystemExit(str(core.fault))
    return time.perf_counter() - begin, core.instructions


def qemu(bits: int, kernel: int, rounds: int) -> float:
    """Runs the same under qemu; returns seconds."""
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        file.write(patched(bits, kernel, rounds))
        file.flush()
        machine = [f"qemu-system-riscv{bits}", "-machine", "virt", "-bios", "none", "-nographic", "-monitor", "none"]
        begin = time.perf_counter()
        subprocess.run([*machine, "-serial", "none", "-kernel", file.name], check=True, stdin=subprocess.DEVNULL)
        return time.perf_counter() - begin


def interrupt(bits: int) -> float:
    """Returns microseconds from raising a line, through claim and complete, to sleep again."""
    core, _ = create(bits, patched(bits, SLEEP, TRAPS + 1))
    core.run(SLICE)
    begin = time.perf_counter()
    for _ in range(TRAPS):
        core.set_irq(SOURCE, True)
        core.set_irq(SOURCE, False)
        if core.run(SLICE) is not Stop.SLEEP:
            raise SystemExit(f"the core does not sleep: {core.fault}")
    return (time.perf_counter() - begin) / TRAPS * 1e6


def each(bits: int, kernel: int) -> float:
    """Returns microseconds a round of a kernel of traps."""
    return (ours(bits, kernel, TRAPS)[0] - ours(bits, kernel, 1)[0]) / TRAPS * 1e6


def main(repeats: int = 5) -> None:
    print(f"instruction counter: {implementation}; medians of {repeats}, M instructions/s")
    for bits in (32, 64):
        peer = f"qemu-system-riscv{bits}"
        for name, (kernel, rounds) in KERNELS.items():
            rates: dict[str, list[float]] = {"emulated core": [], peer: [], "counter in Python": []}
            short = rounds // 4
            for _ in range(repeats):
                long_time, long_count = ours(bits, kernel, rounds)
                short_time, short_count = ours(bits, kernel, short)
                number = (long_count - short_count) / 1e6
                rates["emulated core"].append(number / (long_time - short_time))
                if shutil.which(peer):
                    rates[peer].append(number / (qemu(bits, kernel, rounds) - qemu(bits, kernel, short)))
            spent, count = ours(bits, kernel, max(rounds // 40, 1), plain=True)
            rates["counter in Python"].append(count / 1e6 / spent)
            columns = (f"{label} {statistics.median(values):7.1f}" for label, values in rates.items() if values)
            print(f"rv{bits} {name:<11}" + "   ".join(columns))
        for name, cost in (
            ("line, handler with claim and complete, back to sleep", interrupt),
            ("software interrupt of its own", lambda bits: each(bits, SOFTWARE)),
            ("critical section (two accesses to mstatus)", lambda bits: each(bits, LOCKS)),
        ):
            print(f"rv{bits} {name}: {statistics.median(cost(bits) for _ in range(repeats)):.1f} us")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
