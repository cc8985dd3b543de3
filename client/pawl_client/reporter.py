"""Reports an application's runs to a Pawl server, maps them to interactions, and rates them.

Needs httpx only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

import httpx

from pawl_client.bounded_map import BoundedMap
from pawl_client.comparing import with_ids
from pawl_client.memory_size import memory_of
from pawl_client.sender import Post, Sender

_IDS_MAX = 10_000


class Reporter:
    """Sends other models' answers and ratings, and keeps the interaction id of each run.

    No method but `close` blocks: `Sender` sends in the background.
    """

    def __init__(
        self, connect: Callable[[], httpx.Client], *, channel: str, queue_max: int, bytes_max: int
    ) -> None:
        self._channel = channel
        self._ids: BoundedMap[str, str] = BoundedMap(_IDS_MAX)
        self.sender = Sender(connect, queue_max=queue_max, bytes_max=bytes_max)

    def report(self, runs: Sequence[str], body: Callable[[], Mapping[str, Any]], size: int) -> None:
        """Post an interaction; once the server has replied, `runs` map to its id.

        `body` is called in the background; until then it holds `size` bytes.
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
        """Map `runs` to an interaction."""
        for run in runs:
            self._ids.put(run, interaction_id)

    def interaction_id(self, run: str) -> str | None:
        """Return the interaction of a run, or None if it is not known yet or no longer."""
        return self._ids.get(run)

    def rate(self, run: str, fields: Mapping[str, Any], *, names_runs: bool = False) -> None:
        """Post feedback on a run, after any report that was queued before it.

        With `names_runs` the value, a preference or ranking, names runs instead of interactions.
        """
        feedback_id = uuid4().hex  # a retry then stores the same feedback
        self.sender.post(
            Post(
                "/v1/feedback",
                lambda: self._feedback(run, feedback_id, fields, names_runs=names_runs),
                lambda _: None,
                memory_of(fields),
            )
        )

    def close(self, timeout: float) -> bool:
        """Send what is queued for at most `timeout` seconds and stop.

        Returns whether everything was sent or given up.
        """
        return self.sender.close(timeout)

    def _feedback(
        self, run: str, feedback_id: str, fields: Mapping[str, Any], *, names_runs: bool
    ) -> Mapping[str, Any] | None:
        known = self.interaction_id(run)
        value = fields["value"]
        if names_runs:
            value = with_ids(value, self.interaction_id)
        if known is None or (names_runs and value is None):
            return None
        return {"id": feedback_id, **fields, "inference_id": known, "value": value}


def client_for(url: str, api_key: str | None) -> httpx.Client:
    """Return an HTTP client for the Pawl server at `url`, with or without `/v1`."""
    headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
    base = url.rstrip("/").removesuffix("/v1")
    return httpx.Client(base_url=base, headers=headers, timeout=10)
