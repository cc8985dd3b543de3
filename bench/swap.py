"""Swaps adapters under load on the real engine: `python -m bench.swap [--swaps 200]`.

Three adapters with different answers to every prompt are made live in turn by the admin API, while
sixteen clients chat with the channel greedily, streaming or not. Each text must be the one that the
version in its header gives without other load. A retired version cannot return, so an adapter is
added again under a new name; the expected text depends on the adapter, not on the name.
"""

import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench.support.chat import Reply, ask, session_of
from bench.support.servers import ServerProcess, start_pawl, stopping
from bench.support.stats import percentile
from bench.support.tables import Row, parser, report
from tests.tiny_model import make_random_adapter, make_tiny_model

ADAPTERS = 3
CLIENTS = 16
PROMPTS = 8
CANDIDATES = 24
TOKENS = 24
LEAST_SHARE = 0.2
LEAST_MARGIN = 1e-3
"""Log-probability by which each greedy token must lead; batching changes sums by about 1e-5."""
REPLIES_BETWEEN_SWAPS = 6
SETTINGS = {
    "PAWL_ENGINE__DTYPE": "float32",
    "PAWL_ENGINE__KV_CACHE_GIB": "0.25",
    "PAWL_RETRAIN__ENABLED": "false",
}
GREEDY = {"temperature": 0, "max_tokens": TOKENS, "ignore_eos": True}
WORDS = ("tomatoes", "compost", "deliver", "slugs", "ripen", "Saturday", "bag", "late", "summer")


class NoPromptsError(Exception):
    """Too few prompts distinguish the adapters: use other seeds."""


@dataclass(slots=True)
class Outcome:
    """The observations. `margin` is the smallest lead of a greedy token over all prompts."""

    margin: float
    swaps: list[float] = field(default_factory=list)
    served: Counter[int] = field(default_factory=Counter)
    streamed: int = 0
    across: int = 0
    errors: int = 0
    mismatches: int = 0

    @property
    def responses(self) -> int:
        """The number of answers with a known version."""
        return self.served.total()

    def shares(self) -> list[float]:
        """The share of the answers that each adapter gave."""
        return [self.served[number] / max(1, self.responses) for number in range(ADAPTERS)]

    @property
    def good(self) -> bool:
        """Whether nothing failed, no answer mixed adapters, and each adapter answered enough."""
        return not (self.errors or self.mismatches) and min(self.shares()) >= LEAST_SHARE


@dataclass(slots=True)
class Stage:
    """The adapters' folders, and the adapter of each version."""

    session: aiohttp.ClientSession
    folders: Sequence[Path]
    versions: dict[str, int] = field(default_factory=dict)
    latest: dict[int, str] = field(default_factory=dict)
    live: int = -1
    standby: int = -1
    swaps: int = 0

    async def swap(self, number: int) -> float:
        """Make an adapter live; return the seconds that the promotion took, with its load."""
        if number != self.standby:
            self.latest[number] = await self._add(number)
        started = time.perf_counter()
        path = f"/v1/adapters/{self.latest[number]}/promote"
        async with self.session.post(path, json={"reason": "bench"}) as response:
            await response.read()
            response.raise_for_status()
        self.standby, self.live = self.live, number
        self.swaps += 1
        return time.perf_counter() - started

    async def _add(self, number: int) -> str:
        body = {"path": str(self.folders[number])}
        async with self.session.post("/v1/adapters", json=body) as response:
            response.raise_for_status()
            name = str((await response.json())["name"])
        self.versions[name] = number
        return name


def run(folder: Path, *, swaps: int, seed: int) -> Outcome:
    """Create the model and the adapters in `folder`, serve them, and swap."""
    model = make_tiny_model(folder / "model")
    adapters = [
        make_random_adapter(folder / f"adapter-{number}", base=model, seed=1000 * seed + number)
        for number in range(1, ADAPTERS + 1)
    ]
    with stopping(start_pawl(folder / "data", model=model, settings=SETTINGS)) as server:
        return asyncio.run(_run(server, adapters, swaps, random.Random(seed)))


async def _run(
    server: ServerProcess, adapters: Sequence[Path], swaps: int, rng: random.Random
) -> Outcome:
    async with session_of(server) as session:
        stage = Stage(session, adapters)
        expected, margin = await _alone(stage, rng)
        outcome, replies = Outcome(margin), asyncio.Queue[None]()
        clients = [
            asyncio.create_task(
                _client(stage, expected, outcome, replies, stream=number % 2 == 0, seed=number)
            )
            for number in range(CLIENTS)
        ]
        try:
            await _swap(stage, outcome, replies, swaps, rng)
        finally:
            for client in clients:
                client.cancel()
            await asyncio.gather(*clients, return_exceptions=True)
    return outcome


async def _alone(stage: Stage, rng: random.Random) -> tuple[dict[str, list[str]], float]:
    """Return each adapter's answer to each prompt without other load, and the smallest margin.

    Prompts that do not distinguish all adapters, or with too small a margin, are left out. Raises
    `NoPromptsError`.
    """
    candidates = [" ".join(rng.choices(WORDS, k=8)) for _ in range(CANDIDATES)]
    said: dict[str, list[Reply]] = {prompt: [] for prompt in candidates}
    for number in range(ADAPTERS):
        await stage.swap(number)
        for prompt in candidates:
            body = _body(f"pawl@{stage.latest[number]}", prompt) | {
                "logprobs": True,
                "top_logprobs": 2,
            }
            said[prompt].append(await ask(stage.session, body))
    kept = {prompt: replies for prompt, replies in said.items() if _tells_apart(replies)}
    if len(kept) < PROMPTS:
        raise NoPromptsError(f"{len(kept)} of {CANDIDATES} prompts tell the adapters apart")
    chosen = sorted(kept, key=lambda prompt: _margin(kept[prompt]), reverse=True)[:PROMPTS]
    texts = {prompt: [reply.text for reply in kept[prompt]] for prompt in chosen}
    return texts, min(_margin(kept[prompt]) for prompt in chosen)


def _tells_apart(replies: Sequence[Reply]) -> bool:
    texts = {reply.text for reply in replies}
    return len(texts) == ADAPTERS and _margin(replies) >= LEAST_MARGIN


def _margin(replies: Sequence[Reply]) -> float:
    return min(reply.margin for reply in replies)


async def _client(
    stage: Stage,
    expected: Mapping[str, Sequence[str]],
    outcome: Outcome,
    replies: asyncio.Queue[None],
    *,
    stream: bool,
    seed: int,
) -> None:
    """Chat with the channel forever and count the answers."""
    rng = random.Random(seed)
    while True:
        prompt, before = rng.choice(list(expected)), stage.swaps
        reply = await ask(stage.session, _body("pawl", prompt) | {"stream": stream})
        number = stage.versions.get(reply.version)
        named = reply.model == f"pawl@{reply.version}"
        if not reply.good or number is None:
            outcome.errors += 1
        else:
            outcome.served[number] += 1
            outcome.streamed += stream
            outcome.across += stage.swaps != before
            outcome.mismatches += not named or reply.text != expected[prompt][number]
        replies.put_nowait(None)


async def _swap(
    stage: Stage,
    outcome: Outcome,
    replies: asyncio.Queue[None],
    swaps: int,
    rng: random.Random,
) -> None:
    for _ in range(swaps):
        for _ in range(REPLIES_BETWEEN_SWAPS):
            await replies.get()
        outcome.swaps.append(await stage.swap(_next(stage.live, outcome.shares(), rng)))
    for _ in range(CLIENTS):
        await replies.get()


def _next(live: int, shares: Sequence[float], rng: random.Random) -> int:
    """Return one of the other adapters: the one with too few answers, else a random one."""
    others = [number for number in range(ADAPTERS) if number != live]
    behind = [number for number in others if shares[number] < 0.27]
    return rng.choice(behind or others)


def _body(model: str, prompt: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": prompt}], **GREEDY}


def rows(outcome: Outcome) -> list[Row]:
    """The result as one row."""
    shares = " / ".join(f"{share:.0%}" for share in outcome.shares())
    return [
        {
            "swaps": len(outcome.swaps),
            "responses": outcome.responses,
            "streamed": outcome.streamed,
            "in flight across a swap": outcome.across,
            "errors": outcome.errors,
            "mismatches": outcome.mismatches,
            "share by adapter": shares,
            "swap p50, ms": 1000 * percentile(outcome.swaps, 0.5),
            "swap p99, ms": 1000 * percentile(outcome.swaps, 0.99),
            "least margin of a token (log-prob)": outcome.margin,
        }
    ]


def main() -> None:
    """Print the table; exit with 1 if something failed or was mixed."""
    made = parser(__doc__)
    made.add_argument("--swaps", type=int, default=200)
    arguments = made.parse_args()
    with tempfile.TemporaryDirectory(prefix="pawl-swap-") as folder:
        outcome = run(Path(folder), swaps=arguments.swaps, seed=arguments.seed)
    title = f"Swaps among {ADAPTERS} adapters under {CLIENTS} clients, greedy"
    report({title: rows(outcome)}, as_json=arguments.json)
    raise SystemExit(0 if outcome.good else 1)


if __name__ == "__main__":
    main()
