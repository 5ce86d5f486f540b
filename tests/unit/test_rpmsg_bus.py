"""Turns of the bus: callbacks and their errors, nesting, bounded work, kicks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from openamp.errors import ClosedError, OpenAMPError, TimeoutExpired
from openamp.rpmsg import Bus, Channel, Endpoint, virtio_bus
from openamp.testing.buses import BusPair, bus_pair
from support.forms import plain


@pytest.fixture
def pair() -> BusPair:
    return bus_pair(num=8)


def sender(pair: BusPair) -> Endpoint:
    return pair.remote.create_endpoint(src=0x10, dst=0x20)


def test_the_first_error_of_a_callback_comes_out_after_all_callbacks(pair: BusPair) -> None:
    got: list[bytes] = []

    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        got.append(data)
        if data in (b"bad 1", b"bad 2"):
            raise ZeroDivisionError(data)

    pair.host.create_endpoint(src=0x20, callback=callback)
    other = pair.host.create_endpoint(src=0x21)
    near = sender(pair)
    near.send_many([b"a", b"bad 1", b"b", b"bad 2", b"c"])
    near.send_to(b"other", 0x21)
    with pytest.raises(ZeroDivisionError, match="bad 1") as caught:
        pair.host.poll()
    assert caught.value.__notes__ == ["(1 more errors followed on this bus before this one was raised)"]
    assert got == [b"a", b"bad 1", b"b", b"bad 2", b"c"]
    assert other.receive(timeout=0) == b"other"
    pair.host.poll()
    near.send_many([b"%d" % i for i in range(20)], timeout=1)
    pair.settle()
    assert len(got) == 25


def test_the_error_comes_out_of_the_call_that_waits_and_no_message_is_lost(pair: BusPair) -> None:
    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        raise ZeroDivisionError

    pair.host.create_endpoint(src=0x20, callback=callback)
    other = pair.host.create_endpoint(src=0x21)
    near = sender(pair)
    near.send(b"bad")
    near.send_to(b"good", 0x21)
    with pytest.raises(ZeroDivisionError):
        other.receive(timeout=1)
    assert other.receive(timeout=1) == b"good"


def test_the_error_does_not_make_a_sent_message_look_unsent(pair: BusPair) -> None:
    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        raise ZeroDivisionError

    pair.host.create_endpoint(src=0x20, callback=callback)
    near = sender(pair)
    got: list[bytes] = []

    def take(ept: Endpoint, data: bytes, src: int) -> None:
        got.append(data)
        if data == b"0":
            near.send(b"bad")

    pair.remote.create_endpoint(src=0x30, callback=take)
    client = pair.host.create_endpoint(dst=0x30)
    client.send_many([b"%d" % i for i in range(8)])
    client.send(b"8", timeout=1)
    with pytest.raises(ZeroDivisionError):
        pair.host.poll()
    pair.settle()
    assert got == [b"%d" % i for i in range(9)]


def test_errors_of_channel_callbacks(pair: BusPair) -> None:
    seen: list[Channel] = []

    @pair.host.on_channel_created
    def bad(channel: Channel) -> None:
        raise ZeroDivisionError

    pair.host.on_channel_created(seen.append)
    pair.remote.create_endpoint("svc")
    with pytest.raises(ZeroDivisionError):
        pair.host.poll()
    assert len(seen) == 1


def test_callbacks_never_nest(pair: BusPair) -> None:
    depth = deepest = 0
    order: list[bytes] = []
    quiet = pair.host.create_endpoint(src=0x21)

    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        order.append(data)
        if data == b"0":
            near.send_many([b"%d" % i for i in range(1, 30)], timeout=1)
            near.send_to(b"answer", 0x21, timeout=1)
            assert quiet.receive(timeout=1) == b"answer"
            assert order == [b"0"]
        depth -= 1

    pair.host.create_endpoint(src=0x20, callback=callback)
    near = sender(pair)
    near.send(b"0")
    pair.settle()
    assert deepest == 1
    assert order == [b"%d" % i for i in range(30)]


def test_an_error_of_one_callback_does_not_come_out_inside_another(pair: BusPair) -> None:
    outcome: list[str] = []
    quiet = pair.host.create_endpoint(src=0x21)

    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        if data == b"bad":
            raise ZeroDivisionError
        try:
            quiet.receive(timeout=0)
        except TimeoutExpired:
            outcome.append("timeout")
        pair.host.poll()

    pair.host.create_endpoint(src=0x20, callback=callback)
    sender(pair).send_many([b"bad", b"good"])
    with pytest.raises(ZeroDivisionError):
        pair.host.poll()
    assert outcome == ["timeout"]


@pytest.mark.parametrize("how", ["endpoint", "bus", "fail"])
def test_callback_that_ends_things(pair: BusPair, how: str) -> None:
    got: list[bytes] = []

    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        got.append(data)
        if how == "endpoint":
            ept.close()
        elif how == "bus":
            pair.host.close()
        else:
            pair.host.fail(OpenAMPError("gone"))

    pair.host.create_endpoint(src=0x20, callback=callback)
    sender(pair).send_many([b"1", b"2", b"3"])
    if how == "fail":  # what had arrived is still delivered
        with pytest.raises(OpenAMPError, match="gone"):
            pair.host.notified()
        assert got == [b"1", b"2", b"3"]
    else:
        pair.host.notified()
        assert got == [b"1"]
        assert pair.host.statistics().num_discarded == 2
    if how == "bus":
        with pytest.raises(ClosedError):
            pair.host.poll()


def test_callback_interrupted_from_the_keyboard(pair: BusPair) -> None:
    got: list[bytes] = []

    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        if data == b"2" and not got.count(b"2"):
            got.append(data)
            raise KeyboardInterrupt
        got.append(data)

    pair.host.create_endpoint(src=0x20, callback=callback)
    sender(pair).send_many([b"1", b"2", b"3"])
    with pytest.raises(KeyboardInterrupt):
        pair.host.poll()
    pair.host.poll()
    assert got == [b"1", b"2", b"3"]


def test_a_peer_that_never_stops_does_not_keep_a_deadline_from_passing(pair: BusPair) -> None:
    """Each message is answered by the next one while the host takes it in."""
    near = sender(pair)
    pair.host.create_endpoint(src=0x20, callback=lambda ept, data, src: near.send(data))
    quiet = pair.host.create_endpoint(src=0x21)
    near.send(b"for ever")
    pair.host.poll()
    assert pair.host.pending
    with pytest.raises(TimeoutExpired):
        quiet.receive(timeout=0.01)
    assert pair.host.statistics().num_received > 16


def test_poll_says_whether_anything_was_there(pair: BusPair) -> None:
    near = sender(pair)
    pair.host.create_endpoint(src=0x20)
    assert not pair.host.poll()
    near.send(b"x")
    assert pair.host.poll()
    assert not pair.host.poll()


def test_message_to_nobody_is_counted(pair: BusPair) -> None:
    near = sender(pair)
    for _ in range(20):
        near.send(b"hello", timeout=1)
        pair.settle()
    statistics = pair.host.statistics()
    assert (statistics.num_dropped, statistics.num_received) == (20, 0)


def test_notified_ignores_ids_of_others(pair: BusPair) -> None:
    near = sender(pair)
    far = pair.host.create_endpoint(src=0x20)
    near.send(b"x")
    pair.host.notified(99)
    assert not far._queue
    pair.host.notified(1)
    assert far._queue


def test_peer_is_not_kicked_while_it_takes_messages(pair: BusPair) -> None:
    """The host has its notifications off while it drains, and on again when it has seen the end."""
    kicks: list[int] = []
    near = sender(pair)

    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        if data == b"first":
            before = pair.remote.statistics()
            near.send(b"second")
            after = pair.remote.statistics()
            kicks.append(after.num_kicks - before.num_kicks)
            assert after.num_kicks_suppressed == before.num_kicks_suppressed + 1

    pair.host.create_endpoint(src=0x20, callback=callback)
    near.send(b"first")
    pair.settle()
    before = pair.remote.statistics().num_kicks
    near.send(b"third")
    assert kicks == [0]
    assert pair.remote.statistics().num_kicks == before + 1


def test_free_buffers_are_signalled_only_to_those_who_wait(pair: BusPair) -> None:
    near = sender(pair)
    pair.host.create_endpoint(src=0x20, callback=lambda ept, data, src: None)
    buses: tuple[Bus, Bus] = (pair.host, pair.remote)
    near.send_many([b"x"] * 8)
    pair.settle()
    assert [bus.statistics().num_kicks for bus in buses] == [0, 1]
    near.send_many([b"x"] * 20, timeout=1)
    pair.settle()
    assert 1 <= buses[0].statistics().num_kicks <= 3
    before = buses[0].statistics().num_kicks
    near.send_many([b"x"] * 8)
    pair.settle()
    assert buses[0].statistics().num_kicks == before


class Racing:
    """A queue whose peer acts at the worst moment: we have seen nothing, and have not yet asked for a signal."""

    def __init__(self, queue: object, race: Callable[[], object]) -> None:
        self._queue = queue
        self._race = race

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def enable_notifications(self) -> object:
        self._race()
        return self._queue.enable_notifications()  # type: ignore[attr-defined]


@pytest.fixture
def plain_rings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes buses whose rings are not compiled, so that a test can put something between them and the queues."""
    rings = plain("openamp.rpmsg.rings")
    monkeypatch.setattr(virtio_bus, "HostRings", rings.HostRings)
    monkeypatch.setattr(virtio_bus, "RemoteRings", rings.RemoteRings)


@pytest.mark.parametrize("receiver", ["host", "remote"])
def test_message_that_comes_just_before_its_signal_is_asked_for(
    plain_rings: None, pair: BusPair, receiver: str
) -> None:
    near_bus, far_bus = (pair.remote, pair.host) if receiver == "host" else (pair.host, pair.remote)
    near = near_bus.create_endpoint(src=0x10, dst=0x20)
    far = far_bus.create_endpoint(src=0x20)
    left = [b"2"]

    def race() -> None:
        if left:
            before = near_bus.statistics().num_kicks
            near.send(left.pop())
            assert near_bus.statistics().num_kicks == before, "the test is only good if no kick comes"

    rings: Any = far_bus._transport
    name = "_r2h" if receiver == "host" else "_h2r"
    setattr(rings, name, Racing(getattr(rings, name), race))
    near.send(b"1")
    pair.settle()
    assert far.receive_many() == [b"1", b"2"]


@pytest.mark.parametrize("sender", ["host", "remote"])
@pytest.mark.parametrize("how", ["send", "borrow", "announce"])
def test_buffer_that_comes_free_just_before_its_signal_is_asked_for(
    plain_rings: None, pair: BusPair, sender: str, how: str
) -> None:
    near_bus, far_bus = (pair.host, pair.remote) if sender == "host" else (pair.remote, pair.host)
    near = near_bus.create_endpoint(src=0x10, dst=0x20)
    far = far_bus.create_endpoint(src=0x20)
    near.send_many([b"x"] * 8)
    pair.step = lambda side: False  # type: ignore[method-assign]
    rings: Any = near_bus._transport
    name = "_h2r" if sender == "host" else "_r2h"
    setattr(rings, name, Racing(getattr(rings, name), far_bus.poll))
    if how == "send":
        near.send(b"last", timeout=0)
    elif how == "announce":
        near_bus.create_endpoint("svc", announce=True)
        far_bus.poll()
        assert [channel.name for channel in far_bus.channels] == ["svc"]
        return
    else:
        near.borrow(timeout=0).send(0)
    far_bus.poll()
    assert len(far.receive_many()) == 9
