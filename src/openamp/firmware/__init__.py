"""Firmware images: ELF, raw binary, Intel HEX, Motorola S-record and what entry points add.

```python
image = load_image("echo.elf")
print(image, *image.warnings, sep="\\n")
image.load(memory)
```

The readers of the formats, and the libraries they use, are imported when the first image of that format is read.
"""

from __future__ import annotations

from openamp.firmware.image import (
    FirmwareFormat,
    FirmwareImage,
    ImageWarning,
    Segment,
    SegmentFlags,
    TableSection,
    format_names,
    load_image,
)
from openamp.firmware.machines import EM_AARCH64, EM_ARM, EM_RISCV, machine_name
from openamp.firmware.symbols import Symbol, SymbolKind

__all__ = [
    "EM_AARCH64",
    "EM_ARM",
    "EM_RISCV",
    "FirmwareFormat",
    "FirmwareImage",
    "ImageWarning",
    "Segment",
    "SegmentFlags",
    "Symbol",
    "SymbolKind",
    "TableSection",
    "format_names",
    "load_image",
    "machine_name",
]
