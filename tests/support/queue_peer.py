"""A device in a process of its own: answers each number that arrives on h2r with its square on r2h.

Run as `python -m support.queue_peer MEMFD OWN_BELL OTHER_BELL NUM SEED`. It sleeps on an eventfd when there is nothing
to do, gives buffers back in random batches and suppresses notifications at random: a wake-up that is lost, or data seen
before it is there, ends the exchange.
"""

from __future__ import annotations

import os
import random
import sys
from typing import Final

from openamp.memory import SharedMemory
from openamp.virtio import DeviceQueue, vring_size

ALIGN: Final = 64
SLOT: Final = 64  # bytes between buffers, a cache line each
STOP: Final = (1 << 64) - 1


def layout(num: int) -> tuple[int, int, int]:
    """Returns the offset of the h2r ring (r2h is at 0), of the r2h buffers (h2r's follow) and the whole size."""
    ring = -(-vring_size(num, ALIGN) // 4096) * 4096
    return ring, 2 * ring, 2 * ring + 2 * num * SLOT


def square(number: int) -> int:
    return number * number & STOP


class Device:
    def __init__(self, memory: SharedMemory, own: int, other: int, num: int, seed: int) -> None:
        second, _, _ = layout(num)
        self.view = memory.view
        self.r2h = DeviceQueue.contiguous(self.view[:second], num, ALIGN, name="r2h")
        self.h2r = DeviceQueue.contiguous(self.view[second:], num, ALIGN, name="h2r")
        self.own, self.other = own, other
        self.random = random.Random(seed)

    def flush(self) -> None:
        wanted = self.r2h.publish()
        if self.h2r.publish() or wanted:
            os.eventfd_write(self.other, 1)

    def sleep(self, queue: DeviceQueue) -> None:
        """Waits until the queue has something."""
        self.flush()
        if self.random.random() < 0.9 and queue.enable_notifications():
            return
        if not queue.enable_notifications():
            os.eventfd_read(self.own)
        if self.random.random() < 0.8:
            queue.disable_notifications()

    def run(self) -> None:
        while True:
            request = self.h2r.pop_single()
            if request is None:
                self.sleep(self.h2r)
                continue
            head, at, length, writable = request
            assert not writable
            number = int.from_bytes(self.view[at : at + length], "little")
            while (answer := self.r2h.pop_single()) is None:
                self.sleep(self.r2h)
            to, place, room, writable = answer
            assert writable
            self.view[place : place + room] = square(number).to_bytes(8, "little")
            self.r2h.push(to, room)
            self.h2r.push(head, 0)
            if self.random.random() < 0.3:
                self.flush()
            if number == STOP:
                self.flush()
                return


if __name__ == "__main__":
    fd, own, other, num, seed = map(int, sys.argv[1:])
    Device(SharedMemory(layout(num)[2], fd=fd), own, other, num, seed).run()
