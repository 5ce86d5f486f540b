"""The bus: endpoints and their addresses, the name service, and the order of events. The same for both roles.

How a message gets to its receiver, in two phases:

1. Taking in: everything in the ring is copied out (or left in place for an endpoint that asked for it), appended to
   the queue of its endpoint, and the buffers go back to the peer at once. Announcements take effect here: channels
   come and go, endpoints are bound.
2. Dispatching: callbacks run, in the order of arrival, with no buffer of the ring in hand.

A callback may do anything, also wait: then phase 1 goes on inside of it and phase 2 continues when it has returned.
So callbacks never nest, and no endpoint's messages change order. What a callback raises is kept until all others of
the turn have run; then the first error is raised by the call that let them run (`poll`, `notified`, or whichever
call waited), and the bus goes on.

Any thread may call anything, see `waiting`. The lock of the bus is held in phase 1 and in all else that touches the
rings or the endpoints, but not while a callback runs: it may wait for another thread, which may use the bus. Only one
thread at a time runs callbacks, the others take in meanwhile; each message wakes the thread that waits for it.

Methods with an underscore expect the lock to be held, unless they say otherwise.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from threading import get_ident
from types import TracebackType
from typing import Any, Self

from openamp.errors import AddressInUseError, ClosedError, OpenAMPError, RpmsgError
from openamp.rpmsg.arrivals import ChannelEvent, Orphan
from openamp.rpmsg.buffers import HeldBuffer
from openamp.rpmsg.endpoint import Callback, Endpoint, check_address
from openamp.rpmsg.loans import Loans
from openamp.rpmsg.names import MAX_CHANNELS, Channel, ChannelCallback, NameService
from openamp.rpmsg.senders import PendingSend, Senders
from openamp.rpmsg.statistics import BusStatistics
from openamp.rpmsg.transport import Lender, Transport
from openamp.rpmsg.waiting import Ready, WaitingRoom
from openamp.rpmsg.wire import ADDR_ANY, DYNAMIC_MIN, NAME_SERVICE_SIZE, NS_ADDR, encode_name

__all__ = ["Bus", "BusStatistics"]

BACKLOG_BYTES = 32 << 20
"""Memory that an endpoint's queue may take before messages are left in the shared buffers."""

MESSAGE_OVERHEAD = 128
"""What a queued message takes besides its payload, about."""

MAX_ORPHANS = 1024
"""Messages that may wait for the endpoint that a channel's callback is about to make."""


class Bus:
    """Endpoints over one link to a peer. Made by `openamp.open()` (HostBus) or `openamp.serve()` (RemoteBus).

    Args:
        transport: carries the messages.
        name_service: the name service was negotiated (F_NS); without it no announcement is sent or understood.
        announces: endpoints with a name and no `dst` are announced when they are created (the remote's part);
            otherwise their creation waits for the peer's announcement (the host's part).
        acknowledges: a channel's announcement is answered with the bound endpoint's (an OpenAMP host's part).
        pump: called as `pump(timeout)` to wait for events and hand them to `notified`; it raises the remote's end. A
            WaitingRoom where the pump can be woken, or has several buses.
        notify_ids: of the signals that are for this bus.
        diagnose: returns what the platform knows of why nothing happens, for the text of a timeout.

    Attributes:
        name_service: as given.
    """

    def __init__(
        self,
        transport: Transport,
        *,
        name_service: bool,
        announces: bool,
        acknowledges: bool,
        pump: Callable[[float | None], object] | WaitingRoom,
        notify_ids: tuple[int, ...] = (),
        diagnose: Callable[[], str] | None = None,
    ) -> None:
        self.name_service = name_service
        self._transport = transport
        self._spins = False
        self._announces = announces
        self._room = pump if isinstance(pump, WaitingRoom) else WaitingRoom(pump)
        self._lock = self._room.lock
        self._loans: Lender = Loans(self)
        self._notify_ids = notify_ids
        self._diagnose = diagnose
        self._endpoints: dict[int, Endpoint] = {}
        self._next_address = DYNAMIC_MIN
        self._names = NameService(
            self, self._endpoints, enabled=name_service, announces=announces, acknowledges=acknowledges
        )
        self._created_callbacks: list[ChannelCallback] = []
        self._destroyed_callbacks: list[ChannelCallback] = []
        self._unbind_callbacks: dict[Endpoint, Callable[[Endpoint], object]] = {}
        self._ready: deque[Endpoint | ChannelEvent | Orphan] = deque()
        self._num_channel_events = 0  # of them in _ready
        self._num_orphans = 0  # of them in _ready
        self._backlog = _backlog(0)
        self._senders = Senders(transport)
        self._waiting = self._senders.waiting
        self._dispatching = False
        self._quick = False
        self._error: Exception | None = None  # the first that a turn met, until a call raises it
        self._num_errors = 0
        self._failure: Exception | None = None
        self._closed = False
        self._dropped = self._discarded = self._buffer_waits = 0

    @property
    def mtu(self) -> int:
        """The largest payload in bytes that one message to the peer carries."""
        with self._lock:
            return self._transport.mtu

    # -- endpoints -------------------------------------------------------------------------------------------------

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
        """Creates an endpoint.

        As the host, an endpoint with a name and no `dst` is bound to the first announced channel of that name that
        no other endpoint has; the call waits for it. As the remote, it is announced and the call returns at once;
        it is bound by the host's acknowledgement or by the first message.

        Args:
            name: the service, at most 32 bytes; "" for an endpoint that is known by its address alone.
            src: the local address; ADDR_ANY takes the next free one from 1024. The addresses below are for
                predefined services and are only given when asked for.
            dst: the destination; tells channels of the same name apart.
            callback: called with (endpoint, data, src) for each message, instead of `receive`.
            announce: send the name to the peer now, and its end later; None does what the role does. As the host,
                True makes a service that the remote may find, and does not wait.
            timeout: seconds to wait for the announcement; 0 returns at once with an endpoint that may be unbound,
                None waits for ever.
            backlog: messages to queue here before they are left in the shared buffers; None is as many as fit
                32 MiB, should they all be as long as the longest the bus has seen.
            zero_copy: leave messages in the shared buffers until they are taken, see `Endpoint.hold`; a callback
                gets a HeldBuffer, which is given back after the call unless the callback calls its `keep`.
            unbind_callback: called with the endpoint when the peer has taken away the channel that it was bound to.

        Raises:
            AddressInUseError: when `src` is taken.
            RpmsgError: when the name or an address is impossible, or a name is needed and the name service was not
                negotiated.
            TimeoutExpired: when nobody announced the name in time; says which channels there are.
            ClosedError: when the bus is closed.
        """
        with self._lock:
            self._check_alive()
            wire_name = encode_name(name)
            if announce is None:
                announce = self._announces and bool(name) and dst == ADDR_ANY
            elif announce and not name:
                raise RpmsgError("only an endpoint with a name can be announced; give it one")
            waits = bool(name) and dst == ADDR_ANY and not announce and not self._announces and timeout != 0
            if waits and not self._names.enabled and src == ADDR_ANY:
                raise RpmsgError(
                    f"{name!r} cannot be found by name: the name service was not negotiated (feature bit 0, F_NS); "
                    f"give dst=, or let the remote's resource table offer the feature"
                )
            address = self._allocate(src)
            if dst != ADDR_ANY:
                check_address(dst, "destination")
            endpoint = Endpoint(
                self,
                name,
                wire_name,
                address,
                dst,
                callback=callback,
                backlog=self._backlog if backlog is None else max(backlog, 1),
                zero_copy=zero_copy,
            )
            endpoint._auto_backlog = backlog is None
            self._endpoints[address] = endpoint
            if unbind_callback is not None:
                self._unbind_callbacks[endpoint] = unbind_callback
            self._names.bind_new(endpoint)
            if self._num_orphans:
                self._adopt(endpoint)
            if announce:
                self._names.announce(endpoint)
        if waits and endpoint._dst == ADDR_ANY:
            try:
                endpoint.wait_bound(timeout=timeout)
            except BaseException:
                endpoint.close()
                raise
        return endpoint

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All open endpoints, in the order of their creation."""
        with self._lock:
            return tuple(self._endpoints.values())

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The peer's services, in the order in which they became known."""
        with self._lock:
            return tuple(self._names.channels.values())

    def on_channel_created(self, callback: ChannelCallback) -> ChannelCallback:
        """Calls back with every channel that becomes known from now on; also a decorator.

        The callback may create the endpoint: `bus.create_endpoint(channel.name, dst=channel.dst)`.
        """
        self._created_callbacks.append(callback)
        return callback

    def on_channel_destroyed(self, callback: ChannelCallback) -> ChannelCallback:
        """Calls back with every channel that goes away from now on; also a decorator. Its endpoints are unbound."""
        self._destroyed_callbacks.append(callback)
        return callback

    # -- running ---------------------------------------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """A turn left something for the next one: do not block before `poll` was called again.

        It happens when the peer fills the ring as quickly as we empty it; a turn is bounded.
        """
        return self._more

    _more = False

    def poll(self) -> bool:
        """Takes in what is there, runs callbacks, sends what waits for buffers. Never waits.

        Returns:
            True when anything was there.

        Raises:
            Exception: the first error that a callback raised.
            RemoteProtocolError: when the peer broke the protocol.
            OpenAMPError: what ended the bus.
        """
        with self._lock:
            if self._transport.lazy:
                self.arm()
            return self._poll()

    def _poll(self) -> bool:
        self._check_alive()
        before = self._num_arrived()
        self._turns()
        if self._room.leader or self._room.followers:
            self._room.stir()
        self._raise_errors()
        self._raise_failure()
        return self._num_arrived() != before

    def wait(self, *, timeout: float | None = None) -> bool:
        """Waits for what the peer sends, at most `timeout` seconds, and runs callbacks.

        Returns:
            True when something happened, False when the time passed.

        Raises:
            Exception: as `poll` does.
        """
        with self._lock:
            before = self._num_arrived()
            if self._poll():
                return True
            deadline = None if timeout is None else time.monotonic() + timeout
            expired = self._wait(deadline, lambda: self._has_news() or self._num_arrived() != before)
            self._raise_errors()
            return not expired or self._num_arrived() != before

    def spin(self) -> bool:
        """Watches the shared memory for a moment, for the pump before it blocks; True when there is news.

        Where the peer runs at the same time (see `set_spin`), a busy exchange then needs no signals.
        """
        return self._transport.spin()

    def set_spin(self, seconds: float) -> None:
        """Sets how long `spin` lasts at most; 0, which it is at first, is never."""
        self._spins = seconds > 0
        self._transport.set_spin(round(seconds * 1e9))

    def arm(self) -> bool:
        """Asks the peer for signals; for the pump, before it blocks. True: there is news already, see `pending`."""
        if self._spins:  # without, `drain` arms by itself
            with self._lock:
                try:
                    self._more = self._transport.arm() or self._more
                except OpenAMPError as error:
                    self.fail(error)
        return self._more

    def resume(self) -> None:
        """Takes note that the pump was signalled, before it calls `notified`."""
        self._transport.resume()

    def notified(self, notify_id: int | None = None) -> None:
        """Handles the peer's signal; for the pump's owner, with every `Kick` event.

        It raises what `poll` raises, when all is dispatched: the owner handles its other events before it passes
        the error on. A closed or failed bus does nothing.
        """
        if notify_id is not None and notify_id not in self._notify_ids:
            return
        with self._lock:
            if self._failure is None and not self._closed:
                self._turns()
                self._raise_errors()
                self._raise_failure()

    def fail(self, error: Exception) -> None:
        """Ends the bus because of an error that every later call raises, once received messages are taken.

        For the pump's owner, when the remote ends or crashes. The first cause stays.
        """
        with self._lock:
            if self._failure is None and not self._closed:
                self._failure = error
                self._transport.shut(error)
                self._senders.fail_all(error)
                self._room.stir()

    def close(self) -> None:
        """Closes all endpoints, announcing their end where a buffer is free; harmless when repeated.

        What other threads wait for ends with ClosedError.
        """
        with self._lock:
            if self._closed:
                return
            # Those without a channel first: else they would be bound to what the others leave.
            for endpoint in sorted(self._endpoints.values(), key=lambda endpoint: endpoint._dst != ADDR_ANY):
                self._close_endpoint(endpoint)
            self._closed = True
            self._senders.fail_all(ClosedError("the bus was closed while messages waited for a buffer"))
            self._ready.clear()
            self._num_channel_events = self._num_orphans = 0
            self._transport.shut(_bus_closed())
            self._room.stir()

    def statistics(self) -> BusStatistics:
        """Returns the counts since the bus was made."""
        with self._lock:
            traffic, announced = self._transport, self._senders.num_announcements
            return BusStatistics(
                num_sent=traffic.num_sent - announced,
                bytes_sent=traffic.bytes_sent - announced * NAME_SERVICE_SIZE,
                num_received=traffic.num_received,
                bytes_received=traffic.bytes_received,
                num_dropped=self._dropped,
                num_discarded=self._discarded,
                num_malformed=traffic.num_malformed + self._names.num_malformed,
                num_kicks=traffic.num_kicks,
                num_kicks_suppressed=traffic.num_kicks_suppressed,
                num_buffer_waits=self._buffer_waits,
                num_announcements_sent=announced,
                num_announcements_received=self._names.num_received,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- turns -----------------------------------------------------------------------------------------------------

    def _turns(self) -> None:
        """Turns until there is nothing more, but not for ever."""
        for _ in range(16):
            if not self._step():
                return

    def _turn(self) -> bool:
        """Phase 1 for one batch, waiting senders, phase 2. True when there may be more. Never raises."""
        more = self._step()
        if self._room.leader or self._room.followers:
            self._room.stir()  # we may have taken in what others wait for
        return more

    def _step(self) -> bool:
        if self._closed:
            return False
        more = False
        if self._failure is None:
            try:
                self._more = more = self._transport.drain()
                if self._waiting:
                    self._senders.flush()
            except OpenAMPError as error:
                # The transport lost its place in the rings: nothing that follows could be trusted.
                self.fail(error)
                more = False
        if self._ready and not self._dispatching:
            self._dispatch()
            more = more or self._more or bool(self._ready)
        self._more = more
        return more

    def _wait(self, deadline: float | None, ready: Ready) -> bool:
        self._raise_errors()
        self._check_alive()
        left: float | None = 0.0
        if deadline is None:
            if not self._more:
                left = None
        elif not self._more:
            left = max(deadline - time.monotonic(), 0.0)
        self._room.wait(left, ready)
        return deadline is not None and time.monotonic() >= deadline

    def _has_news(self) -> bool:
        """Whether a thread that waits has something to do, whatever it waits for."""
        return (
            self._more
            or self._closed
            or self._failure is not None
            or (self._error is not None and not self._dispatching)
        )

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure.with_traceback(None)

    def _num_arrived(self) -> int:
        return self._transport.num_received + self._names.num_received

    def _check_alive(self) -> None:
        self._raise_failure()
        if self._closed:
            raise _bus_closed()

    def _defer(self, error: Exception) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
            else:
                self._num_errors += 1

    def _raise_errors(self) -> None:
        """Raises the first error met since the last time, unless a callback is running: it comes from another one."""
        error, more = self._error, self._num_errors
        if error is not None and not self._dispatching:
            self._error, self._num_errors = None, 0
            if more:
                error.add_note(f"({more} more errors followed on this bus before this one was raised)")
            raise error

    def _explain(self) -> str:
        bound = {endpoint._dst: endpoint for endpoint in self._endpoints.values()}
        known = [
            f"{channel.name!r} at {channel.dst:#x}"
            + (f" (bound to our {bound[channel.dst].src:#x})" if channel.dst in bound else "")
            for channel in self.channels[:16]
        ]
        parts = [f"announced channels: {', '.join(known) or 'none'}"]
        parts += [
            f"{endpoint!r} has {len(endpoint._queue)} unread messages and keeps the buffers of more: read it"
            for endpoint in self._endpoints.values()
            if len(endpoint._queue) > endpoint._backlog
        ]
        if self._diagnose is not None:
            parts.append(self._diagnose())
        return "; ".join(part for part in parts if part)

    # -- phase 1: taking in ----------------------------------------------------------------------------------------

    def _bind_by_message(self, endpoint: Endpoint, src: int) -> None:
        self._names.bind_by_message(endpoint, src)

    def _grew(self, length: int) -> None:
        """Takes note of the longest message so far: fewer of its kind fit the memory that a backlog may take."""
        self._backlog = _backlog(length)
        for endpoint in self._endpoints.values():
            if endpoint._auto_backlog:
                endpoint._backlog = self._backlog

    def _arrived_elsewhere(self, data: bytes, src: int, dst: int) -> None:
        """Takes in a message for an address that no endpoint has."""
        if dst == NS_ADDR and self._names.enabled:
            self._names.arrived(data)
        elif self._num_channel_events and self._num_orphans < MAX_ORPHANS:
            self._num_orphans += 1
            self._ready.append(Orphan(data, src, dst))
        else:
            self._dropped += 1

    def _tell(self, channel: Channel, created: bool, unbound: Sequence[Endpoint] = ()) -> bool:
        if self._num_channel_events >= 2 * MAX_CHANNELS:
            return False
        if self._created_callbacks or self._destroyed_callbacks or self._unbind_callbacks:
            self._ready.append(ChannelEvent(channel, created, unbound))
            self._num_channel_events += 1
        return True

    # -- phase 2: dispatching --------------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        """Runs the callbacks of what has arrived by now, without the lock."""
        room, num = self._room, len(self._ready)
        if room.leader or room.followers:
            room.step_aside()
        saved: Any = None
        self._dispatching = True
        try:
            saved = room.let_go()
            self._run_callbacks(num)
        finally:
            try:
                room.take_back(saved or (1, get_ident()))  # None: Ctrl-C came in between
            finally:
                self._dispatching = False

    def _run_callbacks(self, num: int) -> None:
        """Does phase 2 for `num` items, in the one thread that dispatches. The lock is not held."""
        ready = self._ready
        for _ in range(num):
            try:
                item = ready.popleft()
            except IndexError:  # the bus was closed
                return
            try:
                if isinstance(item, Endpoint):
                    self._call_back(item)
                elif isinstance(item, ChannelEvent):
                    self._call_back_channel(item)
                else:
                    self._give_up_on(item)
            except Exception as error:
                self._defer(error)

    def _give_up_on(self, orphan: Orphan) -> None:
        """Drops a message whose endpoint was not made; calls back for it if it was. Without the lock."""
        with self._lock:
            endpoint = orphan.endpoint
            if endpoint is None:
                self._num_orphans = max(self._num_orphans - 1, 0)
                self._dropped += 1
        if endpoint is not None:
            self._call_back(endpoint)

    def _call_back_channel(self, event: ChannelEvent) -> None:
        channel, unbound = event.channel, event.unbound
        with self._lock:
            self._num_channel_events = max(self._num_channel_events - 1, 0)
            if not event.created and (channel.name, channel.dst) not in self._names.channels:
                # Those that were bound by a callback that heard of its creation late.
                unbound = [*unbound, *self._names.unbind(channel)]
            callbacks = tuple(self._created_callbacks if event.created else self._destroyed_callbacks)
        for callback in callbacks:
            try:
                callback(channel)
            except Exception as error:
                self._defer(error)
        for endpoint in unbound:
            unbind_callback = self._unbind_callbacks.get(endpoint)
            if unbind_callback is not None:
                try:
                    unbind_callback(endpoint)
                except Exception as error:
                    self._defer(error)

    def _call_back(self, endpoint: Endpoint) -> None:
        queue, callback = endpoint._queue, endpoint._callback
        if callback is None:
            return
        try:
            data, src = queue.popleft()
        except IndexError:  # it was closed meanwhile
            return
        if not endpoint._parks:
            callback(endpoint, data.take() if isinstance(data, HeldBuffer) else data, src)
            return
        held = data if isinstance(data, HeldBuffer) else HeldBuffer.of_copy(data, src, endpoint._src)
        try:
            callback(endpoint, held, src)
        finally:
            if not held.kept:
                held.release()

    def _adopt(self, endpoint: Endpoint) -> None:
        """Gives a new endpoint the messages that were waiting for it to be made."""
        for item in list(self._ready):  # another thread may be taking from it
            if isinstance(item, Orphan) and item.endpoint is None and item.dst == endpoint._src:
                self._num_orphans -= 1
                self._transport.num_received += 1
                self._transport.bytes_received += len(item.data)
                if endpoint._dst == ADDR_ANY:
                    self._names.bind_by_message(endpoint, item.src)
                endpoint._queue.append((item.data, item.src))
                item.endpoint = endpoint  # its callback, if it has one, runs in the message's turn

    # -- names and addresses ---------------------------------------------------------------------------------------

    def _allocate(self, src: int) -> int:
        taken = self._endpoints
        if src != ADDR_ANY:
            check_address(src, "source")
            if src in taken or (src == NS_ADDR and self._names.enabled):
                owner = repr(taken[src]) if src in taken else "the name service"
                raise AddressInUseError(
                    f"local address {src:#x} is taken by {owner}; take another one, or ADDR_ANY for any", address=src
                )
            return src
        address = self._next_address
        while address in taken:
            address = address + 1 if address + 1 < ADDR_ANY else DYNAMIC_MIN
        self._next_address = address + 1 if address + 1 < ADDR_ANY else DYNAMIC_MIN
        return address

    def _rebind(self, endpoint: Endpoint) -> None:
        self._names.bind_new(endpoint)

    def _close_endpoint(self, endpoint: Endpoint) -> None:
        if endpoint._closed:
            return
        dst = endpoint._dst
        endpoint._closed = True
        endpoint._dst = ADDR_ANY
        del self._endpoints[endpoint._src]
        self._unbind_callbacks.pop(endpoint, None)
        unread = endpoint._queue
        while unread:
            try:
                data = unread.popleft()[0]
            except IndexError:  # another thread was quicker
                break
            self._discarded += 1
            if isinstance(data, HeldBuffer):
                data.release()
        closed = ClosedError(f"{endpoint!r} was closed while its messages waited for a buffer")
        self._senders.fail(endpoint._src, ADDR_ANY, closed)
        if self._failure is None and not self._closed:
            try:
                self._names.closed(endpoint, dst)
            except OpenAMPError as error:
                self.fail(error)  # the endpoint is closed all the same
        self._room.stir()

    # -- waiting senders -------------------------------------------------------------------------------------------

    def _enqueue(self, pending: PendingSend) -> None:
        self._check_alive()
        self._senders.add(pending)
        if not pending.done:
            self._buffer_waits += 1

    def _cancel(self, pending: PendingSend) -> None:
        self._senders.cancel(pending)

    def _fail_senders(self, src: int, dst: int, error: OpenAMPError) -> None:
        self._senders.fail(src, dst, error)

    def _commit(self, token: int, src: int, dst: int, length: int) -> None:
        self._check_alive()
        if self._waiting:  # not before those that came first
            self._senders.add(PendingSend(src, dst, (), token=token, length=length))
        else:
            self._transport.put_buffer(token, src, dst, length)
            self._transport.publish_sent()

    def _send_announcement(self, src: int, data: bytes) -> None:
        if not self._senders.announcing(src, data):
            self._senders.add(PendingSend(src, NS_ADDR, (data,), announces=True))


def _bus_closed() -> ClosedError:
    return ClosedError("the bus is closed; open the remote again for another one")


def _backlog(length: int) -> int:
    """Returns how many messages of this length an endpoint may queue."""
    return BACKLOG_BYTES // (length + MESSAGE_OVERHEAD)
