"""`openamp run`: boot an image and follow what it does."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from openamp.cli.common import (
    BaseOption,
    BoardOption,
    ExitCode,
    FormatOption,
    JsonOption,
    board_for,
    find_board,
    guarded,
    open_image,
)

if TYPE_CHECKING:
    from openamp.cli.live import Interrupts, Reporter
    from openamp.firmware import FirmwareImage
    from openamp.remoteproc import RemoteProc

__all__ = ["run"]


@guarded(json_lines=True)
def run(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE", help="A firmware file, or the name of an application of ours (echo).")
    ],
    board: BoardOption = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", "-t", min=0, metavar="SECONDS", help="End it after so long (status 4).")
    ] = None,
    grace: Annotated[
        float, typer.Option("--grace", min=0, metavar="SECONDS", help="How long a graceful shutdown may take.")
    ] = 2.0,
    format: FormatOption = None,
    base: BaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Boot an image on an emulated board; show its trace, console and channels until it ends.

    Ctrl-C asks the firmware to end (with the shutdown message of OpenAMP's samples, where there is an echo channel)
    and then puts the core into reset; a second Ctrl-C does so at once. With --json every event is one line.

    Exit status: 0 when it ended by itself with status 0 or was shut down by Ctrl-C, 1 when it crashed, 4 after
    --timeout, 130 when a second Ctrl-C cut it short.
    """
    import openamp
    from openamp.cli.live import Interrupts, Reporter

    reporter = Reporter(as_json=as_json)
    named = find_board(board)
    opened = open_image(image, format=format, base=base, board=named)
    chosen = named or board_for(opened)
    with Interrupts() as interrupts, openamp.open("emulated", board=chosen) as rproc:
        reporter.follow(rproc)
        text = f"boot {opened.name} on {chosen.name} ({chosen.core.name})"
        reporter.event("boot", text, style="bold", image=opened.name, board=chosen.name, core=chosen.core.name)
        code = _follow(rproc, opened, reporter, interrupts, timeout, grace)
        reporter.flush()
        rproc.stop()
        reporter.event("end", "the core is in reset", exit_code=int(code))
    if code:
        raise typer.Exit(code)


def _warn(rproc: RemoteProc, reporter: Reporter) -> None:
    """Reports what is odd about the image and its table, and what was not placed as asked."""
    image, table = rproc.image, rproc.resource_table
    known = {warning.code for warning in image.warnings} if image else set()
    later = [w for w in table.warnings if w.code not in known] if table else []
    for warning in (*(image.warnings if image else ()), *later):
        reporter.event(
            "warning",
            f"! {warning.code}: {warning.message}",
            style="yellow",
            code=warning.code,
            message=warning.message,
            offset=warning.offset,
            value=warning.value,
        )
    for note in rproc.placement.notes:
        reporter.event("note", f"! {note}", style="yellow", message=note)


def _follow(
    rproc: RemoteProc,
    image: FirmwareImage,
    reporter: Reporter,
    interrupts: Interrupts,
    timeout: float | None,
    grace: float,
) -> ExitCode:
    """Boots the image and lets it run to its end, or to ours; returns the exit status."""
    from openamp.cli.live import SLICE
    from openamp.errors import RemoteCrashed, RemoteExited

    deadline = None if timeout is None else time.monotonic() + timeout
    try:
        rproc.load(image)
        _warn(rproc, reporter)
        rproc.boot()
        while not interrupts.count:
            left = SLICE if deadline is None else min(SLICE, deadline - time.monotonic())
            if left <= 0:
                reporter.event("timeout", f"{timeout:g} s have passed", style="yellow", timeout=timeout)
                _shut_down(rproc, reporter, interrupts, grace)
                return ExitCode.TIMEOUT
            if not rproc.wait(timeout=left):
                reporter.flush()
        reporter.event("interrupt", "interrupted: shutting down (once more: at once)", style="bold")
        _shut_down(rproc, reporter, interrupts, grace)
        return ExitCode.OK if interrupts.count < 2 else ExitCode.INTERRUPTED
    except RemoteCrashed as error:
        reporter.crash(error.report)
        return ExitCode.FAILED
    except RemoteExited as error:
        reporter.flush()
        reporter.event("exit", str(error), style="bold", code=error.code)
        return ExitCode.FAILED if error.code else ExitCode.OK


def _shut_down(rproc: RemoteProc, reporter: Reporter, interrupts: Interrupts, grace: float) -> None:
    from openamp.cli.live import ECHO_SERVICE, ask_to_end

    asked = grace > 0 and any(c.name == ECHO_SERVICE for bus in rproc.buses for c in bus.channels)
    took = ask_to_end(rproc, grace=grace, interrupts=interrupts) if asked else None
    reporter.flush()
    if took is not None:
        text = f"the firmware ended gracefully after {took * 1000:.1f} ms"
    elif asked:
        text = f"the firmware did not end within {grace:g} s of the shutdown message"
    else:
        text = "there is no echo channel to send the shutdown message on"
    reporter.event("shutdown", text, graceful=took is not None, asked=asked)
