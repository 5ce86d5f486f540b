"""A folder that nothing leaves."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from openamp.errors import PlatformError
from openamp.rpc import Sandbox

SECRET = b"outside"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A root with a file, a folder, and every kind of way out; beside it a secret."""
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "inner").mkdir(parents=True)
    (root / "file").write_bytes(b"content")
    (root / "inner" / "deep").write_bytes(b"deep content")
    (root / "link").symlink_to("../secret")
    (root / "absolute").symlink_to(tmp_path / "secret")
    (root / "way").symlink_to("..")
    (root / "inner" / "up").symlink_to("../..")
    (root / "harmless").symlink_to("file")
    (root / "dangling").symlink_to("../created")
    (root / "loop").symlink_to("loop")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def sandbox(folder: Path) -> Iterator[Sandbox]:
    made = Sandbox(folder, room=100_000)
    yield made
    made.close()


def read(sandbox: Sandbox, path: bytes) -> bytes:
    fd = sandbox.open(path, os.O_RDONLY)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("path", "content"),
    [
        (b"file", b"content"),
        (b"/file", b"content"),
        (b"//./file", b"content"),
        (b"../../../file", b"content"),
        (b"inner/deep", b"deep content"),
        (b"inner/../file", b"content"),
        (b"missing/../file", b"content"),
        (b"/inner/./deep", b"deep content"),
    ],
)
def test_inside(sandbox: Sandbox, path: bytes, content: bytes) -> None:
    assert read(sandbox, path) == content


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b".",
        b"..",
        b"/",
        b"inner",
        b"inner/",
        b"file/",
        b"file/.",
        b"file/..",
        b"file/deep",
        b"missing",
        b"../secret",
        b"/../secret",
        b"inner/../../secret",
        b"link",
        b"absolute",
        b"way/secret",
        b"inner/up/secret",
        b"harmless",
        b"loop",
        b"fifo",
        b"file\0",
        b"x" * 300,
        b"a/" * 240 + b"x",
        b"\xff\xfe",
        b"/proc/self/root/etc/passwd",
        b"/dev/null",
    ],
)
@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC], ids=["r", "rw", "w"])
def test_not_to_be_had(sandbox: Sandbox, folder: Path, path: bytes, flags: int) -> None:
    with pytest.raises(OSError):  # noqa: PT011
        sandbox.open(path, flags)
    assert (folder.parent / "secret").read_bytes() == SECRET


@pytest.mark.parametrize(
    "path", [b"../created", b"way/created", b"dangling", b"inner/up/created", b"missing/created", b"link", b"fifo"]
)
def test_nothing_is_created_outside(sandbox: Sandbox, folder: Path, path: bytes) -> None:
    before = sorted(folder.parent.rglob("*"))
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    if path == b"../created":
        os.close(sandbox.open(path, flags))
        assert (folder / "created").exists()
    else:
        with pytest.raises(OSError):  # noqa: PT011
            sandbox.open(path, flags)
        assert sorted(folder.parent.rglob("*")) == before
    assert (folder.parent / "secret").read_bytes() == SECRET
    assert not (folder.parent / "created").exists()


def test_permissions_of_a_new_file(sandbox: Sandbox, folder: Path) -> None:
    mask = os.umask(0)
    try:
        os.close(sandbox.open(b"new", os.O_WRONLY | os.O_CREAT, 0o7640))
    finally:
        os.umask(mask)
    assert (folder / "new").stat().st_mode & 0o7777 == 0o640


def test_a_root_that_may_not_be_written(folder: Path) -> None:
    sandbox = Sandbox(folder, writable=False)
    assert read(sandbox, b"file") == b"content"
    for flags in (os.O_WRONLY, os.O_RDWR, os.O_CREAT, os.O_RDONLY | os.O_TRUNC, os.O_APPEND):
        with pytest.raises(OSError, match="Read-only"):
            sandbox.open(b"file", flags)
    assert (folder / "file").read_bytes() == b"content"
    sandbox.close()
    sandbox.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        sandbox.open(b"file", os.O_RDONLY)


def test_room(folder: Path) -> None:
    sandbox = Sandbox(folder, room=10_000)
    one = sandbox.open(b"one", os.O_WRONLY | os.O_CREAT)
    two = sandbox.open(b"two", os.O_WRONLY | os.O_CREAT)
    assert sandbox.room == 10_000 - 2 * 4096
    with pytest.raises(OSError, match="quota"):
        sandbox.open(b"three", os.O_WRONLY | os.O_CREAT)
    assert not (folder / "three").exists()
    assert sandbox.write(one, bytes(1800)) == 1800
    assert sandbox.write(two, bytes(1800)) == 8
    with pytest.raises(OSError, match="quota"):
        sandbox.write(two, b"x")
    assert sandbox.write(two, b"") == 0
    os.close(one)
    os.close(two)
    sandbox.close()


def test_the_root_is_looked_up_once(folder: Path) -> None:
    sandbox = Sandbox(folder)
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(folder.parent)
    with pytest.raises(FileNotFoundError):
        sandbox.open(b"secret", os.O_RDONLY)
    assert read(sandbox, b"file") == b"content"
    sandbox.close()


def test_a_folder_that_turns_into_a_link_while_it_is_opened(folder: Path, sandbox: Sandbox) -> None:
    """A second process exchanges a folder and a link to the outside all the time."""
    (folder.parent / "out").mkdir()
    (folder.parent / "out" / "deep").write_bytes(SECRET)
    (folder / "exchange").symlink_to("../out")
    done = threading.Event()

    def exchange() -> None:
        a, b, c = (os.fsencode(folder / name) for name in ("inner", "exchange", "third"))
        while not done.is_set():
            for source, target in ((a, c), (b, a), (a, b), (c, a)):
                os.rename(source, target)

    thread = threading.Thread(target=exchange)
    thread.start()
    found = set()
    try:
        for _ in range(3000):
            try:
                found.add(read(sandbox, b"inner/deep"))
            except OSError:
                found.add(b"")
    finally:
        done.set()
        thread.join()
    assert found <= {b"deep content", b""}


@pytest.mark.parametrize("name", ["missing", "file"])
def test_a_root_that_is_no_folder(folder: Path, name: str) -> None:
    with pytest.raises(PlatformError, match="name a folder that exists"):
        Sandbox(folder / name)
