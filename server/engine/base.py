"""What Pawl asks of an engine: answer an OpenAI request with one version, and host adapters.

The engine takes the request's body and gives a response; its own types stay behind this door. Two
engines stand behind it: `server.engine.vllm` (the real one) and `server.engine.fake` (fast, for
tests and for trying the API without a model). One contract suite runs over both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol, Self

from server.engine.limits import USUAL_LIMITS, Limits
from server.engine.nan_alarm import NanAlarm

FloatName = Literal["F32", "F16", "BF16"]
"""A float type, as safetensors names it."""

Endpoint = Literal["chat", "completion"]


@dataclass(slots=True)
class TappedChoice:
    """One answer as it was sampled: deltas appended in order."""

    texts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None

    @property
    def text(self) -> str:
        """The raw sampled text (tool calls not yet parsed)."""
        return "".join(self.texts)


@dataclass(slots=True)
class Tap:
    """Keeps what one request's engine outputs said; the engine feeds it, nobody else writes.

    Times are `time.perf_counter()` seconds. `prompt_token_ids` are those the model was fed.
    """

    started: float = field(default_factory=perf_counter)
    first_token: float | None = None
    last_token: float | None = None
    prompt_token_ids: list[int] = field(default_factory=list)
    cached_tokens: int = 0
    finite: bool = True
    """False once a token came from logits with NaN: the answer means nothing."""
    choices: dict[int, TappedChoice] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every choice that was begun is finite and has ended with a reason of its own."""
        return (self.finite and bool(self.choices)) and all(
            choice.finish_reason in ("stop", "length") for choice in self.choices.values()
        )

    @property
    def completion_tokens(self) -> int:
        """Sampled tokens over all choices."""
        return sum(len(choice.token_ids) for choice in self.choices.values())


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One request on its way into the engine.

    `id` becomes the completion id in every chunk; `model` is what the response's `model` says
    (`pawl@2026-w47-3f9c1a`); `version` is the resident version that must answer (or `BASE`).
    `body` is the client's JSON as received; id, model and priority in it are overruled.
    Lower `priority` goes first. `cache_salt` keeps tenants out of each other's prefix cache.
    `fields` is what `requests.rules.accepted_fields` made of `body`, where that was done already;
    else the engine does it, within `limits` and its own.
    """

    id: str
    endpoint: Endpoint
    model: str
    version: str
    body: Mapping[str, Any]
    tap: Tap
    priority: int = 0
    cache_salt: str | None = None
    limits: Limits = USUAL_LIMITS
    fields: Mapping[str, Any] | None = None


class EventStream(Protocol):
    """Server-sent events, each a whole `data: …` with its two newlines; the last is `[DONE]`.

    An answer that fails on the way ends with an error event (`data: {"error":…}`) before the last.
    Whoever holds a stream closes it (`contextlib.aclosing`): that aborts what has not ended.
    """

    def __aiter__(self) -> Self:
        """Itself."""
        ...

    async def __anext__(self) -> str:
        """The next event."""
        ...

    async def aclose(self) -> None:
        """Stop the answer; safe at any time and twice."""
        ...


@dataclass(slots=True)
class EngineResponse:
    """Either a JSON `body` or a `stream` of events.

    `status` is the HTTP status; at 400 and above `body` is an OpenAI error object, streaming or
    not. `headers` are extra response headers.
    """

    status: int
    body: str | None = None
    stream: EventStream | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine serves: for `/v1/models`, vetting and doctor.

    `model_fingerprint` identifies the base weights (sha256 hex over config and weight files'
    headers and sizes); adapters trained on another fingerprint are incompatible. `model_folder` is
    where the base model's files lie on this machine, if they do. `adapter_dtype` is what adapters
    are kept and computed in, as safetensors names it. `limits` is what the engine takes.
    """

    name: str
    model: str
    model_fingerprint: str
    max_model_len: int
    device: Literal["cpu", "cuda", "fake"]
    adapter_slots: int
    max_lora_rank: int
    model_folder: Path | None = None
    adapter_dtype: FloatName = "F32"
    limits: Limits = USUAL_LIMITS


class Engine(Protocol):
    """A running engine. Also satisfies `adapters.ports.AdapterHost`."""

    @property
    def info(self) -> EngineInfo:
        """What it serves."""
        ...

    @property
    def slots(self) -> int:
        """How many adapters can be resident at once."""
        ...

    async def answer(self, call: EngineCall) -> EngineResponse:
        """Answer one request; bad requests give a 4xx response, never an exception.

        Raises `EngineDeadError` once the engine has died. Cancelling the awaiting task aborts the
        request.
        """
        ...

    async def load(self, version: str, path: Path) -> None:
        """Make `version` answerable. Names and paths are never reused for other weights.

        Raises `AdapterLoadError` when the engine refuses it; the engine stays up.
        """
        ...

    async def unload(self, version: str) -> None:
        """Forget `version` (after its requests have ended); its files may go after that."""
        ...

    def resident(self) -> frozenset[str]:
        """The adapter versions that can answer now (without `BASE`)."""
        ...

    def in_flight(self, version: str) -> int:
        """Requests of `version` that have not ended."""
        ...

    def alive(self) -> bool:
        """Whether the engine is not known to be dead."""
        ...

    async def wait_dead(self) -> None:
        """Return once the engine has died, within two seconds; never after `close`."""
        ...

    @property
    def steps(self) -> int:
        """Rises with every step in which a request ran, also where it gave no token."""
        ...

    def busy(self) -> bool:
        """Whether it has something to compute, probes included.

        A request that waits until its schema or pattern is compiled is nothing to compute yet.
        """
        ...

    async def probe(self) -> None:
        """Generate one token on the base model, ahead of what waits; however long that takes.

        Raises `EngineDeadError`, and `RequestRefusedError` where the queue is full.
        """
        ...

    @property
    def nan_alarm(self) -> NanAlarm:
        """Raised by the first answer without finite logits."""
        ...

    def kill(self) -> None:
        """End its processes at once, though they hang: it is dead from now on."""
        ...

    async def close(self) -> None:
        """Stop it and wait for its processes to end. Safe to call twice."""
        ...
