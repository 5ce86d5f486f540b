"""The emulated platform: real firmware on an emulated core in this process.

```python
with openamp.open("emulated", board="stm32mp157") as rproc:
    rproc.boot("echo.elf")
```

The engine (unicorn, an optional extra) is imported when the first core starts.
"""

from __future__ import annotations

from openamp.platforms.emulated.board import Board, boards_for, list_boards, load_board
from openamp.platforms.emulated.platform import EmulatedPlatform

__all__ = ["Board", "EmulatedPlatform", "boards_for", "list_boards", "load_board"]
