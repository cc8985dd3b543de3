"""The LangChain callback handler that records interactions, for the server and for applications.

The server calls it at the start and the end of each request, with its record in the metadata. An
application attaches it to its chains. Answers of other models are reported to the Pawl server,
answers of Pawl are only looked up, and both can be rated by LangChain's run id. LangChain hides the
completion id of a stream, so a chat model that streams from Pawl needs
`include_response_headers=True`: the header `x-pawl-interaction` carries the id as well.

Needs the extra `langchain` (langchain-core).
"""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Literal, Protocol
from uuid import UUID, uuid4

import httpx

try:
    from langchain_core.callbacks import BaseCallbackHandler
    from langchain_core.messages import BaseMessage, convert_to_openai_messages
    from langchain_core.outputs import ChatGeneration, Generation, LLMResult
    from langchain_core.utils.function_calling import convert_to_openai_tool
except ImportError as error:
    raise ImportError(
        "pawl_client.callback needs LangChain: pip install 'pawl-client[langchain]'"
    ) from error

from pawl_client import comparing
from pawl_client.bounded_map import BoundedMap
from pawl_client.memory_size import memory_of
from pawl_client.reporter import Reporter, client_for
from pawl_client.sampling_params import sampling_of

RECORD = "pawl_record"
"""The key in a run's metadata under which the server passes its record."""
HEADER = "x-pawl-interaction"

_ANSWERED_BY_PAWL = re.compile(
    r"[a-z][a-z0-9_-]*@(base|([0-9]{4}-w[0-9]{2}(\.[0-9]+)?|import)-[0-9a-f]{6,64})"
)
"""A model name of the form `<channel>@<version>`; does not match other providers' `model@date`."""

_log = logging.getLogger(__name__)
_NOTHING = LLMResult(generations=[])
_RUNS_MAX = 10_000
"""Unfinished runs, and links to parent runs, that are kept; the oldest are evicted."""
_DEPTH_MAX = 50
"""Parents of a run that are followed."""


class ServedRequest(Protocol):
    """The fields of the server's record of a request that the callback sets when its run fails."""

    status: str
    error: str | None


@dataclass(slots=True)
class _Run:
    """A model run of an application that has not ended; times are `perf_counter` seconds."""

    asked: Sequence[BaseMessage] | str
    params: Mapping[str, Any]
    user: str | None
    started: float
    size: int
    """Estimated memory of the run, in bytes."""
    first_token: float | None = None


class FeedbackCallback(BaseCallbackHandler):
    """Records the answers of models. One handler serves any number of concurrent runs.

    Methods that LangChain calls neither raise nor wait for the network. When a queue is full, the
    excess is dropped; `counts` says how many reports and ratings were sent, failed or dropped. Call
    `close` before the process ends, or what is still queued is lost. The user of a run is read from
    its metadata (`{"user": …}`) or from the model's parameter `user`.

    Args:
        url: The Pawl server that gets the reports. Give either this, `client` or `record`.
        api_key: A key with the role `app`; None if the server has no keys.
        mode: With `shadow`, Pawl also answers the requests that other models got. Those answers
            are only logged, never shown.
        record: The server's own recorder, which records in process.
        channel: The channel under which other models' answers are stored.
        tags: Tags of every reported interaction.
        queue_max: Reports and ratings that may wait to be sent.
        bytes_max: Memory in bytes that waiting reports and ratings may hold, and again that
            unfinished runs may hold.
        client: Your own HTTP client, whose `base_url` is the server. Make it after a fork; a
            handler with a `url` may be made before one.

    """

    run_inline = True  # LangChain then calls it in the run's own thread, so events stay in order

    def __init__(  # noqa: PLR0913  (an application chooses each)
        self,
        url: str | None = None,
        api_key: str | None = None,
        mode: Literal["live", "shadow"] = "live",
        *,
        record: "Callable[[Any], asyncio.Future[Any]] | None" = None,
        channel: str = "pawl",
        tags: Mapping[str, str] | None = None,
        queue_max: int = 1000,
        bytes_max: int = 32_000_000,
        client: httpx.Client | None = None,
    ) -> None:
        if (record is None) == (url is None and client is None):
            raise ValueError("give either record or url")
        if mode not in ("live", "shadow"):
            raise ValueError("mode is either live or shadow")
        self._record = record
        self._channel = channel
        self._shadow = mode == "shadow"
        self._tags = dict(tags or {})
        if record is None:
            connect = partial(client_for, url or "", api_key) if client is None else lambda: client
            self._reporter: Reporter | None = Reporter(
                connect, channel=channel, queue_max=queue_max, bytes_max=bytes_max
            )
        else:
            self._reporter = None
        self._records: dict[UUID, ServedRequest] = {}
        self._runs: BoundedMap[UUID, _Run] = BoundedMap(
            _RUNS_MAX, weight_max=bytes_max, weigh=lambda run: run.size
        )
        self._parents: BoundedMap[UUID, UUID] = BoundedMap(_RUNS_MAX)
        self._warned = False

    # Called by the server.

    def begin(self, record: ServedRequest) -> UUID:
        """Start a run for a request that the server answers; `record` may still change."""
        run_id = uuid4()
        self.on_chat_model_start({}, [], run_id=run_id, metadata={RECORD: record})
        return run_id

    def finish(self, run_id: UUID) -> "asyncio.Future[Any] | None":
        """End the run and log its record. The future completes when the record is durable."""
        return self.on_llm_end(_NOTHING, run_id=run_id)

    # Called by applications.

    def interaction_id(self, run_id: UUID | str) -> str | None:
        """Return the interaction id of a model run, or of a chain's last model run.

        Returns None if it is not known. Another model's answer has an id once it was reported;
        `flush()` waits for that.
        """
        return self._sink().interaction_id(str(run_id))

    def rate(self, run_id: UUID | str, metric_name: str, value: Any, **fields: Any) -> None:
        """Send feedback on a run in the background; `fields` are those of `POST /v1/feedback`."""
        self._sink().rate(str(run_id), {**fields, "metric_name": metric_name, "value": value})

    def prefer(
        self,
        run_id: UUID | str,
        over: UUID | str,
        *,
        over_choice: int | None = None,
        **fields: Any,
    ) -> None:
        """Say in the background that a run's answer is better than the answer of the run `over`.

        Both answered the same conversation. `over_choice` is which of its answers, if it has
        several; `fields` are as in `rate`.
        """
        self._compare(run_id, comparing.preference("over", str(over), over_choice), fields)

    def tie(
        self,
        run_id: UUID | str,
        other: UUID | str,
        *,
        other_choice: int | None = None,
        **fields: Any,
    ) -> None:
        """Say that the answers of two runs are equally good; see `prefer`."""
        self._compare(run_id, comparing.preference("tie", str(other), other_choice), fields)

    def both_bad(
        self,
        run_id: UUID | str,
        other: UUID | str,
        *,
        other_choice: int | None = None,
        **fields: Any,
    ) -> None:
        """Say that the answers of two runs are both bad; see `prefer`."""
        self._compare(run_id, comparing.preference("both_bad", str(other), other_choice), fields)

    def rank(self, runs: "Sequence[UUID | str | Sequence[UUID | str]]", **fields: Any) -> None:
        """Rank the answers of runs, best first; a list inside the list holds equally good ones.

        `fields` are as in `rate`. An empty ranking counts as failed.
        """
        places: comparing.Ranking = [
            str(place) if isinstance(place, UUID | str) else [str(run) for run in place]
            for place in runs
        ]
        first = comparing.first_of(places)
        judgement = {**fields, "metric_name": "ranking", "value": comparing.ranking(places)}
        if first is None:
            self._sink().sender.count(failed=1)
        else:
            self._sink().rate(str(first), judgement, names_runs=True)

    def _compare(
        self, run_id: UUID | str, value: Mapping[str, Any], fields: Mapping[str, Any]
    ) -> None:
        judgement = {**fields, "metric_name": "preference", "value": value}
        self._sink().rate(str(run_id), judgement, names_runs=True)

    def take_back(self, run_id: UUID | str, metric_name: str, **fields: Any) -> None:
        """Take back the feedback on a run by that metric, in the background.

        `fields` must name the same `rater`, `source` and `choice` as in the call of `rate`.
        """
        self.rate(run_id, metric_name, None, **fields)

    def flush(self, timeout: float = 10) -> bool:
        """Wait until everything is sent or given up; return False after `timeout` seconds."""
        return self._sink().sender.flush(timeout)

    def close(self, timeout: float = 10) -> bool:
        """Flush and stop sending; return whether everything was sent or given up."""
        return self._sink().close(timeout)

    @property
    def counts(self) -> Mapping[str, int]:
        """Return the number of reports and ratings by outcome; the four add up to the total.

        `sent`, `waiting`, `failed` (refused, or not accepted in any attempt) and `dropped` (no room
        in the queue, too many unfinished runs, or closed).
        """
        sender = self._sink().sender
        return {
            "sent": sender.sent,
            "waiting": sender.waiting,
            "failed": sender.failed,
            "dropped": sender.dropped,
        }

    def _sink(self) -> Reporter:
        if self._reporter is None:
            raise ValueError("this handler records in process: it has no server")
        return self._reporter

    # Called by LangChain.

    def on_chain_start(
        self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any
    ) -> None:
        """Record the parent of a run, so that a chain's run id finds its model's answer."""
        if parent_run_id is not None:
            self._parents.put(run_id, parent_run_id)

    def on_tool_start(
        self, *_: Any, run_id: UUID, parent_run_id: UUID | None = None, **__: Any
    ) -> None:
        """Record the parent of a run; see `on_chain_start`."""
        self.on_chain_start(run_id=run_id, parent_run_id=parent_run_id)

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Start the run of a chat model."""
        if metadata is not None and RECORD in metadata:
            self._records[run_id] = metadata[RECORD]
        elif messages:
            self._run_started(messages[0], run_id, parent_run_id, metadata, kwargs)

    def on_llm_start(
        self,
        serialized: dict[str, Any],  # noqa: ARG002 - LangChain's signature
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Start the run of a completion model."""
        if prompts:
            self._run_started(prompts[0], run_id, parent_run_id, metadata, kwargs)

    def on_llm_new_token(self, *_: Any, run_id: UUID, **__: Any) -> None:
        """Record the time of the first token."""
        run = self._runs.get(run_id)
        if run is not None and run.first_token is None:
            run.first_token = perf_counter()

    def on_llm_end(
        self, response: LLMResult, *, run_id: UUID, **_: Any
    ) -> "asyncio.Future[Any] | None":
        """End a run: report its answer, or look up the id under which Pawl recorded it."""
        record = self._records.pop(run_id, None)
        if record is not None and self._record is not None:
            return self._record(record)
        self._run_ended(response, run_id, "complete")
        return None

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, **kwargs: Any
    ) -> "asyncio.Future[Any] | None":
        """End a run that failed or was cancelled; it is recorded as `failed` or `aborted`."""
        stopped = isinstance(error, asyncio.CancelledError | GeneratorExit | KeyboardInterrupt)
        status = "aborted" if stopped else "failed"
        record = self._records.pop(run_id, None)
        if record is not None and self._record is not None:
            record.status, record.error = status, type(error).__name__
            return self._record(record)
        self._run_ended(kwargs.get("response") or _NOTHING, run_id, status)
        return None

    def _run_started(
        self,
        asked: Sequence[BaseMessage] | str,
        run_id: UUID,
        parent_run_id: UUID | None,
        metadata: Mapping[str, Any] | None,
        kwargs: Mapping[str, Any],
    ) -> None:
        if self._reporter is None:
            return
        try:
            self.on_chain_start(run_id=run_id, parent_run_id=parent_run_id)
            run = _new_run(asked, metadata or {}, kwargs.get("invocation_params") or {})
            self._reporter.sender.count(dropped=self._runs.put(run_id, run))
        except Exception as error:  # noqa: BLE001 - an application must not notice
            self._not_recorded(self._reporter, error)

    def _run_ended(self, response: LLMResult, run_id: UUID, status: str) -> None:
        run = self._runs.pop(run_id)
        if run is None or self._reporter is None:
            return
        try:
            self._settle(self._reporter, run, response, self._lineage(run_id), status)
        except Exception as error:  # noqa: BLE001 - an application must not notice
            self._not_recorded(self._reporter, error)

    def _not_recorded(self, reporter: Reporter, error: Exception) -> None:
        reporter.sender.count(failed=1)
        _log.warning("a run was not recorded: %s", type(error).__name__)

    def _settle(
        self, reporter: Reporter, run: _Run, response: LLMResult, runs: list[str], status: str
    ) -> None:
        said = _response_metadata(response)
        if not self._is_ours(said, run.params):
            body = _body(run, response, said, status)
            extra = {"tags": self._tags, **({"shadow": True} if self._shadow else {})}
            size = run.size + memory_of(body)
            reporter.report(runs, lambda: {**body, **extra, **_request_fields(run)}, size)
            return
        interaction_id = _interaction_id(said)
        if interaction_id is not None:
            reporter.remember(runs, interaction_id)
        elif status == "complete" and not self._warned:
            self._warned = True
            _log.warning("no interaction id: give the chat model include_response_headers=True")

    def _is_ours(self, said: Mapping[str, Any], params: Mapping[str, Any]) -> bool:
        """Return whether Pawl gave the answer, and so has recorded it already."""
        models = (said.get("model_name"), said.get("model"), _requested(params))
        return HEADER in _headers(said) or any(
            isinstance(model, str)
            and (
                model == self._channel
                or model.startswith(f"{self._channel}@")
                or _ANSWERED_BY_PAWL.fullmatch(model)
            )
            for model in models
        )

    def _lineage(self, run_id: UUID) -> list[str]:
        """Return the run and its ancestors, the run first."""
        lineage = [str(run_id)]
        parent = self._parents.get(run_id)
        while parent is not None and len(lineage) < _DEPTH_MAX:
            lineage.append(str(parent))
            parent = self._parents.get(parent)
        return lineage


def _response_metadata(response: LLMResult) -> dict[str, Any]:
    """Return the response's metadata, wherever the integration has put it."""
    said: dict[str, Any] = {}
    for generation in (response.generations or [[]])[0][:1]:
        said.update(generation.generation_info or {})
        if isinstance(generation, ChatGeneration):
            said.update(generation.message.response_metadata)
    said.update(response.llm_output or {})
    return said


def _headers(said: Mapping[str, Any]) -> dict[str, str]:
    headers = said.get("headers")
    if not isinstance(headers, Mapping):
        return {}
    return {str(name).lower(): str(value) for name, value in headers.items()}


def _interaction_id(said: Mapping[str, Any]) -> str | None:
    found = _headers(said).get(HEADER) or said.get("id")
    return found if isinstance(found, str) else None


def _requested(params: Mapping[str, Any]) -> object:
    return params.get("model") or params.get("model_name")


def _new_run(
    asked: Sequence[BaseMessage] | str, metadata: Mapping[str, Any], params: Mapping[str, Any]
) -> _Run:
    user = metadata.get("user") or params.get("user")
    named = user if isinstance(user, str) else None
    kept = asked if isinstance(asked, str) else list(asked)  # the chain may change its list
    plain = kept if isinstance(kept, str) else [vars(message) for message in kept]
    size = memory_of(plain) + memory_of(params)
    return _Run(kept, params, named, perf_counter(), size)


def _body(run: _Run, response: LLMResult, said: Mapping[str, Any], status: str) -> dict[str, Any]:
    """Return the fields of `POST /v1/interactions` that describe the answer."""
    model = said.get("model_name") or said.get("model") or _requested(run.params) or "unknown"
    first = None if run.first_token is None else run.first_token - run.started
    return {
        "model": str(model),
        "choices": [
            _choice(answer)
            for answer in (response.generations or [[]])[0]
            if answer.text or status == "complete"
        ],
        "user": run.user,
        "status": status,
        "first_token_seconds": first,
        "duration_seconds": perf_counter() - run.started,
    }


def _request_fields(run: _Run) -> dict[str, Any]:
    """Return the fields that describe the request. Slower, so called in the background."""
    asked: dict[str, Any] = {**sampling_of(run.params)}
    if run.params.get("tools"):
        asked["tools"] = [convert_to_openai_tool(tool) for tool in run.params["tools"]]
    if isinstance(run.asked, str):
        return {**asked, "prompt": run.asked}
    return {**asked, "messages": convert_to_openai_messages(run.asked)}


def _choice(answer: Generation) -> dict[str, Any]:
    text, info = answer.text, dict(answer.generation_info or {})
    if isinstance(answer, ChatGeneration):
        info = {**info, **answer.message.response_metadata}
        calls = getattr(answer.message, "tool_calls", None)
        if calls and not text:
            text = json.dumps(calls, default=str)
    reason = info.get("finish_reason")
    named = isinstance(reason, str) and reason
    return {"text": text, "finish_reason": reason if named else None}
