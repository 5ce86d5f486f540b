#!/usr/bin/env python3
"""Messages between two processes through the public API, beside what the machine itself can do.

    python benchmarks/process.py [--seconds S] [--json] [--svg FILE] [--forms compiled plain] [--only EXERCISE...]

The host is `openamp.open("process")`, the remote a program that it boots and that calls `openamp.serve("process")`.

- round trip: the host sends and receives, the remote receives and sends it back; spinning (as it is by default) and
  blocking (`spin=0` at both ends);
- flood: `send_many` and `receive_many` at both ends, up to 192 messages under way, each comes back;
- one way: `send_many` here, `receive_many` there.

Messages of 16, 64 and 496 bytes go in 512-byte buffers, those of 65520 in buffers of 64 KiB. Beside them, from
`limits.c` (built with `cc` into build/): a cache line that goes to and fro between two processes, an eventfd in each
direction, and memcpy.

Every figure is measured in slices of some milliseconds: the median, and the best tenth (10th percentile of the time),
which other programs disturb less. Spinning needs a processor for each side, so there the two stay on one each; compare
on an otherwise idle machine.
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
from math import log10
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import openamp
from openamp.rpmsg import Endpoint
from openamp.virtio import implementation

FORMS = ("compiled", "plain")
SMALL = (16, 64, 496)
LARGE = 65520
BATCH = 64
WINDOW = 3 * BATCH
SLICE = 0.003
SPIN = 50e-6  # the default
EXERCISES = {
    "trip-spin": ("round trip, spinning", False),
    "trip-block": ("round trip, blocking", False),
    "flood": ("flood of echoes", True),
    "one-way": ("one way", True),
}
LIMITS = {
    "line": "cache line, there and back",
    "bell": "eventfd, there and back",
    "memcpy-496": "memcpy, 496 bytes",
    "memcpy-65520": "memcpy, 65520 bytes",
}
BUILD = Path(__file__).parents[1] / "build" / "benchmarks"


def stay_on(place: int) -> None:
    """Keeps this process on one processor: two that wake each other are often put on the same one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) > 1:
        os.sched_setaffinity(0, {usable[place]})


# The remote. Messages of one byte are commands, and answered: the exercise that follows, or "?".


def be_remote(spin: float) -> None:
    bus = openamp.serve("process", spin=spin, timeout=30.0)
    endpoint = bus.create_endpoint("bench")
    if spin:
        stay_on(1)
    modes: dict[bytes, Callable[[Endpoint], bytes]] = {b"t": echo, b"f": echo_many, b"o": take}
    mode = b"t"
    try:
        while True:
            mode = modes[mode](endpoint)
            endpoint.send(b"!")
    except openamp.OpenAMPError:
        bus.close()


def echo(endpoint: Endpoint) -> bytes:
    send, receive = endpoint.send, endpoint.receive
    while True:
        data = receive()
        if len(data) == 1:
            return data
        send(data)


def echo_many(endpoint: Endpoint) -> bytes:
    while True:
        messages = endpoint.receive_many(BATCH)
        if len(messages[-1]) == 1:
            return messages[-1]
        endpoint.send_many(messages)


def take(endpoint: Endpoint) -> bytes:
    while True:
        last = endpoint.receive_many()[-1]
        if len(last) == 1:
            if last != b"?":
                return last
            endpoint.send(b"!")


# The host


def trips(endpoint: Endpoint, message: bytes) -> Callable[[int], None]:
    def step(count: int) -> None:
        send, receive = endpoint.send, endpoint.receive
        for _ in range(count):
            send(message)
            receive()

    return step


def flood(endpoint: Endpoint, message: bytes) -> Callable[[int], None]:
    batch = [message] * BATCH

    def step(count: int) -> None:
        count = (count + BATCH - 1) // BATCH * BATCH
        sent = received = 0
        while received < count:
            if sent < count and sent - received <= WINDOW - BATCH:
                endpoint.send_many(batch)
                sent += BATCH
            else:
                received += len(endpoint.receive_many())

    return step


def one_way(endpoint: Endpoint, message: bytes) -> Callable[[int], None]:
    batch = [message] * BATCH

    def step(count: int) -> None:
        for _ in range(count // BATCH):
            endpoint.send_many(batch)
        endpoint.send(b"?")
        endpoint.receive()

    return step


STEPS = {"trip": (b"t", trips), "flood": (b"f", flood), "one-way": (b"o", one_way)}


def slices(step: Callable[[int], None], seconds: float) -> list[float]:
    """Returns seconds per message of each slice."""
    count = BATCH
    while True:
        start = time.perf_counter()
        step(count)
        if time.perf_counter() - start > SLICE:
            break
        count *= 2
    found = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        step(count)
        found.append((time.perf_counter() - start) / count)
    return found


def be_host(spin: float, sizes: list[int], exercises: list[str], seconds: float) -> None:
    """Prints the figures of some exercises over one link."""
    large = max(sizes) > SMALL[-1]
    options: dict[str, Any] = {"size": 64 << 20, "r2h_buf_size": 65536, "h2r_buf_size": 65536} if large else {}
    results = []
    with openamp.open("process", args=["--remote", str(spin)], spin=spin, **options) as rproc:
        rproc.boot(__file__)
        endpoint = rproc.create_endpoint("bench", timeout=30.0)
        if spin:
            stay_on(0)
        for exercise in exercises:
            command, make = STEPS["trip" if exercise.startswith("trip") else exercise]
            for size in sizes:
                endpoint.send(command)
                endpoint.receive()
                found = slices(make(endpoint, bytes(size)), seconds)
                results.append({"exercise": exercise, "size": size, "form": implementation, "slices": found})
    print(json.dumps(results))


# The table


def run_host(form: str, spin: float, sizes: list[int], exercises: list[str], seconds: float) -> list[dict[str, Any]]:
    """Measures some exercises in a process of their own; nothing when there is no such form."""
    if not exercises:
        return []
    command = [sys.executable, __file__, "--host", json.dumps([spin, sizes, exercises, seconds])]
    environment = {**os.environ, "OPENAMP_PLAIN": "1" if form == "plain" else "0"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return [summary(result) for result in json.loads(done.stdout) if result["form"] == form]


def summary(result: dict[str, Any]) -> dict[str, Any]:
    times = result.pop("slices")
    best = quantiles(times, n=10)[0] if len(times) > 2 else min(times)
    return {**result, "median": median(times), "best": best}


def limits(seconds: float) -> list[dict[str, Any]]:
    """Builds and runs the C program; nothing when there is no compiler."""
    BUILD.mkdir(parents=True, exist_ok=True)
    program = BUILD / "limits"
    source = Path(__file__).with_name("limits.c")
    try:
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-o", program, source], check=True)
    except FileNotFoundError:
        print("no C compiler: the machine's limits are left out", file=sys.stderr)
        return []
    done = subprocess.run([program, str(seconds)], stdout=subprocess.PIPE, check=True, text=True)
    return [summary({"limit": name, "slices": times}) for name, times in json.loads(done.stdout).items()]


def shown(seconds: float, rate: bool) -> str:
    return f"{1e-6 / seconds:9.3f} M/s" if rate else f"{1e6 * seconds:9.3f} us "


def line(result: dict[str, Any]) -> str:
    if "limit" in result:
        title, size, form, rate = LIMITS[result["limit"]], "", "C", False
    else:
        title, rate = EXERCISES[result["exercise"]]
        size, form = str(result["size"]), result["form"]
    return f"{title:28} {size:>6} {form:9} {shown(result['best'], rate)} {shown(result['median'], rate)}"


def svg(results: list[dict[str, Any]]) -> str:
    """Draws the best figures as bars on a logarithmic scale: microseconds per message or round trip."""
    left, width, row, low, high = 330, 420, 18, -8.0, -3.0
    colors = {"compiled": "#1f6feb", "plain": "#8b949e", "C": "#2da44e"}
    parts = []
    y = 40
    for result in results:
        form = result.get("form", "C")
        x = max(log10(result["best"]) - low, 0.02) * width / (high - low)
        title = LIMITS[result["limit"]] if "limit" in result else EXERCISES[result["exercise"]][0]
        label = f"{title}, {result['size']} bytes, {form}" if "size" in result else title
        parts.append(f'<text x="{left - 8}" y="{y + 12}" text-anchor="end">{label}</text>')
        parts.append(f'<rect x="{left}" y="{y + 2}" width="{x:.1f}" height="{row - 5}" fill="{colors[form]}"/>')
        parts.append(f'<text x="{left + x + 5:.1f}" y="{y + 12}">{1e6 * result["best"]:.3g}</text>')
        y += row
    for power in range(int(low), int(high) + 1):
        x = left + (power - low) * width / (high - low)
        parts.append(f'<line x1="{x:.0f}" y1="34" x2="{x:.0f}" y2="{y}" stroke="#d0d7de"/>')
        parts.append(f'<text x="{x:.0f}" y="28" text-anchor="middle">{10.0 ** (power + 6):g} us</text>')
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{y + 10}" '
    head += 'font-family="sans-serif" font-size="11"><rect width="100%" height="100%" fill="white"/>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--svg", default=str(BUILD / "process.svg"), help="where the plot goes")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each figure")
    parser.add_argument("--forms", nargs="*", choices=FORMS, default=FORMS)
    parser.add_argument("--only", nargs="*", choices=tuple(EXERCISES), default=tuple(EXERCISES))
    parser.add_argument("--host", help=argparse.SUPPRESS)
    parser.add_argument("--remote", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.remote is not None:
        be_remote(arguments.remote)
        return
    if arguments.host:
        be_host(*json.loads(arguments.host))
        return
    results = limits(arguments.seconds)
    spinning = [name for name in arguments.only if name != "trip-block"]
    blocking = [name for name in arguments.only if name == "trip-block"]
    if not arguments.json:
        print(f"{'':28} {'bytes':>6} {'':9} {'best tenth':>13} {'median':>13}")
        print("\n".join(map(line, results)), flush=True)
    for form in arguments.forms:
        for spin, exercises in ((SPIN, spinning), (0.0, blocking)):
            for sizes in (list(SMALL), [LARGE]):
                found = run_host(form, spin, sizes, exercises, arguments.seconds)
                results += found
                if not arguments.json and found:
                    print("\n".join(map(line, found)), flush=True)
    Path(arguments.svg).parent.mkdir(parents=True, exist_ok=True)
    Path(arguments.svg).write_text(svg(results))
    if arguments.json:
        load = os.getloadavg()[0]
        machine = {"machine": platform.machine(), "python": platform.python_version(), "cpus": os.cpu_count()}
        print(json.dumps({**machine, "load": load, "results": results}, indent=2))
    else:
        print(f"\nload average {os.getloadavg()[0]:.1f}; plot: {arguments.svg}")


if __name__ == "__main__":
    main()
