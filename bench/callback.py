"""What the callback costs an application: `python -m bench.callback [--runs 400] [--rounds 7]`.

A LangChain model that answers at once runs without a handler, with one that does nothing, and with
the callback in each mode, its server answering or stopped. They alternate in rounds. The table
shows medians over the rounds: the time per run, the processor time of the application's thread, and
what the handler adds to it. The server is a small one in a separate process.
"""

import gc
import json
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import perf_counter, thread_time

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import RunnableConfig
from pawl_client.callback import FeedbackCallback

from bench.support.tables import Row, parser, report

QUESTION: list[BaseMessage] = [
    SystemMessage("You help the customers of a garden shop. " * 20),
    HumanMessage("When do the tomatoes ripen, and how often do I water them? " * 5),
]
ANSWER = "Late in July; every second evening, and less when it rains. " * 10
FLUSH_SECONDS = 60.0
STOPPED = "live, server stopped"


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run the model, and its times in microseconds per run.

    `microseconds` is wall-clock time, `processor` the processor time of the thread that runs the
    model.
    """

    name: str
    callback: BaseCallbackHandler | None
    microseconds: list[float]
    processor: list[float]


class _Handler(BaseHTTPRequestHandler):
    """Accepts every interaction."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        """Reply with an id for each interaction."""
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        results = [{"inference_id": "chatcmpl-x"} for _ in body["interactions"]]
        content = json.dumps({"results": results}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


def serve() -> None:
    """Run the small server: print its port, and end when standard input is closed."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        server.daemon_threads = True
        print(server.server_address[1], flush=True)
        server.serve_forever()


@contextmanager
def small_server() -> Iterator[str]:
    """Start the small server in a separate process and yield its URL."""
    command = [sys.executable, "-c", "from bench.callback import serve; serve()"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None  # noqa: S101  (a pipe was asked for)
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.communicate()


def measure(ways: list[Way], *, runs: int, rounds: int) -> None:
    """Measure the times of all ways; the first round is a warm-up and does not count."""
    model = FakeListChatModel(responses=[ANSWER])
    for number in range(rounds + 1):
        for way in ways:
            config = RunnableConfig(callbacks=[way.callback] if way.callback else [])
            gc.collect()
            began, processor = perf_counter(), thread_time()
            for _ in range(runs):
                model.invoke(QUESTION, config)
            processor, took = thread_time() - processor, perf_counter() - began
            if number:
                way.microseconds.append(took / runs * 1e6)
                way.processor.append(processor / runs * 1e6)
            if isinstance(way.callback, FeedbackCallback) and way.name != STOPPED:
                way.callback.flush(FLUSH_SECONDS)


def rows(ways: list[Way]) -> list[Row]:
    """The table."""
    nothing = statistics.median(ways[0].processor)
    return [
        {
            "handler": way.name,
            "µs per run (median)": round(statistics.median(way.microseconds), 1),
            "least / most": f"{min(way.microseconds):.0f} / {max(way.microseconds):.0f}",
            "processor µs": round(statistics.median(way.processor), 1),
            "added": round(statistics.median(way.processor) - nothing, 1),
            **_counts(way),
        }
        for way in ways
    ]


def _counts(way: Way) -> Mapping[str, int]:
    if isinstance(way.callback, FeedbackCallback):
        return way.callback.counts
    return dict.fromkeys(("sent", "waiting", "failed", "dropped"), 0)


def run(*, runs: int, rounds: int) -> list[Row]:
    """Measure all ways. Raises `AssertionError` if a run was lost without being counted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobody = f"http://127.0.0.1:{listener.getsockname()[1]}"
    with small_server() as url:
        ways = [
            Way("none", None, [], []),
            Way("one that does nothing", BaseCallbackHandler(), [], []),
            Way("live", FeedbackCallback(url, queue_max=2 * runs), [], []),
            Way("shadow", FeedbackCallback(url, mode="shadow", queue_max=2 * runs), [], []),
            Way(STOPPED, FeedbackCallback(nobody), [], []),
        ]
        measure(ways, runs=runs, rounds=rounds)
        table = rows(ways)
        for way in ways:
            if not isinstance(way.callback, FeedbackCallback):
                continue
            counted = sum(way.callback.counts.values())
            assert counted == runs * (rounds + 1), way.name  # noqa: S101  (what is shown)
            way.callback.close(0)
    return table


def main() -> None:
    """Print the table."""
    made = parser(__doc__)
    made.add_argument("--runs", type=int, default=400, help="runs of the model in a round")
    made.add_argument("--rounds", type=int, default=7)
    arguments = made.parse_args()
    table = run(runs=arguments.runs, rounds=arguments.rounds)
    report({"What the callback costs an application": table}, as_json=arguments.json)


if __name__ == "__main__":
    main()
