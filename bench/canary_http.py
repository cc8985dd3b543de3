"""Canaries through the HTTP API and the database: `python -m bench.canary_http [--better]`.

Each canary has a channel of its own on the fake engine. Its users chat and vote over HTTP and get
the arm that the route assigns; the rollout service reads the log and decides. The same votes go to
the online gate directly (`retrain.gates.online.decision`, with units built here from the votes
alone); both must reach the same decision at the same moment. Votes are clustered by user and rates
drift (`bench/workloads/canaries.py`), but no user votes more than eight times. The app's clock is
advanced hour by hour.
"""

import asyncio
import logging
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
from fastapi import FastAPI

from adapters.names import BASE
from adapters.routing.route import bucket
from bench.support.tables import Row, parser, report
from bench.workloads.canaries import World, rates, visits
from retrain.config import CanaryConfig, RetrainConfig
from retrain.gates.e_process import Unit
from retrain.gates.evidence import CanaryEvidence, Timed
from retrain.gates.online import DAY_SECONDS, decision
from retrain.rollout.decisions import Phase
from retrain.rollout.service import RolloutService
from server.app import create_app, lifespan
from server.config import ChannelConfig
from server.engine.config import EngineConfig
from server.engine.fake.engine import FakeEngine
from server.logs import configure_logs
from server.settings import Settings
from tests.adapters.adapter_files import make_adapter

START = datetime(2026, 11, 16, tzinfo=UTC)
AT_ONCE = 64
AT_A_TIME = 50
"""Number of canaries of one app; each takes one of the engine's slots."""
HOUR, DAY = 3_600.0, float(DAY_SECONDS)
LOOK_EVERY = 6
"""Hours between two looks at the evidence."""
VOTES_MOST = 8
TENANT = "default"
SETTINGS = CanaryConfig(shadow_answers=0, first_requests=0)
"""The canary gets half of the users at once; the gate has its default settings."""


class DriveError(Exception):
    """A request was refused, or an answer came from the wrong arm."""


class Said(NamedTuple):
    """A vote: its time (seconds since the canary began, on the hour) and its user."""

    at: float
    user: int
    canary: bool
    vote: bool


class End(NamedTuple):
    """How a canary ended, and when, in seconds since it began."""

    outcome: str
    at: float | None


@dataclass(slots=True)
class Canary:
    """One canary: its version, its users' votes, and the answers they got."""

    number: int
    version: str
    said: list[Said]
    asked: dict[int, str] = field(default_factory=dict)
    over: bool = False

    @property
    def channel(self) -> str:
        """The canary's channel."""
        return _channel(self.number)


@dataclass(slots=True)
class Outcome:
    """The decisions by both ways, for each canary."""

    over_http: list[End] = field(default_factory=list)
    pure: list[End] = field(default_factory=list)
    requests: int = 0
    votes: int = 0
    seconds: float = 0.0

    @property
    def agreeing(self) -> int:
        """The number of canaries with the same decision at the same moment."""
        return sum(one == other for one, other in zip(self.over_http, self.pure, strict=True))

    @property
    def good(self) -> bool:
        """Whether all agree."""
        return self.agreeing == len(self.over_http) > 0


class Moment:
    """A clock that moves only when it is set."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        """The time that was set."""
        return self.now


def pure_end(said: Sequence[Said], days: float) -> End:
    """Return the gate's decision on these votes, with units built from the votes alone."""
    first: dict[int, Said] = {}
    means: defaultdict[int, list[bool]] = defaultdict(list)
    for one in said:
        opened = first.setdefault(one.user, one)
        if one.at < opened.at + DAY:
            means[one.user].append(one.vote)
    closed = [
        Timed(one.at + DAY, Unit(one.canary, float(np.mean(means[user])), SETTINGS.share))
        for user, one in first.items()
        if one.at + DAY <= days * DAY
    ]
    evidence = CanaryEvidence(
        first=[
            Timed(one.at, Unit(one.canary, float(one.vote), SETTINGS.share))
            for one in first.values()
        ],
        day=closed,
        age_days=days,
    )
    found, _ = decision(evidence, SETTINGS.gate)
    return _end(None if found is None else found.promotes, None if found is None else found.at)


def _end(promotes: bool | None, at: float | None) -> End:  # noqa: FBT001
    if promotes is None:
        return End("undecided", None)
    if at is not None and at >= SETTINGS.gate.longest_days * DAY:
        return End("expired", at)
    return End("promoted" if promotes else "rolled back", at)


async def drive(folder: Path, world: World, canaries: int, seed: int) -> Outcome:
    """Simulate `canaries` canaries of `world`, `AT_A_TIME` in each app."""
    outcome, began = Outcome(), time.perf_counter()
    for start in range(0, canaries, AT_A_TIME):
        numbers = range(start, min(start + AT_A_TIME, canaries))
        async with _app(folder / str(start), numbers) as (app, clock):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                await _Drive(app, clock, http, world, outcome).run(numbers, seed)
    outcome.seconds = time.perf_counter() - began
    return outcome


@asynccontextmanager
async def _app(folder: Path, numbers: Iterable[int]) -> AsyncIterator[tuple[FastAPI, Moment]]:
    """Yield an app with a channel for each canary; its scheduler ticks only once, at the start."""
    clock = Moment()
    settings = Settings(
        data_dir=folder,
        engine=EngineConfig(kind="fake", model="fake", adapter_slots=64),
        channels={_channel(number): ChannelConfig() for number in numbers},
        retrain=RetrainConfig(
            enabled=False, rollout_seconds=DAY, rollout="canary", canary=SETTINGS
        ),
    )

    async def start(config: EngineConfig) -> FakeEngine:
        return FakeEngine(config)

    app = create_app(settings, start_engine=start, clock=clock)
    app.state.url = "http://127.0.0.1"
    async with lifespan(app):
        yield app, clock


class _Drive:
    """Simulates users and time for the canaries of one app."""

    def __init__(
        self,
        app: FastAPI,
        clock: Moment,
        http: httpx.AsyncClient,
        world: World,
        outcome: Outcome,
    ) -> None:
        self._services = app.state.services
        self._clock = clock
        self._http = http
        self._world = world
        self._outcome = outcome
        self._room = asyncio.Semaphore(AT_ONCE)

    async def run(self, numbers: Sequence[int], seed: int) -> None:
        """Simulate the canaries from the first request to the last look."""
        canaries = [await self._begun(number, seed) for number in numbers]
        hours = round(self._world.days * 24)
        for hour in range(hours + 1):
            self._clock.now = START + timedelta(hours=hour)
            await self._all(self._hour(one, hour * HOUR) for one in canaries if not one.over)
            if hour % LOOK_EVERY == 0:
                await self._look(canaries)
        for one in canaries:
            self._outcome.over_http.append(await self._end_of(one))
            self._outcome.pure.append(pure_end(one.said, self._world.days))

    async def _begun(self, number: int, seed: int) -> Canary:
        """Start a canary and draw all votes of its users."""
        with tempfile.TemporaryDirectory(prefix="pawl-") as folder:
            path = make_adapter(Path(folder) / "adapter", 1_000_000 * seed + number)
            body = {"path": str(path), "channel": _channel(number)}
            version = (await self._post("/v1/adapters", body))["name"]
        rollouts: RolloutService = self._services.runs.rollouts
        await rollouts.begin(version, _channel(number), None, "bench")
        trial = self._services.registry.routes()[_channel(number)].trial
        rng = np.random.default_rng([seed, number])
        return Canary(number, version, make_said(self._world, trial, number, rng))

    async def _hour(self, canary: Canary, at: float) -> None:
        """Simulate one hour of a canary: users chat, then vote on their answers in order."""
        now = [(index, one) for index, one in enumerate(canary.said) if one.at == at]
        await self._all(self._ask(canary, index, one) for index, one in now)
        for index, one in now:  # in order: feedback is ordered by its time, which is the server's
            await self._vote(canary, index, one)

    async def _ask(self, canary: Canary, index: int, said: Said) -> None:
        user = _user(canary.number, said.user)
        message = {"role": "user", "content": "Which one?"}
        body = {"model": canary.channel, "messages": [message], "user": user}
        answer = await self._posted("/v1/chat/completions", body)
        role = "canary" if said.canary else "live"
        version = canary.version if said.canary else BASE
        if (answer.headers["x-pawl-role"], answer.headers["x-pawl-version"]) != (role, version):
            raise DriveError("an answer came from another arm than the route's")
        canary.asked[index] = answer.headers["x-pawl-interaction"]
        self._outcome.requests += 1

    async def _vote(self, canary: Canary, index: int, said: Said) -> None:
        body = {
            "id": f"{canary.number:04}-{index:06}",
            "inference_id": canary.asked[index],
            "metric_name": "thumbs",
            "value": said.vote,
        }
        await self._post("/v1/feedback", body)
        self._outcome.votes += 1

    async def _look(self, canaries: Iterable[Canary]) -> None:
        """Let the service tick, and end the simulation of finished canaries."""
        await self._services.runs.rollouts.tick()
        for one in canaries:
            if not one.over:
                one.over = (await self._rollout(one))["phase"] != Phase.CANARY

    async def _end_of(self, canary: Canary) -> End:
        """Return how the canary ended, from the API."""
        found = await self._rollout(canary)
        ends = {"promote": True, "roll_back": False}
        moves = [event for event in found["events"] if event["move"] in ends]
        if not moves:
            return _end(None, None)
        # A server never gives two rows the same time: later ones of an hour are microseconds on.
        return _end(ends[moves[0]["move"]], float(round(moves[0]["numbers"]["at"])))

    async def _rollout(self, canary: Canary) -> dict[str, Any]:
        answer = await self._http.get(f"/v1/rollouts/{canary.version}")
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        return (await self._posted(path, body)).json()

    async def _posted(self, path: str, body: dict[str, Any]) -> httpx.Response:
        async with self._room:
            answer = await self._http.post(path, json=body)
        if not answer.is_success:
            raise DriveError(f"{path} answered {answer.status_code}")
        return answer

    async def _all(self, jobs: Iterable[Awaitable[None]]) -> None:
        await asyncio.gather(*jobs)


def make_said(world: World, trial: str, number: int, rng: np.random.Generator) -> list[Said]:
    """Draw all votes of a canary's users, in order; the route's hash assigns users to arms."""
    canary = np.array(
        [
            bucket(trial, f"{TENANT}\0{_user(number, user)}") < SETTINGS.share
            for user in range(world.users)
        ]
    )
    seen = np.sort(rng.uniform(0, world.days, world.users))
    user, at = visits(seen, rng, most=VOTES_MOST)
    counts = at < world.days
    user, at = user[counts], at[counts]
    vote = rng.random(at.size) < rates(world, canary, user, at, rng)
    said = [
        Said(hour * HOUR, who, bool(canary[who]), yes)
        for hour, who, yes in zip(
            np.floor(at * 24).tolist(), user.tolist(), vote.tolist(), strict=True
        )
    ]
    return sorted(_off_the_boundary(said), key=lambda one: one.at)


def _off_the_boundary(said: Sequence[Said]) -> Iterator[Said]:
    """Drop votes exactly a day after the user's first: there microseconds would decide."""
    first: dict[int, float] = {}
    for one in said:
        if one.at != first.setdefault(one.user, one.at) + DAY:
            yield one


def _channel(number: int) -> str:
    return f"canary-{number}"


def _user(number: int, user: int) -> str:
    return f"{number}-{user}"


def rows(name: str, outcome: Outcome) -> list[Row]:
    """Return the decisions by both ways, and their cost."""
    found: list[Row] = []
    for way, ends in (("HTTP and database", outcome.over_http), ("pure gate", outcome.pure)):
        counted = Counter(end.outcome for end in ends)
        found.append(
            {
                "canaries": f"{len(ends)} {name}",
                "by": way,
                **{kind: counted[kind] for kind in ("promoted", "rolled back", "expired")},
                "agreeing": outcome.agreeing,
                "chats": outcome.requests,
                "votes": outcome.votes,
                "seconds": round(outcome.seconds),
            }
        )
    return found


def main() -> None:
    """Print the table; exit with 1 if the two ways differ."""
    made = parser(__doc__)
    made.add_argument("--canaries", type=int, default=50)
    made.add_argument("--users", type=int, default=600)
    made.add_argument("--better", action="store_true", help="live .50, canary .65")
    arguments = made.parse_args()
    configure_logs(least=logging.ERROR)
    world = World(canary=0.65 if arguments.better else 0.5, users=arguments.users)
    with tempfile.TemporaryDirectory(prefix="pawl-canaries-") as folder:
        outcome = asyncio.run(drive(Path(folder), world, arguments.canaries, arguments.seed))
    name = ".50 -> .65" if arguments.better else "of equal versions"
    report({"Canaries through the API": rows(name, outcome)}, as_json=arguments.json)
    raise SystemExit(0 if outcome.good else 1)


if __name__ == "__main__":
    main()
