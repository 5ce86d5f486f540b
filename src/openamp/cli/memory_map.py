"""A picture of memory: which addresses an image uses, to scale, one line a thing.

```
shared memory  0x10040000..0x10060000  128 KiB
  0x10040000  [████░░░               ]  segment 2   7.2 KiB
  0x10048000  [        ▒             ]  vring 0       342 B
```

Addresses far apart are drawn as separate areas, each to its own scale: the memory regions of a board, or without one
runs of addresses with no large gap. Each kind has its own letter shape, so nothing is lost without colours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from openamp.cli.common import human_size, printable

if TYPE_CHECKING:
    from rich.text import Text

__all__ = ["Area", "Kind", "Span", "find_areas", "render"]

MAX_ROWS = 64
NEAR = 0x40000
"""Gaps up to this do not split an area."""


class Kind(NamedTuple):
    """How a kind of thing is drawn: a block, the same in ASCII, a colour."""

    name: str
    glyph: str
    ascii: str
    colour: str


CODE = Kind("code", "█", "#", "cyan")
DATA = Kind("data", "▓", "=", "blue")
ZERO = Kind("zero-filled", "░", ".", "blue")
TABLE = Kind("resource table", "◆", "T", "magenta")
VRING = Kind("vring", "▒", "%", "green")
CARVEOUT = Kind("carve-out", "▚", "+", "yellow")
TRACE = Kind("trace", "≡", "~", "white")


class Span(NamedTuple):
    """A run of addresses in use; behind `filled` bytes the rest is zero-filled."""

    start: int
    size: int
    kind: Kind
    label: str
    filled: int = -1

    @property
    def end(self) -> int:
        """The first address behind it."""
        return self.start + self.size


class Area(NamedTuple):
    """A run of addresses drawn to one scale."""

    name: str
    start: int
    end: int
    spans: tuple[Span, ...]


def find_areas(spans: Iterable[Span], regions: Sequence[tuple[str, int, int]] = ()) -> list[Area]:
    """Sorts spans into areas.

    Args:
        spans: what is in use.
        regions: (name, start, end) of the memory that there is, or nothing where that is not known.
    """
    areas = []
    left = sorted((span for span in spans if span.size > 0), key=lambda s: (s.start, -s.size))
    for name, start, end in sorted(regions, key=lambda region: region[1]):
        inside = tuple(s for s in left if start <= s.start < end)
        left = [s for s in left if not start <= s.start < end]
        if inside:
            areas.append(Area(name, start, max(end, *(s.end for s in inside)), inside))
    areas += [Area("no memory here" if regions else "", *area) for area in _clusters(left)]
    return sorted(areas, key=lambda area: area.start)


def _clusters(spans: Sequence[Span]) -> Iterator[tuple[int, int, tuple[Span, ...]]]:
    """Groups spans so that no gap inside a group dwarfs what is drawn."""
    group: list[Span] = []
    start = end = 0
    for span in spans:
        if group and span.start - end > max(end - start, NEAR):
            yield start, end, tuple(group)
            group = []
        if not group:
            start, end = span.start, span.end
        group.append(span)
        end = max(end, span.end)
    if group:
        yield start, end, tuple(group)


def render(areas: Sequence[Area], width: int, *, ascii_only: bool = False) -> Iterator[Text]:
    """Draws areas as lines of at most `width` columns."""
    from rich.text import Text

    spans = [span for area in areas for span in area.spans]
    digits = max((len(f"{area.end:x}") for area in areas), default=8)
    digits = max(digits, 8)
    labels = min(max((len(printable(span.label)) for span in spans), default=0), max(width // 3, 12))
    labels = max(min(labels, width - (digits + 6) - 11), 4)
    strip = width - (digits + 6) - labels - 12
    rows = 0
    for area in areas:
        title = Text.assemble(
            (f"{area.start:#0{digits + 2}x}..{area.end:#0{digits + 2}x}", "bold"),
            f"  {human_size(area.end - area.start)}",
            (f"  {printable(area.name)}" if area.name else "", "red" if area.name.startswith("no memory") else ""),
        )
        title.truncate(width, overflow="ellipsis")
        yield title
        for span in area.spans:
            rows += 1
            if rows > MAX_ROWS:
                continue
            yield _row(area, span, digits, strip, labels, ascii_only)
    if rows > MAX_ROWS:
        yield Text(f"... and {rows - MAX_ROWS} more; --json has all")
    used = [kind for kind in (CODE, DATA, ZERO, TABLE, VRING, CARVEOUT, TRACE) if _in_use(kind, spans)]
    if strip >= 8 and used:
        legend = Text("  ")
        for kind in used:
            legend.append(kind.ascii if ascii_only else kind.glyph, kind.colour)
            legend.append(f" {kind.name}   ", "dim")
        yield from _wrapped(legend, width)


def _row(area: Area, span: Span, digits: int, strip: int, labels: int, ascii_only: bool) -> Text:
    from rich.text import Text

    line = Text(f"  {span.start:#0{digits + 2}x}  ")
    if strip >= 8:
        line.append_text(_bar(area, span, strip - 2, ascii_only))
        line.append(" ")
    label = Text(printable(span.label))
    label.truncate(labels, overflow="ellipsis", pad=True)
    line.append_text(label)
    line.append(f" {human_size(span.size):>10}", "dim")
    return line


def _bar(area: Area, span: Span, cells: int, ascii_only: bool) -> Text:
    from rich.text import Text

    length = max(area.end - area.start, 1)
    first = min((span.start - area.start) * cells // length, cells - 1)
    last = min(max(-(-(span.end - area.start) * cells // length), first + 1), cells)
    filled = span.size if span.filled < 0 else span.filled
    # A part of a cell is drawn as a whole one, so that even a byte is seen.
    solid = min(max(-(-(span.start + filled - area.start) * cells // length), first + 1), last) if filled else first
    glyph, zero = (span.kind.ascii, ZERO.ascii) if ascii_only else (span.kind.glyph, ZERO.glyph)
    left, right = ("|", "|") if ascii_only else ("▏", "▕")
    bar = Text(left, "dim")
    bar.append(" " * first)
    bar.append(glyph * (solid - first), span.kind.colour)
    bar.append(zero * (last - solid), span.kind.colour)
    bar.append(" " * (cells - last))
    bar.append(right, "dim")
    return bar


def _in_use(kind: Kind, spans: Iterable[Span]) -> bool:
    if kind is ZERO:
        return any(0 <= span.filled < span.size for span in spans)
    return any(span.kind is kind and span.filled != 0 for span in spans)


def _wrapped(text: Text, width: int) -> Iterator[Text]:
    from rich.console import Console

    yield from text.wrap(Console(width=width), width)
