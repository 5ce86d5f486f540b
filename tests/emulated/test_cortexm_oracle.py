"""The exceptions of every Cortex-M against qemu-system-arm: one image, two logs, line for line.

The images and the golden logs are made by cortexm/build.sh.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from openamp.firmware import load_image
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.emulated.core import Core, CoreConfig, Stop
from openamp.platforms.emulated.cortexm import CortexM

HERE = Path(__file__).parent / "cortexm"
CODE_AND_DATA = {
    "m0": ("cortex-m0", 0x00000000, 0x20000000),
    "m3": ("cortex-m3", 0x00000000, 0x20000000),
    "m4": ("cortex-m4", 0x00000000, 0x20000000),
    "m7": ("cortex-m7", 0x00000000, 0x20000000),
    "m33": ("cortex-m33", 0x10000000, 0x38000000),
}
SYS_WRITE0, SYS_EXIT = 4, 0x18


class Console:
    """The two semihosting calls that the oracle makes."""

    def __init__(self, memory: MemoryMap) -> None:
        self.memory = memory
        self.text = bytearray()
        self.ended = False

    def __call__(self, core: Core) -> None:
        registers = core.registers()
        if registers["r0"] == SYS_WRITE0:
            region = self.memory.find(registers["r1"])
            assert region is not None
            self.text += bytes(region.data[registers["r1"] - region.da :][:2048]).partition(b"\0")[0]
        else:
            assert registers["r0"] == SYS_EXIT
            self.ended = True
            core.request_stop()


def run(name: str, *, slice_: int, plain: bool = False) -> tuple[str, int]:
    """Returns the log and the number of instructions."""
    model, code, data = CODE_AND_DATA[name]
    memory = MemoryMap(
        Region(label, address, SharedMemory(size).view)
        for label, address, size in (("c", code, 0x4000), ("d", data, 0x4000))
    )
    core = CortexM(
        CoreConfig(model, memory, clock_hz=25_000_000, priority_bits=8, vector_base=code, plain_counter=plain)
    )
    console = Console(memory)
    core.on_semihosting = console
    load_image(HERE / f"{name}.elf").load(memory)
    core.reset()
    while not console.ended:
        stop = core.run(slice_)
        assert stop is not Stop.FAULT, (core.fault, bytes(console.text))
        if stop is Stop.SLEEP:
            idle = core.idle_cycles()
            assert idle is not None, bytes(console.text)
            core.skip(idle)
        assert core.instructions < 2_000_000, bytes(console.text)
    return console.text.decode(), core.instructions


@pytest.mark.parametrize("name", CODE_AND_DATA)
def test_log_agrees_with_qemu(name: str) -> None:
    """Every line that qemu-system-arm printed comes from our core too."""
    log, _ = run(name, slice_=100_000)
    assert log.splitlines() == (HERE / f"{name}.log").read_text().splitlines()


@pytest.mark.parametrize("name", ["m0", "m4"])
def test_same_count_with_any_slices_and_either_counter(name: str) -> None:
    """Neither the length of the slices nor the form of the counter changes what is executed."""
    results = {
        run(name, slice_=slice_, plain=plain) for slice_, plain in ((1_000_000, False), (777, False), (50_000, True))
    }
    assert len(results) == 1


@pytest.mark.toolchain
def test_sources_and_qemu_still_give_the_golden_logs(tmp_path: Path) -> None:
    """The committed images and logs are what build.sh makes."""
    copy = shutil.copytree(HERE, tmp_path / "cortexm")
    for log in copy.glob("*.log"):
        log.unlink()
    subprocess.run([copy / "build.sh"], check=True, timeout=100)
    for name in CODE_AND_DATA:
        assert (copy / f"{name}.log").read_text() == (HERE / f"{name}.log").read_text()
