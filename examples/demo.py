"""The main job, step by step: boot the shipped firmware on an emulated core, talk to it, shut it down.

`make demo` runs it. Arguments: the board (default stm32mp157) and the firmware's path (default: the shipped echo).
"""

from __future__ import annotations

import statistics
import struct
import sys
import time

import openamp
from openamp import images
from openamp.resource_table import ADDR_ANY

SERVICE = "rpmsg-openamp-demo-channel"
SHUTDOWN = struct.pack("<I", 0xEF56A55A)

_unfinished: dict[str, str] = {}


def show_lines(stream: str, data: bytes) -> None:
    """Prints the whole lines of the firmware's output; the rest waits for more."""
    *lines, _unfinished[stream] = (_unfinished.get(stream, "") + data.decode(errors="replace")).split("\n")
    for line in lines:
        print(f"    {stream}: {line}")


def place(address: int) -> str:
    return "anywhere" if address == ADDR_ANY else f"at {address:#x}"


def main(board: str = "stm32mp157", firmware: str | None = None) -> None:
    began = time.perf_counter()

    def step(title: str) -> None:
        print(f"\n[{(time.perf_counter() - began) * 1000:7.1f} ms] {title}")

    step(f"image: decode the firmware for {board}")
    image = openamp.load_image(firmware or images.path("echo", board))
    print(
        f"    {image.name}: {image.format}, {image.machine_name}, entry {image.entry:#x}, "
        f"{len(image.segments)} segments"
    )
    for segment in image.segments:
        zero = segment.size - len(segment.data)
        fill = f"+ {zero} zero" if zero else ""
        print(f"    {segment.da:#010x}  {len(segment.data):6} bytes {fill:14} {segment.flags}")

    with openamp.open("emulated", board=board) as rproc:
        step(f"state {rproc.state.value}: handle the resource table, find places in memory")
        rproc.load(image)
        table = rproc.resource_table
        for trace in table.traces if table else ():
            print(f"    asks for a trace buffer {trace.name!r} of {trace.len} bytes at {trace.da:#x}")
        for carveout in table.carveouts if table else ():
            print(f"    asks for a carve-out {carveout.name!r} of {carveout.len} bytes {place(carveout.da)}")
        for device in table.vdevs if table else ():
            rings = ", ".join(f"{ring.num} entries {place(ring.da)}" for ring in device.vrings)
            print(
                f"    asks for a virtio device with id {device.id}, features {device.dfeatures:#x}, vrings of {rings}"
            )
        for note in rproc.placement.notes:
            print("    note:", note)
        for vdev in rproc.placement.vdevs:
            for number, ring in enumerate(vdev.vrings):
                print(f"    vring {number} at {ring.da:#x}, {ring.num} entries, notify id {ring.notify_id}")
            for name, pool in (("r2h", vdev.r2h_buffers), ("h2r", vdev.h2r_buffers)):
                if pool:
                    print(f"    {pool.num} {name} buffers of {pool.size} bytes at {pool.da:#x}")
        print("    memory:", rproc.memory.describe())

        step(f"state {rproc.state.value}: load code and data, release the core from reset")
        rproc.on_output(show_lines)
        rproc.boot()

        step(f"state {rproc.state.value}: wait for the channel {SERVICE!r}")
        with rproc.create_endpoint(SERVICE) as endpoint:
            print(
                f"    bound: {endpoint.src:#x} (ours) to {endpoint.dst:#x} (the firmware's), mtu {endpoint.mtu} bytes"
            )

            step("echo test: every size from 1 to 496 bytes")
            latencies = []
            for size in range(1, endpoint.mtu + 1):
                message = bytes((size + i) & 0xFF for i in range(size))
                sent = time.perf_counter()
                endpoint.send(message, timeout=1.0)
                answer = endpoint.receive(timeout=1.0)
                latencies.append((time.perf_counter() - sent) * 1e6)
                if answer != message:
                    sys.exit(f"    {size} bytes came back changed: {answer.hex()} instead of {message.hex()}")
            latencies.sort()
            print(
                f"    {len(latencies)} messages came back unchanged; latency min {latencies[0]:.0f} us, median "
                f"{statistics.median(latencies):.0f} us, p99 {latencies[int(len(latencies) * 0.99)]:.0f} us"
            )

            step("graceful shutdown: send the application's shutdown message, wait until the firmware says goodbye")
            endpoint.send(SHUTDOWN)
            deadline = time.monotonic() + 2.0
            while rproc.bus.channels and time.monotonic() < deadline:
                rproc.wait(timeout=0.1)
            print("    channels left:", ", ".join(channel.name for channel in rproc.bus.channels) or "none")

        step("shutdown: put the core into reset")
        rproc.shutdown().wait()
        print(f"    state {rproc.state.value}")
    print("\nThe main job is done.")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (openamp.OpenAMPError, OSError) as error:
        sys.exit(f"error: {error}")
