"""The asyncio face over a process link, over an emulated core and over loopback."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

import openamp
from openamp import aio, images
from openamp.errors import ClosedError, HostShutdown, MessageTooLongError, NotBoundError, RemoteCrashed, TimeoutExpired
from openamp.remoteproc import State

SERVICE = "rpmsg-openamp-demo-channel"
SRC = str(Path(openamp.__file__).parents[1])
ECHO = Path(__file__).parents[2] / "examples" / "remote_echo.py"


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(30):
            await main()

    asyncio.run(bounded())


async def launched() -> aio.AsyncRemoteProc:
    rproc = await aio.open("process", env={"PYTHONPATH": SRC})
    await rproc.boot(str(ECHO))
    return rproc


def test_echo_with_a_process() -> None:
    async def main() -> None:
        async with await launched() as rproc, await rproc.create_endpoint(SERVICE) as endpoint:
            for size in range(1, 497, 5):
                await endpoint.send(bytes(size))
                assert await endpoint.receive(timeout=5) == bytes(size)
        assert rproc.state is State.STOPPED

    run(main)


def test_echo_with_an_emulated_core_while_other_tasks_run() -> None:
    async def main() -> None:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        ticker = asyncio.create_task(tick())
        async with await aio.open("emulated", board="virt-m4") as rproc:
            await rproc.boot(images.path("echo", "virt-m4"))
            async with await rproc.create_endpoint(SERVICE) as endpoint:
                for size in range(1, 497, 20):
                    await endpoint.send(bytes(size))
                    assert await endpoint.receive(timeout=5) == bytes(size)
        ticker.cancel()
        assert ticks > 10

    run(main)


def test_host_and_remote_in_one_loop() -> None:
    async def remote() -> list[bytes]:
        got = []
        bus = await aio.serve("process", name="aio", timeout=10)
        async with bus, await bus.create_endpoint(SERVICE) as endpoint:
            async for message in endpoint:
                got.append(message)
                await endpoint.send(message[::-1])
        return got

    async def main() -> None:
        serving = asyncio.create_task(remote())
        async with await aio.open("process", name="aio") as rproc:
            await rproc.boot()
            async with await rproc.create_endpoint(SERVICE) as endpoint:
                for i in range(300):
                    await endpoint.send(b"a%d" % i)
                for i in range(300):
                    assert await endpoint.receive(timeout=5) == (b"a%d" % i)[::-1]
        assert await serving == [b"a%d" % i for i in range(300)]

    run(main)


def test_many_tasks_on_one_link() -> None:
    async def main() -> None:
        async with await aio.open("process", name="many") as rproc:
            await rproc.boot()
            serving = asyncio.create_task(aio.serve("process", name="many", timeout=10))

            async def talk(number: int) -> None:
                ours = await rproc.create_endpoint(f"svc{number}")
                for i in range(50):
                    await ours.send(b"%d" % i)
                    assert await ours.receive(timeout=10) == b"%d.%d" % (number, i)

            async def answer(bus: aio.AsyncBus, number: int) -> None:
                theirs = await bus.create_endpoint(f"svc{number}")
                async for message in theirs:
                    await theirs.send(b"%d.%s" % (number, message))

            async def serve_all() -> None:
                bus = await serving
                answers = [asyncio.create_task(answer(bus, n)) for n in range(8)]
                try:
                    await asyncio.gather(*answers)
                finally:
                    bus.close()

            server = asyncio.create_task(serve_all())
            await asyncio.gather(*(talk(n) for n in range(8)))
        with pytest.raises(HostShutdown):
            await server

    run(main)


def test_a_cancelled_receive_loses_no_message() -> None:
    async def main() -> None:
        async with await launched() as rproc, await rproc.create_endpoint(SERVICE) as endpoint:
            got = []
            sent = 0
            while sent < 300:
                receiving = asyncio.create_task(endpoint.receive())
                for _ in range(3):
                    await endpoint.send(b"%d" % sent)
                    sent += 1
                await asyncio.sleep(0)
                receiving.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    got.append(await receiving)
            while len(got) < sent:
                got += await endpoint.receive_many(timeout=5)
            assert got == [b"%d" % i for i in range(sent)]

    run(main)


def test_a_cancelled_send_is_not_sent_and_the_order_stays(tmp_path: Path) -> None:
    async def main() -> None:
        async with await aio.open("process", name="full") as rproc:
            await rproc.boot()
            serving = asyncio.create_task(aio.serve("process", name="full", timeout=10))
            ours_task = asyncio.create_task(rproc.create_endpoint("svc"))
            bus = await serving
            theirs = await bus.create_endpoint("svc")
            ours = await ours_task
            bus._reader.unwatch()  # the remote looks away, so the buffers run out
            waiting = [asyncio.create_task(ours.send(b"%d" % i)) for i in range(600)]
            await asyncio.sleep(0.05)
            stuck = [task for task in waiting if not task.done()]
            assert stuck
            stuck[5].cancel()
            await asyncio.sleep(0)
            got: list[bytes] = []
            while len(got) < 599:
                got += await theirs.receive_many(timeout=5)
            cancelled = waiting.index(stuck[5])
            assert got == [b"%d" % i for i in range(600) if i != cancelled]
            await asyncio.gather(*waiting, return_exceptions=True)
            bus.close()

    run(main)


def test_the_remotes_death_reaches_every_task() -> None:
    async def main() -> None:
        async with await launched() as rproc:
            endpoint = await rproc.create_endpoint(SERVICE)
            tasks = [asyncio.create_task(endpoint.receive()) for _ in range(3)]
            await asyncio.sleep(0.01)
            os.kill(rproc.sync.platform._program.pid, signal.SIGKILL)  # type: ignore[attr-defined]
            killed = time.monotonic()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(end, RemoteCrashed) for end in ends)
            assert time.monotonic() - killed < 1
            await rproc.recover()
            async with await rproc.create_endpoint(SERVICE) as again:
                await again.send(b"x")
                assert await again.receive(timeout=5) == b"x"

    run(main)


def test_timeouts_and_wrong_use() -> None:
    async def main() -> None:
        async with await launched() as rproc:
            endpoint = await rproc.create_endpoint(SERVICE)
            with pytest.raises(TimeoutExpired, match="no message"):
                await endpoint.receive(timeout=0.02)
            with pytest.raises(TimeoutExpired, match="announced channels"):
                await rproc.create_endpoint("nobody", timeout=0.02)
            with pytest.raises(MessageTooLongError):
                await endpoint.send(bytes(497))
            unbound = await rproc.bus.create_endpoint(src=77)
            with pytest.raises(NotBoundError):
                await unbound.send(b"x")
            endpoint.close()
            with pytest.raises(ClosedError):
                await endpoint.receive()
        with pytest.raises(TimeoutExpired):
            await aio.serve("process", name="nobody", timeout=0.05)

    run(main)


def test_an_idle_link_costs_no_cpu() -> None:
    async def main() -> None:
        async with await launched() as rproc, await rproc.create_endpoint(SERVICE) as endpoint:
            used = time.process_time()
            with pytest.raises(TimeoutExpired):
                await endpoint.receive(timeout=0.5)
            assert time.process_time() - used < 0.1

    run(main)


def test_callbacks_run_in_the_loop_and_what_they_raise_comes_out() -> None:
    async def main() -> None:
        async with await launched() as rproc:
            seen: list[bytes] = []

            def callback(endpoint: openamp.Endpoint, data: bytes, src: int) -> None:
                seen.append(data)
                if data == b"bad":
                    raise ValueError("in the callback")

            endpoint = await rproc.bus.create_endpoint(SERVICE, callback=callback)
            await endpoint.send(b"good")
            while not seen:
                await rproc.wait(timeout=0.05)
            with pytest.raises(ValueError, match="in the callback"):
                await endpoint.send(b"bad")
                await rproc.wait(timeout=5)
            await endpoint.send(b"good")
            await rproc.wait(timeout=0.2)
            assert seen == [b"good", b"bad", b"good"]

    run(main)
