"""The emulated platform's own logic, on a fake core: slices, sleep, kicks, ends."""

from __future__ import annotations

import signal
import struct
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from openamp.errors import BoardError, ClosedError, PlatformError, StateError
from openamp.firmware import EM_ARM, FirmwareImage, Segment
from openamp.link import Console, CoreDumper, Crash, Diagnosable, Exit, HostPlatform, Kick
from openamp.platforms.emulated import EmulatedPlatform
from openamp.platforms.emulated.board import Board, load_board
from openamp.platforms.emulated.core import Fault, Stop
from openamp.platforms.emulated.machine import Machine

R2H, H2R = 10, 11  # notify ids of vring 0 and vring 1
VECTORS = struct.pack("<II", 0x10040000, 0x101)
IMAGE = FirmwareImage(
    name="fake.elf",
    format="elf32",
    byte_order="little",
    machine=EM_ARM,
    entry=0x100,
    segments=(Segment(da=0, size=8, data=VECTORS, va=0),),
)

Step = Callable[["FakeCore", int], Stop]


def sleep(core: FakeCore, _budget: int) -> Stop:
    """The firmware sleeps at once."""
    core.asleep = True
    return Stop.SLEEP


class FakeCore:
    """A core whose firmware is a Python function: called for each run with the budget, it says why it stopped."""

    def __init__(self, machine: Machine, firmware: Step) -> None:
        self.machine = machine
        self.firmware = firmware
        self.fault: Fault | None = None
        self.on_semihosting: Callable[[FakeCore], None] | None = None
        self.on_reset: Callable[[], None] | None = None
        self.asleep = False
        self.instructions = 0
        self.idle = 0
        self.timer: int | None = None  # the cycle at which the core's own timer interrupts
        self.lines: dict[int, bool] = {}
        self.entries: list[int | None] = []
        self.budgets: list[int] = []
        self.stops = 0
        self.pc = 0x100
        self.closed = False
        self.values = {"r0": 0, "r1": 0}

    @property
    def cycles(self) -> int:
        return self.instructions + self.idle

    def reset(self, entry: int | None) -> None:
        self.entries.append(entry)
        self.asleep = False
        self.fault = None
        self.instructions = self.idle = 0

    def set_irq(self, number: int, level: bool) -> None:
        self.lines[number] = level
        self.asleep = self.asleep and not level

    def request_stop(self) -> None:
        self.stops += 1

    def idle_cycles(self) -> int | None:
        return None if self.timer is None else max(self.timer - self.cycles, 0)

    def skip(self, cycles: int) -> None:
        self.idle += cycles
        if self.timer is not None and self.cycles >= self.timer:
            self.asleep = False

    def close(self) -> None:
        self.closed = True

    def registers(self) -> dict[str, int]:
        return dict(self.values)

    def set_register(self, name: str, value: int) -> None:
        self.values[name] = value

    def run(self, budget: int) -> Stop:
        self.budgets.append(budget)
        if self.asleep:
            return Stop.SLEEP
        stop = self.firmware(self, budget)
        if stop is Stop.BUDGET:
            self.instructions += budget
        return stop

    def kick_host(self, vring: int) -> None:
        self.machine.ipcc.write(0x18, 4, 1 << 16 + vring)

    def print(self, text: bytes, uart: str = "usart3") -> None:
        for byte in text:
            self.machine.uarts[uart].write(0x28, 4, byte)

    def take_kicks(self) -> int:
        flags = self.machine.ipcc.read(0x0C, 4)
        self.machine.ipcc.write(0x18, 4, flags)
        return flags


class Bench(EmulatedPlatform):
    """The platform with a fake core."""

    def __init__(self, firmware: Step = sleep, *, board: str | Board = "stm32mp157", **options: object) -> None:
        self.firmware = firmware
        super().__init__(board, **options)  # type: ignore[arg-type]

    @property
    def core(self) -> FakeCore:
        core = self._machine.core
        assert isinstance(core, FakeCore)
        return core

    def _create_core(self, machine: Machine) -> FakeCore:  # type: ignore[override]
        core = FakeCore(machine, self.firmware)
        machine.install(core)  # type: ignore[arg-type]
        core.on_reset = self._reset_requested
        return core

    def boot(self, ids: tuple[int, ...] = (R2H, H2R)) -> None:
        self.prepare(IMAGE)
        IMAGE.load(self.memory)
        self.start(IMAGE, ids)

    def enable_mailbox(self) -> None:
        self._machine.ipcc.write(0x10, 4, 1)
        self._machine.ipcc.write(0x14, 4, 0)


@pytest.fixture
def bench() -> Iterator[Bench]:
    platform = Bench()
    yield platform
    platform.close()


def echo(core: FakeCore, _budget: int) -> Stop:
    """Takes the host's kicks and kicks back on vring 0, then sleeps."""
    core.machine.ipcc.write(0x10, 4, 1)
    core.machine.ipcc.write(0x14, 4, 0)
    if core.take_kicks():
        core.kick_host(0)
    core.instructions += 100
    return sleep(core, 0)


def spin(core: FakeCore, budget: int) -> Stop:
    return Stop.BUDGET


def test_it_fulfils_the_protocols(bench: Bench) -> None:
    assert isinstance(bench, HostPlatform)
    assert isinstance(bench, Console)
    assert isinstance(bench, CoreDumper)
    assert isinstance(bench, Diagnosable)


def test_memory_is_the_boards_with_its_aliases(bench: Bench) -> None:
    bench.memory.write(0x10040000, b"shared")
    assert bench.memory.read(0x30040000, 6) == b"shared"
    assert [region.pool for region in bench.memory] == [False, False, True, False, False]
    retram = bench.memory.find(0)
    assert retram is not None
    assert retram.pa == 0x38000000


def test_start_runs_until_the_core_sleeps_and_a_kick_is_an_event() -> None:
    platform = Bench(echo)
    platform.boot()
    assert platform.core.entries == [None]
    assert platform.core.instructions == 100
    assert platform.wait(0) == ()
    platform.kick(H2R)
    assert platform.core.instructions == 100, "only wait executes"
    assert platform.wait(None) == (Kick(R2H),)
    assert platform.core.instructions == 200
    assert platform.wait(0) == ()


def test_kicks_of_the_host_use_the_channel_of_the_vrings_position() -> None:
    seen: list[int] = []

    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.machine.ipcc.write(0x10, 4, 1)
        core.machine.ipcc.write(0x14, 4, 0)
        seen.append(core.take_kicks())
        return sleep(core, 0)

    platform = Bench(firmware)
    platform.boot(ids=(7, 3))
    for notify_id in (3, 7):
        platform.kick(notify_id)
        platform.wait(0)
    platform.kick(99)
    platform.wait(0)
    assert seen == [0, 0b10, 0b01], "an unknown id kicks nobody"


def test_kicks_of_both_vrings_come_together_and_in_order() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.kick_host(1)
        core.kick_host(0)
        core.kick_host(1)
        return sleep(core, 0)

    platform = Bench(firmware)
    platform.boot()
    assert platform.wait(0) == (Kick(R2H), Kick(H2R))


@pytest.mark.parametrize("ids", [(), (1, 2, 3, 4)])
def test_a_channel_that_stands_for_no_single_vring_kicks_all(ids: tuple[int, ...]) -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.kick_host(0)
        return sleep(core, 0)

    platform = Bench(firmware)
    platform.boot(ids)
    assert platform.wait(0) == (Kick(None),)


def test_firmware_that_loops_for_ever_cannot_hang_wait() -> None:
    platform = Bench(spin)
    platform.boot()
    begin = time.monotonic()
    assert platform.wait(0.02) == ()
    assert 0.02 <= time.monotonic() - begin < 1.0
    budgets = platform.core.budgets[1:]
    assert budgets[:5] == [4_000, 8_000, 16_000, 32_000, 64_000], "slices grow, but stay bounded"
    assert max(budgets) == 64_000
    assert platform.wait(0) == ()


def test_slices_are_short_again_after_a_kick() -> None:
    platform = Bench(spin)
    platform.boot()
    platform.wait(0.01)
    platform.kick(H2R)
    platform.wait(0)
    assert platform.core.budgets[-1] == 4_000


def test_a_sleeping_core_costs_no_cpu(bench: Bench) -> None:
    bench.boot()
    runs = len(bench.core.budgets)
    cpu = time.process_time()
    begin = time.monotonic()
    assert bench.wait(0.05) == ()
    assert 0.05 <= time.monotonic() - begin < 1.0
    assert time.process_time() - cpu < 0.04
    assert len(bench.core.budgets) <= runs + 1


def test_a_kick_from_another_thread_wakes_a_waiting_one() -> None:
    platform = Bench(echo)
    platform.boot()
    thread = threading.Timer(0.01, platform.kick, (H2R,))
    thread.start()
    assert platform.wait(5.0) == (Kick(R2H),)
    thread.join()


def test_close_and_stop_wake_a_waiting_thread() -> None:
    for end in ("close", "stop"):
        platform = Bench()
        platform.boot()
        thread = threading.Timer(0.01, getattr(platform, end))
        thread.start()
        begin = time.monotonic()
        if end == "close":
            with pytest.raises(ClosedError):
                platform.wait(5.0)
        else:
            assert platform.wait(5.0) == ()
        assert time.monotonic() - begin < 2.0
        thread.join()
        platform.close()


def test_stop_ends_a_busy_core_that_another_thread_runs() -> None:
    platform = Bench(spin)
    platform.boot()
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(platform.wait(None)))
    thread.start()
    platform.stop()
    thread.join(2.0)
    assert not thread.is_alive()
    assert results == [()]
    assert platform.join(0)


def test_only_one_thread_runs_the_core_and_the_other_keeps_its_deadline() -> None:
    running = threading.Event()

    def firmware(core: FakeCore, budget: int) -> Stop:
        running.set()
        return Stop.BUDGET

    platform = Bench(firmware)
    platform.boot()
    running.clear()
    thread = threading.Thread(target=platform.wait, args=(None,))
    thread.start()
    running.wait(5)
    begin = time.monotonic()
    assert platform.wait(0.02) == ()
    assert 0.02 <= time.monotonic() - begin < 2
    platform.stop()
    thread.join(5)
    assert not thread.is_alive()


def test_an_own_timer_is_slept_up_to() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.kick_host(0)
        core.timer = core.cycles + core.machine.board.clock_hz // 50
        return sleep(core, 0)

    platform = Bench(firmware)
    platform.boot()
    assert platform.wait(0) == (Kick(R2H),)
    begin = time.monotonic()
    assert platform.wait(0.002) == (), "the deadline comes first"
    assert platform.wait(1.0) == (Kick(R2H),)
    assert 0.015 < time.monotonic() - begin < 1.0
    assert platform.core.cycles == platform.board.clock_hz // 50


def test_a_late_timer_is_caught_up_but_not_a_long_absence() -> None:
    ticks: list[float] = []

    def firmware(core: FakeCore, _budget: int) -> Stop:
        ticks.append(time.monotonic())
        core.timer = core.cycles + core.machine.board.clock_hz // 1000
        return sleep(core, 0)

    platform = Bench(firmware)
    platform.boot()
    platform.wait(0.1)
    assert 50 < len(ticks) < 130, "a tick of 1 ms keeps its rate, on a busy machine nearly"
    time.sleep(0.2)
    del ticks[:]
    platform.wait(0.02)
    assert len(ticks) < 150, "the lost time is given up"


def test_idle_skip_jumps_to_the_timer() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        if core.cycles >= core.machine.board.clock_hz * 3600:
            core.kick_host(0)
        core.timer = core.cycles + core.machine.board.clock_hz * 3600
        return sleep(core, 0)

    platform = Bench(firmware, idle="skip")
    platform.boot()
    begin = time.monotonic()
    assert platform.wait(5.0) == (Kick(R2H),)
    assert time.monotonic() - begin < 1.0
    assert platform.core.cycles == platform.board.clock_hz * 3600


def test_time_that_passes_outside_wait_does_not_pass_for_the_core() -> None:
    platform = Bench(echo)
    platform.boot()
    platform.core.timer = platform.core.cycles + platform.board.clock_hz // 100
    for _ in range(3):
        time.sleep(0.02)
        platform.kick(H2R)
        assert platform.wait(1.0) == (Kick(R2H),)
        assert platform.wait(0) == ()
    assert platform.core.cycles == platform.core.instructions == 400


def test_time_that_passes_inside_wait_counts_even_in_pieces() -> None:
    platform = Bench(echo)
    platform.boot()
    platform.core.timer = platform.core.cycles + platform.board.clock_hz // 50
    begin = time.monotonic()
    while platform.core.cycles < platform.core.timer:
        assert platform.wait(0.002) == ()
        assert time.monotonic() - begin < 5
    assert 0.005 < time.monotonic() - begin < 1.0


def test_timers_go_on_for_a_host_that_only_polls() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.instructions += 100
        core.timer = core.cycles + core.machine.board.clock_hz // 1000
        return sleep(core, 0)

    platform = Bench(firmware)
    platform.boot()
    begin = time.monotonic()
    for _ in range(10):
        time.sleep(0.01)
        assert platform.wait(0) == ()
    passed = platform.core.cycles / platform.board.clock_hz
    assert 0.05 < passed < time.monotonic() - begin
    for _ in range(1000):
        assert platform.wait(0) == ()
    passed = platform.core.cycles / platform.board.clock_hz
    assert passed <= time.monotonic() - begin, "many short absences add up to no more than the time that passed"


def test_polling_is_soon_over_whatever_the_timer() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.timer = core.cycles + 1
        return sleep(core, 0)

    platform = Bench(firmware)
    platform.boot()
    time.sleep(0.05)
    begin = time.monotonic()
    assert platform.wait(0) == ()
    assert time.monotonic() - begin < 1.0


def test_a_kick_from_another_thread_finds_the_time_that_it_came_at() -> None:
    platform = Bench(echo)
    platform.boot()
    platform.core.timer = platform.core.cycles + platform.board.clock_hz * 10
    thread = threading.Timer(0.02, platform.kick, (H2R,))
    thread.start()
    assert platform.wait(5.0) == (Kick(R2H),)
    thread.join()
    assert 0.01 < platform.core.cycles / platform.board.clock_hz < 4


def test_without_a_timer_time_stands_still_while_the_core_sleeps() -> None:
    platform = Bench(echo)
    platform.boot()
    platform.wait(0.01)
    platform.kick(H2R)
    platform.wait(1.0)
    assert platform.core.cycles == platform.core.instructions == 200


def test_a_timer_device_interrupts_a_busy_core_on_its_cycle() -> None:
    platform = Bench(spin)
    platform.boot()
    timer = platform._machine.timers[0]
    timer.write(timer.ARR, 4, 4999)
    timer.write(timer.EGR, 4, 1)
    timer.write(timer.SR, 4, 0)
    timer.write(timer.DIER, 4, 1)
    timer.write(timer.CR1, 4, 1)
    assert platform.core.stops, "the running slice ends, because its length may now be wrong"
    start = platform.core.cycles
    platform.wait(0)
    platform.wait(0)
    assert platform.core.cycles - start == 5000
    platform.wait(0)
    assert platform.core.lines[28] is True


def test_a_timer_device_ends_a_sleep() -> None:
    platform = Bench(echo)
    platform.boot()
    timer = platform._machine.timers[0]
    timer.write(timer.ARR, 4, platform.board.clock_hz // 100 - 1)
    timer.write(timer.EGR, 4, 1)
    timer.write(timer.SR, 4, 0)
    timer.write(timer.DIER, 4, 1)
    timer.write(timer.CR1, 4, 1)
    begin = time.monotonic()
    while not platform.core.lines[28]:
        platform.wait(0.05)
    assert 0.005 < time.monotonic() - begin < 1.0


def test_output_comes_in_order_and_reaches_every_listener() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.print(b"one ")
        core.print(b"two", "uart7")
        core.print(b"three")
        return sleep(core, 0)

    platform = Bench(firmware)
    heard: list[tuple[str, bytes]] = []
    platform.on_output(lambda stream, data: heard.append((stream, data)))
    platform.on_output(lambda stream, data: heard.append((stream, data)))
    platform.boot()
    assert heard[::2] == [("usart3", b"one "), ("uart7", b"two"), ("usart3", b"three")]
    assert heard[1::2] == heard[::2]


def test_console_input_reaches_the_uart_and_semihosting(bench: Bench) -> None:
    bench.boot()
    bench.write_console("usart3", b"hi")
    bench.write_console("semihosting", b"there")
    bench.wait(0)
    assert bytes(bench._machine.uarts["usart3"].received) == b"hi"
    assert bytes(bench._machine.semihosting.received) == b"there"
    with pytest.raises(PlatformError, match='no console "uart99"; there are usart2, usart3'):
        bench.write_console("uart99", b"")


def test_semihosting_exit_is_the_last_event_and_comes_once() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.print(b"bye")
        core.kick_host(0)
        core.values.update(r0=0x20, r1=0x10000000)
        core.machine.memory.write(0x10000000, struct.pack("<II", 0x20026, 3))
        assert core.on_semihosting is not None
        core.on_semihosting(core)
        return Stop.EVENT

    platform = Bench(firmware)
    platform.boot()
    assert platform.wait(None) == (Kick(R2H), Exit(3))
    assert platform.wait(0.001) == ()
    assert "ended by itself" in platform.diagnose()
    platform.kick(H2R)
    assert platform.wait(0) == ()


def test_semihosting_output_without_end_is_taken_in_pieces() -> None:
    def firmware(core: FakeCore, budget: int) -> Stop:
        stops = core.stops
        core.machine.memory.write(0x10000000, b"x" * 0x8000 + b"\0")
        assert core.on_semihosting is not None
        for _ in range(budget):
            core.values.update(r0=4, r1=0x10000000)
            core.on_semihosting(core)
            if core.stops != stops:
                return Stop.EVENT
        return Stop.BUDGET

    platform = Bench(firmware)
    heard: list[int] = []
    platform.on_output(lambda stream, data: heard.append(len(data)))
    platform.boot()
    platform.wait(0)
    assert heard == [0x18000, 0x18000]


def test_semihosting_can_be_switched_off() -> None:
    import dataclasses

    platform = Bench(board=dataclasses.replace(load_board("virt-m4"), semihosting=False))
    platform.boot()
    assert platform.core.on_semihosting is None


def fall(core: FakeCore, _budget: int) -> Stop:
    core.kick_host(0)
    core.print(b"line 1\nlast words\n")
    core.fault = Fault(
        "HardFault: bus error", pc=0x104, address=0x2000_0004, registers={"pc": 0x104}, details=("CFSR",)
    )
    return Stop.FAULT


def test_a_crash_is_the_last_event_with_a_report() -> None:
    platform = Bench(fall)
    platform.boot()
    kick, crash = platform.wait(0)
    assert kick == Kick(R2H)
    assert isinstance(crash, Crash)
    report = crash.report
    assert report.reason == "HardFault: bus error"
    assert (report.pc, report.address) == (0x104, 0x20000004)
    assert report.registers == {"pc": 0x104}
    assert report.output_tail == "line 1\nlast words"
    assert report.details[0] == "CFSR"
    assert "it is 0xffa0004 bytes behind shm (0x10040000..0x10060000)" in report.details[1]
    assert platform.wait(0.001) == ()
    assert "crashed: HardFault" in platform.diagnose()
    assert platform.registers() == {"r0": 0, "r1": 0}


def test_a_reset_that_the_firmware_asks_for_is_a_crash() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        assert core.on_reset is not None
        core.on_reset()
        return Stop.EVENT

    platform = Bench(firmware)
    platform.boot()
    (crash,) = platform.wait(0)
    assert isinstance(crash, Crash)
    assert crash.report.reason == "the firmware asked for a system reset"


def test_stop_and_start_again_resets_devices_and_forgets_old_events() -> None:
    platform = Bench(echo)
    platform.boot()
    platform.kick(H2R)
    platform.stop()
    platform.memory.write(0x10000000, b"kept")
    platform.start(IMAGE, (R2H, H2R))
    assert platform.wait(0) == ()
    assert platform.core.entries == [None, None]
    assert platform.memory.read(0x10000000, 4) == b"kept"
    platform.kick(H2R)
    assert platform.wait(0) == (Kick(R2H),)
    platform.stop()
    platform.stop()
    platform.prepare(IMAGE)
    assert platform.memory.read(0x10000000, 4) == bytes(4), "a newly prepared image finds zeros"


def test_kicks_and_waits_without_a_running_core_are_harmless(bench: Bench) -> None:
    bench.kick(H2R)
    assert bench.wait(0) == ()
    assert bench.wait(0.001) == ()
    bench.stop()
    assert bench.join(0)
    assert bench.diagnose() == "the core was never started"
    assert bench.statistics().instructions == 0
    with pytest.raises(StateError, match="start it"):
        bench.registers()


def test_a_closed_platform_says_so(bench: Bench) -> None:
    bench.boot()
    core = bench.core
    bench.close()
    bench.close()
    assert core.closed
    assert bench.diagnose() == "the emulated platform was closed"
    assert bench.statistics().instructions == core.instructions
    for call in (lambda: bench.wait(0), lambda: bench.prepare(IMAGE), lambda: bench.start(IMAGE, ())):
        with pytest.raises(ClosedError):
            call()
    bench.kick(H2R)
    bench.stop()


def test_shutdown_request_asks_first() -> None:
    seen: list[int] = []

    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.machine.ipcc.write(0x10, 4, 1)
        core.machine.ipcc.write(0x14, 4, 0)
        seen.append(core.take_kicks())
        return sleep(core, 0)

    platform = Bench(firmware, shutdown_request=True)
    platform.boot()
    platform.stop()
    assert seen == [0, 0b100]


def test_shutdown_request_does_not_wait_for_ever() -> None:
    platform = Bench(spin, shutdown_request=True)
    platform.boot()
    begin = time.monotonic()
    platform.stop()
    assert time.monotonic() - begin < 1.5


def test_options_are_checked() -> None:
    import dataclasses

    with pytest.raises(PlatformError, match='"wait" or "skip"'):
        Bench(idle="sometimes")
    with pytest.raises(BoardError, match="no board"):
        Bench(board="nothing")
    board = load_board("virt-m4")
    silent = dataclasses.replace(board, mailbox=dataclasses.replace(board.mailbox, shutdown_channel=None))
    with pytest.raises(PlatformError, match="no shutdown channel"):
        Bench(board=silent, shutdown_request=True)


def test_ctrl_c_ends_a_wait_between_two_slices() -> None:
    inside: list[bool] = []

    def firmware(core: FakeCore, _budget: int) -> Stop:
        if core.instructions > 500_000 and not inside:
            inside.append(True)
            signal.raise_signal(signal.SIGINT)
            inside.append(True)  # the signal did not tear the core's run apart
        return Stop.BUDGET

    platform = Bench(firmware)
    platform.boot()
    with pytest.raises(KeyboardInterrupt):
        platform.wait(5.0)
    assert len(inside) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert platform.wait(0) == ()


def test_ctrl_c_ends_a_sleeping_wait(bench: Bench) -> None:
    bench.boot()
    main = threading.get_ident()
    thread = threading.Timer(0.02, signal.pthread_kill, (main, signal.SIGINT))
    thread.start()
    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        bench.wait(5.0)
    assert time.monotonic() - begin < 2.0
    thread.join()


def test_a_program_with_its_own_interrupt_handler_keeps_it() -> None:
    heard: list[int] = []
    previous = signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
    try:

        def firmware(core: FakeCore, _budget: int) -> Stop:
            signal.raise_signal(signal.SIGINT)
            return sleep(core, 0)

        platform = Bench(firmware)
        platform.boot()
        assert heard == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, previous)


def test_an_error_of_a_listener_loses_no_event() -> None:
    def firmware(core: FakeCore, _budget: int) -> Stop:
        core.print(b"x")
        core.kick_host(0)
        return sleep(core, 0)

    platform = Bench(firmware)
    platform.on_output(lambda stream, data: 1 / 0)  # type: ignore[arg-type]
    platform.prepare(IMAGE)
    with pytest.raises(ZeroDivisionError):
        platform.start(IMAGE, (R2H, H2R))


def test_diagnosis_tells_of_kicks_that_the_firmware_cannot_see(bench: Bench) -> None:
    bench.boot()
    assert bench.diagnose().startswith("the core sleeps at 0x100 after 0 instructions; it has taken all kicks")
    bench.kick(H2R)
    bench.wait(0)
    assert "kick on mailbox channel 2 is not taken yet" in bench.diagnose()
    assert "interrupt 103 is not enabled in the mailbox" in bench.diagnose()
    bench._machine.ipcc.write(0x10, 4, 1)
    bench._machine.ipcc.write(0x14, 4, 0b10)
    assert "masked for that channel" in bench.diagnose()
    bench._machine.ipcc.write(0x14, 4, 0)
    assert "receive interrupt 103 is pending" in bench.diagnose()


def test_statistics_count_accesses_to_registers_without_a_model(bench: Bench) -> None:
    bench.boot()
    rcc = next(device for device in bench._machine.devices if device.name == "rcc")
    assert rcc.read(0x48, 4) == 0x80000003
    assert bench.statistics().accesses == {(0x50000048, "read"): 1}
