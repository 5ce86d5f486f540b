"""OpenAMP's samples, each as a function for the host's side and one for the remote's.

They know nothing of platforms: a bus is all they need. Both sides are wire-compatible with the C programs of the same
name.

```python
with openamp.open("emulated", board="virt-m4") as rproc:
    rproc.boot(images.path("echo", "virt-m4"))
    print(samples.echo.host(rproc.bus))
```
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from openamp.rpc import RETARGET
from openamp.samples import echo, flood, matrix, nocopy, ping, rpc, services
from openamp.samples.common import Mismatch, Result, Served

__all__ = [
    "SAMPLES",
    "Mismatch",
    "Result",
    "Sample",
    "Served",
    "echo",
    "flood",
    "matrix",
    "nocopy",
    "ping",
    "rpc",
    "services",
]


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample by name.

    Attributes:
        name: what the command calls it.
        summary: one line.
        host: the host's side, called with its bus and options by keyword.
        remote: the remote's side, the same.
        firmware: the application of ours that is its remote on an emulated board, "" for none.
    """

    name: str
    summary: str
    host: Callable[..., Result]
    remote: Callable[..., Served]
    firmware: str = ""


SAMPLES = {
    sample.name: sample
    for sample in (
        Sample("echo", "every size comes back unchanged", echo.host, echo.remote, "echo"),
        Sample("ping", "Linux's sample client: a hundred greetings", ping.host, ping.remote, "services"),
        Sample("nocopy", "the echo test in the shared buffers themselves", nocopy.host, nocopy.remote, "echo"),
        Sample("matrix", "the remote multiplies matrices", matrix.host, matrix.remote, "matrix"),
        Sample("flood", "as many numbered messages as the buffers take", flood.host, flood.remote, "echo"),
        Sample("services", "several services at a time", services.host, services.remote, "services"),
        Sample("rpc", "the remote uses the host's files and console", rpc.host, rpc.remote),
        Sample(
            "proxy",
            "the same with the older protocol",
            partial(rpc.host, dialect=RETARGET),
            partial(rpc.remote, dialect=RETARGET),
        ),
    )
}
"""All samples by name."""
