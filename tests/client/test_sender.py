"""The sender over a server that notes which connection each post came by."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
from pawl_client.sender import Post, Sender

PATIENCE = 30
FINE, NOT_SENT = 0, 1


@contextmanager
def noting_connections() -> Iterator[tuple[str, list[int]]]:
    """A server's address, and the client's port of every post."""
    ports: list[int] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            return

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            ports.append(self.client_address[1])
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", ports
        finally:
            server.shutdown()


def send(sender: Sender) -> bool:
    sender.post(Post("/", lambda: {}, lambda _: None))
    return sender.flush(PATIENCE)


def in_a_fork(sender: Sender) -> int:
    """The exit status of a child that sends one post."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(FINE if send(sender) and sender.failed == 0 else NOT_SENT)
        finally:
            os._exit(NOT_SENT)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_forked_child_posts_over_a_connection_of_its_own() -> None:
    with noting_connections() as (url, ports):
        sender = Sender(lambda: httpx.Client(base_url=url), queue_max=10)
        assert send(sender)
        assert in_a_fork(sender) == FINE
        assert send(sender)
        assert sender.close(PATIENCE)
    parent, child, parent_again = ports
    assert parent == parent_again != child


def test_a_sender_that_never_posted_never_connects() -> None:
    def connect() -> httpx.Client:
        raise AssertionError

    assert Sender(connect, queue_max=1).close(0)
