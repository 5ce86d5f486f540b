#!/usr/bin/env python3
"""Round trips and floods over one virtqueue between two processes, compiled and plain side by side.

    python benchmarks/virtqueue.py [--json] [--seconds S] [--num N]

A driver process offers buffers, a device process gives each back at once; nobody touches what is in them. The ring lies
in a memfd that both map. Three exercises, each for both forms of the queue:

- round trip, spinning: one buffer there and back, both sides polling the ring;
- round trip, blocking: the same, each side asleep on an eventfd until it is kicked;
- flood: as many buffers under way as the ring holds, both sides taking and giving whole batches.

Figures are medians over slices of the given time, with the 10th and 90th percentile; a busy machine widens them. Both
processes need a processor of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median, quantiles
from typing import Any

from openamp.memory import SharedMemory
from openamp.virtio import DeviceQueue, DriverQueue, implementation, vring_size

ALIGN = 4096
LENGTH = 512
BATCH = 64
STOP = 0xFFFF_FFFF  # the length of the buffer that ends the device
FORMS = ("compiled", "plain")
EXERCISES = {"spin": "round trip, spinning", "block": "round trip, blocking", "flood": "flood"}


class Bell:
    """An eventfd: rung by one side, waited for by the other."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def wait(self) -> None:
        os.eventfd_read(self.fd)


def device(queue: DeviceQueue, blocking: bool, own: Bell, other: Bell) -> None:
    """Gives back everything until the stop buffer comes."""
    if blocking:
        queue.disable_notifications()
    while True:
        taken = queue.pop_singles(BATCH)
        if not taken:
            if blocking and not queue.enable_notifications():
                own.wait()
                queue.disable_notifications()
            continue
        queue.push_many([(head, 0) for head, _, _, _ in taken])
        if queue.publish() and blocking:
            other.ring()
        if taken[-1][2] == STOP:
            return


def single(queue: DeviceQueue) -> None:
    """Gives back one buffer at a time until the stop buffer comes."""
    take, put, publish = queue.take, queue.put, queue.publish
    while True:
        while not take():
            pass
        put(queue.head, 0)
        publish()
        if queue.length == STOP:
            return


def spin(queue: DriverQueue, count: int) -> None:
    put, publish, take = queue.put, queue.publish, queue.take
    for _ in range(count):
        put(0x1000, LENGTH, False)
        publish()
        while not take():
            pass


def block(queue: DriverQueue, count: int, own: Bell, other: Bell) -> None:
    for _ in range(count):
        queue.put(0x1000, LENGTH, False)
        if queue.publish():
            other.ring()
        while not queue.take():
            if not queue.enable_notifications():
                own.wait()
            queue.disable_notifications()


def flood(queue: DriverQueue, count: int) -> None:
    buffers = [(0x1000 + LENGTH * i, LENGTH) for i in range(queue.num)]
    sent = received = 0
    while received < count:
        room = min(queue.num_free, count - sent)
        if room:
            sent += len(queue.add_many(buffers[:room], False))
            queue.publish()
        received += len(queue.reclaim_many(BATCH))


def stop(queue: DriverQueue, other: Bell) -> None:
    while queue.num_free < queue.num:
        queue.reclaim_many(queue.num)
    queue.put(0, STOP, False)
    if queue.publish():
        other.ring()


def slices(step: Callable[[int], None], seconds: float) -> list[float]:
    """Seconds per message of each slice; a slice takes about 20 ms."""
    count = 64
    while True:
        start = time.perf_counter()
        step(count)
        took = time.perf_counter() - start
        if took > 0.02:
            break
        count *= 2
    found = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        step(count)
        found.append((time.perf_counter() - start) / count)
    return found


def end(arguments: argparse.Namespace) -> None:
    """One of the two processes."""
    memory = SharedMemory(vring_size(arguments.num, ALIGN), fd=arguments.fds[0])
    driver_bell, device_bell = Bell(arguments.fds[1]), Bell(arguments.fds[2])
    if arguments.end == "device":
        os.read(arguments.fds[3], 1)  # until the rings are ready
        queue = DeviceQueue.contiguous(memory.view, arguments.num, ALIGN, name="bench")
        if arguments.exercise == "spin":
            single(queue)
        else:
            device(queue, arguments.exercise == "block", device_bell, driver_bell)
        return
    driver = DriverQueue.contiguous(memory.view, arguments.num, ALIGN, name="bench")
    os.write(arguments.fds[3], b"!")
    steps: dict[str, Callable[[int], None]] = {
        "spin": lambda count: spin(driver, count),
        "block": lambda count: block(driver, count, driver_bell, device_bell),
        "flood": lambda count: flood(driver, count),
    }
    print(json.dumps({"form": implementation, "slices": slices(steps[arguments.exercise], arguments.seconds)}))
    sys.stdout.flush()
    stop(driver, device_bell)


def measure(form: str, exercise: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Runs one exercise in one form; None when that form is not there."""
    memory = SharedMemory(vring_size(arguments.num, ALIGN))
    bells = [os.eventfd(0), os.eventfd(0)]
    ready = os.pipe()
    environment = {**os.environ, "OPENAMP_PLAIN": "1" if form == "plain" else "0"}

    def start(which: str, ready_fd: int) -> subprocess.Popen[str]:
        fds = [memory.fd, *bells, ready_fd]
        command = [sys.executable, __file__, "--end", which, "--exercise", exercise, "--num", str(arguments.num)]
        command += ["--seconds", str(arguments.seconds), "--fds", *map(str, fds)]
        return subprocess.Popen(command, pass_fds=fds, env=environment, stdout=subprocess.PIPE, text=True)

    other = start("device", ready[0])
    driver = start("driver", ready[1])
    try:
        output, _ = driver.communicate(timeout=60 + 10 * arguments.seconds)
        other.wait(timeout=10)
    finally:
        for process in (other, driver):
            process.kill()
            process.communicate()
        for fd in (*bells, *ready):
            os.close(fd)
    result = json.loads(output)
    if result["form"] != form:
        return None
    times = result["slices"]
    low, high = (quantiles(times, n=10)[0], quantiles(times, n=10)[-1]) if len(times) > 2 else (min(times), max(times))
    return {"form": form, "exercise": exercise, "median": median(times), "p10": low, "p90": high}


def text(result: dict[str, Any]) -> str:
    if result["exercise"] == "flood":
        m, low, high = (1e-6 / result[key] for key in ("median", "p90", "p10"))
        return f"{m:8.3f} M/s  ({low:.3f} .. {high:.3f})"
    m, low, high = (1e6 * result[key] for key in ("median", "p10", "p90"))
    return f"{m:8.2f} us   ({low:.2f} .. {high:.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each figure")
    parser.add_argument("--num", type=int, default=256, help="descriptors of the ring")
    parser.add_argument("--end", choices=("driver", "device"), help=argparse.SUPPRESS)
    parser.add_argument("--exercise", choices=tuple(EXERCISES), help=argparse.SUPPRESS)
    parser.add_argument("--fds", type=int, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.end:
        end(arguments)
        return
    results = []
    for exercise, title in EXERCISES.items():
        medians = {}
        for form in FORMS:
            result = measure(form, exercise, arguments)
            if result is None:
                continue
            results.append(result)
            medians[form] = result["median"]
            if not arguments.json:
                print(f"{title:22} {form:9} {text(result)}", flush=True)
        if len(medians) == 2 and not arguments.json:
            print(f"{'':22} {'ratio':9} {medians['plain'] / medians['compiled']:8.1f}")
    if arguments.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "cpus": os.cpu_count()}
        print(json.dumps({"num": arguments.num, **machine, "results": results}, indent=2))


if __name__ == "__main__":
    main()
