"""An application's link to a Pawl server: which of its runs is which interaction, and ratings.

Needs httpx only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx

from pawl_client.bounded_map import BoundedMap
from pawl_client.memory_size import memory_of
from pawl_client.sender import Post, Sender

_REMEMBERED = 10_000


class Reporter:
    """Sends what other models answered, remembers ids by run, and rates. Nothing here waits."""

    def __init__(
        self, connect: Callable[[], httpx.Client], *, channel: str, queue_max: int, bytes_max: int
    ) -> None:
        self._channel = channel
        self._ids: BoundedMap[str, str] = BoundedMap(_REMEMBERED)
        self.sender = Sender(connect, queue_max=queue_max, bytes_max=bytes_max)

    def report(self, runs: Sequence[str], body: Callable[[], Mapping[str, Any]], size: int) -> None:
        """Post an interaction; `runs` will then have its id.

        `body` is made in the background; until then it holds `size` bytes.
        """
        self.sender.post(
            Post(
                "/v1/interactions/batch",
                lambda: {**body(), "run_id": runs[0], "channel": self._channel},
                lambda reply: self.remember(runs, str(reply["inference_id"])),
                size,
                group="interactions",
            )
        )

    def remember(self, runs: Sequence[str], interaction_id: str) -> None:
        """Note which interaction these runs were."""
        for run in runs:
            self._ids.put(run, interaction_id)

    def interaction_id(self, run: str) -> str | None:
        """The interaction of a run, once it is known and while it is remembered."""
        return self._ids.get(run)

    def rate(self, run: str, fields: Mapping[str, Any]) -> None:
        """Post feedback on a run. A report that was made before goes out before."""
        feedback_id = uuid4().hex  # a retry is then the same feedback
        self.sender.post(
            Post(
                "/v1/feedback",
                lambda: self._feedback(run, feedback_id, fields),
                lambda _: None,
                memory_of(fields),
            )
        )

    def close(self, timeout: float) -> bool:
        """Send what waits, for at most `timeout` seconds, and stop. Whether all is done with."""
        return self.sender.close(timeout)

    def _feedback(
        self, run: str, feedback_id: str, fields: Mapping[str, Any]
    ) -> Mapping[str, Any] | None:
        known = self.interaction_id(run)
        return None if known is None else {"id": feedback_id, **fields, "inference_id": known}


def client_for(url: str, api_key: str | None) -> httpx.Client:
    """A client of the Pawl server at `url` (with or without the `/v1` of an OpenAI base URL)."""
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    base = url.rstrip("/").removesuffix("/v1")
    return httpx.Client(base_url=base, headers=headers, timeout=10)
