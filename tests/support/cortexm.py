"""A Cortex-M core with two small memories and a vector table, for tests of it."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.emulated.core import CoreConfig, Mmio
from openamp.platforms.emulated.cortexm import CortexM

CODE, DATA, ALIAS = 0x0000_0000, 0x2000_0000, 0x3000_0000
SIZE = 0x4000
STACK = DATA + SIZE
PROGRAM, HANDLER = CODE + 0x400, CODE + 0x800
SPIN = bytes.fromhex("fee7")  # b .
NUM_IRQS = 40


def create(
    program: bytes,
    handlers: Mapping[int, bytes] | None = None,
    *,
    model: str = "cortex-m4",
    stack: int = STACK,
    mmio: Sequence[Mmio] = (),
    plain: bool = False,
) -> CortexM:
    """Returns a core after reset, at the beginning of `program`.

    Args:
        program: Thumb code.
        handlers: code by exception number; the others spin in place.
        model: the core.
        stack: the initial stack pointer.
        mmio: devices.
        plain: count in Python.
    """
    code, data = SharedMemory(SIZE), SharedMemory(SIZE)
    memory = MemoryMap(
        (Region("code", CODE, code.view), Region("data", DATA, data.view), Region("alias", ALIAS, data.view))
    )
    vectors = [stack, PROGRAM | 1] + [HANDLER | 1] * (14 + NUM_IRQS)
    memory.write(HANDLER, SPIN)
    memory.write(PROGRAM, program)
    at = HANDLER + 0x40
    for number, body in (handlers or {}).items():
        vectors[number] = at | 1
        memory.write(at, body)
        at += len(body) + 0x3F & ~0x3F
    memory.write(CODE, struct.pack(f"<{len(vectors)}I", *vectors))
    config = CoreConfig(
        model, memory, clock_hz=1_000_000, num_irqs=NUM_IRQS, vector_base=CODE, mmio=mmio, plain_counter=plain
    )
    core = CortexM(config)
    core.reset()
    return core


def word(core: CortexM, address: int) -> int:
    """Returns a word of the core's memory."""
    return int.from_bytes(core.memory.read(address, 4), "little")
