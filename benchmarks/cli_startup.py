"""How long the command takes to start: `openamp --help` beside an empty typer program, in turn, and the first echo.

python benchmarks/cli_startup.py [ROUNDS]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
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


def seconds(arguments: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Returns the wall-clock time of a process and its CPU time, which other programs disturb less."""
    begin, before = time.perf_counter(), os.times()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, env=environment, check=True)
    wall, after = time.perf_counter() - begin, os.times()
    cpu = after.children_user - before.children_user + after.children_system - before.children_system
    return wall, cpu


def main(rounds: int = 15) -> None:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in PROGRAMS}
    with tempfile.TemporaryDirectory() as cache:  # bytecode is cached, as in an installation
        environment = {**os.environ, "PYTHONPATH": str(SRC), "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for arguments in PROGRAMS.values():
            seconds(arguments, environment)
        for _ in range(rounds):
            for name, arguments in PROGRAMS.items():
                times[name].append(seconds(arguments, environment))
    title = f"milliseconds, {rounds} rounds in turn"
    print(f"{title:<32} {'min':>7} {'median':>7} {'max':>7} {'CPU':>7}")
    for name, values in times.items():
        walls = [wall for wall, _ in values]
        row = [min(walls), statistics.median(walls), max(walls), statistics.median(cpu for _, cpu in values)]
        print(f"{name:<32} " + " ".join(f"{1000 * figure:7.1f}" for figure in row))
    ours, empty = (min(times[name]) for name in ("openamp --help", "empty typer program --help"))
    print(
        f"openamp --help takes {1000 * (ours[0] - empty[0]):+.1f} ms more than the empty program (goal: below +100 ms)"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
