"""Whatever a remote sends to the server of its calls: no exception, nothing outside the root, nothing left open."""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openamp.rpc import RETARGET, RPC, Dialect, RpcServer
from openamp.rpc.wire import Call, Malformed, Unknown
from openamp.testing.buses import bus_pair

SECRET = b"not for the remote"
MAX_FILES = 4
MAX_WRITTEN = 20_000

parts = st.sampled_from(
    [b"..", b".", b"", b"a", b"in", b"file", b"up", b"out", b"etc", b"secret", b"fifo", b"\xff", b"x" * 9, b"~", b"*"]
)
paths = st.one_of(
    st.lists(parts, max_size=6).map(b"/".join),
    st.lists(parts, max_size=6).map(lambda found: b"/" + b"/".join(found)),
    st.binary(max_size=12),
)
numbers = st.one_of(st.integers(-3, 9), st.integers(-(2**31), 2**31 - 1))
lengths = st.one_of(st.integers(0, 20), st.integers(0, 2**32 - 1))
flags = st.one_of(st.sampled_from([0, 1, 2, 0x41, 0x42, 0xC2, 0x241, 0x441]), numbers)


def pad(name: bytes) -> bytes:
    return struct.pack("<12s", name)


rpc = st.one_of(
    st.builds(lambda n, f, m: struct.pack("<I12sii", 1, pad(n), f, m), paths, flags, numbers),
    st.builds(lambda n, f, m: struct.pack("<I10sii", 1, n, f, m), paths, flags, numbers),
    st.builds(lambda fd: struct.pack("<Ii", 2, fd), numbers),
    st.builds(lambda fd, n, data: struct.pack("<IiI", 3, fd, n) + data, numbers, lengths, st.binary(max_size=400)),
    st.builds(lambda fd, data: struct.pack("<IiI", 3, fd, len(data)) + data, numbers, st.binary(max_size=400)),
    st.builds(lambda fd, n: struct.pack("<IiI", 4, fd, n), numbers, lengths),
    st.builds(lambda n: struct.pack("<II", 7, n), lengths),
    st.builds(lambda n: struct.pack("<Ii", 6, n), numbers),
    st.builds(lambda call, rest: struct.pack("<I", call) + rest, st.integers(0, 9), st.binary(max_size=40)),
    st.binary(max_size=496),
)
retarget = st.one_of(
    st.builds(lambda n, f, m, x: struct.pack("<IiiI", 1, f, m, x) + n + b"\0", paths, flags, numbers, lengths),
    st.builds(lambda n, f, m: struct.pack("<IiiI", 1, f, m, len(n)) + n, paths, flags, numbers),
    st.builds(
        lambda call, fd, n, x, data: struct.pack("<IiiI", call, fd, n, x) + data,
        st.integers(0, 9),
        numbers,
        numbers,
        lengths,
        st.binary(max_size=400),
    ),
    st.binary(max_size=496),
)


@pytest.fixture(scope="module")
def world() -> Iterator[Path]:
    """A folder whose inner folder "root" is served."""
    path = Path(tempfile.mkdtemp(prefix="openamp-rpc-"))
    yield path
    shutil.rmtree(path)


def populate(world: Path) -> Path:
    """Makes the served folder anew, with links to the outside in it."""
    root = world / "root"
    shutil.rmtree(root, ignore_errors=True)
    (root / "in").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "out").symlink_to("..")
    (root / "in" / "up").symlink_to("../..")
    (root / "etc").symlink_to("/etc")
    (root / "in" / "secret").symlink_to("../../secret")
    os.mkfifo(root / "fifo")
    (world / "secret").write_bytes(SECRET)
    return root


def outside(world: Path) -> dict[str, bytes | None]:
    """What there is beside the root."""
    return {entry.name: entry.read_bytes() if entry.is_file() else None for entry in world.iterdir()}


def check(world: Path, dialect: Dialect, messages: list[bytes]) -> None:
    root = populate(world)
    before, descriptors = outside(world), len(os.listdir("/proc/self/fd"))
    lines = [b"line\n"] * 3
    pair = bus_pair()
    server = RpcServer(
        pair.host,
        root,
        dialect=dialect,
        max_files=MAX_FILES,
        max_written=MAX_WRITTEN,
        stdin=lambda: lines.pop() if lines else b"",
        stdout=bytes,
        stderr=bytes,
    )
    client = pair.remote.create_endpoint(dialect.service)
    pair.settle()
    for message in messages:
        client.send(message)
        pair.settle()  # what the server raises comes out here
        request = dialect.parse_request(message)
        answers = []
        while True:
            try:
                answers.append(client.receive(timeout=0))
            except TimeoutError:
                break
        silent = message[:4] == struct.pack("<I", Call.TERMINATE) or (
            isinstance(request, Malformed) and request.call is None
        )
        assert len(answers) == (0 if silent else 1)
        for answer in answers:
            parsed = dialect.parse_answer(answer)
            assert parsed.call == int.from_bytes(message[:4], "little")
            assert SECRET not in answer
            if isinstance(request, Unknown):
                assert not parsed.known or parsed.result == -1
        assert server.statistics().num_open_files <= MAX_FILES
    server.close()
    assert server.statistics().num_open_files == 0
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert outside(world) == before
    written = sum(entry.lstat().st_size for entry in root.rglob("*") if entry.is_file() and not entry.is_symlink())
    assert written <= MAX_WRITTEN + len(b"content")


@settings(deadline=None, max_examples=150)
@given(messages=st.lists(rpc, max_size=12))
def test_rpc(world: Path, messages: list[bytes]) -> None:
    check(world, RPC, messages)


@settings(deadline=None, max_examples=150)
@given(messages=st.lists(retarget, max_size=12))
def test_retarget(world: Path, messages: list[bytes]) -> None:
    check(world, RETARGET, messages)


@given(message=st.binary(max_size=600))
def test_any_bytes_are_some_request(message: bytes) -> None:
    for dialect in (RPC, RETARGET):
        dialect.parse_request(message)
