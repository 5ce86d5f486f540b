"""The block counter: lengths, watching, retracting, and which form of it runs."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from unicorn import arm_const as arm

from openamp.platforms import emulated
from openamp.platforms.emulated import counter
from openamp.platforms.emulated.core import Stop
from openamp.platforms.emulated.counter import count_instructions
from support.cortexm import PROGRAM, create

# movs r0, #0; 1: adds r0, #1; cmp r0, #200; bne 1b; wfi
COUNTS_TO_200 = bytes.fromhex("0020 0130 c828 fcd1 30bf")
FORMS = [False, True]


@pytest.mark.parametrize(
    ("code", "riscv", "number"),
    [
        ("", False, 0),
        ("00bf", False, 1),
        ("00bf00bf", False, 2),
        ("00f020b8", False, 1),  # b.w
        ("00bfaff30080", False, 2),  # nop; nop.w
        ("ffe7", False, 1),  # the last 16-bit encoding
        ("00e8", False, 1),  # half of a 32-bit one
        ("1300000001a0", True, 2),
        ("0100", True, 1),
    ],
)
def test_instruction_lengths(code: str, riscv: bool, number: int) -> None:
    assert count_instructions(bytes.fromhex(code), riscv) == number


@pytest.mark.parametrize("plain", FORMS)
@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ((arm.UC_ARM_REG_R0, 0xFFFFFFFF, 0, 50), 50),  # at least 50
        ((arm.UC_ARM_REG_R0, 0x40, 1, 0x3F), 0),  # at once: (0 - 1) mod 2**32 is large too
        ((arm.UC_ARM_REG_R0, 0x40, 0, 0x40), 64),
        ((arm.UC_ARM_REG_R0, 0xFFFFFFFF, 100, 0x80000000), 0),  # at once: below 100
    ],
)
def test_a_watched_register_stops_the_engine_before_the_next_block(
    plain: bool, condition: tuple[int, int, int, int], expected: int
) -> None:
    core = create(COUNTS_TO_200, plain=plain)
    core._counter.watch((condition,))
    core._state.limit = counter.NEVER
    core._enter()
    assert core._state.stopped
    assert core._pc == (PROGRAM + 2 if expected else PROGRAM)
    assert core._engine.read(arm.UC_ARM_REG_R0) == expected


@pytest.mark.parametrize("plain", FORMS)
def test_all_conditions_must_hold(plain: bool) -> None:
    core = create(COUNTS_TO_200, plain=plain)
    core._counter.watch(((arm.UC_ARM_REG_R0, 0xFF, 0, 70), (arm.UC_ARM_REG_R0, 7, 0, 7)))
    core._state.limit = counter.NEVER
    core._enter()
    assert core._engine.read(arm.UC_ARM_REG_R0) == 71
    core._counter.watch(())
    core._enter()
    assert core.asleep


@pytest.mark.parametrize("plain", FORMS)
def test_a_block_that_ended_early_is_retracted_once(plain: bool) -> None:
    core = create(COUNTS_TO_200, plain=plain)
    core._state.limit = 5
    core._enter()
    assert core.instructions == 7  # three and four: the first block began at the first instruction
    core._counter.retract(PROGRAM + 4)
    assert core.instructions == 5
    core._counter.retract(PROGRAM + 4)
    assert core.instructions == 5


def test_both_forms_count_the_same() -> None:
    counts = set()
    for plain in FORMS:
        core = create(COUNTS_TO_200, plain=plain)
        assert core.run(10_000) is Stop.SLEEP
        counts.add(core.instructions)
    assert counts == {1 + 3 * 200 + 1}


def test_a_compiled_counter_for_another_structure_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    stale = SimpleNamespace(STATE_SIZE=1, __file__=__file__)
    monkeypatch.setattr(emulated, "_counter", stale, raising=False)
    monkeypatch.setitem(sys.modules, "openamp.platforms.emulated._counter", stale)
    monkeypatch.delenv("OPENAMP_PLAIN", raising=False)
    with pytest.warns(RuntimeWarning, match="is out of date"):
        assert counter._load() is None


def test_a_compiled_counter_that_is_older_than_its_source_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = tmp_path / "_counter.so"
    built.touch()
    os.utime(built, (1, 1))
    stale = SimpleNamespace(STATE_SIZE=ctypes.sizeof(counter.CounterState), __file__=str(built))
    monkeypatch.setattr(emulated, "_counter", stale, raising=False)
    monkeypatch.setitem(sys.modules, "openamp.platforms.emulated._counter", stale)
    monkeypatch.delenv("OPENAMP_PLAIN", raising=False)
    with pytest.warns(RuntimeWarning, match="is out of date"):
        assert counter._load() is None


def test_the_environment_chooses_the_plain_form(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAMP_PLAIN", "1")
    assert counter._load() is None
    assert counter.implementation in ("compiled", "plain")
