"""What the two-process benchmarks share: start both ends, time slices, print medians side by side.

A benchmark is a table of exercises. Each runs in two fresh processes that share a memfd and two eventfds; the driver's
end times it in slices of about 20 ms. Figures are medians over the slices, with the 10th and 90th percentile; a busy
machine widens them. Each process needs a processor of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

from openamp.memory import SharedMemory
from openamp.virtio import implementation

FORMS = ("compiled", "plain")


class Bell:
    """An eventfd: rung by one side, waited for by the other."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def ring(self) -> None:
        os.eventfd_write(self.fd, 1)

    def wait(self) -> None:
        os.eventfd_read(self.fd)


def spin_until(step: Callable[[], bool]) -> None:
    """Calls `step` until it is true; lets another process run now and then, should there be one that wants to."""
    while True:
        for _ in range(1000):
            if step():
                return
        os.sched_yield()


@dataclass(frozen=True)
class Context:
    """What both ends have.

    Attributes:
        memory: shared, zeroed.
        own: rung by the other side.
        other: waited for by the other side.
        num: descriptors of each ring.
        ready: called by the driver's end when the rings are made, by the device's end to wait for that.
    """

    memory: memoryview
    own: Bell
    other: Bell
    num: int
    ready: Callable[[], object]


@dataclass(frozen=True)
class Exercise:
    """One figure.

    Attributes:
        title: for the table.
        rate: print messages a second instead of the time for one.
        driver: returns what does `count` messages, and what ends the device's side.
        device: runs until the driver's side ends it.
    """

    title: str
    rate: bool
    driver: Callable[[Context], tuple[Callable[[int], object], Callable[[], object]]]
    device: Callable[[Context], object]


def slices(step: Callable[[int], object], seconds: float) -> list[float]:
    """Seconds per message of each slice."""
    count = 64
    while True:
        start = time.perf_counter()
        step(count)
        if time.perf_counter() - start > 0.02:
            break
        count *= 2
    found = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        step(count)
        found.append((time.perf_counter() - start) / count)
    return found


def run_end(arguments: argparse.Namespace, exercises: Mapping[str, Exercise], size: int) -> None:
    """Is one of the two processes."""
    memory = SharedMemory(size, fd=arguments.fds[0])
    bells = Bell(arguments.fds[1]), Bell(arguments.fds[2])
    ready = arguments.fds[3]
    exercise = exercises[arguments.exercise]
    if arguments.end == "device":
        context = Context(memory.view, bells[1], bells[0], arguments.num, lambda: os.read(ready, 1))
        exercise.device(context)
        return
    context = Context(memory.view, bells[0], bells[1], arguments.num, lambda: os.write(ready, b"!"))
    step, stop = exercise.driver(context)
    print(json.dumps({"form": implementation, "slices": slices(step, arguments.seconds)}), flush=True)
    stop()


def measure(form: str, name: str, arguments: argparse.Namespace, size: int) -> dict[str, Any] | None:
    """Runs one exercise in one form; None when that form is not there."""
    memory = SharedMemory(size)
    bells = [os.eventfd(0), os.eventfd(0)]
    ready = os.pipe()
    environment = {**os.environ, "OPENAMP_PLAIN": "1" if form == "plain" else "0"}

    def start(end: str, ready_fd: int) -> subprocess.Popen[str]:
        fds = [memory.fd, *bells, ready_fd]
        command = [sys.executable, sys.argv[0], "--end", end, "--exercise", name, "--num", str(arguments.num)]
        command += ["--seconds", str(arguments.seconds), "--fds", *map(str, fds)]
        return subprocess.Popen(command, pass_fds=fds, env=environment, stdout=subprocess.PIPE, text=True)

    device = start("device", ready[0])
    driver = start("driver", ready[1])
    try:
        output, _ = driver.communicate(timeout=60 + 10 * arguments.seconds)
        device.wait(timeout=10)
    finally:
        for process in (device, driver):
            process.kill()
            process.communicate()
        for fd in (*bells, *ready):
            os.close(fd)
    result = json.loads(output)
    if result["form"] != form:
        return None
    times = result["slices"]
    low, high = (quantiles(times, n=10)[0], quantiles(times, n=10)[-1]) if len(times) > 2 else (min(times), max(times))
    return {"exercise": name, "form": form, "median": median(times), "p10": low, "p90": high}


def text(result: dict[str, Any], rate: bool) -> str:
    if rate:
        m, low, high = (1e-6 / result[key] for key in ("median", "p90", "p10"))
        return f"{m:8.3f} M/s  ({low:.3f} .. {high:.3f})"
    m, low, high = (1e6 * result[key] for key in ("median", "p10", "p90"))
    return f"{m:8.2f} us   ({low:.2f} .. {high:.2f})"


def main(description: str | None, exercises: Mapping[str, Exercise], size: Callable[[int], int]) -> None:
    """Is a benchmark's command line.

    Args:
        description: its docstring.
        exercises: by a short name.
        size: bytes of shared memory for a number of descriptors.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each figure")
    parser.add_argument("--num", type=int, default=256, help="descriptors of each ring")
    parser.add_argument("--only", nargs="*", choices=tuple(exercises), help="some of the exercises")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS, help="one of the forms")
    parser.add_argument("--end", choices=("driver", "device"), help=argparse.SUPPRESS)
    parser.add_argument("--exercise", choices=tuple(exercises), help=argparse.SUPPRESS)
    parser.add_argument("--fds", type=int, nargs="*", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.end:
        run_end(arguments, exercises, size(arguments.num))
        return
    results = []
    for name in arguments.only or exercises:
        exercise = exercises[name]
        medians = {}
        for form in arguments.forms:
            result = measure(form, name, arguments, size(arguments.num))
            if result is None:
                continue
            results.append(result)
            medians[form] = result["median"]
            if not arguments.json:
                print(f"{exercise.title:38} {form:9} {text(result, exercise.rate)}", flush=True)
        if len(medians) == 2 and not arguments.json:
            print(f"{'':38} {'ratio':9} {medians['plain'] / medians['compiled']:8.1f}")
    if arguments.json:
        machine = {"machine": platform.machine(), "python": platform.python_version(), "cpus": os.cpu_count()}
        print(json.dumps({"num": arguments.num, **machine, "results": results}, indent=2))
