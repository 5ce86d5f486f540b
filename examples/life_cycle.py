"""The documented life cycle, step by step, host and remote in one process.

The host calls remoteproc_init, remoteproc_boot, remoteproc_shutdown and remoteproc_deinit; the remote, which is the
function `remote_main`, calls remoteproc_resource_init and remoteproc_resource_deinit.
"""

from __future__ import annotations

from typing import Any

from openamp import Endpoint, lcm
from openamp.platforms.loopback import LoopbackRemote

SERVICE = "rpmsg-openamp-demo-channel"
SHUTDOWN = (0xEF56A55A).to_bytes(4, "little")
ACKNOWLEDGE = b"shutdown acknowledged"


def remote_main(link: LoopbackRemote) -> int:
    """The remote application: echoes until it is told to shut down."""
    done = False

    def created(ept: Endpoint) -> None:
        print(f"remote: channel {ept.name} is established")

    def received(ept: Endpoint, data: bytes, length: int, src: int, priv: Any) -> None:
        nonlocal done
        if data == SHUTDOWN:
            print("remote: cleaning up")
            lcm.rpmsg_send(ept, ACKNOWLEDGE)
            done = True
        else:
            lcm.rpmsg_send(ept, data)

    context = lcm.remoteproc_resource_init(link, [SERVICE], created, None, received)
    while not done and not context.is_ended:
        lcm.platform_poll(context)
    lcm.remoteproc_resource_deinit(context)
    return 0


class HostApplication:
    """The host application: what its callbacks have seen."""

    def __init__(self) -> None:
        self.ept: Endpoint | None = None
        self.answers: list[bytes] = []

    def created(self, ept: Endpoint) -> None:
        print(f"host: channel {ept.name} at {ept.dst:#x} was announced")
        self.ept = ept

    def received(self, ept: Endpoint, data: bytes, length: int, src: int, priv: Any) -> None:
        self.answers.append(data)


def main() -> None:
    """The host's side of the life cycle."""
    host = HostApplication()
    rproc = lcm.remoteproc_init(None, "loopback", host.created, None, host.received, remote=remote_main)
    lcm.remoteproc_boot(rproc)
    while host.ept is None:
        lcm.platform_poll(rproc, timeout=5.0)
    lcm.rpmsg_send(host.ept, b"hello")
    while not host.answers:
        lcm.platform_poll(rproc, timeout=5.0)
    print(f"host: the remote answered {host.answers[0]!r}")
    lcm.rpmsg_send(host.ept, SHUTDOWN)
    while ACKNOWLEDGE not in host.answers:
        lcm.platform_poll(rproc, timeout=5.0)
    print("host: the remote acknowledged the shutdown")
    lcm.remoteproc_shutdown(rproc).wait()
    lcm.remoteproc_deinit(rproc)
    print(f"host: the remote processor is {rproc.state.value}")


if __name__ == "__main__":
    main()
