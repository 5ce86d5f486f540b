"""Two conversations with one firmware at once, with asyncio."""

from __future__ import annotations

import asyncio

from openamp import aio, images


async def talk(rproc: aio.AsyncRemoteProc, service: str, text: bytes) -> None:
    """Sends a few messages to one service and prints what comes back."""
    async with await rproc.create_endpoint(service) as endpoint:
        for i in range(3):
            await endpoint.send(b"%s %d" % (text, i))
            print(service, await endpoint.receive(timeout=1.0))


async def main() -> None:
    """Boots the firmware with several services and talks to two of them."""
    async with await aio.open("emulated", board="virt-m4") as rproc:
        await rproc.boot(images.path("services", "virt-m4"))
        await asyncio.gather(
            talk(rproc, "rpmsg-openamp-demo-channel", b"hello"),
            talk(rproc, "rpmsg-client-sample", b"hello world!"),
        )


if __name__ == "__main__":
    asyncio.run(main())
