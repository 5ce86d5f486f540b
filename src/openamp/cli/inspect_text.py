"""What `openamp inspect` prints for people."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from openamp.cli import memory_map
from openamp.cli.common import console, human_size, printable
from openamp.cli.inspect import BoardFit, Findings
from openamp.cli.memory_map import Span
from openamp.errors import OpenAMPError
from openamp.firmware import ImageWarning, SegmentFlags
from openamp.platforms.emulated.board import Board
from openamp.resource_table import ADDR_ANY, VDEV_ID_RPMSG, Carveout, Devmem, Entry, Opaque, Trace, Vdev, Vring
from openamp.virtio.device import VIRTIO_RPMSG_F_NS, vring_size

__all__ = ["show"]

MAX_ROWS = 200
NARROW = 76
"""Columns below which the table of segments keeps to the essential."""

_DIRECTIONS = ("remote to host", "host to remote")
_LEGACY = {4: "legacy memory or TI custom interrupts", 5: "legacy checksum or TI custom interrupts"}


def show(found: Findings) -> None:
    """Prints all findings."""
    out = console()
    _show_header(out, found)
    _show_segments(out, found)
    _show_table(out, found)
    _show_warnings(out, found)
    _show_map(out, found)
    _show_boards(out, found)


def _heading(out: Console, text: str) -> None:
    out.print()
    out.print(Text(text, style="bold underline"))


def _show_header(out: Console, found: Findings) -> None:
    image = found.image
    out.print(Text(printable(image.name), style="bold"))
    entry = "none"
    if image.entry is not None:
        symbol = image.locate(image.entry)
        entry = f"{image.entry:#x}" + (f" ({printable(symbol)})" if symbol else "")
    rows = {
        "format": f"{image.format}, {image.byte_order}-endian",
        "machine": image.machine_name + (f" (e_machine {image.machine})" if image.machine is not None else ""),
        "entry": entry,
        "size": f"{human_size(sum(len(s.data) for s in image.segments))} to load, "
        f"{human_size(sum(s.size for s in image.segments))} in memory",
        "symbols": str(len(image.symbols)),
    }
    for name, value in rows.items():
        out.print(Text.assemble((f"  {name:<8} ", "dim"), value))


def _grid(*columns: tuple[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    for title, justify in columns:
        last = (title, justify) == columns[-1]
        table.add_column(title, justify=justify, no_wrap=not last, overflow="fold")  # type: ignore[arg-type]
    return table


def _show_segments(out: Console, found: Findings) -> None:
    segments = found.image.segments
    _heading(out, f"Segments ({len(segments)})")
    if not segments:
        out.print("  none: there is nothing to load")
        return
    moved = any(s.va != s.da for s in segments)
    roomy = out.width >= NARROW
    titles = [("address", "left"), ("in memory", "right")]
    titles += [("in file", "right"), ("flags", "left")] if roomy else []
    titles += [("runs at", "left")] if moved else []
    titles += [("at file offset", "right")] if roomy else []
    grid = _grid(*titles, ("name", "left"))
    for segment in segments[:MAX_ROWS]:
        cells = [f"{segment.da:#010x}", human_size(segment.size)]
        cells += [human_size(len(segment.data)), str(segment.flags)] if roomy else []
        cells += [f"{segment.va:#010x}" if segment.va != segment.da else ""] if moved else []
        cells += ["" if segment.offset is None else f"{segment.offset:#x}"] if roomy else []
        grid.add_row(*cells, Text(printable(segment.name)))
    out.print(grid)
    _more(out, len(segments))


def _more(out: Console, count: int) -> None:
    if count > MAX_ROWS:
        out.print(f"  ... and {count - MAX_ROWS} more; --json has all")


# Resource table


def _show_table(out: Console, found: Findings) -> None:
    table, section = found.table, found.image.resource_table
    if table is None or section is None:
        _heading(out, "Resource table")
        out.print("  none: without one there are no virtio devices and no RPMsg")
        return
    count = len(table.entries)
    _heading(out, f"Resource table at {section.da:#x} ({human_size(table.size)}, {count} {_plural('entry', count)})")
    if not count:
        return
    grid = _grid(("offset", "right"), ("kind", "left"), ("what it asks for", "left"))
    for at, entry in list(zip(table.offsets, table.entries, strict=True))[:MAX_ROWS]:
        lines = list(_describe(entry))
        grid.add_row(f"{at:#x}", _kind(entry), Text("\n".join(lines)))
    out.print(grid)
    _more(out, count)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


def _kind(entry: Entry) -> str:
    if isinstance(entry, Opaque):
        return "vendor" if 128 <= entry.type < 512 else "legacy" if entry.type in _LEGACY else "unknown"
    return {"Carveout": "carve-out"}.get(type(entry).__name__, type(entry).__name__.lower())


def _address(da: int) -> str:
    return "anywhere" if da == ADDR_ANY else f"at {da:#010x}"


def _describe(entry: Entry) -> Iterator[str]:
    match entry:
        case Carveout() | Devmem():
            yield f"{printable(entry.name) or '(no name)'}: {human_size(entry.len)} {_address(entry.da)}" + (
                f", flags {entry.flags:#x}" if entry.flags else ""
            )
        case Trace():
            yield f"{printable(entry.name) or '(no name)'}: {human_size(entry.len)} {_address(entry.da)}"
        case Vdev():
            yield from _describe_vdev(entry)
        case Opaque():
            start = entry.data[:16].hex(" ")
            more = " ..." if len(entry.data) > 16 else ""
            what = f" ({_LEGACY[entry.type]})" if entry.type in _LEGACY else ""
            yield f"type {entry.type:#x}{what}, {4 + len(entry.data)} bytes: {start}{more}"


def _describe_vdev(entry: Vdev) -> Iterator[str]:
    name = "RPMsg" if entry.id == VDEV_ID_RPMSG else "virtio device"
    features = f"features {entry.dfeatures:#x}"
    if entry.id == VDEV_ID_RPMSG:
        features += " (name service)" if entry.dfeatures & VIRTIO_RPMSG_F_NS else " (no name service)"
    yield f"{name} (id {entry.id}), {features}, notify id {_notify_id(entry.notifyid)}"
    if entry.status or entry.gfeatures:
        yield f"status {entry.status:#x}, accepted features {entry.gfeatures:#x} in the file"
    for i, vring in enumerate(entry.vrings):
        way = f" ({_DIRECTIONS[i]})" if entry.id == VDEV_ID_RPMSG and i < 2 else ""
        yield (
            f"vring {i}{way}: {vring.num} descriptors {_address(vring.da)}, align {vring.align:#x}, "
            f"notify id {_notify_id(vring.notifyid)}"
        )
    if entry.config:
        more = " ..." if len(entry.config) > 16 else ""
        yield f"config space, {len(entry.config)} bytes: {entry.config[:16].hex(' ')}{more}"


def _notify_id(value: int) -> str:
    return "any" if value == ADDR_ANY else str(value)


# Warnings, map, boards


def _show_warnings(out: Console, found: Findings) -> None:
    everything = [*((w, "file offset") for w in found.warnings), *((w, "table offset") for w in found.table_warnings)]
    if not everything:
        return
    _heading(out, f"Warnings ({len(everything)})")
    for warning, where in everything[:MAX_ROWS]:
        out.print(Text.assemble(("  ! ", "bold yellow"), (warning.code, "yellow"), _place(warning, where)))
        out.print(Text(f"    {printable(warning.message)}"))
    _more(out, len(everything))


def _place(warning: ImageWarning, where: str) -> str:
    return "" if warning.offset is None else f" at {where} {warning.offset:#x}"


def _show_map(out: Console, found: Findings) -> None:
    fitting = next((fit.board for fit in found.boards if found.chosen or not fit.problem), None)
    _heading(out, "Memory map" + (f" on {printable(fitting.name)}" if fitting else ""))
    spans, later = _spans(found)
    if not spans:
        out.print("  empty")
    areas = memory_map.find_areas(spans, list(_regions(fitting)) if fitting else [])
    ascii_only = not (out.encoding or "").lower().startswith("utf")
    for line in memory_map.render(areas, out.width, ascii_only=ascii_only):
        out.print(line, no_wrap=True, overflow="ellipsis")
    for what, size in later:
        out.print(Text(f"  placed at start: {what} ({human_size(size)})", style="dim"))


def _regions(board: Board) -> Iterator[tuple[str, int, int]]:
    for memory in board.memory:
        for start in (memory.da, *memory.aliases):
            notes = (" (shared)" if memory.pool else "") + (" (alias)" if start != memory.da else "")
            yield f"{memory.name}{notes}", start, start + memory.size


def _spans(found: Findings) -> tuple[list[Span], list[tuple[str, int]]]:
    """Returns what has an address, and (name, size) of what gets one from the host."""
    image, table = found.image, found.table
    spans = [
        Span(
            s.da,
            s.size,
            memory_map.CODE if s.flags & SegmentFlags.X else memory_map.DATA,
            s.name,
            len(s.data),
        )
        for s in image.segments
    ]
    later: list[tuple[str, int]] = []
    if image.resource_table is not None:
        section = image.resource_table
        spans.append(Span(section.da, len(section.data), memory_map.TABLE, "resource table"))
    for number, entry in enumerate(table.entries if table else ()):
        for what, da, size, kind in _wanted(number, entry):
            if da == ADDR_ANY:
                later.append((what, size))
            else:
                spans.append(Span(da, size, kind, what))
    return spans, later


def _wanted(number: int, entry: Entry) -> Iterator[tuple[str, int, int, memory_map.Kind]]:
    match entry:
        case Carveout():
            yield f"carve-out {printable(entry.name)}", entry.da, entry.len, memory_map.CARVEOUT
        case Trace():
            yield f"trace {printable(entry.name)}", entry.da, entry.len, memory_map.TRACE
        case Vdev():
            for i, vring in enumerate(entry.vrings):
                yield f"vring {i} of entry {number}", vring.da, _ring_size(vring), memory_map.VRING


def _ring_size(vring: Vring) -> int:
    try:
        return vring_size(vring.num, vring.align)
    except OpenAMPError:
        return 0


def _show_boards(out: Console, found: Findings) -> None:
    _heading(out, "Board" if found.chosen else "Boards")
    for fit in found.boards:
        if not fit.problem:
            line = Text.assemble("  ", (f"{fit.board.name:<12}", "bold green"), " fits")
        elif found.chosen:
            line = Text.assemble("  ", (f"{printable(fit.board.name):<12}", "bold red"), " ", printable(fit.problem))
        else:
            line = Text.assemble("  ", (f"{fit.board.name:<12}", "dim"), " ", (_short(fit, found), "dim"))
        out.print(line)


def _short(fit: BoardFit, found: Findings) -> str:
    if not fit.machine:
        return f"no: runs {fit.board.core.machine_name}"
    misfit = fit.board.misfit(found.image)
    if misfit is not None:
        return f"no: there is no memory for {printable(misfit.name)} at {misfit.da:#x}..{misfit.end:#x}"
    return "no: the image has no vector table where its core looks for one"
