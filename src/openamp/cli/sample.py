"""`openamp sample`: OpenAMP's samples, on either side and on every platform."""

from __future__ import annotations

import enum
import inspect
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openamp.cli.common import (
    DEFAULT_BOARD,
    BoardOption,
    ExitCode,
    JsonOption,
    board_for,
    console,
    find_board,
    guarded,
    open_image,
    print_json,
)
from openamp.cli.echo_test import parse_sizes

if TYPE_CHECKING:
    from openamp.remoteproc import RemoteProc
    from openamp.samples import Result, Sample, Served

__all__ = ["Name", "Platform", "Side", "sample"]

DEFAULT_TIMEOUT = 10.0
MAX_SHOWN = 5


class Name(enum.StrEnum):
    """The samples; each is one of `openamp.samples.SAMPLES`."""

    ECHO = "echo"
    PING = "ping"
    NOCOPY = "nocopy"
    MATRIX = "matrix"
    FLOOD = "flood"
    SERVICES = "services"
    RPC = "rpc"
    PROXY = "proxy"


class Side(enum.StrEnum):
    """Which side of the sample to run."""

    BOTH = "both"
    HOST = "host"
    REMOTE = "remote"


class Platform(enum.StrEnum):
    """Where the remote is."""

    PROCESS = "process"
    EMULATED = "emulated"
    LOOPBACK = "loopback"


class Mode(enum.StrEnum):
    """The wire between two processes."""

    MEMFD = "memfd"
    GENERIC_LINUX = "generic-linux"


_PROCESS = "Two processes"
_SAMPLE = "The sample"


@guarded()
def sample(
    name: Annotated[Name, typer.Argument(help="The sample.")],
    side: Annotated[Side, typer.Argument(help="The side to run; both starts the remote as well.")] = Side.BOTH,
    platform: Annotated[Platform, typer.Option("--platform", "-p", help="Where the remote is.")] = Platform.PROCESS,
    mode: Annotated[
        Mode, typer.Option("--mode", help="Our own wire, or that of OpenAMP's C samples.", rich_help_panel=_PROCESS)
    ] = Mode.MEMFD,
    link: Annotated[
        str | None,
        typer.Option("--name", metavar="LINK", help="The link's name (memfd).", rich_help_panel=_PROCESS),
    ] = None,
    processor: Annotated[
        int | None,
        typer.Option(
            "--processor", min=0, max=1, help="0 binds, 1 connects (generic-linux).", rich_help_panel=_PROCESS
        ),
    ] = None,
    shm: Annotated[
        str | None,
        typer.Option("--shm", metavar="NAME", help="Shared memory (generic-linux).", rich_help_panel=_PROCESS),
    ] = None,
    socket: Annotated[
        str | None,
        typer.Option("--socket", metavar="PATH", help="The socket (generic-linux).", rich_help_panel=_PROCESS),
    ] = None,
    board: BoardOption = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="IMAGE", help="Firmware in place of ours (emulated).")
    ] = None,
    count: Annotated[
        int | None,
        typer.Option("--count", "-n", min=1, help="Messages, products or rounds.", rich_help_panel=_SAMPLE),
    ] = None,
    sizes: Annotated[
        str | None,
        typer.Option("--sizes", metavar="SIZES", help="Payload sizes (echo, nocopy).", rich_help_panel=_SAMPLE),
    ] = None,
    size: Annotated[
        int | None, typer.Option("--size", min=1, help="Payload size (flood).", rich_help_panel=_SAMPLE)
    ] = None,
    root: Annotated[
        str | None,
        typer.Option(
            "--root",
            metavar="DIR",
            help="Folder to serve (rpc, proxy); else an empty one, deleted at the end.",
            rich_help_panel=_SAMPLE,
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Remotes may not write (rpc, proxy).", rich_help_panel=_SAMPLE)
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            "--timeout",
            "-t",
            min=0,
            metavar="SECONDS",
            help="For the other side to come, and for each answer; the host's default is 10.",
        ),
    ] = None,
    grace: Annotated[
        float | None, typer.Option("--grace", min=0, metavar="SECONDS", help="For the remote's end; 0 leaves it alone.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Run one of OpenAMP's samples: its host's side, its remote's side, or both.

    Two processes, each started by hand in any order:  openamp sample echo remote;  openamp sample echo host.
    With --mode generic-linux, the C program of the same name can be either of them.

    Exit status: 0 when all was answered as it should be, and for a remote that was ended; 1 when an answer was wrong or
    the remote crashed; 4 when none came in time.
    """
    from openamp.samples import SAMPLES

    chosen = SAMPLES[name]
    wire = _given(name=link, processor=processor, shm=shm, socket_path=socket)
    given = _given(
        count=count,
        sizes=None if sizes is None else parse_sizes(sizes),
        size=size,
        root=root,
        writable=False if read_only else None,
        grace=grace,
    )
    _check_place(side, platform, mode, wire, emulated=_given(board=board, image=image))
    _check_options(chosen, side, given)
    wire["mode"] = str(mode)
    document = {"sample": str(name), "side": str(side), "platform": str(platform)}
    if side is Side.REMOTE:
        _report_served(document, _serve(chosen, wire, given, timeout), as_json)
        return
    patience = DEFAULT_TIMEOUT if timeout is None else timeout
    with ExitStack() as stack:
        if "root" in _parameters(chosen.host):
            given = _console(stack, as_json) | given
        if platform is Platform.EMULATED:
            rproc = stack.enter_context(_boot_board(chosen, board, image))
        elif platform is Platform.LOOPBACK:
            rproc = stack.enter_context(_boot_thread(chosen, given))
        elif side is Side.BOTH:
            rproc = stack.enter_context(_boot_program(chosen, given))
        else:
            rproc = stack.enter_context(_meet(chosen, wire, patience, quiet=as_json))
        result = _run(chosen, rproc, timeout=patience, **given)
    _report_result(document, result, as_json)
    if result.num_errors:
        raise typer.Exit(ExitCode.FAILED)


# -- what was asked for ------------------------------------------------------------------------------------------------


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _parameters(function: Callable[..., object]) -> list[str]:
    return [name for name in inspect.signature(function).parameters if name not in ("bus", "dialect")]


def _check_place(side: Side, platform: Platform, mode: Mode, wire: dict[str, Any], emulated: dict[str, Any]) -> None:
    """Refuses combinations that there are not."""
    if side is Side.REMOTE and platform is not Platform.PROCESS:
        what = "is the firmware" if platform is Platform.EMULATED else "lives in the host's process"
        raise typer.BadParameter(f"the remote {what} on this platform; run the host's side, or both", param_hint="SIDE")
    if side is Side.HOST and platform is Platform.LOOPBACK:
        raise typer.BadParameter("on the loopback both sides are one process; run both", param_hint="SIDE")
    if emulated and platform is not Platform.EMULATED:
        raise typer.BadParameter("it goes with --platform emulated", param_hint=f"--{next(iter(emulated))}")
    if wire and (platform is not Platform.PROCESS or side is Side.BOTH):
        raise typer.BadParameter(
            f"--{next(iter(wire)).partition('_')[0]} is for two processes that are started by hand; name the side"
        )
    if mode is Mode.GENERIC_LINUX and (platform is not Platform.PROCESS or side is Side.BOTH):
        raise typer.BadParameter("two processes are started by hand then; name the side", param_hint="--mode")


def _check_options(chosen: Sample, side: Side, given: dict[str, Any]) -> None:
    """Refuses options that the sample has not."""
    known = _parameters(chosen.remote if side is Side.REMOTE else chosen.host)
    for option in given:
        if option not in known:
            names = [name for name in ("count", "sizes", "size", "root", "grace") if name in known]
            raise typer.BadParameter(
                f"sample {chosen.name} has no {_OPTIONS.get(option, f'--{option}')} on this side; it takes "
                f"{', '.join(f'--{name}' for name in names) or 'none of these'}"
            )


_OPTIONS = {"writable": "--read-only"}


# -- the two sides -----------------------------------------------------------------------------------------------------


def _serve(chosen: Sample, wire: dict[str, Any], given: dict[str, Any], timeout: float | None) -> Served:
    """Runs the remote's side."""
    import openamp
    from openamp.errors import HostShutdown
    from openamp.samples import Served
    from openamp.server import Ended

    try:
        with openamp.serve("process", timeout=timeout, **wire) as bus:
            return chosen.remote(bus, **given)
    except HostShutdown:  # before it was there
        return Served(0, Ended.HOST)


def _run(chosen: Sample, rproc: RemoteProc, **options: Any) -> Result:
    """Runs the host's side."""
    from openamp.errors import MessageTooLongError

    try:
        return chosen.host(rproc.bus, **options)
    except MessageTooLongError as error:
        raise typer.BadParameter(str(error), param_hint="--sizes" if "sizes" in options else "--size") from None


@contextmanager
def _meet(chosen: Sample, wire: dict[str, Any], patience: float, *, quiet: bool) -> Iterator[RemoteProc]:
    """The host of a remote that was started by hand."""
    import openamp

    if wire["mode"] == Mode.GENERIC_LINUX:
        wire = {**wire, "connect_timeout": patience}
    if not quiet:
        console(stderr=True).print(f"waiting for the remote (openamp sample {chosen.name} remote ...)", style="dim")
    with openamp.open("process", **wire) as rproc:
        rproc.boot()
        yield rproc


@contextmanager
def _boot_program(chosen: Sample, given: dict[str, Any]) -> Iterator[RemoteProc]:
    """The host of a remote that it starts."""
    import openamp
    from openamp import samples

    arguments = [f"{name}={given[name]}" for name in _parameters(chosen.remote) if name in given]
    with openamp.open("process", args=[chosen.name, *arguments]) as rproc:
        rproc.boot(os.path.join(os.path.dirname(samples.__file__), "__main__.py"))
        yield rproc


@contextmanager
def _boot_thread(chosen: Sample, given: dict[str, Any]) -> Iterator[RemoteProc]:
    """The host of a remote in this process."""
    import openamp

    def program(link: Any) -> None:
        with openamp.serve(link) as bus:
            chosen.remote(bus, **{name: given[name] for name in _parameters(chosen.remote) if name in given})

    with openamp.open("loopback", remote=program) as rproc:
        rproc.boot()
        yield rproc


@contextmanager
def _boot_board(chosen: Sample, board: str | None, image: str | None) -> Iterator[RemoteProc]:
    """The host of a firmware."""
    import openamp
    from openamp import images
    from openamp.firmware import load_image

    named = find_board(board)
    if image is not None:
        firmware = open_image(image, format=None, base=None, board=named)
    elif chosen.firmware:
        firmware = load_image(images.path(chosen.firmware, named.name if named else DEFAULT_BOARD))
    else:
        raise typer.BadParameter(
            f"no firmware of ours is the remote of sample {chosen.name}; give one", param_hint="--image"
        )
    with openamp.open("emulated", board=named or board_for(firmware)) as rproc:
        rproc.boot(firmware)
        yield rproc


def _console(stack: ExitStack, as_json: bool) -> dict[str, Any]:
    """What a host that serves files lends to its remote: a folder and this terminal."""
    from openamp.rpc.console import Printer

    return {
        "root": stack.enter_context(tempfile.TemporaryDirectory(prefix="openamp-rpc-")),
        "stdin": sys.stdin.buffer.readline if sys.stdin is not None else None,
        "stdout": Printer("stderr" if as_json else "stdout").write,
    }


# -- results -----------------------------------------------------------------------------------------------------------


def _report_served(document: dict[str, Any], served: Served, as_json: bool) -> None:
    document |= {"messages": served.num_messages, "ended": served.ended.value}
    if as_json:
        print_json(document)
        return
    why = "the host has ended it" if served.ended.value == "host" else "it has ended"
    console().print(f"{document['sample']}: answered {served.num_messages} messages; {why}")


def _report_result(document: dict[str, Any], result: Result, as_json: bool) -> None:
    rate = result.num_messages / result.seconds if result.seconds else 0.0
    document |= {
        "messages": result.num_messages,
        "bytes": result.num_bytes,
        "seconds": round(result.seconds, 6),
        "messages_per_s": round(rate, 1),
        "errors": result.num_errors,
        "mismatches": [mismatch._asdict() for mismatch in result.mismatches],
        "ended_after_s": None if result.ended_after is None else round(result.ended_after, 6),
    }
    if as_json:
        print_json(document)
        return
    out = console()
    out.print(
        f"{document['sample']} on {document['platform']}: {result.num_messages} messages, {result.num_bytes} bytes in "
        f"{result.seconds:.3f} s ({rate:.0f} messages/s)",
        style="bold",
    )
    if result.num_errors:
        out.print(f"  {result.num_errors} answers were wrong", style="bold red")
        for mismatch in result.mismatches[:MAX_SHOWN]:
            out.print(f"    {mismatch}", style="red")
    else:
        out.print("  all were answered as they should be", style="green")
    if result.ended_after is not None:
        out.print(f"  the remote ended {result.ended_after * 1000:.1f} ms later")
