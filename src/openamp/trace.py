"""Trace buffers: text that firmware writes into shared memory and the host reads at any time.

The resource table's trace entry names a buffer; the firmware writes characters, from the start again when it is
full. There is no write position in it: Linux shows the text up to the first NUL, and `TraceBuffer.text()` does the
same; `TraceBuffer.follow()` finds what is new by comparing with what was there before.
"""

from __future__ import annotations

from openamp.memory import MemoryMap
from openamp.resource_table import ResourceTable

__all__ = ["TraceBuffer", "find_traces"]

_BLOCK = 256
"""Bytes compared at once: trace buffers may be large, and little of them is new."""


class TraceBuffer:
    """One trace buffer.

    Args:
        name: from the resource table, or "trace0" and so on where it gives none.
        view: the shared bytes.
    """

    def __init__(self, name: str, view: memoryview) -> None:
        self.name = name
        self._view = view
        self._seen = bytes(view)
        self._position = 0

    def text(self) -> str:
        """Returns the text from the buffer's start to the first NUL, as Linux's debugfs shows it."""
        return bytes(self._view).split(b"\0", 1)[0].decode("utf-8", "replace")

    def follow(self) -> bytes:
        """Returns what was written since the last call; b"" when there is nothing new.

        Where the buffer went round more than once in between, what was overwritten is lost. A character written
        over an equal one at the very end of the news is reported with the next news.
        """
        new = bytes(self._view)
        old = self._seen
        if new == old:
            return b""
        self._seen = new
        size, start = len(new), self._position
        blocks = (range(at, min(at + _BLOCK, size)) for at in range(0, size, _BLOCK))
        differ = (block for block in blocks if new[block.start : block.stop] != old[block.start : block.stop])
        changed = [i for block in differ for i in block if new[i] != old[i]]
        behind = [i for i in changed if i >= start and new[i]]
        before = [i for i in changed if i < start and new[i]]
        if not behind and not before:
            return b""
        if not before:
            end = behind[-1] + 1
            news = new[start:end]
        else:
            end = before[-1] + 1
            news = new[start:] + new[:end]
        self._position = end % size
        return news.replace(b"\0", b"")


def find_traces(table: ResourceTable, memory: MemoryMap) -> tuple[TraceBuffer, ...]:
    """Returns the trace buffers that a table names, as far as they are in memory."""
    there = [trace for trace in table.traces if trace.len and memory.find(trace.da, trace.len) is not None]
    return tuple(
        TraceBuffer(trace.name or f"trace{i}", memory.view(trace.da, trace.len)) for i, trace in enumerate(there)
    )
