"""Random programs on both ends of a link: nothing is lost, doubled or reordered; names and bindings stay true."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from openamp.errors import TimeoutExpired, WouldBlock
from openamp.rpmsg import BorrowedBuffer, Bus, Endpoint, HeldBuffer
from openamp.testing.buses import BusPair, bus_pair

SIDES = ("host", "remote")
ADDRESSES = st.integers(1, 4)
SIDE = st.sampled_from(SIDES)


class Messages(RuleBasedStateMachine):
    """Endpoints at a few addresses of both sides; `expected` is what is on its way to each, in order of the calls."""

    @initialize(num=st.sampled_from([1, 2, 4, 8]), at_once=st.booleans())
    def start(self, num: int, at_once: bool) -> None:
        self.pair: BusPair = bus_pair(num=num, h2r_size=64, r2h_size=80)
        self.buses: dict[str, Bus] = {"host": self.pair.host, "remote": self.pair.remote}
        self.at_once = at_once
        if at_once:  # the peer runs within our kick
            transports: list[Any] = [self.pair.host._transport, self.pair.remote._transport]
            transports[0]._kick = self.pair.remote.notified
            transports[1]._kick = self.pair.host.notified
        self.open: dict[tuple[str, int], Endpoint] = {}
        self.readable: set[tuple[str, int]] = set()
        self.expected: dict[tuple[str, int], deque[tuple[bytes, int]]] = {}
        self.wrong: list[str] = []
        self.count = 0
        self.held: list[tuple[HeldBuffer, bytes]] = []
        self.borrowed: list[tuple[str, BorrowedBuffer]] = []

    def message(self, size: int) -> bytes:
        self.count += 1
        return self.count.to_bytes(4, "little") + b"\xa5" * size

    def other(self, side: str) -> str:
        return SIDES[side == "host"]

    def addresses(self, side: str) -> list[int]:
        return sorted(addr for at, addr in self.open if at == side)

    def check(self, key: tuple[str, int], data: bytes, src: int | None = None) -> None:
        queue = self.expected[key]
        if not queue:
            self.wrong.append(f"{key} got {data!r}, nothing was sent")
            return
        wanted = queue.popleft()
        if data != wanted[0] or src not in (None, wanted[1]):
            self.wrong.append(f"{key} got {data!r} from {src}, not {wanted}")

    # -- endpoints --

    def callback(self, key: tuple[str, int], echo: bool) -> Callable[[Endpoint, bytes | HeldBuffer, int], None]:
        def called(ept: Endpoint, data: bytes | HeldBuffer, src: int) -> None:
            payload = data if isinstance(data, bytes) else bytes(data.data)
            self.check(key, payload, src)
            back = (self.other(key[0]), src)
            if echo and back in self.open and len(payload) > 4:  # an echo is not echoed
                self.send_waiting(key, src, self.message(0))

        return called

    @rule(
        side=SIDE,
        addr=ADDRESSES,
        kind=st.sampled_from(["queue", "callback", "echo"]),
        zero_copy=st.booleans(),
        backlog=st.sampled_from([1, 3, 1024]),
    )
    def create(self, side: str, addr: int, kind: str, zero_copy: bool, backlog: int) -> None:
        key = (side, addr)
        if key in self.open:
            return
        callback = None if kind == "queue" else self.callback(key, kind == "echo")
        self.expected[key] = deque()
        self.open[key] = self.buses[side].create_endpoint(
            src=addr, callback=callback, zero_copy=zero_copy, backlog=backlog
        )
        if callback is None:
            self.readable.add(key)

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.open)))
        # What is on its way arrives first: let everyone but the one to be closed read until it has.
        self.drain(keep=key)
        unread = len(self.expected[key])
        before = self.buses[key[0]].statistics().num_discarded
        self.open.pop(key).close()
        assert self.buses[key[0]].statistics().num_discarded - before == unread
        self.readable.discard(key)
        self.expected[key].clear()

    # -- sending --

    def send_waiting(self, key: tuple[str, int], dst: int, data: bytes) -> None:
        """Sends with a deadline in the past, so that it waits for one turn of the other side at most."""
        entry = (data, key[1])
        target = (self.other(key[0]), dst)
        self.expected[target].append(entry)
        try:
            self.open[key].send_to(data, dst, timeout=0)
        except TimeoutExpired:
            self.expected[target].remove(entry)

    def draw_send(self, side: str, data: st.DataObject) -> tuple[Endpoint, int]:
        src = data.draw(st.sampled_from(self.addresses(side)))
        return self.open[side, src], data.draw(st.sampled_from(self.addresses(self.other(side))))

    @precondition(lambda self: {side for side, _ in self.open} == set(SIDES))
    @rule(side=SIDE, size=st.integers(0, 40), data=st.data(), num=st.integers(1, 12))
    def send(self, side: str, size: int, data: st.DataObject, num: int) -> None:
        ept, dst = self.draw_send(side, data)
        for _ in range(num):
            self.send_waiting((side, ept.src), dst, self.message(size))

    @precondition(lambda self: not self.at_once and {side for side, _ in self.open} == set(SIDES))
    @rule(side=SIDE, data=st.data())
    def try_send(self, side: str, data: st.DataObject) -> None:
        ept, dst = self.draw_send(side, data)
        # Callbacks may send while it looks for a buffer: it comes behind them.
        payload = self.message(0)
        try:
            ept.try_send_to(payload, dst)
        except WouldBlock:
            return
        self.expected[self.other(side), dst].append((payload, ept.src))

    @precondition(lambda self: {side for side, _ in self.open} == set(SIDES))
    @rule(side=SIDE, data=st.data(), num=st.integers(1, 20))
    def send_many(self, side: str, data: st.DataObject, num: int) -> None:
        ept, dst = self.draw_send(side, data)
        batch = [self.message(i % 30) for i in range(num)]
        entries = [(payload, ept.src) for payload in batch]
        self.expected[self.other(side), dst].extend(entries)
        bound, ept._dst = ept._dst, dst
        try:
            ept.send_many(batch, timeout=0)
        except TimeoutExpired as error:
            for entry in entries[error.completed :]:
                self.expected[self.other(side), dst].remove(entry)
        finally:
            ept._dst = bound

    @precondition(lambda self: self.open and len(self.borrowed) < 2)
    @rule(data=st.data(), size=st.integers(0, 48))
    def borrow(self, data: st.DataObject, size: int) -> None:
        key = data.draw(st.sampled_from(sorted(self.open)))
        try:
            buffer = self.open[key].borrow(size, timeout=0)
        except TimeoutExpired:
            return
        buffer.data[:] = b"\x5a" * size
        self.borrowed.append((key[0], buffer))

    @precondition(lambda self: self.borrowed)
    @rule(data=st.data(), give_up=st.booleans())
    def end_borrow(self, data: st.DataObject, give_up: bool) -> None:
        at = data.draw(st.integers(0, len(self.borrowed) - 1))
        side, buffer = self.borrowed.pop(at)
        targets = self.addresses(self.other(side))
        if give_up or not targets:
            buffer.release()
            return
        dst = data.draw(st.sampled_from(targets))
        payload, src = bytes(buffer.data), buffer._sender.src
        self.expected[self.other(side), dst].append((payload, src))
        buffer.send(dst=dst)

    # -- receiving --

    @precondition(lambda self: self.readable)
    @rule(data=st.data(), how=st.sampled_from(["one", "many", "message", "hold"]))
    def receive(self, data: st.DataObject, how: str) -> None:
        self.read(data.draw(st.sampled_from(sorted(self.readable))), how)

    def read(self, key: tuple[str, int], how: str) -> bool:
        ept = self.open[key]
        try:
            if how == "one":
                self.check(key, ept.receive(timeout=0))
            elif how == "message":
                message = ept.receive_message(timeout=0)
                assert message.dst == key[1]
                self.check(key, message.data, message.src)
            elif how == "many":
                for payload in ept.receive_many(5, timeout=0):
                    self.check(key, payload)
            else:
                held = ept.hold(timeout=0)
                self.check(key, bytes(held.data), held.src)
                self.held.append((held, bytes(held.data)))
        except TimeoutExpired:
            return False
        return True

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        held, content = self.held.pop(data.draw(st.integers(0, len(self.held) - 1)))
        assert bytes(held.data) == content
        held.release()

    @rule(side=SIDE)
    def poll(self, side: str) -> None:
        self.buses[side].poll()

    def drain(self, keep: tuple[str, int] | None = None) -> None:
        """Lets everything on its way arrive; all readable endpoints but `keep` read what they have.

        `keep` holds messages back at most as far as its backlog and the buffers go, so it reads too, once it is all
        that is left to wait for.
        """
        for held, content in self.held:
            assert bytes(held.data) == content
            held.release()
        self.held.clear()
        while True:
            self.pair.settle()
            for bus in self.buses.values():
                bus.poll()
            read = [self.read(key, "many") for key in sorted(self.readable) if key != keep]
            if not any(read):
                if keep is None or len(self.open[keep]._queue) == len(self.expected[keep]):
                    return
                if keep not in self.readable or not self.read(keep, "one"):
                    return

    @invariant()
    def nothing_wrong(self) -> None:
        assert not getattr(self, "wrong", []), self.wrong

    def teardown(self) -> None:
        if not hasattr(self, "pair"):
            return
        for _, buffer in self.borrowed:
            buffer.release()
        self.drain()
        self.nothing_wrong()
        assert not {key: queue for key, queue in self.expected.items() if queue}
        sent, got = (bus.statistics() for bus in self.buses.values())
        assert sent.num_sent == got.num_received + got.num_dropped
        assert got.num_sent == sent.num_received + sent.num_dropped
        assert sent.num_malformed == got.num_malformed == sent.num_dropped == got.num_dropped == 0


class Names(RuleBasedStateMachine):
    """Announcements both ways, any order of creating and closing, both kinds of host."""

    NAMES = st.sampled_from(["a", "b", "unique"])

    @initialize(acknowledge=st.booleans(), num=st.sampled_from([1, 4]))
    def start(self, acknowledge: bool, num: int) -> None:
        self.acknowledge = acknowledge
        self.pair = bus_pair(num=num, acknowledge=acknowledge)
        self.created: list[tuple[str, int]] = []
        self.pair.host.on_channel_created(lambda channel: self.created.append((channel.name, channel.dst)))
        self.pair.host.on_channel_destroyed(lambda channel: self.created.remove((channel.name, channel.dst)))

    @rule(name=NAMES)
    def announce(self, name: str) -> None:
        if name != "unique" or not any(ept.name == name for ept in self.pair.remote.endpoints):
            self.pair.remote.create_endpoint(name)

    @rule(name=NAMES)
    def look_for(self, name: str) -> None:
        if name != "unique" or not any(ept.name == name for ept in self.pair.host.endpoints):
            self.pair.host.create_endpoint(name, timeout=0)

    @rule(side=SIDE, data=st.data())
    def close(self, side: str, data: st.DataObject) -> None:
        bus: Bus = self.pair.host if side == "host" else self.pair.remote
        if bus.endpoints:
            data.draw(st.sampled_from(bus.endpoints)).close()

    @rule()
    def settle(self) -> None:
        pair = self.pair
        pair.settle()
        announced = {(ept.name, ept.src) for ept in pair.remote.endpoints}
        channels = [(channel.name, channel.dst) for channel in pair.host.channels]
        assert len(channels) == len(set(channels))
        assert set(channels) == announced
        assert sorted(self.created) == sorted(channels)
        bound = [(ept.name, ept.dst) for ept in pair.host.endpoints if ept.is_bound]
        assert len(bound) == len(set(bound))
        assert set(bound) <= announced
        # An endpoint that lost its channel does not go over to another one unasked.
        waiting = {ept.name for ept in pair.host.endpoints if not ept.is_bound and not ept._lost}
        assert not waiting & {name for name, dst in announced - set(bound)}
        for server in pair.remote.endpoints:
            clients = [ept for ept in pair.host.endpoints if ept.dst == server.src and ept.name == server.name]
            if server.name == "unique" and self.acknowledge:
                assert [server.dst] == [ept.src for ept in clients] or not (clients or server.is_bound)
            for client in clients:
                client.send(b"x", timeout=1)
                assert server.receive(timeout=1) == b"x"
                assert server.is_bound

    def teardown(self) -> None:
        if hasattr(self, "pair"):
            self.settle()


TestMessages = Messages.TestCase
TestMessages.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestNames = Names.TestCase
TestNames.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
