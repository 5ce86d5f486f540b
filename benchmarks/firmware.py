"""Firmware images: what opening and loading cost, against a plain copy of the same bytes.

    .venv/bin/python benchmarks/firmware.py [--rounds N]

Medians of several rounds; the steps take turns, so that a busy machine disturbs all of them alike. The peer is the
loader one writes with pyelftools alone.
"""

from __future__ import annotations

import argparse
import io
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from openamp.firmware import load_image
from openamp.memory import MemoryMap, Region, SharedMemory
from openamp.testing import ElfSegment, ElfSymbol, build_elf

MIB = 1 << 20
BASE = 0x8000_0000


def with_pyelftools(path: Path, memory: MemoryMap) -> None:
    """The obvious loader."""
    with path.open("rb") as file:
        for segment in ELFFile(file).iter_segments("PT_LOAD"):
            data = segment.data()
            memory.write(segment["p_paddr"], data + bytes(segment["p_memsz"] - len(data)))


def symbols_with_pyelftools(elf: bytes) -> dict[int, str]:
    """The obvious table of symbols."""
    found: dict[int, str] = {}
    for section in ELFFile(io.BytesIO(elf)).iter_sections():
        if isinstance(section, SymbolTableSection):
            found |= {symbol["st_value"]: symbol.name for symbol in section.iter_symbols()}
    return found


def measure(steps: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Returns the median time of each step in seconds."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def compare(size: int, folder: Path, rounds: int) -> None:
    """Prints the cost of an image of `size` bytes in every form."""
    payload = os.urandom(size)
    elf = build_elf([ElfSegment(BASE, payload)], resource_table=(1).to_bytes(4, "little") + bytes(12))
    path = folder / "image.elf"
    path.write_bytes(elf)
    shared = SharedMemory(len(elf) + MIB)
    memory = MemoryMap([Region("ram", BASE, shared.view)])
    parsed = load_image(elf)
    steps: dict[str, Callable[[], object]] = {
        "memcpy of the bytes": lambda: memory.write(BASE, payload),
        "load() of an open image": lambda: parsed.load(memory),
        "load_image(bytes), load()": lambda: load_image(elf).load(memory),
        "load_image(path), load()": lambda: load_image(path).load(memory),
        "read the file, memcpy": lambda: memory.write(BASE, path.read_bytes()),
        "pyelftools alone": lambda: with_pyelftools(path, memory),
    }
    medians = measure(steps, rounds)
    plain = medians["memcpy of the bytes"]
    print(f"\n{size / MIB:g} MiB image" + " " * 16 + "median      per memcpy")
    for name, median in medians.items():
        print(f"  {name:<26} {median * 1e3:8.3f} ms   {median / plain:8.2f}")


def symbols(count: int, rounds: int) -> None:
    """Prints the cost of the first and of a later look at the symbols."""
    table = [ElfSymbol(f"some_function_{index}", BASE + 16 * index, 16) for index in range(count)]
    elf = build_elf([ElfSegment(BASE, bytes(16 * count))], symbols=table)
    image = load_image(elf)
    addresses = random.sample(range(BASE, BASE + 16 * count), 1000)
    steps: dict[str, Callable[[], object]] = {
        "first": lambda: load_image(elf).locate(BASE + 8),
        "peer": lambda: symbols_with_pyelftools(elf),
        "later": lambda: [image.locate(address) for address in addresses],
    }
    medians = measure(steps, rounds)
    print(f"\nlocate() among {count} symbols")
    print(f"  open, read symbols, locate {medians['first'] * 1e3:8.3f} ms")
    print(f"  read by pyelftools alone   {medians['peer'] * 1e3:8.3f} ms")
    print(f"  locate                     {medians['later'] * 1e6 / len(addresses):8.3f} us")


def main() -> None:
    """Runs all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        for size in (64 * MIB, MIB // 8):
            compare(size, Path(folder), rounds)
    symbols(20_000, rounds)


if __name__ == "__main__":
    main()
