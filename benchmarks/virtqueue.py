#!/usr/bin/env python3
"""Round trips and floods over virtqueues between two processes, compiled and plain side by side.

    python benchmarks/virtqueue.py [--json] [--seconds S] [--num N]

A driver process offers buffers, a device process gives each back at once; nobody touches what is in them.

- round trip, spinning: one buffer there and back, both sides polling the ring;
- round trip, blocking: the same, each side asleep on an eventfd until it is kicked;
- flood: as many buffers under way as the ring holds, both sides taking and giving whole batches.

And once more over two queues, used as RPMsg uses them: a buffer of h2r goes out, the answer comes in one of r2h, and
both buffers are made ready for the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from processes import Bell, Context, Exercise, main, spin_until

from openamp.virtio import DeviceQueue, DriverQueue, vring_size

ALIGN = 4096
LENGTH = 512
BATCH = 64
STOP = 0xFFFF_FFFF  # the length of the buffer that ends the device


def ring_size(num: int) -> int:
    return (vring_size(num, ALIGN) + ALIGN - 1) // ALIGN * ALIGN


def size(num: int) -> int:
    return 2 * ring_size(num)


# One queue


def make_driver(context: Context) -> DriverQueue:
    queue = DriverQueue.contiguous(context.memory, context.num, ALIGN, name="bench")
    context.ready()
    return queue


def make_device(context: Context) -> DeviceQueue:
    context.ready()
    return DeviceQueue.contiguous(context.memory, context.num, ALIGN, name="bench")


def stop(queue: DriverQueue, other: Bell) -> None:
    while queue.num_free < queue.num:
        queue.reclaim_many(queue.num)
    queue.put(0, STOP, False)
    if queue.publish():
        other.ring()


def spin_driver(context: Context) -> tuple[Callable[[int], None], Callable[[], None]]:
    queue = make_driver(context)

    def step(count: int) -> None:
        put, publish, take = queue.put, queue.publish, queue.take
        for _ in range(count):
            put(0x1000, LENGTH, False)
            publish()
            spin_until(take)

    return step, lambda: stop(queue, context.other)


def spin_device(context: Context) -> None:
    queue = make_device(context)
    take, put, publish = queue.take, queue.put, queue.publish
    while True:
        spin_until(take)
        put(queue.head, 0)
        publish()
        if queue.length == STOP:
            return


def block_driver(context: Context) -> tuple[Callable[[int], None], Callable[[], None]]:
    queue = make_driver(context)

    def step(count: int) -> None:
        for _ in range(count):
            queue.put(0x1000, LENGTH, False)
            if queue.publish():
                context.other.ring()
            while not queue.take():
                if not queue.enable_notifications():
                    context.own.wait()
                queue.disable_notifications()

    return step, lambda: stop(queue, context.other)


def flood_driver(context: Context) -> tuple[Callable[[int], None], Callable[[], None]]:
    queue = make_driver(context)
    buffers = [(0x1000 + LENGTH * i, LENGTH) for i in range(queue.num)]

    def step(count: int) -> None:
        sent = received = 0

        def some_came_back() -> bool:
            nonlocal received
            came = len(queue.reclaim_many(BATCH))
            received += came
            return came > 0

        while received < count:
            room = min(queue.num_free, count - sent)
            if room:
                sent += len(queue.add_many(buffers[:room], False))
                queue.publish()
            spin_until(some_came_back)

    return step, lambda: stop(queue, context.other)


def batch_device(context: Context, blocking: bool) -> None:
    queue = make_device(context)
    queue.disable_notifications()
    misses = 0
    while True:
        taken = queue.pop_singles(BATCH)
        if not taken:
            misses += 1
            if blocking and not queue.enable_notifications():
                context.own.wait()
                queue.disable_notifications()
            elif misses % 1000 == 0:
                os.sched_yield()
            continue
        queue.push_many([(head, 0) for head, _, _, _ in taken])
        if queue.publish() and blocking:
            context.other.ring()
        if taken[-1][2] == STOP:
            return


# Two queues, as RPMsg has them


def pair_driver(context: Context) -> tuple[Callable[[int], None], Callable[[], None]]:
    half = ring_size(context.num)
    r2h = DriverQueue.contiguous(context.memory[:half], context.num, ALIGN, name="r2h")
    h2r = DriverQueue.contiguous(context.memory[half:], context.num, ALIGN, name="h2r")
    r2h.add_many([(LENGTH * i, LENGTH) for i in range(context.num)], True)
    r2h.publish()
    context.ready()

    def step(count: int) -> None:
        send, publish, sent = h2r.put, h2r.publish, h2r.take
        received, post, posted = r2h.take, r2h.put, r2h.publish
        for _ in range(count):
            send(0x1000, LENGTH, False)
            publish()
            spin_until(received)
            post(LENGTH * r2h.head, LENGTH, True)
            posted()
            spin_until(sent)

    def end() -> None:
        h2r.put(0, STOP, False)
        h2r.publish()

    return step, end


def pair_device(context: Context) -> None:
    context.ready()
    half = ring_size(context.num)
    r2h = DeviceQueue.contiguous(context.memory[:half], context.num, ALIGN, name="r2h")
    h2r = DeviceQueue.contiguous(context.memory[half:], context.num, ALIGN, name="h2r")
    arrived, back, given = h2r.take, h2r.put, h2r.publish
    empty, fill, filled = r2h.take, r2h.put, r2h.publish
    while True:
        spin_until(arrived)
        back(h2r.head, 0)
        given()
        spin_until(empty)
        fill(r2h.head, 32)
        filled()
        if h2r.length == STOP:
            return


EXERCISES = {
    "queue-spin": Exercise("one queue: round trip, spinning", False, spin_driver, spin_device),
    "queue-block": Exercise("one queue: round trip, blocking", False, block_driver, lambda c: batch_device(c, True)),
    "queue-flood": Exercise("one queue: flood", True, flood_driver, lambda c: batch_device(c, False)),
    "pair-spin": Exercise("two queues: round trip, spinning", False, pair_driver, pair_device),
}

if __name__ == "__main__":
    main(__doc__, EXERCISES, size)
