"""The driver that a device in another process, or another thread in C, is tested against."""

from __future__ import annotations

import os
import random
import select
from collections.abc import Callable
from types import ModuleType

from openamp.memory import SharedMemory
from openamp.virtio.virtqueue import DriverQueue
from support.queue_peer import ALIGN, SLOT, STOP, layout, square

DEADLINE = 20.0


class Host:
    """Sends numbers on h2r, expects their squares on r2h, in order; sleeps on its bell when there is nothing to do."""

    def __init__(self, form: ModuleType, num: int, seed: int) -> None:
        self.num = num
        second, self.buffers, size = layout(num)
        self.memory = SharedMemory(size)
        self.bell, self.other_bell = os.eventfd(0), os.eventfd(0)
        view = self.memory.view
        self.r2h: DriverQueue = form.DriverQueue.contiguous(view[:second], num, ALIGN, name="r2h")
        self.h2r: DriverQueue = form.DriverQueue.contiguous(view[second:], num, ALIGN, name="h2r")
        self.random = random.Random(seed)
        self.places: dict[int, int] = {}  # r2h head: offset of its buffer
        self.free = [self.buffers + SLOT * (num + i) for i in range(num)]
        self.away: dict[int, int] = {}  # h2r head: offset of its buffer
        self.expected: list[int] = []
        for i in range(num):
            self.post(self.buffers + SLOT * i)

    def post(self, place: int) -> None:
        self.places[self.r2h.add(place, 8, True)] = place

    def kick(self, wanted: bool) -> None:
        if wanted:
            os.eventfd_write(self.other_bell, 1)

    def collect(self) -> int:
        """Takes what came back; returns how much that was."""
        used = self.h2r.reclaim_many(self.num)
        for head, _ in used:
            self.free.append(self.away.pop(head))
        answers = self.r2h.reclaim_many(self.random.randint(1, self.num))
        places = [self.places.pop(head) for head, _ in answers]  # all of them, before a head is used again
        for place, (_, written) in zip(places, answers, strict=True):
            assert written == 8
            assert int.from_bytes(self.memory.view[place : place + 8], "little") == self.expected.pop(0)
            self.post(place)
        self.kick(self.r2h.publish())
        return len(used) + len(answers)

    def send(self, number: int) -> None:
        while not self.free:
            self.sleep()
        place = self.free.pop()
        self.memory.view[place : place + 8] = number.to_bytes(8, "little")
        self.away[self.h2r.add(place, 8, False)] = place
        self.expected.append(square(number))

    def sleep(self) -> None:
        """Takes what is there, or waits for it."""
        self.kick(self.h2r.publish())
        while not self.collect():
            news = self.r2h.enable_notifications()
            news = self.h2r.enable_notifications() or news
            if not news:
                assert select.select([self.bell], [], [], DEADLINE)[0], "a wake-up was lost"
                os.eventfd_read(self.bell)
            if self.random.random() < 0.8:
                self.r2h.disable_notifications()
                self.h2r.disable_notifications()

    def exchange(self, count: int, wait: Callable[[], object]) -> None:
        """Sends `count` numbers in bursts, then the one that ends the peer, and collects every answer."""
        self.r2h.publish()
        for i in range(count):
            self.send(self.random.getrandbits(63))
            if self.random.random() < 0.2:
                self.kick(self.h2r.publish())
                self.collect()
            if i % 97 == 0:
                while self.expected:
                    self.sleep()
        self.send(STOP)
        while self.expected or self.away:
            self.sleep()
        wait()
        assert (self.r2h.num_free, self.h2r.num_free) == (0, self.num)

    def close(self) -> None:
        self.r2h.close()
        self.h2r.close()
        self.memory.close()
        os.close(self.bell)
        os.close(self.other_bell)
