"""Builds OpenAI responses and chunks from the fake engine's answers."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any

from server.engine.base import EngineCall
from server.engine.fake.answer import FakeAnswer, tool_call


def usage(prompt: Sequence[int], answers: Sequence[FakeAnswer]) -> dict[str, int]:
    """Return the token counts of a request."""
    sampled = sum(len(answer.pieces) for answer in answers)
    return {
        "prompt_tokens": len(prompt),
        "completion_tokens": sampled,
        "total_tokens": len(prompt) + sampled,
    }


def response(
    call: EngineCall, fields: Mapping[str, Any], prompt: Sequence[int], answers: list[FakeAnswer]
) -> str:
    """Return the body of an answer that is not streamed, as JSON."""
    build = _chat_choice if call.endpoint == "chat" else _completion_choice
    choices = [build(index, answer, fields) for index, answer in enumerate(answers)]
    kind = "chat.completion" if call.endpoint == "chat" else "text_completion"
    return json.dumps(_head(call, kind) | {"choices": choices, "usage": usage(prompt, answers)})


def chunk(call: EngineCall, choices: list[dict[str, Any]], **extra: Any) -> str:
    """Return one event of a stream."""
    kind = "chat.completion.chunk" if call.endpoint == "chat" else "text_completion"
    return f"data: {json.dumps(_head(call, kind) | {'choices': choices} | extra)}\n\n"


def delta(
    call: EngineCall, index: int, text: str, *, finish: str | None, fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the next delta of a choice; a tool call comes complete in the last delta."""
    if call.endpoint == "completion":
        return {"index": index, "text": text, "finish_reason": finish, "logprobs": None}
    if tool_call(fields) is None:
        content: dict[str, Any] = {"content": text}
    elif finish is None:
        content = {}
    else:
        content = {"tool_calls": [{"index": 0} | one for one in _tool_calls(fields)]}
    return {"index": index, "delta": content, "finish_reason": _finish(finish, fields)}


def _head(call: EngineCall, kind: str) -> dict[str, Any]:
    return {"id": call.id, "object": kind, "created": int(time.time()), "model": call.model}


def _chat_choice(index: int, answer: FakeAnswer, fields: Mapping[str, Any]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if tool_call(fields) is not None:
        message = {"role": "assistant", "content": None, "tool_calls": _tool_calls(fields)}
    reason = _finish(answer.finish_reason, fields)
    return {"index": index, "message": message, "finish_reason": reason, "logprobs": None}


def _completion_choice(index: int, answer: FakeAnswer, _: Mapping[str, Any]) -> dict[str, Any]:
    reason = answer.finish_reason
    return {"index": index, "text": answer.text, "finish_reason": reason, "logprobs": None}


def _tool_calls(fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    called = json.loads(tool_call(fields) or "{}")
    function = {"name": called["name"], "arguments": json.dumps(called["arguments"])}
    return [{"id": "call_0", "type": "function", "function": function}]


def _finish(reason: str | None, fields: Mapping[str, Any]) -> str | None:
    called = reason == "stop" and fields.get("tool_choice") == "required"
    return "tool_calls" if called else reason
