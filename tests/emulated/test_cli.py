"""The command in a process of its own, with real firmware on the emulated boards."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from openamp import images
from openamp.resource_table import rpmsg_table
from openamp.testing.elf_builder import ElfSegment, ElfSymbol, build_elf

SRC = Path(__file__).parents[2] / "src"
RISCV = 243
BASE = 0x80000000


def start(*arguments: str | Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "openamp", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )


def run(*arguments: str | Path) -> tuple[int, str, str]:
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err
    return process.returncode, out, err


def events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def riscv(path: Path, *words: int, table: bytes | None = None) -> Path:
    """Writes an image of a few RISC-V instructions."""
    code = ElfSegment(BASE, struct.pack(f"<{len(words)}I", *words), flags=5)
    symbol = ElfSymbol("_start", BASE, 4 * len(words), 2, 1, 1)
    elf = build_elf(
        [code], machine=RISCV, entry=BASE, symbols=[symbol], resource_table=table, table_address=BASE + 0x1000
    )
    path.write_bytes(elf)
    return path


LOOP = 0x0000006F  # j .
NOP = 0x00000013


class TestEchoTest:
    @pytest.mark.parametrize("board", images.boards())
    def test_every_board(self, board: str) -> None:
        code, out, err = run("echo-test", "--board", board, "--json")
        assert code == 0, err
        found = json.loads(out)
        assert (found["board"], found["messages"], found["errors"], found["mtu"]) == (board, 496, 0, 496)
        assert found["graceful_shutdown_s"] is not None

    def test_image_without_table(self, tmp_path: Path) -> None:
        code, _, err = run("echo-test", riscv(tmp_path / "loop.elf", LOOP), "-b", "virt-rv32")
        assert code == 3
        assert "no resource table" in err

    def test_firmware_that_never_announces(self, tmp_path: Path) -> None:
        image = riscv(tmp_path / "loop.elf", LOOP, table=rpmsg_table(num=16, align=16).build())
        begin = time.monotonic()
        code, _, err = run("echo-test", image, "-b", "virt-rv32", "--timeout", "0.3")
        assert code == 4
        assert "rpmsg-openamp-demo-channel" in err
        assert time.monotonic() - begin < 10

    def test_not_an_echo(self) -> None:
        code, out, _ = run("echo-test", "matrix", "--board", "virt-rv32", "--sizes", "1..8", "--timeout", "0.5")
        assert code in (1, 4)
        assert "came back unchanged" not in out


class TestRun:
    def test_ctrl_c(self) -> None:
        seen = []
        with start("run", "echo", "--board", "virt-rv32", "--json") as process:
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                seen.append(json.loads(line))
                if seen[-1]["event"] == "channel-created":
                    process.send_signal(signal.SIGINT)
            assert process.stderr.read() == ""
        assert process.returncode == 0
        names = [event["event"] for event in seen]
        assert names[0] == "boot"
        assert names[-2:] == ["shutdown", "end"]
        assert next(e for e in seen if e["event"] == "shutdown")["graceful"] is True
        assert any(e["event"] == "output" and e["stream"] == "trace" for e in seen)

    def test_loops_for_ever(self, tmp_path: Path) -> None:
        code, out, _ = run("run", riscv(tmp_path / "loop.elf", LOOP), "-b", "virt-rv32", "-t", "0.3", "--json")
        assert code == 4
        assert [event["event"] for event in events(out)] == ["boot", "timeout", "shutdown", "end"]

    def test_faults_at_once(self, tmp_path: Path) -> None:
        code, out, _ = run("run", riscv(tmp_path / "fault.elf", NOP, 0), "--json")
        assert code == 1
        crash = next(event for event in events(out) if event["event"] == "crash")
        assert (crash["pc"], crash["location"]) == (BASE + 4, "_start+0x4")
        assert crash["registers"]["pc"] == BASE + 4

    def test_crash_report_in_text(self, tmp_path: Path) -> None:
        code, out, _ = run("run", riscv(tmp_path / "fault.elf", NOP, 0))
        assert code == 1
        assert "the remote crashed" in out
        assert "_start+0x4" in out

    def test_wrong_board(self, tmp_path: Path) -> None:
        code, _, err = run("run", riscv(tmp_path / "loop.elf", LOOP), "--board", "stm32mp157")
        assert code == 3
        assert "virt-rv32" in err

    def test_segment_outside_the_memory(self, tmp_path: Path) -> None:
        path = tmp_path / "far.elf"
        path.write_bytes(build_elf([ElfSegment(0x20000000, bytes(64), flags=5)], machine=RISCV, entry=0x20000000))
        code, _, err = run("run", path, "--board", "virt-rv32")
        assert code == 3
        assert "0x20000000" in err

    def test_ring_outside_the_memory(self, tmp_path: Path) -> None:
        table = rpmsg_table(num=16, align=16, vring_da=(0x90000000, 0x90001000)).build()
        code, out, err = run("run", riscv(tmp_path / "ring.elf", LOOP, table=table), "-b", "virt-rv32", "--json")
        assert code == 3
        assert "0x90000000" in err
        assert events(out)[-1]["event"] == "error"
