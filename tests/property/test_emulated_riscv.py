"""Hostile firmware: whatever the core executes, `run` returns, in time, with a reason."""

from __future__ import annotations

import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from openamp.platforms.emulated.core import Stop
from support.riscv import MODELS, RAM, Bench

SLICE = 3_000
HANDLER = 0x100  # from the start of memory

registers = st.integers(0, 31)
halves = st.integers(0, 0xFFFF)


def system(number: int, function: int, rd: int, rs1: int) -> int:
    return number << 20 | rs1 << 15 | function << 12 | rd << 7 | 0x73


csr_numbers = st.one_of(
    st.sampled_from([0x300, 0x304, 0x305, 0x306, 0x320, 0x340, 0x341, 0x342, 0x344, 0xB00, 0xC00, 0xC01, 0xC02, 0xF14]),
    st.integers(0x3A0, 0x3EF),
    st.integers(0, 0xFFF),
)
opcodes = st.sampled_from(range(3, 128, 4))
instructions = st.one_of(
    st.builds(system, csr_numbers, st.sampled_from([1, 2, 3, 5, 6, 7]), registers, registers),
    st.sampled_from([0x30200073, 0x10500073, 0x00000073, 0x00100073, 0x10200073, 0x0000100F, 0x9002, 0xA001, 0]),
    st.builds(
        lambda bits, opcode: bits << 7 | opcode, st.integers(0, (1 << 25) - 1), st.sampled_from(range(3, 128, 4))
    ),
    halves,
)
device_words = st.sampled_from(
    [0x0200_0000, 0x0200_4000, 0x0200_BFF8, 0x0C00_0028, 0x0C00_2000, 0x0C20_0000, 0x1000_0000]
)


def assemble(words: list[int]) -> bytes:
    return b"".join(struct.pack("<I", word) if word & 3 == 3 else struct.pack("<H", word) for word in words)


@pytest.fixture(scope="module", params=[(model, plain) for model in MODELS for plain in (False, True)])
def bench(request: pytest.FixtureRequest) -> Bench:
    model, plain = request.param
    return Bench(model, plain=plain)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    code=st.lists(instructions, max_size=60),
    handler=st.lists(instructions, max_size=12),
    pointers=st.lists(st.one_of(device_words, st.integers(0, (1 << 32) - 1)), min_size=8, max_size=8),
    lines=st.lists(st.tuples(st.integers(0, 100), st.booleans()), max_size=4),
)
def test_any_code_ends_its_slice_with_a_reason(
    bench: Bench, code: list[int], handler: list[int], pointers: list[int], lines: list[tuple[int, bool]]
) -> None:
    bench.ram[:0x1000] = bytes(0x1000)
    body, trap = assemble(code)[:HANDLER], assemble(handler)
    bench.ram[: len(body)] = body
    bench.ram[HANDLER : HANDLER + len(trap)] = trap
    core = bench.core
    bench.result = None
    core.reset(RAM)
    core.set_register("mtvec", RAM + HANDLER)
    for number, pointer in enumerate(pointers):
        core.set_register(f"a{number}", pointer)
    before = 0
    for number, level in [*lines, (0, False)]:
        stop = core.run(SLICE)
        assert stop in Stop
        assert before <= core.instructions < before + SLICE + 1024
        before = core.instructions
        assert (core.fault is not None) == (stop is Stop.FAULT)
        assert all(0 <= value < 1 << 64 for value in core.registers().values())
        core.set_irq(number, level)
        if stop is Stop.SLEEP:
            core.skip(core.idle_cycles() or 1)
