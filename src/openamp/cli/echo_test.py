"""`openamp echo-test`: the OpenAMP echo test, with an integrity check and latencies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from openamp.cli.common import (
    DEFAULT_BOARD,
    BaseOption,
    BoardOption,
    ExitCode,
    FormatOption,
    JsonOption,
    board_for,
    console,
    find_board,
    guarded,
    open_image,
    print_json,
    printable,
)
from openamp.cli.histogram import histogram

if TYPE_CHECKING:
    from openamp.samples.echo import EchoResult

__all__ = ["echo_test", "parse_sizes"]

MAX_SHOWN = 5


@guarded()
def echo_test(
    image: Annotated[
        str | None,
        typer.Argument(metavar="[IMAGE]", help="A firmware file; without one the echo application of ours."),
    ] = None,
    board: BoardOption = None,
    sizes: Annotated[
        str | None,
        typer.Option(
            "--sizes", "-s", metavar="SIZES", help="Payload sizes, such as 1..496 or 1,16,256; all by default."
        ),
    ] = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="How often to go through the sizes.")] = 1,
    service: Annotated[
        str, typer.Option("--service", metavar="NAME", help="The channel to test.")
    ] = "rpmsg-openamp-demo-channel",
    timeout: Annotated[
        float, typer.Option("--timeout", "-t", min=0, metavar="SECONDS", help="For the channel, and for each echo.")
    ] = 5.0,
    format: FormatOption = None,
    base: BaseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send messages of all sizes to an echo firmware and check that they come back unchanged, then shut it down.

    Exit status: 0 when all came back unchanged, 1 when one did not or the remote crashed, 4 when none came in time.
    """
    import openamp
    from openamp import images
    from openamp.cli.live import ECHO_SERVICE, ask_to_end
    from openamp.firmware import load_image
    from openamp.samples.echo import exchange

    begin = time.monotonic()
    wanted = None if sizes is None else parse_sizes(sizes)
    named = find_board(board)
    if image is None:
        opened = load_image(images.path("echo", named.name if named else DEFAULT_BOARD))
    else:
        opened = open_image(image, format=format, base=base, board=named)
    chosen = named or board_for(opened)
    document: dict[str, Any] = {"image": opened.name, "board": chosen.name, "service": service}
    with openamp.open("emulated", board=chosen) as rproc:
        rproc.boot(opened)
        document["boot_s"] = round(time.monotonic() - begin, 6)
        endpoint = rproc.create_endpoint(service, timeout=timeout)
        document["bound_s"] = round(time.monotonic() - begin, 6)
        document |= {"src": endpoint.src, "dst": endpoint.dst, "mtu": endpoint.mtu}
        plan = check_sizes(wanted or range(1, endpoint.mtu + 1), endpoint.mtu)
        result = exchange(endpoint, plan, count, timeout)
        document |= _figures(result, plan)
        document["shutdown_asked"] = service == ECHO_SERVICE
        ended = ask_to_end(rproc, grace=min(timeout, 2.0)) if service == ECHO_SERVICE else None
        document["graceful_shutdown_s"] = None if ended is None else round(ended, 6)
    if as_json:
        print_json(document)
    else:
        _show(document, result)
    if result.mismatches:
        raise typer.Exit(ExitCode.FAILED)


def parse_sizes(text: str) -> tuple[int, ...]:
    """Returns the sizes of a list of numbers and ranges, such as "1..16,64,128..256:64" (last included; step 64)."""
    sizes: list[int] = []
    for part in text.split(","):
        span, _, step = part.partition(":")
        first, dots, last = span.partition("..")
        try:
            numbers = range(int(first), int(last if dots else first) + 1, int(step or 1))
        except ValueError:
            numbers = range(0)
        if not numbers or numbers[0] < 1 or numbers[-1] > 0xFFFF:
            raise typer.BadParameter(
                f"{part!r} is no size or range of sizes from 1 to 65535; write them like 1..496 or 1,16,256",
                param_hint="--sizes",
            )
        sizes += numbers
    return tuple(sizes)


def check_sizes(sizes: Sequence[int], mtu: int) -> Sequence[int]:
    """Refuses sizes that the channel cannot carry."""
    if max(sizes) > mtu:
        raise typer.BadParameter(
            f"{max(sizes)} bytes do not fit a message of this channel; the largest is {mtu}", param_hint="--sizes"
        )
    return sizes


def _figures(result: EchoResult, sizes: Sequence[int]) -> dict[str, Any]:
    ordered = sorted(result.latencies)
    total = sum(ordered) / 1e9
    at = len(ordered) - 1
    return {
        "messages": len(ordered),
        "min_size": min(sizes),
        "max_size": max(sizes),
        "errors": result.num_errors,
        "mismatches": [m._asdict() for m in result.mismatches],
        "latency_us": {
            "min": ordered[0] / 1000,
            "median": ordered[at // 2] / 1000,
            "p99": ordered[round(at * 0.99)] / 1000,
            "max": ordered[-1] / 1000,
        },
        "histogram_us": [{"from": low, "to": high, "count": n} for low, high, n in histogram(result.latencies)],
        "echoes_per_s": len(ordered) / total if total else None,
        "bytes_per_s": result.num_bytes / total if total else None,
    }


def _show(document: dict[str, Any], result: EchoResult) -> None:
    from rich.text import Text

    out = console()
    out.print(
        Text.assemble(
            ("echo test ", "bold"),
            printable(f"of {document['image']} on {document['board']}, channel {document['service']} "),
            (f"({document['src']:#x} to {document['dst']:#x})", "dim"),
        ),
        soft_wrap=True,
    )
    count, errors = document["messages"], document["errors"]
    sizes = f"of {document['min_size']}..{document['max_size']} bytes"
    if errors:
        out.print(Text(f"  {errors} of {count} messages {sizes} came back changed", style="bold red"))
        for mismatch in result.mismatches[:MAX_SHOWN]:
            out.print(Text(f"    {mismatch}", style="red"))
        if errors > MAX_SHOWN:
            out.print(f"    ... and {errors - MAX_SHOWN} more")
    else:
        out.print(Text(f"  {count} messages {sizes} came back unchanged", style="green"))
    latency = document["latency_us"]
    out.print("  latency: " + ", ".join(f"{name} {_time(latency[name])}" for name in ("min", "median", "p99", "max")))
    up = _time(document["bound_s"] * 1e6)
    out.print(f"  {document['echoes_per_s']:.0f} echoes/s; the channel was up {up} after the start")
    for line in _bars(document["histogram_us"], out.width, (out.encoding or "").lower().startswith("utf")):
        out.print(line, no_wrap=True, overflow="crop")
    ended = document["graceful_shutdown_s"]
    if ended is not None:
        out.print(f"  the firmware ended gracefully {_time(ended * 1e6)} after the shutdown message")
    elif document["shutdown_asked"]:
        out.print("  the firmware did not end after the shutdown message; the core was put into reset")


def _time(microseconds: float) -> str:
    if microseconds < 1000:
        return f"{microseconds:.4g} us"
    return f"{microseconds / 1000:.4g} ms" if microseconds < 1e6 else f"{microseconds / 1e6:.4g} s"


def _bars(rows: Sequence[dict[str, Any]], width: int, unicode: bool) -> Iterator[str]:
    most = max(row["count"] for row in rows)
    room = max(width - 36, 8)
    for row, after in zip(rows, [*rows[1:], {"count": 1}], strict=True):
        if not row["count"]:
            if after["count"]:
                yield "       ..."  # one line for all empty rows in between
            continue
        length = -(-row["count"] * room // most)
        limits = f"{_time(row['from']):>9} .. {_time(row['to']):<9}"
        yield f"  {limits} {('█' if unicode else '#') * length} {row['count']}"
