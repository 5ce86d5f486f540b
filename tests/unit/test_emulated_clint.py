"""The CLINT: software interrupt, comparison, and time converted from the core's clock."""

from __future__ import annotations

import pytest

from openamp.platforms.emulated.clint import Clint

MSIP, MTIMECMP, MTIME = 0, 0x4000, 0xBFF8
BASE = 0x0200_0000


class Bench:
    """A CLINT whose core cycles are a number."""

    def __init__(self, *, hart: int = 0, clock_hz: int = 100, timer_hz: int = 10) -> None:
        self.cycles = 0
        self.changes = 0
        self.clint = Clint(
            BASE,
            hart=hart,
            cycles=lambda: self.cycles,
            clock_hz=clock_hz,
            timer_hz=timer_hz,
            changed=self.changed,
        )

    def changed(self) -> None:
        self.changes += 1

    def read(self, offset: int, size: int = 4) -> int:
        window = next(w for w in self.clint.windows if w.base <= BASE + offset < w.base + w.size)
        return window.read(BASE + offset - window.base, size)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        window = next(w for w in self.clint.windows if w.base <= BASE + offset < w.base + w.size)
        window.write(BASE + offset - window.base, size, value)


def test_after_reset_nothing_is_pending() -> None:
    bench = Bench()
    bench.cycles = 1 << 60
    assert not bench.clint.software
    assert not bench.clint.timer
    assert bench.read(MTIMECMP, 8) == (1 << 64) - 1


def test_msip_has_one_bit() -> None:
    bench = Bench()
    bench.write(MSIP, 0xFFFF_FFFF)
    assert bench.clint.software
    assert bench.read(MSIP) == 1
    bench.write(MSIP, 0xFFFF_FFFE)
    assert not bench.clint.software
    assert bench.changes == 2


@pytest.mark.parametrize(
    ("clock_hz", "timer_hz"), [(100, 10), (10, 100), (7, 3), (3, 7), (1, 1), (100_000_000, 32_768)]
)
def test_the_timer_is_due_exactly_when_mtime_reaches_the_comparison(clock_hz: int, timer_hz: int) -> None:
    bench = Bench(clock_hz=clock_hz, timer_hz=timer_hz)
    for target in (0, 1, 2, 9, 10, 1000, 12345):
        bench.write(MTIMECMP, target, 8)
        due = bench.clint.due
        bench.cycles = due
        assert bench.clint.timer
        assert bench.clint.time >= target
        if due:
            bench.cycles = due - 1
            assert not bench.clint.timer
            assert bench.clint.time < target


def test_mtime_is_readable_in_halves_and_whole() -> None:
    bench = Bench(clock_hz=1, timer_hz=1)
    bench.cycles = 0x1_2345_6789_ABCD
    assert bench.read(MTIME, 8) == bench.cycles
    assert bench.read(MTIME) | bench.read(MTIME + 4) << 32 == bench.cycles


def test_mtime_can_be_set_and_goes_on_from_there() -> None:
    bench = Bench()
    bench.cycles = 5000
    bench.write(MTIME + 4, 0)
    bench.write(MTIME, 7)
    bench.cycles += 100
    assert bench.read(MTIME, 8) == 17
    bench.write(MTIMECMP, 20, 8)
    bench.cycles = bench.clint.due
    assert bench.clint.time == 20


def test_setting_mtime_moves_what_is_due() -> None:
    bench = Bench()
    bench.write(MTIMECMP, 1000, 8)
    assert not bench.clint.timer
    bench.write(MTIME, 1000, 8)
    assert bench.clint.timer
    bench.write(MTIME, 0, 8)
    assert not bench.clint.timer


def test_mtime_wraps() -> None:
    bench = Bench(clock_hz=1, timer_hz=1)
    bench.write(MTIME, (1 << 64) - 1, 8)
    bench.cycles += 2
    assert bench.read(MTIME, 8) == 1


def test_a_comparison_is_written_in_halves() -> None:
    bench = Bench()
    bench.write(MTIMECMP + 4, 2)
    bench.write(MTIMECMP, 3)
    assert bench.read(MTIMECMP, 8) == 2 << 32 | 3


def test_only_the_own_harts_registers_work() -> None:
    bench = Bench(hart=2)
    bench.write(MSIP, 1)
    bench.write(MTIMECMP, 0, 8)
    assert not bench.clint.software
    assert not bench.clint.timer
    assert bench.read(MSIP) == 0
    bench.write(MSIP + 8, 1)
    bench.write(MTIMECMP + 16, 0, 8)
    assert bench.clint.software
    assert bench.clint.timer


def test_a_hart_far_from_the_first_has_windows_for_its_registers() -> None:
    bench = Bench(hart=1500)
    bench.write(MSIP + 4 * 1500, 1)
    bench.write(MTIMECMP + 8 * 1500, 0, 8)
    assert bench.clint.software
    assert bench.clint.timer


def test_reset_makes_time_begin_with_the_cycles() -> None:
    bench = Bench()
    bench.write(MTIME, 1 << 40, 8)
    bench.write(MSIP, 1)
    bench.clint.reset()
    bench.cycles = 50
    assert bench.read(MTIME, 8) == 5
    assert not bench.clint.software
