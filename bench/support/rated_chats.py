"""Sends and rates conversations, and records what the client received."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from bench.support.chat import Choice, Reply, ask, session_of
from bench.support.servers import ServerProcess
from bench.workloads.conversations import Conversation
from bench.workloads.training import PairIds

CONCURRENCY = 8
CHOICES = 4
ATTEMPTS = 20


class NoAnswerError(Exception):
    """A conversation was refused, or had no two different answers of which one was complete."""


@dataclass(frozen=True, slots=True)
class Served:
    """One conversation, and the answer that is preferred over the other."""

    conversation: Conversation
    reply: Reply
    chosen: Choice
    rejected: Choice

    @property
    def pair(self) -> PairIds:
        """The ids that the engine reported to the client."""
        return PairIds(
            tuple(self.reply.prompt_token_ids),
            tuple(self.chosen.token_ids),
            tuple(self.rejected.token_ids),
        )


async def serve_and_rate(
    server: ServerProcess,
    adapter: Path,
    asked: Sequence[Conversation],
    bias: Mapping[str, float],
) -> tuple[str, list[Served]]:
    """Make the adapter live, send and rate all conversations; return the version and the results.

    `bias` is added to the logits of tokens in sampling. Raises `NoAnswerError`.
    """
    turns = asyncio.Semaphore(CONCURRENCY)

    async def one(number: int, conversation: Conversation) -> Served:
        async with turns:
            return await _answered(session, number, conversation, bias)

    async with session_of(server) as session:
        added = await _post(session, "/v1/adapters", {"path": str(adapter)})
        version = added["name"]
        await _post(session, f"/v1/adapters/{version}/promote", {})
        served = await asyncio.gather(*(one(*numbered) for numbered in enumerate(asked)))
    return version, list(served)


async def _answered(
    session: aiohttp.ClientSession,
    number: int,
    conversation: Conversation,
    bias: Mapping[str, float],
) -> Served:
    """Send the conversation until there is a pair; every second pair of conversations streams."""
    body: dict[str, Any] = {
        "model": "pawl",
        "messages": conversation.messages,
        "user": f"user-{number}",
        "n": CHOICES,
        "max_tokens": 48,
        "logprobs": True,
        "return_token_ids": True,
        "logit_bias": dict(bias),
        "stream": number % 4 >= 2,
    }
    if conversation.tools is not None:
        body["tools"] = conversation.tools
    for _ in range(ATTEMPTS):
        reply = await ask(session, body)
        if not reply.good:
            raise NoAnswerError(f"the server answered {reply.status}")
        pair = _preferred(reply)
        if pair is not None:
            await _prefer(session, reply.id, *pair)
            chosen, rejected = (reply.choices[index] for index in pair)
            return Served(conversation, reply, chosen, rejected)
    raise NoAnswerError(f"no answer ended by itself in {ATTEMPTS} attempts")


def _preferred(reply: Reply) -> tuple[int, int] | None:
    """Return the indices of an answer that ends by itself and of another one, both with text."""
    spoken = {index: choice for index, choice in reply.choices.items() if choice.text.strip()}
    for chosen, better in spoken.items():
        for rejected, worse in spoken.items():
            if better.finish_reason == "stop" and better.text != worse.text:
                return chosen, rejected
    return None


async def _prefer(
    session: aiohttp.ClientSession, identifier: str, chosen: int, rejected: int
) -> None:
    feedback = {
        "inference_id": identifier,
        "choice": chosen,
        "metric_name": "preference",
        "value": {"over": identifier, "choice": rejected},
    }
    await _post(session, "/v1/feedback", feedback)


async def _post(session: aiohttp.ClientSession, path: str, body: dict[str, Any]) -> Any:
    async with session.post(path, json=body) as response:
        if not response.ok:
            raise NoAnswerError(f"{path} answered {response.status}")
        return await response.json()
