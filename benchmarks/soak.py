#!/usr/bin/env python3
"""Sends numbered, checksummed messages both ways between two processes for a long time, and counts what goes wrong.

    python benchmarks/soak.py [--messages N] [--minutes M] [--restarts N] [--seed S] [--json]

The remote sends every message back. Sizes are random, from the smallest that can be checked to the mtu; bursts are
answered in bursts; pauses let both ends fall asleep; now and then the remote is stopped, or killed with messages under
way, and started again. Every message carries the number of its life of the remote, its own number and a CRC-32.

An echo acknowledges its message. Of what was sent and not acknowledged when the remote ended, nothing is known; all
that was acknowledged must have come once, in order and unchanged. The exit status is 1 if anything did not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict, dataclass
from struct import Struct
from zlib import crc32

import openamp
from openamp.errors import RemoteError
from openamp.rpmsg import Endpoint

HEAD = Struct("<III")  # CRC-32 of the rest, life, number
WINDOW = 256
KILL = b"please kill yourself"


@dataclass
class Counts:
    sent: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    corrupted: int = 0
    unknown: int = 0  # under way when the remote was killed
    restarts: int = 0
    kills: int = 0
    pauses: int = 0
    bytes: int = 0

    @property
    def failures(self) -> int:
        return self.lost + self.doubled + self.reordered + self.corrupted


def message(life: int, number: int, payload: bytes) -> bytes:
    rest = HEAD.pack(0, life, number)[4:] + payload
    return crc32(rest).to_bytes(4, "little") + rest


def be_remote() -> None:
    """Sends back what comes, after its own look at it: a corrupted message is answered by one that is none."""
    bus = openamp.serve("process", timeout=30.0)
    endpoint = bus.create_endpoint("soak")
    expected = 0
    try:
        while True:
            answers = []
            for data in endpoint.receive_many():
                if data == KILL:
                    os.kill(os.getpid(), signal.SIGKILL)
                crc, _, number = HEAD.unpack_from(data)
                good = crc == crc32(data[4:]) and number == expected
                answers.append(data if good else b"bad" + data[3:])
                expected = number + 1
            endpoint.send_many(answers)
    except openamp.OpenAMPError:
        bus.close()


class Soak:
    """One run.

    Args:
        messages: how many to send.
        deadline: when to end all the same.
        restarts: about how many.
        seed: of everything random.
        progress: print a line now and then.
    """

    def __init__(self, messages: int, deadline: float, restarts: int, seed: int, progress: bool) -> None:
        self.counts = Counts()
        self.life = 0
        self._messages = messages
        self._deadline = deadline
        self._missing: set[int] = set()  # numbers that were skipped in this life
        self._random = random.Random(seed)
        self._noise = self._random.randbytes(1 << 16)
        self._per_life = max(messages // (restarts + 1), 1)
        self._progress = progress
        self._printed = self._began = time.monotonic()

    @property
    def over(self) -> bool:
        return self.counts.sent >= self._messages or time.monotonic() >= self._deadline

    def run(self) -> None:
        with openamp.open("process", args=["--remote"]) as rproc:
            while not self.over:
                rproc.boot(__file__)
                self.life += 1
                endpoint = rproc.create_endpoint("soak", timeout=30.0)
                under_way = self.live(endpoint)
                if self.over:
                    break
                self.counts.restarts += 1
                if self._random.random() < 0.5:
                    self.kill(endpoint, under_way)
                rproc.stop()

    def live(self, endpoint: Endpoint) -> int:
        """Sends and checks during one life of the remote; returns the number of the next message."""
        number = acknowledged = 0
        self._missing.clear()
        length = self._random.randint(self._per_life // 2, self._per_life * 3 // 2)
        while number < length and not self.over:
            burst = self._random.choice((1, 1, 2, 7, 64, WINDOW))
            batch = self.batch(number, burst, endpoint.mtu)
            if burst == 1:
                endpoint.send(batch[0], timeout=10.0)
            else:
                endpoint.send_many(batch, timeout=10.0)
            number += burst
            room = self._random.randrange(WINDOW)
            while number - acknowledged > room:
                acknowledged = self.check(endpoint.receive_many(timeout=10.0), acknowledged)
            self.report()
            if self._random.random() < 0.0003:
                self.counts.pauses += 1
                time.sleep(self._random.choice((0.0, 0.001, 0.01)))
        while acknowledged < number:
            try:
                acknowledged = self.check(endpoint.receive_many(timeout=10.0), acknowledged)
            except openamp.TimeoutExpired:
                self.counts.lost += number - acknowledged
                break
        return number

    def batch(self, number: int, burst: int, mtu: int) -> list[bytes]:
        found = []
        for at in range(number, number + burst):
            size = self._random.randrange(mtu - HEAD.size + 1)
            found.append(message(self.life, at, self._noise[at & 0x7FFF :][:size]))
            self.counts.bytes += HEAD.size + size
        self.counts.sent += burst
        return found

    def check(self, received: list[bytes], expected: int) -> int:
        """Counts what came; returns the next expected number."""
        for data in received:
            crc, life, number = HEAD.unpack_from(data)
            if crc != crc32(data[4:]) or life != self.life:
                self.counts.corrupted += 1
                expected += 1
            elif number == expected:
                self.counts.acknowledged += 1
                expected += 1
            elif number in self._missing:
                self._missing.remove(number)
                self.counts.lost -= 1
                self.counts.reordered += 1
            elif number < expected:
                self.counts.doubled += 1
            else:
                self._missing.update(range(expected, number))
                self.counts.lost += number - expected
                self.counts.acknowledged += 1
                expected = number + 1
        return expected

    def kill(self, endpoint: Endpoint, number: int) -> None:
        """Lets the remote kill itself with messages under way; what still comes must be in order."""
        self.counts.kills += 1
        batch = self.batch(number, WINDOW // 2, endpoint.mtu)
        batch.insert(self._random.randrange(len(batch)), KILL)
        end = number + len(batch) - 1
        try:
            endpoint.send_many(batch, timeout=10.0)
            while number < end:
                number = self.check(endpoint.receive_many(timeout=10.0), number)
        except RemoteError:
            self.counts.unknown += end - number

    def report(self, every: float = 5.0) -> None:
        now = time.monotonic()
        if self._progress and now - self._printed >= every:
            self._printed = now
            counts = self.counts
            rate = counts.sent / (now - self._began)
            print(
                f"{counts.sent:>11,} sent, {rate:,.0f}/s, life {self.life}, {counts.kills} kills, "
                f"{counts.failures} failures",
                file=sys.stderr,
                flush=True,
            )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--minutes", type=float, default=60.0, help="end after this time all the same")
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run's sizes, bursts and restarts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--remote", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.remote:
        be_remote()
        return 0
    seed = random.SystemRandom().randrange(1 << 32) if arguments.seed is None else arguments.seed
    if not arguments.json:
        print(f"seed {seed}", flush=True)
    began = time.monotonic()
    deadline = began + 60 * arguments.minutes
    soak = Soak(arguments.messages, deadline, arguments.restarts, seed, not arguments.json)
    soak.run()
    seconds = time.monotonic() - began
    if arguments.json:
        print(json.dumps({"seed": seed, "seconds": seconds, **asdict(soak.counts)}, indent=2))
    else:
        for name, value in asdict(soak.counts).items():
            print(f"{name:13} {value:>15,}")
        print(f"{'seconds':13} {seconds:>15.1f}")
    return 1 if soak.counts.failures else 0


if __name__ == "__main__":
    sys.exit(main())
