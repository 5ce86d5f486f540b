"""Any bytes as firmware: the core runs, sleeps or gives up, in bounded time, and never breaks its host."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.emulated.core import CoreConfig, Stop
from openamp.platforms.emulated.cortexm import CortexM
from openamp.platforms.emulated.scs import MODELS

SIZE = 0x2000
VECTORS = 16 + 16
POINTERS = (0x2000_0000, 0x2000_0800, 0xE000_E100, 0xE000_ED00, 0xE000_E010, 0xE000_EF34, 0xE000_1000)
LIKELY = (
    0xBF30,
    0xBF20,
    0xDF00,
    0xB662,
    0xB672,
    0x6008,
    0x6801,
    0x4770,
    0xB500,
    0xBD00,
    0xBE00,
    0xBEAB,
    0xE7FE,
    0xBF08,
)

halfwords = st.one_of(st.integers(0, 0xFFFF), st.integers(0, 0x7FFF), st.sampled_from(LIKELY))
programs = st.lists(halfwords, min_size=1, max_size=120).map(lambda code: struct.pack(f"<{len(code)}H", *code))
vectors = st.lists(
    st.one_of(st.just(0x101), st.integers(0, SIZE - 1), st.integers(0, 0xFFFFFFFF)), min_size=VECTORS, max_size=VECTORS
)


def create(model: str, program: bytes, table: list[int], pointers: list[int], *, plain: bool) -> CortexM:
    """Returns a core after reset, with pointers to interesting places in r0 to r7."""
    code, data = SharedMemory(SIZE), SharedMemory(SIZE)
    memory = MemoryMap(
        (Region("code", 0, code.view), Region("data", 0x2000_0000, data.view), Region("again", 0x3000_0000, data.view))
    )
    memory.write(0, struct.pack(f"<{VECTORS}I", 0x2000_1000, 0x101, *table[2:]))
    memory.write(0x100, program)
    core = CortexM(CoreConfig(model, memory, clock_hz=100_000, num_irqs=16, plain_counter=plain))
    core.on_semihosting = lambda called: called.set_register("r0", 0)
    core.reset()
    for number, value in enumerate(pointers):
        core.set_register(f"r{number}", value)
    return core


def drive(core: CortexM, lines: list[int]) -> list[tuple[Stop, int, int]]:
    """Runs the core in slices, raising and lowering lines between them; returns what came of each."""
    history = []
    for line in lines:
        stop = core.run(2_000)
        history.append((stop, core.instructions, core.pc))
        if stop is Stop.FAULT:
            assert core.fault is not None
            assert core.fault.reason
            break
        if stop is Stop.SLEEP:
            core.skip(core.idle_cycles() or 0)
        core.set_irq(line % 16, line < 16)
    core.registers()
    return history


@settings(max_examples=60, deadline=None)
@given(
    model=st.sampled_from(sorted(MODELS)),
    program=programs,
    table=vectors,
    pointers=st.lists(st.one_of(st.sampled_from(POINTERS), st.integers(0, 0xFFFFFFFF)), min_size=8, max_size=8),
    lines=st.lists(st.integers(0, 31), min_size=1, max_size=8),
)
def test_any_firmware_does_the_same_twice_and_with_either_counter(
    model: str, program: bytes, table: list[int], pointers: list[int], lines: list[int]
) -> None:
    compiled, plain = (create(model, program, table, pointers, plain=plain) for plain in (False, True))
    first = drive(compiled, lines)
    assert drive(plain, lines) == first
    assert plain.registers() == compiled.registers()
    for core in (compiled, plain):
        core.close()
