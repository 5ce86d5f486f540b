"""The system control space as firmware reads and writes it."""

from __future__ import annotations

import pytest

from openamp.platforms.emulated.core import Stop
from openamp.platforms.emulated.cortexm import CortexM
from openamp.platforms.emulated.nvic import FIRST_IRQ, PENDSV, SYSTICK
from openamp.platforms.emulated.scs import MODELS
from support.cortexm import NUM_IRQS, SPIN, create

SCS = 0xE000
ICTR, ICSR, VTOR, AIRCR, SCR, CCR, SHPR1, SHCSR = 0x004, 0xD04, 0xD08, 0xD0C, 0xD10, 0xD14, 0xD18, 0xD24
CFSR, HFSR, BFAR, CPACR = 0xD28, 0xD2C, 0xD38, 0xD88
MPU_TYPE, MPU_RNR, MPU_RBAR, MPU_RASR = 0xD90, 0xD98, 0xD9C, 0xDA0
DEMCR, STIR, FPCCR, FPCAR = 0xDFC, 0xF00, 0xF34, 0xF38
DWT_CTRL, DWT_CYCCNT = 0x1000 - SCS, 0x1004 - SCS
CLIDR, CTR, CCSIDR, CSSELR = 0xD78, 0xD7C, 0xD80, 0xD84
MAINLINE = [name for name, model in MODELS.items() if not model.baseline]


def read(core: CortexM, offset: int, size: int = 4) -> int:
    """Reads as the firmware does; the offset counts from 0xE000E000."""
    return core.scs.read(SCS + offset, size)


def write(core: CortexM, offset: int, value: int, size: int = 4) -> None:
    """Writes as the firmware does."""
    core.scs.write(SCS + offset, size, value)


@pytest.mark.parametrize(
    ("model", "part", "architecture"),
    [
        ("cortex-m0", 0xC20, 0xC),
        ("cortex-m0plus", 0xC60, 0xC),
        ("cortex-m3", 0xC23, 0xF),
        ("cortex-m4", 0xC24, 0xF),
        ("cortex-m7", 0xC27, 0xF),
        ("cortex-m33", 0xD21, 0xF),
    ],
)
def test_cpuid(model: str, part: int, architecture: int) -> None:
    value = read(create(SPIN, model=model), 0xD00)
    assert (value >> 24, value >> 4 & 0xFFF, value >> 16 & 0xF) == (0x41, part, architecture)


@pytest.mark.parametrize("model", MODELS)
def test_reset_values(model: str) -> None:
    core = create(SPIN, model=model)
    assert read(core, ICTR) == (NUM_IRQS + 31) // 32 - 1
    assert read(core, AIRCR) == 0xFA050000
    assert read(core, CCR) >> 9 & 1
    assert read(core, ICSR) == 1 << 11  # nothing active
    assert read(core, MPU_TYPE) == MODELS[model].mpu_regions << 8
    assert read(core, FPCCR) == (0xC0000000 if MODELS[model].fpu else 0)
    assert read(core, 0xDF0) == 0  # DHCSR: no debugger


@pytest.mark.parametrize("model", MODELS)
def test_every_register_can_be_read_and_written_in_any_size(model: str) -> None:
    core = create(SPIN, model=model)
    for offset in range(0, core.scs.size, 4):
        for size in (1, 2, 4):
            value = core.scs.read(offset, size)
            assert 0 <= value < 1 << 8 * size
            core.scs.write(offset, size, (1 << 8 * size) - 1)
        assert 0 <= core.scs.read(offset, 4) < 1 << 32
    core.reset()
    assert core.run(100) is Stop.BUDGET


def test_the_vector_table_moves_where_there_is_a_vtor() -> None:
    core = create(SPIN)
    write(core, VTOR, 0x2000_01FF)
    assert read(core, VTOR) == 0x2000_0180
    small = create(SPIN, model="cortex-m0")
    write(small, VTOR, 0x2000_0000)
    assert read(small, VTOR) == small.scs.vtor == 0


def test_icsr_pends_and_clears() -> None:
    core = create(SPIN)
    write(core, ICSR, 1 << 28 | 1 << 26)
    assert core.nvic.pending == 1 << PENDSV | 1 << SYSTICK
    assert read(core, ICSR) >> 12 & 0x1FF == PENDSV
    write(core, ICSR, 1 << 27 | 1 << 25)
    assert core.nvic.pending == 0
    core.set_irq(30, True)
    assert read(core, ICSR) >> 22 & 1
    write(core, STIR, 31)
    assert core.nvic.pending == 0b11 << FIRST_IRQ + 30
    write(core, STIR, 300)
    assert core.nvic.pending == 0b11 << FIRST_IRQ + 30


def test_aircr_needs_its_key() -> None:
    core = create(SPIN)
    write(core, AIRCR, 0x300)
    assert read(core, AIRCR) == 0xFA050000
    write(core, AIRCR, 0x05FA0300)
    assert read(core, AIRCR) == 0xFA050300
    assert core.nvic.group_mask == 0xF0
    write(core, AIRCR, 0x00000004)
    assert not core.scs.reset_requested


@pytest.mark.parametrize("model", MAINLINE)
def test_bytes_and_halfwords(model: str) -> None:
    core = create(SPIN, model=model)
    write(core, SHPR1 + 2, 0xC0, 1)  # UsageFault
    write(core, 0x403, 0x80, 1)  # interrupt 3
    assert read(core, SHPR1) == 0x00C00000
    assert read(core, 0x400) == 0x80000000
    assert read(core, 0x402, 2) == 0x8000
    core.scs.cfsr = 0x01018200
    write(core, CFSR + 2, 0xFFFF, 2)  # UFSR only
    assert core.scs.cfsr == 0x8200
    write(core, CFSR + 1, 0x80, 1)
    assert core.scs.cfsr == 0x0200
    core.scs.hfsr = 1 << 30
    write(core, HFSR, 1 << 30)
    assert read(core, HFSR) == 0


def test_shcsr_shows_and_sets_states() -> None:
    core = create(SPIN)
    write(core, SHCSR, 1 << 18 | 1 << 15 | 1 << 11)
    assert core.nvic.enabled >> 4 & 7 == 0b100
    assert core.nvic.active == 1 << SYSTICK
    assert read(core, SHCSR) == 1 << 18 | 1 << 15 | 1 << 11
    small = create(SPIN, model="cortex-m0")
    write(small, SHCSR, 0xFFFFFFFF)
    assert read(small, SHCSR) == 1 << 15


def test_scr() -> None:
    core = create(SPIN)
    write(core, SCR, 0xFF)
    assert read(core, SCR) == 0x1E
    assert core.nvic.send_event_on_pending


def test_mpu_registers_read_back() -> None:
    core = create(SPIN)
    for region in range(8):
        write(core, MPU_RNR, region)
        write(core, MPU_RBAR, region << 16)
        write(core, MPU_RASR, 0x03000001 | region << 1)
    for region in range(8):
        write(core, MPU_RBAR, 0x10 | region | 0xABC << 20)  # VALID: selects the region
        assert read(core, MPU_RNR) == region
        assert read(core, MPU_RBAR) == 0xABC << 20 | region
        assert read(core, MPU_RASR) == 0x03000001 | region << 1
    assert read(core, MPU_RASR + 8) == read(core, MPU_RASR)  # an alias


def test_mpu_registers_of_v8m_read_back() -> None:
    core = create(SPIN, model="cortex-m33")
    for region in (0, 5, 7):
        write(core, MPU_RNR, region)
        write(core, 0xD9C, region << 8 | 1)
        write(core, 0xDA0, region << 12 | 1)
    write(core, 0xDC0, 0x44)
    write(core, MPU_RNR, 4)
    assert (read(core, 0xD9C + 8), read(core, 0xDA0 + 8), read(core, 0xDC0)) == (5 << 8 | 1, 5 << 12 | 1, 0x44)
    assert read(core, 0xDD0) == 0  # SAU_CTRL


def test_cache_registers_let_loops_over_the_cache_end() -> None:
    core = create(SPIN, model="cortex-m7")
    assert read(core, CLIDR)
    assert read(core, CTR)
    ccsidr = read(core, CCSIDR)
    assert ((ccsidr >> 13 & 0x7FFF) + 1) * ((ccsidr >> 3 & 0x3FF) + 1) <= 512
    write(core, CSSELR, 1)
    assert read(core, CSSELR) == 1
    for offset in range(0xF50, 0xF7C, 4):
        write(core, offset, 0x2000_0000)
        assert read(core, offset) == 0


def test_fpu_registers() -> None:
    core = create(SPIN)
    write(core, CPACR, 0xF << 20)
    assert read(core, CPACR) == 0xF << 20
    write(core, FPCCR, 0)
    assert read(core, FPCCR) == 0
    write(core, FPCAR, 0x2000_0107)
    assert read(core, FPCAR) == 0x2000_0100
    bare = create(SPIN, model="cortex-m3")
    write(bare, CPACR, 0xF << 20)
    assert read(bare, CPACR) == 0


# -- trace -----------------------------------------------------------------------------------------------------------

# ldr r0, =0xE000EDFC
# ldr r1, =0x01000000
# str r1, [r0]
# ldr r0, =0xE0001000
# movs r1, #0
# str r1, [r0, #4]
# movs r1, #1
# str r1, [r0]
# b 1f
# 1:  ldr r2, [r0, #4]
# movs r3, #100
# b 2f
# 2:  subs r3, r3, #1
# bne 2b
# ldr r3, [r0, #4]
# wfi
# ldr r4, [r0, #4]
# movs r1, #0
# str r1, [r0]
# wfi
# .ltorg
CYCLES = bytes.fromhex(
    "0a484ff08071016009480021416001210160ffe742686423ffe7013bfdd1436830bf44680021016030bf0000fced00e0001000e0"
)


def test_the_cycle_counter_counts_virtual_time() -> None:
    core = create(CYCLES)
    assert core.run(1000) is Stop.SLEEP
    registers = core.registers()
    assert registers["r3"] - registers["r2"] == 3 + 200 + 2 - 3  # to a block: what is in one block is one moment
    core.skip(5000)
    core.asleep = False
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r4"] - registers["r3"] >= 5000
    stopped = read(core, DWT_CYCCNT)
    core.skip(100)
    assert read(core, DWT_CYCCNT) == stopped
    write(core, DWT_CTRL, 1)
    core.skip(100)
    assert read(core, DWT_CYCCNT) == stopped + 100
    write(core, DEMCR, 0)
    core.skip(100)
    assert read(core, DWT_CYCCNT) == stopped + 100


# ldr r0, =0xE0000000
# 1:  ldr r1, [r0]
# cmp r1, #0
# beq 1b
# movs r1, #72
# strb r1, [r0]
# ldr r1, =0x64636261
# str r1, [r0, #4]
# wfi
# .ltorg
PRINTS = bytes.fromhex("4ff0604001680029fcd0482101700149416030bf61626364")


def test_itm_stimulus_ports_are_a_stream() -> None:
    core = create(PRINTS)
    output: list[tuple[str, bytes]] = []
    core.on_output = lambda stream, data: output.append((stream, data))
    assert core.run(1000) is Stop.SLEEP
    assert output == [("itm", b"H"), ("itm1", b"abcd")]
    core.scs.write(0xE80, 4, 0)  # ITM_TCR: off
    core.scs.write(0, 1, 0x41)
    assert len(output) == 2
    quiet = create(PRINTS)
    assert quiet.run(1000) is Stop.SLEEP


def test_the_rest_of_the_private_bus_reads_as_zero() -> None:
    core = create(ROM_TABLE)
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r1"] == 0


# ldr r0, =0xE00FF000; ldr r1, [r0]; str r0, [r0]; wfi; .ltorg
ROM_TABLE = bytes.fromhex("01480168006030bf00f00fe0")
