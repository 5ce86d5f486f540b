"""Remote procedure calls byte by byte, as OpenAMP's C programs lay them out."""

from __future__ import annotations

import os
import re
import struct

import pytest

from openamp.errors import RemoteProtocolError
from openamp.rpc import flags as flags_module
from openamp.rpc.flags import FlagValues
from openamp.rpc.wire import (
    RETARGET,
    RPC,
    Answer,
    Call,
    Close,
    Dialect,
    Input,
    Malformed,
    Open,
    Read,
    Request,
    Terminate,
    Unknown,
    Write,
)

# What a C compiler makes of the demonstration's structures: char filename[10], two bytes of padding, two ints.
C_OPEN = struct.pack("<I10s2xii", 1, b"a.txt", 0x441, 0o600)
C_WRITE = struct.pack("<IiI300s", 3, 3, 5, b"hello")


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        (C_OPEN, Open(b"a.txt", 0x441, 0o600)),
        (struct.pack("<I12sii", 1, b"remote.file\0", 0, 0), Open(b"remote.file", 0, 0)),
        (struct.pack("<I10sii", 1, b"a.txt\0gar", 2, 3), Open(b"a.txt", 2, 3)),
        (struct.pack("<I12sii", 1, b"x" * 12, -1, -1), Open(b"x" * 12, -1, -1)),
        (struct.pack("<Ii", 2, 7), Close(7)),
        (C_WRITE, Write(3, b"hello")),
        (struct.pack("<IiI", 3, 1, 0), Write(1, b"")),
        (struct.pack("<IiI", 4, -5, 0xFFFFFFFF), Read(-5, 0xFFFFFFFF)),
        (struct.pack("<Ii", 6, 6), Terminate()),
        (struct.pack("<I", 6), Terminate()),
        (struct.pack("<II", 7, 50), Input(50)),
        (struct.pack("<I", 0), Unknown(0)),
        (struct.pack("<I", 5), Unknown(5)),
        (struct.pack("<II", 0x101, 1), Unknown(0x101)),
    ],
)
def test_requests_of_rpc(message: bytes, request_: Request) -> None:
    assert RPC.parse_request(message) == request_


@pytest.mark.parametrize(
    ("message", "request_"),
    [
        (struct.pack("<IiiI", 1, 0x441, 0o600, 6) + b"a.txt\0", Open(b"a.txt", 0x441, 0o600)),
        (struct.pack("<IiiI", 2, 3, 0, 0), Close(3)),
        (struct.pack("<IiiI", 3, 1, 5, 6) + b"hello\0", Write(1, b"hello")),
        (struct.pack("<IiiI", 4, 0, 1024, 0), Read(0, 1024)),
        (struct.pack("<IiiI", 6, 0, 0, 0), Terminate()),
        (struct.pack("<IiiI", 5, 0, 0, 0), Unknown(5)),
        (struct.pack("<IiiI", 7, 0, 0, 0), Unknown(7)),
    ],
)
def test_requests_of_the_proxy(message: bytes, request_: Request) -> None:
    assert RETARGET.parse_request(message) == request_


@pytest.mark.parametrize(
    ("dialect", "message", "call"),
    [
        (RPC, b"", None),
        (RPC, b"\1\0\0", None),
        (RPC, C_OPEN[:21], Call.OPEN),
        (RPC, struct.pack("<I", 2), Call.CLOSE),
        (RPC, struct.pack("<Ii", 3, 3), Call.WRITE),
        (RPC, struct.pack("<IiI", 3, 3, 5) + b"hell", Call.WRITE),
        (RPC, struct.pack("<IiI", 3, 3, 0xFFFFFFFF), Call.WRITE),
        (RPC, struct.pack("<Ii", 4, 3), Call.READ),
        (RPC, struct.pack("<IH", 7, 3), Call.INPUT),
        (RETARGET, b"init", None if False else Unknown),
        (RETARGET, struct.pack("<Iii", 1, 0, 0), Call.OPEN),
        (RETARGET, struct.pack("<IiiI", 3, 1, -1, 0), Call.WRITE),
        (RETARGET, struct.pack("<IiiI", 3, 1, 5, 5) + b"hell", Call.WRITE),
        (RETARGET, struct.pack("<IiiI", 4, 1, -1, 0), Call.READ),
    ],
)
def test_requests_that_make_no_sense(dialect: Dialect, message: bytes, call: Call | type | None) -> None:
    request = dialect.parse_request(message)
    if call is Unknown:
        assert isinstance(request, Unknown)
    else:
        assert isinstance(request, Malformed)
        assert request.call is call
        assert request.reason


def test_answers_of_rpc() -> None:
    assert RPC.build_answer(Call.OPEN, 3) == struct.pack("<Iii", 1, 0, 3)
    assert RPC.build_answer(Call.CLOSE, 0) == struct.pack("<Iii", 2, 0, 0)
    assert RPC.build_answer(Call.WRITE, -1) == struct.pack("<Iii", 3, 0, -1)
    assert RPC.build_answer(Call.READ, 5, b"hello") == struct.pack("<Iii", 4, 0, 5) + b"hello"
    assert RPC.build_answer(Call.INPUT, 3, b"bob") == struct.pack("<Iii", 7, 0, 3) + b"bob\0"
    assert RPC.build_unknown(0x99) == struct.pack("<Ii", 0x99, -1)


def test_answers_of_the_proxy() -> None:
    assert RETARGET.build_answer(Call.OPEN, 3) == struct.pack("<IiiI", 1, 3, 0, 0)
    assert RETARGET.build_answer(Call.READ, 5, b"hello") == struct.pack("<IiiI", 4, 5, 0, 5) + b"hello"
    assert RETARGET.build_unknown(9) == struct.pack("<IiiI", 9, -1, 0, 0)


@pytest.mark.parametrize("dialect", [RPC, RETARGET], ids=["rpc", "retarget"])
@pytest.mark.parametrize(
    "request_",
    [Open(b"name", 1, 2), Close(3), Write(1, b"abc"), Write(4, b""), Read(3, 100), Terminate(), Unknown(99)],
)
def test_what_is_built_is_parsed(dialect: Dialect, request_: Request) -> None:
    assert dialect.parse_request(dialect.build_request(request_)) == request_


def test_input_has_no_call_of_its_own_in_the_proxy() -> None:
    assert RETARGET.parse_request(RETARGET.build_request(Input(10))) == Read(0, 10)


@pytest.mark.parametrize("dialect", [RPC, RETARGET], ids=["rpc", "retarget"])
@pytest.mark.parametrize(
    ("call", "result", "data"), [(Call.OPEN, 3, b""), (Call.READ, 4, b"a\0bc"), (Call.WRITE, -1, b"")]
)
def test_answers_are_parsed(dialect: Dialect, call: Call, result: int, data: bytes) -> None:
    assert dialect.parse_answer(dialect.build_answer(call, result, data)) == Answer(call, True, result, data)


def test_what_the_c_server_sends() -> None:
    """It sends the id, the status, and the parameters but for their last four bytes."""
    assert RPC.parse_answer(struct.pack("<Ii", 1, 0)) == Answer(Call.OPEN, True, None, b"")
    read = struct.pack("<Iii", 4, 0, 5) + b"hello".ljust(296, b"\0")
    assert RPC.parse_answer(read).data[:5] == b"hello"
    typed = struct.pack("<Iii", 7, 0, 300) + b"bob\0garbage".ljust(296, b"\xff")
    assert RPC.parse_answer(typed) == Answer(Call.INPUT, True, 300, b"bob")


def test_refusals_are_parsed() -> None:
    assert RPC.parse_answer(RPC.build_unknown(5)).known is False
    assert RETARGET.parse_answer(RETARGET.build_unknown(5)).result == -1


@pytest.mark.parametrize("dialect", [RPC, RETARGET], ids=["rpc", "retarget"])
def test_an_answer_that_is_none(dialect: Dialect) -> None:
    with pytest.raises(RemoteProtocolError, match="an answer of 0x7 bytes"):
        dialect.parse_answer(bytes(7))


# -- flags -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "theirs", "ours"),
    [
        (FlagValues.LINUX, 0, os.O_RDONLY),
        (FlagValues.LINUX, 0o2101, os.O_WRONLY | os.O_CREAT | os.O_APPEND),  # the demonstration's
        (FlagValues.LINUX, 0o1302, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_TRUNC),
        (FlagValues.LINUX, 0o2000000 | 0o100000 | 0o4000 | 0o400, os.O_RDONLY),  # makes no difference
        (FlagValues.LINUX, 3, None),
        (FlagValues.LINUX, 0o200000, None),  # O_DIRECTORY
        (FlagValues.LINUX, 0o20200000, None),  # O_TMPFILE
        (FlagValues.LINUX, 0o10000000, None),  # O_PATH
        (FlagValues.LINUX, 0o40000, None),  # O_DIRECT
        (FlagValues.LINUX, -1, None),
        (FlagValues.NEWLIB, 0x209, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        (FlagValues.NEWLIB, 0xC01, os.O_WRONLY | os.O_TRUNC | os.O_EXCL),
        (FlagValues.NEWLIB, 0x40, None),
    ],
)
def test_flags_to_host(values: FlagValues, theirs: int, ours: int | None) -> None:
    assert values.to_host(theirs) == ours


@pytest.mark.parametrize("values", FlagValues)
def test_flags_go_round(values: FlagValues) -> None:
    for flags in (os.O_RDWR | os.O_CREAT | os.O_TRUNC, os.O_WRONLY | os.O_APPEND | os.O_EXCL, os.O_RDONLY):
        assert values.to_host(values.from_host(flags)) == flags


def test_the_table_of_flags() -> None:
    rows = re.findall(r"^\| (O_\w+) \| (0x\w+) \| (0x\w+) \|$", flags_module.__doc__ or "", re.MULTILINE)
    assert len(rows) == 4
    for name, linux, newlib in rows:
        assert FlagValues.LINUX.from_host(getattr(os, name)) == int(linux, 16)
        assert FlagValues.NEWLIB.from_host(getattr(os, name)) == int(newlib, 16)
