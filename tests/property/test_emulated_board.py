"""Board files from a hostile hand: a board or a BoardError, never anything else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from openamp.errors import BoardError
from openamp.platforms.emulated.board import BOARD_DIRECTORY, Board
from openamp.platforms.emulated.boardfile import parse_board

SHIPPED = [path.read_text() for path in sorted(Path(BOARD_DIRECTORY).glob("*.toml"))]

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(
        st.integers(-(1 << 65), 1 << 65),
        st.booleans(),
        st.floats(allow_nan=True),
        st.text(max_size=8),
        st.sampled_from(["cortex-m4", "rv32", "ipcc", "registers", "hsem", "stm32-timer", "16550"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", "0x4", "da", "x"]), inner),
    max_leaves=6,
)


def toml(value: Any) -> str:
    """Returns a value as TOML."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}" = {toml(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else "?" for c in value) + '"'
    return repr(value)


def accept(text: str) -> None:
    try:
        board = parse_board(text, name="fuzzed", path="fuzzed.toml")
    except BoardError as error:
        text = str(error)
    else:
        assert isinstance(board, Board)
        text = board.path
    assert "fuzzed.toml" in text


@given(st.text())
def test_any_text(text: str) -> None:
    accept(text)


@given(st.sampled_from(SHIPPED), st.data())
def test_a_shipped_board_with_one_value_replaced(text: str, data: st.DataObject) -> None:
    lines = text.splitlines()
    settings = [n for n, line in enumerate(lines) if " = " in line and line.rstrip()[-1] not in "[,"]
    number = data.draw(st.sampled_from(settings))
    key = lines[number].partition(" = ")[0]
    lines[number] = f"{key} = {toml(data.draw(VALUES))}"
    accept("\n".join(lines))


@given(st.sampled_from(SHIPPED), st.data())
def test_a_shipped_board_with_lines_removed_and_doubled(text: str, data: st.DataObject) -> None:
    lines = text.splitlines()
    chosen = data.draw(st.lists(st.integers(0, len(lines) - 1), min_size=1, max_size=4))
    for number in chosen:
        lines[number] = data.draw(st.sampled_from(["", lines[number] + "\n" + lines[number]]))
    accept("\n".join(lines))
