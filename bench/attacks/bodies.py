"""S4: bodies that break as many rules as 1 MB can."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.attacks.attack import Attack, AttackError, Target
from bench.attacks.sockets import post

ANSWER_BYTES_MAX = 16_384
ROOM = 990_000
"""Bytes of a body, a little under `server.limits.body_bytes`."""


def _send(target: Target, path: str, value: Any, token: str, *, times: int = 3) -> str:
    body = json.dumps(value, separators=(",", ":")).encode()
    with ThreadPoolExecutor(times) as pool:
        answers = [pool.submit(post, target.port, path, body, token) for _ in range(times)]
    seen = [answer.result() for answer in answers]
    status, largest = seen[0][0], max(size for _, size, _ in seen)
    told = f"{times} x {status}, {largest / 1000:.1f} kB"
    if largest > ANSWER_BYTES_MAX or status.startswith(("2", "5")):
        raise AttackError(told)
    return told


def _filled(piece: Callable[[int], str]) -> list[str]:
    number = ROOM // (len(json.dumps(piece(100_000))) + 3)
    return [piece(place) for place in range(number)]


def unknown_fields(target: Target) -> str:
    """Send 90,000 unknown fields with a browser's token."""
    body = dict.fromkeys(_filled(lambda place: f"a{place}"), 1)
    return _send(target, "/v1/feedback", body, target.feedback_token)


def _interaction(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [], **fields}


def numbers_for_messages(target: Target) -> str:
    """Send 490,000 numbers in place of messages."""
    body = _interaction(messages=[1] * (ROOM // 2))
    return _send(target, "/v1/interactions", body, target.app_key)


def numbers_for_tags(target: Target) -> str:
    """Send 80,000 tags that are numbers."""
    tags = dict.fromkeys(_filled(lambda place: f"a{place}"), 1)
    return _send(target, "/v1/interactions", _interaction(tags=tags), target.app_key)


def unknown_fields_in_choices(target: Target) -> str:
    """Send an answer with 80,000 unknown fields."""
    choice = {"text": "a", **dict.fromkeys(_filled(lambda place: f"a{place}"), 1)}
    return _send(target, "/v1/interactions", _interaction(choices=[choice]), target.app_key)


def many_objects(target: Target) -> str:
    """Send 330,000 empty objects in place of texts."""
    body = _interaction(stop=[{}] * (ROOM // 3))
    return _send(target, "/v1/interactions", body, target.app_key)


def a_field_of_the_chat(target: Target) -> str:
    """Send a chat with 90,000 unknown fields."""
    body = {"model": "pawl", **dict.fromkeys(_filled(lambda place: f"a{place}"), 1)}
    return _send(target, "/v1/chat/completions", body, target.app_key)


ATTACKS = (
    Attack("S4", "90,000 unknown fields, a browser's token", unknown_fields),
    Attack("S4", "490,000 numbers as messages", numbers_for_messages),
    Attack("S4", "80,000 wrong tags", numbers_for_tags),
    Attack("S4", "80,000 unknown fields in an answer", unknown_fields_in_choices),
    Attack("S4", "330,000 objects as stop texts", many_objects),
    Attack("S4", "90,000 unknown fields of a chat", a_field_of_the_chat),
)
