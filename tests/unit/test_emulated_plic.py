"""The PLIC: gateways, priorities, threshold, claim and complete."""

from __future__ import annotations

import pytest

from openamp.platforms.emulated.plic import Plic

PENDING, ENABLE, THRESHOLD, CLAIM = 0x1000, 0x2000, 0x20_0000, 0x20_0004


class Bench:
    """A PLIC with 96 sources and nothing else."""

    def __init__(self) -> None:
        self.changes: list[bool] = []
        self.plic = Plic(0x0C00_0000, num_sources=96, changed=self.changed)

    def changed(self) -> None:
        self.changes.append(self.plic.external)

    def _window(self, offset: int) -> tuple[int, int]:
        for index, window in enumerate(self.plic.windows):
            start = window.base - 0x0C00_0000
            if start <= offset < start + window.size:
                return index, offset - start
        raise AssertionError(hex(offset))

    def read(self, offset: int, size: int = 4) -> int:
        index, at = self._window(offset)
        return self.plic.windows[index].read(at, size)

    def write(self, offset: int, value: int, size: int = 4) -> None:
        index, at = self._window(offset)
        self.plic.windows[index].write(at, size, value)

    def enable(self, source: int, priority: int = 1) -> None:
        self.write(4 * source, priority)
        word = ENABLE + 4 * (source // 32)
        self.write(word, self.read(word) | 1 << source % 32)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_after_reset_everything_is_zero(bench: Bench) -> None:
    assert [bench.read(offset) for offset in (4, PENDING, ENABLE, THRESHOLD, CLAIM)] == [0, 0, 0, 0, 0]
    assert not bench.plic.external


def test_a_line_is_pending_and_interrupts_once_enabled_with_a_priority(bench: Bench) -> None:
    bench.plic.set_level(40, True)
    assert bench.read(PENDING + 4) == 1 << 8
    assert not bench.plic.external
    bench.write(ENABLE + 4, 1 << 8)
    assert not bench.plic.external, "priority 0 never interrupts"
    bench.write(4 * 40, 3)
    assert bench.plic.external
    assert bench.changes == [True]


def test_claim_returns_the_highest_priority_and_of_equals_the_lowest_source(bench: Bench) -> None:
    for source, priority in ((7, 2), (5, 2), (90, 6), (3, 1)):
        bench.enable(source, priority)
        bench.plic.set_level(source, True)
    assert [bench.read(CLAIM) for _ in range(5)] == [90, 5, 7, 3, 0]
    assert not bench.plic.external


def test_the_threshold_holds_back_its_own_priority_but_not_a_claim(bench: Bench) -> None:
    bench.enable(9, 4)
    bench.plic.set_level(9, True)
    bench.write(THRESHOLD, 4)
    assert not bench.plic.external
    bench.write(THRESHOLD, 3)
    assert bench.plic.external
    bench.write(THRESHOLD, 7)
    assert bench.read(CLAIM) == 9


def test_a_request_stays_when_the_line_falls(bench: Bench) -> None:
    bench.enable(20)
    bench.plic.set_level(20, True)
    bench.plic.set_level(20, False)
    assert bench.plic.external
    assert bench.read(CLAIM) == 20
    bench.write(CLAIM, 20)
    assert not bench.plic.external


def test_nothing_is_accepted_while_a_source_is_served(bench: Bench) -> None:
    bench.enable(20)
    bench.plic.set_level(20, True)
    assert bench.read(CLAIM) == 20
    bench.plic.set_level(20, False)
    bench.plic.set_level(20, True)
    assert bench.read(PENDING) == 0
    assert bench.read(CLAIM) == 0
    bench.write(CLAIM, 20)
    assert bench.plic.external, "the line is high at completion: it asks again"
    assert bench.read(CLAIM) == 20


def test_a_line_that_is_low_at_completion_does_not_ask_again(bench: Bench) -> None:
    bench.enable(20)
    bench.plic.set_level(20, True)
    bench.read(CLAIM)
    bench.plic.set_level(20, False)
    bench.write(CLAIM, 20)
    assert not bench.plic.external


@pytest.mark.parametrize("wrong", [0, 21, 96, 1000, 0xFFFF_FFFF])
def test_completing_something_else_changes_nothing(bench: Bench, wrong: int) -> None:
    bench.enable(20)
    bench.plic.set_level(20, True)
    bench.read(CLAIM)
    bench.write(CLAIM, wrong)
    assert bench.read(CLAIM) == 0


def test_completing_a_disabled_source_is_ignored(bench: Bench) -> None:
    bench.enable(20)
    bench.plic.set_level(20, True)
    bench.read(CLAIM)
    bench.write(ENABLE, 0)
    bench.write(CLAIM, 20)
    bench.write(ENABLE, 1 << 20)
    assert bench.read(CLAIM) == 0
    bench.write(CLAIM, 20)
    assert bench.read(CLAIM) == 20


def test_source_zero_and_sources_beyond_the_last_do_not_exist(bench: Bench) -> None:
    bench.write(0, 7)
    bench.write(ENABLE, 0xFFFF_FFFF)
    bench.write(ENABLE + 12, 0xFFFF_FFFF)
    bench.write(4 * 96, 7)
    assert bench.read(0) == 0
    assert bench.read(ENABLE) == 0xFFFF_FFFE
    assert bench.read(ENABLE + 12) == 0
    assert bench.read(4 * 96) == 0
    for source in (0, 96, 5000):
        bench.plic.set_level(source, True)
    assert bench.read(CLAIM) == 0


def test_registers_keep_only_what_exists(bench: Bench) -> None:
    bench.write(4, 0xFFFF_FFFF)
    bench.write(THRESHOLD, 0xFFFF_FFFF)
    bench.write(PENDING, 0xFFFF_FFFF)
    assert (bench.read(4), bench.read(THRESHOLD), bench.read(PENDING)) == (7, 7, 0)
    assert bench.read(0x2080) == 0, "the supervisor's context does not exist"
    assert bench.read(THRESHOLD + 8) == 0


def test_narrow_and_wide_reads_are_put_together(bench: Bench) -> None:
    bench.write(4, 5)
    bench.write(8, 6)
    assert bench.read(4, 8) == 5 | 6 << 32
    assert bench.read(8, 1) == 6
    assert bench.read(9, 1) == 0


def test_reset_forgets_all_but_the_lines(bench: Bench) -> None:
    bench.enable(20)
    bench.enable(30)
    bench.plic.set_level(20, True)
    bench.plic.set_level(30, True)
    bench.read(CLAIM)
    bench.plic.set_level(20, False)
    bench.plic.reset()
    assert not bench.plic.external
    assert bench.read(PENDING) == 1 << 30
    bench.enable(30)
    assert bench.read(CLAIM) == 30
