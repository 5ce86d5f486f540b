"""`openamp inspect`: what is in a firmware image, and where it would run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from openamp.cli.common import (
    BaseOption,
    BoardOption,
    ExitCode,
    FormatOption,
    JsonOption,
    guarded,
    open_image,
    print_json,
)

if TYPE_CHECKING:
    from openamp.firmware import FirmwareImage, ImageWarning
    from openamp.platforms.emulated.board import Board
    from openamp.resource_table import Entry, ResourceTable

__all__ = ["BoardFit", "Findings", "inspect"]


class BoardFit(NamedTuple):
    """Whether an image runs on a board; `problem` is "" where nothing speaks against it."""

    board: Board
    machine: bool
    memory: bool
    problem: str


class Findings(NamedTuple):
    """All that is found out about an image."""

    path: str
    image: FirmwareImage
    table: ResourceTable | None
    warnings: tuple[ImageWarning, ...]
    table_warnings: tuple[ImageWarning, ...]
    boards: tuple[BoardFit, ...]
    chosen: bool


@guarded()
def inspect(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="A firmware file: ELF, Intel HEX, S-record or raw.")],
    board: BoardOption = None,
    format: FormatOption = None,
    base: BaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show an image's headers, segments, resource table and warnings, a map of its memory, and the boards it fits.

    With --board the exit status is 3 when the image does not fit that board.
    """
    from openamp.resource_table import ResourceTable

    opened = open_image(image, format=format, base=base)
    section = opened.resource_table
    table = None if section is None else ResourceTable.parse(section.data, opened.byte_order)
    known = {warning.code for warning in opened.warnings}
    found = Findings(
        image,
        opened,
        table,
        opened.warnings,
        tuple(w for w in (*table.warnings, *_ring_warnings(table)) if w.code not in known) if table else (),
        fits(opened, board),
        board is not None,
    )
    if as_json:
        print_json(document(found))
    else:
        from openamp.cli.inspect_text import show

        show(found)
    if board is not None and found.boards[0].problem:
        raise typer.Exit(ExitCode.BAD_INPUT)


def _ring_warnings(table: ResourceTable) -> Iterator[ImageWarning]:
    """Rings that no host can set up: parsing does not mind them, booting does."""
    from openamp.errors import OpenAMPError
    from openamp.firmware import ImageWarning
    from openamp.resource_table import VDEV, VRING, Vdev
    from openamp.virtio.device import check_ring

    for at, entry in zip(table.offsets, table.entries, strict=True):
        for i, vring in enumerate(entry.vrings if isinstance(entry, Vdev) else ()):
            try:
                check_ring(vring.num, vring.align)
            except OpenAMPError as error:
                offset = at + VDEV.size + VRING.size * i
                yield ImageWarning("vring-geometry", f"vring {i} at {offset:#x}: {error}", offset, vring.num)


def fits(image: FirmwareImage, board: str | None) -> tuple[BoardFit, ...]:
    """Tells for one board, or for all that come with the package, whether the image runs there."""
    from openamp.errors import OpenAMPError
    from openamp.platforms.emulated.board import check_image, list_boards, load_board

    result = []
    for name in [board] if board is not None else list_boards():
        candidate = load_board(name)
        try:
            check_image(candidate, image)
            problem = ""
        except OpenAMPError as error:
            problem = str(error)
        result.append(BoardFit(candidate, candidate.runs(image), candidate.misfit(image) is None, problem))
    return tuple(result)


def document(found: Findings) -> dict[str, Any]:
    """Returns the findings as JSON data; all numbers are plain integers."""
    image = found.image
    return {
        "name": image.name,
        "path": found.path,
        "format": image.format,
        "byte_order": image.byte_order,
        "machine": {"number": image.machine, "name": image.machine_name},
        "entry": image.entry,
        "entry_symbol": image.locate(image.entry) if image.entry is not None else "",
        "num_symbols": len(image.symbols),
        "segments": [
            {
                "name": s.name,
                "da": s.da,
                "va": s.va,
                "size": s.size,
                "file_size": len(s.data),
                "offset": s.offset,
                "flags": str(s.flags),
            }
            for s in image.segments
        ],
        "resource_table": _table_document(found),
        "warnings": [_warning(w, "image") for w in found.warnings]
        + [_warning(w, "resource_table") for w in found.table_warnings],
        "boards": [
            {"name": fit.board.name, "machine_fits": fit.machine, "memory_fits": fit.memory, "problem": fit.problem}
            for fit in found.boards
        ],
    }


def _warning(warning: ImageWarning, where: str) -> dict[str, Any]:
    return {
        "code": warning.code,
        "message": warning.message,
        "in": where,
        "offset": warning.offset,
        "value": warning.value,
    }


def _table_document(found: Findings) -> dict[str, Any] | None:
    table, section = found.table, found.image.resource_table
    if table is None or section is None:
        return None
    return {
        "da": section.da,
        "section_address": section.section_address,
        "size": table.size,
        "version": table.version,
        "entries": [
            {"index": i, "offset": at, **_entry(entry)}
            for i, (at, entry) in enumerate(zip(table.offsets, table.entries, strict=True))
        ],
    }


def _entry(entry: Entry) -> dict[str, Any]:
    from openamp.resource_table import Opaque, Vdev

    kind = type(entry).__name__.lower()
    match entry:
        case Opaque():
            return {"kind": kind, "type": entry.type, "data": entry.data.hex()}
        case Vdev():
            vrings = [vring._asdict() for vring in entry.vrings]
            binary = {"config": entry.config.hex(), "reserved": entry.reserved.hex()}
            return {"kind": kind, **entry._asdict(), "vrings": vrings, **binary}
        case _:
            return {"kind": kind, **entry._asdict()}
