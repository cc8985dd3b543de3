"""A small HTTP server that speaks OpenAI's chat, and the part of Pawl's API that callbacks use."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import Any

WORDS = ["seeds ", "like ", "sun"]


@dataclass
class StandIn:
    """`model` is what its answers say they come from; `refusals` answer 503 so many times."""

    model: str = "pawl@2026-w47-3f9c1a"
    url: str = ""
    refusals: int = 0
    interactions: list[dict[str, Any]] = field(default_factory=list)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    asked: dict[str, str] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)

    @property
    def is_pawl(self) -> bool:
        return self.model.startswith("pawl@")


def _handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - a closure
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ARG002
            return

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if self.path == "/v1/chat/completions":
                self._chat(body)
            elif stand_in.refusals > 0:
                stand_in.refusals -= 1
                self._reply(b"{}", status=503)
            elif self.path == "/v1/interactions/batch":
                self._reply(json.dumps({"results": self._stored(body["interactions"])}).encode())
            else:
                stand_in.feedback.append(body)
                self._reply(json.dumps({"feedback_id": body["id"]}).encode())

        def _stored(self, reported: list[dict[str, Any]]) -> list[dict[str, str]]:
            first = len(stand_in.interactions) + 1
            stand_in.interactions += reported
            numbers = range(first, first + len(reported))
            return [{"inference_id": f"chatcmpl-external-{number}"} for number in numbers]

        def _chat(self, body: dict[str, Any]) -> None:
            id_ = f"chatcmpl-{next(stand_in.numbers)}"
            stand_in.asked[id_] = body["messages"][-1]["content"]
            if "break" in stand_in.asked[id_]:
                self._reply(b'{"error": {"message": "no"}}', status=400)
            elif body.get("stream"):
                self._reply(_events(id_, stand_in.model), id_, kind="text/event-stream")
            else:
                self._reply(_completion(id_, stand_in.model, body.get("n") or 1), id_)

        def _reply(
            self,
            content: bytes,
            id_: str | None = None,
            *,
            status: int = 200,
            kind: str = "application/json",
        ) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(content)))
            if id_ is not None and stand_in.is_pawl:
                self.send_header("X-Pawl-Interaction", id_)
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _completion(id_: str, model: str, n: int) -> bytes:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choices = [{"index": i, "message": message, "finish_reason": "stop"} for i in range(n)]
    kind: dict[str, Any] = {"id": id_, "object": "chat.completion", "created": 1, "model": model}
    return json.dumps({**kind, "choices": choices}).encode()


def _events(id_: str, model: str) -> bytes:
    kind = {"id": id_, "object": "chat.completion.chunk", "created": 1, "model": model}
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word} for word in WORDS]
    choices: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
    chunks: list[dict[str, Any]] = [{**kind, "choices": [choice]} for choice in choices]
    events = [*map(json.dumps, chunks), "[DONE]"]
    return "".join(f"data: {event}\n\n" for event in events).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # the default of 5 resets clients that come all at once


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    server = _Server(("127.0.0.1", 0), _handler(stand_in))
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    stand_in.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield stand_in
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
