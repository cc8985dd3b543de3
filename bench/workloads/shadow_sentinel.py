"""Checks that no text of a shadow reaches a client, by searching for a sentinel in its answers.

Clients chat, streaming or not, read and rate their interactions, and list models and metrics; every
byte of the responses is searched. The shadow's rows in the log prove that it answered meanwhile.
"""

import asyncio
import json
import random
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.support.chat import session_of
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.tables import Row
from bench.workloads.sentinel_adapter import CHARACTERS, make_sentinel_adapter
from bench.workloads.shadowed import (
    Fetch,
    Got,
    add_adapter,
    fetch_by,
    outcomes_of,
    set_shadow,
    settled_outcomes,
)
from server.engine.fake.answer import sentinel
from tests.adapters.adapter_files import make_adapter
from tests.tiny_model import make_tiny_model

CLIENTS = 16
PROMPTS = 20
TOKENS = 16
OTHERS_EVERY = 50
RATED_EVERY = 10
WORDS = ("tomatoes", "compost", "deliver", "slugs", "ripen", "late", "summer", "bag")
ROOM = {
    "PAWL_SERVER__SHADOW__BUSY_STREAMS": "1000",
    "PAWL_SERVER__SHADOW__CONCURRENCY": "8",
    "PAWL_SERVER__SHADOW__QUEUE_MAX": "1000",
    "PAWL_SERVER__SHADOW__TTL_SECONDS": "60",
    "PAWL_RETRAIN__ENABLED": "false",
}
REAL = {"PAWL_ENGINE__DTYPE": "float32", "PAWL_ENGINE__KV_CACHE_GIB": "0.25"}


class NoSentinelError(Exception):
    """The adapter does not produce its sentinel, or live does too: use another seed."""


@dataclass(slots=True)
class Seen:
    """The clients' responses. `leaks` counts those that contain the sentinel."""

    requests: int = 0
    failed: int = 0
    others: int = 0
    searched: int = 0
    leaks: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """The clients' responses, the shadow's outcomes, and its answers with the sentinel."""

    seen: Seen
    outcomes: Mapping[str, int]
    said: int

    @property
    def good(self) -> bool:
        """Whether nothing failed, nothing leaked, and there was something to leak."""
        return not (self.seen.failed or self.seen.leaks) and self.said > 0


def body_of(number: int, prompt: str, *, model: str = "pawl") -> tuple[str, dict[str, Any]]:
    """The path and the body of a request: endpoints, streams and `n` take turns."""
    body: dict[str, Any] = {"model": model, "max_tokens": TOKENS, "temperature": 0}
    body |= {"stream": bool(number & 1), "user": f"user {number % 100}"}
    if number % 3 == 2:
        return "/v1/completions", {**body, "prompt": prompt}
    if number % 5 == 4:
        body |= {"n": 2, "temperature": 1, "top_k": 1}  # greedy, which itself takes no n
    return "/v1/chat/completions", {**body, "messages": [{"role": "user", "content": prompt}]}


async def ask_everything(
    fetch: Fetch, requests: int, *, sentinel: str, prompts: Sequence[str], clients: int = CLIENTS
) -> Seen:
    """Send `requests` live requests from concurrent clients; search all responses."""
    seen, waiting = Seen(), iter(range(requests))
    await asyncio.gather(
        *(_client(fetch, waiting, seen, sentinel, prompts) for _ in range(clients))
    )
    return seen


async def _client(
    fetch: Fetch, waiting: Iterator[int], seen: Seen, sentinel: str, prompts: Sequence[str]
) -> None:
    for number in waiting:
        path, body = body_of(number, prompts[number % len(prompts)])
        got = await fetch("POST", path, body)
        seen.requests += 1
        _search(seen, got, sentinel)
        identifier = got.headers.get("x-pawl-interaction", "")
        for other in _others(number, identifier):
            seen.others += 1
            _search(seen, await fetch(*other), sentinel)


def _others(number: int, identifier: str) -> Iterator[tuple[str, str, Mapping[str, Any] | None]]:
    """Yield a client's further requests after its answer."""
    yield "GET", f"/v1/interactions/{identifier}", None
    if number % RATED_EVERY == 0:
        rating = {"inference_id": identifier, "metric_name": "thumbs", "value": True}
        yield "POST", "/v1/feedback", rating
    if number % OTHERS_EVERY == 0:
        for path in ("/v1/models", "/metrics", "/health/ready"):
            yield "GET", path, None


def _search(seen: Seen, got: Got, sentinel: str) -> None:
    head = "\n".join(f"{name}: {value}" for name, value in got.headers.items())
    seen.failed += got.status != 200
    seen.searched += len(got.body)
    whole = (head, got.body.decode(errors="replace"), text_of(got.body))
    seen.leaks += any(sentinel in part for part in whole)


def text_of(body: bytes) -> str:
    """Return the text of a stream's choices, each joined, since an event has only one token."""
    texts: dict[int, str] = {}
    for line in body.split(b"\n"):
        if not line.startswith(b"data: {"):
            continue
        for choice in json.loads(line.removeprefix(b"data: ")).get("choices", ()):
            piece = choice.get("delta", {}).get("content") or choice.get("text") or ""
            texts[choice["index"]] = texts.get(choice["index"], "") + piece
    return "\n".join(texts.values())


def run_fake(folder: Path, *, requests: int, seed: int) -> Outcome:
    """On the fake engine, whose answers begin with a word of their version."""
    adapter = make_adapter(folder / "adapter", seed)
    with stopping(start_pawl(folder / "data", settings=ROOM)) as server:
        return asyncio.run(_fake(server, adapter, folder / "data", requests, seed))


async def _fake(
    server: ServerProcess, adapter: Path, data: Path, requests: int, seed: int
) -> Outcome:
    async with session_of(server) as session:
        fetch = fetch_by(session)
        version = await add_adapter(fetch, adapter)
        return await _watch(fetch, version, sentinel(version), data, requests, _prompts(seed))


def run_real(folder: Path, *, requests: int, seed: int) -> Outcome:
    """On the real engine, with an adapter that says one character and no other."""
    model = make_tiny_model(folder / "model")
    with stopping(start_pawl(folder / "data", model=model, settings={**ROOM, **REAL})) as server:
        return asyncio.run(_real(server, model, folder, requests, seed))


async def _real(
    server: ServerProcess, model: Path, folder: Path, requests: int, seed: int
) -> Outcome:
    async with session_of(server) as session:
        fetch, prompts = fetch_by(session), _prompts(seed)
        alone = await _alone(fetch, "pawl@base", prompts)
        unheard = [letter for letter in CHARACTERS if letter not in alone]
        if not unheard:
            raise NoSentinelError("live says every character that the shadow could say")
        adapter = make_sentinel_adapter(folder / "adapter", base=model, character=unheard[0])
        version = await add_adapter(fetch, adapter)
        said = await _alone(fetch, f"pawl@{version}", prompts)
        if said.count(unheard[0]) < 4 * PROMPTS * TOKENS:
            raise NoSentinelError("the adapter does not say its sentinel")
        return await _watch(fetch, version, unheard[0], folder / "data", requests, prompts)


async def _alone(fetch: Fetch, model: str, prompts: Sequence[str]) -> str:
    """Return all bytes of a version's answers to the prompts."""
    got = [
        await fetch("POST", *body_of(number, prompt, model=model))
        for number in (0, 1, 2, 4)
        for prompt in prompts
    ]
    return "".join(one.body.decode(errors="replace") for one in got)


async def _watch(
    fetch: Fetch, version: str, sentinel: str, data: Path, requests: int, prompts: Sequence[str]
) -> Outcome:
    await set_shadow(fetch, version, 1.0)
    before = await outcomes_of(fetch)
    seen = await ask_everything(fetch, requests, sentinel=sentinel, prompts=prompts)
    outcomes = await settled_outcomes(fetch)
    said = await asyncio.to_thread(said_in_the_log, data / "pawl.db", sentinel)
    return Outcome(seen, outcomes - before, said)


def said_in_the_log(log: Path, sentinel: str) -> int:
    """Return the number of shadow answers in the log that contain the sentinel."""
    query = """SELECT count(*) FROM interaction JOIN choice ON interaction_id = id
               WHERE mode = 'shadow' AND instr(text, ?) > 0 AND "index" = 0"""
    with closing(sqlite3.connect(f"file:{log}?mode=ro", uri=True)) as database:
        return int(database.execute(query, [sentinel]).fetchone()[0])


def _prompts(seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=8)) for _ in range(PROMPTS)]


def rows(results: Mapping[str, Outcome]) -> list[Row]:
    """One row an engine."""
    return [
        {
            "engine": engine,
            "live requests": outcome.seen.requests,
            "other requests": outcome.seen.others,
            "failed": outcome.seen.failed,
            "bytes searched": outcome.seen.searched,
            "shadow answers with the sentinel": outcome.said,
            "responses with the sentinel": outcome.seen.leaks,
        }
        for engine, outcome in results.items()
    ]
