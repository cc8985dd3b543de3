"""What the demo asks of the server, and all of it over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import httpx
from openai import AsyncOpenAI

from demo.local_server import read_json
from demo.shop.users import UserFeedback, Visit

MAX_TOKENS = 110
TIMEOUT_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Answers:
    """What a visit got: the interaction's id, its answers, and what answered (`pawl@base`)."""

    id: str
    texts: list[str]
    model: str = ""


class DemoClient:
    """Users' and the operator's ways into one server."""

    def __init__(self, openai: AsyncOpenAI, http: httpx.AsyncClient) -> None:
        self._openai = openai
        self._http = http

    async def chat(self, visit: Visit, *, answers: int, model: str = "pawl") -> Answers:
        """Ask as the visit's user."""
        completion = await self._openai.chat.completions.create(
            model=model,
            messages=[{"role": "user", "content": visit.text}],
            user=visit.user.name,
            n=answers,
            max_tokens=MAX_TOKENS,
            temperature=1.0,
        )
        ordered = sorted(completion.choices, key=lambda choice: choice.index)
        texts = [choice.message.content or "" for choice in ordered]
        return Answers(completion.id, texts, completion.model)

    async def rate(
        self, visit: Visit, answers: Answers, judgements: Sequence[UserFeedback]
    ) -> None:
        """Send everything that the user has to say."""
        for judgement in judgements:
            body = {
                "inference_id": answers.id,
                "choice": judgement.choice,
                "metric_name": judgement.metric,
                "value": _value(answers.id, judgement),
                "rater": visit.user.name,
            }
            read_json(await self._http.post("/v1/feedback", json=body))

    async def now(self) -> datetime:
        """The server's time."""
        return await self.advance(timedelta())

    async def advance(self, by: timedelta) -> datetime:
        """Let time pass on the server."""
        body = {"advance_seconds": by.total_seconds()}
        answer = read_json(await self._http.post("/v1/clock", json=body))
        return datetime.fromisoformat(answer["now"])

    async def runs(self) -> list[dict[str, Any]]:
        """All runs, newest first."""
        found: list[dict[str, Any]] = read_json(await self._http.get("/v1/runs"))
        return found

    async def run(self, identifier: str) -> dict[str, Any]:
        """One run."""
        found: dict[str, Any] = read_json(await self._http.get(f"/v1/runs/{identifier}"))
        return found

    async def evaluation(self, run: str) -> list[dict[str, Any]]:
        """What the arms of a run's evaluation answered."""
        found: list[dict[str, Any]] = read_json(await self._http.get(f"/v1/runs/{run}/answers"))
        return found

    async def rollout(self, version: str) -> dict[str, Any]:
        """A version's rollout: its phase, the online gate's numbers, and every decision."""
        found: dict[str, Any] = read_json(await self._http.get(f"/v1/rollouts/{version}"))
        return found

    async def route(self) -> dict[str, Any]:
        """Who answers."""
        found: dict[str, Any] = read_json(await self._http.get("/v1/route"))
        return found


def _value(identifier: str, judgement: UserFeedback) -> object:
    """A judgement's value as the API takes it: other answers are named by id and index."""
    if judgement.metric == "preference":
        return {"over": identifier, "choice": judgement.value}
    if judgement.metric == "ranking":
        assert isinstance(judgement.value, list)  # noqa: S101  (a ranking's value is its order)
        return [{"id": identifier, "choice": index} for index in judgement.value]
    return judgement.value


@asynccontextmanager
async def demo_client(url: str, token: str) -> AsyncIterator[DemoClient]:
    """Open the clients and close them."""
    headers = {"authorization": f"Bearer {token}"}
    async with (
        AsyncOpenAI(base_url=f"{url}/v1", api_key=token, timeout=TIMEOUT_SECONDS) as openai,
        httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_SECONDS) as http,
    ):
        yield DemoClient(openai, http)


async def gathered(jobs: Sequence[Any], at_once: int) -> list[Any]:
    """Await all, no more than `at_once` at a time, in order."""
    room = asyncio.Semaphore(at_once)

    async def one(job: Any) -> Any:
        async with room:
            return await job

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(job)) for job in jobs]
    return [task.result() for task in tasks]
