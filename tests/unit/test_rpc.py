"""Remote procedure calls: our client at our server, and each at a hand-made other side."""

from __future__ import annotations

import gc
import io
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import openamp
from openamp.errors import (
    NotBoundError,
    OpenAMPError,
    PlatformError,
    RemoteProtocolError,
    RpcError,
    StateError,
    TimeoutExpired,
)
from openamp.platforms.loopback import LoopbackRemote
from openamp.rpc import RETARGET, RPC, Dialect, FlagValues, RpcClient, RpcServer
from openamp.rpmsg import Endpoint
from openamp.testing.buses import BusPair, bus_pair

CREATE_APPEND = 0o2101
each_dialect = pytest.mark.parametrize("dialect", [RPC, RETARGET], ids=["rpc", "retarget"])


@pytest.fixture(autouse=True)
def no_leaks() -> Iterator[None]:
    before = len(os.listdir("/proc/self/fd"))
    yield
    if len(os.listdir("/proc/self/fd")) != before:
        gc.collect()  # views of shared memory in tracebacks
    assert len(os.listdir("/proc/self/fd")) <= before  # fewer: what an earlier test left was collected


class Both:
    """A server and a client on a pair of buses."""

    def __init__(self, root: Path, dialect: Dialect, **options: Any) -> None:
        self.pair = bus_pair()
        self.output: list[tuple[int, bytes]] = []
        self.lines = [b"bob\n", b"42\r\n", b"\n", b"last"]
        self.server = RpcServer(
            self.pair.host,
            root,
            dialect=dialect,
            stdin=lambda: self.lines.pop(0) if self.lines else b"",
            stdout=lambda data: self.output.append((1, data)),
            stderr=lambda data: self.output.append((2, data)),
            **options,
        )
        self.client = RpcClient(self.pair.remote, dialect=dialect, timeout=1)

    def close(self) -> None:
        self.client.terminate()
        self.pair.settle()
        self.server.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Both]]:
    made: list[Both] = []

    def both(dialect: Dialect = RPC, **options: Any) -> Both:
        made.append(Both(tmp_path, dialect, **options))
        return made[-1]

    yield both
    for one in made:
        one.close()


# -- files -------------------------------------------------------------------------------------------------------------


@each_dialect
def test_text(serve: Callable[..., Both], tmp_path: Path, dialect: Dialect) -> None:
    host = serve(dialect).client
    with host.open("remote.file", "w") as file:
        file.write("first line\nsecond: grüß dich\n")
    assert (tmp_path / "remote.file").read_text() == "first line\nsecond: grüß dich\n"
    with host.open("remote.file", "a") as file:
        print("third", file=file)
    with host.open("remote.file") as file:
        assert list(file) == ["first line\n", "second: grüß dich\n", "third\n"]


@each_dialect
@pytest.mark.parametrize("size", [0, 1, 296, 297, 480, 481, 100_000])
def test_bytes_of_any_length(serve: Callable[..., Both], tmp_path: Path, dialect: Dialect, size: int) -> None:
    host = serve(dialect).client
    data = os.urandom(size)
    with host.open(b"data", "wb") as file:
        assert file.write(data) == size
    assert (tmp_path / "data").read_bytes() == data
    with host.open("data", "rb") as file:
        assert file.read() == data
        assert file.read(10) == b""


def test_without_a_buffer(serve: Callable[..., Both], tmp_path: Path) -> None:
    host = serve().client
    (tmp_path / "data").write_bytes(b"0123456789" * 100)
    with host.open("data", "r+b", buffering=0) as file:
        assert (file.readable(), file.writable(), file.seekable(), file.name) == (True, True, False, "data")
        assert file.read(10) == b"0123456789"
        assert file.write(b"x" * 1000) == 300
        assert file.read(1000) == (b"0123456789" * 100)[310 : 310 + 296]
    assert file.closed
    file.close()


def test_the_calls_themselves(serve: Callable[..., Both], tmp_path: Path) -> None:
    host = serve().client
    fd = host.open_fd("a", os.O_WRONLY | os.O_CREAT, 0o600)
    assert fd == 3
    assert host.open_fd("a", os.O_RDONLY) == 4
    assert host.write(fd, b"hello") == 5
    assert host.read(4, 3) == b"hel"
    assert host.read(4, 100) == b"lo"
    assert host.read(4, 100) == b""
    host.close_fd(fd)
    assert host.open_fd("a", os.O_RDONLY) == 3
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


@each_dialect
def test_what_fails_is_an_os_error(serve: Callable[..., Both], dialect: Dialect) -> None:
    both = serve(dialect)
    host = both.client
    with pytest.raises(OSError, match=r"open\('missing'\) failed on the server, which answered -1"):
        host.open("missing")
    with host.open("x", "x"), pytest.raises(RpcError) as caught:
        host.open("x", "x")
    assert (caught.value.call, caught.value.result) == (1, -1)
    for call in (
        lambda: host.read(7, 1),
        lambda: host.write(7, b"x"),
        lambda: host.close_fd(7),
        lambda: host.close_fd(1),
        lambda: host.read(1, 1),
        lambda: host.write(0, b"x"),
        lambda: host.read(-1, 1),
        lambda: host.open_fd("", os.O_RDONLY),
    ):
        with pytest.raises(RpcError):
            call()
    assert both.server.statistics().num_failed == 10


def test_wrong_use_of_the_client(serve: Callable[..., Both]) -> None:
    host = serve().client
    for mode in ("", "z", "rw", "rr", "btr", "r+"):
        with pytest.raises(ValueError, match="impossible"):
            host.open("x", mode)
    with pytest.raises(ValueError, match="impossible"):
        host.open("x", "r", buffering=0)
    with pytest.raises(ValueError, match="has 12 bytes; 'rpmsg-rpc' carries at most 11"):
        host.open("x" * 12, "w")
    with pytest.raises(ValueError, match="no NUL"):
        host.open("x\0", "w")
    with host.open("x", "w") as file, pytest.raises(io.UnsupportedOperation):
        file.read()
    with host.open("x", "rb", buffering=0) as file, pytest.raises(io.UnsupportedOperation):
        file.write(b"")


def test_limits(serve: Callable[..., Both]) -> None:
    both = serve(max_files=2, max_written=9000)
    host = both.client
    one, _ = host.open("one", "wb", buffering=0), host.open_fd("two", os.O_RDWR | os.O_CREAT)
    with pytest.raises(RpcError):
        host.open("one")
    one.close()
    with pytest.raises(RpcError):  # no room for a third file
        host.open("three", "w")
    with host.open("one", "ab", buffering=0) as file:
        assert [file.write(bytes(300)) for _ in range(3)] == [300, 300, 208]
        with pytest.raises(RpcError):
            file.write(b"x")


def test_a_root_that_is_only_read(serve: Callable[..., Both], tmp_path: Path) -> None:
    (tmp_path / "x").write_text("content")
    host = serve(writable=False).client
    with host.open("x") as file:
        assert file.read() == "content"
    with pytest.raises(RpcError):
        host.open("x", "a")


def test_newlibs_flags(tmp_path: Path) -> None:
    pair = bus_pair()
    with (
        RpcServer(pair.host, tmp_path, flags=FlagValues.NEWLIB),
        RpcClient(pair.remote, flags=FlagValues.NEWLIB) as host,
        host.open("x", "w") as file,
    ):
        file.write("new")
    assert (tmp_path / "x").read_text() == "new"


# -- console -----------------------------------------------------------------------------------------------------------


@each_dialect
def test_console(serve: Callable[..., Both], dialect: Dialect) -> None:
    both = serve(dialect)
    host = both.client
    print("to the console", file=host.stdout)
    print("äöü" * 200, file=host.stderr)
    assert host.input("Your name? ") == "bob"
    assert host.input() == "42"
    assert host.input() == ""
    assert host.input() == "last"
    assert host.input() == ""
    assert b"".join(data for fd, data in both.output if fd == 1) == b"to the console\nYour name? "
    assert b"".join(data for fd, data in both.output if fd == 2).decode() == "äöü" * 200 + "\n"


def test_reading_the_console(serve: Callable[..., Both]) -> None:
    both = serve()
    assert both.client.read(0, 2) == b"bo"
    assert both.client.read(0, 100) == b"b\n"
    assert both.client.input(size=1) == "4"
    assert both.client.input(size=1) == "2"
    assert both.client.input(size=0) == both.client.read(0, 0).decode() == ""
    assert both.lines == [b"\n", b"last"]


def test_printing_by_default(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pair = bus_pair()
    with RpcServer(pair.host, tmp_path), RpcClient(pair.remote) as host:
        host.write(1, b"red \x1b[31m\x07 \xff gr\xc3")
        host.write(1, b"\xbcn\r\n\tend\r\n")
        host.write(2, b"oops\n")
        assert host.input() == ""
    assert capsys.readouterr() == ("red \\x1b[31m\\x07 \\xff grün\n\tend\n", "oops\n")


def test_a_console_that_fails(tmp_path: Path) -> None:
    def broken(data: bytes = b"") -> bytes:
        raise BrokenPipeError

    closed = io.BytesIO()
    closed.close()
    pair = bus_pair()
    with (
        RpcServer(pair.host, tmp_path, stdin=broken, stdout=broken, stderr=closed.write) as server,
        RpcClient(pair.remote) as host,
    ):
        for call in (lambda: host.write(1, b"x"), lambda: host.write(2, b"x"), lambda: host.read(0, 1), host.input):
            with pytest.raises(RpcError):
                call()
        assert server.statistics().num_failed == 4


# -- the server at a hand-made client ----------------------------------------------------------------------------------


class Raw:
    """A client that sends bytes."""

    def __init__(self, pair: BusPair, service: str = "rpmsg-rpc") -> None:
        self.pair = pair
        self.endpoint: Endpoint = pair.remote.create_endpoint(service)
        pair.settle()

    def ask(self, message: bytes) -> bytes:
        self.endpoint.send(message)
        return self.endpoint.receive(timeout=1)

    def open(self, name: bytes, flags: int = CREATE_APPEND) -> int:
        """Opens a file as the C demonstration does and returns the descriptor."""
        answer = self.ask(struct.pack("<I12sii", 1, name, flags, 0o600))
        call, status, fd = struct.unpack("<Iii", answer)
        assert (call, status) == (1, 0)
        return int(fd)


def test_the_c_demonstrations_messages(tmp_path: Path) -> None:
    pair = bus_pair()
    with RpcServer(pair.host, tmp_path, stdin=[b"", b"bob\n"].pop) as server:
        client = Raw(pair)
        fd = client.open(b"remote.file")
        text = b"This is a test string being written to file.."
        assert client.ask(struct.pack("<IiI300s", 3, fd, len(text), text)) == struct.pack("<Iii", 3, 0, len(text))
        assert client.ask(struct.pack("<Ii", 2, fd)) == struct.pack("<Iii", 2, 0, 0)
        fd = client.open(b"remote.file", 0)
        assert client.ask(struct.pack("<IiI", 4, fd, 300)) == struct.pack("<Iii", 4, 0, len(text)) + text
        assert client.ask(struct.pack("<II", 7, 50)) == struct.pack("<Iii", 7, 0, 3) + b"bob\0"
        assert not server.terminated
        client.endpoint.send(struct.pack("<Ii", 6, 6))
        server.run(timeout=1)
        assert server.terminated
        assert server.statistics().num_open_files == 0


def test_unknown_and_malformed_requests(tmp_path: Path) -> None:
    pair = bus_pair()
    with RpcServer(pair.host, tmp_path) as server:
        client = Raw(pair)
        assert client.ask(struct.pack("<I", 99)) == struct.pack("<Ii", 99, -1)
        assert client.ask(struct.pack("<I", 5)) == struct.pack("<Ii", 5, -1)
        client.endpoint.send(b"")
        client.endpoint.send(b"\1\0\0")
        assert client.ask(struct.pack("<I", 1)) == struct.pack("<Iii", 1, 0, -1)
        assert client.ask(struct.pack("<IiI", 3, 1, 500) + b"abc") == struct.pack("<Iii", 3, 0, -1)
        statistics = server.statistics()
        assert (statistics.num_requests, statistics.num_unknown, statistics.num_malformed) == (6, 2, 4)


def test_every_client_has_its_own_descriptors(tmp_path: Path) -> None:
    pair = bus_pair()
    clients = [Raw(pair) for _ in range(2)]  # one is there before the server, one comes later
    with RpcServer(pair.host, tmp_path) as server:
        clients.append(Raw(pair))
        assert [client.open(b"%d" % i) for i, client in enumerate(clients)] == [3, 3, 3]
        assert clients[0].open(b"more") == 4
        assert clients[1].ask(struct.pack("<Ii", 2, 4)) == struct.pack("<Iii", 2, 0, -1)
        clients[0].endpoint.close()
        pair.settle()
        assert server.statistics().num_open_files == 2
        clients[1].endpoint.send(struct.pack("<Ii", 6, 6))
        pair.settle()
        assert server.statistics().num_open_files == 1
    assert server.statistics().num_open_files == 0


def test_the_channels_end_ends_the_server(tmp_path: Path) -> None:
    pair = bus_pair()
    with RpcServer(pair.host, tmp_path) as server:
        with pytest.raises(TimeoutExpired, match="no remote called 'rpmsg-rpc'"):
            server.run(timeout=0)
        client = Raw(pair)
        client.open(b"x")
        client.endpoint.close()
        server.run(timeout=1)
        assert (server.terminated, server.statistics().num_open_files) == (False, 0)
        assert pair.host.endpoints == ()


def test_the_proxys_address(tmp_path: Path) -> None:
    pair = bus_pair(features=0)
    with RpcServer(pair.host, tmp_path, dialect=RETARGET), RpcClient(pair.remote, dialect=RETARGET, address=0xFF) as a:
        b = RpcClient(pair.remote, dialect=RETARGET, address=0xFF)
        with a.open("a", "w") as file:
            assert b.open_fd("b", os.O_WRONLY | os.O_CREAT) == 3
            file.write("by the address")
        b.terminate()
    assert (tmp_path / "a").read_text() == "by the address"


def test_the_proxys_greeting_is_no_answer(tmp_path: Path) -> None:
    """A Linux host does not acknowledge: it sends something, and so binds the client."""
    pair = bus_pair(acknowledge=False)
    endpoint = pair.host.create_endpoint(RETARGET.service, timeout=0)

    def greet(channel: object) -> None:
        endpoint.send(b"init_msg\0")

    pair.host.on_channel_created(greet)
    client = RpcClient(pair.remote, dialect=RETARGET)
    client.terminate()
    pair.settle()
    assert endpoint.receive(timeout=1)[:4] == struct.pack("<I", 6)


def test_answers_that_find_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openamp.rpc.server._ANSWER_TIMEOUT", 0.01)
    pair = bus_pair()
    with RpcServer(pair.host, tmp_path) as server:
        deaf = pair.remote.create_endpoint("rpmsg-rpc", backlog=1)
        pair.settle()
        deaf.send_many([struct.pack("<Ii", 2, 3)] * 30)
        pair.settle()
        statistics = server.statistics()
        assert statistics.num_requests == 30
        assert 0 < statistics.num_unanswered < 30


def test_a_root_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="name a folder"):
        RpcServer(bus_pair().host, tmp_path / "missing")


def test_an_address_that_is_taken_gives_the_root_back(tmp_path: Path) -> None:
    pair = bus_pair()
    pair.host.create_endpoint(src=0xFF)
    with pytest.raises(OpenAMPError, match="0xff is taken"):
        RpcServer(pair.host, tmp_path, dialect=RETARGET)


def test_after_close_nobody_is_served(tmp_path: Path) -> None:
    pair = bus_pair()
    server = RpcServer(pair.host, tmp_path)
    server.close()
    server.close()
    Raw(pair)
    assert pair.host.endpoints == ()


# -- the client at a hand-made server ----------------------------------------------------------------------------------


def answered(answer: Callable[[bytes], bytes | None]) -> RpcClient:
    """A client at a server that answers each message with what the function returns."""
    pair = bus_pair()

    def receive(endpoint: Endpoint, message: bytes, src: int) -> None:
        reply = answer(message)
        if reply is not None:
            endpoint.send(reply)

    pair.host.create_endpoint("rpmsg-rpc", callback=receive, timeout=0)
    return RpcClient(pair.remote, timeout=0.05)


def test_the_c_server_cuts_its_answers() -> None:
    """With its answers, which lack their last four bytes, the console works, and open says why it does not."""
    host = answered(
        lambda message: (
            (message[:4] + bytes(4) + struct.pack("<i", 300) + b"bob\0".ljust(300, b"\xff"))[:-4]
            if message[0] == 7
            else message[:4] + bytes(4)
        )
    )
    print("works", file=host.stdout)
    assert host.input() == "bob"
    host.close_fd(3)
    with pytest.raises(RemoteProtocolError, match="C server cuts the last four bytes"):
        host.open("x")


def test_a_server_that_does_not_answer() -> None:
    host = answered(lambda message: None)
    with pytest.raises(TimeoutExpired):
        host.open("x")
    with pytest.raises(StateError, match="make another one"):
        host.write(1, b"x")
    host.terminate()
    host.terminate()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (struct.pack("<Iii", 4, 0, 5) + b"hell", "claims 0x5 bytes and has 0x4"),
        (struct.pack("<Iii", 4, 0, 9) + b"more than", "0x8 were asked for"),
        (struct.pack("<Ii", 4, 0), "has no result"),
        (b"\4", "an answer of 0x1 bytes"),
    ],
)
def test_an_answer_to_read_that_is_wrong(answer: bytes, said: str) -> None:
    with pytest.raises(RemoteProtocolError, match=said):
        answered(lambda message: answer).read(3, 8)


@pytest.mark.parametrize("written", [0, 6])
def test_an_answer_to_write_that_is_wrong(written: int) -> None:
    with pytest.raises(RemoteProtocolError, match=f"written 0x{written} of 0x5"):
        answered(lambda message: struct.pack("<Iii", 3, 0, written)).write(3, b"hello")


def test_a_server_that_does_not_know_the_call() -> None:
    with pytest.raises(RpcError, match="does not know the call 3"):
        answered(lambda message: message[:4] + struct.pack("<i", -1)).write(1, b"x")


def test_answers_to_other_calls_are_passed_over() -> None:
    pair = bus_pair()

    def receive(endpoint: Endpoint, message: bytes, src: int) -> None:
        endpoint.send(struct.pack("<Iii", 2, 0, 0))
        endpoint.send(struct.pack("<Iii", 3, 0, 1))

    pair.host.create_endpoint("rpmsg-rpc", callback=receive, timeout=0)
    assert RpcClient(pair.remote).write(1, b"x") == 1


def test_no_server() -> None:
    pair = bus_pair()
    with pytest.raises(TimeoutExpired):
        RpcClient(pair.remote, timeout=0.01)
    assert pair.remote.endpoints == ()


def test_the_server_goes_away(tmp_path: Path) -> None:
    pair = bus_pair()
    server = RpcServer(pair.host, tmp_path)
    client = RpcClient(pair.remote)
    file = client.open("x", "w")
    server.close()
    with pytest.raises(NotBoundError), file:
        file.write("lost")
    client.terminate()


def test_over_a_real_link(tmp_path: Path) -> None:
    def firmware(link: LoopbackRemote) -> None:
        with openamp.serve(link) as bus, RpcClient(bus) as host, host.open("numbers", "w") as file:
            for number in range(1000):
                print(number, file=file)

    with openamp.open("loopback", remote=firmware) as rproc:
        rproc.boot()
        with RpcServer(rproc.bus, tmp_path) as server:
            server.run(timeout=5)
    assert (tmp_path / "numbers").read_text().split() == [str(number) for number in range(1000)]
