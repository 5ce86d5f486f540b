"""RPMsg on the wire: the header of every message and the name service announcement. All little-endian."""

from __future__ import annotations

from struct import Struct
from typing import Final, NamedTuple

from openamp.errors import RemoteProtocolError, RpmsgError

__all__ = [
    "ADDR_ANY",
    "DYNAMIC_MIN",
    "HEADER",
    "HEADER_SIZE",
    "NAME_MAX",
    "NAME_SERVICE",
    "NAME_SERVICE_SIZE",
    "NS_ADDR",
    "NS_DESTROY",
    "Header",
    "NameServiceMessage",
    "check_address",
    "encode_name",
]

ADDR_ANY: Final = 0xFFFFFFFF
"""No particular address: as `src` the bus chooses one, as `dst` whoever comes is meant (`RPMSG_ADDR_ANY`)."""

NS_ADDR: Final = 53
"""The address of the name service on both sides (`RPMSG_NS_ADDR`, `RPMSG_NS_EPT_ADDR`)."""

DYNAMIC_MIN: Final = 1024
"""The first address that is given out; the ones below are reserved for predefined services."""

NS_DESTROY: Final = 1
"""Flag bit of an announcement: the service goes away (`RPMSG_NS_DESTROY`); without it, it comes."""

NAME_MAX: Final = 32
"""The longest service name in bytes; a name of this length has no NUL."""


class Header(NamedTuple):
    """What precedes every payload: `struct rpmsg_hdr`, 16 bytes, little-endian.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 4 | src | the sender's address |
    | 4 | 4 | dst | the receiver's address |
    | 8 | 4 | reserved | 0 from us; the peer may keep something here, so it is never looked at |
    | 12 | 2 | length | the payload's length in bytes |
    | 14 | 2 | flags | 0; no flag is defined |
    """

    src: int
    dst: int
    reserved: int = 0
    length: int = 0
    flags: int = 0

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> Header:
        """Reads the header at the start of a buffer.

        Raises:
            RemoteProtocolError: when the buffer is shorter than a header.
        """
        if len(data) < HEADER_SIZE:
            raise RemoteProtocolError(
                f"a message of {len(data):#x} bytes is shorter than the {HEADER_SIZE}-byte RPMsg header; "
                f"look at the sender's buffer handling",
                value=len(data),
                clause="struct rpmsg_hdr",
            )
        return cls._make(HEADER.unpack_from(data))

    def build(self) -> bytes:
        """Returns the 16 bytes."""
        return HEADER.pack(*self)


HEADER: Final = Struct("<IIIHH")
HEADER_SIZE: Final = 16


class NameServiceMessage(NamedTuple):
    """An announcement that a service comes or goes: `struct rpmsg_ns_msg`, 40 bytes, little-endian, sent to `NS_ADDR`.

    | offset | size | field | meaning |
    |---|---|---|---|
    | 0 | 32 | name | ends at its first NUL with anything behind it, or fills all bytes with no NUL |
    | 32 | 4 | addr | the address that the service listens at |
    | 36 | 4 | flags | bit 0: it goes away (`NS_DESTROY`); other bits are ignored |
    """

    name: bytes
    addr: int
    flags: int = 0

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> NameServiceMessage:
        """Reads an announcement.

        Raises:
            RemoteProtocolError: when the payload has another length than 40.
        """
        if len(data) != NAME_SERVICE_SIZE:
            raise RemoteProtocolError(
                f"a name service message of {len(data):#x} bytes; it must have {NAME_SERVICE_SIZE:#x} "
                f"(is the remote built with acknowledged or extended announcements?)",
                value=len(data),
                clause="struct rpmsg_ns_msg",
            )
        name, addr, flags = NAME_SERVICE.unpack(data)
        return cls(name.partition(b"\0")[0], addr, flags)

    def build(self) -> bytes:
        """Returns the 40 bytes, the name padded with NULs."""
        return NAME_SERVICE.pack(*self)

    @property
    def destroy(self) -> bool:
        """The service goes away."""
        return bool(self.flags & NS_DESTROY)

    @property
    def text(self) -> str:
        r"""The name as text; bytes that are not UTF-8 appear as ``\xNN``, so that it can always be printed."""
        return self.name.decode("utf-8", "backslashreplace")


NAME_SERVICE: Final = Struct("<32sII")
NAME_SERVICE_SIZE: Final = 40


def encode_name(name: str) -> bytes:
    """Returns a service's name as it goes into an announcement.

    Raises:
        RpmsgError: when it is longer than 32 bytes of UTF-8 or has a NUL.
    """
    raw = name.encode("utf-8", "backslashreplace")
    if len(raw) > NAME_MAX or b"\0" in raw:
        raise RpmsgError(
            f"service name {name!r} has {len(raw)} bytes; give one of at most {NAME_MAX} bytes of UTF-8 without NUL"
        )
    return raw


def check_address(address: int, what: str) -> None:
    """Raises RpmsgError when a message cannot carry this address."""
    if not 0 <= address < ADDR_ANY:
        raise RpmsgError(f"{what} address {address:#x} is out of range; give one from 0 to {ADDR_ANY - 1:#x}")
