"""The engine interface: answer an OpenAI request with one version, and host adapters.

An engine takes the body of a request and returns a response; none of its own types appear in the
interface. `server.engine.vllm` is the real engine, `server.engine.fake` a fast one for tests and
for trying the API without a model. One contract suite tests both.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, Protocol, Self

from server.engine.limits import USUAL_LIMITS, Limits
from server.engine.nan_alarm import NanAlarm

FloatName = Literal["F32", "F16", "BF16"]
"""The name of a float type in safetensors."""

Endpoint = Literal["chat", "completion"]


@dataclass(slots=True)
class TappedChoice:
    """One answer as it was sampled: the text and token ids of its deltas, in order."""

    texts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    finish_reason: str | None = None

    @property
    def text(self) -> str:
        """The raw sampled text, before tool calls are parsed."""
        return "".join(self.texts)


@dataclass(slots=True)
class Tap:
    """Collects the engine's outputs for one request. Only the engine writes to it.

    Times are `time.perf_counter()` seconds. `prompt_token_ids` are the ids that the model got.
    """

    started: float = field(default_factory=perf_counter)
    first_token: float | None = None
    last_token: float | None = None
    prompt_token_ids: list[int] = field(default_factory=list)
    cached_tokens: int = 0
    finite: bool = True
    """False once a token was sampled from logits with NaN, which makes the answer meaningless."""
    choices: dict[int, TappedChoice] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether all logits were finite and every choice ended by `stop` or `length`."""
        return (self.finite and bool(self.choices)) and all(
            choice.finish_reason in ("stop", "length") for choice in self.choices.values()
        )

    @property
    def completion_tokens(self) -> int:
        """The number of sampled tokens over all choices."""
        return sum(len(choice.token_ids) for choice in self.choices.values())


@dataclass(frozen=True, slots=True)
class EngineCall:
    """One request to the engine.

    Attributes:
        id: The completion id in every chunk.
        endpoint: Whether `body` is a chat or a completion request.
        model: The `model` of the response, such as `pawl@2026-w47-3f9c1a`.
        version: The resident version that must answer, or `BASE`.
        body: The client's JSON as received. Its id, model and priority are overridden.
        tap: Collects the engine's outputs.
        priority: A request with a lower priority is scheduled first.
        cache_salt: Separates the prefix caches of tenants.
        limits: The server's bounds on a request; the engine's own apply as well.
        fields: The result of `requests.rules.accepted_fields` for `body`. With None the engine
            calls it.

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
    """Server-sent events, each a complete `data: …` with its two newlines; the last is `[DONE]`.

    If an answer fails after it has started, an error event (`data: {"error":…}`) precedes the last.
    The owner of a stream must close it (`contextlib.aclosing`), which aborts an unfinished answer.
    """

    def __aiter__(self) -> Self:
        """Return itself."""
        ...

    async def __anext__(self) -> str:
        """Return the next event."""
        ...

    async def aclose(self) -> None:
        """Stop the answer. Safe to call at any time, and twice."""
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
    """What the engine serves; used by `/v1/models`, by the vetting of adapters and by doctor.

    `model_fingerprint` identifies the base weights (sha256 hex over config and weight files'
    headers and sizes); adapters trained on another fingerprint are incompatible. `model_folder` is
    the folder of the base model's files, or None if they are not on this machine. `adapter_dtype`
    is the type in which adapters are stored and computed. `limits` bounds a request.
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
        """What the engine serves."""
        ...

    @property
    def slots(self) -> int:
        """The number of adapters that can be resident at once."""
        ...

    async def answer(self, call: EngineCall) -> EngineResponse:
        """Answer one request. An invalid request gets a 4xx response, not an exception.

        Raises `EngineDeadError` once the engine has died. Cancelling the awaiting task aborts the
        request.
        """
        ...

    async def load(self, version: str, path: Path) -> None:
        """Load an adapter so that `version` can answer.

        A name or a path must not be reused for other weights. Raises `AdapterLoadError` if the
        engine refuses the adapter; the engine stays up.
        """
        ...

    async def unload(self, version: str) -> None:
        """Unload `version`, whose requests have ended; its files may then be deleted."""
        ...

    def resident(self) -> frozenset[str]:
        """Return the adapter versions that can answer now, without `BASE`."""
        ...

    def in_flight(self, version: str) -> int:
        """Return the number of requests of `version` that have not ended."""
        ...

    def alive(self) -> bool:
        """Return False once the engine is known to be dead."""
        ...

    async def wait_dead(self) -> None:
        """Return within two seconds of the engine's death; never return after `close`."""
        ...

    @property
    def steps(self) -> int:
        """The number of steps in which a request ran, including those that gave no token."""
        ...

    def busy(self) -> bool:
        """Return whether the engine has something to compute, probes included.

        A request whose schema or pattern is still being compiled does not count.
        """
        ...

    async def probe(self) -> None:
        """Generate one token on the base model, ahead of waiting requests. Has no timeout.

        Raises `EngineDeadError`, and `RequestRefusedError` if the queue is full.
        """
        ...

    @property
    def nan_alarm(self) -> NanAlarm:
        """The alarm that the first answer with NaN in its logits raises."""
        ...

    def kill(self) -> None:
        """Kill the engine's processes at once, even if they hang. It is dead from then on."""
        ...

    async def close(self) -> None:
        """Stop the engine and wait for its processes to end. Safe to call twice."""
        ...
