"""`EmulatedPlatform`: a board's core and devices behind the `HostPlatform` seam.

**Time.** The core executes only inside `wait()`, and for a moment inside `start()`, in the caller's thread, in slices
of bounded length, so firmware that loops for ever cannot hang its host. Virtual time counts the core's cycles; it
stands still while the host is elsewhere. A core that sleeps costs no CPU: `wait` sleeps too, until a timer of the
firmware is due, a kick comes from another thread, or the deadline passes; then, so that polling with `wait(0)` lets
timers go on, it makes up for up to 0.1 s of the host's absence. Equal runs execute equal instructions, timers
included, as long as no deadline of the host passes and no other thread kicks; `idle="skip"` jumps to the next timer
instead of sleeping.

**Events.** A kick from the firmware is reported when the core next sleeps, or at the end of the slice: many
messages make one event. Console output is passed on after each slice.

**Memory** is zero when an image is prepared. Stopping keeps it readable; starting again resets core and devices but
leaves memory as it is, like a real reset: the caller loads the image afresh.

**Ends.** A fault becomes one `Crash`, a semihosting exit one `Exit`. A reset that the firmware asks for
(AIRCR.SYSRESETREQ) is a `Crash` too: rings and status are shared with the host, so only the host can start it
again properly.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from openamp.errors import ClosedError, PlatformError, StateError
from openamp.firmware import FirmwareImage
from openamp.link import Crash, Event, Exit, Kick
from openamp.memory import MemoryMap
from openamp.platforms.emulated.board import Board, check_image, load_board
from openamp.platforms.emulated.machine import Machine, create_core, require_engine
from openamp.platforms.emulated.report import OutputTail, crash_report, describe_activity
from openamp.platforms.emulated.semihosting import STREAM

if TYPE_CHECKING:
    from openamp.platforms.emulated.core import Core

__all__ = ["EmulatedPlatform", "EmulationStatistics"]

FIRST_SLICE = 50_000
SHORTEST_SLICE = 4_000
LONGEST_SLICE = 64_000
LONGEST_PLAIN_SLICE = 8_000
"""The same with the counter in Python, which takes a microsecond for each block of instructions."""

LATE = 0.05
"""Seconds by which virtual time may lag before the lost time is given up."""

SHORTEST_ABSENCE, LONGEST_ABSENCE = 0.002, 0.1
"""Seconds that the host was elsewhere: from when on, and how many at most, a wait that finds nothing makes up for."""

SHUTDOWN_SECONDS = 0.5
SHUTDOWN_SLICES = 16
_SIGINT = int(signal.SIGINT)

# CPython's own functions below `signal`, without the conversions to enums: 14 us less for each wait.
_signals: Any = sys.modules.get("_signal", signal)


@dataclass(frozen=True, slots=True)
class EmulationStatistics:
    """What the core has done since its last start.

    Attributes:
        instructions: executed.
        cycles: virtual time in core cycles, idle ones included.
        accesses: (device address, "read" or "write") to the number of accesses, for registers without a model.
    """

    instructions: int
    cycles: int
    accesses: Mapping[tuple[int, str], int]


class EmulatedPlatform:
    """Firmware on an emulated core in this process.

    Args:
        board: a name of `list_boards()`, the path of a board file, or a `Board`.
        idle: what time does while the core sleeps with a timer running: "wait" lets it pass as on a clock, "skip"
            jumps to the timer at once.
        shutdown_request: `stop()` first asks the firmware over the mailbox's shutdown channel, as Linux does, and
            gives it half a second.

    Raises:
        BoardError: no such board, or its file is broken.
        MissingDependencyError: unicorn is not installed.
    """

    def __init__(
        self,
        board: str | os.PathLike[str] | Board,
        *,
        idle: Literal["wait", "skip"] = "wait",
        shutdown_request: bool = False,
    ) -> None:
        if idle not in ("wait", "skip"):
            raise PlatformError(f'idle={idle!r} is unknown; it is "wait" or "skip"')
        self.board = load_board(board)
        require_engine()
        if shutdown_request and self.board.mailbox.shutdown_channel is None:
            raise PlatformError(
                f'shutdown_request: board "{self.board.name}" has no shutdown channel; add mailbox.shutdown_channel '
                f"to its file, or leave the option out"
            )
        self._skip_idle = idle == "skip"
        self._shutdown_request = shutdown_request
        self._machine = Machine(self.board)
        self._image: FirmwareImage | None = None
        self._listeners: list[Callable[[str, bytes], None]] = []
        self._tail = OutputTail()
        self._statistics = EmulationStatistics(0, 0, {})
        self._running = False  # released from reset and not ended
        self._closed = False
        self._events: deque[Event] = deque()
        self._slice = SHORTEST_SLICE
        self._longest_slice = LONGEST_SLICE
        self._anchor = (0.0, 0)  # a moment and the cycle that belongs to it
        self._left = 0.0  # when the host was last in a wait
        self._absence = 0.0  # seconds to make up for, if this wait finds nothing else
        self._run_lock = threading.RLock()  # held by the thread that executes
        self._wake = threading.Condition(threading.Lock())
        self._kicks: deque[int] = deque()  # channels that the host kicked, from any thread
        self._input: deque[tuple[str, bytes]] = deque()
        self._undelivered: deque[tuple[str, bytes]] = deque()
        self._stopping = False
        self._woken = False
        self._reset_asked = False
        self._holds_interrupt = False
        self._interrupted = False
        self._in_slice = False
        self._channels: dict[int, int] = {}  # the set of channels of a notify id
        self._users: dict[int, list[int]] = {}  # and the other way round
        self._kick_events: dict[int, tuple[Kick, ...]] = {}

    # -- what both sides see -------------------------------------------------------------------------------------

    @property
    def memory(self) -> MemoryMap:
        """All memory of the board, by the core's addresses."""
        return self._machine.memory

    def on_output(self, callback: Callable[[str, bytes], None]) -> None:
        """Calls back with (stream, bytes) for console output: the board's UARTs by name, and "semihosting"."""
        self._listeners.append(callback)

    def write_console(self, stream: str, data: bytes) -> None:
        """Lets the firmware receive `data` on a UART or by semihosting. From any thread.

        Raises:
            PlatformError: the board has no such stream.
        """
        self._require_open()
        streams = [*self._machine.uarts, STREAM]
        if stream not in streams:
            raise PlatformError(f'board "{self.board.name}" has no console "{stream}"; there are {", ".join(streams)}')
        with self._wake:
            self._input.append((stream, bytes(data)))
            self._wake.notify_all()

    # -- life cycle ----------------------------------------------------------------------------------------------

    def prepare(self, image: FirmwareImage) -> None:
        """Refuses an image that cannot run on this board; makes all memory zero.

        Raises:
            BoardError: another machine type, a segment outside the memory, no vector table (names what would fit).
        """
        self._require_open()
        check_image(self.board, image)
        self._machine.clear_memory()

    def start(self, image: FirmwareImage, notify_ids: Sequence[int]) -> None:
        """Releases the core from reset and lets it run until it sleeps, or for a moment.

        Vring number n uses channel number n of the board's `vring_channels`; where there are more vrings than
        channels, they share them.
        """
        self._require_open()
        with self._run_lock:
            machine = self._machine
            core = machine.core or self._create_core(machine)
            machine.reset_devices()
            self._tail.clear()
            self._events.clear()
            with self._wake:
                self._kicks.clear()
                self._input.clear()
            self._map_channels(notify_ids)
            self._image = image
            core.reset(image.entry if self.board.vectors is None else None)
            self._reset_asked = False
            self._running = True
            self._slice = SHORTEST_SLICE
            held = self._holds_interrupt
            try:
                self._hold_interrupt()
                self._execute(core, FIRST_SLICE)
                self._deliver()
            except BaseException:
                self._running = False
                raise
            finally:
                self._release_interrupt(held)
            self._left = time.monotonic()
            with self._wake:
                self._wake.notify_all()

    def stop(self) -> None:
        """Puts the core into reset; memory stays readable. Ends a `wait` of another thread soon."""
        self._stopping = True
        with self._wake:
            self._wake.notify_all()
        with self._run_lock:
            self._stopping = False
            if self._running and self._shutdown_request:
                self._ask_for_shutdown()
            self._running = False
            self._events.clear()

    def join(self, timeout: float | None) -> bool:
        """Returns True: `stop` has put the core into reset already."""
        return True

    def close(self) -> None:
        """Stops the core and gives the engine and the memory back; wakes every waiting thread."""
        if self._closed:
            return
        self._closed = True
        self._shutdown_request = False
        self.stop()
        self.statistics()  # keeps them
        self._machine.close()
        self._listeners.clear()

    def _require_open(self) -> None:
        if self._closed:
            raise ClosedError("this emulated platform was closed; open another one")

    def _create_core(self, machine: Machine) -> Core:
        core = create_core(machine)
        from openamp.platforms.emulated.counter import implementation

        self._longest_slice = LONGEST_SLICE if implementation == "compiled" else LONGEST_PLAIN_SLICE
        machine.install(core)
        core.on_reset = self._reset_requested
        return core

    def _ask_for_shutdown(self) -> None:
        """Sets the flag of the shutdown channel and runs the firmware until it sleeps, or took it a while ago."""
        channel = self.board.mailbox.shutdown_channel
        core = self._machine.core
        if channel is None or core is None:
            return
        flag = 1 << channel - 1
        self._machine.ipcc.kick(flag)
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        taken = 0
        while self._running and taken < SHUTDOWN_SLICES and time.monotonic() < deadline:
            self._execute(core, SHORTEST_SLICE)
            if core.asleep:
                break
            taken += not self._machine.ipcc.to_firmware & flag
        self._deliver()

    # -- kicks ---------------------------------------------------------------------------------------------------

    def _map_channels(self, notify_ids: Sequence[int]) -> None:
        channels = self.board.mailbox.vring_channels
        self._channels = {}
        self._users = {}
        self._kick_events = {}
        for number, notify_id in enumerate(notify_ids):
            bit = 1 << channels[number % len(channels)] - 1
            self._channels[notify_id] = self._channels.get(notify_id, 0) | bit
            self._users.setdefault(bit, []).append(notify_id)

    def _events_of(self, flags: int) -> tuple[Kick, ...]:
        """Returns the events for a set of channels; without an id where a channel stands for no single vring."""
        ids = [self._users.get(1 << n, []) for n in range(self._machine.ipcc.CHANNELS) if flags >> n & 1]
        events = tuple(Kick(each[0]) for each in ids) if all(len(each) == 1 for each in ids) else (Kick(None),)
        self._kick_events[flags] = events
        return events

    # -- what people want to know --------------------------------------------------------------------------------

    def registers(self) -> dict[str, int]:
        """Returns the core's registers by name, in the usual order.

        Raises:
            StateError: the core was never started.
        """
        core = self._machine.core
        if core is None:
            raise StateError("the core has no registers before its first start; start it", state="offline")
        return core.registers()

    def diagnose(self) -> str:
        """Returns one sentence on what the core does and whether it can see the host's kicks."""
        if self._closed:
            return "the emulated platform was closed"
        return describe_activity(self._machine, self._image, self._running)

    def statistics(self) -> EmulationStatistics:
        """Returns what the core has done since its last start."""
        core = self._machine.core
        if core is not None:
            accesses = dict(self._machine.log.counts)
            self._statistics = EmulationStatistics(core.instructions, core.cycles, accesses)
        return self._statistics

    def kick(self, notify_id: int) -> None:
        """Sets the flag of the vring's channel; the firmware sees it when it next runs. From any thread."""
        if self._running:
            with self._wake:
                self._kicks.append(self._channels.get(notify_id, 0))
                self._wake.notify_all()

    def wake(self) -> None:
        """Ends a `wait` in another thread soon, or the next one."""
        with self._wake:
            self._woken = True
            self._wake.notify_all()

    # -- waiting -------------------------------------------------------------------------------------------------

    def wait(self, timeout: float | None) -> Sequence[Event]:
        """Lets the core run until it kicks or ends, or the time passed; with a timeout of 0 for one slice.

        Raises:
            ClosedError: the platform was closed, before or meanwhile.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._run_lock.acquire(timeout=-1 if timeout is None else min(max(timeout, 0.0), threading.TIMEOUT_MAX)):
            return ()
        held = self._holds_interrupt
        try:
            self._hold_interrupt()
            self._arrive()
            return self._wait(deadline)
        finally:
            if self._absence >= 0:
                self._left = time.monotonic()
            self._release_interrupt(held)
            self._run_lock.release()

    def _arrive(self) -> None:
        """The host is back. The core stood still meanwhile; if it has nothing to do but sleep, that may count."""
        core, now = self._machine.core, time.monotonic()
        self._absence = 0.0
        if core is None:
            return
        self._anchor = (now, core.cycles)
        if core.asleep and not (self._kicks or self._input):
            absence = now - self._left
            # -1: too short to count, but many such absences add up.
            self._absence = min(absence, LONGEST_ABSENCE) if absence >= SHORTEST_ABSENCE else -1

    def _wait(self, deadline: float | None) -> Sequence[Event]:
        core = self._machine.core
        was_running = self._running
        while True:
            self._require_open()
            if self._events:
                events = tuple(self._events)
                self._events.clear()
                return events
            if self._stopping or self._woken:
                self._woken = False
                return ()
            if core is None or not self._running:
                if was_running or not self._sleep(deadline):
                    return ()
                core, was_running = self._machine.core, self._running
                continue
            self._execute(core)
            self._deliver()
            if self._events or not self._running or self._stopping or self._woken:
                continue
            if not core.asleep:
                self._slice = min(2 * self._slice, self._longest_slice)
                if deadline is not None and time.monotonic() >= deadline:
                    return ()
            elif not self._idle(core, deadline):
                return ()

    def _execute(self, core: Core, budget: int = 0) -> None:
        """Runs one slice, of `budget` instructions if given, and turns what came of it into events."""
        machine = self._machine
        self._take_orders()
        budget = budget or self._slice
        if machine.timers:
            machine.advance_timers()
            due = machine.timer_due()
            if due is not None:
                budget = max(min(budget, due - core.cycles), 1)
        self._in_slice = True
        try:
            core.run(budget)
        finally:
            self._in_slice = False
        if machine.kicked:
            self._events.extend(self._kick_events.get(machine.kicked) or self._events_of(machine.kicked))
            machine.kicked = 0
            self._slice = SHORTEST_SLICE
        if machine.exit_status is not None:
            self._events.append(Exit(machine.exit_status))
            self._running = False
        elif core.fault is not None or self._reset_asked:
            self._collect_output()
            self._events.append(Crash(crash_report(core, self._image, self.memory, self._tail.text())))
            self._running = False
        self._check_interrupt()

    def _reset_requested(self) -> None:
        self._reset_asked = True

    def _collect_output(self) -> None:
        for stream, data in self._machine.take_output():
            self._tail.add(data)
            self._undelivered.append((stream, data))

    def _deliver(self) -> None:
        """Passes console output on."""
        self._collect_output()
        while self._undelivered:
            stream, data = self._undelivered.popleft()
            for callback in self._listeners:
                callback(stream, data)

    def _take_orders(self) -> None:
        """Applies the kicks and the console input that came from the host."""
        while self._kicks:
            self._machine.ipcc.kick(self._kicks.popleft())
            self._slice = SHORTEST_SLICE
        while self._input:
            self._machine.feed(*self._input.popleft())

    def _idle(self, core: Core, deadline: float | None) -> bool:
        """Lets time pass while the core sleeps; returns False when the deadline came first."""
        cycles = self._idle_cycles(core)
        if cycles is None:
            return self._sleep(deadline)
        now = time.monotonic()
        if self._skip_idle:
            core.skip(cycles)
            return deadline is None or now < deadline
        if deadline is not None and now >= deadline:
            return self._make_up(core, cycles, deadline)
        clock = self.board.clock_hz
        moment, cycle = self._anchor
        due = min(moment + (core.cycles + cycles - cycle) / clock, now + cycles / clock)
        if due > now:
            asleep = now
            woken = self._sleep(due if deadline is None else min(due, deadline))
            now = time.monotonic()
            self._absence = max(self._absence, 0.0)
            if now < due:
                core.skip(min(int((now - asleep) * clock), cycles))
                self._anchor = (now, core.cycles)
                return woken or self._absence > 0
        core.skip(cycles)
        self._anchor = (due if now - due < LATE else now, core.cycles)
        return True

    def _make_up(self, core: Core, cycles: int, deadline: float) -> bool:
        """At the deadline: lets pass what passed before the wait; returns True when that reached the next timer."""
        left = int(self._absence * self.board.clock_hz)
        if left <= 0 or time.monotonic() > deadline + LATE:
            return False
        core.skip(min(left, cycles))
        self._absence = max(self._absence - cycles / self.board.clock_hz, 0.0)
        return left >= cycles

    def _idle_cycles(self, core: Core) -> int | None:
        """Returns the cycles until the next timer of the core or of a device, or None."""
        cycles = core.idle_cycles()
        due = self._machine.timer_due()
        if due is None:
            return cycles
        left = max(due - core.cycles, 0)
        return left if cycles is None else min(cycles, left)

    def _sleep(self, deadline: float | None) -> bool:
        """Waits without CPU until the host or another thread wants something; returns False when the time passed."""
        with self._wake:
            running = self._running
            while not (
                self._kicks
                or self._input
                or self._woken
                or self._closed
                or self._stopping
                or self._running is not running
            ):
                if deadline is None:
                    self._wake.wait()
                    continue
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._wake.wait(min(remaining, threading.TIMEOUT_MAX))
        return True

    # -- Ctrl-C --------------------------------------------------------------------------------------------------

    def _hold_interrupt(self) -> None:
        """Makes Ctrl-C end the wait between two slices, never in the middle of one, which would break the core."""
        if threading.get_ident() != threading.main_thread().ident:
            return
        if _signals.getsignal(_SIGINT) is signal.default_int_handler:  # else the program has a handler of its own
            self._holds_interrupt = True
            _signals.signal(_SIGINT, self._on_interrupt)

    def _release_interrupt(self, held_before: bool) -> None:
        """Undoes `_hold_interrupt`, but not that of an outer call."""
        if self._holds_interrupt and not held_before:
            _signals.signal(_SIGINT, signal.default_int_handler)
            self._holds_interrupt = False

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        core = self._machine.core
        if not self._in_slice or core is None:
            raise KeyboardInterrupt
        self._interrupted = True
        core.request_stop()

    def _check_interrupt(self) -> None:
        if self._interrupted:
            self._interrupted = False
            raise KeyboardInterrupt
