"""The demo's client of the server: chats, feedback and administration over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

import httpx
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam

from demo.local_server import read_json
from demo.shop.feedback import UserFeedback

TIMEOUT_SECONDS = 120.0
SAID: Mapping[str, str] = {"preference": "over", "tie": "tie", "both_bad": "both_bad"}
"""Kinds of preference between two answers."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How an application asks: the length limit in tokens, the temperature, a system prompt."""

    max_tokens: int
    temperature: float = 1.0
    system: str | None = None

    def messages(self, text: str) -> list[ChatCompletionMessageParam]:
        """Return the messages of a chat with one question."""
        user: ChatCompletionMessageParam = {"role": "user", "content": text}
        if self.system is None:
            return [user]
        return [{"role": "system", "content": self.system}, user]


SHOP_SAMPLING = Sampling(max_tokens=110)


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to a visit: the interaction's id, the texts and the model (`pawl@base`)."""

    id: str
    texts: list[str]
    model: str = ""


class Named(Protocol):
    """A user or a person."""

    @property
    def name(self) -> str:
        """The name that requests give as `user`, and judgements as `rater`."""
        ...


class Asking(Protocol):
    """Somebody with a question."""

    @property
    def user(self) -> Named:
        """Who asks."""
        ...

    @property
    def text(self) -> str:
        """The question."""
        ...


class DemoClient:
    """The requests of users and of the operator to one server."""

    def __init__(self, openai: AsyncOpenAI, http: httpx.AsyncClient) -> None:
        self._openai = openai
        self._http = http

    async def chat(
        self, visit: Asking, *, answers: int, model: str = "pawl", asks: Sampling = SHOP_SAMPLING
    ) -> Answers:
        """Send a chat as the visit's user."""
        completion = await self._openai.chat.completions.create(
            model=model,
            messages=asks.messages(visit.text),
            user=visit.user.name,
            n=answers,
            max_tokens=asks.max_tokens,
            temperature=asks.temperature,
        )
        ordered = sorted(completion.choices, key=lambda choice: choice.index)
        texts = [choice.message.content or "" for choice in ordered]
        return Answers(completion.id, texts, completion.model)

    async def converse(self, user: str, turns: Sequence[tuple[str, str]]) -> None:
        """Send a conversation of turns, each a role and a text, for an answer to the last one."""
        answered = await self._http.post(
            "/v1/chat/completions",
            json={
                "model": "pawl",
                "messages": [{"role": role, "content": text} for role, text in turns],
                "user": user,
                "max_tokens": SHOP_SAMPLING.max_tokens,
            },
        )
        read_json(answered)

    async def rate(
        self, visit: Asking, answers: Answers, judgements: Sequence[UserFeedback]
    ) -> None:
        """Send the user's feedback."""
        for judgement in judgements:
            body = {
                "inference_id": answers.id,
                "choice": judgement.choice,
                "metric_name": "preference" if judgement.metric in SAID else judgement.metric,
                "value": _value(answers.id, judgement),
                "rater": visit.user.name,
            }
            read_json(await self._http.post("/v1/feedback", json=body))

    async def now(self) -> datetime:
        """Return the server's time."""
        return await self.advance(timedelta())

    async def advance(self, by: timedelta) -> datetime:
        """Advance the server's clock and return its new time."""
        body = {"advance_seconds": by.total_seconds()}
        answer = read_json(await self._http.post("/v1/clock", json=body))
        return datetime.fromisoformat(answer["now"])

    async def runs(self) -> list[dict[str, Any]]:
        """Return all runs, newest first."""
        found: list[dict[str, Any]] = read_json(await self._http.get("/v1/runs"))
        return found

    async def run(self, identifier: str) -> dict[str, Any]:
        """Return one run."""
        found: dict[str, Any] = read_json(await self._http.get(f"/v1/runs/{identifier}"))
        return found

    async def evaluation(self, run: str) -> list[dict[str, Any]]:
        """Return the answers of all arms in a run's evaluation."""
        found: list[dict[str, Any]] = read_json(await self._http.get(f"/v1/runs/{run}/answers"))
        return found

    async def rollout(self, version: str) -> dict[str, Any]:
        """Return a version's rollout: its phase, the online gate's numbers and all decisions."""
        found: dict[str, Any] = read_json(await self._http.get(f"/v1/rollouts/{version}"))
        return found

    async def promote(self, version: str, reason: str) -> None:
        """Make a version live, as an operator does with `pawl adapters promote`."""
        path = f"/v1/adapters/{version}/promote"
        read_json(await self._http.post(path, json={"reason": reason}))

    async def route(self) -> dict[str, Any]:
        """Return the channel's route."""
        found: dict[str, Any] = read_json(await self._http.get("/v1/route"))
        return found


def _value(identifier: str, judgement: UserFeedback) -> object:
    """Return a judgement's value for the API, which names other answers by id and index."""
    if judgement.metric in SAID:
        return {SAID[judgement.metric]: identifier, "choice": judgement.value}
    if judgement.metric == "ranking":
        assert isinstance(judgement.value, list)  # noqa: S101  (a ranking's value is its order)
        return [{"id": identifier, "choice": index} for index in judgement.value]
    return judgement.value


@asynccontextmanager
async def demo_client(url: str, token: str) -> AsyncIterator[DemoClient]:
    """Open the clients, and close them at the end."""
    headers = {"authorization": f"Bearer {token}"}
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key=token, timeout=TIMEOUT_SECONDS) as openai,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS) as http,
    ):
        yield DemoClient(openai, http)


async def gathered(jobs: Sequence[Any], at_once: int) -> list[Any]:
    """Await all jobs, at most `at_once` concurrently; return the results in order."""
    room = asyncio.Semaphore(at_once)

    async def one(job: Any) -> Any:
        async with room:
            return await job

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(job)) for job in jobs]
    return [task.result() for task in tasks]
