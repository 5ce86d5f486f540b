"""`openamp boards`: the boards that the emulated platform knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from openamp.cli.common import JsonOption, console, guarded, human_size, print_json, printable

if TYPE_CHECKING:
    from openamp.platforms.emulated.board import Board

__all__ = ["boards"]


@guarded()
def boards(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[BOARD]...", help="Names or board files; all boards without any.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the boards that can be emulated; with names or board files, show (and check) these in full."""
    from openamp.platforms.emulated.board import list_boards, load_board

    found = [load_board(name) for name in names or list_boards()]
    if as_json:
        print_json([board_document(board) for board in found])
    elif names:
        for board in found:
            _print_details(board)
    else:
        _print_table(found)


def board_document(board: Board) -> dict[str, Any]:
    """Returns a board as JSON data."""
    mailbox = board.mailbox
    return {
        "name": board.name,
        "description": board.description,
        "path": board.path,
        "core": board.core.name,
        "machine": {"number": board.core.machine, "name": board.core.machine_name, "bits": board.core.bits},
        "clock_hz": board.clock_hz,
        "num_irqs": board.num_irqs,
        "memory": [
            {"name": m.name, "da": m.da, "size": m.size, "pa": m.pa, "pool": m.pool, "aliases": list(m.aliases)}
            for m in board.memory
        ],
        "mailbox": {
            "type": mailbox.type,
            "base": mailbox.base,
            "receive_irq": mailbox.receive_irq,
            "free_irq": mailbox.free_irq,
            "vring_channels": list(mailbox.vring_channels),
            "shutdown_channel": mailbox.shutdown_channel,
        },
        "uarts": [{"name": u.name, "type": u.type, "base": u.base, "irq": u.irq} for u in board.uarts],
        "firmware": list(_shipped(board)),
    }


def _shipped(board: Board) -> tuple[str, ...]:
    from openamp import images

    return images.apps(board.name) if board.name in images.boards() else ()


def _print_table(found: list[Board]) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), show_edge=False)
    table.add_column("board", no_wrap=True, style="bold")
    table.add_column("core", no_wrap=True)
    out = console()
    roomy = out.width >= 72
    if roomy:
        table.add_column("memory", no_wrap=True)
        table.add_column("mailbox", no_wrap=True)
    table.add_column("firmware", overflow="fold")
    for board in found:
        memory = [
            f"{m.da:#010x} {human_size(m.size):>7} {printable(m.name)}{' (shared)' if m.pool else ''}"
            for m in board.memory
        ]
        table.add_row(
            Text(printable(board.name)),
            board.core.name,
            *((Text("\n".join(memory)), Text(board.mailbox.type)) if roomy else ()),
            ", ".join(_shipped(board)) or "none",
        )
    out.print(table)
    out.print("\nopenamp boards BOARD shows one in full; a board file of your own is given by its path.")


def _print_details(board: Board) -> None:
    from rich.text import Text

    mailbox = board.mailbox
    channels = ", ".join(map(str, mailbox.vring_channels))
    rows: list[tuple[str, str]] = [
        ("core", f"{board.core.name} ({board.core.machine_name}) at {board.clock_hz / 1e6:g} MHz"),
        ("", f"{board.num_irqs} interrupts"),
    ]
    for number, m in enumerate(board.memory):
        also = f", also at {', '.join(f'{alias:#010x}' for alias in m.aliases)}" if m.aliases else ""
        shared = " (shared)" if m.pool else ""
        rows.append(("" if number else "memory", f"{m.da:#010x} {human_size(m.size):>8} {m.name}{shared}{also}"))
    irqs = f"interrupts {mailbox.receive_irq} and {mailbox.free_irq}"
    rows.append(("mailbox", f"{mailbox.base:#010x} {mailbox.type}, {irqs}, channels {channels} for the vrings"))
    for number, uart in enumerate(board.uarts):
        rows.append(("" if number else "uarts", f"{uart.base:#010x} {uart.type} {uart.name}"))
    for number, p in enumerate(board.peripherals):
        rows.append(("" if number else "registers", f"{p.base:#010x} {human_size(p.size):>8} {p.name}"))
    rows.append(("firmware", ", ".join(_shipped(board)) or "none comes with the package"))
    out = console()
    out.print(Text.assemble((printable(board.name), "bold"), f"  {printable(board.description)}"))
    for title, value in rows:
        out.print(Text.assemble((f"  {title:<9} ", "dim"), printable(value)), soft_wrap=True)
