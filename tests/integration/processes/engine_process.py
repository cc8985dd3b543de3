"""A process that runs the real engine, for tests that kill it or its children.

`python -m tests.integration.processes.engine_process MODEL spawn|fork`: prints a line of JSON when
four streams have started, streams until the engine dies, prints the last events, and exits with
status 3. A line on standard input makes it close the engine and exit with status 0.
"""

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from adapters.names import BASE
from server.engine.base import EngineCall, Tap
from server.engine.errors import EngineDeadError
from server.engine.vllm.engine import VllmEngine, start_vllm
from tests.engine_fixtures import tiny_engine_config


def say(**facts: Any) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


def call() -> EngineCall:
    body = {
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 400,
        "ignore_eos": True,
        "stream": True,
    }
    return EngineCall(
        id="chatcmpl-1", endpoint="chat", model="pawl@base", version=BASE, body=body, tap=Tap()
    )


async def failed_stream(engine: VllmEngine, begun: asyncio.Event) -> list[str] | None:
    """Stream one answer after the other; return the last two events of the one that failed.

    Returns None if the engine died between two answers. `begun` is set with the first event.
    """
    while True:
        try:
            response = await engine.answer(call())
        except EngineDeadError:
            return None
        assert response.stream is not None
        begun.set()
        async with aclosing(response.stream) as stream:
            events = [event async for event in stream]
        if '"error"' in events[-2]:
            return events[-2:]


async def begin_streams(engine: VllmEngine) -> "asyncio.Task[list[list[str]]]":
    """Start four concurrent streams; the task returns the last events of those that failed."""
    begun = [asyncio.Event() for _ in range(4)]

    async def ends() -> list[list[str]]:
        found = await asyncio.gather(*(failed_stream(engine, one) for one in begun))
        return [end for end in found if end]

    streams = asyncio.ensure_future(ends())
    for one in begun:
        await one.wait()
    return streams


async def line_arrived() -> None:
    """Return when a line arrives on standard input."""
    line = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, line.set)
    await line.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin)


async def what_is_left(engine: VllmEngine) -> dict[str, Any]:
    facts: dict[str, Any] = {"alive": engine.alive(), "in_flight": engine.in_flight(BASE)}
    for name, work in (("answer", engine.answer(call())), ("probe", engine.probe())):
        try:
            await work
        except EngineDeadError:
            facts[name] = "EngineDeadError"
    return facts


async def main(model: str, method: str) -> int:
    engine = await start_vllm(tiny_engine_config(Path(model)), fast_start=method == "fork")
    streams = await begin_streams(engine)
    order, death = asyncio.create_task(line_arrived()), asyncio.create_task(engine.wait_dead())
    say(ready=True)
    await asyncio.wait({order, death}, return_when=asyncio.FIRST_COMPLETED)
    if order.done():
        await engine.close()
    say(ends=await streams, **await what_is_left(engine))
    await engine.close()
    say(closed=True)
    for task in (order, death):
        task.cancel()
    return 0 if order.done() else 3


if __name__ == "__main__":
    code = asyncio.run(main(sys.argv[1], sys.argv[2]))
    sys.stdout.flush()
    sys.exit(code)
