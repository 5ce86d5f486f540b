"""The watch that tells firmware stuck in a trap from firmware that handles it."""

from __future__ import annotations

from openamp.platforms.emulated.counter import NEVER
from openamp.platforms.emulated.trapwatch import FIRST_LOOK, NESTED, REPEATS, TrapWatch

LOAD_FAULT = 5
PATIENCE = 10_000_000


def raise_at(watch: TrapWatch, pc: int, count: int, *, value: int = 0, cause: int = LOAD_FAULT) -> bool:
    return watch.exception(cause, value, pc, count, lambda: {"pc": pc})


def test_the_first_exception_is_kept_until_the_firmware_goes_on() -> None:
    watch = TrapWatch(PATIENCE)
    raise_at(watch, 0x100, 10)
    raise_at(watch, 0x200, 20)
    assert watch.first is not None
    assert watch.first.pc == 0x100
    assert watch.first.registers == {"pc": 0x100}
    watch.returned(0x104, 30)
    assert watch.first is None
    assert watch.look_at == NEVER
    raise_at(watch, 0x300, 40)
    assert watch.first is not None
    assert watch.first.pc == 0x300


def test_returning_to_the_same_instruction_again_and_again_is_a_loop() -> None:
    watch = TrapWatch(PATIENCE)
    results = []
    for count in range(0, 100 * (REPEATS + 1), 100):
        results.append(raise_at(watch, 0x100, count + 1))
        watch.returned(0x100, count + 100)
    assert results == [False] * REPEATS + [True]


def test_a_retry_that_worked_is_no_loop() -> None:
    watch = TrapWatch(PATIENCE)
    for count in range(0, 100 * 1000, 100):
        assert not raise_at(watch, 0x100, count)
        watch.returned(0x100, count + 90)  # then the instruction works, and the loop around it comes back


def test_stepping_over_the_instruction_is_no_loop() -> None:
    watch = TrapWatch(PATIENCE)
    for count in range(1000):
        assert not raise_at(watch, 0x100, count)
        watch.returned(0x104, count)


def test_another_address_is_progress() -> None:
    watch = TrapWatch(PATIENCE)
    for count in range(1000):
        assert not raise_at(watch, 0x100, count, value=count)
        watch.returned(0x100, count)


def test_a_handler_that_faults_is_a_loop_although_its_stack_moves() -> None:
    watch = TrapWatch(PATIENCE)
    raise_at(watch, 0x100, 0)
    results = [raise_at(watch, 0x200, 10 * n, value=1000 - n) for n in range(REPEATS + 1)]
    assert results[-1]
    assert watch.first is not None
    assert watch.first.pc == 0x100


def test_exceptions_in_turn_without_any_return_are_a_loop_in_the_end() -> None:
    watch = TrapWatch(PATIENCE)
    results = [raise_at(watch, 0x100 + 4 * (n % 3), 5000 * n) for n in range(NESTED + 1)]
    assert results == [False] * NESTED + [True]


def test_a_kernel_that_kills_tasks_without_returning_is_left_alone() -> None:
    watch = TrapWatch(PATIENCE)
    for count in range(0, 1000 * 5000, 5000):
        assert not raise_at(watch, 0x100, count)
        watch.released()


def test_a_handler_that_does_not_move_spins() -> None:
    watch = TrapWatch(PATIENCE)
    raise_at(watch, 0x100, 0)
    assert watch.look_at == FIRST_LOOK
    looks = []
    for _ in range(3):
        looks.append(watch.look_at)
        stuck = watch.stuck(("state",), watch.look_at)
    assert stuck
    assert looks == [FIRST_LOOK, 11 * FIRST_LOOK, 111 * FIRST_LOOK]


def test_a_handler_that_moves_does_not_spin() -> None:
    watch = TrapWatch(PATIENCE)
    raise_at(watch, 0x100, 0)
    assert not any(watch.stuck((n,), watch.look_at) for n in range(10))


def test_a_handler_that_takes_too_long_is_stuck() -> None:
    watch = TrapWatch(PATIENCE)
    raise_at(watch, 0x100, 5)
    assert not watch.stuck((1,), PATIENCE + 5)
    assert watch.stuck((2,), PATIENCE + 6)


def test_an_interrupts_handler_may_take_long() -> None:
    watch = TrapWatch(PATIENCE)
    watch.interrupt(5)
    assert watch.look_at == 5 + FIRST_LOOK
    assert not any(watch.stuck(("same",), count) for count in range(0, 10 * PATIENCE, PATIENCE))
    watch.returned(0x100, 99)
    assert watch.look_at == NEVER
