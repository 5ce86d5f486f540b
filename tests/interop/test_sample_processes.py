"""The samples between two processes, started as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from openamp.samples import SAMPLES

SRC = Path(__file__).parents[2] / "src"
ECHO_ANSWERED = 496


@pytest.fixture
def start() -> Iterator[Any]:
    """Starts `openamp sample` with arguments; whatever still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start_one(*arguments: str | Path) -> subprocess.Popen[str]:
        processes.append(
            subprocess.Popen(
                [sys.executable, "-m", "openamp", "sample", *map(str, arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**os.environ, "PYTHONPATH": str(SRC)},
            )
        )
        return processes[-1]

    yield start_one
    for process in processes:
        process.kill()
        process.communicate()


def finish(process: subprocess.Popen[str], stdin: str = "") -> tuple[int, str]:
    out, err = process.communicate(stdin, timeout=60)
    assert "Traceback" not in err
    return process.returncode, out


def result_of(process: subprocess.Popen[str], stdin: str = "") -> dict[str, Any]:
    code, out = finish(process, stdin)
    assert code == 0, out
    found: dict[str, Any] = json.loads(out)
    return found


def machine(tmp_path: Path, processor: int) -> list[str]:
    shm = f"openamp-samples-{os.getpid()}"
    options = ["--mode", "generic-linux", "--shm", shm, "--socket", str(tmp_path / "event.0")]
    return [*options, "--processor", str(processor), "--json"]


@pytest.mark.parametrize("name", SAMPLES)
def test_both_at_once(start: Any, name: str) -> None:
    found = result_of(start(name, "--json"), "Ada\n36\n3.14\n")
    assert (found["errors"], found["platform"]) == (0, "process")
    assert found["messages"] >= 20
    assert found["ended_after_s"] < 2


@pytest.mark.parametrize("name", SAMPLES)
def test_generic_linux(start: Any, tmp_path: Path, name: str) -> None:
    """The remote is processor 0 and the host processor 1, as OpenAMP's C programs are started."""
    remote = start(name, "remote", *machine(tmp_path, 0))
    host = result_of(start(name, "host", *machine(tmp_path, 1)), "Ada\n36\n3.14\n")
    served = result_of(remote)
    assert host["errors"] == 0
    assert served["ended"] == "stopped"
    terminations = 1 if name in ("rpc", "proxy") else 0
    assert served["messages"] == host["messages"] - terminations > 0
    assert list(tmp_path.iterdir()) == []


def test_generic_linux_the_other_way_round(start: Any, tmp_path: Path) -> None:
    host = start("echo", "host", *machine(tmp_path, 0))
    served = result_of(start("echo", "remote", *machine(tmp_path, 1)))
    assert (result_of(host)["messages"], served["messages"]) == (ECHO_ANSWERED, ECHO_ANSWERED)


@pytest.mark.parametrize("first", ["host", "remote"])
def test_a_link_by_name_in_any_order(start: Any, first: str) -> None:
    name = f"samples-{os.getpid()}-{first}"
    second = "remote" if first == "host" else "host"
    sides = {side: start("echo", side, "--name", name, "--json") for side in (first, second)}
    assert result_of(sides["host"])["messages"] == ECHO_ANSWERED
    assert result_of(sides["remote"])["messages"] == ECHO_ANSWERED


def test_ctrl_c_ends_the_remote(start: Any) -> None:
    """Its host learns of it; nobody prints a traceback."""
    remote = start("flood", "remote", "--name", f"ctrl-c-{os.getpid()}")
    host = start("flood", "host", "--name", f"ctrl-c-{os.getpid()}", "--count", "100000000")
    wait_until_linked(remote.pid)
    remote.send_signal(signal.SIGINT)
    assert finish(remote)[0] == 130
    assert finish(host)[0] == 1


def test_ctrl_c_ends_the_host_and_so_the_remote(start: Any) -> None:
    remote = start("flood", "remote", "--name", f"ctrl-d-{os.getpid()}", "--json")
    host = start("flood", "host", "--name", f"ctrl-d-{os.getpid()}", "--count", "100000000")
    wait_until_linked(remote.pid)
    host.send_signal(signal.SIGINT)
    assert finish(host)[0] == 130
    assert result_of(remote)["ended"] == "host"


def test_a_host_that_is_interrupted_takes_its_program_along(start: Any) -> None:
    host = start("flood", "--count", "100000000")
    child = wait_for_child(host.pid)
    wait_until_linked(child)
    host.send_signal(signal.SIGINT)
    assert finish(host)[0] == 130
    # Interrupted while it starts the program, the host leaves it to notice that the link is gone.
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{child}"):
        assert time.monotonic() < deadline, "the program outlives its host"
        time.sleep(0.01)


def wait_until_linked(pid: int) -> None:
    """Waits until a remote has taken over the link's memory."""
    while not any("openamp" in line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "memfd" in line):
        os.sched_yield()


def wait_for_child(pid: int) -> int:
    while True:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children:
            return int(children[0])
        os.sched_yield()
