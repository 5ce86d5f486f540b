"""Links between processes under attack: death at any moment, hostile peers, and programs that misbehave."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
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
    HostShutdown,
    NotBoundError,
    OpenAMPError,
    PlatformError,
    RemoteCrashed,
    RemoteExited,
    TimeoutExpired,
)
from openamp.platforms.process import ProcessPlatform
from openamp.platforms.process.wire import address_of, hand_over, listen
from openamp.remoteproc import RemoteProc

SERVICE = "rpmsg-openamp-demo-channel"
SRC = str(Path(openamp.__file__).parents[1])
ENV = {**os.environ, "PYTHONPATH": SRC}

ECHO = f"""
import openamp
with openamp.serve("process", timeout=10) as bus, bus.create_endpoint("{SERVICE}") as endpoint:
    for message in endpoint:
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


def end_of(rproc: RemoteProc) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        rproc.wait(timeout=5)


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


# -- programs that misbehave -------------------------------------------------------------------------------------------


def test_what_a_program_prints_at_its_end_does_not_hold_it_up(program: Callable[[str], str]) -> None:
    text = (
        "import openamp, sys, signal\n"
        "bus = openamp.serve('process')\n"
        "endpoint = bus.create_endpoint('svc')\n"
        "try:\n"
        "    endpoint.receive()\n"
        "except openamp.errors.HostShutdown:\n"
        "    sys.stdout.write('x' * 1000000); sys.stdout.write('last words'); sys.stdout.flush()\n"
    )
    with launcher(grace=10) as rproc:
        said = bytearray()
        rproc.on_output(lambda _stream, data: said.extend(data))
        rproc.boot(program(text))
        rproc.create_endpoint("svc")
        rproc.stop(timeout=8)
    assert len(said) == 1000010
    assert said.endswith(b"last words")


def test_a_program_that_never_stops_printing(program: Callable[[str], str]) -> None:
    with launcher(grace=0.2) as rproc:
        rproc.boot(program("import os\nwhile True: os.write(1, b'y' * 65536)\n"))
        began = time.monotonic()
        for _ in range(3):
            with pytest.raises(TimeoutExpired):
                rproc.create_endpoint("svc", timeout=0.2)
        assert time.monotonic() - began < 5


def test_a_program_that_leaves_and_runs_on(program: Callable[[str], str]) -> None:
    with launcher(grace=0.1) as rproc:
        rproc.boot(program("import openamp, time\nopenamp.serve('process').close()\ntime.sleep(100)\n"))
        with pytest.raises(RemoteExited):
            end_of(rproc)


def test_a_program_that_drops_the_link_and_runs_on(program: Callable[[str], str]) -> None:
    with launcher(grace=0.1) as rproc:
        rproc.boot(program("import os, time\nos.close(int(os.environ['OPENAMP_LINK']))\ntime.sleep(100)\n"))
        pid = rproc.platform._program.pid  # type: ignore[attr-defined]
        with pytest.raises(RemoteCrashed, match=f"process {pid} closed its end"):
            end_of(rproc)


def test_a_program_that_closes_its_output(program: Callable[[str], str]) -> None:
    with launcher() as rproc:
        rproc.boot(program("import os\nos.close(1); os.close(2)\n" + ECHO))
        endpoint = rproc.create_endpoint(SERVICE)
        endpoint.send(b"quiet")
        assert endpoint.receive(timeout=5) == b"quiet"


def test_a_program_whose_child_keeps_its_descriptors(program: Callable[[str], str]) -> None:
    text = "import os, time\nif os.fork() == 0: time.sleep(3); os._exit(0)\n" + ECHO
    with launcher() as rproc:
        rproc.boot(program(text))
        rproc.create_endpoint(SERVICE)
        os.kill(rproc.platform._program.pid, signal.SIGKILL)  # type: ignore[attr-defined]
        killed = time.monotonic()
        with pytest.raises(RemoteCrashed, match="SIGKILL"):
            end_of(rproc)
        assert time.monotonic() - killed < 1


def test_a_remote_that_came_and_whose_child_keeps_its_descriptors() -> None:
    text = ECHO.replace('"process"', '"process", name="forks"').replace(
        "    for message", "    import os, time\n    if os.fork() == 0: time.sleep(3); os._exit(0)\n    for message"
    )
    with openamp.open("process", name="forks") as rproc:
        rproc.boot()
        with (
            subprocess.Popen([sys.executable, "-c", text], env=ENV) as process,
            rproc.create_endpoint(SERVICE, timeout=10) as endpoint,
        ):
            endpoint.send(b"hello")
            assert endpoint.receive(timeout=5) == b"hello"
            process.kill()
            killed = time.monotonic()
            with pytest.raises(RemoteCrashed):
                endpoint.receive(timeout=2.5)
            assert time.monotonic() - killed < 1


def test_a_host_whose_child_keeps_its_descriptors() -> None:
    text = (
        "import openamp, os, time\n"
        "rproc = openamp.open('process', name='forks2')\n"
        "rproc.boot()\n"
        "endpoint = rproc.create_endpoint('svc', timeout=10)\n"
        "if os.fork() == 0: time.sleep(3); os._exit(0)\n"
        "endpoint.send(b'hello')\n"
        "time.sleep(100)\n"
    )
    with (
        subprocess.Popen([sys.executable, "-c", text], env=ENV) as process,
        openamp.serve("process", name="forks2", timeout=10) as bus,
        bus.create_endpoint("svc") as endpoint,
    ):
        assert endpoint.receive(timeout=10) == b"hello"
        process.kill()
        killed = time.monotonic()
        with pytest.raises(HostShutdown):
            endpoint.receive(timeout=2.5)
        assert time.monotonic() - killed < 1


def test_an_image_that_could_not_be_started_is_forgotten(program: Callable[[str], str]) -> None:
    path = program("raise SystemExit(9)")
    platform = ProcessPlatform(name="forgotten")
    try:
        for _ in range(200):
            platform.open_firmware(path)  # and dropped, as by a load that fails
            image = platform.builtin_firmware()
        platform.prepare(image)
        platform.start(image, (0, 1))
        assert platform._program is None
    finally:
        platform.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"args": "--verbose"}, r"args is '--verbose'; give a list"),
        ({"args": [1]}, r"argument 1 of the program is no string; write it as '1'"),
        ({"args": ["a\0b"]}, r"cannot be started.*null"),
        ({"cwd": "/nowhere/at/all"}, r"working directory '/nowhere/at/all'.*cwd="),
        ({"grace": -1.0}, r"grace is -1.0"),
        ({"size": "big"}, r"size is 'big'"),
        ({"name": ""}, r"name is ''"),
        ({"name": "x" * 200}, r"name .*cannot be used"),
        ({"name": "a\0b"}, r"name is 'a\\x00b'"),
    ],
)
def test_options_that_cannot_be(program: Callable[[str], str], options: dict[str, object], said: str) -> None:
    with pytest.raises(PlatformError, match=said), launcher(**options) as rproc:
        rproc.boot(None if "name" in options else program(ECHO))


@pytest.mark.parametrize("name", ["a b.py", "with spaces", "script"])
def test_kinds_of_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    path = tmp_path / name
    path.write_text(("" if name.endswith(".py") else f"#!{sys.executable}\n") + ECHO)
    path.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for given in (name, path, Path(name)):
        with launcher(cwd="/") as rproc:
            rproc.boot(given)
            endpoint = rproc.create_endpoint(SERVICE)
            endpoint.send(b"hello")
            assert endpoint.receive(timeout=5) == b"hello"


def test_ctrl_c_in_the_host_is_a_graceful_shutdown_of_the_remote(tmp_path: Path) -> None:
    remote = tmp_path / "remote.py"
    remote.write_text(
        "import openamp\n"
        "bus = openamp.serve('process')\n"
        "endpoint = bus.create_endpoint('svc')\n"
        "try: endpoint.receive()\n"
        f"except openamp.errors.HostShutdown: open({str(tmp_path / 'graceful')!r}, 'w').close()\n"
    )
    text = (
        "import openamp\n"
        "with openamp.open('process') as rproc:\n"
        f"    rproc.boot({str(remote)!r})\n"
        "    endpoint = rproc.create_endpoint('svc')\n"
        "    print('ready', flush=True)\n"
        "    endpoint.receive()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", text],
        env=ENV,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        process_group=0,
    ) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"ready\n"
        time.sleep(0.05)
        os.killpg(host.pid, signal.SIGINT)
        _, error = host.communicate(timeout=10)
    assert b"KeyboardInterrupt" in error
    assert (tmp_path / "graceful").exists()


def test_a_stopped_peer_goes_on_where_it_was(program: Callable[[str], str]) -> None:
    with launcher() as rproc:
        rproc.boot(program(ECHO))
        endpoint = rproc.create_endpoint(SERVICE)
        pid = rproc.platform._program.pid  # type: ignore[attr-defined]
        os.kill(pid, signal.SIGSTOP)
        endpoint.send(b"1")
        with pytest.raises(TimeoutExpired, match="is stopped"):
            endpoint.receive(timeout=0.3)
        os.kill(pid, signal.SIGCONT)
        assert endpoint.receive(timeout=5) == b"1"
        os.kill(pid, signal.SIGSTOP)  # and so is its end
        rproc.stop()


# -- hostile peers -----------------------------------------------------------------------------------------------------


def test_a_remote_that_finds_the_host_taken_waits_for_the_next_one() -> None:
    served = []

    def serve() -> None:
        with openamp.serve("process", name="race", timeout=10) as bus:
            endpoint = bus.create_endpoint(SERVICE)
            with contextlib.suppress(HostShutdown):
                for message in endpoint:
                    endpoint.send(message)
            served.append(1)

    with openamp.open("process", name="race") as first:
        first.boot()
        threads = [threading.Thread(target=serve) for _ in range(2)]
        for thread in threads:
            thread.start()
        with first.create_endpoint(SERVICE) as endpoint:
            endpoint.send(b"1")
            assert endpoint.receive(timeout=5) == b"1"
    with openamp.open("process", name="race") as second:
        second.boot()
        with second.create_endpoint(SERVICE) as endpoint:
            endpoint.send(b"2")
            assert endpoint.receive(timeout=5) == b"2"
    for thread in threads:
        thread.join()
    assert len(served) == 2


def test_a_host_that_goes_before_it_answers() -> None:
    listener = listen("gone")
    thread = threading.Timer(0.2, listener.close)
    thread.start()
    with pytest.raises(TimeoutExpired):
        openamp.serve("process", name="gone", timeout=0.5)
    thread.join()


def test_a_host_with_a_full_queue_is_waited_for_no_longer_than_told() -> None:
    with listen("full"), contextlib.ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(address_of("full"))
        began = time.monotonic()
        with pytest.raises(TimeoutExpired):
            openamp.serve("process", name="full", timeout=0.3)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("regions", "kinds"),
    [
        ("region a 0x0 0x1000 0x0", "mmm"),
        ("region a 0x0 0x1000 0x0", "eee"),
        ("region a 0x0 0x1000 0x0\nregion b 0x800 0x1000 0x0", "mee"),
        ("region a -0x1000 0x1000 0x0", "mee"),
        ("region a 0x0 0x0 0x0", "mee"),
        ("\n\n", "mee"),
        ("table 0x99999999\nregion a 0x0 0x1000 0x0", "mee"),
        ("region a 0x0 0x1000 0x0", "mppp"),
    ],
)
def test_hostile_hand_overs_are_clear_errors(regions: str, kinds: str) -> None:
    with listen("hostile") as listener:

        def answer() -> None:
            control, _ = listener.accept()
            with control:
                fds = []
                for kind in kinds:
                    if kind == "m":
                        fds.append(os.memfd_create("fake"))
                        os.ftruncate(fds[-1], 4096)
                    elif kind == "e":
                        fds.append(os.eventfd(0))
                    else:
                        fds.append(os.open("/dev/null", os.O_RDWR))
                socket.send_fds(control, [b"openamp-link 1\n" + regions.encode()], fds)
                for fd in fds:
                    os.close(fd)
                control.settimeout(5)
                with contextlib.suppress(OSError):
                    control.recv(1)

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(OpenAMPError):
            openamp.serve("process", name="hostile", timeout=1)
        thread.join()


def test_a_full_eventfd_is_no_error() -> None:
    platform = ProcessPlatform(name="eventfd")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        platform.prepare(platform.builtin_firmware())
        assert platform._layout is not None
        signals = hand_over(ours, platform._layout, 0)
        _, fds, _, _ = socket.recv_fds(theirs, 4096, 4)
        os.eventfd_write(fds[1], 0xFFFFFFFFFFFFFFFE)
        signals.kick()
        with pytest.raises(OSError, match="Operation not permitted"):
            os.ftruncate(fds[0], 0)  # we would die of it
        with pytest.raises(OSError, match="Operation not permitted"):
            fcntl.fcntl(fds[0], fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
        for fd in fds:
            os.close(fd)
        signals.close()
    finally:
        theirs.close()
        platform.close()


# -- the generic Linux machine -----------------------------------------------------------------------------------------


def machine(tmp_path: Path, processor: int) -> dict[str, object]:
    return {
        "mode": "generic-linux",
        "processor": processor,
        "shm": f"openamp-attack-{os.getpid()}",
        "socket_path": str(tmp_path / "event.0"),
    }


@pytest.mark.parametrize("role", ["host", "remote"])
@pytest.mark.parametrize("processor", [0, 1])
@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/tmp/" + "x" * 200, "too long"),
        ("/nowhere/at/all/event", "nowhere"),
        ("file", "file"),
        ("a\0b", "a.x00b"),
        ("", "empty"),
    ],
)
def test_socket_paths_that_cannot_be(tmp_path: Path, role: str, processor: int, path: str, said: str) -> None:
    options = machine(tmp_path, processor)
    if path == "file":
        (tmp_path / "file").write_text("precious")
        path = str(tmp_path / "file")
    options["socket_path"] = path
    with pytest.raises((PlatformError, TimeoutExpired), match=said):
        if role == "remote":
            openamp.serve("process", timeout=0.2, **options)
        else:
            if processor == 1:
                options["connect_timeout"] = 0.2
            with openamp.open("process", **options) as rproc:
                rproc.boot()
    assert not os.path.exists(f"/dev/shm/{options['shm']}")
    if path.endswith("file"):
        assert (tmp_path / "file").read_text() == "precious"


def test_a_second_processor_0_does_not_disturb_the_first(tmp_path: Path) -> None:
    with openamp.open("process", **machine(tmp_path, 0)) as first:
        first.boot()
        with openamp.open("process", **machine(tmp_path, 0)) as second, pytest.raises(PlatformError, match="listens"):
            second.boot()
        with pytest.raises(TimeoutExpired, match="no remote has connected"):
            first.create_endpoint("svc", timeout=0.1)


@pytest.mark.parametrize("size", [0, 100, 0x100000])
def test_a_stale_memory_of_another_size(tmp_path: Path, size: int) -> None:
    options = machine(tmp_path, 0)
    stale = Path(f"/dev/shm/{options['shm']}")
    stale.write_bytes(b"\xff" * size)

    def remote() -> None:
        with (
            openamp.serve("process", timeout=10, **machine(tmp_path, 1)) as bus,
            bus.create_endpoint(SERVICE) as endpoint,
        ):
            endpoint.send(endpoint.receive(timeout=10))
            with contextlib.suppress(HostShutdown, NotBoundError):
                endpoint.receive(timeout=10)

    thread = threading.Thread(target=remote)
    thread.start()
    with openamp.open("process", **options) as rproc:
        rproc.boot()
        with rproc.create_endpoint(SERVICE) as endpoint:
            endpoint.send(b"hello")
            assert endpoint.receive(timeout=5) == b"hello"
    thread.join()
    assert not stale.exists()


def test_memory_that_is_no_file(tmp_path: Path) -> None:
    options = machine(tmp_path, 0)
    path = Path(f"/dev/shm/{options['shm']}")
    path.mkdir()
    try:
        with pytest.raises(PlatformError, match=str(path)):
            openamp.serve("process", timeout=0.2, **options)
        assert path.exists()
    finally:
        path.rmdir()


def test_a_peer_that_floods_the_socket(tmp_path: Path) -> None:
    options = machine(tmp_path, 0)
    with openamp.open("process", **options) as rproc:
        rproc.boot()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream:
            stream.connect(str(options["socket_path"]))
            stream.setblocking(False)
            rproc.wait(timeout=0.1)
            with contextlib.suppress(BlockingIOError):
                while True:
                    stream.send(b"x" * 65536)
            began = time.monotonic()
            with pytest.raises(TimeoutExpired):
                rproc.create_endpoint("svc", timeout=0.2)
            assert time.monotonic() - began < 2
        with pytest.raises(RemoteExited):
            end_of(rproc)


def test_after_the_end_nothing_is_readable_any_more(program: Callable[[str], str]) -> None:
    for _ in range(5):  # the end of the socket and that of the process come in any order
        with launcher() as rproc:
            rproc.boot(program(ECHO))
            rproc.create_endpoint(SERVICE)
            os.kill(rproc.platform._program.pid, signal.SIGKILL)  # type: ignore[attr-defined]
            with pytest.raises(RemoteCrashed):
                end_of(rproc)
            signals = rproc.platform._signals  # type: ignore[attr-defined]
            assert not select.select([signals.fileno()], [], [], 0.02)[0]
