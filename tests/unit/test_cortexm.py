"""Cortex-M cores: reset, counting, sleep, interrupts, timers, what the firmware sees of the system registers.

What exceptions look like to firmware in detail is checked against qemu in tests/emulated/test_cortexm_oracle.py. The
code is Thumb; its assembly stands above it.
"""

from __future__ import annotations

import itertools
import struct
import threading

import pytest

from openamp.errors import BoardError, ClosedError
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.platforms.emulated.core import CoreConfig, Stop
from openamp.platforms.emulated.cortexm import CortexM
from openamp.platforms.emulated.scs import MODELS
from support.cortexm import ALIAS, CODE, DATA, NUM_IRQS, PROGRAM, SPIN, STACK, create, word

WFI = bytes.fromhex("30bf")
BX_LR = bytes.fromhex("7047")

# movs r0, #100; 1:  adds r1, r1, #1; subs r0, r0, #1; bne 1b; wfi
COUNTED = bytes.fromhex("642001310138fcd130bf")
# 1:  wfi; adds r7, r7, #1; b 1b
SLEEPER = bytes.fromhex("30bf0137fce7")
# The handler counts in memory.
# ldr r0, =0x20000100; ldr r1, [r0]; adds r1, r1, #1; str r1, [r0]; bx lr; .ltorg
COUNT_UP = bytes.fromhex("02480168013101607047000000010020")
# ldr r0, =0xE000E100
# movs r1, #0
# mvns r1, r1
# str r1, [r0]
# str r1, [r0, #4]
# 1:  wfi
# adds r7, r7, #1
# b 1b
# .ltorg
ENABLE_ALL = bytes.fromhex("03480021c9430160416030bf0137fce700e100e0")
# ldr r0, =0xE000E010
# ldr r1, =999
# str r1, [r0, #4]
# movs r1, #0
# str r1, [r0, #8]
# movs r1, #7
# str r1, [r0]
# 1:  wfi
# b 1b
# .ltorg
SYSTICK = bytes.fromhex("044840f2e7314160002181600721016030bffde710e000e0")
# ldr r0, =0xE000E010
# ldr r1, =999
# str r1, [r0, #4]
# movs r1, #0
# str r1, [r0, #8]
# movs r1, #7
# str r1, [r0]
# 1:  adds r7, r7, #1
# b 1b
# .ltorg
BUSY = bytes.fromhex("044840f2e731416000218160072101600137fde710e000e0")
COUNTER = DATA + 0x100


@pytest.fixture(params=[False, True], ids=["compiled", "plain"])
def plain(request: pytest.FixtureRequest) -> bool:
    """Both forms of the counter."""
    return bool(request.param)


# -- reset -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_reset_takes_stack_and_program_from_the_vector_table(model: str) -> None:
    core = create(WFI, model=model)
    registers = core.registers()
    assert core.pc == registers["pc"] == PROGRAM
    assert registers["sp"] == registers["msp"] == STACK
    assert (registers["lr"], registers["control"], registers["primask"]) == (0xFFFFFFFF, 0, 0)
    assert core.instructions == core.cycles == 0


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(BoardError, match='"cortex-m9" is no Cortex-M core; there are cortex-m0'):
        CortexM(CoreConfig("cortex-m9", MemoryMap()))


def test_memory_without_a_vector_table_is_a_fault_at_once() -> None:
    core = create(WFI)
    core.memory.write(CODE, bytes(8))
    core.reset()
    assert core.run(100) is Stop.FAULT
    assert core.fault is not None
    assert core.fault.reason == "no vector table at 0x00000000: its reset vector is 0x00000000"


def test_no_memory_at_the_vector_table_is_a_fault_at_once() -> None:
    memory = MemoryMap((Region("data", DATA, SharedMemory(0x1000).view),))
    core = CortexM(CoreConfig("cortex-m4", memory, vector_base=0x0800_0000))
    core.reset()
    assert core.run(100) is Stop.FAULT
    assert core.fault is not None
    assert core.fault.reason == "no memory at 0x08000000, where the vector table should be"


def test_an_even_reset_vector_is_a_fault_of_the_first_instruction() -> None:
    core = create(WFI)
    core.memory.write(CODE + 4, struct.pack("<I", PROGRAM))
    core.reset()
    assert core.run(1_000_000) is Stop.FAULT
    assert core.fault is not None
    assert core.fault.reason == "UsageFault: branch to an even address: not Thumb code"
    assert core.fault.pc == PROGRAM


def test_reset_forgets_everything(plain: bool) -> None:
    core = create(COUNTED, plain=plain)
    core.run(1000)
    core.set_irq(3, True)
    core.set_irq(3, False)
    core.skip(500)
    core.reset()
    assert (core.instructions, core.cycles, core.asleep, core.fault) == (0, 0, False, None)
    assert core.registers()["r1"] == 0
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r1"] == 100


# -- counting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_instructions_are_counted_exactly(model: str, plain: bool) -> None:
    core = create(COUNTED, model=model, plain=plain)
    assert core.run(100_000) is Stop.SLEEP
    assert core.instructions == 1 + 3 * 100 + 1
    assert core.registers()["r1"] == 100


def test_a_budget_ends_between_two_blocks_and_the_next_run_goes_on(plain: bool) -> None:
    core = create(COUNTED, plain=plain)
    stops: list[Stop] = []
    while not stops or stops[-1] is Stop.BUDGET:
        before = core.instructions
        stops.append(core.run(50))
        assert core.instructions - before <= 53
    assert stops[-1] is Stop.SLEEP
    assert len(stops) == 6
    assert core.instructions == 302


def test_the_smallest_budget_still_makes_progress(plain: bool) -> None:
    core = create(COUNTED, plain=plain)
    for _ in range(101):
        before = core.instructions
        stop = core.run(1)
        assert core.instructions > before
    assert stop is Stop.SLEEP


def test_code_that_writes_code_is_counted_and_executed_afresh(plain: bool) -> None:
    core = create(PATCHER, plain=plain)
    assert core.run(1000) is Stop.SLEEP
    assert [core.registers()[name] for name in ("r5", "r6")] == [1, 2]
    assert core.instructions == 20


# Writes a function through the alias, calls it, rewrites it as one instruction fewer, calls it again.
# ldr r0, =0x30000200
# ldr r1, =0xBF002001
# str r1, [r0]
# ldr r1, =0x47704770
# str r1, [r0, #4]
# ldr r3, =0x20000201
# blx r3
# mov r5, r0
# ldr r0, =0x30000200
# ldr r1, =0x47702002
# str r1, [r0]
# isb
# blx r3
# mov r6, r0
# wfi
# .ltorg
PATCHER = bytes.fromhex(
    "07480849016008494160084b98470546034807490160bff36f8f9847064630bf00020030012000bf704770470102002002207047"
)


def test_code_that_the_host_writes_needs_a_flush() -> None:
    core = create(COUNTED)
    core.run(1000)
    core.memory.write(PROGRAM, WFI)
    core.flush_code()
    core.set_register("pc", PROGRAM)
    core.asleep = False
    assert core.run(1000) is Stop.SLEEP
    assert core.pc == PROGRAM + 2


# -- sleep and interrupts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", MODELS)
def test_an_enabled_interrupt_wakes_the_core(model: str) -> None:
    core = create(ENABLE_ALL, {16 + 5: COUNT_UP}, model=model)
    assert core.run(1000) is Stop.SLEEP
    assert core.idle_cycles() is None
    assert core.run(1000) is Stop.SLEEP
    core.set_irq(5, True)
    core.set_irq(5, False)
    assert core.run(1000) is Stop.SLEEP
    assert word(core, COUNTER) == 1
    assert core.registers()["r7"] == 1


def test_a_disabled_interrupt_stays_pending_and_wakes_nobody() -> None:
    core = create(SLEEPER, {16: COUNT_UP})
    core.run(1000)
    core.set_irq(0, True)
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r7"] == 0
    assert core.nvic.pending == 1 << 16


def test_a_line_that_stays_high_interrupts_again() -> None:
    core = create(ENABLE_ALL, {16: COUNT_UP})
    core.run(1000)
    core.set_irq(0, True)
    assert core.run(1000) is Stop.BUDGET
    assert word(core, COUNTER) > 10
    core.set_irq(0, False)
    assert core.run(1000) is Stop.SLEEP


def test_a_line_that_stays_high_does_not_make_a_run_long() -> None:
    core = create(ENABLE_ALL, {16: BX_LR})
    core.run(1000)
    core.set_irq(0, True)
    before = core.instructions
    assert core.run(50_000) is Stop.BUDGET
    assert core.instructions - before < 5_000


def test_lines_that_do_not_exist_are_refused() -> None:
    core = create(WFI)
    for number in (-1, NUM_IRQS):
        with pytest.raises(BoardError, match=f"no interrupt {number}; the core has {NUM_IRQS}"):
            core.set_irq(number, True)


def test_primask_lets_wfi_end_but_holds_the_handler_back(plain: bool) -> None:
    core = create(MASKED, {16: COUNT_UP}, plain=plain)
    assert core.run(1000) is Stop.SLEEP
    core.set_irq(0, True)
    core.set_irq(0, False)
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r7"] == 0  # read before the mask went
    assert word(core, COUNTER) == 1


# ldr r4, =0xE000E100
# movs r1, #1
# str r1, [r4]
# ldr r5, =0x20000100
# cpsid i
# wfi
# ldr r7, [r5]
# cpsie i
# wfi
# .ltorg
MASKED = bytes.fromhex("044c01212160044d72b630bf2f6862b630bf000000e100e000010020")


def test_systick_counts_virtual_time() -> None:
    core = create(SYSTICK, {15: COUNT_UP})
    for expected in range(1, 6):
        assert core.run(10_000) is Stop.SLEEP
        idle = core.idle_cycles()
        assert idle is not None
        core.skip(idle)
        core.run(10_000)
        assert word(core, COUNTER) == expected
        assert core.cycles == pytest.approx(1000 * expected, abs=40)


def test_systick_interrupts_a_busy_core_at_the_same_instruction_every_time() -> None:
    def moments(slice_: int, plain: bool) -> list[int]:
        core = create(BUSY, {15: NOTE_R7}, plain=plain)
        found: list[int] = []
        while len(found) < 5:
            assert core.run(slice_) is Stop.BUDGET
            if word(core, COUNTER) not in (0, *found[-1:]):
                found.append(word(core, COUNTER))
        return found

    expected = moments(900, False)
    assert expected == moments(30, False) == moments(500, True)
    assert all(abs(later - earlier - 498) <= 1 for earlier, later in itertools.pairwise(expected))


# The handler notes how far the main loop is.
# ldr r0, =0x20000100; str r7, [r0]; bx lr; .ltorg
NOTE_R7 = bytes.fromhex("014807607047000000010020")


def test_wfe_sleeps_until_an_event() -> None:
    core = create(EVENTS, {16: COUNT_UP})
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r6"] == 1  # the WFE behind SEV fell through
    core.set_irq(0, True)
    core.set_irq(0, False)
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r6"] == 3  # the handler's end was an event too
    assert word(core, COUNTER) == 1


# ldr r4, =0xE000E100
# movs r1, #1
# str r1, [r4]
# sev
# wfe
# movs r6, #1
# wfe
# movs r6, #2
# wfe
# movs r6, #3
# wfe
# movs r6, #4
# wfi
# .ltorg
EVENTS = bytes.fromhex("064c0121216040bf20bf012620bf022620bf032620bf042630bf000000e100e0")


def test_sevonpend_makes_a_disabled_interrupt_an_event() -> None:
    core = create(SEVONPEND)
    assert core.run(1000) is Stop.SLEEP
    core.set_irq(7, True)
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r6"] == 1


# ldr r0, =0xE000ED10; movs r1, #16; str r1, [r0]; wfe; movs r6, #1; wfi; .ltorg
SEVONPEND = bytes.fromhex("02481021016020bf012630bf10ed00e0")


def test_sleep_on_exit() -> None:
    core = create(SLEEPONEXIT, {16: COUNT_UP})
    assert core.run(1000) is Stop.SLEEP
    for number in range(1, 4):
        core.set_irq(0, True)
        core.set_irq(0, False)
        assert core.run(1000) is Stop.SLEEP
        assert word(core, COUNTER) == number
    assert core.registers()["r6"] == 0


# ldr r0, =0xE000ED10
# movs r1, #2
# str r1, [r0]
# ldr r0, =0xE000E100
# movs r1, #1
# str r1, [r0]
# wfi
# movs r6, #1
# wfi
# .ltorg
SLEEPONEXIT = bytes.fromhex("04480221016004480121016030bf012630bf000010ed00e000e100e0")


def test_yield_does_nothing() -> None:
    core = create(YIELDS)
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r6"] == 2
    assert core.instructions == 5


# yield; movs r6, #1; yield; movs r6, #2; wfi
YIELDS = bytes.fromhex("10bf012610bf022630bf")


# -- stopping --------------------------------------------------------------------------------------------------------


def test_a_stop_asked_for_before_the_run() -> None:
    core = create(SPIN)
    core.request_stop()
    assert core.run(1000) is Stop.EVENT
    assert core.instructions == 0
    assert core.run(1000) is Stop.BUDGET


def test_another_thread_stops_a_busy_core() -> None:
    core = create(SPIN)
    core.run(10)
    started = threading.Event()

    def stop() -> None:
        started.wait(10)
        core.request_stop()

    thread = threading.Thread(target=stop)
    thread.start()
    started.set()
    assert core.run(1 << 40) is Stop.EVENT
    thread.join()


class Device:
    """Keeps what it is told; asks for a stop at offset 4, breaks at offset 8."""

    def __init__(self, base: int = 0x4000_0000, size: int = 0x10, name: str = "device") -> None:
        self.name, self.base, self.size = name, base, size
        self.core: CortexM | None = None
        self.log: list[tuple[str, int, int, int]] = []

    def read(self, offset: int, size: int) -> int:
        self.log.append(("read", offset, size, 0))
        return 0xA5A5A5A5

    def write(self, offset: int, size: int, value: int) -> None:
        self.log.append(("write", offset, size, value))
        if offset == 4 and self.core is not None:
            self.core.request_stop()
        if offset == 8:
            raise ZeroDivisionError


# ldr r0, =0x40000000
# movs r1, #0x55
# strb r1, [r0, #1]
# ldrh r2, [r0, #2]
# str r1, [r0, #4]
# adds r6, r6, #1
# b 1f
# 1:  str r1, [r0, #8]
# adds r6, r6, #1
# b 1f
# 1:  ldr r3, [r0, #0x20]
# wfi
# .ltorg
TALKS = bytes.fromhex("4ff0804055214170428841600136ffe781600136ffe7036a30bf")


def test_a_device_that_asks_for_a_stop_is_not_accessed_twice(plain: bool) -> None:
    device = Device()
    core = create(TALKS, mmio=[device], plain=plain)
    device.core = core
    assert core.run(1000) is Stop.EVENT
    assert core.registers()["r6"] == 1
    assert device.log == [("write", 1, 1, 0x55), ("read", 2, 2, 0), ("write", 4, 4, 0x55)]
    assert core.registers()["r2"] == 0xA5A5


def test_an_exception_of_a_device_comes_out_of_run_and_the_core_can_go_on() -> None:
    device = Device()
    core = create(TALKS, mmio=[device])
    with pytest.raises(ZeroDivisionError):
        core.run(1000)
    assert core.registers()["r6"] == 2
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r3"] == 0  # no device there, but in the same page as one


def test_the_first_of_overlapping_devices_answers() -> None:
    inner, outer = Device(0x4000_0000, 4, "inner"), Device(0x4000_0000, 0x2000, "outer")
    core = create(TALKS, mmio=[inner, outer])
    with pytest.raises(ZeroDivisionError):
        core.run(1000)
    assert [entry[1] for entry in inner.log] == [1, 2]
    assert [entry[1] for entry in outer.log] == [4, 8]


def test_a_device_in_memory_is_refused() -> None:
    with pytest.raises(BoardError, match="device device at 0x20001000 lies in memory"):
        create(WFI, mmio=[Device(DATA + 0x1000)])


def test_memory_that_is_no_whole_pages_is_refused() -> None:
    memory = MemoryMap((Region("odd", 0x800, SharedMemory(0x1000).view),))
    with pytest.raises(BoardError, match="4 KiB boundary"):
        CortexM(CoreConfig("cortex-m4", memory))


def test_a_partial_alias_is_refused() -> None:
    shared = SharedMemory(0x3000)
    memory = MemoryMap((Region("one", 0, shared.view[:0x2000]), Region("two", 0x10000, shared.view[0x1000:])))
    with pytest.raises(BoardError, match="only partly an alias"):
        CortexM(CoreConfig("cortex-m4", memory))


def test_host_and_core_see_the_same_bytes_by_any_alias() -> None:
    core = create(ADDS_ONE)
    core.memory.write(ALIAS + 0x100, struct.pack("<I", 41))
    assert core.run(100) is Stop.SLEEP
    assert word(core, ALIAS + 0x100) == word(core, DATA + 0x100) == 42


# ldr r0, =0x20000100; ldr r1, [r0]; adds r1, r1, #1; str r1, [r0]; wfi; .ltorg
ADDS_ONE = bytes.fromhex("024801680131016030bf000000010020")


def test_a_stack_frame_may_cross_from_one_region_into_the_next() -> None:
    shared = SharedMemory(0x3000)
    memory = MemoryMap(Region(f"r{n}", n * 0x1000, shared.view[n * 0x1000 : (n + 1) * 0x1000]) for n in range(3))
    core = CortexM(CoreConfig("cortex-m4", memory, num_irqs=1))
    memory.write(0, struct.pack("<2I", 0x2010, 0x101) + struct.pack("<I", 0x201) * 15)
    memory.write(0x100, ENABLE_ALL)
    memory.write(0x200, BX_LR)
    core.reset()
    assert core.run(100) is Stop.SLEEP
    core.set_irq(0, True)
    core.set_irq(0, False)
    assert core.run(100) is Stop.SLEEP
    assert core.registers()["r7"] == 1
    assert word(core, 0x2008) == 0x100 + 12  # the stacked program counter


def test_a_closed_core_says_so() -> None:
    core = create(WFI)
    core.run(10)
    core.close()
    core.close()
    for use in (lambda: core.run(1), core.registers, core.reset, lambda: core.set_register("r0", 1), core.flush_code):
        with pytest.raises(ClosedError, match="this core was closed"):
            use()
    assert core.instructions == 1


# -- floating-point frames without automatic state preservation ------------------------------------------------------

# Sets CONTROL.FPCA (r7 = 4) or not (r7 = 0), clears FPCCR.ASPEN and LSPEN, uses floating point, is interrupted.
# ldr r0, =0xE000E100
# movs r1, #1
# str r1, [r0]
# msr control, r7
# isb
# ldr r0, =0xE000EF34
# movs r1, #0
# str r1, [r0]
# dsb
# isb
# vmov s1, r1
# wfi
# wfi
# .ltorg
NO_ASPEN = bytes.fromhex("08480121016087f31488bff36f8f064800210160bff34f8fbff36f8f00ee901a30bf30bf00e100e034ef00e0")
# ldr r0, =0x20000100; str sp, [r0]; str lr, [r0, #4]; bx lr; .ltorg
NOTE_SP = bytes.fromhex("0248c0f800d0c0f804e0704700010020")


@pytest.mark.parametrize(("fpca", "frame", "link"), [(0, 0x20, 0xFFFFFFF9), (4, 0x68, 0xFFFFFFE9)])
def test_frames_without_aspen_are_as_the_firmware_set_fpca(fpca: int, frame: int, link: int) -> None:
    core = create(NO_ASPEN, {16: NOTE_SP})
    core.set_register("r7", fpca)
    assert core.run(100) is Stop.SLEEP
    core.set_irq(0, True)
    core.set_irq(0, False)
    assert core.run(100) is Stop.SLEEP
    assert (word(core, COUNTER), word(core, COUNTER + 4)) == (STACK - frame, link)
    assert core.registers()["sp"] == STACK


# -- unprivileged code -----------------------------------------------------------------------------------------------

# Masks with BASEPRI, goes on unprivileged on the process stack; SVC clears BASEPRI.
# ldr r0, =0xE000E100
# movs r1, #3
# str r1, [r0]
# ldr r0, =0xE000E400
# movs r1, #0x80
# str r1, [r0]
# movs r0, #0x40
# msr basepri, r0
# ldr r0, =0x20003000
# msr psp, r0
# movs r0, #3
# msr control, r0
# isb
# wfi
# movs r6, #1
# svc #0
# movs r6, #2
# mrs r7, control
# wfi
# b .
# .ltorg
UNPRIVILEGED = bytes.fromhex(
    "0c48032101600c4880210160402080f311880a4880f30988032080f31488bff36f8f30bf012600df0226eff3148730bf"
    "fee7000000e100e000e400e000300020"
)
# movs r0, #0; msr basepri, r0; bx lr
CLEAR_BASEPRI = bytes.fromhex("002080f311887047")


def test_masks_hold_although_unprivileged_code_cannot_see_them(plain: bool) -> None:
    core = create(UNPRIVILEGED, {11: CLEAR_BASEPRI, 16: COUNT_UP, 17: COUNT_UP}, plain=plain)
    assert core.run(1000) is Stop.SLEEP
    core.set_irq(0, True)
    core.set_irq(0, False)
    assert core.run(1000) is Stop.SLEEP  # priority 0x80 is masked
    assert (core.registers()["basepri"], core.registers()["r6"], word(core, COUNTER)) == (0x40, 0, 0)
    core.set_irq(1, True)
    core.set_irq(1, False)
    assert core.run(1000) is Stop.SLEEP  # priority 0 is not, and on its way the SVC lets the other one through
    registers = core.registers()
    assert word(core, COUNTER) == 2
    assert (registers["r6"], registers["r7"], registers["control"]) == (2, 3, 3)
    assert (registers["sp"], registers["psp"], registers["msp"]) == (0x20003000, 0x20003000, STACK)
