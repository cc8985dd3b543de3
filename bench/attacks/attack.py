"""What an attack is, and what it may know of the server that it is run against."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Target:
    """The attacked server, as an attacker sees it."""

    port: int
    feedback_token: str
    """What a browser has: it may rate one answer."""
    inference_id: str
    """The answer that the token is for."""
    large_answer: str
    """The path of an answer of 730 kB."""
    app_key: str
    """What an application has."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack. `run` returns what the attacker saw, and raises `AttackError` if it worked.

    It is run in a process of its own, so it must be a function of a module. What others notice is
    measured outside; the attack itself judges only what it alone can see.
    """

    case: str
    """The name of the kind, as `--only` takes it."""
    name: str
    run: Callable[[Target], str]
    settings: Mapping[str, str] = field(default_factory=dict)
    """`PAWL_...` variables of the attacked server."""
    real_engine: bool = False
    """Whether vLLM answers, on a tiny model; then others ask for structured answers too."""


class AttackError(Exception):
    """The attack got what it wanted; the message says what."""
