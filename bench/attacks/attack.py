"""The definition of an attack, and what it knows about the attacked server."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Target:
    """The attacked server, as an attacker sees it."""

    port: int
    feedback_token: str
    """A browser's token, which may rate one answer."""
    inference_id: str
    """The answer that the token is for."""
    large_answer: str
    """The path of an answer of 730 kB."""
    app_key: str
    """An application's key."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack. `run` returns what the attacker saw, and raises `AttackError` if it worked.

    `run` is called in a process of its own, so it must be a module-level function. The effect on
    others is measured outside; the attack judges only what it alone can see.
    """

    case: str
    """The name of the kind, for the option `--only`."""
    name: str
    run: Callable[[Target], str]
    settings: Mapping[str, str] = field(default_factory=dict)
    """`PAWL_...` variables of the attacked server."""
    real_engine: bool = False
    """Whether vLLM answers, on a tiny model; other clients then ask for structured answers too."""


class AttackError(Exception):
    """The attack succeeded; the message says how."""
