#!/usr/bin/env python3
"""RPMsg between two processes through the public API, beside the bare queues: compiled and plain, medians.

    python benchmarks/rpmsg_processes.py [--json] [--seconds S] [--num N]

A HostBus and a RemoteBus on shared memory, 16-byte messages in 512-byte buffers.

- round trip: `send` and `receive`, the remote receives and sends it back; spinning (a kick is a counter in shared
  memory that the other side watches) and blocking (a kick is an eventfd);
- flood: `send_many` and `receive_many`, 256 messages under way;
- one way: `send_many` here, `receive_many` there.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import virtqueue
from processes import Context, Exercise, main
from virtqueue import ALIGN, ring_size

from openamp.memory import MemoryMap, Region
from openamp.rpmsg import Endpoint, HostBus, RemoteBus
from openamp.virtio import DeviceQueue, DriverQueue

BUFFER = 512
MESSAGE = b"sixteen bytes..."
STOP = b"stop"
BATCH = 64
ADDRESS = 1024
BELLS = 128  # offset of the second doorbell word; the first is at 0


def size(num: int) -> int:
    return 4096 + 2 * ring_size(num) + 2 * num * BUFFER


class Link:
    """A kick and a pump over a doorbell word (spinning) or an eventfd (blocking)."""

    def __init__(self, context: Context, blocking: bool, own: int, other: int) -> None:
        self.context = context
        self.own = context.memory[own : own + 4].cast("I")
        self.other = context.memory[other : other + 4].cast("I")
        self.seen = 0
        self.notified: Callable[[], None]
        self.kick = self.kick_bell if blocking else self.kick_word
        self.pump = self.pump_bell if blocking else self.pump_word

    def kick_word(self, _: int) -> None:
        self.other[0] = (self.other[0] + 1) & 0xFFFF_FFFF

    def pump_word(self, timeout: float | None) -> None:
        word, seen = self.own, self.seen
        if word[0] == seen:
            end = None if timeout is None else time.monotonic() + timeout
            misses = 0
            while word[0] == seen:
                misses += 1
                if misses % 1000 == 0:
                    os.sched_yield()
                if end is not None and time.monotonic() > end:
                    return
        self.seen = word[0]
        self.notified()

    def kick_bell(self, _: int) -> None:
        self.context.other.ring()

    def pump_bell(self, timeout: float | None) -> None:
        if timeout is None:
            self.context.own.wait()
        self.notified()


def make_host(context: Context, blocking: bool) -> Endpoint:
    num, memory, ring = context.num, context.memory, ring_size(context.num)
    link = Link(context, blocking, 0, BELLS)
    start = 4096 + 2 * ring
    buffers = [(start + BUFFER * i, memory[start + BUFFER * i : start + BUFFER * (i + 1)]) for i in range(2 * num)]
    bus = HostBus(
        r2h=DriverQueue.contiguous(memory[4096 : 4096 + ring], num, ALIGN, name="r2h"),
        h2r=DriverQueue.contiguous(memory[4096 + ring : start], num, ALIGN, name="h2r"),
        r2h_buffers=buffers[:num],
        h2r_buffers=buffers[num:],
        features=0,
        kick=link.kick,
        pump=link.pump,
        notify_ids=(0, 1),
    )
    link.notified = bus.notified
    context.ready()
    return bus.create_endpoint(src=ADDRESS, dst=ADDRESS)


def make_remote(context: Context, blocking: bool) -> Endpoint:
    num, memory, ring = context.num, context.memory, ring_size(context.num)
    link = Link(context, blocking, BELLS, 0)
    context.ready()
    bus = RemoteBus(
        r2h=DeviceQueue.contiguous(memory[4096 : 4096 + ring], num, ALIGN, name="r2h"),
        h2r=DeviceQueue.contiguous(memory[4096 + ring : 4096 + 2 * ring], num, ALIGN, name="h2r"),
        memory=MemoryMap([Region("shared", 0, memory)]),
        features=0,
        kick=link.kick,
        pump=link.pump,
        notify_ids=(0, 1),
    )
    link.notified = bus.notified
    return bus.create_endpoint(src=ADDRESS, dst=ADDRESS)


def trip_host(context: Context, blocking: bool) -> tuple[Callable[[int], None], Callable[[], None]]:
    endpoint = make_host(context, blocking)

    def step(count: int) -> None:
        send, receive = endpoint.send, endpoint.receive
        for _ in range(count):
            send(MESSAGE)
            receive()

    return step, lambda: endpoint.send(STOP)


def trip_remote(context: Context, blocking: bool) -> None:
    endpoint = make_remote(context, blocking)
    send, receive = endpoint.send, endpoint.receive
    while True:
        data = receive()
        if data == STOP:
            return
        send(data)


def flood_host(context: Context) -> tuple[Callable[[int], None], Callable[[], None]]:
    endpoint = make_host(context, False)
    batch = [MESSAGE] * BATCH
    window = context.num

    def step(count: int) -> None:
        sent = received = 0
        while received < count:
            room = min(window - (sent - received), BATCH, count - sent)
            if room >= min(BATCH // 2, count - sent) > 0:
                endpoint.send_many(batch[:room])
                sent += room
            else:
                received += len(endpoint.receive_many())

    return step, lambda: endpoint.send(STOP)


def flood_remote(context: Context) -> None:
    endpoint = make_remote(context, False)
    while True:
        messages = endpoint.receive_many(BATCH)
        if messages[-1] == STOP:
            return
        endpoint.send_many(messages)


def one_way_host(context: Context) -> tuple[Callable[[int], None], Callable[[], None]]:
    endpoint = make_host(context, False)
    batch = [MESSAGE] * BATCH

    def step(count: int) -> None:
        for _ in range(count // BATCH):
            endpoint.send_many(batch)
        endpoint.send(b"all here?")
        endpoint.receive()

    return step, lambda: endpoint.send(STOP)


def one_way_remote(context: Context) -> None:
    endpoint = make_remote(context, False)
    while True:
        messages = endpoint.receive_many()
        if messages[-1] is not MESSAGE and len(messages[-1]) != len(MESSAGE):
            if messages[-1] == STOP:
                return
            endpoint.send(b"yes")


EXERCISES = {
    **virtqueue.EXERCISES,
    "rpmsg-spin": Exercise(
        "RPMsg: round trip, spinning", False, lambda c: trip_host(c, False), lambda c: trip_remote(c, False)
    ),
    "rpmsg-block": Exercise(
        "RPMsg: round trip, blocking", False, lambda c: trip_host(c, True), lambda c: trip_remote(c, True)
    ),
    "rpmsg-flood": Exercise("RPMsg: flood of echoes", True, flood_host, flood_remote),
    "rpmsg-one-way": Exercise("RPMsg: one way", True, one_way_host, one_way_remote),
}

if __name__ == "__main__":
    main(__doc__, EXERCISES, size)
