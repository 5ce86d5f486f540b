"""The life cycle of a remote processor: load its firmware, start it, talk to it, stop it, recover it.

`RemoteProc` is the host's side. What it does is the same on every platform: decode the image, find places for what
its resource table asks for, load it, create the virtio devices, release the remote from reset. `TRANSITIONS` is the
whole life cycle as a table.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import os
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from openamp.answers import set_driver_ok, write_table
from openamp.carveout import BufferPool, PlacedVdev, Placement, place
from openamp.errors import (
    ClosedError,
    CrashReport,
    OpenAMPError,
    PlatformError,
    RemoteCrashed,
    RemoteError,
    RemoteExited,
    StateError,
    TimeoutExpired,
)
from openamp.firmware import FirmwareImage, load_image
from openamp.link import (
    BuiltinFirmware,
    Concurrent,
    Console,
    CoreDumper,
    Crash,
    Diagnosable,
    Event,
    Exit,
    HostPlatform,
    Kick,
    ProgramPlatform,
    Wakeable,
)
from openamp.memory import MemoryMap
from openamp.resource_table import LiveTable, ResourceTable
from openamp.rpmsg import ADDR_ANY, Bus, Endpoint, HostBus
from openamp.rpmsg.endpoint import Callback
from openamp.rpmsg.transport import SPIN_FROM
from openamp.rpmsg.waiting import WaitingRoom
from openamp.trace import TraceBuffer, find_traces
from openamp.virtio import DriverQueue
from openamp.virtio.device import VIRTIO_RPMSG_F_NS

__all__ = ["TRANSITIONS", "RemoteProc", "Shutdown", "State"]

_TAIL_LINES = 12

Firmware = str | os.PathLike[str] | bytes | FirmwareImage


class State(enum.Enum):
    """Where a remote processor is in its life."""

    OFFLINE = "offline"  # no firmware
    LOADED = "loaded"  # firmware decoded, its resources placed
    RUNNING = "running"
    CRASHED = "crashed"
    STOPPED = "stopped"  # in reset again; the firmware is still known


TRANSITIONS: dict[State, dict[str, State]] = {
    State.OFFLINE: {"load": State.LOADED, "boot": State.RUNNING},
    State.LOADED: {"load": State.LOADED, "boot": State.RUNNING, "start": State.RUNNING},
    State.RUNNING: {"stop": State.STOPPED, "shutdown": State.STOPPED, "crash": State.CRASHED, "exit": State.STOPPED},
    State.CRASHED: {"recover": State.RUNNING, "stop": State.STOPPED, "shutdown": State.STOPPED},
    State.STOPPED: {
        "load": State.LOADED,
        "boot": State.RUNNING,
        "start": State.RUNNING,
        "stop": State.STOPPED,
        "shutdown": State.STOPPED,
    },
}
"""State, action and next state. `crash` and `exit` are the remote's own actions."""

_EVENTS = ("crash", "exit")


class Shutdown:
    """A shutdown under way; `wait()` until the remote is in reset."""

    def __init__(self, platform: HostPlatform, room: WaitingRoom) -> None:
        self._platform = platform
        self._room = room

    def wait(self, *, timeout: float | None = 5.0) -> None:
        """Waits until the remote is in reset.

        Raises:
            TimeoutExpired: when it is not after `timeout` seconds.
        """
        with self._room.alone():
            in_reset = self._platform.join(timeout)
        if not in_reset:
            raise TimeoutExpired(
                f"the remote is not in reset {timeout} s after the shutdown; wait longer, or end it from outside",
                timeout=timeout,
            )


class RemoteProc:
    """A remote processor, seen from its host.

    Use it as a context manager: leaving the block shuts the remote down and gives everything back.

    Any thread may call anything. The calls that change the state come one after the other; `shutdown`, `stop` and
    `close` end what other threads wait for.

    Args:
        platform: where the remote lives.
        h2r_buf_size: size of the host-to-remote buffers in bytes, 16 of them for the RPMsg header.
        r2h_buf_size: the same for remote-to-host buffers.
        acknowledge: answer a name service announcement with one of our own when an endpoint is bound, as OpenAMP's
            hosts do; False behaves like Linux, where the first message tells the remote our address.
        allow_overlap: load images whose segments overwrite each other; the later segment wins, as in Linux.
    """

    def __init__(
        self,
        platform: HostPlatform,
        *,
        h2r_buf_size: int = 512,
        r2h_buf_size: int = 512,
        acknowledge: bool = True,
        allow_overlap: bool = False,
    ) -> None:
        self.platform = platform
        self._sizes = {"h2r_buf_size": h2r_buf_size, "r2h_buf_size": r2h_buf_size}
        self._acknowledge = acknowledge
        self._allow_overlap = allow_overlap
        self._state = State.OFFLINE
        self._image: FirmwareImage | None = None
        self._pristine: ResourceTable | None = None
        self._placement = Placement((), (), ())
        self._live: LiveTable | None = None
        self._buses: tuple[HostBus, ...] = ()
        self._traces: tuple[TraceBuffer, ...] = ()
        self._ended: RemoteError | None = None
        self._driver_ok = False
        self._outputs: list[Callable[[str, bytes], object]] = []
        self._output_errors: list[Exception] = []  # what callbacks raised within the platform
        self._on_bus: list[Callable[[Bus], object]] = []
        self._closed = False
        self._num_happened = 0  # how often the remote signalled something
        self._room = WaitingRoom(self._pump, platform.wake if isinstance(platform, Wakeable) else None)
        if isinstance(platform, Console):
            platform.on_output(self._emit)

    def __repr__(self) -> str:
        firmware = f" with {self._image.name!r}" if self._image is not None else ""
        state = "closed" if self._closed else self._state.value
        return f"<RemoteProc on {type(self.platform).__name__}{firmware}: {state}>"

    # -- what there is ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    @property
    def image(self) -> FirmwareImage | None:
        """The loaded firmware image, or None."""
        return self._image

    @property
    def memory(self) -> MemoryMap:
        """What host and remote both see, by device address."""
        return self.platform.memory

    @property
    def resource_table(self) -> ResourceTable | None:
        """The firmware's resource table as it is in the image, or None where it has none."""
        return self._pristine

    @property
    def live_table(self) -> LiveTable | None:
        """The resource table in the remote's memory, with addresses, ids and status; None before the first start."""
        return self._live

    @property
    def placement(self) -> Placement:
        """Where carve-outs, rings and buffers are, and notes on what was not as the firmware asked."""
        return self._placement

    @property
    def buses(self) -> tuple[Bus, ...]:
        """One RPMsg bus for each RPMsg device of the table; the first is `bus`."""
        return self._buses

    @property
    def bus(self) -> Bus:
        """The (first) RPMsg bus.

        Raises:
            RemoteCrashed, RemoteExited: when the remote has ended.
            StateError: when the remote does not run.
            PlatformError: when the firmware has no RPMsg device.
        """
        if self._ended is not None:
            raise self._ended
        if self._state is not State.RUNNING:
            raise self._wrong("use the bus", needed="start or boot it first")
        if not self._buses:
            why = "has no resource table" if self._pristine is None else "has no RPMsg device in its resource table"
            raise PlatformError(
                f"{self._image.name if self._image else 'the firmware'} {why}, so there is no bus; add a vdev entry "
                f"with id 7 and two vrings in a section named .resource_table"
            )
        return self._buses[0]

    # -- life cycle ------------------------------------------------------------------------------------------------

    def load(self, firmware: Firmware | None = None) -> FirmwareImage:
        """Decodes an image, handles its resource table and finds places for all that it asks for.

        Args:
            firmware: a path, the bytes themselves, or an image; None takes the platform's own, where it has one.

        Raises:
            ImageError, ResourceTableError: when the image or its table is broken.
            PlatformError: when the image does not fit the platform (the wrong machine, memory it does not have).
            AddressError, AllocationError: when carve-outs or rings find no place.
            StateError: while the remote runs, or when there is no firmware.
        """
        with self._room.alone():
            self._require("load")
            if firmware is None:
                firmware = self._builtin_firmware()
            self._await_reset()
            if isinstance(self.platform, ProgramPlatform) and isinstance(firmware, (str, os.PathLike)):
                image = self.platform.open_firmware(os.fspath(firmware))
            else:
                image = load_image(firmware)
            table = None
            if image.resource_table is not None:
                table = ResourceTable.parse(image.resource_table.data, image.byte_order)
            self.platform.prepare(image)
            placement = Placement((), (), ())
            if table is not None:
                placement = place(table, image, self.memory, **self._sizes)
            self._image, self._pristine, self._placement = image, table, placement
            self._live = None
            self._traces = ()
            self._state = State.LOADED
            return image

    def start(self) -> None:
        """Loads code and data into memory, creates the virtio devices and releases the remote from reset.

        Memory, resource table, status and rings are fresh each time.

        Raises:
            RemoteCrashed, RemoteExited: when the remote ends in its first moments.
            StateError: when there is no firmware or it runs already.
        """
        with self._room.alone():
            self._require("start")
            self._start()
        self._look()

    def boot(self, firmware: Firmware | None = None) -> None:
        """Loads `firmware` (or the one that is known) and starts it."""
        with self._room.alone():
            self._require("boot")
            if firmware is not None or self._image is None:
                self.load(firmware)
            self._start()
        self._look()

    def shutdown(self) -> Shutdown:
        """Begins to put the remote into reset and returns at once; `.wait()` on the result for the end.

        The remote is not asked: send it your application's shutdown message before, for a graceful end.
        """
        with self._room.alone():
            self._require("shutdown")
            with self._room.lock:
                self._state = State.STOPPED
                self._ended = None
            self._fail_buses("the remote was shut down; start it again and create the endpoint anew")
            self.platform.stop()
        return Shutdown(self.platform, self._room)

    def stop(self, *, timeout: float | None = 5.0) -> None:
        """Puts the remote into reset and waits for it: `shutdown().wait()`."""
        with self._room.alone():
            self._require("stop")
            self.shutdown().wait(timeout=timeout)
        _raise_first(self._take_output_errors())

    def recover(self) -> None:
        """Boots a crashed remote again with the same firmware."""
        with self._room.alone():
            self._require("recover")
            self.stop()
            self._start()
        self._look()

    def close(self) -> None:
        """Stops the remote if need be and gives everything back; harmless when repeated."""
        with self._room.alone():
            if self._closed:
                return
            try:
                if "stop" in TRANSITIONS[self._state]:
                    self.stop()
            finally:
                self._closed = True
                for bus in self._buses:
                    bus.close()
                self._buses = ()
                self._live = None
                self._traces = ()
                self.platform.close()

    def __enter__(self) -> RemoteProc:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"(then the remote's shutdown failed: {failure})")

    # -- talking ---------------------------------------------------------------------------------------------------

    def create_endpoint(
        self,
        name: str = "",
        *,
        src: int = ADDR_ANY,
        dst: int = ADDR_ANY,
        callback: Callback | None = None,
        announce: bool | None = None,
        timeout: float | None = 5.0,
        backlog: int | None = None,
        zero_copy: bool = False,
        unbind_callback: Callable[[Endpoint], object] | None = None,
    ) -> Endpoint:
        """Creates an endpoint on the (first) bus; with a name and no `dst` it waits for the remote's announcement.

        See `Bus.create_endpoint`.
        """
        return self.bus.create_endpoint(
            name,
            src=src,
            dst=dst,
            callback=callback,
            announce=announce,
            timeout=timeout,
            backlog=backlog,
            zero_copy=zero_copy,
            unbind_callback=unbind_callback,
        )

    def wait(self, *, timeout: float | None = None) -> bool:
        """Lets the remote run and handles what it sends, for at most `timeout` seconds.

        Returns:
            True when something happened, False when the time passed.

        Raises:
            RemoteCrashed, RemoteExited: when the remote has ended. Where news came together with the end, the call
                returns True and the next one raises.
            StateError: when it does not run.
        """
        left, deadline = timeout, None if timeout is None else time.monotonic() + timeout
        with self._room.lock:
            before = self._num_happened

            def ready() -> bool:
                return self._num_happened != before or self._ended is not None or self._state is not State.RUNNING

            while True:
                if self._ended is None and self._state is not State.RUNNING:
                    raise self._wrong("wait for it", needed="start or boot it first")
                self._room.wait(left, ready)
                if self._num_happened != before:
                    return True
                if self._ended is not None:
                    raise self._ended
                if deadline is not None:
                    left = deadline - time.monotonic()
                    if left <= 0:
                        return False

    def on_output(self, callback: Callable[[str, bytes], object]) -> Callable[[str, bytes], object]:
        """Calls back with (stream name, bytes) for all console and trace output from now on.

        Streams are the platform's ("uart0", "semihosting", "stdout") and the resource table's trace buffers. The
        calls come from within `start`, `wait` and every call that waits, in order for each stream. Also a decorator.
        """
        self._outputs.append(callback)
        return callback

    def on_bus(self, callback: Callable[[Bus], object]) -> Callable[[Bus], object]:
        """Calls back with each bus at every start, before the remote is released from reset.

        The place for `bus.on_channel_created`, so that no announcement is missed. Also a decorator.
        """
        self._on_bus.append(callback)
        return callback

    def trace(self, index: int = 0) -> str:
        """Returns the text in the trace buffer with this index, "" where the firmware has none."""
        return self._traces[index].text() if index < len(self._traces) else ""

    def registers(self) -> dict[str, int]:
        """Returns the remote's registers; PlatformError where the platform cannot read them."""
        if isinstance(self.platform, CoreDumper):
            return self.platform.registers()
        raise PlatformError(f"the {type(self.platform).__name__} cannot read the remote's registers")

    # -- inside ----------------------------------------------------------------------------------------------------

    def _require(self, action: str) -> None:
        if self._closed or action not in TRANSITIONS[self._state]:
            raise self._wrong(action)

    def _wrong(self, action: str, *, needed: str = "") -> StateError:
        if self._closed:
            return StateError(f"cannot {action}: this RemoteProc was closed; open another one", state="closed")
        allowed = tuple(name for name in TRANSITIONS[self._state] if name not in _EVENTS)
        return StateError(
            f"cannot {action} while the remote is {self._state.value}"
            + (f"; {needed}" if needed else "")
            + f" (allowed now: {', '.join(allowed)})",
            state=self._state.value,
            allowed=allowed,
        )

    def _builtin_firmware(self) -> FirmwareImage:
        if isinstance(self.platform, BuiltinFirmware):
            return self.platform.builtin_firmware()
        raise StateError(
            "there is no firmware to boot: name an image, as in boot('firmware.elf')",
            state=self._state.value,
            allowed=("load", "boot"),
        )

    def _await_reset(self) -> None:
        Shutdown(self.platform, self._room).wait()

    def _start(self) -> None:
        image = self._image
        if image is None:  # the transition table allows no start without an image
            raise self._wrong("start")
        self._await_reset()
        self._ended, self._driver_ok = None, False
        self.platform.prepare(image)
        image.load(self.memory, allow_overlap=self._allow_overlap)
        if self._pristine is not None and image.resource_table is not None:
            self._live = write_table(self._pristine, image.resource_table, self._placement, self.memory)
            self._traces = find_traces(self._pristine, self.memory)
        vdevs = [vdev for vdev in self._placement.vdevs if vdev.r2h_buffers is not None]
        self._buses = tuple(self._create_bus(vdev) for vdev in vdevs)
        if isinstance(self.platform, Concurrent) and len(self._buses) == 1:  # several would wait for each other's spins
            self._buses[0].set_spin(self.platform.spin)
        try:
            for bus in self._buses:
                for callback in self._on_bus:
                    callback(bus)
            self._state = State.RUNNING
            self.platform.start(image, [ring.notify_id for vdev in self._placement.vdevs for ring in vdev.vrings])
        except BaseException:
            self._state = State.STOPPED
            self._fail_buses("the remote's start failed; start it again and create the endpoint anew")
            self._buses = ()
            with contextlib.suppress(OpenAMPError):
                self.platform.stop()
            raise
        self._driver_ok = True
        if self._live is not None:
            set_driver_ok(self._live, self._placement)
        for vdev in vdevs:
            self.platform.kick(vdev.vrings[0].notify_id)

    def _look(self) -> None:
        """Handles what a remote that has just started did in its first moments."""
        self._room.pump(0)
        if self._ended is not None:
            raise self._ended

    def _create_bus(self, vdev: PlacedVdev) -> HostBus:
        queues = []
        for name, ring in zip(("r2h", "h2r"), vdev.vrings, strict=True):
            queue = DriverQueue.contiguous(self.memory.view(ring.da, ring.size), ring.num, ring.align, name=name)
            queue.reset()
            queues.append(queue)
        r2h, h2r = queues
        return HostBus(
            r2h=r2h,
            h2r=h2r,
            r2h_buffers=self._buffers(vdev.r2h_buffers),
            h2r_buffers=self._buffers(vdev.h2r_buffers),
            features=vdev.vdev.dfeatures & VIRTIO_RPMSG_F_NS,
            kick=self._kick,
            pump=self._room,
            notify_ids=(vdev.vrings[0].notify_id, vdev.vrings[1].notify_id),
            acknowledge=self._acknowledge,
            diagnose=self.diagnose,
        )

    def _buffers(self, pool: BufferPool | None) -> Sequence[tuple[int, memoryview]]:
        return [(da, self.memory.view(da, pool.size)) for da in pool.addresses()] if pool is not None else []

    def _kick(self, notify_id: int) -> None:
        if self._driver_ok:  # before it the remote must not look; the kick after DRIVER_OK covers all
            self.platform.kick(notify_id)

    def _pump(self, timeout: float | None) -> None:
        """Lets the platform run until something happens, and handles it: the one place that waits.

        One thread at a time is here, without the lock; but once it runs callbacks, another one may come.

        The remote's end is raised by the calls after the one that learnt of it, so that what had arrived before
        can still be taken.
        """
        if self._ended is not None:
            raise self._ended
        spins = timeout is None or timeout >= SPIN_FROM
        pending = [bus for bus in self._buses if bus.pending or (spins and bus.spin())]
        pending = pending or [bus for bus in self._buses if bus.arm()]
        events = self.platform.wait(0 if pending else timeout)
        if events and spins:
            for bus in self._buses:
                bus.resume()
        if self._outputs:
            self._follow_traces()
        errors = self._take_output_errors()
        end = next((event for event in events if not isinstance(event, Kick)), None)
        with self._room.lock:
            self._num_happened += bool(pending) or any(isinstance(event, Kick) for event in events)
            if end is not None:  # before callbacks run: other threads must not wait for more
                self._note_end(end)
        for bus in pending:  # its peer signals nothing before it is empty
            _attempt(errors, bus.notified)
        for event in events:
            if isinstance(event, Kick):
                for bus in self._buses:
                    _attempt(errors, bus.notified, event.notify_id)
        if end is not None:
            self._finish(errors)
        _raise_first(errors)

    def _note_end(self, event: Event) -> None:
        if isinstance(event, Crash):
            self._ended = RemoteCrashed(self._with_traces(event.report))
            self._state = State.CRASHED
        elif isinstance(event, Exit):
            code = "" if event.code is None else f" with status {event.code}"
            self._ended = RemoteExited(f"the remote ended by itself{code}", code=event.code)
            self._state = State.STOPPED

    def _finish(self, errors: list[Exception]) -> None:
        """Takes what the remote sent before its end, and ends the buses."""
        cause = self._ended
        if cause is None:  # a callback has shut it down
            return
        with contextlib.ExitStack() as stack:
            for bus in self._buses:
                stack.callback(bus.fail, cause)
            for bus in self._buses:
                try:
                    bus.poll()  # what it sent before its end is still ours
                except OpenAMPError:
                    pass  # a crash may have left the rings in any state
                except Exception as error:
                    errors.append(error)

    def _fail_buses(self, why: str) -> None:
        for bus in self._buses:
            bus.fail(ClosedError(why))

    def _with_traces(self, report: CrashReport) -> CrashReport:
        tails = [buffer.text().splitlines()[-_TAIL_LINES:] for buffer in self._traces]
        lines = [line for tail in tails for line in tail] + report.output_tail.splitlines()
        return dataclasses.replace(report, output_tail="\n".join(lines))

    def _emit(self, stream: str, data: bytes) -> None:
        for callback in self._outputs:
            _attempt(self._output_errors, callback, stream, data)

    def _take_output_errors(self) -> list[Exception]:
        errors, self._output_errors = self._output_errors, []
        return errors

    def _follow_traces(self) -> None:
        for buffer in self._traces:
            news = buffer.follow()
            if news:
                self._emit(buffer.name, news)

    def diagnose(self) -> str:
        """Returns what is known of why nothing happens, in a sentence or two, for the text of a timeout."""
        known = []
        if isinstance(self.platform, Diagnosable):
            known.append(self.platform.diagnose())
        if any(not bus.name_service for bus in self._buses):
            known.append("its RPMsg device does not offer the name service (feature bit 0), so give dst= yourself")
        last = [buffer.text().splitlines()[-1:] for buffer in self._traces]
        known += [f"its trace ends with {lines[0]!r}" for lines in last if lines]
        return "; ".join(text for text in known if text)


def _attempt(errors: list[Exception], step: Callable[..., object], *arguments: object) -> None:
    """Does a step in which callbacks run: what they raise must not lose the steps behind it."""
    try:
        step(*arguments)
    except Exception as error:
        errors.append(error)


def _raise_first(errors: list[Exception]) -> None:
    if errors:
        first, *others = errors
        if others:
            first.add_note(f"({len(others)} more errors followed before this one was raised)")
        raise first
