"""Rolls back under load: `python -m bench.rollbacks [--rollbacks 50] [--model DIR]`.

Sixteen clients chat with the channel, every other one streaming, while an adapter is repeatedly
made live and rolled back over the API. The table shows the time from the POST to the start of the
last request that the rolled back version answered (by the client's clock). No request may fail, and
every answer must end on the version that its header names. The fake engine answers, or with
`--model` the real one on a model of `tests/tiny_model.py`.
"""

import asyncio
import math
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.support.chat import ask, session_of
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.stats import percentile
from bench.support.tables import Row, parser, report
from tests.adapters.adapter_files import make_adapter
from tests.tiny_model import make_random_adapter

CLIENTS = 16
TOKENS = 24
LIMIT_SECONDS = 5.0
ANSWERS_BEFORE = 8
"""Number of answers of a version before it is rolled back."""
SETTINGS = {
    "PAWL_ENGINE__FAKE_TOKEN_DELAY_SECONDS": "0.01",
    "PAWL_ENGINE__KV_CACHE_GIB": "0.25",
    "PAWL_RETRAIN__ENABLED": "false",
}

MakeAdapter = Callable[[int], Path]


@dataclass(slots=True)
class Outcome:
    """The observations; times are in seconds. `across` counts answers in progress at a rollback."""

    effective: list[float] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    requests: int = 0
    streamed: int = 0
    across: int = 0
    errors: int = 0
    mixed: int = 0

    @property
    def good(self) -> bool:
        """Whether each rollback was in time and no request failed or mixed versions."""
        late = max(self.effective, default=math.inf) > LIMIT_SECONDS
        return not (late or self.errors or self.mixed)


@dataclass(slots=True)
class Seen:
    """Start times of requests by the version that answered, and times of rollbacks."""

    started: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    back: dict[str, float] = field(default_factory=dict)
    answered: asyncio.Event = field(default_factory=asyncio.Event)


def run(folder: Path, *, rollbacks: int, model: Path | None = None) -> Outcome:
    """Serve with all data in `folder`, and promote and roll back."""

    def adapter(number: int) -> Path:
        path = folder / f"adapter-{number}"
        if model is None:
            return make_adapter(path, number)
        return make_random_adapter(path, base=model, seed=number)

    with stopping(start_pawl(folder / "data", model=model, settings=SETTINGS)) as server:
        return asyncio.run(_run(server, adapter, rollbacks))


async def _run(server: ServerProcess, adapter: MakeAdapter, rollbacks: int) -> Outcome:
    outcome, seen = Outcome(), Seen()
    async with session_of(server) as session:
        await _promoted(session, adapter(0))
        ending = asyncio.Event()
        clients = [
            asyncio.create_task(_client(session, seen, outcome, ending, stream=number % 2 == 0))
            for number in range(CLIENTS)
        ]
        try:
            for number in range(1, rollbacks + 1):
                await _roll_back(session, adapter(number), seen, outcome)
        finally:
            ending.set()
            await asyncio.gather(*clients)
    for version, began in seen.back.items():
        outcome.effective.append(max(0.0, max(seen.started[version]) - began))
    return outcome


async def _roll_back(
    session: aiohttp.ClientSession, adapter: Path, seen: Seen, outcome: Outcome
) -> None:
    """Make an adapter live, wait until it answers, and roll it back."""
    version = await _promoted(session, adapter)
    while len(seen.started[version]) < ANSWERS_BEFORE:
        seen.answered.clear()
        await seen.answered.wait()
    began = seen.back[version] = time.perf_counter()
    await _post(session, "/v1/rollback", {"reason": "bench"})
    outcome.took.append(time.perf_counter() - began)


async def _client(
    session: aiohttp.ClientSession,
    seen: Seen,
    outcome: Outcome,
    ending: asyncio.Event,
    *,
    stream: bool,
) -> None:
    """Chat with the channel until the end; record each start time and answering version."""
    message = {"role": "user", "content": "When do the tomatoes ripen?"}
    body = {"model": "pawl", "messages": [message], "max_tokens": TOKENS, "stream": stream}
    while not ending.is_set():
        started = time.perf_counter()
        reply = await ask(session, body)
        outcome.requests += 1
        outcome.streamed += stream
        if reply.good:
            seen.started[reply.version].append(started)
            outcome.mixed += reply.model != f"pawl@{reply.version}"
            outcome.across += seen.back.get(reply.version, math.inf) > started and (
                reply.version in seen.back
            )
        else:
            outcome.errors += 1
        seen.answered.set()


async def _promoted(session: aiohttp.ClientSession, adapter: Path) -> str:
    """Add an adapter, make it live and return its version."""
    version = str((await _post(session, "/v1/adapters", {"path": str(adapter)}))["name"])
    await _post(session, f"/v1/adapters/{version}/promote", {"reason": "bench"})
    return version


async def _post(
    session: aiohttp.ClientSession, path: str, body: dict[str, str]
) -> dict[str, object]:
    async with session.post(path, json=body) as response:
        found: dict[str, object] = await response.json()
        response.raise_for_status()
        return found


def rows(outcome: Outcome) -> list[Row]:
    """The result as one row."""
    return [
        {
            "rollbacks": len(outcome.effective),
            "requests": outcome.requests,
            "streamed": outcome.streamed,
            "under way at a rollback": outcome.across,
            "failed": outcome.errors,
            "mixed": outcome.mixed,
            "effective p50, ms": 1000 * percentile(outcome.effective, 0.5),
            "effective max, ms": 1000 * max(outcome.effective, default=math.nan),
            "POST p50, ms": 1000 * percentile(outcome.took, 0.5),
            "POST max, ms": 1000 * max(outcome.took, default=math.nan),
        }
    ]


def main() -> None:
    """Print the table; exit with 1 if a request was late, failed or mixed versions."""
    made = parser(__doc__)
    made.add_argument("--rollbacks", type=int, default=50)
    made.add_argument("--model", type=Path, help="a model's folder: the real engine")
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-rollbacks-") as folder:
        outcome = run(Path(folder), rollbacks=arguments.rollbacks, model=arguments.model)
    title = f"Rollbacks under {CLIENTS} clients"
    report({title: rows(outcome)}, as_json=arguments.json)
    raise SystemExit(0 if outcome.good else 1)


if __name__ == "__main__":
    main()
