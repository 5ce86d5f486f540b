"""Raw binaries: bytes without any header, so their address has to be said."""

from __future__ import annotations

from openamp.errors import ImageError
from openamp.firmware.image import FirmwareImage, Segment

__all__ = ["RawFormat"]


class RawFormat:
    """A raw binary: one segment at the address given as `base`."""

    name = "raw"

    def matches(self, data: memoryview) -> bool:
        """Returns False: any bytes can be a raw binary, none can be told to be one."""
        return False

    def parse(self, data: memoryview, name: str, *, base: int | None = None) -> FirmwareImage:
        """Makes an image of one segment.

        Raises:
            ImageError: without `base`, with one below 0, or without any bytes.
        """
        if base is None:
            raise ImageError(f"{name}: a raw binary does not say where it belongs; give base=<load address>")
        if base < 0:
            raise ImageError(f"{name}: the load address {base:#x} is below 0; give base=<load address>", value=base)
        if not data:
            raise ImageError(f"{name}: the raw binary is empty; build the firmware again", offset=0, value=0)
        segment = Segment(base, len(data), data, base, offset=0, name=f"{name} (raw)")
        return FirmwareImage([segment], name=name, format="raw")
