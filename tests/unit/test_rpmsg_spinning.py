"""Spinning before a wait blocks: it ends with news, is bounded, learns, and loses no wake-up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from openamp.errors import PlatformError
from openamp.memory import MemoryMap, Region
from openamp.platforms.process.signals import SPIN, spin_time
from openamp.rpmsg import HostBus, RemoteBus
from openamp.virtio import DeviceQueue, DriverQueue, vring_size

NUM = 4
SIZE = 512
RING = (vring_size(NUM, 64) + 63) // 64 * 64
BUFFERS = 2 * RING
TOTAL = BUFFERS + 2 * NUM * SIZE


class Pair:
    """Two buses on one memory, whose pumps do as those of a process link; each kick is counted."""

    def __init__(self, spin: float = 0.01) -> None:
        self.memory = memoryview(bytearray(TOTAL))
        self.kicks: list[str] = []
        self.blocked = 0
        self.meanwhile: Callable[[], object] = lambda: None
        buffers = [(BUFFERS + SIZE * i, self.memory[BUFFERS + SIZE * i :][:SIZE]) for i in range(2 * NUM)]
        common: dict[str, Any] = {"features": 0, "notify_ids": (0, 1)}
        self.host = HostBus(
            r2h=DriverQueue.contiguous(self.memory[:RING], NUM, 64, name="r2h"),
            h2r=DriverQueue.contiguous(self.memory[RING:BUFFERS], NUM, 64, name="h2r"),
            r2h_buffers=buffers[:NUM],
            h2r_buffers=buffers[NUM:],
            kick=lambda _: self.kicks.append("host"),
            pump=self.pump,
            **common,
        )
        self.remote = RemoteBus(
            r2h=DeviceQueue.contiguous(self.memory[:RING], NUM, 64, name="r2h"),
            h2r=DeviceQueue.contiguous(self.memory[RING:BUFFERS], NUM, 64, name="h2r"),
            memory=MemoryMap([Region("shared", 0, self.memory)]),
            kick=lambda _: self.kicks.append("remote"),
            pump=lambda _: None,
            **common,
        )
        self.host.set_spin(spin)
        self.here = self.host.create_endpoint(src=1, dst=2)
        self.there = self.remote.create_endpoint(src=2, dst=1)

    def pump(self, timeout: float | None) -> None:
        bus = self.host
        if bus.pending or (timeout != 0 and bus.spin()):
            bus.notified()
            return
        self.meanwhile()
        if not bus.arm():
            self.blocked += 1
            self.meanwhile()
            bus.resume()
        bus.notified()


def test_a_spin_ends_as_soon_as_there_is_news() -> None:
    pair = Pair(spin=30.0)
    sender = threading.Timer(0.02, lambda: pair.there.send(b"news"))
    sender.start()
    began = time.monotonic()
    assert pair.host.spin()
    assert time.monotonic() - began < 20.0
    assert pair.here.receive(timeout=0) == b"news"
    sender.join()


def test_a_spin_ends_without_news_when_its_time_has_passed() -> None:
    pair = Pair(spin=0.01)
    began = time.monotonic()
    assert not pair.host.spin()
    assert 0.01 <= time.monotonic() - began < 5.0


def test_one_wait_spins_once() -> None:
    pair = Pair(spin=30.0)
    pair.host.set_spin(0.01)
    assert not pair.host.spin()
    pair.host.set_spin(30.0)
    assert not pair.host.spin()  # at once, or the test would time out


def test_spins_for_nothing_become_shorter_and_end() -> None:
    pair = Pair(spin=16e-6)
    for _ in range(8):
        pair.host.spin()
        pair.host.arm()
    pair.there.send(b"there")
    assert not pair.host.spin()  # it does not even look


def test_without_a_limit_nothing_spins_and_the_peer_signals() -> None:
    pair = Pair(spin=0)
    assert not pair.host.spin()
    pair.there.send(b"one")
    assert pair.kicks == ["remote"]
    assert pair.here.receive(timeout=0) == b"one"


def test_a_busy_exchange_needs_no_signals() -> None:
    pair = Pair(spin=30.0)
    pair.there.send(b"first")
    assert pair.host.spin()
    assert pair.here.receive(timeout=0) == b"first"
    pair.kicks.clear()
    for number in range(50):
        pair.there.send(b"%d" % number)
        assert pair.here.receive(timeout=1.0) == b"%d" % number
    assert pair.kicks == []
    assert pair.blocked == 0


@pytest.mark.parametrize("when", [1, 2])
def test_what_comes_before_or_after_arming_is_found(when: int) -> None:
    pair = Pair(spin=10e-6)
    pair.there.send(b"first")
    assert pair.host.spin()
    assert pair.here.receive(timeout=1.0) == b"first"
    calls = 0

    def meanwhile() -> None:
        nonlocal calls
        calls += 1
        if calls == when:
            pair.kicks.clear()
            pair.there.send(b"second")
            assert pair.kicks == ([] if when == 1 else ["remote"])  # unarmed: arm() tells; armed: a signal tells

    pair.meanwhile = meanwhile
    assert pair.here.receive(timeout=5.0) == b"second"
    assert pair.blocked == when - 1


def test_poll_leaves_the_peer_signalling() -> None:
    pair = Pair(spin=30.0)
    pair.there.send(b"first")
    assert pair.host.spin()
    pair.host.poll()
    pair.kicks.clear()
    pair.there.send(b"second")
    assert pair.kicks == ["remote"]


def test_a_sender_without_buffers_finds_them_by_spinning() -> None:
    pair = Pair(spin=30.0)
    for _ in range(NUM):
        pair.here.send(b"fill")
    taker = threading.Timer(0.02, pair.remote.poll)
    taker.start()
    pair.here.send(b"more", timeout=20.0)
    taker.join()
    assert pair.blocked == 0


def test_the_default_is_off_on_one_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert spin_time(None) == 0.0
    assert spin_time(1e-4) == 0.0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    assert spin_time(None) == SPIN
    assert spin_time(0) == 0.0


@pytest.mark.parametrize("seconds", [-1.0, 2.0, float("nan")])
def test_impossible_times_are_refused(seconds: float) -> None:
    with pytest.raises(PlatformError, match="spin"):
        spin_time(seconds)


def test_a_queue_watches_another_one_too() -> None:
    memory = memoryview(bytearray(2 * RING))
    first = DriverQueue.contiguous(memory[:RING], NUM, 64)
    second = DriverQueue.contiguous(memory[RING:], NUM, 64)
    assert not first.spin(second, 1000)
    device = DeviceQueue.contiguous(memory[RING:], NUM, 64)
    assert not device.spin(device, 1000)
    second.put(0, 16, True)
    second.publish()
    assert device.spin(device, 10**12)
    assert device.take()
    device.put(device.head, 1)
    device.publish()
    assert first.spin(second, 10**12)


def test_quick_signals_bring_spinning_back() -> None:
    pair = Pair(spin=1.0)
    pair.host.set_spin(0.02)
    for _ in range(3):
        pair.host.spin()
        pair.host.arm()
    assert not pair.host._transport.lazy
    for _ in range(64):
        pair.host.arm()
        pair.host.resume()
    pair.there.send(b"back")
    assert pair.host.spin()
