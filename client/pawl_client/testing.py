"""A stand-in for a Pawl server in the tests of applications: no model, no database, no setup.

It answers chats with fixed words and accepts feedback by the server's rules for ids and built-in
metrics. `tests/client/test_stand_in_contract.py` runs the same checks against a real server.

    with stand_in_server() as pawl:
        my_application(base_url=f"{pawl.url}/v1")
        assert pawl.feedback[0]["value"] is True
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock, Thread
from typing import Any, Final

from pawl_client.stand_in_rules import named_by, problem_of

WORDS: Final = ("seeds ", "like ", "sun")
"""The chunks of each answer."""


@dataclass
class StandIn:
    """The state of a stand-in server and the requests it has received.

    Attributes:
        model: The `model` of its answers. With a name that does not begin with `pawl@` it stands in
            for another provider's server.
        url: The server's URL, without `/v1`.
        failing_chats: How many of the next chats get 400.
        unavailable: How many of the next requests other than chats get 503.
        metrics: Custom metrics that it accepts, with any value.
        feedback: The bodies of stored feedback, in order.
        interactions: The bodies of reported interactions, in order.
        questions: The last message of each chat, by completion id.

    """

    model: str = "pawl@2026-w47-3f9c1a"
    url: str = ""
    failing_chats: int = 0
    unavailable: int = 0
    metrics: tuple[str, ...] = ()
    feedback: list[dict[str, Any]] = field(default_factory=list)
    interactions: list[dict[str, Any]] = field(default_factory=list)
    questions: dict[str, str] = field(default_factory=dict)
    _ids: Iterator[int] = field(default_factory=count)
    _known: set[str] = field(default_factory=set)
    _lock: Lock = field(default_factory=Lock)

    @property
    def is_pawl(self) -> bool:
        """Return whether it stands in for Pawl rather than for another provider."""
        return self.model.startswith("pawl@")

    def answered(self, question: str) -> str:
        """Record a chat's last message and return the id of a new completion."""
        with self._lock:
            id_ = f"chatcmpl-{next(self._ids)}"
            self.questions[id_] = question
            self._known.add(id_)
        return id_

    def reported(self, body: dict[str, Any]) -> str:
        """Store a reported interaction and return its id."""
        with self._lock:
            self.interactions.append(body)
            id_ = f"chatcmpl-external-{len(self.interactions)}"
            self._known.add(id_)
        return id_

    def rated(self, body: dict[str, Any]) -> "_Reply":
        """Store feedback, or reply with what is wrong with it."""
        with self._lock:
            if body.get("inference_id") not in self._known:
                return _error(404, "there is no such interaction", "inference_id")
            param = problem_of(body, self.metrics)
            if param is not None:
                return _error(422, "the server does not take this", param)
            if not self._known.issuperset(named_by(body)):
                return _error(404, "there is no such interaction", "value")
            self.feedback.append(body)
            return _Reply(200, {"feedback_id": body.get("id") or f"feedback-{len(self.feedback)}"})


@dataclass(frozen=True, slots=True)
class _Reply:
    status: int
    body: Mapping[str, Any] | bytes
    completion: str | None = None
    kind: str = "application/json"

    @property
    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@contextmanager
def stand_in_server(stand_in: StandIn | None = None) -> Iterator[StandIn]:
    """Serve on loopback, on a free port, until the block ends."""
    stand_in = stand_in or StandIn()
    server = _Server(("127.0.0.1", 0), _handler(stand_in))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = (
        128  # with the default of 5, connections of many concurrent clients are reset
    )


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("content-length", 0)))
            reply = _reply_to(stand_in, self.path, json.loads(raw or b"{}"))
            self.send_response(reply.status)
            self.send_header("content-type", reply.kind)
            self.send_header("content-length", str(len(reply.content)))
            if reply.completion is not None and stand_in.is_pawl:
                self.send_header("X-Pawl-Interaction", reply.completion)
            self.end_headers()
            self.wfile.write(reply.content)

    return Handler


def _reply_to(stand_in: StandIn, path: str, body: dict[str, Any]) -> _Reply:
    if path == "/v1/chat/completions":
        return _chat(stand_in, body)
    if stand_in.unavailable > 0:
        stand_in.unavailable -= 1
        return _error(503, "the server is busy", None)
    route = _ROUTES.get(path)
    return _error(404, "there is no such path", None) if route is None else route(stand_in, body)


def _report(stand_in: StandIn, body: dict[str, Any]) -> _Reply:
    return _Reply(200, {"inference_id": stand_in.reported(body)})


def _report_all(stand_in: StandIn, body: dict[str, Any]) -> _Reply:
    ids = [stand_in.reported(one) for one in body["interactions"]]
    return _Reply(200, {"results": [{"inference_id": id_} for id_ in ids]})


def _token(stand_in: StandIn, body: dict[str, Any]) -> _Reply:
    if body.get("inference_id") not in stand_in.questions:
        return _error(404, "there is no such interaction", "inference_id")
    ends = datetime.now(UTC) + timedelta(seconds=body.get("seconds", 3600))
    return _Reply(200, {"token": f"token-{body['inference_id']}", "expires_at": ends.isoformat()})


_ROUTES: Mapping[str, Callable[[StandIn, dict[str, Any]], _Reply]] = {
    "/v1/feedback": StandIn.rated,
    "/v1/feedback-tokens": _token,
    "/v1/interactions": _report,
    "/v1/interactions/batch": _report_all,
}


def _error(status: int, message: str, param: str | None) -> _Reply:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": status}
    return _Reply(status, {"error": error})


def _chat(stand_in: StandIn, body: dict[str, Any]) -> _Reply:
    if stand_in.failing_chats > 0:
        stand_in.failing_chats -= 1
        return _error(400, "the server does not take this", "messages")
    id_ = stand_in.answered(str(body["messages"][-1]["content"]))
    if body.get("stream"):
        return _Reply(200, _events(id_, stand_in.model), id_, "text/event-stream")
    return _Reply(200, _completion(id_, stand_in.model, body.get("n") or 1), id_)


def _completion(id_: str, model: str, n: int) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choices = [{"index": i, "message": message, "finish_reason": "stop"} for i in range(n)]
    kind: dict[str, Any] = {"id": id_, "object": "chat.completion", "created": 1, "model": model}
    return {**kind, "choices": choices}


def _events(id_: str, model: str) -> bytes:
    kind = {"id": id_, "object": "chat.completion.chunk", "created": 1, "model": model}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in WORDS]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks: list[dict[str, Any]] = [{**kind, "choices": [choice]} for choice in choices]
    events = [*map(json.dumps, chunks), "[DONE]"]
    return "".join(f"data: {event}\n\n" for event in events).encode()
