"""Two processes (or two threads that behave like them) at the ends of a process link."""

from __future__ import annotations

import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import openamp
from openamp.errors import (
    ClosedError,
    HostShutdown,
    ImageError,
    NotBoundError,
    PlatformError,
    RemoteCrashed,
    RemoteExited,
    TimeoutExpired,
)
from openamp.platforms.process import GenericLinuxPlatform, ProcessPlatform
from openamp.platforms.process.wire import address_of
from openamp.remoteproc import RemoteProc, State
from openamp.testing import ElfSegment, build_elf

SERVICE = "rpmsg-openamp-demo-channel"
SHUTDOWN = (0xEF56A55A).to_bytes(4, "little")
SRC = str(Path(openamp.__file__).parents[1])

ECHO = f"""
import sys
import openamp
with openamp.serve("process", timeout=10) as bus, bus.create_endpoint("{SERVICE}") as endpoint:
    print("serving", flush=True)
    for message in endpoint:
        if message.startswith(b"exit"):
            print("told to exit", file=sys.stderr, flush=True)
            sys.exit(int(message[4:]))
        endpoint.send(message)
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "remote.py"
        path.write_text(text)
        return str(path)

    return write


def launcher(**options: object) -> RemoteProc:
    return openamp.open("process", env={"PYTHONPATH": SRC}, **options)


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    """No descriptor, thread or child outlives a test."""
    before = set(os.listdir("/proc/self/fd"))
    yield
    gc.collect()  # views of shared memory in tracebacks
    left = set(os.listdir("/proc/self/fd")) - before
    what = {fd: os.readlink(f"/proc/self/fd/{fd}") for fd in left if os.path.exists(f"/proc/self/fd/{fd}")}
    assert not what
    assert threading.active_count() == 1
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


# -- a program that we start -------------------------------------------------------------------------------------------


def test_a_python_program_echoes_all_sizes_and_ends_with_us(program: Callable[[str], str]) -> None:
    with launcher() as rproc:
        rproc.boot(program(ECHO))
        with rproc.create_endpoint(SERVICE) as endpoint:
            for size in range(1, 497):
                endpoint.send(bytes([size & 0xFF]) * size)
                assert endpoint.receive(timeout=5) == bytes([size & 0xFF]) * size
    assert rproc.state is State.STOPPED


def test_its_output_is_ours_to_follow(program: Callable[[str], str]) -> None:
    seen = {"stdout": b"", "stderr": b""}

    def follow(stream: str, data: bytes) -> None:
        seen[stream] += data

    with launcher() as rproc:
        rproc.on_output(follow)
        rproc.boot(program(ECHO))
        with rproc.create_endpoint(SERVICE) as endpoint:
            endpoint.send(b"exit3")
            with pytest.raises((RemoteCrashed, NotBoundError)):
                endpoint.receive(timeout=5)
    assert seen == {"stdout": b"serving\n", "stderr": b"told to exit\n"}


def end_of(rproc: RemoteProc) -> None:
    """Waits until the remote has ended, and raises that."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        rproc.wait(timeout=5)


@pytest.mark.parametrize("status", [0, 3])
def test_its_exit_status_is_known(program: Callable[[str], str], status: int) -> None:
    with launcher() as rproc:
        rproc.boot(program(ECHO))
        rproc.create_endpoint(SERVICE).send(b"exit%d" % status)
        if status == 0:
            with pytest.raises(RemoteExited) as ended:
                end_of(rproc)
            assert ended.value.code == 0
        else:
            with pytest.raises(RemoteCrashed, match="exited with status 3") as crashed:
                end_of(rproc)
            assert "told to exit" in crashed.value.report.output_tail


def test_kill_9_is_a_crash_within_a_second_and_can_be_recovered(program: Callable[[str], str]) -> None:
    with launcher() as rproc:
        rproc.boot(program(ECHO))
        endpoint = rproc.create_endpoint(SERVICE)
        for _ in range(3):
            pid = rproc.platform._program.pid  # type: ignore[attr-defined]
            os.kill(pid, signal.SIGKILL)
            killed = time.monotonic()
            with pytest.raises(RemoteCrashed, match="SIGKILL"):
                endpoint.receive(timeout=5)
            assert time.monotonic() - killed < 1
            with pytest.raises(RemoteCrashed):
                endpoint.send(b"x")
            rproc.recover()
            endpoint = rproc.create_endpoint(SERVICE)
            endpoint.send(b"again")
            assert endpoint.receive(timeout=5) == b"again"


def test_what_was_received_before_the_kill_is_kept(program: Callable[[str], str]) -> None:
    with launcher() as rproc:
        rproc.boot(program(ECHO))
        endpoint = rproc.create_endpoint(SERVICE)
        endpoint.send_many([b"%d" % i for i in range(100)])
        first = endpoint.receive(timeout=5)
        os.kill(rproc.platform._program.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        got = [first]
        with pytest.raises(RemoteCrashed):
            while True:
                got.append(endpoint.receive(timeout=5))
        assert got == [b"%d" % i for i in range(len(got))]


def test_a_program_that_ignores_the_shutdown_is_killed(program: Callable[[str], str]) -> None:
    stubborn = program(
        "import openamp, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "bus = openamp.serve('process')\n"
        "bus.create_endpoint('svc')\n"
        "while True: time.sleep(10)\n"
    )
    with launcher(grace=0.1) as rproc:
        rproc.boot(stubborn)
        rproc.create_endpoint("svc")
        ending = rproc.shutdown()
        with pytest.raises(TimeoutExpired):
            ending.wait(timeout=0.01)
        ending.wait(timeout=5)


def test_a_program_that_never_serves_says_so(program: Callable[[str], str]) -> None:
    with launcher(grace=0.1) as rproc:
        rproc.boot(program("import time; time.sleep(100)"))
        with pytest.raises(TimeoutExpired, match=r"the remote's program \(process \d+\) is"):
            rproc.create_endpoint("svc", timeout=0.2)


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    with launcher() as rproc, pytest.raises(PlatformError, match=r"cannot be started.*notes\.txt"):
        rproc.boot(text)


def test_an_executable_for_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "firmware.elf"
    path.write_bytes(build_elf(machine=40, segments=[ElfSegment(0, b"code")]))
    with launcher() as rproc, pytest.raises(PlatformError, match="is for Arm"):
        rproc.boot(path)


def test_an_executable_without_a_table() -> None:
    with launcher() as rproc, pytest.raises(ImageError, match="has no resource table"):
        rproc.boot("/bin/true")


def test_an_image_to_load_is_not_a_program() -> None:
    image = openamp.load_image(build_elf(machine=62, segments=[ElfSegment(0, b"code")]))
    with launcher() as rproc, pytest.raises(PlatformError, match="starts programs"):
        rproc.boot(image)


# -- a remote that comes by itself -------------------------------------------------------------------------------------


def echo_thread(name: str, rounds: int = 1) -> threading.Thread:
    def serve() -> None:
        for _ in range(rounds):
            with openamp.serve("process", name=name, timeout=10) as bus:
                endpoint = bus.create_endpoint(SERVICE)
                try:
                    for message in endpoint:
                        endpoint.send(message)
                except HostShutdown:
                    pass

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


def test_a_remote_serves_one_host_after_the_other() -> None:
    thread = echo_thread("next", rounds=5)
    for i in range(5):
        with openamp.open("process", name="next") as rproc:
            rproc.boot()
            with rproc.create_endpoint(SERVICE) as endpoint:
                endpoint.send(b"%d" % i)
                assert endpoint.receive(timeout=5) == b"%d" % i
    thread.join()


def test_links_of_different_names_do_not_meet() -> None:
    threads = [echo_thread(f"link{i}") for i in range(3)]
    hosts = [openamp.open("process", name=f"link{i}") for i in range(3)]
    for host in hosts:
        host.boot()
    for i, host in enumerate(hosts):
        with host.create_endpoint(SERVICE) as endpoint:
            endpoint.send(b"%d" % i)
            assert endpoint.receive(timeout=5) == b"%d" % i
    for host in hosts:
        host.close()
    for thread in threads:
        thread.join()


def test_the_name_is_taken() -> None:
    with openamp.open("process", name="taken") as first, openamp.open("process", name="taken") as second:
        first.boot()
        with pytest.raises(PlatformError, match=r"'taken' cannot be used .*another host has it"):
            second.boot()


def test_no_host_and_no_remote() -> None:
    with pytest.raises(TimeoutExpired, match="no host of a process link named 'nowhere'"):
        openamp.serve("process", name="nowhere", timeout=0.1)
    with openamp.open("process", name="alone") as rproc:
        rproc.boot()
        with pytest.raises(TimeoutExpired, match=r"no remote has come to the link 'alone'"):
            rproc.create_endpoint("svc", timeout=0.1)


def test_the_host_is_killed_and_the_remote_serves_the_next_one(tmp_path: Path) -> None:
    host = tmp_path / "host.py"
    host.write_text(
        "import openamp\n"
        "rproc = openamp.open('process', name='killed')\n"
        "rproc.boot()\n"
        f"endpoint = rproc.create_endpoint('{SERVICE}', timeout=10)\n"
        "print('ready', flush=True)\n"
        "while True: endpoint.send(b'x' * 496)\n"  # in the middle of a send
    )
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, str(host)], env={**os.environ, "PYTHONPATH": SRC}, stdout=subprocess.PIPE
        )
        with openamp.serve("process", name="killed", timeout=10) as bus:
            endpoint = bus.create_endpoint(SERVICE)
            assert endpoint.receive(timeout=10) == b"x" * 496
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
            killed = time.monotonic()
            with pytest.raises(HostShutdown):
                while True:
                    assert endpoint.receive(timeout=5) == b"x" * 496
            assert time.monotonic() - killed < 1


def test_a_stranger_at_the_door() -> None:
    with openamp.open("process", name="door") as rproc:
        rproc.boot()
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as stranger:
            stranger.connect(address_of("door"))
            with pytest.raises(TimeoutExpired):
                rproc.create_endpoint("svc", timeout=0.1)
            stranger.send(b"\xff" * 100)
        with pytest.raises(RemoteCrashed, match="without a goodbye"):
            end_of(rproc)


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"hello", "not an OpenAMP link"),
        (b"openamp-link 2\n", "not an OpenAMP link"),
        (b"openamp-link 1\nregion x 0x0 0x1000", "broken"),
        (b"openamp-link 1\nregion x 0x0 0x100000000 0x0", "outside the memory"),
        (b"openamp-link 1\nregion x 0x0 0x1000 zz", "broken"),
    ],
)
def test_a_host_that_is_none_of_ours(message: bytes, said: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(address_of("fake"))
        listener.listen(1)

        def answer() -> None:
            control, _ = listener.accept()
            with control:
                memory = os.memfd_create("fake")
                os.ftruncate(memory, 4096)
                socket.send_fds(control, [message], [memory] * 3)
                os.close(memory)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(PlatformError, match=said):
            openamp.serve("process", name="fake", timeout=5)
        thread.join()


def test_an_environment_that_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAMP_LINK", "77")
    with pytest.raises(PlatformError, match="OPENAMP_LINK='77'"):
        openamp.serve("process")


def test_hundreds_of_rounds_leave_nothing_behind() -> None:
    thread = echo_thread("rounds", rounds=200)
    with openamp.open("process", name="rounds") as rproc:
        for i in range(200):
            rproc.boot()
            with rproc.create_endpoint(SERVICE) as endpoint:
                endpoint.send(b"%d" % i)
                assert endpoint.receive(timeout=5) == b"%d" % i
            rproc.stop()
    thread.join()


# -- the generic Linux machine -----------------------------------------------------------------------------------------


def machine(tmp_path: Path, processor: int) -> dict[str, object]:
    return {
        "mode": "generic-linux",
        "processor": processor,
        "shm": f"openamp-test-{os.getpid()}",
        "socket_path": str(tmp_path / "event.0"),
    }


@pytest.mark.parametrize("hosts_processor", [0, 1])
def test_generic_linux_in_both_roles_and_on_both_sides_of_the_socket(tmp_path: Path, hosts_processor: int) -> None:
    received = []

    def remote() -> None:
        options = machine(tmp_path, 1 - hosts_processor)
        with openamp.serve("process", timeout=10, **options) as bus, bus.create_endpoint(SERVICE) as endpoint:
            assert endpoint.src == 0x400
            for message in endpoint:
                received.append(len(message))
                if message == SHUTDOWN:
                    return
                endpoint.send(message)

    thread = threading.Thread(target=remote)
    thread.start()
    with openamp.open("process", **machine(tmp_path, hosts_processor)) as rproc:
        rproc.boot()
        (vdev,) = rproc.placement.vdevs
        assert [(ring.da, ring.num, ring.notify_id) for ring in vdev.vrings] == [(0x4000, 256, 1), (0x8000, 256, 2)]
        assert vdev.r2h_buffers is not None
        assert vdev.r2h_buffers.da == 0x10000
        assert rproc.memory.read(0, 4) == b"\1\0\0\0"
        with rproc.create_endpoint(SERVICE) as endpoint:
            for size in range(1, 497):
                endpoint.send(bytes(size))
                assert endpoint.receive(timeout=5) == bytes(size)
            endpoint.send(SHUTDOWN)
            with pytest.raises(RemoteExited):
                end_of(rproc)
    thread.join()
    assert received == [*range(1, 497), 4]
    assert not os.path.exists(f"/dev/shm/openamp-test-{os.getpid()}")
    assert list(tmp_path.iterdir()) == []


def test_a_socket_that_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    options = machine(tmp_path, 0)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(options["socket_path"]))
    with openamp.open("process", **options) as rproc:
        rproc.boot()
        with pytest.raises(TimeoutExpired, match="no remote has connected"):
            rproc.create_endpoint("svc", timeout=0.05)


def test_nobody_listens(tmp_path: Path) -> None:
    with (
        openamp.open("process", connect_timeout=0.1, **machine(tmp_path, 1)) as rproc,
        pytest.raises(TimeoutExpired, match="start the other side"),
    ):
        rproc.boot()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "tcp"}, "mode 'tcp' .* memfd, generic-linux"),
        ({"nam": "x"}, "did you mean 'name'"),
        ({"shm": "x"}, "mode 'memfd' .* no option 'shm'"),
        ({"mode": "generic-linux", "name": "x"}, "no option 'name'"),
        ({"mode": "generic-linux", "processor": 2}, "processor is 2"),
        ({"mode": "generic-linux", "shm": "a/b"}, "POSIX shared memory"),
        ({"mode": "generic-linux", "size": 4096}, "needs 0x50000"),
        ({"size": 5}, "size is 0x5"),
    ],
)
def test_wrong_options(options: dict[str, object], said: str) -> None:
    with pytest.raises(PlatformError, match=said):
        openamp.open("process", **options)


def test_a_stopped_link_cannot_be_waited_for() -> None:
    for platform in (ProcessPlatform(name="closed"), GenericLinuxPlatform()):
        assert platform.wait(0) == ()
        platform.close()
        platform.close()
        with pytest.raises(ClosedError):
            platform.wait(0)


# -- a C program -------------------------------------------------------------------------------------------------------

C_REMOTE = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
/* A resource table as firmware has it: one RPMsg device, two rings of 8, anywhere. */
__attribute__((section(".resource_table"), used)) const uint32_t table[] = {
    1, 1, 0, 0, 20, 3, 7, 0, 1, 0, 0, 0x200, -1, 16, 8, -1, 0, -1, 16, 8, -1, 0 };
int main(void) { printf("link %s\n", getenv("OPENAMP_LINK")); fflush(stdout); return 5; }
"""


def start_and_end(rproc: RemoteProc) -> None:
    rproc.start()  # it may be over already
    end_of(rproc)


@pytest.mark.toolchain
def test_a_c_program_gives_its_own_resource_table(tmp_path: Path) -> None:
    source, binary = tmp_path / "remote.c", tmp_path / "remote"
    source.write_text(C_REMOTE)
    subprocess.run(["cc", "-o", str(binary), str(source)], check=True)
    with openamp.open("process") as rproc:
        rproc.load(binary)
        assert [ring.num for ring in rproc.placement.vdevs[0].vrings] == [8, 8]
        with pytest.raises(RemoteCrashed, match="exited with status 5") as crashed:
            start_and_end(rproc)
        assert "link " in crashed.value.report.output_tail
