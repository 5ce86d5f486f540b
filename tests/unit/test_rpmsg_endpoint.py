"""Sending and receiving, in both directions: order, waiting, deadlines, zero copy."""

from __future__ import annotations

import array
import pickle
import threading
from collections.abc import Callable

import pytest

from openamp.errors import (
    ClosedError,
    MessageTooLongError,
    NotBoundError,
    OpenAMPError,
    RpmsgError,
    StateError,
    TimeoutExpired,
    WouldBlock,
)
from openamp.rpmsg import ADDR_ANY, Bus, Endpoint, HeldBuffer, Message
from openamp.testing.buses import BusPair, bus_pair

NUM = 4


class Link:
    """Two bound endpoints: `near` sends to `far`."""

    def __init__(self, pair: BusPair, near: Bus, far: Bus) -> None:
        self.pair = pair
        self.near_bus = near
        self.far_bus = far
        self.near = near.create_endpoint(src=0x10, dst=0x20)
        self.far = far.create_endpoint(src=0x20, dst=0x10)


@pytest.fixture(params=["h2r", "r2h"])
def link(request: pytest.FixtureRequest) -> Link:
    pair = bus_pair(num=NUM)
    return Link(pair, pair.host, pair.remote) if request.param == "h2r" else Link(pair, pair.remote, pair.host)


def numbered(num: int, start: int = 0) -> list[bytes]:
    return [b"%d" % i for i in range(start, start + num)]


# -- plain messages ----------------------------------------------------------------------------------------------------


def test_holding_needs_an_endpoint_without_callback(link: Link) -> None:
    got: list[object] = []
    link.far.close()
    far = link.far_bus.create_endpoint(src=0x20, callback=lambda ept, data, src: got.append(data))
    with pytest.raises(StateError, match="gives its messages to a callback"):
        far.hold()
    link.near.send(b"x")
    link.pair.settle()
    assert got == [b"x"]


@pytest.mark.parametrize("size", [0, 1, 15, 16, 495, 496])
def test_every_size_arrives(link: Link, size: int) -> None:
    data = bytes(i & 0xFF for i in range(size))
    link.near.send(data)
    assert link.far.receive(timeout=1) == data


@pytest.mark.parametrize("size", [4095, 4096, 0xFFFF])
def test_large_buffers(size: int) -> None:
    pair = bus_pair(num=NUM, h2r_size=size + 16, r2h_size=0x20000)
    link = Link(pair, pair.host, pair.remote)
    data = bytes(range(251)) * (size // 251 + 1)
    link.near.send(data[:size])
    assert link.far.receive(timeout=1) == data[:size]
    assert link.near.mtu == size
    assert link.far.mtu == 0xFFFF
    with pytest.raises(MessageTooLongError, match="exceeds the mtu"):
        link.near.send(bytes(size + 1))


def test_too_long(link: Link) -> None:
    assert link.near.mtu == 496
    sends: list[Callable[[bytes], None]] = [
        link.near.send,
        link.near.try_send,
        lambda data: link.near.send_many([b"", data]),
    ]
    for send in sends:
        with pytest.raises(MessageTooLongError) as caught:
            send(bytes(497))
        assert (caught.value.size, caught.value.mtu) == (497, 496)
    link.near.send(bytes(496))
    assert link.far.receive_many(timeout=1) == [bytes(496)]


@pytest.mark.parametrize(
    "data", [bytearray(b"abcd"), memoryview(b"abcd"), memoryview(b"axbxcxdx")[::2], array.array("H", [0x6261, 0x6463])]
)
def test_whatever_has_bytes_can_be_sent(link: Link, data: bytes) -> None:
    link.near.send(data)
    link.near.send_many([data])
    assert link.far.receive_many(2, timeout=1) == [b"abcd", b"abcd"]


@pytest.mark.parametrize("data", ["text", 5, [1, 2], None])
def test_what_has_no_bytes_cannot(link: Link, data: bytes) -> None:
    with pytest.raises(RpmsgError, match="must be bytes, not"):
        link.near.send(data)


def test_addresses_of_a_message(link: Link) -> None:
    third = link.far_bus.create_endpoint(src=0x21)
    link.near.send_to(b"to", 0x21)
    link.near.send_offchannel(0x77, 0x21, b"off")
    link.near.try_send_to(b"try", 0x21)
    link.near.try_send_offchannel(0x78, 0x21, b"tryoff")
    assert [third.receive_message(timeout=1) for _ in range(4)] == [
        Message(b"to", 0x10, 0x21),
        Message(b"off", 0x77, 0x21),
        Message(b"try", 0x10, 0x21),
        Message(b"tryoff", 0x78, 0x21),
    ]


def test_unbound_endpoint() -> None:
    bus = bus_pair().host
    ept = bus.create_endpoint()
    calls: list[Callable[[], None]] = [
        lambda: ept.send(b""),
        lambda: ept.try_send(b""),
        lambda: ept.send_many([b""]),
    ]
    for call in calls:
        with pytest.raises(NotBoundError, match="has no destination yet; wait_bound"):
            call()
    with pytest.raises(TimeoutExpired, match=r"not bound within 0\.001 s"):
        ept.wait_bound(timeout=0.001)


def test_closed_endpoint(link: Link) -> None:
    ept = link.near
    ept.close()
    ept.close()
    calls: list[Callable[[], object]] = [
        lambda: ept.send(b""),
        lambda: ept.try_send(b""),
        lambda: ept.send_to(b"", 1),
        lambda: ept.send_offchannel(1, 1, b""),
        lambda: ept.send_many([b""]),
        ept.receive,
        ept.try_receive,
        ept.receive_many,
        ept.receive_message,
        ept.hold,
        ept.borrow,
        ept.wait_bound,
    ]
    for call in calls:
        with pytest.raises(ClosedError, match="is closed; create another one"):
            call()
    assert list(ept) == []


def test_unread_messages_of_a_closed_endpoint_are_counted(link: Link) -> None:
    link.near.send_many(numbered(3))
    link.far_bus.poll()
    link.far.close()
    link.near.send(b"late")
    link.far_bus.poll()
    statistics = link.far_bus.statistics()
    assert (statistics.num_received, statistics.num_discarded, statistics.num_dropped) == (3, 3, 1)


def test_statistics(link: Link) -> None:
    link.near.send(b"abc")
    link.near.send_many([b"de", b"f"])
    link.far.receive_many(timeout=1)
    near, far = link.near_bus.statistics(), link.far_bus.statistics()
    assert (near.num_sent, near.bytes_sent, near.num_buffer_waits) == (3, 6, 0)
    assert (far.num_received, far.bytes_received, far.num_malformed) == (3, 6, 0)
    with pytest.raises(AttributeError):
        near.num_sent = 0  # type: ignore[misc]


# -- batches and order -------------------------------------------------------------------------------------------------


def test_one_kick_a_batch(link: Link) -> None:
    before = link.near_bus.statistics().num_kicks
    link.near.send_many(numbered(NUM))
    assert link.near_bus.statistics().num_kicks == before + 1
    assert link.far.receive_many(timeout=1) == numbered(NUM)


def test_many_more_than_there_are_buffers(link: Link) -> None:
    messages = numbered(100)
    link.near.send_many(messages, timeout=1)
    got: list[bytes] = []
    while len(got) < 100:
        got += link.far.receive_many(7, timeout=1)
    assert got == messages
    assert link.near_bus.statistics().num_buffer_waits == 1


def test_sending_waits_for_a_buffer(link: Link) -> None:
    messages = numbered(50)
    for message in messages:
        link.near.send(message, timeout=1)
    assert [link.far.receive(timeout=1) for _ in messages] == messages


def test_peer_that_takes_nothing(link: Link) -> None:
    link.pair.step = lambda side: False  # type: ignore[method-assign]
    link.near.send_many(numbered(NUM))
    with pytest.raises(WouldBlock, match=r"use send\(\)"):
        link.near.try_send(b"more")
    with pytest.raises(TimeoutExpired, match="the peer does not take its messages"):
        link.near.send(b"more", timeout=0)
    with pytest.raises(TimeoutExpired):
        link.near.borrow(timeout=0.001)
    del link.pair.step
    link.far_bus.poll()
    link.near.send(b"last")
    assert link.far.receive_many(timeout=1) == numbered(NUM)
    assert link.far.receive_many(timeout=1) == [b"last"]


def test_batch_that_runs_out_of_time_says_how_far_it_came(link: Link) -> None:
    link.pair.step = lambda side: False  # type: ignore[method-assign]
    with pytest.raises(TimeoutExpired, match="4 of 10 messages sent") as caught:
        link.near.send_many(numbered(10), timeout=0.001)
    assert caught.value.completed == NUM
    del link.pair.step
    assert link.far.receive_many(timeout=1) == numbered(NUM)
    with pytest.raises(TimeoutExpired):
        link.far.receive(timeout=0)


def test_a_callback_that_sends_does_not_overtake_the_waiting_sender(link: Link) -> None:
    """The waiting sender asked first; the callback runs while it waits, on the same endpoint."""
    link.near.send_many(numbered(NUM))
    sent_by_callback = []

    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        sent_by_callback.append(data)
        link.near.send(b"callback %d" % len(sent_by_callback), timeout=1)

    link.near_bus.create_endpoint(src=0x11, callback=callback)
    for _ in range(3):
        link.far.send_to(b"go", 0x11)
    link.near.send(b"waiting", timeout=1)
    link.pair.settle()
    expected = [*numbered(NUM), b"waiting", b"callback 1", b"callback 2", b"callback 3"]
    assert link.far.receive_many(timeout=1) == expected


def test_try_send_does_not_overtake_the_waiting_sender(link: Link) -> None:
    link.near.send_many(numbered(NUM))
    outcome: list[str] = []

    def callback(ept: Endpoint, data: bytes, src: int) -> None:
        try:
            link.near.try_send(b"quick")
            outcome.append("sent")
        except WouldBlock:
            outcome.append("blocked")

    link.near_bus.create_endpoint(src=0x11, callback=callback)
    link.far.send_to(b"go", 0x11)
    link.near.send(b"waiting", timeout=1)
    link.pair.settle()
    got = link.far.receive_many(timeout=1)
    assert got[: NUM + 1] == [*numbered(NUM), b"waiting"]
    assert len(got) == NUM + 1 + outcome.count("sent")


def test_echo_of_everything_through_few_buffers(link: Link) -> None:
    """Both directions full at once, from callbacks."""
    link.far.close()
    link.far_bus.create_endpoint(src=0x20, dst=0x10, callback=lambda ept, data, src: ept.send(data, timeout=1))
    messages = numbered(200)
    link.near.send_many(messages, timeout=5)
    got: list[bytes] = []
    while len(got) < 200:
        got += link.near.receive_many(timeout=1)
    assert got == messages


def test_sender_whose_endpoint_is_closed_by_a_callback(link: Link) -> None:
    link.pair.step = lambda side: link.near_bus.poll() if side == "host" else False  # type: ignore[method-assign]
    link.near_bus.create_endpoint(src=0x11, callback=lambda ept, data, src: link.near.close())
    link.far.send_to(b"go", 0x11)
    with pytest.raises(ClosedError):
        link.near.send_many(numbered(NUM + 1), timeout=1)
    del link.pair.step
    assert link.far.receive_many(timeout=1) == numbered(NUM)


# -- receiving ---------------------------------------------------------------------------------------------------------


def test_nothing_comes(link: Link) -> None:
    with pytest.raises(WouldBlock, match=r"use receive\(\)"):
        link.far.try_receive()
    with pytest.raises(TimeoutExpired, match=r"no message at endpoint '' \(0x20\) within 0\.001 s"):
        link.far.receive(timeout=0.001)
    with pytest.raises(TimeoutError):
        link.far.receive_many(timeout=0)


def test_waiting_for_ever_where_nobody_can_send(link: Link) -> None:
    with pytest.raises(StateError, match="waits for ever"):
        link.far.receive()


def test_iteration(link: Link) -> None:
    link.near.send_many(numbered(3))
    seen = []
    for data in link.far:
        seen.append(data)
        if len(seen) == 3:
            link.far.close()
    assert seen == numbered(3)


def test_callback_gets_everything_in_order(link: Link) -> None:
    got: list[tuple[int, bytes, int]] = []
    link.far.close()
    link.far_bus.create_endpoint(src=0x20, callback=lambda ept, data, src: got.append((ept.src, data, src)))
    link.near.send_many(numbered(20), timeout=1)
    link.pair.settle()
    assert got == [(0x20, data, 0x10) for data in numbered(20)]
    for call in (link.far_bus.endpoints[0].receive, link.far_bus.endpoints[0].try_receive):
        with pytest.raises(StateError, match="gives its messages to a callback"):
            call()


def test_backlog_leaves_messages_in_the_buffers_and_loses_none(link: Link) -> None:
    link.far.close()
    far = link.far_bus.create_endpoint(src=0x20, backlog=3)
    other = link.far_bus.create_endpoint(src=0x21)
    link.pair.settle()
    with pytest.raises(TimeoutExpired, match="7 of 100") as caught:
        link.near.send_many(numbered(100), timeout=0.001)
    assert caught.value.completed == 3 + NUM
    with pytest.raises(TimeoutExpired, match="has 7 unread messages and keeps the buffers"):
        other.receive(timeout=0)
    assert far.receive_many(timeout=1) == numbered(3 + NUM)
    link.near.send_to(b"free again", 0x21, timeout=1)
    assert other.receive(timeout=1) == b"free again"


def test_backlog_by_itself_is_bounded_in_bytes() -> None:
    pair = bus_pair(num=NUM, h2r_size=0x10010)
    link = Link(pair, pair.host, pair.remote)
    fixed = pair.remote.create_endpoint(src=0x21, backlog=7)
    assert link.far._backlog == 262_144
    link.near.send(bytes(496))
    pair.remote.poll()
    assert link.far._backlog == 53_773
    link.near.send(bytes(0xFFFF))
    pair.remote.poll()
    assert link.far._backlog == 511
    assert pair.remote.create_endpoint()._backlog == link.far._backlog
    assert fixed._backlog == 7


def test_the_last_buffers_serve_others_while_one_endpoint_is_at_its_backlog(link: Link) -> None:
    link.far.close()
    link.far_bus.create_endpoint(src=0x20, backlog=1)
    other = link.far_bus.create_endpoint(src=0x21)
    link.near.send_many(numbered(NUM))  # one is copied, three stay
    for i in range(20):
        link.near.send_to(b"%d" % i, 0x21, timeout=1)
        assert other.receive(timeout=1) == b"%d" % i


# -- zero copy ---------------------------------------------------------------------------------------------------------


def test_borrowed_buffer_is_sent_at_the_end(link: Link) -> None:
    with link.near.borrow(5) as view:
        assert (len(view), view.readonly, view.format) == (5, False, "B")
        view[:] = b"hello"
        with pytest.raises(WouldBlock):
            link.far.try_receive()
    assert link.far.receive(timeout=1) == b"hello"
    with pytest.raises(ValueError, match="released"):
        view[0] = 0


def test_borrowed_buffer_of_a_failed_block_is_not_sent(link: Link) -> None:
    for _ in range(3 * NUM):
        with pytest.raises(ZeroDivisionError), link.near.borrow():
            raise ZeroDivisionError
    link.near.send(b"next")
    assert link.far.receive_many(timeout=1) == [b"next"]


def test_borrowed_buffer_decides_late(link: Link) -> None:
    buffer = link.near.borrow()
    assert len(buffer.data) == link.near.mtu
    buffer.data[:2] = b"hi"
    with pytest.raises(MessageTooLongError):
        buffer.send(497)
    buffer.send(2)
    assert buffer.released
    with pytest.raises(ClosedError, match="was sent"):
        buffer.send()
    with pytest.raises(ClosedError), buffer:
        pass
    buffer.release()
    other = link.near.borrow(1)
    with other as view:
        view[0] = 0x21
        other.send(dst=0x20)
    assert link.far.receive_many(timeout=1) == [b"hi", b"!"]


@pytest.mark.parametrize("address", [-1, ADDR_ANY, 1 << 32, 1 << 70])
def test_borrowed_buffer_to_an_impossible_address_stays_borrowed(link: Link, address: int) -> None:
    with link.near.borrow() as view:
        view[:2] = b"ok"
    buffer = link.near.borrow(2)
    with pytest.raises(RpmsgError, match="out of range"):
        buffer.send(dst=address)
    with pytest.raises(RpmsgError, match="out of range"):
        buffer.send(src=address)
    buffer.data[:] = b"go"
    buffer.send()
    link.pair.settle()
    assert [data[:2] for data in link.far.receive_many()] == [b"ok", b"go"]


def test_borrow_more_than_fits(link: Link) -> None:
    for size in (-1, 497):
        with pytest.raises(MessageTooLongError):
            link.near.borrow(size)
    buffers = [link.near.borrow() for _ in range(NUM)]
    for buffer in buffers:
        buffer.release()
    assert all(buffer.released for buffer in buffers)


def test_all_buffers_borrowed(link: Link) -> None:
    buffers = [link.near.borrow(1) for _ in range(NUM)]
    for i, buffer in enumerate(buffers):
        buffer.data[0] = i
    with pytest.raises(WouldBlock):
        link.near.try_send(b"")
    with pytest.raises(TimeoutExpired):
        link.near.borrow(timeout=0)
    for buffer in reversed(buffers):
        buffer.send()
    assert link.far.receive_many(timeout=1) == [b"\3", b"\2", b"\1", b"\0"]


def test_borrowed_buffer_of_an_endpoint_that_was_closed(link: Link) -> None:
    with pytest.raises(ClosedError), link.near.borrow(1):
        link.near.close()
    again = link.near_bus.create_endpoint(dst=0x20)
    again.send_many(numbered(NUM), timeout=0)


def test_committed_buffer_does_not_overtake_the_waiting_sender(link: Link) -> None:
    buffer = link.near.borrow(4)
    buffer.data[:] = b"last"
    link.near.send_many(numbered(NUM - 1))
    link.near_bus.create_endpoint(src=0x11, callback=lambda ept, data, src: buffer.send())
    link.far.send_to(b"go", 0x11)
    link.near.send(b"waiting", timeout=1)
    link.pair.settle()
    assert link.far.receive_many(timeout=1) == [*numbered(NUM - 1), b"waiting", b"last"]


def test_held_message_lies_in_shared_memory(link: Link) -> None:
    link.far_bus.create_endpoint(src=0x21, zero_copy=True)
    far = link.far_bus.endpoints[-1]
    link.near.send_to(b"hello", 0x21)
    with far.hold(timeout=1) as view:
        assert bytes(view) == b"hello"
        assert view.readonly
        for region in link.pair.rings.memory:
            at = bytes(region.data).index(b"hello")
            region.data[at] = ord("j")
        assert bytes(view) == b"jello"
    with pytest.raises(ValueError, match="released"):
        bytes(view)


def test_holding_several_while_others_go_round(link: Link) -> None:
    link.near.send(b"first")
    held = [link.far.hold(timeout=1)]
    for i in range(2):
        link.near.send(b"held %d" % i)
        held.append(link.far.hold(timeout=1))
    for i in range(20):
        link.near.send(b"%d" % i, timeout=1)
        assert link.far.receive(timeout=1) == b"%d" % i
    assert [bytes(one.data) for one in held] == [b"first", b"held 0", b"held 1"]
    assert [(one.src, one.dst) for one in held] == [(0x10, 0x20)] * 3
    for one in held:
        one.release()
        one.release()
    link.near.send_many(numbered(3 * NUM), timeout=1)
    assert link.far.receive_many(timeout=1) + link.far.receive_many(timeout=1) == numbered(3 * NUM)


def test_queue_of_parked_and_copied_messages_keeps_its_order(link: Link) -> None:
    link.far.close()
    far = link.far_bus.create_endpoint(src=0x20, zero_copy=True)
    link.near.send_many(numbered(20), timeout=1)
    link.pair.settle()
    with far.hold(timeout=1) as a, far.hold(timeout=1) as b:
        assert (bytes(a), bytes(b)) == (b"0", b"1")
        assert far.receive(timeout=1) == b"2"
    assert far.receive_many(timeout=1) == numbered(17, 3)


def test_release_fails_while_another_object_uses_the_view(link: Link) -> None:
    link.near.send(b"abcd")
    held = link.far.hold(timeout=1)
    borrowed = link.near.borrow(1)
    users = [pickle.PickleBuffer(held.data), pickle.PickleBuffer(borrowed.data)]
    for give_back in (held.release, borrowed.send, borrowed.release):
        with pytest.raises(StateError, match="still in use by another object"):
            give_back()
    assert not held.released
    assert not borrowed.released
    for user in users:
        user.release()
    held.release()
    borrowed.release()
    link.near.send_many(numbered(NUM), timeout=0)


def test_callback_in_place(link: Link) -> None:
    kept: list[HeldBuffer] = []
    seen: list[bytes] = []

    def callback(ept: Endpoint, data: HeldBuffer, src: int) -> None:
        seen.append(bytes(data.data))
        if seen[-1] == b"keep":
            data.keep()
            kept.append(data)

    link.far.close()
    link.far_bus.create_endpoint(src=0x20, callback=callback, zero_copy=True)
    messages = [b"a", b"keep", b"b", b"c"]
    link.near.send_many(messages, timeout=1)
    link.near.send_many(numbered(20), timeout=1)
    link.pair.settle()
    assert seen == [*messages, *numbered(20)]
    assert bytes(kept[0].data) == b"keep"
    kept[0].release()


# -- the end -----------------------------------------------------------------------------------------------------------


def test_bus_closed_while_buffers_are_out(link: Link) -> None:
    link.near.send(b"held")
    held = link.far.hold(timeout=1)
    borrowed = link.near.borrow(4)
    link.far_bus.close()
    link.near_bus.close()
    assert bytes(held.data) == b"held"
    held.release()
    with pytest.raises(ClosedError), borrowed as view:
        view[:] = b"late"
    assert borrowed.released
    with pytest.raises(ClosedError, match="the bus is closed"):
        link.near_bus.poll()
    link.near_bus.notified(None)
    link.near_bus.close()


def test_failed_bus_gives_what_it_received_and_then_the_first_cause(link: Link) -> None:
    link.near.send_many(numbered(2))
    link.far_bus.poll()
    cause = OpenAMPError("the remote is gone")
    link.far_bus.fail(cause)
    link.far_bus.fail(OpenAMPError("later"))
    assert [link.far.receive(), link.far.receive()] == numbered(2)
    calls: list[Callable[[], object]] = [
        link.far.receive,
        link.far.try_receive,
        lambda: link.far.send(b""),
        lambda: link.far.try_send(b""),
        lambda: link.far.send_many([b""]),
        link.far.borrow,
        link.far_bus.poll,
        link.far_bus.create_endpoint,
        lambda: list(link.far),
    ]
    for call in calls:
        with pytest.raises(OpenAMPError, match="the remote is gone") as caught:
            call()
        assert caught.value is cause
    link.far.close()
    link.far_bus.close()


def test_failure_reaches_the_waiting_sender(link: Link) -> None:
    link.near.send_many(numbered(NUM))
    cause = OpenAMPError("the remote is gone")
    link.near_bus._room._pump = lambda timeout: link.near_bus.fail(cause)
    with pytest.raises(OpenAMPError, match="the remote is gone"):
        link.near.send(b"more")


def test_close_from_another_thread_ends_a_wait(link: Link) -> None:
    waiting = threading.Event()
    pump = link.far_bus._room._pump

    def told(timeout: float | None) -> None:
        waiting.set()
        pump(5)

    link.far_bus._room._pump = told
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            link.far.receive(timeout=5)
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert waiting.wait(5)
    link.far_bus.close()
    thread.join(5)
    assert isinstance(outcome[0], ClosedError)
    assert link.far.is_closed
