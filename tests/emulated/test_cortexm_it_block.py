"""A load in an IT block from a page that is seen for the first time: nothing of what follows is skipped."""

from __future__ import annotations

import struct

import pytest

from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.emulated.core import CoreConfig, Stop
from openamp.platforms.emulated.cortexm import CortexM

CODE, FRESH_PAGE = 0x1000_0000, 0x2000_0000
PROGRAM = (
    *(0x2000,),  # movs r0, #0
    *(0x2800,),  # cmp r0, #0
    *(0xBF08,),  # it eq
    *(0x6811,),  # ldreq r1, [r2]
    *(0x2801,),  # cmp r0, #1
    *(0xD100,),  # bne 1f
    *(0xBF00,),  # nop
    *(0xF100, 0x0320),  # 1: add.w r3, r0, #0x20
    *(0xBF30,),  # wfi
)


@pytest.mark.parametrize("model", ["cortex-m3", "cortex-m4", "cortex-m7", "cortex-m33"])
def test_the_instruction_behind_an_it_block_is_executed(model: str) -> None:
    memory = MemoryMap(Region(name, da, SharedMemory(0x1000).view) for name, da in (("c", CODE), ("d", FRESH_PAGE)))
    memory.write(CODE, struct.pack("<II", CODE + 0x1000, CODE + 0x101))
    memory.write(CODE + 0x100, struct.pack(f"<{len(PROGRAM)}H", *PROGRAM))
    memory.write(FRESH_PAGE, struct.pack("<I", 5))
    core = CortexM(CoreConfig(model, memory, vector_base=CODE))
    core.reset(None)
    core.set_register("r2", FRESH_PAGE)
    assert core.run(100) is Stop.SLEEP
    registers = core.registers()
    assert (registers["r1"], registers["r3"]) == (5, 0x20)
    core.close()
