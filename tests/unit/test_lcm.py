"""A host and a remote written step by step after the documentation's life cycle overview."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Callable
from typing import Any

from openamp import lcm
from openamp.errors import WouldBlock
from openamp.platforms.loopback import LoopbackPlatform, LoopbackRemote
from openamp.rpmsg import BorrowedBuffer, Endpoint

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
    platform = LoopbackPlatform(remote=remote.main)
    rproc = lcm.remoteproc_init(platform.builtin_firmware(), platform, host.created, host.destroyed, host.received)
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


def pair() -> tuple[Any, Any, Any]:
    """A host's and a remote's endpoint in this thread, and the host's handle."""
    platform = LoopbackPlatform(name="lcm")
    rproc = lcm.remoteproc_init(platform.builtin_firmware(), platform)
    lcm.remoteproc_boot(rproc)
    context = lcm.remoteproc_resource_init("loopback", name="lcm", timeout=1)
    theirs = lcm.rpmsg_create_ept(context, "svc", src=100)
    ours = lcm.rpmsg_create_ept(rproc, "svc")
    while not ours.is_bound:
        assert lcm.platform_poll(rproc, 1)
    lcm.platform_poll(context, 0)
    return rproc, ours, theirs


def test_all_ways_of_sending() -> None:
    rproc, ours, theirs = pair()
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
    lcm.remoteproc_deinit(rproc)


def test_no_copy_both_ways() -> None:
    rproc, ours, theirs = pair()
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
    lcm.remoteproc_deinit(rproc)


def test_trysend_without_a_buffer() -> None:
    rproc, ours, theirs = pair()
    theirs._backlog = 4  # the remote reads nothing: its queue fills, then its buffers, then ours
    sent = 0
    with contextlib.suppress(WouldBlock):
        while sent < 100_000:
            sent += lcm.rpmsg_trysend(ours, bytes(496)) // 496
    assert 0 < sent < 100_000
    lcm.remoteproc_deinit(rproc)


def test_unbinding_is_told() -> None:
    rproc, ours, theirs = pair()
    told: list[Endpoint] = []
    again = lcm.rpmsg_create_ept(rproc, "svc2", unbind_cb=told.append)
    second = lcm.rpmsg_create_ept(theirs._bus, "svc2")
    while not again.is_bound:
        assert lcm.platform_poll(rproc, 1)
    lcm.rpmsg_destroy_ept(second)
    while not told:
        assert lcm.platform_poll(rproc, 1)
    assert told == [again]
    assert ours.is_bound
    lcm.remoteproc_deinit(rproc)
