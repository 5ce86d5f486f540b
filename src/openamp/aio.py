"""The asyncio face: the same names, awaitable.

```python
from openamp import aio

async with await aio.open("process") as rproc:
    await rproc.boot("remote.py")
    async with await rproc.create_endpoint("rpmsg-openamp-demo-channel") as endpoint:
        await endpoint.send(b"hello")
        print(await endpoint.receive(timeout=1.0))
```

It is the same `RemoteProc`, `Bus` and `Endpoint` underneath (`.sync` is the object behind each), with no threads: a
link that has a descriptor is watched by the event loop; any other (an emulated core, whose instructions are executed
in this thread) is given short turns for as long as somebody waits.

Everything belongs to the thread of the event loop that it was opened in: from others, use
`asyncio.run_coroutine_threadsafe` and `loop.call_soon_threadsafe`, anything else is a StateError. A cancelled call has
done nothing or all: a cancelled `receive` loses no message, a cancelled `send` is not sent. Callbacks of the sync API
run in the loop; what they raise comes out of the calls that wait, as it does there.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any

from openamp import registry
from openamp.errors import ClosedError, NotBoundError, StateError, TimeoutExpired
from openamp.firmware import FirmwareImage
from openamp.link import HostPlatform, Pollable, RemotePlatform
from openamp.remote import Remote
from openamp.remoteproc import Firmware, RemoteProc, State
from openamp.rpmsg import ADDR_ANY, Bus, Endpoint, HostBus, Message, Payload
from openamp.rpmsg.endpoint import check_address
from openamp.rpmsg.senders import PendingSend
from openamp.rpmsg.transport import as_payload

__all__ = ["AsyncBus", "AsyncEndpoint", "AsyncRemoteProc", "open", "serve"]

_TURN = 0.002
"""Seconds that a link without a descriptor may keep the loop at a time."""

_LAST_PAUSE = 0.02
"""Longest pause between turns of such a link while nothing happens."""


class _Reader:
    """Watches one link, and tells everybody who waits that something happened."""

    def __init__(self, pump: Callable[[float | None], object], link: object) -> None:
        self._pump = pump
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._waiters: set[asyncio.Future[None]] = set()
        self._fd = -1
        self._turner: asyncio.Task[None] | None = None
        self._pause: asyncio.Future[None] | None = None
        self._error: Exception | None = None  # that found nobody who waits

    def check_thread(self) -> None:
        """Raises StateError in any other thread than the event loop's."""
        if threading.get_ident() != self._thread:
            raise StateError(
                "this belongs to the thread of its event loop; from another thread use "
                "asyncio.run_coroutine_threadsafe(..., loop) for what is awaited and loop.call_soon_threadsafe(...) "
                "for the rest",
                state="other thread",
            )

    def pump(self, timeout: float = 0.0) -> None:
        """Handles what has happened; what a callback raised, and the remote's end, are for those who wait."""
        try:
            self._pump(timeout)
        except Exception as error:
            self.tell(error)
        else:
            self.tell()

    def nudge(self) -> None:
        """Ends the pause between turns: the remote has something to do."""
        if self._pause is not None and not self._pause.done():
            self._pause.set_result(None)

    def tell(self, error: Exception | None = None) -> None:
        waiters, self._waiters = self._waiters, set()
        error, self._error = error or self._error, None
        for waiter in waiters:
            if not waiter.done():
                if error is None:
                    waiter.set_result(None)
                else:
                    waiter.set_exception(error)
                    error = None  # one of them; the others look and see for themselves
        self._error = error

    async def changed(self, deadline: float | None) -> None:
        """Waits until something happened, or the deadline."""
        if self._error is not None:
            error, self._error = self._error, None
            raise error
        self._watch()
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        try:
            await asyncio.wait((waiter,), timeout=left)
        except asyncio.CancelledError:
            if waiter.done():
                self._pass_on(waiter.exception())
            raise
        finally:
            self._waiters.discard(waiter)
        if waiter.done():
            waiter.result()

    def _pass_on(self, error: BaseException | None) -> None:
        if isinstance(error, Exception):
            self.tell(error)

    def forget(self) -> None:
        """The remote is another one from now on: what nobody has been told is of no interest any more."""
        self._error = None

    def _watch(self) -> None:
        """Sees to it that the link is looked at while somebody waits."""
        if isinstance(self._link, Pollable):
            try:
                fd = self._link.fileno()
            except ClosedError:
                fd = -1  # nobody is at the other end yet
            if fd != self._fd:
                self.unwatch()
                if fd >= 0:
                    self._loop.add_reader(fd, self.pump)
                    self._fd = fd
            if fd >= 0:
                return
        if self._turner is None or self._turner.done():
            self._turner = self._loop.create_task(self._take_turns())

    async def _take_turns(self) -> None:
        pause = 0.0
        while self._waiters:
            began, used = time.monotonic(), time.thread_time()
            self.pump(_TURN)
            quick = time.monotonic() - began < _TURN / 2
            worked = time.thread_time() - used > _TURN / 2
            pause = 0.0 if quick or worked else min(pause * 2 or 0.0005, _LAST_PAUSE)  # else the time just passed
            self._pause = self._loop.create_future()
            await asyncio.sleep(0)
            if pause:
                await asyncio.wait((self._pause,), timeout=pause)

    def unwatch(self) -> None:
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            self._fd = -1

    def close(self) -> None:
        self.unwatch()
        if self._turner is not None:
            self._turner.cancel()
            self._turner = None
        self.tell()


class AsyncEndpoint:
    """An `Endpoint` whose calls are awaited instead of waiting.

    Attributes:
        sync: the endpoint behind it; its non-waiting calls (`try_send`, `try_receive`, `close`, ...) may be used.
    """

    def __init__(self, endpoint: Endpoint, bus: Bus, reader: _Reader) -> None:
        self.sync = endpoint
        self._bus = bus
        self._reader = reader

    def __repr__(self) -> str:
        return f"<Async{repr(self.sync)[1:]}"

    @property
    def name(self) -> str:
        """The service's name, "" without one."""
        return self.sync.name

    @property
    def src(self) -> int:
        """The local address."""
        return self.sync.src

    @property
    def dst(self) -> int:
        """The destination, or ADDR_ANY while the endpoint is not bound."""
        return self.sync.dst

    @property
    def mtu(self) -> int:
        """The largest payload in bytes that one message carries."""
        return self.sync.mtu

    @property
    def is_bound(self) -> bool:
        """The endpoint has a destination."""
        return self.sync.is_bound

    async def send(self, data: Payload, *, timeout: float | None = None) -> None:
        """Sends to the endpoint's destination; see `Endpoint.send`. Cancelled while it waits, nothing is sent."""
        await self._send(self.sync.src, self.sync._destination(), (data,), timeout)

    async def send_to(self, data: Payload, dst: int, *, timeout: float | None = None) -> None:
        """Sends to any address of the peer; see `Endpoint.send_to`."""
        await self._send(self.sync.src, dst, (data,), timeout)

    async def send_offchannel(self, src: int, dst: int, data: Payload, *, timeout: float | None = None) -> None:
        """Sends between any two addresses; see `Endpoint.send_offchannel`."""
        await self._send(src, dst, (data,), timeout)

    async def send_many(self, messages: Iterable[Payload], *, timeout: float | None = None) -> None:
        """Sends messages in order, in batches; see `Endpoint.send_many`. Cancelled, the first part may be sent."""
        await self._send(self.sync.src, self.sync._destination(), tuple(messages), timeout)

    async def _send(self, src: int, dst: int, messages: tuple[Payload, ...], timeout: float | None) -> None:
        self._reader.check_thread()
        self.sync._check_open()
        check_address(src, "source")
        check_address(dst, "destination")
        pending = PendingSend(src, dst, [as_payload(message) for message in messages])
        with self._bus._lock:
            self._bus._enqueue(pending)
        self._reader.nudge()
        try:
            await _until(
                self._bus,
                self._reader,
                lambda: pending.done,
                timeout,
                lambda: (
                    f"no transmit buffer came free ({pending.sent} of {len(messages)} messages sent): the peer "
                    f"does not take its messages"
                ),
            )
        finally:
            if not pending.done:
                with self._bus._lock:
                    self._bus._cancel(pending)
        if pending.error is not None:
            raise pending.error

    async def receive(self, *, timeout: float | None = None) -> bytes:
        """Returns the next message's payload; see `Endpoint.receive`. Cancelled, no message is lost."""
        await self._message(timeout)
        return self.sync.receive(timeout=0)

    async def receive_message(self, *, timeout: float | None = None) -> Message:
        """Returns the next message with its addresses; see `Endpoint.receive_message`."""
        await self._message(timeout)
        return self.sync.receive_message(timeout=0)

    async def receive_many(self, limit: int | None = None, *, timeout: float | None = None) -> list[bytes]:
        """Returns all messages that are there; waits until there is one. See `Endpoint.receive_many`."""
        await self._message(timeout)
        return self.sync.receive_many(limit, timeout=0)

    async def _message(self, timeout: float | None) -> None:
        await _until(
            self._bus,
            self._reader,
            self._readable,
            timeout,
            lambda: f"no message at endpoint {self.name!r} ({self.src:#x})",
        )

    def _readable(self) -> bool:
        if self.sync._queue:
            return True
        error = self.sync._unreadable()
        if error is not None:
            raise error
        return False

    def _bound(self) -> bool:
        self.sync._check_open()
        return self.sync.is_bound

    async def wait_bound(self, *, timeout: float | None = None) -> None:
        """Waits until the endpoint has a destination; see `Endpoint.wait_bound`."""
        await _until(self._bus, self._reader, self._bound, timeout, lambda: f"{self.sync!r} was not bound")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Yields payloads as they come, until the endpoint is closed or the peer destroys the channel."""
        while True:
            try:
                data = await self.receive()
            except (ClosedError, NotBoundError):
                return
            yield data

    def close(self) -> None:
        """Frees the address and announces the end of an announced service; see `Endpoint.close`."""
        self._reader.check_thread()
        self.sync.close()
        self._reader.tell()

    async def __aenter__(self) -> AsyncEndpoint:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


async def _until(
    bus: Bus, reader: _Reader, step: Callable[[], bool], timeout: float | None, failed: Callable[[], str]
) -> None:
    """Lets the bus take turns until the step is done. The step raises what makes it impossible."""
    reader.check_thread()
    deadline = None if timeout is None else time.monotonic() + timeout
    expired = False
    while True:
        with bus._lock:
            more = bus._turn()
            bus._raise_errors()
            if step():
                return
            bus._check_alive()
        if expired:
            raise TimeoutExpired(f"{failed()} within {timeout} s; {bus._explain()}", timeout=timeout)
        if more:
            await asyncio.sleep(0)
        else:
            await reader.changed(deadline)
        expired = deadline is not None and time.monotonic() >= deadline


class AsyncBus:
    """A `Bus` whose endpoints are awaited. `aio.serve()` returns one, and `AsyncRemoteProc.bus` is one.

    Attributes:
        sync: the bus behind it; its non-waiting calls (`channels`, `on_channel_created`, `statistics`, ...) may be
            used.
    """

    def __init__(self, bus: Bus, reader: _Reader) -> None:
        self.sync = bus
        self._reader = reader

    async def create_endpoint(
        self,
        name: str = "",
        *,
        src: int = ADDR_ANY,
        dst: int = ADDR_ANY,
        callback: Callable[..., object] | None = None,
        timeout: float | None = 5.0,
    ) -> AsyncEndpoint:
        """Creates an endpoint; the host waits for the remote's announcement. See `Bus.create_endpoint`."""
        self._reader.check_thread()
        endpoint = self.sync.create_endpoint(name, src=src, dst=dst, callback=callback, timeout=0)
        ours = AsyncEndpoint(endpoint, self.sync, self._reader)
        if isinstance(self.sync, HostBus) and name and not endpoint.is_bound and timeout != 0:
            try:
                await ours.wait_bound(timeout=timeout)
            except BaseException:
                ours.close()
                raise
        return ours

    async def wait(self, *, timeout: float | None = None) -> None:
        """Lets callbacks run for `timeout` seconds, or until the bus ends, which is raised."""
        with contextlib.suppress(TimeoutExpired):
            await _until(self.sync, self._reader, lambda: False, timeout, str)

    def close(self) -> None:
        """Closes all endpoints and leaves the link; see `Bus.close`."""
        self._reader.check_thread()
        self._reader.close()
        self.sync.close()

    async def __aenter__(self) -> AsyncBus:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncRemoteProc:
    """A `RemoteProc` whose calls are awaited instead of waiting. `aio.open()` returns one.

    Attributes:
        sync: the remote processor behind it; what never waits (`load`, `state`, `trace`, `on_output`, ...) is used
            there.
    """

    def __init__(self, rproc: RemoteProc) -> None:
        self.sync = rproc
        self._reader = _Reader(rproc._room.pump, rproc.platform)

    @property
    def state(self) -> State:
        """The present state."""
        return self.sync.state

    @property
    def bus(self) -> AsyncBus:
        """The (first) RPMsg bus; raises what `RemoteProc.bus` raises."""
        return AsyncBus(self.sync.bus, self._reader)

    async def load(self, firmware: Firmware) -> FirmwareImage:
        """Decodes an image and finds places for what it asks for; see `RemoteProc.load`."""
        await self._await_reset()
        return self.sync.load(firmware)

    async def start(self) -> None:
        """Releases the remote from reset; see `RemoteProc.start`."""
        await self._await_reset()
        self.sync.start()

    async def boot(self, firmware: Firmware | None = None) -> None:
        """Loads (if told to) and starts; see `RemoteProc.boot`."""
        await self._await_reset()
        self.sync.boot(firmware)

    async def stop(self, *, timeout: float | None = 5.0) -> None:
        """Puts the remote into reset and waits for it; see `RemoteProc.stop`."""
        self._reader.check_thread()
        self._reader.unwatch()
        self.sync.shutdown()
        self._reader.forget()
        self._reader.tell()
        await self._await_reset(timeout)

    async def recover(self) -> None:
        """Boots a crashed remote again; see `RemoteProc.recover`."""
        self._reader.check_thread()
        if self.sync.state is State.CRASHED:
            await self.stop()
            self.sync.start()
        else:
            self.sync.recover()  # says what is wrong

    async def _await_reset(self, timeout: float | None = 5.0) -> None:
        self._reader.check_thread()
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.sync.platform.join(0):
            if deadline is not None and time.monotonic() >= deadline:
                raise TimeoutExpired(f"the remote is not in reset {timeout} s after the shutdown", timeout=timeout)
            await asyncio.sleep(0.005)

    async def create_endpoint(
        self,
        name: str = "",
        *,
        src: int = ADDR_ANY,
        dst: int = ADDR_ANY,
        callback: Callable[..., object] | None = None,
        timeout: float | None = 5.0,
    ) -> AsyncEndpoint:
        """Creates an endpoint on the (first) bus; see `RemoteProc.create_endpoint`."""
        return await self.bus.create_endpoint(name, src=src, dst=dst, callback=callback, timeout=timeout)

    async def wait(self, *, timeout: float | None = None) -> None:
        """Lets the remote run and callbacks with it, for `timeout` seconds or until it ends, which is raised."""
        await self.bus.wait(timeout=timeout)

    async def close(self) -> None:
        """Stops the remote if need be and gives everything back; see `RemoteProc.close`."""
        self._reader.check_thread()
        try:
            if self.sync.state in (State.RUNNING, State.CRASHED):
                await self.stop()
            elif self.sync.state is State.STOPPED:
                await self._await_reset()  # a stop that was cancelled goes on
        finally:
            self._reader.close()
            self.sync.close()

    async def __aenter__(self) -> AsyncRemoteProc:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def open(platform: str | HostPlatform, **options: Any) -> AsyncRemoteProc:
    """Returns a remote processor, as `openamp.open()` does."""
    return AsyncRemoteProc(registry.open(platform, **options))


async def serve(platform: str | RemotePlatform, *, timeout: float | None = None, **options: Any) -> AsyncBus:
    """Returns a bus: we are the remote. As `openamp.serve()`, without keeping the event loop while it waits."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.001
    while True:
        try:
            link = registry.find_link(platform, 0.0, dict(options))
            break
        except TimeoutExpired:
            if deadline is not None and time.monotonic() >= deadline:
                raise
        await asyncio.sleep(pause)
        pause = min(2 * pause, 0.1)
    remote = Remote(link)
    reader = _Reader(remote.pump, link)
    try:
        while (bus := remote.poll()) is None:
            if deadline is not None and time.monotonic() >= deadline:
                raise remote.late(timeout)
            await reader.changed(time.monotonic() + 0.1)
    except BaseException:
        reader.close()
        link.close()
        raise
    return AsyncBus(bus, reader)
