"""What `run` and `echo-test` report while a remote runs: events and output, as text or as JSON lines."""

from __future__ import annotations

import codecs
import signal
import struct
import time
from types import FrameType
from typing import TYPE_CHECKING, Any

from openamp.cli.common import console, crash_document, print_json, printable

if TYPE_CHECKING:
    from openamp.errors import CrashReport
    from openamp.remoteproc import RemoteProc
    from openamp.rpmsg import Bus, Channel

__all__ = ["ECHO_SERVICE", "SHUTDOWN_MESSAGE", "Interrupts", "Reporter", "ask_to_end"]

ECHO_SERVICE = "rpmsg-openamp-demo-channel"
SHUTDOWN_MESSAGE = struct.pack("<I", 0xEF56A55A)
"""What OpenAMP's echo sample takes for "clean up and end"."""

SLICE = 0.1
"""Seconds between looks for an interruption."""

LAST_WORDS = 0.05
"""Seconds that a firmware which has ended its channel gets for what it still has to print."""

MAX_LINE = 4096
_COLOURS = ("cyan", "magenta", "green", "yellow", "blue")


class Interrupts:
    """Counts Ctrl-C and SIGTERM instead of being torn down by them; a third raises KeyboardInterrupt."""

    def __init__(self) -> None:
        self.count = 0
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 2:
            raise KeyboardInterrupt


class _Stream:
    """One output stream, cut into lines."""

    def __init__(self, name: str, colour: str) -> None:
        self.name = name
        self.colour = colour
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> list[str]:
        """Returns the lines that are complete now."""
        *lines, rest = (self._rest + self._decoder.decode(data)).replace("\r\n", "\n").split("\n")
        while len(rest) > MAX_LINE:
            lines.append(rest[:MAX_LINE])
            rest = rest[MAX_LINE:]
        self._rest = rest
        return [line.rstrip("\r") for line in lines]

    def flush(self) -> list[str]:
        """Returns what there is of a line that has not ended."""
        rest, self._rest = self._rest.rstrip("\r"), ""
        return [rest] if rest else []


class Reporter:
    """Prints what happens, in order: events with the time since the start, and output with its stream's name."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._begin = time.monotonic()
        self._streams: dict[str, _Stream] = {}
        self._out = None if as_json else console()

    def event(self, kind: str, text: str, /, *, style: str = "", **details: Any) -> None:
        """Reports an event: `text` for people, `details` as JSON data."""
        elapsed = time.monotonic() - self._begin
        if self._out is None:
            print_json({"event": kind, "time": round(elapsed, 6), **details}, indent=None)
            return
        from rich.text import Text

        line = Text.assemble((f"[{elapsed:8.3f}] ", "dim"), (printable(text, keep="\n"), style))
        self._out.print(line, soft_wrap=True)

    def output(self, stream: str, data: bytes) -> None:
        """Reports output of the remote; complete lines are printed, the rest waits for more or for `flush`."""
        known = self._streams.get(stream)
        if known is None:
            colour = _COLOURS[len(self._streams) % len(_COLOURS)]
            known = self._streams[stream] = _Stream(stream, colour)
        for line in known.feed(data):
            self._line(known, line)

    def flush(self) -> None:
        """Prints lines that have not ended."""
        for stream in self._streams.values():
            for line in stream.flush():
                self._line(stream, line)

    def _line(self, stream: _Stream, line: str) -> None:
        if self._out is None:
            elapsed = time.monotonic() - self._begin
            print_json({"event": "output", "time": round(elapsed, 6), "stream": stream.name, "text": line}, indent=None)
            return
        from rich.text import Text

        width = max(len(printable(name)) for name in self._streams)
        # Colours that the firmware sends are kept, everything else that would act on the terminal is spelled out.
        body = Text.from_ansi(line)
        if not body.plain.replace("\t", "").isprintable():
            body = Text(printable(body.plain, keep="\t"))
        label = Text(f"{printable(stream.name):>{width}} | ", style=stream.colour)
        self._out.print(label + body, soft_wrap=True)

    def follow(self, rproc: RemoteProc) -> None:
        """Reports the remote's output and channels from now on."""
        rproc.on_output(self.output)
        rproc.on_bus(self._follow_bus)

    def _follow_bus(self, bus: Bus) -> None:
        bus.on_channel_created(self._created)
        bus.on_channel_destroyed(self._destroyed)

    def _created(self, channel: Channel) -> None:
        self.event(
            "channel-created",
            f"+ channel {channel.name} at {channel.dst:#x}",
            style="green",
            name=channel.name,
            address=channel.dst,
        )

    def _destroyed(self, channel: Channel) -> None:
        self.event(
            "channel-destroyed",
            f"- channel {channel.name} at {channel.dst:#x}",
            style="yellow",
            name=channel.name,
            address=channel.dst,
        )

    def crash(self, report: CrashReport) -> None:
        """Reports the remote's crash."""
        self.flush()
        self.event("crash", str(report), style="red", **crash_document(report))


def ask_to_end(rproc: RemoteProc, *, grace: float, interrupts: Interrupts | None = None) -> float | None:
    """Sends the echo sample's shutdown message and waits until the firmware takes its channel back, or ends.

    Args:
        rproc: a running remote whose echo channel is up.
        grace: how long to wait, in seconds.
        interrupts: a second Ctrl-C ends the wait.

    Returns:
        The seconds it took, or None when the firmware did not end in time.
    """
    from openamp.errors import RemoteExited, TimeoutExpired

    begin = time.monotonic()
    bus = rproc.bus
    channel = next((c for c in bus.channels if c.name == ECHO_SERVICE), None)
    if channel is None:
        return None
    try:
        endpoint = next((e for e in bus.endpoints if e.name == ECHO_SERVICE and e.dst == channel.dst), None)
        if endpoint is None:
            endpoint = bus.create_endpoint(ECHO_SERVICE, dst=channel.dst)
        endpoint.send(SHUTDOWN_MESSAGE, timeout=grace)
        while channel in bus.channels:
            left = begin + grace - time.monotonic()
            if left <= 0 or (interrupts is not None and interrupts.count > 1):
                return None
            rproc.wait(timeout=min(left, SLICE))
        took = time.monotonic() - begin
        rproc.wait(timeout=LAST_WORDS)
    except RemoteExited:
        took = time.monotonic() - begin
    except TimeoutExpired:
        return None
    return took
