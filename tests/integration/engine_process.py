"""A process that runs the real engine, for tests that kill it or its children.

`python -m tests.integration.engine_process MODEL spawn|fork`: prints a line of JSON when four
streams have begun, goes on streaming until the engine dies, prints what that looked like, and ends
with status 3. A line on standard input makes it close the engine instead and end with status 0.
"""

import asyncio
import json
import sys
from contextlib import aclosing
from pathlib import Path
from typing import Any

from server.engine.base import BASE, EngineCall, Tap
from server.engine.errors import EngineDeadError
from server.engine.vllm import VllmEngine, start_vllm
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
    """Stream one answer after the other; gives the last two events of the one that failed.

    None where the engine died between two of them. `begun` is set with the first event.
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


async def died(engine: VllmEngine) -> dict[str, Any]:
    begun = [asyncio.Event() for _ in range(4)]
    streams = asyncio.gather(*(failed_stream(engine, one) for one in begun))
    for one in begun:
        await one.wait()
    say(ready=True)
    ends = await streams
    await engine.wait_dead()
    facts: dict[str, Any] = {"ends": [end for end in ends if end], "alive": engine.alive()}
    for name, work in (("answer", engine.answer(call())), ("probe", engine.probe())):
        try:
            await work
        except EngineDeadError:
            facts[name] = "EngineDeadError"
    return facts | {"in_flight": engine.in_flight(BASE)}


async def main(model: str, method: str) -> int:
    engine = await start_vllm(tiny_engine_config(Path(model)), fast_start=method == "fork")
    told = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, told.set)
    order = asyncio.ensure_future(told.wait())
    death = asyncio.ensure_future(died(engine))
    await asyncio.wait({order, death}, return_when=asyncio.FIRST_COMPLETED)
    asyncio.get_running_loop().remove_reader(sys.stdin)
    if death.done():
        say(**death.result())
    else:
        death.cancel()
        await asyncio.gather(death, return_exceptions=True)
    await engine.close()
    await engine.close()
    say(closed=True)
    order.cancel()
    return 0 if told.is_set() else 3


if __name__ == "__main__":
    code = asyncio.run(main(sys.argv[1], sys.argv[2]))
    sys.stdout.flush()
    sys.exit(code)
