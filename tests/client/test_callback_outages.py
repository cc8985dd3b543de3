"""The callback while its server is stopped, slow or failing: nobody waits, and all is counted."""

import gc
import json
import socket
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from pawl_client.callback import FeedbackCallback

PATIENCE = 30


@dataclass
class Server:
    """Keeps what it gets. `open_` lets replies out; `statuses` are given before 200."""

    url: str = ""
    open_: Event = field(default_factory=Event)
    statuses: Iterator[int] = field(default_factory=lambda: iter(()))
    rows: list[dict[str, Any]] = field(default_factory=list)
    requests: int = 0
    asked: Event = field(default_factory=Event)


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            server.requests += 1
            server.asked.set()
            server.open_.wait(PATIENCE)
            status = next(server.statuses, 200)
            rows = body.get("interactions", [body])
            results = [{"inference_id": f"id-of-{row.get('run_id')}"} for row in rows]
            if status == 200:
                server.rows += rows
            content = json.dumps({"results": results}).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


@contextmanager
def serving(server: Server, port: int = 0) -> Iterator[Server]:
    with ThreadingHTTPServer(("127.0.0.1", port), _handler(server)) as http:
        http.daemon_threads = True
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}).start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield server
        finally:
            server.open_.set()
            http.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def ask(callback: FeedbackCallback, text: str = "hi", run_id: UUID | None = None) -> UUID:
    """One run of another model."""
    run_id = run_id or uuid4()
    answered = LLMResult(generations=[[ChatGeneration(message=HumanMessage("hello"))]])
    callback.on_chat_model_start({}, [[HumanMessage(text)]], run_id=run_id)
    callback.on_llm_end(answered, run_id=run_id)
    return run_id


def total(callback: FeedbackCallback) -> int:
    return sum(callback.counts.values())


def test_while_the_server_is_stopped_memory_is_bounded_and_all_is_counted() -> None:
    callback = FeedbackCallback(f"http://127.0.0.1:{free_port()}", bytes_max=1_000_000)
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(2000):
            ask(callback, f"{number} " + "x" * 10_000)
        held = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held < 2_500_000
    assert callback.counts["dropped"] > 1800
    assert total(callback) == 2000
    assert not callback.close(timeout=0)


def test_the_queue_is_bounded_by_rows_too() -> None:
    callback = FeedbackCallback(f"http://127.0.0.1:{free_port()}", queue_max=10)
    for _ in range(100):
        ask(callback)
    assert callback.counts == {"sent": 0, "waiting": 10, "failed": 0, "dropped": 90}
    callback.close(timeout=0)


def test_runs_that_never_end_are_bounded_and_counted() -> None:
    callback = FeedbackCallback(f"http://127.0.0.1:{free_port()}", bytes_max=100_000)
    runs = [uuid4() for _ in range(100)]
    for run_id in runs:
        callback.on_chat_model_start({}, [[HumanMessage("x" * 10_000)]], run_id=run_id)
    assert callback.counts["dropped"] > 85
    for run_id in runs:
        callback.on_llm_end(LLMResult(generations=[[]]), run_id=run_id)
    assert total(callback) == 100
    callback.close(timeout=0)


def test_what_waited_for_a_stopped_server_goes_out_when_it_is_back() -> None:
    port = free_port()
    callback = FeedbackCallback(f"http://127.0.0.1:{port}")
    run_id = ask(callback)
    callback.rate(run_id, "thumbs", value=True)
    assert not callback.flush(timeout=0)
    server = Server()
    server.open_.set()
    with serving(server, port):
        assert callback.flush(PATIENCE)
        callback.close(PATIENCE)
    assert callback.counts == {"sent": 2, "waiting": 0, "failed": 0, "dropped": 0}
    assert [row.get("inference_id") for row in server.rows] == [None, f"id-of-{run_id}"]


def test_a_slow_server_makes_nobody_wait_and_is_sent_several_at_once() -> None:
    with serving(Server()) as server:
        callback = FeedbackCallback(server.url)
        ask(callback)
        assert server.asked.wait(PATIENCE)
        for _ in range(49):
            ask(callback)  # the server has not answered yet
        assert callback.counts["waiting"] == 50
        server.open_.set()
        assert callback.flush(PATIENCE)
        callback.close(PATIENCE)
    assert callback.counts == {"sent": 50, "waiting": 0, "failed": 0, "dropped": 0}
    assert (len(server.rows), server.requests) == (50, 2)


def test_a_server_that_fails_once_loses_nothing() -> None:
    with serving(Server(statuses=iter([500, 502]))) as server:
        server.open_.set()
        callback = FeedbackCallback(server.url)
        ask(callback)
        assert callback.flush(PATIENCE)
        callback.close(PATIENCE)
    assert callback.counts == {"sent": 1, "waiting": 0, "failed": 0, "dropped": 0}
    assert server.requests == 3


@pytest.mark.parametrize("status", [401, 404, 500])
def test_what_a_failing_server_does_not_take_is_counted(status: int) -> None:
    with serving(Server(statuses=iter(lambda: status, None))) as server:
        server.open_.set()
        callback = FeedbackCallback(server.url)
        runs = [ask(callback) for _ in range(3)]
        callback.rate(runs[0], "thumbs", value=True)
        assert callback.flush(PATIENCE)
        callback.close(PATIENCE)
    assert callback.counts == {"sent": 0, "waiting": 0, "failed": 4, "dropped": 0}


def test_one_row_that_spoils_a_request_fails_alone() -> None:
    with serving(Server(statuses=iter([200, 400, 200, 400]))) as server:
        callback = FeedbackCallback(server.url)
        ask(callback)
        assert server.asked.wait(PATIENCE)
        for _ in range(3):
            ask(callback)
        server.open_.set()
        assert callback.flush(PATIENCE)
        callback.close(PATIENCE)
    assert callback.counts == {"sent": 3, "waiting": 0, "failed": 1, "dropped": 0}


def test_a_row_that_is_no_unicode_fails_alone() -> None:
    with serving(Server()) as server:
        callback = FeedbackCallback(server.url)
        for text in ("a", "b", "\ud800", "c"):
            ask(callback, text)
        server.open_.set()
        assert callback.flush(PATIENCE)
        callback.close(PATIENCE)
    assert callback.counts == {"sent": 3, "waiting": 0, "failed": 1, "dropped": 0}


def test_what_still_waits_at_the_end_is_counted_as_dropped() -> None:
    with serving(Server()) as server:
        callback = FeedbackCallback(server.url)
        ask(callback)
        assert server.asked.wait(PATIENCE)
        for _ in range(5):
            ask(callback)
        assert not callback.close(timeout=0)
        ask(callback)
        assert (callback.counts["dropped"], callback.counts["waiting"]) == (6, 1)
        server.open_.set()
        assert callback.flush(PATIENCE)
    assert callback.counts == {"sent": 1, "waiting": 0, "failed": 0, "dropped": 6}


def test_an_address_that_is_none_is_no_error_of_the_application() -> None:
    callback = FeedbackCallback("nonsense")
    ask(callback)
    callback.close(timeout=PATIENCE)
    assert callback.counts["sent"] == 0
    assert total(callback) == 1


class Odd:
    """Something that an integration might hand over, and that fails when it is looked at."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(name)


def _odd_end(callback: FeedbackCallback) -> None:
    run_id = uuid4()
    callback.on_chat_model_start({}, [[HumanMessage("hi")]], run_id=run_id)
    callback.on_llm_end(Odd(), run_id=run_id)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "call",
    [
        lambda callback: callback.on_chat_model_start({}, [Odd()], run_id=uuid4()),
        lambda callback: callback.on_llm_start({}, ["hi"], run_id=uuid4(), invocation_params=Odd()),
        _odd_end,
    ],
    ids=["messages", "parameters", "an answer"],
)
def test_what_cannot_be_read_is_counted_and_does_not_raise(
    call: Callable[[FeedbackCallback], object],
) -> None:
    callback = FeedbackCallback(f"http://127.0.0.1:{free_port()}")
    call(callback)
    assert callback.counts == {"sent": 0, "waiting": 0, "failed": 1, "dropped": 0}
    callback.close(timeout=0)


def test_many_streams_that_share_a_handler_are_each_counted_once() -> None:
    callback = FeedbackCallback(f"http://127.0.0.1:{free_port()}", queue_max=100)
    model = FakeListChatModel(responses=["hello"])

    def stream(number: int) -> None:
        list(model.stream(f"question {number}", {"callbacks": [callback]}))

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(stream, range(400)))
    assert callback.counts == {"sent": 0, "waiting": 100, "failed": 0, "dropped": 300}
    callback.close(timeout=0)


def test_in_shadow_mode_the_report_asks_for_an_answer_of_pawls_too() -> None:
    with serving(Server()) as server:
        server.open_.set()
        callback = FeedbackCallback(server.url, "key", mode="shadow")
        tool = {"name": "look_up", "description": "", "input_schema": {"type": "object"}}
        params = {"temperature": 0.2, "stop": ["\n"], "max_tokens": 9, "seed": 1, "tools": [tool]}
        run_id = uuid4()
        callback.on_chat_model_start(
            {}, [[HumanMessage("hi")]], run_id=run_id, invocation_params=params
        )
        answer = ChatGeneration(message=HumanMessage("hello"))
        callback.on_llm_end(LLMResult(generations=[[answer]]), run_id=run_id)
        assert callback.flush(PATIENCE)
        callback.close(PATIENCE)
    (row,) = server.rows
    assert row["shadow"] is True
    asked = {name: row.get(name) for name in ("temperature", "stop", "max_tokens", "top_p", "seed")}
    assert asked == {
        "temperature": 0.2,
        "stop": ["\n"],
        "max_tokens": 9,
        "top_p": None,
        "seed": None,
    }
    assert row["tools"][0]["function"]["name"] == "look_up"


def test_a_mode_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="live or shadow"):
        FeedbackCallback("http://x", mode="both")  # type: ignore[arg-type]
