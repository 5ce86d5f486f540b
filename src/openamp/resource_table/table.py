"""A resource table as data: parse and build."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from struct import Struct, unpack_from
from struct import error as StructError

from openamp.errors import ResourceTableError
from openamp.firmware import ImageWarning
from openamp.resource_table.entries import (
    ADDR_ANY,
    CARVEOUT,
    DEVMEM,
    HEADER,
    NAME_SIZE,
    TRACE,
    VDEV,
    VDEV_ID_RPMSG,
    VENDOR_TYPES,
    VRING,
    WORD,
    ByteOrder,
    Carveout,
    Devmem,
    Entry,
    Header,
    Opaque,
    Trace,
    Vdev,
    Vring,
    entry_size,
    ordered,
)

__all__ = ["ResourceTable", "rpmsg_table"]

_NAMED: dict[int, tuple[type[Carveout] | type[Devmem] | type[Trace], Struct]] = {
    0: (Carveout, CARVEOUT),
    1: (Devmem, DEVMEM),
    2: (Trace, TRACE),
}

MAX_ENTRIES = 0x10000
"""Real tables have up to 18; so many that decoding takes seconds are garbage."""

MAX_SIZE = 1 << 24


@dataclass(frozen=True, slots=True)
class ResourceTable:
    """A resource table as data.

    Two tables are equal when their entries, layout and byte order are.

    Args:
        entries: the entries, in the table's order.
        offsets: each entry's offset from the table's start. Left out, the entries are laid out one after the other;
            opaque ones whose length is no multiple of four come last in memory, so that only they can be misaligned.
        size: length of the table in bytes; at least what the entries need.
        byte_order: "little" or "big".
        version: 1; 0 stands for a table without content (all bytes zero, or none).
        warnings: what `parse` found odd.
        original: the bytes that `parse` was given. `build` gives them back as long as the table is as parsed.

    Raises:
        ResourceTableError: when the entries do not fit their offsets, or overlap.
    """

    entries: tuple[Entry, ...] = ()
    offsets: tuple[int, ...] = ()
    size: int = 0
    byte_order: ByteOrder = "little"
    version: int = 1
    warnings: tuple[ImageWarning, ...] = field(default=(), compare=False)
    original: bytes = field(default=b"", compare=False, repr=False)

    def __post_init__(self) -> None:
        entries = tuple(self.entries)
        object.__setattr__(self, "entries", entries)
        if not self.version:
            if entries:
                raise ResourceTableError("a resource table of version 0 has no entries; use version 1", value=0)
            return
        if not self.offsets:
            object.__setattr__(self, "offsets", _layout(entries))
        elif len(self.offsets) != len(entries):
            raise ResourceTableError(
                f"{len(entries)} entries but {len(self.offsets)} offsets; give one offset for each entry, or none",
                value=len(self.offsets),
            )
        used = max((at + entry_size(e) for at, e in zip(self.offsets, entries, strict=True)), default=0)
        size = max(self.size, used, HEADER.size + 4 * len(entries))
        if size > MAX_SIZE:
            raise ResourceTableError(
                f"a resource table of {size:#x} bytes; {MAX_SIZE:#x} is the limit: correct the offsets or the size",
                value=size,
            )
        object.__setattr__(self, "size", size)

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview, byte_order: ByteOrder = "little") -> ResourceTable:
        """Decodes a table.

        Args:
            data: the whole table, for instance the image's `.resource_table` section.
            byte_order: the remote's byte order.

        Returns:
            The table; oddities that real firmware has are in its `warnings`.

        Raises:
            ResourceTableError: when the table is broken; names the offset and the value.
        """
        original = bytes(data)
        if not original.strip(b"\0"):
            code, what = ("table-all-zero", "has only zero bytes") if original else ("table-zero-length", "is empty")
            warning = ImageWarning(code, f"the resource table {what}; it is taken as absent", 0, None)
            return cls(size=len(original), byte_order=byte_order, version=0, warnings=(warning,), original=original)
        return _Parser(original, byte_order).table()

    def build(self) -> bytes:
        """Encodes the table; `parse` of the result gives an equal table.

        A table as parsed gives the very bytes it was parsed from, whatever lies in gaps and behind names. One that was
        changed (with `dataclasses.replace`) is built anew, with zeros where no entry lies.

        Raises:
            ResourceTableError: when a field's value does not fit, or two entries overlap.
        """
        if not self.version:
            return bytes(self.size)
        if self.original and self == ResourceTable.parse(self.original, self.byte_order):
            return self.original
        order = self.byte_order
        image = bytearray(self.size)
        image[: HEADER.size] = _pack(HEADER, order, Header(self.version, len(self.entries)), "the header")
        taken = HEADER.size + 4 * len(self.entries)
        for at, i in sorted((at, i) for i, at in enumerate(self.offsets)):
            data = _build_entry(self.entries[i], f"entry {i} ({_kind(self.entries[i])})", order)
            if at < taken:
                raise ResourceTableError(
                    f"entry {i} at offset {at:#x} overlaps what ends at {taken:#x}; leave out the offsets to have the "
                    f"entries laid out anew",
                    offset=HEADER.size + 4 * i,
                    value=at,
                )
            taken = at + len(data)
            image[at:taken] = data
            slot = HEADER.size + 4 * i
            image[slot : slot + 4] = ordered(WORD, order).pack(at)
        return bytes(image)

    @property
    def vdevs(self) -> tuple[Vdev, ...]:
        """The virtio devices."""
        return tuple(e for e in self.entries if isinstance(e, Vdev))

    @property
    def carveouts(self) -> tuple[Carveout, ...]:
        """The carve-outs."""
        return tuple(e for e in self.entries if isinstance(e, Carveout))

    @property
    def traces(self) -> tuple[Trace, ...]:
        """The trace buffers."""
        return tuple(e for e in self.entries if isinstance(e, Trace))


def rpmsg_table(
    *,
    num: int = 256,
    align: int = 0x1000,
    vring_da: tuple[int, int] = (ADDR_ANY, ADDR_ANY),
    notifyids: tuple[int, int] = (0, 1),
    notifyid: int = 0,
    dfeatures: int = 1,
    config: bytes = b"",
    entries: Iterable[Entry] = (),
    byte_order: ByteOrder = "little",
) -> ResourceTable:
    """Returns the usual table of an RPMsg remote: one virtio device with two vrings.

    Args:
        num: descriptors of each vring.
        align: alignment of the used rings.
        vring_da: addresses of the rings, remote-to-host first.
        notifyids: notify ids of the rings, remote-to-host first.
        notifyid: the device's own.
        dfeatures: what the remote offers; by default bit 0, the name service.
        config: the device's config space.
        entries: further entries (carve-outs, trace), before the device.
        byte_order: the remote's.
    """
    vrings = tuple(Vring(da, align, num, nid) for da, nid in zip(vring_da, notifyids, strict=True))
    vdev = Vdev(VDEV_ID_RPMSG, notifyid, dfeatures, vrings=vrings, config=config)
    return ResourceTable((*entries, vdev), byte_order=byte_order)


def _kind(entry: Entry) -> str:
    return f"type {entry.type}" if isinstance(entry, Opaque) else type(entry).__name__.lower()


def _layout(entries: Sequence[Entry]) -> tuple[int, ...]:
    offsets = [0] * len(entries)
    at = HEADER.size + 4 * len(entries)
    for i in sorted(range(len(entries)), key=lambda i: entry_size(entries[i]) % 4 != 0):
        offsets[i] = at
        at += entry_size(entries[i])
    return tuple(offsets)


# Building


def _pack(layout: Struct, order: ByteOrder, values: Sequence[int | bytes], where: str) -> bytes:
    try:
        return ordered(layout, order).pack(*values)
    except StructError:
        bad = next((v for v in values if isinstance(v, int) and not 0 <= v <= 0xFFFFFFFF), None)
        if bad is None:
            bad = next((v for v in values if isinstance(v, int) and v > 0xFF), None)
        raise ResourceTableError(
            f"a value in {where} does not fit its field: {values!r}; addresses and ids have 32 bits, status has 8",
            value=bad,
        ) from None


def _build_entry(entry: Entry, where: str, order: ByteOrder) -> bytes:
    match entry:
        case Opaque():
            if entry.type in _NAMED or entry.type == 3:
                raise ResourceTableError(
                    f"{where} is opaque but of a type that is known; use Carveout, Devmem, Trace or Vdev",
                    value=entry.type,
                )
            return _pack(WORD, order, (entry.type,), where) + bytes(entry.data)
        case Vdev():
            if len(entry.vrings) > 0xFF or len(entry.reserved) != 2:
                raise ResourceTableError(
                    f"{where} has {len(entry.vrings)} vrings and {len(entry.reserved)} reserved bytes; "
                    f"at most 255 vrings and exactly 2 reserved bytes fit",
                    value=len(entry.vrings),
                )
            head = (3, *entry[:4], len(entry.config), entry.status, len(entry.vrings), entry.reserved)
            vrings = (_pack(VRING, order, vring, f"a vring of {where}") for vring in entry.vrings)
            return _pack(VDEV, order, head, where) + b"".join(vrings) + bytes(entry.config)
        case _:
            kind = next(kind for kind, (record, _) in _NAMED.items() if isinstance(entry, record))
            return _pack(_NAMED[kind][1], order, (kind, *entry[:-1], _encode_name(entry.name, where)), where)


def _encode_name(name: str, where: str) -> bytes:
    try:
        data = name.encode()
    except UnicodeEncodeError:
        data = b"\0"
    if len(data) > NAME_SIZE or 0 in data:
        raise ResourceTableError(
            f"the name {name!r} of {where} does not fit; it may have {NAME_SIZE} bytes of UTF-8 and no NUL",
            value=len(data),
        )
    return data.ljust(NAME_SIZE, b"\0")


# Parsing


class _Parser:
    """Decodes one table; every number in it is hostile until checked against the bytes that are there."""

    def __init__(self, data: bytes, order: ByteOrder) -> None:
        self.data = data
        self.order: ByteOrder = order
        self.warnings: list[ImageWarning] = []
        self.covered = 0

    def warn(self, code: str, message: str, offset: int, value: int | None = None) -> None:
        self.warnings.append(ImageWarning(code, message, offset, value))

    def table(self) -> ResourceTable:
        offsets = self.offsets()
        starts = sorted({*offsets, len(self.data)})
        entries, end = [], HEADER.size + 4 * len(offsets)
        seen: set[int] = set()
        for i, at in enumerate(offsets):
            limit = starts[bisect_right(starts, at)]
            entry = self.entry(i, at, limit)
            used = entry_size(entry)
            self.covered += used
            if at + used > limit or at in seen:
                other = at if at in seen else limit
                self.warn("overlapping-entries", f"entry {i} at {at:#x} overlaps the one at {other:#x}", at, other)
            seen.add(at)
            if self.covered > 4 * len(self.data):
                raise ResourceTableError(
                    f"entry {i} at offset {at:#x} brings the entries to {self.covered:#x} bytes in a resource table of "
                    f"{len(self.data):#x}; they overlap: correct the offsets",
                    offset=HEADER.size + 4 * i,
                    value=at,
                )
            end = max(end, at + (4 if isinstance(entry, Opaque) else used))
            entries.append(entry)
        self.check_gap(offsets)
        self.check_tail(end)
        self.check_notifyids(entries, offsets)
        return ResourceTable(tuple(entries), offsets, len(self.data), self.order, 1, tuple(self.warnings), self.data)

    def offsets(self) -> tuple[int, ...]:
        """Decodes the header and the offsets, all of which point to at least a type word behind them."""
        data = self.data
        if len(data) < HEADER.size:
            raise ResourceTableError(
                f"the resource table has {len(data)} bytes, its header alone has {HEADER.size}; "
                f"check the section's size in the linker script",
                offset=0,
                value=len(data),
            )
        version, num, *reserved = Header._make(ordered(HEADER, self.order).unpack_from(data))
        if version != 1:
            hint = (
                "these are the bytes of the other byte order: correct the image's, or pass byte_order="
                if version == 0x01000000
                else "only version 1 is defined: correct `ver`, or the section, if this is no resource table"
            )
            raise ResourceTableError(
                f"the resource table's version at offset 0x0 is {version:#x}; {hint}", offset=0, value=version
            )
        if any(reserved):
            self.warn("reserved-not-zero", "the header's reserved words are not zero; Linux refuses such a table", 8)
        first = HEADER.size + 4 * num
        if first > len(data) or num > MAX_ENTRIES:
            raise ResourceTableError(
                f"the number of entries at offset 0x4 is {num:#x}, which takes {first:#x} bytes for the offsets alone; "
                f"the resource table has {len(data):#x} (and {MAX_ENTRIES:#x} entries at most): correct `num` or the "
                f"section's size",
                offset=4,
                value=num,
            )
        prefix = "<" if self.order == "little" else ">"
        offsets: tuple[int, ...] = unpack_from(f"{prefix}{num}I", data, HEADER.size)
        if offsets and not first <= min(offsets) <= max(offsets) <= len(data) - 4:
            i = next(i for i, at in enumerate(offsets) if not first <= at <= len(data) - 4)
            raise ResourceTableError(
                f"entry {i} is said to start at offset {offsets[i]:#x}, outside the resource table's "
                f"{first:#x}..{len(data):#x}; correct offset[{i}] or `num`",
                offset=HEADER.size + 4 * i,
                value=offsets[i],
            )
        return offsets

    def entry(self, index: int, at: int, limit: int) -> Entry:
        (kind,) = ordered(WORD, self.order).unpack_from(self.data, at)
        if kind in _NAMED:
            record, layout = _NAMED[kind]
            self.need(index, record.__name__.lower(), at, layout.size)
            _, *numbers, name = ordered(layout, self.order).unpack_from(self.data, at)
            return record._make((*numbers, _decode_name(name)))
        if kind == 3:
            return self.vdev(index, at)
        if kind not in VENDOR_TYPES and kind not in (4, 5):
            self.warn(
                "unknown-entry-type", f"entry {index} has the unknown type {kind:#x}; it is kept as bytes", at, kind
            )
        return Opaque(kind, self.data[at + 4 : limit])

    def vdev(self, index: int, at: int) -> Vdev:
        self.need(index, "vdev", at, VDEV.size)
        layout = ordered(VDEV, self.order)
        _, device, nid, dfeatures, gfeatures, config_len, status, num, reserved = layout.unpack_from(self.data, at)
        config_at = at + VDEV.size + VRING.size * num
        self.need(
            index, f"vdev with {num} vrings and {config_len:#x} bytes of config space", at, config_at - at + config_len
        )
        raw = self.data[at + VDEV.size : config_at]
        vrings = tuple(Vring(*words) for words in ordered(VRING, self.order).iter_unpack(raw))
        config = self.data[config_at : config_at + config_len]
        return Vdev(device, nid, dfeatures, gfeatures, status, vrings, config, reserved)

    def need(self, index: int, what: str, at: int, size: int) -> None:
        if at + size > len(self.data):
            raise ResourceTableError(
                f"entry {index}, a {what} at offset {at:#x}, takes {size:#x} bytes and ends behind the resource "
                f"table's {len(self.data):#x}; the table is truncated or the entry's counts are wrong",
                offset=at,
                value=size,
            )

    def check_gap(self, offsets: tuple[int, ...]) -> None:
        """Between the offsets in use and the first entry: zero padding, or unused slots with stale offsets."""
        start = HEADER.size + 4 * len(offsets)
        gap = self.data[start : min(offsets, default=len(self.data))]
        if gap.strip(b"\0"):
            at = start + (len(gap) - len(gap.lstrip(b"\0"))) // 4 * 4
            value = int.from_bytes(self.data[at : at + 4], self.order)
            text = f"num is {len(offsets)}, but the bytes behind the offsets in use are not zero (unused slots?)"
            self.warn("stale-offsets", text, at, value)

    def check_tail(self, end: int) -> None:
        """Behind the last entry: zeros, or another complete table that nobody will read."""
        data = self.data
        mark = (1).to_bytes(4, self.order)
        at = data.find(mark, end, len(data) - HEADER.size)
        while at >= 0:
            _, num, *reserved = ordered(HEADER, self.order).unpack_from(data, at)
            (first,) = ordered(WORD, self.order).unpack_from(data, at + HEADER.size)
            if num and not any(reserved) and HEADER.size + 4 * num <= first <= len(data) - at - 4:
                self.warn("second-table", f"a second table begins at {at:#x}; only the first is used", at, num)
                return
            at = data.find(mark, at + 4, len(data) - HEADER.size)

    def check_notifyids(self, entries: list[Entry], offsets: tuple[int, ...]) -> None:
        seen: set[int] = set()
        for at, entry in zip(offsets, entries, strict=True):
            for i, vring in enumerate(entry.vrings if isinstance(entry, Vdev) else ()):
                if vring.notifyid in seen:
                    where = at + VDEV.size + VRING.size * i + 12
                    text = f"vring {i} at {where - 12:#x} repeats the notify id {vring.notifyid:#x}"
                    self.warn("duplicate-notifyid", f"{text}; the host allots another", where, vring.notifyid)
                if vring.notifyid != ADDR_ANY:
                    seen.add(vring.notifyid)


def _decode_name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
