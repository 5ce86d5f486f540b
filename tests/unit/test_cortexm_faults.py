"""Faults of Cortex-M firmware: what is a crash, what it tells, and what the firmware may mend by itself."""

from __future__ import annotations

import pytest

from openamp.platforms.emulated.core import Fault, Stop
from openamp.platforms.emulated.cortexm import CortexM
from openamp.platforms.emulated.scs import MODELS
from support.cortexm import DATA, HANDLER, PROGRAM, SIZE, SPIN, STACK, create, word

NOWHERE = 0x5000_0124
HARD_FAULT, BUS_FAULT, USAGE_FAULT, DEBUG_MONITOR = 3, 5, 6, 12

# ldr r0, =0x50000124; movs r1, #7; ldr r2, [r0]; movs r6, #1; wfi; .ltorg
BAD_LOAD = bytes.fromhex("024807210268012630bf000024010050")
# ldr r0, =0x50000124; strb r1, [r0, #3]; wfi; .ltorg
BAD_STORE = bytes.fromhex("0148c17030bf000024010050")
# Handlers: give up in various ways, or go on behind the 16-bit instruction.
# ldr r0, [sp, #24]; adds r0, r0, #2; str r0, [sp, #24]; adds r5, r5, #1; bx lr
SKIP = bytes.fromhex("06980230069001357047")
BX_LR = bytes.fromhex("7047")
# 1:  wfi; b 1b
WFI_LOOP = bytes.fromhex("30bffde7")
# 1:  ldr r1, =0x20000200; ldr r2, [r1]; cmp r2, #1; bne 2f; nop; 2:  nop; b 1b; .ltorg
LONG_SPIN = bytes.fromhex("03490a68012a00d100bf00bff8e7000000020020")
# 1:  adds r4, r4, #1; b 1b
COUNTS_FOR_EVER = bytes.fromhex("0134fde7")
BREAKPOINT = bytes.fromhex("00be")


def crash(core: CortexM) -> Fault:
    """Runs until the core gives up."""
    for _ in range(40):
        stop = core.run(100_000)
        if stop is Stop.FAULT:
            assert core.fault is not None
            assert core.run(1000) is Stop.FAULT  # for good
            return core.fault
        assert stop is Stop.BUDGET
    raise AssertionError("the core goes on")


@pytest.mark.parametrize("model", MODELS)
def test_a_handler_that_spins_is_a_crash_that_tells_of_the_fault_itself(model: str) -> None:
    fault = crash(create(BAD_LOAD, model=model))
    name = "HardFault" if MODELS[model].baseline else "BusFault"
    assert fault.reason == f"{name}: read from 0x50000124, where there is nothing"
    assert (fault.pc, fault.address) == (PROGRAM + 4, NOWHERE)
    assert (fault.registers["r0"], fault.registers["r1"], fault.registers["sp"]) == (NOWHERE, 7, STACK)
    assert fault.registers["pc"] == PROGRAM + 4
    assert fault.details[0] == "in thread mode"
    assert fault.details[-1] == f"HardFault spins at 0x{HANDLER:08x}"
    if not MODELS[model].baseline:
        assert fault.details[1].startswith("CFSR 0x00008200: PRECISERR (data access to an address where there is")


@pytest.mark.parametrize(
    ("handler", "end"),
    [
        (LONG_SPIN, "HardFault spins at 0x"),
        (WFI_LOOP, "HardFault waits for an interrupt at 0x"),
        (COUNTS_FOR_EVER, "HardFault has not returned within a second, now at 0x"),
        (BREAKPOINT, "lock-up: a fault in HardFault at 0x"),
        (BAD_LOAD, "lock-up: a fault in HardFault at 0x"),
        (BX_LR, "the same fault comes back for ever: its handler changes nothing"),
    ],
)
def test_other_ways_to_give_up(handler: bytes, end: str) -> None:
    fault = crash(create(BAD_STORE, {HARD_FAULT: handler}))
    assert fault.reason == "BusFault: write to 0x50000127, where there is nothing"
    assert fault.address == NOWHERE + 3
    assert fault.details[-1].startswith(end)


def test_firmware_that_mends_its_fault_goes_on() -> None:
    core = create(BAD_LOAD, {HARD_FAULT: SKIP})
    assert core.run(10_000) is Stop.SLEEP
    assert core.registers()["r6"] == 1
    assert core.fault is None
    assert core.last_fault is not None
    assert core.last_fault.pc == PROGRAM + 4
    core.reset()
    assert core.last_fault is None


# Reads 100 addresses where there is nothing; the handler skips each read.
# ldr r3, =0x50000000; movs r4, #100; 1:  ldr r2, [r3]; adds r3, r3, #4; subs r4, r4, #1; bne 1b; wfi; .ltorg
PROBES = bytes.fromhex("4ff0a04364241a680433013cfbd130bf")


def test_a_loop_that_probes_for_devices_is_no_endless_fault() -> None:
    core = create(PROBES, {HARD_FAULT: SKIP})
    assert core.run(100_000) is Stop.SLEEP
    assert core.registers()["r5"] == 100
    assert core.last_fault is not None
    assert core.last_fault.address == 0x5000_0000 + 4 * 99


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("00de", "UsageFault: undefined instruction"),
        ("f7f0a000", "UsageFault: undefined instruction"),
        ("00be", "HardFault: breakpoint without a debugger"),
        ("0020 8047", "UsageFault: branch to an even address: not Thumb code"),
        ("4ff08070 40f00100 0047", "BusFault: fetch from an address where there is nothing"),
        ("4ff08040 40f00100 0047", "MemManage: fetch from a region that cannot be executed"),
    ],
)
def test_reasons(code: str, reason: str) -> None:
    """udf; udf.w; bkpt; a call of a null pointer; jumps to 0x01000001 and 0x40000001."""
    fault = crash(create(bytes.fromhex(code)))
    assert fault.reason == reason


def test_a_call_of_nothing_tells_of_the_caller() -> None:
    fault = crash(create(bytes.fromhex("0020 8047")))  # movs r0, #0; blx r0
    assert fault.pc == 0
    assert f"the branch may have come from before 0x{PROGRAM + 4:08x} (lr)" in fault.details


def test_an_unaligned_load_is_a_fault_on_the_m0_only() -> None:
    code = bytes.fromhex("0120 0068 30bf")  # movs r0, #1; ldr r0, [r0]; wfi
    assert crash(create(code, model="cortex-m0")).reason == "HardFault: unaligned access"
    assert create(code).run(100) is Stop.SLEEP


# 1:  push {r0-r7, lr}; bl 1b
RECURSION = bytes.fromhex("ffb5fff7fdff")


def test_a_stack_that_overflows_its_memory() -> None:
    """The handler's frame finds no place either: a lock-up, which tells of the push."""
    fault = crash(create(RECURSION))
    assert fault.reason == f"BusFault: write to 0x{DATA + SIZE % 36 - 36:08x}, where there is nothing"
    assert fault.pc == PROGRAM
    assert fault.details[-1].startswith("lock-up: a fault in thread mode")


# ldr r0, =0x60000000; mov sp, r0; svc #0; .ltorg
BAD_STACK = bytes.fromhex("4ff0c040854600df")


def test_a_stack_pointer_outside_memory() -> None:
    fault = crash(create(BAD_STACK))
    assert fault.reason == "BusFault: the stack pointer leads outside memory on exception entry"
    assert fault.address == 0x6000_0000 - 0x20


# ldr r0, =0x60000000; msr psp, r0; movs r0, #2; msr control, r0; isb; svc #0; .ltorg
ON_PROCESS_STACK = bytes.fromhex("4ff0c04080f30988022080f31488bff36f8f00df")


def test_a_process_stack_outside_memory_reaches_the_handler() -> None:
    core = create(ON_PROCESS_STACK, {HARD_FAULT: WFI_LOOP})
    fault = crash(core)
    assert fault.reason == "BusFault: the stack pointer leads outside memory on exception entry"
    assert fault.details[-1].startswith("HardFault waits for an interrupt")
    assert core.registers()["psp"] == 0x6000_0000 - 0x20


# ldr r0, =0x20003FF8; msr msplim, r0; push {r0-r3}; .ltorg
STACK_LIMIT = bytes.fromhex("014880f30a880fb4f83f0020")


def test_a_stack_below_its_limit_register() -> None:
    fault = crash(create(STACK_LIMIT, model="cortex-m33"))
    assert fault.reason == "UsageFault: the stack pointer passed its limit register"


def test_limit_registers_are_zero_after_reset() -> None:
    core = create(STACK_LIMIT, model="cortex-m33")
    crash(core)
    core.memory.write(PROGRAM, bytes.fromhex("0fb430bf"))  # push {r0-r3}; wfi
    core.reset()
    assert core.run(100) is Stop.SLEEP


# -- breakpoints and the debug monitor ------------------------------------------------------------------------------

# ldr r0, =0xE000EDFC; ldr r1, =0x00010000; str r1, [r0]; bkpt #1; wfi; .ltorg
MONITORED = bytes.fromhex("02484ff48031016001be30bffced00e0")


def test_the_debug_monitor_takes_breakpoints_when_it_is_enabled() -> None:
    core = create(MONITORED, {DEBUG_MONITOR: SKIP})
    assert core.run(1000) is Stop.SLEEP
    assert core.registers()["r5"] == 1


def test_a_breakpoint_without_it_says_so_in_hfsr() -> None:
    core = create(BREAKPOINT)
    crash(core)
    assert core.scs.hfsr == 1 << 31


def test_semihosting_is_answered_only_where_somebody_listens() -> None:
    call = bytes.fromhex("abbe30bf")  # bkpt #0xab; wfi
    assert crash(create(call)).reason == "HardFault: breakpoint without a debugger"
    core = create(call)
    core.on_semihosting = lambda called: called.set_register("r0", 0x1234)
    assert core.run(100) is Stop.SLEEP
    assert core.registers()["r0"] == 0x1234
    assert core.instructions == 2


# -- fault handlers of their own ------------------------------------------------------------------------------------

# ldr r0, =0xE000ED14
# ldr r1, =0x300
# str r1, [r0]
# cpsid f
# ldr r2, =0x50000000
# ldr r3, [r2]
# ldr.w r3, [r2, #4]
# ldr r4, [r0, #0x14]
# ldr r5, [r0, #0x24]
# cpsie f
# wfi
# .ltorg
IGNORES_BUS_FAULTS = bytes.fromhex("06484ff44071016071b64ff0a0421368d2f804304469456a61b630bf14ed00e0")


def test_bfhfnmign_lets_a_handler_probe() -> None:
    core = create(IGNORES_BUS_FAULTS)
    assert core.run(1000) is Stop.SLEEP
    assert (core.registers()["r4"], core.registers()["r5"]) == (0x8200, 0x5000_0004)


# ldr r0, =0xFFFFFFF3; bx r0; .ltorg
WRONG_RETURN = bytes.fromhex("6ff00c000047")
# ldr r0, =0xE000E100; movs r1, #1; str r1, [r0]; ldr r0, =0xE000E200; str r1, [r0]; isb; wfi; .ltorg
ENABLE_AND_PEND = bytes.fromhex("03480121016003480160bff36f8f30bf00e100e000e200e0")


def test_a_wrong_exc_return_value() -> None:
    fault = crash(create(ENABLE_AND_PEND, {16: WRONG_RETURN}))
    assert fault.reason == "UsageFault: exception return with a wrong EXC_RETURN value or stack frame"


def test_an_unexpected_interrupt_whose_default_handler_spins_is_a_crash() -> None:
    fault = crash(create(ENABLE_AND_PEND))
    assert fault.reason == f"the handler of interrupt 0 spins at 0x{HANDLER:08x} and nothing can interrupt it"


def test_a_main_program_that_spins_is_none() -> None:
    core = create(SPIN)
    assert core.run(100_000) is Stop.BUDGET
    assert core.fault is None


def test_a_handler_that_spins_but_can_be_interrupted_is_none() -> None:
    core = create(ENABLE_AND_PEND)
    core.nvic.enabled |= 1 << 17
    core.nvic.write_priorities(16, 0x80)
    assert core.run(100_000) is Stop.BUDGET


# -- reset by the firmware -------------------------------------------------------------------------------------------

# ldr r0, =0x20000000
# ldr r1, [r0]
# adds r1, r1, #1
# str r1, [r0]
# cmp r1, #3
# beq 2f
# ldr r0, =0xE000ED0C
# ldr r1, =0x05FA0004
# dsb
# str r1, [r0]
# dsb
# 1:  b 1b
# 2:  wfi
# .ltorg
RESETS = bytes.fromhex("4ff00050016801310160032907d004480449bff34f8f0160bff34f8ffee730bf0ced00e00400fa05")


def test_the_firmware_can_reset_itself() -> None:
    core = create(RESETS)
    resets: list[int] = []
    core.on_reset = lambda: resets.append(core.instructions)
    assert core.run(1000) is Stop.EVENT
    assert core.pc == PROGRAM
    assert core.run(1000) is Stop.EVENT
    assert core.run(1000) is Stop.SLEEP
    assert resets == [12, 24]
    assert word(core, DATA) == 3
    assert core.instructions == 24 + 7


def test_a_fault_handler_that_resets_leaves_the_fault_to_be_told() -> None:
    core = create(BAD_LOAD, {HARD_FAULT: RESET_ONLY})
    assert core.run(1000) is Stop.EVENT
    assert core.fault is None
    assert core.last_fault is not None
    assert core.last_fault.address == NOWHERE


# ldr r0, =0xE000ED0C; ldr r1, =0x05FA0004; str r1, [r0]; 1:  b 1b; .ltorg
RESET_ONLY = bytes.fromhex("014802490160fee70ced00e00400fa05")
