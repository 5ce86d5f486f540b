from __future__ import annotations

from openamp.trace import TraceBuffer


class Writer:
    """A firmware's circular trace."""

    def __init__(self, size: int) -> None:
        self.data = bytearray(size)
        self.at = 0

    def write(self, text: bytes) -> None:
        for byte in text:
            self.data[self.at] = byte
            self.at = (self.at + 1) % len(self.data)


def test_text_ends_at_the_first_nul() -> None:
    assert TraceBuffer("t", memoryview(bytearray(b"hello\nworld\0old"))).text() == "hello\nworld"


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert TraceBuffer("t", memoryview(bytearray(b"\xff\xfe!\0"))).text().endswith("!")


def test_follow_gives_each_news_once() -> None:
    writer = Writer(64)
    buffer = TraceBuffer("t", memoryview(writer.data))
    assert buffer.follow() == b""
    writer.write(b"one\n")
    assert buffer.follow() == b"one\n"
    assert buffer.follow() == b""
    writer.write(b"two\n")
    writer.write(b"three\n")
    assert buffer.follow() == b"two\nthree\n"


def test_follow_goes_round_with_the_writer() -> None:
    writer = Writer(16)
    buffer = TraceBuffer("t", memoryview(writer.data))
    seen = b""
    for i in range(40):
        writer.write(b"%c-%d;" % (65 + i % 26, i))
        seen += buffer.follow()
    writer.write(b"#")
    seen += buffer.follow()
    expected = b"".join(b"%c-%d;" % (65 + i % 26, i) for i in range(40)) + b"#"
    assert seen == expected


def test_what_was_there_before_is_not_news() -> None:
    buffer = TraceBuffer("t", memoryview(bytearray(b"old boot\0" + bytes(20))))
    assert buffer.follow() == b""
