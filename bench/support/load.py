"""A load generator: closed loop, a fixed number of streams, one chat each at a time."""

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import aiohttp

from bench.support.servers import ServerProcess
from bench.support.stats import percentile

WORDS = (
    "oak",
    "bench",
    "tomatoes",
    "ripen",
    "late",
    "summer",
    "slugs",
    "let",
    "them",
    "how",
    "much",
)
STREAM_END = b"data: [DONE]"


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one measurement under load. Times are in seconds."""

    requests: int
    errors: int
    requests_per_second: float
    first_token_p50: float
    first_token_p99: float
    api_cpu_per_request: float
    latencies: Sequence[float] = ()
    """Time from the start of each successful request to the last byte of its answer."""

    @property
    def latency_p50(self) -> float:
        """Their median."""
        return percentile(self.latencies, 0.5)

    @property
    def latency_p99(self) -> float:
        """Their 99th percentile."""
        return percentile(self.latencies, 0.99)


@dataclass(frozen=True, slots=True)
class _Answer:
    first_token: float
    seconds: float
    good: bool


async def drive(
    server: ServerProcess, *, streams: int, requests: int, tokens: int, rng: random.Random
) -> Load:
    """Send `requests` streamed chats of `tokens` tokens each over `streams` connections.

    The connections are new, and are opened before the clock starts.
    """
    bodies = [_body(server.model, tokens, rng) for _ in range(requests)]
    waiting = iter(bodies)

    async def client(session: aiohttp.ClientSession) -> list[_Answer]:
        return [await _ask(session, body) for body in waiting]

    async with aiohttp.ClientSession(
        server.url,
        connector=aiohttp.TCPConnector(limit=0),
        headers=server.headers,
        timeout=aiohttp.ClientTimeout(total=120),
    ) as session:
        await asyncio.gather(*(_connect(session) for _ in range(streams)))
        cpu, started = cpu_seconds(server.pid), time.perf_counter()
        answers = await asyncio.gather(*(client(session) for _ in range(streams)))
        seconds = time.perf_counter() - started
    return _summary(list(chain(*answers)), seconds, cpu_seconds(server.pid) - cpu)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used so far, all threads, without its children."""
    stat = Path(f"/proc/{pid}/stat").read_text()
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _body(model: str, tokens: int, rng: random.Random) -> dict[str, Any]:
    return {
        "model": model,
        "messages": [{"role": "user", "content": " ".join(rng.choices(WORDS, k=12))}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }


async def _connect(session: aiohttp.ClientSession) -> None:
    async with session.get("/v1/models") as response:
        await response.read()


async def _ask(session: aiohttp.ClientSession, body: dict[str, Any]) -> _Answer:
    """One chat. The first event of OpenAI's stream names the role only; the second has a token."""
    started = time.perf_counter()
    first, last, events = 0.0, b"", 0
    try:
        async with session.post("/v1/chat/completions", json=body) as response:
            async for line in response.content:
                if not line.startswith(b"data:"):
                    continue
                events += 1
                last = line
                if events == 2:
                    first = time.perf_counter() - started
            good = response.status == 200 and last.startswith(STREAM_END) and first > 0
    except aiohttp.ClientError:
        good = False
    return _Answer(first, time.perf_counter() - started, good)


def _summary(answers: Sequence[_Answer], seconds: float, cpu: float) -> Load:
    good = [answer.first_token for answer in answers if answer.good]
    latencies = [answer.seconds for answer in answers if answer.good]
    return Load(
        requests=len(answers),
        errors=len(answers) - len(good),
        requests_per_second=len(good) / seconds,
        first_token_p50=percentile(good, 0.5),
        first_token_p99=percentile(good, 0.99),
        api_cpu_per_request=cpu / len(answers),
        latencies=latencies,
    )
