"""A host and a remote in one process; the remote turns messages round."""

from __future__ import annotations

import openamp
from openamp.platforms.loopback import LoopbackRemote


def firmware(link: LoopbackRemote) -> None:
    """The remote's program."""
    with openamp.serve(link) as bus, bus.create_endpoint("rpmsg-reverse") as endpoint:
        for message in endpoint:
            endpoint.send(message[::-1])


def main() -> None:
    """The host's program."""
    with openamp.open("loopback", remote=firmware) as rproc:
        rproc.boot()
        with rproc.create_endpoint("rpmsg-reverse") as endpoint:
            endpoint.send(b"hello")
            print(endpoint.receive(timeout=1.0))


if __name__ == "__main__":
    main()
