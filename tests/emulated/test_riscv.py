"""The RISC-V core: its log equals QEMU's; crashes are told from firmware that lives with its traps; time is exact."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from openamp.errors import BoardError
from openamp.memory import MemoryMap, Region
from openamp.platforms.emulated.core import Core, CoreConfig, Stop
from openamp.platforms.emulated.devices import Device
from openamp.platforms.emulated.riscv import RiscV
from support.riscv import CLINT, MODELS, PLIC, PROGRAMS, RAM, WIRE, Bench

NOWHERE = 0x9000_0000

both = pytest.mark.parametrize("model", MODELS)


def start(model: str, program: str, **options: object) -> Bench:
    bench = Bench(model, **options)  # type: ignore[arg-type]
    bench.load("scenarios", program)
    return bench


# -- against QEMU ------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
def test_the_log_equals_that_of_qemu_line_for_line(model: str, plain: bool) -> None:
    bench = Bench(model, plain=plain)
    bench.load("oracle")
    assert bench.run() is Stop.EVENT, bench.core.fault
    assert bench.output.decode().splitlines() == (PROGRAMS / f"qemu-{model}.log").read_text().splitlines()


@pytest.mark.toolchain
def test_images_and_golden_logs_are_what_the_sources_give(tmp_path: Path) -> None:
    subprocess.run([PROGRAMS / "build.sh", tmp_path], check=True, timeout=120)
    assert shutil.which("qemu-system-riscv32")
    for golden in [*PROGRAMS.glob("*.log"), *PROGRAMS.glob("*.elf")]:
        assert (tmp_path / golden.name).read_bytes() == golden.read_bytes(), golden.name


@both
def test_a_run_is_deterministic_whatever_its_slices(model: str) -> None:
    ends = []
    for budget in (1_000_000, 3_333):
        bench = Bench(model)
        bench.load("oracle")
        while bench.result is None:
            if bench.core.run(budget) is Stop.SLEEP:
                bench.core.skip(bench.core.idle_cycles() or 0)
        ends.append((bench.core.instructions, bench.core.cycles, bytes(bench.output)))
    assert ends[0] == ends[1]


# -- crashes -----------------------------------------------------------------------------------------------------------


BARE = {
    "bare_load": ("load access fault", 5, NOWHERE + 8, "mcause 5"),
    "bare_store": ("store or atomic access fault", 7, NOWHERE + 4, "mcause 7"),
    "bare_atomic": ("store or atomic access fault", 7, NOWHERE, "mcause 7"),
    "bare_ecall": ("environment call from machine mode", 11, None, "mtvec was never written"),
    "bare_ebreak": ("breakpoint", 3, None, "mtvec was never written"),
    "bare_custom": ("illegal instruction", 2, None, "custom-0"),
    "bare_csr": ("illegal instruction", 2, None, "access to csr 0x7c0"),
    "bare_readonly": ("illegal instruction", 2, None, "write to mhartid, which is read-only"),
    "bare_supervisor": ("illegal instruction", 2, None, "access to satp"),
    "bare_float": ("illegal instruction", 2, None, "mstatus.FS is off"),
    "bare_compressed_float": ("illegal instruction", 2, None, "mstatus.FS is off"),
    "bare_zcb": ("illegal instruction", 2, None, "Zcb"),
    "bare_vector": ("illegal instruction", 2, None, "extension V"),
    "bare_bitmanip": ("illegal instruction", 2, None, "bit-manipulation"),
}


@both
@pytest.mark.parametrize("program", BARE)
def test_an_exception_without_a_handler_is_a_crash(model: str, program: str) -> None:
    reason, cause, address, hint = BARE[program]
    bench = start(model, program)
    assert bench.run() is Stop.FAULT
    fault = bench.core.fault
    assert fault is not None
    assert fault.reason == f"{reason} without a trap handler"
    assert fault.pc == bench.symbols.get(f"{program}_at", bench.symbols[program])
    assert fault.address == address
    assert fault.details[0].startswith(f"mcause {cause} ({reason})")
    assert any(hint in line for line in fault.details)
    assert any("mtvec was never written" in line for line in fault.details)
    assert fault.registers["pc"] == fault.pc
    assert bench.core.run(1000) is Stop.FAULT, "a crashed core stays crashed"


@both
def test_a_jump_to_nowhere_names_the_target(model: str) -> None:
    bench = start(model, "bare_fetch")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert bench.core.fault.pc == NOWHERE
    assert bench.core.fault.reason == "instruction access fault without a trap handler"
    assert any("0x90000000 is in no memory, so no code can be there" in line for line in bench.core.fault.details)


@both
def test_running_into_empty_memory_says_so(model: str) -> None:
    bench = start(model, "bare_zero")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert bench.core.fault.pc == bench.symbols["zeros"]
    assert any("ran into empty memory" in line for line in bench.core.fault.details)


@both
def test_an_interrupt_without_a_handler_is_a_crash(model: str) -> None:
    bench = start(model, "bare_interrupt")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert bench.core.fault.reason == "machine software interrupt without a trap handler"


@both
def test_a_handler_outside_memory_is_named(model: str) -> None:
    bench = start(model, "handler_nowhere")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert any("mtvec is 0x1000" in line for line in bench.core.fault.details)


STUCK = {
    "handler_faults": "gets nowhere",
    "handler_returns": "gets nowhere",
    "handler_spins": "spins at",
    "handler_spins_wide": "spins at",
    "handler_loops": "goes round at",
    "handler_works_then_spins": "spins at",
    "handler_waits": "waits for an interrupt (wfi) with interrupts off",
}


@both
@pytest.mark.parametrize("program", STUCK)
def test_a_handler_that_is_stuck_is_a_crash_of_the_first_exception(model: str, program: str) -> None:
    bench = start(model, program)
    assert bench.run() is Stop.FAULT
    fault = bench.core.fault
    assert fault is not None
    assert fault.reason == "load access fault"
    assert fault.address == NOWHERE + 12
    assert fault.pc == bench.symbols[f"{program}_at"]
    assert fault.registers["a1"] == NOWHERE
    assert any(STUCK[program] in line for line in fault.details)
    assert bench.core.instructions < 3_000_000


@both
def test_an_exceptions_handler_that_works_for_more_than_a_second_is_stuck(model: str) -> None:
    bench = start(model, "handler_works_for_ever", clock_hz=5_000_000)
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert bench.core.fault.reason == "load access fault"
    assert any("does not come back" in line for line in bench.core.fault.details)
    assert 5_000_000 < bench.core.instructions < 8_000_000


@both
def test_a_default_handler_that_spins_is_a_crash_of_an_interrupt_too(model: str) -> None:
    bench = start(model, "default_handler")
    assert bench.run() is Stop.FAULT
    fault = bench.core.fault
    assert fault is not None
    assert fault.reason == f"the handler of the machine software interrupt spins at {fault.pc:#x} with interrupts off"
    assert fault.pc == bench.symbols["default_handler_at"]


@both
def test_a_long_interrupt_handler_is_no_crash(model: str) -> None:
    bench = start(model, "long_interrupt")
    assert bench.run() is Stop.EVENT, bench.core.fault


@both
def test_a_handler_that_returns_to_an_instruction_that_the_engine_ignores_is_stuck(model: str) -> None:
    bench = start(model, "handler_returns_zcb")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert any("Zcb" in line for line in bench.core.fault.details)


@both
def test_a_stack_overflow_is_found_although_the_handler_needs_the_stack_too(model: str) -> None:
    bench = start(model, "stack_overflow")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert bench.core.fault.reason == "store or atomic access fault"
    assert bench.core.fault.address == RAM - 16


@both
def test_user_mode_that_crashes_is_reported_as_such(model: str) -> None:
    bench = start(model, "user_mode_crash")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert any("access to mstatus from user mode" in line for line in bench.core.fault.details)
    assert bench.core.fault.registers["priv"] == 0


# -- firmware that handles its traps goes on ---------------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("program", "result"), [("handler_skips", 1000), ("handler_turns_float_on", 50), ("handler_goes_on", 12)]
)
def test_firmware_that_handles_its_traps_goes_on(model: str, program: str, result: int) -> None:
    bench = start(model, program)
    stop = bench.run()
    if program == "handler_goes_on":
        assert stop is Stop.SLEEP, "a wait with interrupts off after the trap was left is no crash"
        assert bench.core.registers()["a0"] == result
    else:
        assert stop is Stop.EVENT, bench.core.fault
        assert bench.result == result


@both
def test_a_spinning_handler_with_interrupts_on_is_no_crash(model: str) -> None:
    bench = start(model, "handler_spins_with_interrupts")
    assert bench.run(3_000_000) is Stop.BUDGET


# -- what differs from QEMU, or what its log cannot show ---------------------------------------------------------------


@both
def test_interrupts_come_in_the_architectures_order(model: str) -> None:
    bench = start(model, "order")
    bench.core.set_irq(WIRE, True)
    assert bench.run() is Stop.EVENT
    assert bench.result == 0xB37


@both
def test_atomics_fault_as_stores_and_load_reserved_as_a_load(model: str) -> None:
    bench = start(model, "atomic_causes")
    assert bench.run() is Stop.EVENT
    assert bench.result == 0x6475


@both
def test_a_trap_ends_a_reservation(model: str) -> None:
    bench = start(model, "reservation")
    assert bench.run() is Stop.EVENT
    assert bench.result == 1


@both
def test_a_load_over_the_end_of_memory_names_the_first_missing_byte(model: str) -> None:
    bench = start(model, "crossing")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert bench.core.fault.address == 0x8008_0000


# -- time --------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("plain", [False, True], ids=["compiled", "plain"])
def test_counters_count_every_instruction_once(model: str, plain: bool) -> None:
    bench = start(model, "count", plain=plain)
    assert bench.run() is Stop.EVENT
    assert bench.result == 11
    assert bench.core.registers()["a1"] == 1 + 200 + 1


@both
def test_user_counters_do_not_show_the_hosts_clock(model: str) -> None:
    bench = start(model, "user_counters")
    assert bench.run() is Stop.EVENT
    assert bench.result == 4
    registers = bench.core.registers()
    assert (registers["a1"], registers["a2"]) == (1, 4)


@both
def test_inhibited_counters_stand_still(model: str) -> None:
    bench = start(model, "stopped_counters")
    assert bench.run() is Stop.EVENT
    assert bench.result == 0
    registers = bench.core.registers()
    assert registers["a3"] == 1000
    assert registers["a4"] == 1001


@both
def test_sleeping_until_the_timer_takes_its_time(model: str) -> None:
    bench = start(model, "timed_sleep")
    assert bench.core.run(1000) is Stop.SLEEP
    idle = bench.core.idle_cycles()
    assert idle is not None
    assert bench.core.cycles + idle == 10_000
    bench.core.skip(idle - 1)
    assert bench.core.run(1000) is Stop.SLEEP
    bench.core.skip(1)
    assert bench.run() is Stop.EVENT
    assert bench.result == 1000


@both
def test_without_a_timer_frequency_the_timer_counts_cycles(model: str) -> None:
    bench = start(model, "timed_sleep", timer_hz=None)
    assert bench.core.run(1000) is Stop.SLEEP
    assert bench.core.cycles + (bench.core.idle_cycles() or 0) == 1000


@both
def test_a_timer_faster_than_the_clock_is_never_early(model: str) -> None:
    bench = start(model, "timed_sleep", clock_hz=3_000_000, timer_hz=10_000_000)
    assert bench.run() is Stop.EVENT
    assert bench.result is not None
    assert 1000 <= bench.result < 1010


# -- interrupts from outside -------------------------------------------------------------------------------------------


@both
def test_a_line_ends_a_busy_loop(model: str) -> None:
    bench = start(model, "spin")
    enable(bench, WIRE)
    assert bench.core.run(10_000) is Stop.BUDGET
    assert 9_000 < bench.core.instructions < 10_010
    bench.core.set_irq(WIRE, True)
    assert bench.core.run(1000) is Stop.EVENT
    assert bench.core.registers()["s0"] & 0xFF == 11


@both
def test_a_line_wakes_a_sleeping_core_and_is_claimed_once(model: str) -> None:
    bench = start(model, "sleep")
    enable(bench, WIRE)
    assert bench.core.run(1000) is Stop.SLEEP
    assert bench.core.asleep
    assert bench.core.idle_cycles() is None
    before = bench.core.registers()["a0"]
    bench.core.set_irq(WIRE, True)
    bench.core.set_irq(WIRE, False)
    assert bench.core.run(1000) is Stop.SLEEP
    registers = bench.core.registers()
    assert registers["s2"] == WIRE
    assert registers["a0"] == before + 1
    assert bench.core.run(1000) is Stop.SLEEP


@both
def test_a_line_that_stays_high_interrupts_again(model: str) -> None:
    bench = start(model, "sleep")
    enable(bench, WIRE)
    bench.core.set_irq(WIRE, True)
    assert bench.core.run(10_000) is Stop.BUDGET
    bench.core.set_irq(WIRE, False)
    assert bench.core.run(1000) is Stop.SLEEP


def enable(bench: Bench, source: int) -> None:
    """Enables a source as the firmware would."""
    first, _context = bench.core.plic.windows
    first.write(4 * source, 4, 1)
    first.write(0x2000, 4, 1 << source)


# -- the rest of the contract ------------------------------------------------------------------------------------------


@both
def test_semihosting_calls_reach_the_host_and_go_on_behind(model: str) -> None:
    texts = []

    def answer(core: Core) -> None:
        registers = core.registers()
        offset = registers["a1"] - RAM
        texts.append((registers["a0"], bytes(bench.ram[offset : offset + 5])))
        core.set_register("a0", 77)

    bench = start(model, "semihost")
    bench.core.on_semihosting = answer
    assert bench.run() is Stop.EVENT
    assert texts == [(4, b"hello")]
    assert bench.result == 77


@both
def test_semihosting_that_nobody_answers_is_a_breakpoint(model: str) -> None:
    bench = start(model, "semihost")
    assert bench.run() is Stop.FAULT
    assert bench.core.fault is not None
    assert bench.core.fault.reason == "breakpoint without a trap handler"


@both
def test_code_that_the_host_writes_is_seen_after_a_flush(model: str) -> None:
    bench = start(model, "call_generated")
    for value in (5, 6):
        code = (0x0000_0513 | value << 20, 0x0000_8067)
        at = bench.symbols["generated"] - RAM
        bench.ram[at : at + 8] = b"".join(word.to_bytes(4, "little") for word in code)
        bench.core.flush_code()
        bench.core.set_register("pc", bench.symbols["call_generated"])
        bench.result = None
        assert bench.run() is Stop.EVENT
        assert bench.result == value


@both
def test_a_reset_forgets_everything(model: str) -> None:
    bench = start(model, "handler_spins")
    assert bench.run() is Stop.FAULT
    bench.load("oracle")
    assert bench.core.fault is None
    assert (bench.core.instructions, bench.core.cycles) == (0, 0)
    assert bench.run() is Stop.EVENT
    assert bench.output.decode().splitlines() == (PROGRAMS / f"qemu-{model}.log").read_text().splitlines()


@both
def test_the_hart_id_is_passed_and_readable(model: str) -> None:
    bench = Bench(model, hart=3)
    bench.program(0xF140_25F3, 0x0000_A001)  # csrr a1, mhartid; j .
    bench.core.run(1000)
    registers = bench.core.registers()
    assert (registers["a0"], registers["a1"]) == (3, 3)


@both
def test_registers_can_be_written(model: str) -> None:
    bench = Bench(model)
    bench.program(0x0000_A001)
    for name in ("ra", "sp", "t6", "mepc", "mscratch", "mtval"):
        bench.core.set_register(name, 0x1234_5670)
        assert bench.core.registers()[name] == 0x1234_5670
    bench.core.set_register("zero", 1)
    assert bench.core.registers()["zero"] == 0
    assert "f0" not in bench.core.registers()
    bench.core.set_register("mstatus", 1 << 13)
    assert bench.core.registers()["f0"] == 0


@both
def test_an_error_in_a_device_comes_out_of_run(model: str) -> None:
    class Broken(Device):
        def reset(self) -> None: ...

        def read_word(self, offset: int) -> int:
            raise ZeroDivisionError

        def write_word(self, offset: int, value: int) -> None: ...

    bench = Bench(model, devices=[Broken("broken", 0x7000_0000, 0x1000)])
    bench.program(0x7000_05B7, 0x0005_A603, 0x0000_A001)  # lui a1, 0x70000; lw a2, (a1); j .
    with pytest.raises(ZeroDivisionError):
        bench.core.run(100)
    assert bench.core.run(100) is Stop.BUDGET


@both
def test_an_entry_outside_memory_is_a_crash(model: str) -> None:
    bench = Bench(model)
    bench.core.reset(0x1000)
    assert bench.core.run(100) is Stop.FAULT
    assert bench.core.fault is not None
    assert bench.core.fault.pc == 0x1000


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(BoardError, match="rv32"):
        RiscV(CoreConfig(model="rv128", regions=MemoryMap([Region("ram", RAM, bytearray(4096))])))


def test_the_interrupt_controllers_are_where_the_board_says() -> None:
    bench = Bench("rv32")
    assert {window.base for window in bench.core.clint.windows} == {CLINT, CLINT + 0x4000, CLINT + 0xB000}
    assert {window.base for window in bench.core.plic.windows} == {PLIC, PLIC + 0x20_0000}
