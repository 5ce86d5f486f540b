"""The firmware that comes with the package: every application on every board, through the public interface.

With OPENAMP_IMAGES set to a build directory of `firmware/`, the images there are tested instead.
"""

from __future__ import annotations

import os
import random
import re
import struct
import subprocess
from pathlib import Path

import pytest

import openamp
from openamp import images
from openamp.errors import BoardError, ImageError, RemoteCrashed, RemoteExited, RemoteProtocolError, TimeoutExpired
from openamp.resource_table import ADDR_ANY, Carveout, Trace, Vdev
from openamp.rpmsg import Channel
from openamp.virtio.device import VirtioStatus

FIRMWARE = Path(__file__).parents[2] / "firmware"
BOARDS = ("stm32mp157", "virt-m0", "virt-m33", "virt-m4", "virt-m7", "virt-rv32", "virt-rv64")
APPS = ("crash", "echo", "matrix", "services")
DEMO = "rpmsg-openamp-demo-channel"
SHUTDOWN = struct.pack("<I", 0xEF56A55A)
NOWHERE = 0x7000_1238  # where apps/crash.c finds nothing

each_board = pytest.mark.parametrize("board", BOARDS)


def image(app: str, board: str) -> Path:
    built = os.environ.get("OPENAMP_IMAGES")
    packaged = images.path(app, board)
    return Path(built, packaged.parent.name, packaged.name) if built else packaged


def boot(app: str, board: str, **options: object) -> openamp.RemoteProc:
    rproc = openamp.open("emulated", board=board, **options)
    rproc.boot(image(app, board))
    return rproc


def exchange(endpoint: openamp.Endpoint, data: bytes) -> None:
    endpoint.send(data, timeout=5)
    assert endpoint.receive(timeout=5) == data


def shut_down(rproc: openamp.RemoteProc, endpoint: openamp.Endpoint) -> None:
    """Sends the shutdown message and waits for the acknowledgement: the channel's destruction."""
    gone: list[Channel] = []
    rproc.bus.on_channel_destroyed(gone.append)
    endpoint.send(SHUTDOWN, timeout=5)
    while not gone:
        assert rproc.wait(timeout=5)
    rproc.wait(timeout=0)
    assert "ended: " in rproc.trace().splitlines()[-1]


def receive_until_error(endpoint: openamp.Endpoint) -> None:
    while True:
        endpoint.receive(timeout=5)


def wait_until_error(rproc: openamp.RemoteProc) -> None:
    while True:
        rproc.wait(timeout=5)


# -- the package's data ------------------------------------------------------------------------------------------------


def test_every_application_is_there_for_every_board() -> None:
    assert images.boards() == BOARDS
    for board in BOARDS:
        assert images.apps(board) == APPS
        for app in APPS:
            assert images.path(app, board).is_file()


@pytest.mark.parametrize(
    ("app", "board", "error", "text"),
    [
        ("echo", "virt-m5", BoardError, 'did you mean "virt-m'),
        ("echo", "", BoardError, "there are images for stm32mp157"),
        ("ecco", "virt-m4", ImageError, 'did you mean "echo"'),
        ("../echo", "virt-m4", ImageError, "crash, echo, matrix, services"),
        ("echo", "../virt-m4", BoardError, "build firmware/"),
    ],
)
def test_wrong_names_get_a_helpful_error(app: str, board: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=re.escape(text)):
        images.path(app, board)


@each_board
@pytest.mark.parametrize("app", APPS)
def test_images_are_small_plain_and_clean(app: str, board: str) -> None:
    path = image(app, board)
    firmware = openamp.load_image(path)
    assert firmware.warnings == ()
    assert path.stat().st_size < 16 * 1024
    assert str(FIRMWARE.parent).encode() not in path.read_bytes()
    assert firmware.symbol("main") is not None
    assert firmware.resource_table is not None
    table = openamp.resource_table.ResourceTable.parse(firmware.resource_table.data)
    assert table.warnings == ()
    kinds = [type(entry) for entry in table.entries]
    assert kinds == ([Carveout, Vdev, Trace] if app == "matrix" else [Vdev, Trace])
    vdev = next(entry for entry in table.entries if isinstance(entry, Vdev))
    assert (vdev.id, vdev.dfeatures, vdev.status) == (7, 1, 0)
    assert [(ring.da, ring.num, ring.align) for ring in vdev.vrings] == [(ADDR_ANY, 16, 16)] * 2


# -- echo --------------------------------------------------------------------------------------------------------------


@each_board
def test_echo_of_every_size(board: str) -> None:
    with boot("echo", board) as rproc, rproc.create_endpoint(DEMO) as endpoint:
        for size in range(1, 497):
            exchange(endpoint, random.randbytes(size))
        shut_down(rproc, endpoint)


@each_board
def test_echo_starts_again_after_stop_and_after_its_own_end(board: str) -> None:
    with boot("echo", board) as rproc:
        for ending in ("stop", "message", "stop", "message"):
            with rproc.create_endpoint(DEMO) as endpoint:
                for _ in range(20):
                    exchange(endpoint, b"hello")
                if ending == "message":
                    shut_down(rproc, endpoint)
            rproc.stop()
            rproc.start()
        exchange(rproc.create_endpoint(DEMO), b"still there")


@each_board
def test_echo_ends_on_the_mailboxs_shutdown_request(board: str) -> None:
    rproc = boot("echo", board, shutdown_request=True)
    with rproc, rproc.create_endpoint(DEMO) as endpoint:
        exchange(endpoint, b"hello")
        rproc.stop()
        assert "the host asked for a shutdown" in rproc.trace()
        assert "ended: 1 messages received" in rproc.trace()


@each_board
def test_echo_binds_by_the_first_message_of_a_linux_like_host(board: str) -> None:
    with boot("echo", board, acknowledge=False) as rproc, rproc.create_endpoint(DEMO) as endpoint:
        assert "bound" not in rproc.trace()
        exchange(endpoint, b"hello")
        assert f"bound to address {endpoint.src}" in rproc.trace()
        shut_down(rproc, endpoint)


@pytest.mark.parametrize("board", ["virt-m0", "virt-m4", "virt-rv64"])
@pytest.mark.parametrize("sizes", [(2048, 2048), (4000, 64), (33, 3001)])
def test_echo_through_buffers_of_other_sizes(board: str, sizes: tuple[int, int]) -> None:
    options = {"h2r_buf_size": sizes[0], "r2h_buf_size": sizes[1]}
    with boot("echo", board, **options) as rproc, rproc.create_endpoint(DEMO) as endpoint:
        largest = min(sizes) - 16
        for size in (1, largest // 2, largest - 1, largest):
            exchange(endpoint, random.randbytes(size))


@each_board
def test_bursts_keep_their_order(board: str) -> None:
    with boot("echo", board) as rproc, rproc.create_endpoint(DEMO) as endpoint:
        messages = [struct.pack("<I", i) * (1 + i % 100) for i in range(300)]
        endpoint.send_many(messages, timeout=20)
        received: list[bytes] = []
        while len(received) < len(messages):
            received += endpoint.receive_many(timeout=5)
        assert received == messages


@each_board
def test_a_host_that_resets_the_device_finds_the_remote_waiting(board: str) -> None:
    with boot("echo", board) as rproc:
        endpoint = rproc.create_endpoint(DEMO)
        exchange(endpoint, b"hello")
        assert rproc.live_table is not None
        rproc.live_table.vdevs[0].status = 0
        endpoint.send(b"nobody takes this")
        rproc.wait(timeout=0.01)
        assert rproc.trace() == "echo: started\nwaiting for the host\n"
        rproc.stop()
        rproc.start()
        exchange(rproc.create_endpoint(DEMO), b"hello again")


@each_board
def test_a_host_that_breaks_a_ring_is_named_and_left_alone(board: str) -> None:
    with boot("echo", board) as rproc:
        endpoint = rproc.create_endpoint(DEMO)
        exchange(endpoint, b"hello")
        assert rproc.live_table is not None
        ring = rproc.placement.vdevs[0].vrings[1]
        available = rproc.memory.view(ring.da + 16 * ring.num, 4).cast("H")
        available[1] += 1000
        rproc.platform.kick(ring.notify_id)
        while rproc.wait(timeout=0.01):
            pass
        assert rproc.trace().endswith("the host broke the RPMsg device: the available index jumped\n")
        assert rproc.live_table.vdevs[0].status & VirtioStatus.NEEDS_RESET
        rproc.stop()
        rproc.start()
        exchange(rproc.create_endpoint(DEMO), b"hello again")


# -- matrix ------------------------------------------------------------------------------------------------------------


def pack_matrix(elements: list[list[int]], size: int = 6) -> bytes:
    return struct.pack("<37I", size, *(value for row in elements for value in row))


@each_board
def test_matrix_multiplies(board: str) -> None:
    with boot("matrix", board) as rproc, rproc.create_endpoint(DEMO) as endpoint:
        placed = rproc.placement.carveouts[0]
        assert f"matrix: carve-out at {placed.da:#x}" in rproc.trace()
        for bits in (3, 32):
            left, right = ([[random.getrandbits(bits) for _ in range(6)] for _ in range(6)] for _ in range(2))
            endpoint.send(pack_matrix(left) + pack_matrix(right))
            product = [
                [sum(left[i][k] * right[k][j] for k in range(6)) & 0xFFFFFFFF for j in range(6)] for i in range(6)
            ]
            assert endpoint.receive(timeout=5) == pack_matrix(product)
        zeros = [[0] * 6] * 6
        for wrong in (
            b"abc",
            pack_matrix(zeros),
            pack_matrix(zeros, 7) * 2,
            pack_matrix(zeros, 5) + pack_matrix(zeros),
        ):
            endpoint.send(wrong)
        endpoint.send(pack_matrix(zeros, 0) * 2)
        assert endpoint.receive(timeout=5) == pack_matrix(zeros, 0), "the wrong ones got no answer"
        shut_down(rproc, endpoint)


# -- services ----------------------------------------------------------------------------------------------------------


@each_board
def test_services_answer_side_by_side(board: str) -> None:
    with boot("services", board) as rproc:
        echo = rproc.create_endpoint(DEMO)
        client = rproc.create_endpoint("rpmsg-client-sample")
        upper = rproc.create_endpoint(dst=100)
        for number in range(100):
            echo.send(b"to echo %d" % number)
            client.send(b"hello world!")
            upper.send(b"Message %d" % number)
            assert upper.receive(timeout=5) == b"MESSAGE %d" % number
            assert client.receive(timeout=5) == b"hello world!"
            assert echo.receive(timeout=5) == b"to echo %d" % number
        gone: list[Channel] = []
        rproc.bus.on_channel_destroyed(gone.append)
        echo.send(SHUTDOWN)
        while len(gone) < 2:
            assert rproc.wait(timeout=5)
        assert sorted(channel.name for channel in gone) == ["rpmsg-client-sample", DEMO]


# -- crash -------------------------------------------------------------------------------------------------------------


@each_board
@pytest.mark.parametrize(
    ("command", "where", "address"),
    [
        ("fault", "do_fault", NOWHERE),
        ("read", "do_read", NOWHERE),
        ("jump", "", None),
        ("undef", "do_undef", None),
        ("stack", "recurse", None),
        ("abort", "do_abort", None),
    ],
)
def test_a_crash_is_reported_and_recovered_from(board: str, command: str, where: str, address: int | None) -> None:
    with boot("crash", board) as rproc:
        endpoint = rproc.create_endpoint("rpmsg-crash")
        endpoint.send(command.encode())
        with pytest.raises(RemoteCrashed) as caught:
            receive_until_error(endpoint)
        report = caught.value.report
        assert where in report.location
        if address is not None:
            assert report.address == address
        if command != "stack" or "rv" in board:  # without a stack, a Cortex-M locks up on its way to the handler
            assert "fault: " in report.output_tail.splitlines()[-1]
        assert f"crash: {command} 0" in report.output_tail
        rproc.recover()
        with rproc.create_endpoint("rpmsg-crash") as again:
            again.send(b"nonsense")
            assert again.receive(timeout=5).startswith(b"unknown command")


@each_board
@pytest.mark.parametrize("command", ["loop", "sleep"])
def test_a_silent_remote_runs_into_the_deadline(board: str, command: str) -> None:
    with boot("crash", board) as rproc:
        endpoint = rproc.create_endpoint("rpmsg-crash")
        endpoint.send(command.encode())
        assert endpoint.receive(timeout=5) == b"ok " + command.encode()
        endpoint.send(b"help")
        with pytest.raises(TimeoutExpired, match=f"do_{command}"):
            endpoint.receive(timeout=0.05)
        rproc.stop()
        rproc.start()
        rproc.create_endpoint("rpmsg-crash")


@each_board
def test_an_exit_has_its_status(board: str) -> None:
    with boot("crash", board) as rproc:
        endpoint = rproc.create_endpoint("rpmsg-crash")
        endpoint.send(b"exit 3")
        assert endpoint.receive(timeout=5) == b"ok exit"
        with pytest.raises(RemoteExited) as caught:
            wait_until_error(rproc)
        assert caught.value.code == 3


@each_board
def test_a_flood_neither_hangs_the_host_nor_loses_a_message(board: str) -> None:
    with boot("crash", board) as rproc:
        endpoint = rproc.create_endpoint("rpmsg-crash")
        endpoint.send(b"flood")
        assert endpoint.receive(timeout=5) == b"ok flood"
        for number in range(1, 1000):
            assert endpoint.receive(timeout=5) == struct.pack("<I", number)


@pytest.mark.parametrize("board", ["virt-m4", "virt-rv64"])
@pytest.mark.parametrize("command", ["used-index", "used-id", "used-length", "twice", "header-length", "used-length 9"])
def test_a_broken_protocol_is_named(board: str, command: str) -> None:
    with boot("crash", board) as rproc:
        endpoint = rproc.create_endpoint("rpmsg-crash")
        endpoint.send(command.encode())
        with pytest.raises(RemoteProtocolError) as caught:
            receive_until_error(endpoint)
        assert caught.value.queue == "r2h"


def test_help_lists_all_commands() -> None:
    source = (FIRMWARE / "apps" / "crash.c").read_text()
    with boot("crash", "virt-m4") as rproc:
        endpoint = rproc.create_endpoint("rpmsg-crash")
        endpoint.send(b"help")
        assert endpoint.receive(timeout=5) == b"ok help"
        commands = endpoint.receive(timeout=5).decode().split()
    assert commands == re.findall(r'^    \{"([a-z-]+)", do_', source, re.MULTILINE)


# -- the sources -------------------------------------------------------------------------------------------------------


@pytest.mark.toolchain
@pytest.mark.parametrize("board", ["virt-m4", "virt-rv32"])
def test_the_readmes_application_builds_and_works(board: str, tmp_path: Path) -> None:
    found = re.search(r"```c\n(.*?)```", (FIRMWARE / "README.md").read_text(), re.DOTALL)
    assert found is not None
    (tmp_path / "hello.c").write_text(found[1])
    variables = [f"APP_DIR={tmp_path}", f"BUILD={tmp_path}", "APPS=hello", f"BOARDS={board}"]
    subprocess.run(["make", "-s", "-C", str(FIRMWARE), *variables], check=True, timeout=60)
    with openamp.open("emulated", board=board) as rproc:
        rproc.boot(tmp_path / board / "hello.elf")
        endpoint = rproc.create_endpoint("hello")
        endpoint.send(b"who is there?")
        assert endpoint.receive(timeout=5) == b"hello"
        shut_down(rproc, endpoint)


@pytest.mark.toolchain
def test_the_images_are_reproduced_from_the_sources() -> None:
    subprocess.run(["make", "-s", "-C", str(FIRMWARE), "check"], check=True, timeout=110)
