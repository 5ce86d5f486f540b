"""The interrupt controller's registers and decisions."""

from __future__ import annotations

import pytest

from openamp.platforms.emulated.nvic import (
    BUS_FAULT,
    FIRST_IRQ,
    HARD_FAULT,
    LOWEST,
    NMI,
    PENDSV,
    SVCALL,
    SYSTICK,
    Nvic,
    exception_name,
)

ISER, ICER, ISPR, ICPR, IABR, IPR = 0x100, 0x180, 0x200, 0x280, 0x300, 0x400


class Fixture:
    """A controller and its registers."""

    def __init__(self, num_irqs: int = 40, priority_bits: int = 4, *, baseline: bool = False) -> None:
        self.changes = 0
        self.nvic = Nvic(num_irqs, priority_bits, baseline=baseline, changed=self._changed)
        self.readers, self.writers = self.nvic.registers()

    def _changed(self) -> None:
        self.changes += 1

    def read(self, offset: int) -> int:
        """Reads a register; those that do not exist are zero."""
        return self.readers[offset]() if offset in self.readers else 0

    def write(self, offset: int, value: int) -> None:
        """Writes a register."""
        self.writers[offset](value)


def test_only_existing_interrupts_can_be_enabled_or_pended() -> None:
    fixture = Fixture(num_irqs=40)
    for offset in (ISER, ISER + 4, ISPR, ISPR + 4):
        fixture.write(offset, 0xFFFFFFFF)
    assert (fixture.read(ISER), fixture.read(ISER + 4), fixture.read(ISER + 8)) == (0xFFFFFFFF, 0xFF, 0)
    assert (fixture.read(ISPR), fixture.read(ICPR + 4)) == (0xFFFFFFFF, 0xFF)
    fixture.write(ICER, 0xFFFF0000)
    fixture.write(ICPR, 0x0000FFFF)
    assert (fixture.read(ICER), fixture.read(ISPR)) == (0xFFFF, 0xFFFF0000)


@pytest.mark.parametrize(("bits", "kept"), [(2, 0xC0), (3, 0xE0), (4, 0xF0), (8, 0xFF)])
def test_priorities_keep_the_implemented_bits(bits: int, kept: int) -> None:
    fixture = Fixture(priority_bits=bits)
    fixture.write(IPR + 4, 0xFFFFFFFF)
    assert fixture.read(IPR + 4) == kept * 0x01010101
    assert fixture.read(IPR) == 0


def test_fixed_priorities_stay_fixed() -> None:
    nvic = Fixture().nvic
    for first in (0, 4, 8, 12):
        nvic.write_priorities(first, 0x50505050)
    assert [nvic.group_priority(n) for n in (NMI, HARD_FAULT, BUS_FAULT, SVCALL)] == [-2, -1, 0x50, 0x50]
    assert nvic.read_priorities(8) == 0x50000000
    small = Fixture(baseline=True).nvic
    small.write_priorities(4, 0x50505050)
    assert small.read_priorities(4) == 0


def test_the_most_urgent_exception_wins_and_then_the_lowest_number() -> None:
    nvic = Fixture().nvic
    assert nvic.highest() == (0, LOWEST)
    nvic.enabled |= 0b1111 << FIRST_IRQ
    nvic.write_priorities(FIRST_IRQ, 0x40408080)
    for irq in (0, 1, 2, 3):
        nvic.set_line(irq, True)
    assert nvic.highest() == (FIRST_IRQ + 2, 0x40)
    nvic.pend(PENDSV)
    assert nvic.highest() == (PENDSV, 0)
    nvic.pend(NMI)
    assert nvic.highest() == (NMI, -2)


def test_priority_groups_decide_about_preemption_only() -> None:
    nvic = Fixture(priority_bits=8).nvic
    nvic.set_priority_group(6)
    nvic.enabled |= 0b11 << FIRST_IRQ
    nvic.write_priorities(FIRST_IRQ, 0x4060)
    nvic.set_line(0, True)
    nvic.set_line(1, True)
    assert nvic.highest() == (FIRST_IRQ + 1, 0)  # the order is by the whole priority, the result the group's
    nvic.activate(FIRST_IRQ + 1)
    assert nvic.running == 0
    nvic.set_priority_group(0)
    assert nvic.running == 0x40


def test_masks_limit_what_may_preempt() -> None:
    nvic = Fixture().nvic
    assert nvic.limit(0, 0, 0) == LOWEST
    assert nvic.limit(0, 0x80, 0) == 0x80
    assert nvic.limit(1, 0x80, 0) == 0
    assert nvic.limit(1, 0, 1) == -1
    nvic.activate(HARD_FAULT)
    assert nvic.limit(1, 0, 0) == -1


def test_a_high_line_pends_once_and_again_when_its_handler_ends() -> None:
    fixture = Fixture()
    nvic, number = fixture.nvic, FIRST_IRQ + 3
    fixture.write(ISER, 1 << 3)
    nvic.set_line(3, True)
    nvic.set_line(3, True)
    nvic.activate(number)
    assert (nvic.pending, nvic.current, fixture.read(IABR)) == (0, number, 1 << 3)
    nvic.deactivate(number)
    assert nvic.pending == 1 << number
    fixture.write(ICPR, 1 << 3)
    assert nvic.pending == 1 << number  # the line is still high
    nvic.set_line(3, False)
    assert nvic.pending == 1 << number
    fixture.write(ICPR, 1 << 3)
    assert nvic.pending == 0


def test_the_core_is_told_only_of_what_it_might_take() -> None:
    fixture = Fixture()
    nvic = fixture.nvic
    nvic.set_line(0, True)
    assert fixture.changes == 0  # not enabled
    fixture.write(ISER, 1)
    assert fixture.changes == 1
    nvic.activate(FIRST_IRQ)
    nvic.enabled |= 1 << FIRST_IRQ + 1
    nvic.set_line(1, True)
    assert fixture.changes == 1  # not more urgent than what runs


def test_reset_keeps_lines_and_so_pends_them() -> None:
    fixture = Fixture()
    fixture.nvic.set_line(7, True)
    fixture.nvic.activate(FIRST_IRQ + 7)
    fixture.nvic.reset()
    assert (fixture.nvic.pending, fixture.nvic.active, fixture.nvic.current) == (1 << FIRST_IRQ + 7, 0, 0)


def test_names() -> None:
    assert [exception_name(n) for n in (0, 3, SYSTICK, FIRST_IRQ + 12)] == [
        "thread mode",
        "HardFault",
        "SysTick",
        "interrupt 12",
    ]
