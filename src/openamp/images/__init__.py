"""The firmware that comes with the package: each application built for each board.

The sources are in `firmware/` of the repository; `BUILD.md` beside this file says how the images were built.
"""

from __future__ import annotations

import difflib
from pathlib import Path

from openamp.errors import BoardError, ImageError

__all__ = ["apps", "boards", "path"]

_DIRECTORY = Path(__file__).parent

_SAME_AS = {"stm32mp157": "virt-m4"}
"""Boards whose memory map and core are another's run the other's images."""


def boards() -> tuple[str, ...]:
    """Returns the names of the boards that there are images for, sorted."""
    built = {image.parent.name for image in _DIRECTORY.glob("*/*.elf")}
    return tuple(sorted(built | {board for board, other in _SAME_AS.items() if other in built}))


def apps(board: str = "virt-m4") -> tuple[str, ...]:
    """Returns the names of the applications built for a board, sorted.

    Raises:
        BoardError: when there are no images for this board.
    """
    if board not in boards():
        raise _unknown_board(board)
    return tuple(sorted(image.stem for image in (_DIRECTORY / _SAME_AS.get(board, board)).glob("*.elf")))


def path(app: str, board: str) -> Path:
    """Returns the path of an application's ELF file.

    Args:
        app: one of `apps(board)`, such as "echo".
        board: one of `boards()`, such as "stm32mp157".

    Raises:
        BoardError: when there are no images for this board.
        ImageError: when there is no such application.
    """
    known = apps(board)
    if app not in known:
        raise ImageError(
            f'no application named "{app}" comes with the package; {_hint(app, known)}'
            f"there are {', '.join(known)} (an image of your own is given by its path)"
        )
    return _DIRECTORY / _SAME_AS.get(board, board) / f"{app}.elf"


def _unknown_board(board: str) -> BoardError:
    known = boards()
    return BoardError(
        f'no images come with the package for board "{board}"; {_hint(board, known)}there are images for '
        f"{', '.join(known)} (build firmware/ for a board of your own)"
    )


def _hint(name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, 1)
    return f'did you mean "{close[0]}"? ' if close else ""
