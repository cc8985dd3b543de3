"""Case `hours`: from the hundredth fresh vote to a new live version, through both gates.

An app with the fake engine, the quick trainer, the real scheduler and the real rollouts; its clock
is set from quarter of an hour to quarter of an hour. Each day 1,000 users chat and rate: they
prefer one of two answers while nothing is rolled out, and give thumbs during a canary, of which
live's users like 50 % and the canary's 60 % (each user has a rate of their own, and rates move with
the hour). The offline judge prefers the new version on 60 % of the questions. The canary gets half
of the users at once.

The quick trainer trains nothing and the fake engine answers at once, so the seconds are those of
everything else: snapshot, evaluation, gates, database. How long a model takes to train and to
answer comes on top.
"""

import asyncio
import logging
import resource
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import pi, sin
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI

from bench.canary_http import START, Moment
from bench.learning.harness import Options, Result
from common.settings import YEAR_SECONDS
from retrain.config import (
    CanaryConfig,
    EnoughConfig,
    PairsConfig,
    RetrainConfig,
    TrainerConfig,
)
from retrain.repository import RunRepository
from retrain.rollout.decisions import Phase
from retrain.schedule import Schedule
from server.app import create_app, lifespan
from server.config import ServerConfig, ShadowConfig
from server.engine.config import EngineConfig
from server.engine.fake.engine import FakeEngine
from server.logs import configure_logs
from server.services import Services
from server.settings import Settings

CHANNEL = "pawl"
RATED_A_DAY = 1_000
STEP = timedelta(minutes=15)
LONGEST = timedelta(days=7)
EARLIER_USERS = 2_400
"""Users of the days before, who rated nothing; the held-out ones among them asked the questions of
the evaluation."""
HELD_OUT = 0.2
AT_ONCE = 16
LIKED = {"live": 0.5, "canary": 0.6}
CLUSTERING, HOURLY = 3.0, 0.05
"""As in `bench.workloads.canaries`: how much users differ, and how much rates move in a day."""
RETRAIN = RetrainConfig(
    when="enough",
    enough=EnoughConfig(votes=100, hours=4),
    cron="0 0 29 2 *",  # years away: only votes start runs
    poll_seconds=YEAR_SECONDS,
    rollout_seconds=YEAR_SECONDS,
    rollout="canary",
    judge="bench.workloads.adapter_judge:mostly_likes_adapters",
    pairs=PairsConfig(held_out_share=HELD_OUT),
    trainer=TrainerConfig(command=(sys.executable, "-m", "bench.workloads.quick_trainer")),
    canary=CanaryConfig(shadow_share=1.0, first_requests=0),
)

SHADOW = ShadowConfig(busy_streams=1_000, quiet_seconds=0, concurrency=8)
"""A quarter of an hour passes in an instant here, so no quiet second lies between two requests."""


class RefusedError(Exception):
    """A request was refused."""


@dataclass(slots=True)
class Times:
    """When what happened, and the processor's seconds of runs and rollouts."""

    events: dict[str, datetime] = field(default_factory=dict)
    runs: int = 0
    run_seconds: float = 0.0
    rollout_seconds: float = 0.0
    rated: int = 0
    answers: int = 0

    def note(self, event: str, at: datetime) -> None:
        """Note the first time of an event."""
        self.events.setdefault(event, at)

    def hours(self, event: str) -> float | None:
        """Return the hours from the hundredth vote to an event."""
        if event not in self.events:
            return None
        return (self.events[event] - self.events["votes"]) / timedelta(hours=1)


async def hours(seed: int, options: Options) -> list[Result]:
    """Return the hours until live, those until the canary began, and the seconds of work."""
    configure_logs(least=logging.ERROR)  # stdout is the benchmark's
    async with _app(options) as (app, clock):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            shop = _Shop(app.state.services, clock, http, np.random.default_rng(seed))
            return _results(seed, await shop.until_live(options))


def _results(seed: int, times: Times) -> list[Result]:
    note = (
        f"hours from the hundredth fresh vote; {times.runs} runs; {times.rated} users rated the "
        f"canary or live, {times.answers} answers"
    )
    live = times.hours("live")
    return [
        Result("hours", seed, live, None, live is not None, note, "until live"),
        Result("hours", seed, times.hours("canary"), None, None, "hours", "until the canary"),
        Result("hours", seed, times.run_seconds, None, None, "of a processor", "runs, seconds"),
        Result(
            "hours", seed, times.rollout_seconds, None, None, "of a processor", "ticks, seconds"
        ),
    ]


@asynccontextmanager
async def _app(options: Options) -> AsyncIterator[tuple[FastAPI, Moment]]:
    clock = Moment()
    settings = Settings(
        data_dir=options.folder,
        engine=EngineConfig(kind="fake", model="fake", adapter_slots=8),
        server=ServerConfig(shadow=SHADOW),
        retrain=RETRAIN,
    )

    async def start(config: EngineConfig) -> FakeEngine:
        return FakeEngine(config)

    app = create_app(settings, start_engine=start, clock=clock)
    app.state.url = "http://127.0.0.1"
    async with lifespan(app):
        yield app, clock


class _Shop:
    """Users and time."""

    def __init__(
        self,
        services: Services,
        clock: Moment,
        http: httpx.AsyncClient,
        rng: np.random.Generator,
    ) -> None:
        self._services = services
        self._clock = clock
        self._http = http
        self._rng = rng
        self._room = asyncio.Semaphore(AT_ONCE)
        self._users = 0
        self._times = Times()
        runs = RunRepository(services.database)
        self._schedule = Schedule(services.runs, runs, RETRAIN, clock)

    async def until_live(self, options: Options) -> Times:
        """Let time pass until a version is live."""
        await self._all(self._chat(self._user()) for _ in range(EARLIER_USERS))
        end = self._clock.now + LONGEST
        while self._clock.now < end and "live" not in self._times.events:
            self._clock.now += STEP
            await self._visits()
            await self._work()
            if self._clock.now.hour % 6 == self._clock.now.minute == 0:
                options.say(f"hours: {self._clock.now - START}, {self._times.events}")
        return self._times

    async def _visits(self) -> None:
        """Let the users of one step chat and rate."""
        tries_out = await self._services.runs.rollouts.under_way(CHANNEL) is not None
        count = int(self._rng.poisson(RATED_A_DAY * (STEP / timedelta(days=1))))
        visit = self._give_thumbs if tries_out else self._prefer
        await self._all(visit(self._user()) for _ in range(count))

    async def _work(self) -> None:
        """Let the scheduler and the rollouts tick, wait for runs, and note what has happened."""
        runs, rollouts, times = self._services.runs, self._services.runs.rollouts, self._times
        if "votes" not in times.events and await runs.fresh_votes(CHANNEL) >= RETRAIN.enough.votes:
            times.note("votes", self._clock.now)
        before = _seconds()
        for run in await self._schedule.tick():
            times.runs += 1
            await runs.wait(run)
        times.run_seconds += _seconds() - before
        before = _seconds()
        await rollouts.tick()
        times.rollout_seconds += _seconds() - before
        for rollout in await rollouts.rows.of_channel(CHANNEL):
            if rollout.phase == Phase.CANARY:
                times.note("canary", self._clock.now)
            if rollout.phase == Phase.WATCH:
                times.note("live", self._clock.now)

    async def _prefer(self, user: str) -> None:
        answer = await self._chat(user, n=2)
        better = int(self._rng.random() < 0.5)
        value = {"over": answer.headers["x-pawl-interaction"], "choice": 1 - better}
        await self._say(answer, "preference", value, choice=better)

    async def _give_thumbs(self, user: str) -> None:
        """Chat and rate once to three times."""
        own = self._rng.beta(CLUSTERING * LIKED["live"], CLUSTERING * (1 - LIKED["live"]))
        self._times.rated += 1
        for _ in range(1 + self._rng.binomial(2, 0.5)):
            answer = await self._chat(user)
            more = LIKED.get(answer.headers["x-pawl-role"], LIKED["live"]) - LIKED["live"]
            hour = self._clock.now.hour + self._clock.now.minute / 60
            likes = np.clip(own + more + HOURLY * sin(2 * pi * hour / 24), 0.02, 0.98)
            await self._say(answer, "thumbs", bool(self._rng.random() < likes))
            self._times.answers += 1

    def _user(self) -> str:
        self._users += 1
        return f"user-{self._users}"

    async def _chat(self, user: str, n: int = 1) -> httpx.Response:
        """Ask a question of one's own."""
        question = f"What grows in bed {self._rng.integers(10**12)}?"
        body = {
            "model": CHANNEL,
            "messages": [{"role": "user", "content": question}],
            "user": user,
            "n": n,
        }
        return await self._post("/v1/chat/completions", body)

    async def _say(
        self, answer: httpx.Response, metric: str, value: Any, *, choice: int = 0
    ) -> None:
        body = {
            "inference_id": answer.headers["x-pawl-interaction"],
            "choice": choice,
            "metric_name": metric,
            "value": value,
        }
        await self._post("/v1/feedback", body)

    async def _post(self, path: str, body: dict[str, Any]) -> httpx.Response:
        answer = await self._http.post(path, json=body)
        if not answer.is_success:
            raise RefusedError(f"{path} answered {answer.status_code}: {answer.text[:200]}")
        return answer

    async def _all(self, visits: Iterable[Any]) -> None:
        async def one(visit: Any) -> None:
            async with self._room:
                await visit

        await asyncio.gather(*(one(visit) for visit in visits))


def _seconds() -> float:
    """Return the processor's seconds of this process and its children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)
