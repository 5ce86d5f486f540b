"""Any header and announcement survive a round trip; any bytes give a value or an OpenAMPError."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openamp.errors import OpenAMPError
from openamp.rpmsg.wire import Header, NameServiceMessage, encode_name

U32 = st.integers(0, 0xFFFFFFFF)
U16 = st.integers(0, 0xFFFF)


@given(st.builds(Header, U32, U32, U32, U16, U16))
def test_header_round_trip(header: Header) -> None:
    assert Header.parse(header.build()) == header


@given(st.builds(NameServiceMessage, st.binary(max_size=32).filter(lambda name: 0 not in name), U32, U32))
def test_announcement_round_trip(message: NameServiceMessage) -> None:
    assert NameServiceMessage.parse(message.build()) == message


@given(st.binary(max_size=64))
def test_any_bytes(data: bytes) -> None:
    for parse in (Header.parse, NameServiceMessage.parse):
        try:
            record = parse(data)
        except OpenAMPError:
            continue
        assert len(record.build()) <= len(data)
        if isinstance(record, NameServiceMessage):
            record.text.encode()


@given(st.text(max_size=40))
def test_any_name(name: str) -> None:
    try:
        raw = encode_name(name)
    except OpenAMPError:
        return
    assert NameServiceMessage.parse(NameServiceMessage(raw, 1).build()).name == raw
    if all(not 0xD800 <= ord(c) < 0xE000 for c in name):
        assert NameServiceMessage(raw, 1).text == name
