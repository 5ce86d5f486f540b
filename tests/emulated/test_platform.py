"""The emulated platform with real cores: hostile little programs, equal runs, vendor start-up code, threads."""

from __future__ import annotations

import gc
import os
import shutil
import struct
import subprocess
import threading
import time
from pathlib import Path

import pytest

import openamp
from openamp import images
from openamp.errors import RemoteCrashed, RemoteExited
from openamp.firmware import EM_ARM, EM_RISCV, FirmwareImage, Segment
from openamp.platforms.emulated import EmulatedPlatform, list_boards, load_board

DEMO = "rpmsg-openamp-demo-channel"
PERIPHERALS = Path(__file__).parent / "stm32mp157" / "peripherals.elf"

each_board = pytest.mark.parametrize("board", list_boards())


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


# The same little programs for both architectures: Thumb at 0x100 (after the vectors), RISC-V at 0x80000000.
THUMB = {
    "loop": bytes.fromhex("fee7"),
    "sleep": bytes.fromhex("30bf fde7"),  # wfi; b back
    "undefined": bytes.fromhex("00de"),
    "exit": bytes.fromhex("2020 0149 abbe fee7") + words(0x200),  # r0 = 0x20, r1 = the block, bkpt 0xab
    "print": bytes.fromhex("0420 0149 abbe fee7") + words(0x200),
    "deaf": bytes.fromhex("0348 0121 0161 0021 4161 30bf fde7 0000") + words(0x4C001000),  # opens the mailbox only
}
RISCV = {
    "loop": words(0x6F),
    "sleep": words(0x10500073, 0xFFDFF06F),
    "undefined": words(0),
    "exit": words(0x02000513, 0x00000597, 0x0FC58593, 0x01F01013, 0x00100073, 0x40705013, 0x6F),
    "deaf": words(0x4C0012B7, 0x00100313, 0x0062A823, 0x0002AA23, 0x10500073, 0xFFDFF06F),
    "print": words(0x00400513, 0x00000597, 0x0FC58593, 0x01F01013, 0x00100073, 0x40705013, 0x6F),
}


def program(name: str, board: str, block: bytes = b"") -> FirmwareImage:
    """Returns a program without a resource table; `block` is what its semihosting call points to."""
    core = load_board(board).core
    if core.is_cortex_m:
        base, machine = 0, EM_ARM
        code = words(0x10040000, 0x101).ljust(0x100, b"\0") + THUMB[name]
        data = code.ljust(0x200, b"\0") + block
    else:
        base, machine = 0x80000000, EM_RISCV
        data = RISCV[name].ljust(0x100, b"\0") + block
    return FirmwareImage(
        name=name,
        format=f"elf{core.bits}",
        byte_order="little",
        machine=machine,
        entry=base,
        segments=(Segment(da=base, size=len(data), data=data, va=base),),
    )


@each_board
def test_firmware_that_loops_for_ever_keeps_the_deadline(board: str) -> None:
    with openamp.open("emulated", board=board) as rproc:
        rproc.boot(program("loop", board))
        begin = time.monotonic()
        assert not rproc.wait(timeout=0.05)
        assert 0.05 <= time.monotonic() - begin < 0.5
        assert "the core executes at" in rproc.diagnose()


@each_board
def test_firmware_that_sleeps_costs_no_cpu(board: str) -> None:
    with openamp.open("emulated", board=board) as rproc:
        rproc.boot(program("sleep", board))
        cpu = time.process_time()
        assert not rproc.wait(timeout=0.1)
        assert time.process_time() - cpu < 0.05
        assert "the core sleeps at" in rproc.diagnose()


@each_board
def test_firmware_that_faults_at_once_is_a_crash_at_its_first_instruction(board: str) -> None:
    with openamp.open("emulated", board=board) as rproc:
        with pytest.raises(RemoteCrashed) as caught:
            rproc.boot(program("undefined", board))
        assert caught.value.report.pc == (0x100 if load_board(board).core.is_cortex_m else 0x80000000)
        assert caught.value.report.registers
        with pytest.raises(RemoteCrashed):
            rproc.wait(timeout=0)
        with pytest.raises(RemoteCrashed):
            rproc.recover()


@each_board
def test_a_semihosting_exit_ends_the_remote_with_its_status(board: str) -> None:
    form = "<QQ" if load_board(board).core.bits == 64 else "<II"
    with openamp.open("emulated", board=board) as rproc:
        with pytest.raises(RemoteExited) as caught:
            rproc.boot(program("exit", board, struct.pack(form, 0x20026, 5)))
        assert caught.value.code == 5


@each_board
def test_semihosting_output_is_a_stream(board: str) -> None:
    heard: list[tuple[str, bytes]] = []
    with openamp.open("emulated", board=board) as rproc:
        rproc.on_output(lambda stream, data: heard.append((stream, data)))
        rproc.boot(program("print", board, b"hello, host\n\0"))
    assert heard == [("semihosting", b"hello, host\n")]


def session(board: str) -> tuple[list[int], list[bytes]]:
    """Boots the echo and talks to it; returns the instruction counts and the answers."""
    platform = EmulatedPlatform(board)
    counts, answers = [], []
    with openamp.RemoteProc(platform) as rproc:
        rproc.boot(images.path("echo", board))
        counts.append(platform.statistics().instructions)
        with rproc.create_endpoint(DEMO) as endpoint:
            for size in (1, 17, 496):
                endpoint.send(bytes(size))
                answers.append(endpoint.receive(timeout=5))
                counts.append(platform.statistics().instructions)
            endpoint.send_many([b"%d" % n for n in range(40)])
            while len(answers) < 43:
                answers += endpoint.receive_many(timeout=5)
        counts.append(platform.statistics().instructions)
    return counts, answers


@each_board
def test_equal_inputs_give_equal_instruction_counts_and_message_order(board: str) -> None:
    first, again = session(board), session(board)
    assert first == again
    assert first[1][3:] == [b"%d" % n for n in range(40)]


@each_board
def test_a_restart_repeats_the_first_run(board: str) -> None:
    platform = EmulatedPlatform(board)
    counts = []
    with openamp.RemoteProc(platform) as rproc:
        for _ in range(3):
            rproc.boot(images.path("echo", board))
            with rproc.create_endpoint(DEMO) as endpoint:
                endpoint.send(b"again")
                assert endpoint.receive(timeout=5) == b"again"
            counts.append(platform.statistics().instructions)
            rproc.stop()
    assert len(set(counts)) == 1


@each_board
def test_the_diagnosis_names_an_interrupt_that_is_pending_but_disabled(board: str) -> None:
    platform = EmulatedPlatform(board)
    image = program("deaf", board)
    platform.prepare(image)
    image.load(platform.memory)
    platform.start(image, (0, 1))
    platform.kick(1)
    assert platform.wait(0.001) == ()
    irq, controller = (103, "NVIC") if platform.board.core.is_cortex_m else (20, "PLIC")
    assert f"receive interrupt {irq} is pending but disabled in the {controller}" in platform.diagnose()
    platform.close()


class Peripherals:
    """A run of the vendor-like start-up code on stm32mp157, to the end of its conversation.

    Attributes:
        text: all that it printed.
        seconds: until it was ready.
        instructions: until the host saw that.
    """

    def __init__(self, image: Path = PERIPHERALS, **options: str) -> None:
        self.text = ""
        self.instructions = 0
        self.platform = EmulatedPlatform("stm32mp157", **options)  # type: ignore[arg-type]
        begin = time.monotonic()
        with openamp.RemoteProc(self.platform) as rproc:
            rproc.on_output(self.take)
            rproc.boot(image)
            self.run_until("ready\n", rproc)
            self.seconds = time.monotonic() - begin
            self.platform.write_console("usart3", b"hello\n")
            self.run_until("hello\n", rproc)
            assert self.platform.statistics().accesses[0x50000048, "write"] == 2

    def take(self, stream: str, data: bytes) -> None:
        assert stream == "usart3"
        self.text += data.decode()
        if self.text.endswith("ready\n"):
            self.instructions = self.platform.statistics().instructions

    def run_until(self, end: str, rproc: openamp.RemoteProc) -> None:
        deadline = time.monotonic() + 10
        while not self.text.endswith(end):
            assert time.monotonic() < deadline, self.text
            rproc.wait(timeout=0.001)


def test_vendor_start_up_code_finds_clocks_semaphores_timer_and_console() -> None:
    run = Peripherals()
    assert run.text == "core clock 208877929\n20 ticks\nready\nyou said hello\n"
    assert run.seconds > 0.015, "twenty ticks of a millisecond"


@pytest.mark.toolchain
def test_the_start_up_code_is_built_from_its_source(tmp_path: Path) -> None:
    sources = PERIPHERALS.parent
    for name in ("build.sh", "link.ld", "peripherals.c"):
        shutil.copy(sources / name, tmp_path)
    subprocess.run(["sh", tmp_path / "build.sh"], check=True)
    assert Peripherals(tmp_path / "peripherals.elf").text == Peripherals().text


def test_with_idle_skip_timers_are_deterministic() -> None:
    first, again = Peripherals(idle="skip"), Peripherals(idle="skip")
    assert first.text == again.text == "core clock 208877929\n20 ticks\nready\nyou said hello\n"
    assert first.instructions == again.instructions


def test_remotes_in_several_threads_do_not_disturb_each_other() -> None:
    failures: list[BaseException] = []

    def talk(board: str) -> None:
        try:
            with openamp.open("emulated", board=board) as rproc:
                rproc.boot(images.path("echo", board))
                with rproc.create_endpoint(DEMO) as endpoint:
                    for number in range(50):
                        data = f"{board} {number}".encode()
                        endpoint.send(data)
                        assert endpoint.receive(timeout=5) == data
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=talk, args=(board,)) for board in ("virt-m4", "virt-rv32", "virt-m4")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_closing_gives_memory_and_descriptors_back() -> None:
    def once() -> None:
        with openamp.open("emulated", board="virt-m4") as rproc:
            rproc.boot(images.path("echo", "virt-m4"))

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    for _ in range(3):
        once()
    memory = resident()
    for _ in range(20):
        once()
    assert resident() - memory < 20 << 20, "megabytes must not wait for the garbage collector"
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    once()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors
