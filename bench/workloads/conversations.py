"""Draws conversations of every shape that chat templates treat differently."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

WORDS = (
    *("tomatoes", "compost", "deliver", "slugs", "ripen", "Saturday", "bag", "late", "Summer"),
    *(
        "how",
        "much",
        "?",
        "is",
        "it",
        "the",
        "oak",
        "bench,",
        "£4.50",
        "naïve",
        "crème",
        "日本",
        "🐌",
    ),
)
TOOLS_EVERY = 5
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "price_of",
            "description": "What an article costs, in pounds",
            "parameters": {
                "type": "object",
                "properties": {"article": {"type": "string"}},
                "required": ["article"],
            },
        },
    }
]


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation to send."""

    messages: list[Message]
    tools: list[dict[str, Any]] | None

    @property
    def turns(self) -> int:
        """The number of messages without the system prompt."""
        return sum(message["role"] != "system" for message in self.messages)


def conversations(count: int, rng: random.Random) -> list[Conversation]:
    """Draw conversations, no two alike.

    Every second one has a system prompt and several turns; every fifth has tools, and half of those
    have called one already.
    """
    return [_conversation(number, rng) for number in range(count)]


def _conversation(number: int, rng: random.Random) -> Conversation:
    messages: list[Message] = []
    if number % 2:
        messages.append(_said("system", rng))
        for _ in range(rng.randint(1, 2)):
            messages += [_said("user", rng), _said("assistant", rng)]
    with_tools = number % TOOLS_EVERY == 0
    if with_tools and number // TOOLS_EVERY % 4 in (1, 2):
        messages += _tool_use(rng)
    messages.append(_said("user", rng, opening=f"({number}) "))
    return Conversation(messages, TOOLS if with_tools else None)


def _said(role: str, rng: random.Random, opening: str = "") -> Message:
    return {"role": role, "content": opening + " ".join(rng.choices(WORDS, k=rng.randint(2, 9)))}


def _tool_use(rng: random.Random) -> list[Message]:
    call = {
        "id": "call_0123456789",
        "type": "function",
        "function": {
            "name": "price_of",
            "arguments": json.dumps({"article": rng.choice(WORDS)}, ensure_ascii=False),
        },
    }
    return [
        _said("user", rng),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": '{"pounds": 4.5}'},
        _said("assistant", rng),
    ]


def for_template(messages: Sequence[Message]) -> list[Message]:
    """Return the messages as the engine passes them to a chat template.

    A tool call's arguments become an object before its name, since vLLM's types sort the two. The
    order is visible if a template writes the whole function as JSON.
    """
    return [_for_template(message) for message in messages]


def _for_template(message: Message) -> Message:
    if not message.get("tool_calls"):
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call["function"]
        arguments = json.loads(function["arguments"])
        calls.append({**call, "function": {"arguments": arguments, "name": function["name"]}})
    return {**message, "tool_calls": calls}
