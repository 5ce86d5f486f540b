"""What all verbs share: exit codes, errors for people, JSON, text that is safe to print."""

from __future__ import annotations

import enum
import functools
import json
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from openamp.errors import CrashReport
    from openamp.firmware import FirmwareImage
    from openamp.platforms.emulated.board import Board

__all__ = [
    "DEFAULT_BOARD",
    "EXIT_CODES_HELP",
    "BaseOption",
    "BoardOption",
    "ExitCode",
    "FormatOption",
    "JsonOption",
    "board_for",
    "console",
    "crash_document",
    "error_document",
    "exit_code_of",
    "find_board",
    "guarded",
    "human_size",
    "open_image",
    "parse_number",
    "print_json",
    "printable",
]

P = ParamSpec("P")

DEFAULT_BOARD = "stm32mp157"
"""Where nothing else says which."""


class ExitCode(enum.IntEnum):
    """What the command's exit status says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BAD_INPUT = 3
    TIMEOUT = 4
    INTERRUPTED = 130


EXIT_CODES_HELP = (
    "Exit status: 0 success; 1 the remote or the test failed (crash, wrong echo, broken protocol); 2 wrong usage, or "
    "an optional library is missing; 3 the image, its resource table, the board or a file cannot be used; "
    "4 a time-out; 130 interrupted."
)

BoardOption = Annotated[
    str | None,
    typer.Option("--board", "-b", metavar="BOARD", help="A board's name (see: openamp boards) or board file (a path)."),
]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="FORMAT", help="The image's format (elf, ihex, srec, raw); found by itself."),
]
BaseOption = Annotated[
    str | None, typer.Option("--base", metavar="ADDRESS", help="Load address of a raw binary, such as 0x10000000.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]


def console(*, stderr: bool = False) -> Console:
    """Returns a rich console; into a pipe it writes wider lines than 80, for grep."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else 120
    return Console(stderr=stderr, width=width, highlight=False, emoji=False, markup=False, soft_wrap=False)


def print_json(document: object, *, indent: int | None = 2) -> None:
    """Prints one JSON document, or with `indent=None` one line of a stream of them."""
    print(json.dumps(document, indent=indent, default=str), flush=indent is None)


def printable(text: str, *, keep: str = "") -> str:
    """Returns text of a file or a remote with control characters spelled out, so that none acts on the terminal."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else f"\\x{ord(c):02x}" for c in text)


def human_size(size: int) -> str:
    """Returns a size such as "512 B", "41.0 KiB" or "3 MiB"."""
    units = ("B", "KiB", "MiB", "GiB", "TiB")
    step = min(max(size.bit_length() - 1, 0) // 10, len(units) - 1)
    return f"{round(size / 1024**step, 1):g} {units[step]}" if step else f"{size} B"


def exit_code_of(error: BaseException) -> ExitCode | None:
    """Returns the status for an error that a user can cause, None for a mistake of ours."""
    from openamp import errors

    match error:
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED
        case errors.MissingDependencyError():
            return ExitCode.USAGE
        case errors.TimeoutExpired():
            return ExitCode.TIMEOUT
        case errors.ImageError() | errors.AddressError() | errors.AllocationError() | errors.PlatformError():
            return ExitCode.BAD_INPUT
        case errors.OpenAMPError():
            return ExitCode.FAILED
        case OSError():
            return ExitCode.BAD_INPUT
        case _:
            return None


def crash_document(report: CrashReport) -> dict[str, Any]:
    """Returns a crash as JSON data."""
    return {
        "reason": report.reason,
        "pc": report.pc,
        "location": report.location,
        "address": report.address,
        "registers": dict(report.registers),
        "details": list(report.details),
        "output_tail": report.output_tail,
    }


def error_document(error: BaseException, code: int) -> dict[str, Any]:
    """Returns an error as JSON data: its type, text and numbers, and the report of a crash."""
    from openamp.errors import RemoteCrashed

    details: dict[str, Any] = {
        name: value
        for name, value in vars(error).items()
        if not name.startswith("_") and isinstance(value, int | float | str) and name not in ("msg", "name", "path")
    }
    if isinstance(error, RemoteCrashed):
        details["crash"] = crash_document(error.report)
    return {"type": type(error).__name__, "message": _message(error), "exit_code": int(code), **details}


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror and error.filename:
        return f"{os.fsdecode(error.filename)}: {error.strerror}; check the path and its permissions"
    return str(error) or type(error).__name__


def guarded(*, json_lines: bool = False) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """Wraps a verb: what a user can cause becomes one line on stderr and an exit status, never a traceback.

    With the verb's `as_json` set the same goes to stdout: a document `{"error": ...}`, or a line with
    `"event": "error"` where the verb prints events.
    """

    def wrap(verb: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(verb)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                verb(*args, **kwargs)
                sys.stdout.flush()
            except BrokenPipeError:
                # The reader of our output has gone (as in `openamp ... | head`); nothing must be flushed to it again.
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                raise typer.Exit(ExitCode.FAILED) from None
            except (Exception, KeyboardInterrupt) as error:
                code = exit_code_of(error)
                if code is None:
                    raise
                if kwargs.get("as_json"):
                    found = error_document(error, code)
                    print_json({"event": "error", **found} if json_lines else {"error": found}, indent=None)
                text = "interrupted" if code is ExitCode.INTERRUPTED else _message(error)
                print(f"error: {printable(text, keep=chr(10))}", file=sys.stderr)
                raise typer.Exit(code) from None

        return wrapper

    return wrap


def open_image(name: str, *, format: str | None, base: str | None, board: Board | None = None) -> FirmwareImage:
    """Opens an image named on the command line: a path, or the name of an application that comes with the package.

    Raises:
        ImageError: it cannot be used, or there is neither such a file nor such an application.
        OSError: the file cannot be read; names the file.
    """
    from openamp import images
    from openamp.firmware import load_image

    address = None if base is None else parse_number(base, "--base")
    where = board.name if board is not None else DEFAULT_BOARD
    if not os.path.exists(name) and os.sep not in name and "." not in name and where in images.boards():
        return load_image(images.path(name, where))
    try:
        return load_image(name, format=format, base=address)
    except OSError as error:
        error.filename = error.filename or name
        raise


def parse_number(text: str, option: str) -> int:
    """Returns a number such as 4096, 0x1000 or 0x1000_0000."""
    try:
        value = int(text, 0)
    except ValueError:
        value = -1
    if value < 0:
        raise typer.BadParameter(f"{text!r} is no address; write it like 0x10000000", param_hint=option)
    return value


def find_board(name: str | None) -> Board | None:
    """Returns the board named on the command line, or None where none is.

    Raises:
        BoardError: no such board, or its file is broken.
    """
    from openamp.platforms.emulated.board import load_board

    return None if name is None else load_board(name)


def board_for(image: FirmwareImage) -> Board:
    """Returns the first board that the image fits.

    Raises:
        BoardError: it fits none.
    """
    from openamp.errors import BoardError
    from openamp.platforms.emulated.board import boards_for, list_boards, load_board

    fitting = boards_for(image)
    if not fitting:
        raise BoardError(
            f"{image.name} ({image.machine_name}) fits no board that comes with OpenAMP ({', '.join(list_boards())}); "
            f"name a board file of yours with --board, and see openamp inspect for what does not fit"
        )
    return load_board(fitting[0])
