"""Symbols of an image, and the way from an address back to a name."""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Symbol", "SymbolIndex", "SymbolKind", "by_name"]


class SymbolKind(enum.Enum):
    """What a symbol stands for."""

    FUNCTION = "function"
    OBJECT = "object"
    LABEL = "label"
    """An address without a type: assembly labels, starts of sections."""
    MARK = "mark"
    """An address where a section ends, such as a stack's top; what lies there belongs to something else."""
    ABSOLUTE = "absolute"
    """A number, not an address: sizes and constants of the linker script."""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name in an image.

    Attributes:
        name: as in the file; C++ names stay mangled.
        address: where the core sees it (the link address); bit 0 of Arm's Thumb functions is cleared.
        size: in bytes; 0 where the file does not say.
        kind: function, object, label, mark or absolute number.
    """

    name: str
    address: int
    size: int = 0
    kind: SymbolKind = SymbolKind.LABEL


class SymbolIndex:
    """Finds the innermost symbol that covers an address, by one bisection.

    A symbol with a size covers exactly its bytes; one without covers what follows it up to the next symbol.
    Marks and absolute numbers cover nothing. Of several at the same place a function counts, then the last one.
    """

    __slots__ = ("_owners", "_starts")

    def __init__(self, symbols: Iterable[Symbol]) -> None:
        self._starts: list[int] = []
        self._owners: list[Symbol | None] = []
        places = [symbol for symbol in symbols if symbol.kind not in (SymbolKind.MARK, SymbolKind.ABSOLUTE)]
        places.sort(key=lambda symbol: (symbol.address, -symbol.size, symbol.kind is SymbolKind.FUNCTION))
        open_symbols: list[Symbol] = []
        for symbol in places:
            self._close(open_symbols, symbol.address)
            if symbol.size:
                open_symbols.append(symbol)
                self._mark(symbol.address, symbol)
            elif not open_symbols:
                self._mark(symbol.address, symbol)
        if open_symbols:
            self._close(open_symbols, max(symbol.address + symbol.size for symbol in open_symbols))

    def _close(self, open_symbols: list[Symbol], until: int) -> None:
        """Ends the open symbols that end at or before `until`; what lies around them continues."""
        while open_symbols and (end := open_symbols[-1].address + open_symbols[-1].size) <= until:
            open_symbols.pop()
            while open_symbols and open_symbols[-1].address + open_symbols[-1].size <= end:
                open_symbols.pop()
            self._mark(end, open_symbols[-1] if open_symbols else None)

    def _mark(self, start: int, owner: Symbol | None) -> None:
        """From `start` on, up to the next mark, addresses belong to `owner`."""
        if self._starts and self._starts[-1] == start:
            before = self._owners[-1]
            if owner is not None and (
                before is None or owner.address > before.address or owner.size <= before.size
            ):  # further in: it starts later, or it ends earlier
                self._owners[-1] = owner
            return
        self._starts.append(start)
        self._owners.append(owner)

    def find(self, address: int) -> Symbol | None:
        """Returns the symbol that covers `address`, or None."""
        at = bisect_right(self._starts, address) - 1
        return self._owners[at] if at >= 0 else None


def by_name(symbols: Iterable[Symbol]) -> dict[str, Symbol]:
    """Returns the symbols by name; the last of a name counts (an ELF file lists its local symbols first)."""
    return {symbol.name: symbol for symbol in symbols}
