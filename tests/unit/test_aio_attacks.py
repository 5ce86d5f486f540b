"""The asyncio face under attack: deaths, cancellation at every step, errors that nobody waits for."""

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
from openamp.errors import ClosedError, HostShutdown, NotBoundError, RemoteCrashed, RemoteExited

SERVICE = "rpmsg-openamp-demo-channel"
SRC = str(Path(openamp.__file__).parents[1])
ECHO = Path(__file__).parents[2] / "examples" / "remote_echo.py"


def run(main: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(20):
            await main()

    asyncio.run(bounded())


async def launched(program: str | Path = ECHO, **options: object) -> aio.AsyncRemoteProc:
    rproc = await aio.open("process", env={"PYTHONPATH": SRC}, **options)
    await rproc.boot(str(program))
    return rproc


def machine(tmp_path: Path, processor: int) -> dict[str, object]:
    return {
        "mode": "generic-linux",
        "processor": processor,
        "shm": f"openamp-aio-{os.getpid()}",
        "socket_path": str(tmp_path / "event.0"),
    }


@pytest.mark.parametrize("hosts_processor", [0, 1])
def test_generic_linux_in_one_loop(tmp_path: Path, hosts_processor: int) -> None:
    async def remote() -> None:
        async with await aio.serve("process", timeout=5, **machine(tmp_path, 1 - hosts_processor)) as bus:
            endpoint = await bus.create_endpoint(SERVICE)
            with contextlib.suppress(HostShutdown):
                async for message in endpoint:
                    await endpoint.send(message)

    async def main() -> None:
        server = asyncio.create_task(remote())
        await asyncio.sleep(0.05)
        async with await aio.open("process", **machine(tmp_path, hosts_processor)) as rproc:
            await rproc.boot()
            endpoint = await rproc.create_endpoint(SERVICE)
            for i in range(50):
                await endpoint.send(b"%d" % i)
                assert await endpoint.receive(timeout=5) == b"%d" % i
        await server

    run(main)


def test_a_remote_that_died_costs_no_cpu() -> None:
    async def main() -> None:
        async with await launched() as rproc:
            endpoint = await rproc.create_endpoint(SERVICE)
            os.kill(rproc.sync.platform._program.pid, signal.SIGKILL)  # type: ignore[attr-defined]
            with pytest.raises(RemoteCrashed):
                await endpoint.receive(timeout=5)
            used = time.process_time()
            await asyncio.sleep(0.3)
            assert time.process_time() - used < 0.1

    run(main)


def test_a_program_that_leaves_and_runs_on_has_ended(tmp_path: Path) -> None:
    program = tmp_path / "leaves.py"
    program.write_text(
        "import openamp, time\nbus = openamp.serve('process')\nendpoint = bus.create_endpoint('svc')\n"
        "endpoint.receive()\nbus.close()\ntime.sleep(100)\n"
    )

    async def main() -> None:
        async with await launched(program, grace=0.1) as rproc:
            endpoint = await rproc.create_endpoint("svc")
            await endpoint.send(b"go")
            with pytest.raises(RemoteExited):
                await rproc.wait(timeout=5)
            with pytest.raises(NotBoundError):
                await endpoint.receive(timeout=5)

    run(main)


def test_an_error_that_nobody_waits_for_is_kept_for_the_next_call() -> None:
    async def main() -> None:
        async with await launched() as rproc:

            def callback(*_: object) -> None:
                raise ValueError("mine")

            endpoint = await rproc.create_endpoint(SERVICE, callback=callback)
            with pytest.raises(ValueError, match="mine"):
                await endpoint.send(b"hello")  # it comes from here where the echo is quick
                await asyncio.sleep(0.3)
                await rproc.wait(timeout=0.5)
            await rproc.wait(timeout=0.05)

    run(main)


def test_an_error_for_a_waiter_that_is_cancelled_goes_to_the_next() -> None:
    async def main() -> None:
        async with await launched() as rproc:
            bus = rproc.bus
            first = asyncio.create_task(bus._reader.changed(None))
            await asyncio.sleep(0)
            bus._reader.tell(ValueError("mine"))
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            with pytest.raises(ValueError, match="mine"):
                await rproc.wait(timeout=0.2)

    run(main)


def test_a_close_of_the_endpoint_behind_reaches_those_who_wait() -> None:
    async def main() -> None:
        async with await launched() as rproc:
            endpoint = await rproc.create_endpoint(SERVICE)
            waiting = [asyncio.create_task(endpoint.receive()) for _ in range(3)]
            await asyncio.sleep(0.05)
            endpoint.close()
            for result in await asyncio.gather(*waiting, return_exceptions=True):
                assert isinstance(result, ClosedError)

    run(main)


@pytest.mark.parametrize("steps", range(12))
def test_cancelled_after_any_number_of_steps(steps: int) -> None:
    async def main() -> None:
        async with await launched() as rproc:
            endpoint = await rproc.create_endpoint(SERVICE)
            got: list[bytes] = []
            sent: list[bytes] = []

            async def talk(i: int) -> None:
                data = b"%d" % i
                await endpoint.send(data)
                sent.append(data)
                got.append(await endpoint.receive())

            for i in range(20):
                task = asyncio.create_task(talk(i))
                for _ in range(steps):
                    await asyncio.sleep(0)
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
            while len(got) < len(sent):
                got.append(await endpoint.receive(timeout=5))
            assert got == sent
            assert not endpoint.sync._queue
            assert not endpoint._bus._waiting
            assert not endpoint._reader._waiters

    run(main)


def test_a_cancelled_stop_and_close_do_not_hold_up_the_loop(tmp_path: Path) -> None:
    program = tmp_path / "stubborn.py"
    program.write_text(
        "import openamp, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "bus = openamp.serve('process')\nbus.create_endpoint('svc')\nwhile True: time.sleep(10)\n"
    )

    async def main() -> None:
        rproc = await launched(program, grace=0.3)
        await rproc.create_endpoint("svc")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await rproc.stop()
        longest = 0.0

        async def tick() -> None:
            nonlocal longest
            while True:
                began = time.monotonic()
                await asyncio.sleep(0.001)
                longest = max(longest, time.monotonic() - began)

        ticker = asyncio.create_task(tick())
        await rproc.close()
        await asyncio.sleep(0.002)
        ticker.cancel()
        assert longest < 0.2

    run(main)


def test_a_loop_that_is_closed_before_the_remote(tmp_path: Path) -> None:
    kept: list[aio.AsyncRemoteProc] = []

    async def main() -> None:
        rproc = await launched()
        endpoint = await rproc.create_endpoint(SERVICE)
        await endpoint.send(b"x")
        await endpoint.receive(timeout=5)
        kept.append(rproc)

    run(main)
    kept[0].sync.close()

    run(main)

    async def late() -> None:
        await kept[1].close()

    run(late)


def test_an_emulated_core_leaves_the_loop_to_others() -> None:
    async def main() -> None:
        async with await aio.open("emulated", board="virt-m4") as rproc:
            await rproc.boot(images.path("echo", "virt-m4"))
            endpoint = await rproc.create_endpoint(SERVICE)
            waiting = asyncio.create_task(endpoint.receive())
            await asyncio.sleep(0.2)
            slow = total = 0.0
            for _ in range(100):
                began = time.monotonic()
                await asyncio.sleep(0.001)
                total += time.monotonic() - began
                slow = max(slow, time.monotonic() - began)
            assert total < 0.35, total
            await endpoint.send(b"x")
            assert await waiting == b"x"

    run(main)


def test_an_idle_emulated_core_costs_little_and_wakes_at_once() -> None:
    async def main() -> None:
        async with await aio.open("emulated", board="virt-m4") as rproc:
            await rproc.boot(images.path("echo", "virt-m4"))
            endpoint = await rproc.create_endpoint(SERVICE)
            for _ in range(3):
                waiting = asyncio.create_task(endpoint.receive())
                await asyncio.sleep(0.2)  # the pauses have become long
                assert endpoint._reader._pause is not None
                assert not endpoint._reader._pause.done()
                await endpoint.send(b"x")
                assert endpoint._reader._pause.done()
                assert await waiting == b"x"
            waiting = asyncio.create_task(endpoint.receive())
            await asyncio.sleep(0.1)
            used = time.process_time()
            await asyncio.sleep(0.5)
            assert time.process_time() - used < 0.1
            waiting.cancel()

    run(main)
