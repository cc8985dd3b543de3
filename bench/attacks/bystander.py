"""Another client's requests while a server is attacked."""

import threading
import time
from typing import Any

import httpx

ASKED_EVERY_SECONDS = 0.05
ANSWER_SECONDS_MAX = 120.0


class Bystander:
    """Chats with a key, one request after another, each over a connection of its own.

    A connection of its own for each shows whether the server still takes any.
    """

    def __init__(self, url: str, key: str, *, structured: bool = False) -> None:
        """Send nothing yet. If `structured`, every second request asks for one of some choices."""
        self._url = url
        self._key = key
        self._structured = structured
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.seconds: list[float] = []
        self.failed = 0

    def __enter__(self) -> "Bystander":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._over.wait(ASKED_EVERY_SECONDS):
            began = time.monotonic()
            self.failed += not self._answered()
            self.seconds.append(time.monotonic() - began)

    def _answered(self) -> bool:
        body: dict[str, Any] = {
            "model": "pawl",
            "messages": [{"role": "user", "content": "When?"}],
            "max_tokens": 16,
        }
        if self._structured and len(self.seconds) % 2:
            body["structured_outputs"] = {"choice": ["yes", f"no, {len(self.seconds)}"]}
        headers = {"authorization": f"Bearer {self._key}"}
        try:
            answer = httpx.post(
                f"{self._url}/v1/chat/completions",
                json=body,
                headers=headers,
                timeout=ANSWER_SECONDS_MAX,
            )
        except httpx.HTTPError:
            return False
        return answer.status_code == httpx.codes.OK
