"""From an address to the symbol that covers it."""

from __future__ import annotations

import pytest

from openamp.firmware import Symbol, SymbolKind
from openamp.firmware.symbols import SymbolIndex


def find(address: int, *symbols: tuple[str, int, int]) -> str | None:
    found = SymbolIndex(Symbol(name, at, size) for name, at, size in symbols).find(address)
    return found.name if found else None


def test_an_empty_index_finds_nothing() -> None:
    assert find(0) is None


@pytest.mark.parametrize(
    ("address", "name"), [(0xF, None), (0x10, "a"), (0x13, "a"), (0x14, None), (0x20, "b"), (0x24, None)]
)
def test_symbols_with_sizes_cover_their_bytes(address: int, name: str | None) -> None:
    assert find(address, ("b", 0x20, 4), ("a", 0x10, 4)) == name


@pytest.mark.parametrize(
    ("address", "name"), [(0x10, "outer"), (0x12, "inner"), (0x13, "inner"), (0x14, "outer"), (0x20, None)]
)
def test_the_innermost_symbol_counts(address: int, name: str | None) -> None:
    assert find(address, ("outer", 0x10, 16), ("inner", 0x12, 2)) == name


@pytest.mark.parametrize(("address", "name"), [(0x10, "a"), (0x18, "b"), (0x20, "b"), (0x28, None)])
def test_partly_overlapping_symbols(address: int, name: str | None) -> None:
    assert find(address, ("a", 0x10, 16), ("b", 0x18, 16)) == name


@pytest.mark.parametrize(
    ("address", "name"), [(0x8, "start"), (0x11, "sized"), (0x12, "sized"), (0x14, None), (0x1F, None), (0x99, "label")]
)
def test_labels_cover_what_nothing_else_does(address: int, name: str | None) -> None:
    assert find(address, ("start", 0x8, 0), ("sized", 0x10, 4), ("inside", 0x12, 0), ("label", 0x20, 0)) == name


def test_of_equal_symbols_the_last_counts() -> None:
    assert find(0x11, ("local", 0x10, 4), ("global", 0x10, 4)) == "global"
    assert find(0x11, ("label", 0x10, 0), ("sized", 0x10, 4)) == "sized"
    assert find(0x11, ("sized", 0x10, 4), ("label", 0x10, 0)) == "sized"


def test_a_symbol_behind_another_one() -> None:
    assert find(0x14, ("a", 0x10, 4), ("b", 0x14, 4)) == "b"
    assert find(0x14, ("a", 0x10, 4), ("label", 0x14, 0)) == "label"


def test_a_symbol_that_begins_where_an_inner_one_ends() -> None:
    assert find(21, ("inner", 17, 4), ("outer", 17, 5), ("next", 21, 6)) == "next"


@pytest.mark.parametrize("kind", [SymbolKind.ABSOLUTE, SymbolKind.MARK])
def test_absolute_numbers_and_marks_cover_nothing(kind: SymbolKind) -> None:
    assert SymbolIndex([Symbol("size", 0x10, 4, kind)]).find(0x10) is None


def test_a_function_without_a_size_wins_over_labels() -> None:
    function = Symbol("_start", 0x10, 0, SymbolKind.FUNCTION)
    assert SymbolIndex([function, Symbol("text_start", 0x10)]).find(0x14) is function
