"""Instructions a second of an emulated Cortex-M4, beside qemu-system-arm, and what an interrupt costs.

python benchmarks/emulated_core.py [REPEATS]

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
from openamp.platforms.emulated.core import Core, CoreConfig, Stop
from openamp.platforms.emulated.cortexm import CortexM
from openamp.platforms.emulated.counter import implementation

IMAGE = Path(__file__).parent / "emulated_core" / "kernels.elf"
KERNELS = {"ALU loop": (0, 4_000_000), "store loop": (1, 4_000_000), "mix": (2, 3_000)}
SLEEP = 3
INTERRUPTS = 20_000
SLICE = 64_000
KERNEL_WORD, ROUNDS_WORD = 7, 8


def patched(kernel: int, rounds: int) -> bytes:
    """Returns the image with the two words of its vector table set."""
    data = bytearray(IMAGE.read_bytes())
    at = load_image(bytes(data)).segments[0].offset or 0
    for word, value in ((KERNEL_WORD, kernel), (ROUNDS_WORD, rounds)):
        data[at + 4 * word : at + 4 * word + 4] = value.to_bytes(4, "little")
    return bytes(data)


def create(image: bytes, *, plain: bool) -> CortexM:
    """Returns a core after reset, with the image in its memory."""
    regions = [Region(name, da, SharedMemory(0x4000).view) for name, da in (("code", 0), ("data", 0x2000_0000))]
    core = CortexM(CoreConfig("cortex-m4", MemoryMap(regions), plain_counter=plain))
    load_image(image).load(core.memory)
    core.reset()
    return core


def ours(kernel: int, rounds: int, *, plain: bool = False) -> tuple[float, int]:
    """Runs a kernel to its end; returns seconds and instructions."""
    core = create(patched(kernel, rounds), plain=plain)
    ended = []

    def semihosting(core: Core) -> None:
        ended.append(True)
        core.request_stop()

    core.on_semihosting = semihosting
    begin = time.perf_counter()
    while not ended:
        if core.run(SLICE) is Stop.FAULT:
            raise SystemExit(str(core.fault))
    return time.perf_counter() - begin, core.instructions


def qemu(kernel: int, rounds: int) -> float:
    """Runs the same under qemu; returns seconds."""
    with tempfile.NamedTemporaryFile(suffix=".elf") as file:
        file.write(patched(kernel, rounds))
        file.flush()
        machine = ["qemu-system-arm", "-machine", "mps2-an386", "-nographic", "-monitor", "none", "-serial", "none"]
        semihosting = ["-semihosting-config", "enable=on,target=native"]
        begin = time.perf_counter()
        subprocess.run([*machine, *semihosting, "-kernel", file.name], check=True, stdin=subprocess.DEVNULL)
        return time.perf_counter() - begin


def interrupt() -> float:
    """Returns microseconds from raising a line, through the handler, to sleep again."""
    core = create(patched(SLEEP, INTERRUPTS + 1), plain=False)
    core.run(SLICE)
    begin = time.perf_counter()
    for _ in range(INTERRUPTS):
        core.set_irq(0, True)
        core.set_irq(0, False)
        if core.run(SLICE) is not Stop.SLEEP:
            raise SystemExit(f"the core does not sleep: {core.fault}")
    return (time.perf_counter() - begin) / INTERRUPTS * 1e6


def main(repeats: int = 5) -> None:
    peer = shutil.which("qemu-system-arm") is not None
    print(f"instruction counter: {implementation}; medians of {repeats}, M instructions/s")
    for name, (kernel, rounds) in KERNELS.items():
        rates: dict[str, list[float]] = {"emulated core": [], "qemu-system-arm": [], "counter in Python": []}
        short = rounds // 4
        for _ in range(repeats):
            (long_time, long_count), (short_time, short_count) = ours(kernel, rounds), ours(kernel, short)
            number = (long_count - short_count) / 1e6
            rates["emulated core"].append(number / (long_time - short_time))
            if peer:
                rates["qemu-system-arm"].append(number / (qemu(kernel, rounds) - qemu(kernel, short)))
        few = max(rounds // 40, 1)
        spent, count = ours(kernel, few, plain=True)
        rates["counter in Python"].append(count / 1e6 / spent)
        print(
            f"{name:<11}"
            + "   ".join(f"{label} {statistics.median(each):7.1f}" for label, each in rates.items() if each)
        )
    print(f"interrupt, handler and back to sleep: {statistics.median(interrupt() for _ in range(repeats)):.1f} us")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
