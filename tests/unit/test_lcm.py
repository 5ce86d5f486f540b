"""A host and a remote written step by step after the documentation's life cycle overview."""

from __future__ import annotations

import contextlib
import struct
from array import array
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from openamp import lcm
from openamp.errors import ClosedError, RpmsgError, WouldBlock
from openamp.platforms.loopback import LoopbackPlatform, LoopbackRemote
from openamp.remoteproc import RemoteProc
from openamp.rpmsg import BorrowedBuffer, Channel, Endpoint, HeldBuffer

SERVICE = "rpmsg-openamp-demo-channel"
SHUTDOWN = struct.pack("<I", 0xEF56A55A)
ACKNOWLEDGE = b"shutdown acknowledged"


class Remote:
    """The remote application."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.done = False

    def created(self, ept: Endpoint) -> None:
        self.events.append(f"created {ept.name}")

    def received(self, ept: Endpoint, data: bytes, length: int, src: int, priv: Any) -> None:
        if data == SHUTDOWN:
            lcm.rpmsg_send(ept, ACKNOWLEDGE)
            self.done = True
        else:
            assert lcm.rpmsg_send(ept, data) == length

    def main(self, link: LoopbackRemote) -> int:
        context = lcm.remoteproc_resource_init(link, [SERVICE], self.created, None, self.received)
        while not self.done and not context.is_ended:
            lcm.platform_poll(context)
        self.events.append("deinit")
        lcm.remoteproc_resource_deinit(context)
        return 0


class Host:
    """The host application."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.answers: list[bytes] = []
        self.ept: Endpoint | None = None

    def created(self, ept: Endpoint) -> None:
        self.events.append(f"created {ept.name}")
        self.ept = ept

    def destroyed(self, ept: Endpoint) -> None:
        self.events.append(f"destroyed {ept.name}")
        self.ept = None

    def received(self, ept: Endpoint, data: bytes, length: int, src: int, priv: Any) -> None:
        self.answers.append(data)


def test_the_documented_program() -> None:
    remote, host = Remote(), Host()
    rproc = lcm.remoteproc_init(None, "loopback", host.created, host.destroyed, host.received, remote=remote.main)
    lcm.remoteproc_boot(rproc)
    while host.ept is None:
        assert lcm.platform_poll(rproc, 5)
    for size in range(1, 497):
        lcm.rpmsg_send(host.ept, bytes(size))
    while len(host.answers) < 496:
        assert lcm.platform_poll(rproc, 5)
    assert [len(answer) for answer in host.answers] == list(range(1, 497))
    lcm.rpmsg_send(host.ept, SHUTDOWN)
    while ACKNOWLEDGE not in host.answers or host.ept is not None:
        assert lcm.platform_poll(rproc, 5)
    lcm.remoteproc_shutdown(rproc).wait()
    lcm.remoteproc_deinit(rproc)
    assert host.events == [f"created {SERVICE}", f"destroyed {SERVICE}"]
    assert remote.events == [f"created {SERVICE}", "deinit"]


def test_the_remote_learns_of_a_hard_shutdown() -> None:
    remote, host = Remote(), Host()
    platform = LoopbackPlatform(remote=remote.main)
    rproc = lcm.remoteproc_init(platform.builtin_firmware(), platform, host.created)
    lcm.remoteproc_boot(rproc)
    while host.ept is None:
        assert lcm.platform_poll(rproc, 5)
    lcm.remoteproc_shutdown(rproc).wait()
    lcm.remoteproc_deinit(rproc)
    assert remote.events == [f"created {SERVICE}", "deinit"]


class Pair(NamedTuple):
    """Both sides in this thread, and an endpoint of each, bound to the other."""

    rproc: RemoteProc
    context: lcm.RemoteContext
    ours: Endpoint
    theirs: Endpoint

    def poll(self) -> None:
        """Lets each side take in what there is."""
        for _ in range(3):
            lcm.platform_poll(self.rproc, 0)
            lcm.platform_poll(self.context, 0)


@pytest.fixture
def pair() -> Iterator[Pair]:
    rproc = lcm.remoteproc_init(None, "loopback", name="lcm")
    lcm.remoteproc_boot(rproc)
    context = lcm.remoteproc_resource_init("loopback", name="lcm", timeout=1)
    theirs = lcm.rpmsg_create_ept(context, "svc", src=100)
    ours = lcm.rpmsg_create_ept(rproc, "svc")
    both = Pair(rproc, context, ours, theirs)
    both.poll()
    assert ours.is_bound
    assert theirs.is_bound
    yield both
    lcm.remoteproc_deinit(rproc)


def test_all_ways_of_sending(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    lcm.rpmsg_send(ours, b"send")
    lcm.rpmsg_trysend(ours, b"trysend")
    lcm.rpmsg_sendto(ours, b"sendto", 100)
    lcm.rpmsg_trysendto(ours, b"trysendto", 100)
    lcm.rpmsg_send_offchannel(ours, 77, 100, b"offchannel")
    lcm.rpmsg_trysend_offchannel(ours, 78, 100, b"tryoffchannel")
    received = [theirs.receive_message(timeout=1) for _ in range(6)]
    assert [m.data for m in received] == [
        b"send",
        b"trysend",
        b"sendto",
        b"trysendto",
        b"offchannel",
        b"tryoffchannel",
    ]
    assert [m.src for m in received] == [ours.src] * 4 + [77, 78]


def test_no_copy_both_ways(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    ways: tuple[Callable[[BorrowedBuffer], int], ...] = (
        lambda b: lcm.rpmsg_send_nocopy(ours, b, 5),
        lambda b: lcm.rpmsg_sendto_nocopy(ours, b, 5, 100),
        lambda b: lcm.rpmsg_send_offchannel_nocopy(ours, ours.src, 100, b, 5),
    )
    for how in ways:
        buffer = lcm.rpmsg_get_tx_payload_buffer(ours)
        buffer.data[:5] = b"hello"
        assert how(buffer) == 5
        held = lcm.rpmsg_hold_rx_buffer(theirs, timeout=1)
        assert bytes(held.data) == b"hello"
        lcm.rpmsg_release_rx_buffer(theirs, held)
    unused = lcm.rpmsg_get_tx_payload_buffer(ours, wait=False)
    lcm.rpmsg_release_tx_buffer(ours, unused)


def test_trysend_without_a_buffer(pair: Pair) -> None:
    ours, theirs = pair.ours, pair.theirs
    theirs._backlog = 4  # the remote reads nothing: its queue fills, then its buffers, then ours
    sent = 0
    with contextlib.suppress(WouldBlock):
        while sent < 100_000:
            sent += lcm.rpmsg_trysend(ours, bytes(496)) // 496
    assert 0 < sent < 100_000


def test_sizes_are_in_bytes(pair: Pair) -> None:
    assert lcm.rpmsg_send(pair.ours, memoryview(bytes(8)).cast("I")) == 8
    assert lcm.rpmsg_sendto(pair.ours, array("H", [1, 2]), 100) == 4  # type: ignore[arg-type]
    assert [len(pair.theirs.receive(timeout=1)) for _ in range(2)] == [8, 4]


def test_no_transmit_buffer_is_free(pair: Pair) -> None:
    lent = []
    with pytest.raises(WouldBlock, match="wait=True waits"):
        while True:
            lent.append(lcm.rpmsg_get_tx_payload_buffer(pair.ours, wait=False))
    for buffer in lent:
        lcm.rpmsg_release_tx_buffer(pair.ours, buffer)
    assert lent


def test_a_message_is_held_inside_the_callback_as_in_c(pair: Pair) -> None:
    held: list[HeldBuffer] = []
    passing: list[HeldBuffer] = []

    def received(ept: Endpoint, data: HeldBuffer, length: int, src: int, priv: Any) -> None:
        assert bytes(data.data) == b"message %d" % priv[0]
        assert (length, src) == (len(data.data), pair.ours.src)
        passing.append(data)
        if priv[0] % 2:
            held.append(lcm.rpmsg_hold_rx_buffer(ept, data))
        priv[0] += 1

    number = [0]
    lcm.rpmsg_create_ept(pair.context, "", src=200, cb=received, priv=number, zero_copy=True)
    for i in range(4):
        lcm.rpmsg_sendto(pair.ours, b"message %d" % i, 200)
        pair.poll()
    assert [bytes(buffer.data) for buffer in held] == [b"message 1", b"message 3"]
    for buffer in held:
        lcm.rpmsg_release_rx_buffer(pair.theirs, buffer)
    assert all(buffer.released for buffer in passing)
    with pytest.raises(ClosedError, match="inside of the callback"):
        lcm.rpmsg_hold_rx_buffer(pair.theirs, passing[0])


def test_answering_without_a_copy_inside_the_callback(pair: Pair) -> None:
    def upper(ept: Endpoint, data: HeldBuffer, length: int, src: int, priv: Any) -> None:
        answer = lcm.rpmsg_get_tx_payload_buffer(ept)
        answer.data[:length] = bytes(data.data).upper()
        lcm.rpmsg_sendto_nocopy(ept, answer, length, src)

    lcm.rpmsg_create_ept(pair.context, "", src=200, cb=upper, zero_copy=True)
    for size in (1, 496):
        lcm.rpmsg_sendto(pair.ours, b"x" * size, 200)
        assert pair.ours.receive(timeout=1) == b"X" * size


def test_an_endpoint_made_inside_a_callback(pair: Pair) -> None:
    """The way of a service that gives each client an endpoint of its own."""
    answers: list[bytes] = []

    def serve(ept: Endpoint, data: bytes, length: int, src: int, priv: Any) -> None:
        lcm.rpmsg_send(ept, b"from " + data)

    def connect(ept: Endpoint, data: bytes, length: int, src: int, priv: Any) -> None:
        lcm.rpmsg_create_ept(pair.context, data.decode(), cb=serve)

    def announced(ept: Endpoint) -> None:
        lcm.rpmsg_send(ept, b"first")

    def collect(ept: Endpoint, data: bytes, length: int, src: int, priv: Any) -> None:
        answers.append(data)

    lcm.rpmsg_create_ept(pair.context, "", src=200, cb=connect)

    @pair.rproc.bus.on_channel_created
    def created(channel: Channel) -> None:
        announced(lcm.rpmsg_create_ept(pair.rproc, channel.name, dest=channel.dst, cb=collect))

    for name in (b"one", b"two"):
        lcm.rpmsg_sendto(pair.ours, name, 200)
    pair.poll()
    pair.poll()
    assert answers == [b"from first", b"from first"]


def test_unbinding_is_told(pair: Pair) -> None:
    told: list[Endpoint] = []
    bound, waiting = (lcm.rpmsg_create_ept(pair.rproc, "svc2", unbind_cb=told.append) for _ in range(2))
    second = lcm.rpmsg_create_ept(pair.context, "svc2")
    pair.poll()
    assert (bound.is_bound, waiting.is_bound) == (True, False)
    lcm.rpmsg_destroy_ept(second)
    pair.poll()
    assert told == [bound]
    assert pair.ours.is_bound


def channels_of(names: list[str], **callbacks: Any) -> tuple[RemoteProc, lcm.RemoteContext]:
    rproc = lcm.remoteproc_init(None, "loopback", name="channels", **callbacks)
    lcm.remoteproc_boot(rproc)
    context = lcm.remoteproc_resource_init("loopback", names, name="channels", timeout=1)
    lcm.platform_poll(rproc, 0)
    return rproc, context


def test_two_channels_of_one_name() -> None:
    created: list[Endpoint] = []
    destroyed: list[Endpoint] = []
    rproc, context = channels_of(["svc", "svc"], channel_created=created.append, channel_destroyed=destroyed.append)
    assert [ept.dst for ept in created] == [ept.src for ept in context.bus.endpoints]
    lcm.rpmsg_destroy_ept(context.bus.endpoints[0])
    lcm.platform_poll(rproc, 0)
    assert destroyed == [created[0]]
    assert [ept.is_closed for ept in created] == [True, False]
    lcm.remoteproc_deinit(rproc)


def test_the_remotes_callbacks_name_the_endpoint_that_was_bound() -> None:
    created: list[Endpoint] = []
    destroyed: list[Endpoint] = []
    rproc = lcm.remoteproc_init(None, "loopback", name="bound")
    lcm.remoteproc_boot(rproc)
    context = lcm.remoteproc_resource_init(
        "loopback", ["svc", "svc"], created.append, destroyed.append, name="bound", timeout=1
    )
    first, second = context.bus.endpoints
    lcm.platform_poll(rproc, 0)
    ours = lcm.rpmsg_create_ept(rproc, "svc", dest=second.src)
    lcm.platform_poll(context, 0)
    assert created == []  # an acknowledgement would reach the first
    lcm.rpmsg_send(ours, b"hello")
    lcm.platform_poll(context, 0)
    assert created == [second]
    assert second.dst == ours.src
    lcm.rpmsg_create_ept(rproc, "svc", dest=first.src)
    lcm.platform_poll(context, 0)
    assert created == [second, first]
    lcm.rpmsg_destroy_ept(ours)
    lcm.platform_poll(context, 0)
    assert destroyed == [second]
    lcm.remoteproc_deinit(rproc)


def test_an_endpoint_that_waits_for_a_channel_is_not_joined_by_another() -> None:
    created: list[Endpoint] = []
    rproc = lcm.remoteproc_init(None, "loopback", created.append, name="waits")
    lcm.remoteproc_boot(rproc)
    waiting = lcm.rpmsg_create_ept(rproc, "svc")
    lcm.remoteproc_resource_init("loopback", "svc", name="waits", timeout=1)
    lcm.platform_poll(rproc, 0)
    assert waiting.is_bound
    assert created == []
    assert rproc.bus.endpoints == (waiting,)
    lcm.remoteproc_deinit(rproc)


def test_a_remote_whose_channels_cannot_be_leaves_nothing_open() -> None:
    rproc = lcm.remoteproc_init(None, "loopback", name="wrong")
    lcm.remoteproc_boot(rproc)
    with pytest.raises(RpmsgError):
        lcm.remoteproc_resource_init("loopback", ["svc", "x" * 33], name="wrong", timeout=1)
    lcm.platform_poll(rproc, 0)
    assert rproc.bus.channels == ()
    lcm.remoteproc_deinit(rproc)
