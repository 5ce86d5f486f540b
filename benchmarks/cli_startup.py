"""How long the command takes to start: `openamp --help` beside an empty typer program, in turn, and the first echo.

python benchmarks/cli_startup.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

SRC = Path(__file__).parents[1] / "src"
EMPTY = """
import typer
app = typer.Typer()
@app.command()
def one() -> None: ...
@app.command()
def two() -> None: ...
app(prog_name="empty")
"""
PROGRAMS = {
    "empty typer program --help": ["-c", EMPTY, "--help"],
    "openamp --help": ["-m", "openamp", "--help"],
    "openamp boards": ["-m", "openamp", "boards"],
    "openamp echo-test, one echo": ["-m", "openamp", "echo-test", "--sizes", "16"],
    "python -c pass": ["-c", "pass"],
}


def seconds(arguments: list[str]) -> float:
    begin = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": str(SRC)}
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment, check=True)
    return time.perf_counter() - begin


def main(rounds: int = 15) -> None:
    times: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for name, arguments in PROGRAMS.items():
        seconds(arguments)  # fills the caches of file system and bytecode
        times[name].clear()
    for _ in range(rounds):
        for name, arguments in PROGRAMS.items():
            times[name].append(seconds(arguments))
    print(f"{'milliseconds, whole process':<32} {'min':>7} {'median':>7} {'max':>7}   ({rounds} rounds, in turn)")
    for name, values in times.items():
        low, middle, high = (1000 * f(values) for f in (min, statistics.median, max))
        print(f"{name:<32} {low:7.1f} {middle:7.1f} {high:7.1f}")
    ours, empty = (statistics.median(times[name]) for name in ("openamp --help", "empty typer program --help"))
    print(f"openamp --help takes {1000 * (ours - empty):+.1f} ms more than the empty program (goal: below +100 ms)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
