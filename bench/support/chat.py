"""Sends chats to a server, streaming or not, and returns the replies in one form."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from bench.support.servers import ServerProcess

_PATH = "/v1/chat/completions"


@dataclass(slots=True)
class Choice:
    """One answer: its text, and where they were asked for, ids and log-probabilities by token."""

    text: str = ""
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    margin: float = math.inf
    finish_reason: str | None = None


@dataclass(slots=True)
class Reply:
    """A whole response. `good`: status 200, every choice ended, and a stream its `[DONE]`."""

    status: int
    id: str = ""
    model: str = ""
    version: str = ""
    prompt_token_ids: list[int] = field(default_factory=list)
    choices: dict[int, Choice] = field(default_factory=dict)
    ended: bool = False

    @property
    def good(self) -> bool:
        """Whether it is complete."""
        whole = all(choice.finish_reason for choice in self.choices.values())
        return self.status == 200 and self.ended and bool(self.choices) and whole

    @property
    def text(self) -> str:
        """The first choice's text."""
        return self.choices[0].text

    @property
    def margin(self) -> float:
        """The smallest lead of a token of the first choice over the runner-up (top_logprobs 2)."""
        return self.choices[0].margin


def session_of(server: ServerProcess) -> aiohttp.ClientSession:
    """A session with `server`, without a limit on connections."""
    return aiohttp.ClientSession(
        server.url,
        connector=aiohttp.TCPConnector(limit=0),
        headers=server.headers,
        timeout=aiohttp.ClientTimeout(total=120),
    )


async def ask(session: aiohttp.ClientSession, body: Mapping[str, Any]) -> Reply:
    """Send a chat and read the whole answer; a broken connection gives a reply that is not good."""
    try:
        async with session.post(_PATH, json=body) as response:
            reply = Reply(response.status, version=response.headers.get("x-pawl-version", ""))
            if response.status != 200:
                return reply
            if body.get("stream"):
                await _read_stream(response, reply)
            else:
                _take(reply, await response.json(), "message")
                reply.ended = True
            return reply
    except (aiohttp.ClientError, TimeoutError):
        return Reply(0)


async def _read_stream(response: aiohttp.ClientResponse, reply: Reply) -> None:
    async for line in response.content:
        data = line.removeprefix(b"data: ").strip()
        if data == b"[DONE]":
            reply.ended = True
        elif data:
            event = json.loads(data)
            if "error" in event:
                return
            _take(reply, event, "delta")


def _take(reply: Reply, part: Mapping[str, Any], holder: str) -> None:
    """Add a body, or an event of a stream, to the reply."""
    reply.id, reply.model = part["id"], part["model"]
    reply.prompt_token_ids = part.get("prompt_token_ids") or reply.prompt_token_ids
    for piece in part["choices"]:
        choice = reply.choices.setdefault(piece["index"], Choice())
        choice.text += piece[holder].get("content") or ""
        choice.token_ids += piece.get("token_ids") or []
        choice.finish_reason = piece.get("finish_reason") or choice.finish_reason
        for token in (piece.get("logprobs") or {}).get("content") or []:
            choice.logprobs.append(token["logprob"])
            choice.margin = min(choice.margin, _lead(token))


def _lead(token: Mapping[str, Any]) -> float:
    likely = sorted((other["logprob"] for other in token["top_logprobs"]), reverse=True)
    return float(likely[0] - likely[1]) if len(likely) > 1 else math.inf
