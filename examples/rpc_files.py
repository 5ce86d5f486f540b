"""A remote that uses files and the console of its host; both in one process."""

from __future__ import annotations

import tempfile

import openamp
from openamp.platforms.loopback import LoopbackRemote
from openamp.rpc import RpcClient, RpcServer


def firmware(link: LoopbackRemote) -> None:
    """The remote's program."""
    with openamp.serve(link) as bus, RpcClient(bus) as host:
        with host.open("log.txt", "w") as file:
            for number in range(3):
                print("measurement", number, file=file)
        with host.open("log.txt") as file:
            print(f"the host keeps {len(file.readlines())} measurements", file=host.stdout)


def main() -> None:
    """The host's program."""
    with tempfile.TemporaryDirectory() as folder, openamp.open("loopback", remote=firmware) as rproc:
        rproc.boot()
        with RpcServer(rproc.bus, folder) as server:
            server.run(timeout=5.0)
            print(server.statistics().num_bytes_written, "bytes were written")


if __name__ == "__main__":
    main()
