"""Synchronous and asyncio clients. Each call returns once the server has stored what was sent."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import httpx

from pawl_client import calls
from pawl_client.calls import ATTEMPTS, TIMEOUT_SECONDS, Call
from pawl_client.comparing import Ranking


@dataclass(frozen=True, slots=True)
class FeedbackToken:
    """A token with which a browser may rate one interaction until `expires_at`."""

    token: str
    expires_at: datetime


class FeedbackClient:
    """Sends feedback and waits until it is stored. Safe to share between threads.

    Args:
        url: The Pawl server, with or without `/v1`.
        api_key: A key with the role `app`; None where the server has no keys.
        http: Your own HTTP client, whose `base_url` is the server; replaces `url` and `api_key`.

    Every method raises `RefusedError` if the server refuses the request and `UnavailableError` if
    it does not accept it in a few attempts (network errors, 429, 5xx).

    """

    def __init__(
        self, url: str = "", api_key: str | None = None, *, http: httpx.Client | None = None
    ) -> None:
        self._http = http or httpx.Client(
            base_url=calls.base_url(url),
            headers=calls.headers(api_key),
            timeout=TIMEOUT_SECONDS,
        )

    def rate(self, inference_id: str, metric_name: str, value: Any, **fields: Any) -> str:
        """Send feedback on an answer and return the feedback's id.

        Args:
            inference_id: The completion's id.
            metric_name: `thumbs`, `rating`, `preference`, … or a metric of the server's settings:
                one of `[feedback.metrics]`, or of a ready-made set (`feedback.metric_sets`) such as
                `helpful` or `spam`.
            value: The metric's value; docs/api.md lists the types.
            **fields: `choice`, `rater`, `source`, `rationale`, `tags`, `id`.

        """
        call = calls.feedback_call(inference_id, metric_name, value, fields)
        return str(self._send(call)["feedback_id"])

    def prefer(
        self, inference_id: str, over: str, *, over_choice: int | None = None, **fields: Any
    ) -> str:
        """Say that an answer is better than the answer `over` to the same conversation.

        `over_choice` is which of its answers, if it has several; `fields` are as in `rate`, and so
        is the result.
        """
        call = calls.preference_call(inference_id, "over", over, over_choice, fields)
        return str(self._send(call)["feedback_id"])

    def tie(
        self, inference_id: str, other: str, *, other_choice: int | None = None, **fields: Any
    ) -> str:
        """Say that two answers to the same conversation are equally good; see `prefer`."""
        call = calls.preference_call(inference_id, "tie", other, other_choice, fields)
        return str(self._send(call)["feedback_id"])

    def both_bad(
        self, inference_id: str, other: str, *, other_choice: int | None = None, **fields: Any
    ) -> str:
        """Say that two answers to the same conversation are both bad; see `prefer`."""
        call = calls.preference_call(inference_id, "both_bad", other, other_choice, fields)
        return str(self._send(call)["feedback_id"])

    def rank(self, answers: Ranking, **fields: Any) -> str:
        """Rank answers to the same conversation, best first: `["a", ["b", "c"], ("d", 1)]`.

        An answer is an id, or an id and a choice; a list inside the list holds equally good ones.
        `fields` are as in `rate`, and so is the result. Raises ValueError for an empty ranking.
        """
        return str(self._send(calls.ranking_call(answers, fields))["feedback_id"])

    def take_back(self, feedback_id: str) -> None:
        """Take back the feedback with the id that `rate` returned.

        Without the id, `rate` with the value None takes back the rater's feedback on an answer by
        that metric.
        """
        self._send(calls.take_back_call(feedback_id))

    def report(self, interaction: Mapping[str, Any]) -> str:
        """Store another model's answer, so that it can be rated, and return its interaction id."""
        return str(self._send(calls.interaction_call(interaction))["inference_id"])

    def feedback_token(
        self, inference_id: str, *, rater: str | None = None, seconds: int = 3600
    ) -> FeedbackToken:
        """Return a token with which a browser may rate `inference_id` for `seconds`."""
        return _token(self._send(calls.token_call(inference_id, rater, seconds)))

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _send(self, call: Call) -> Mapping[str, Any]:
        response = None
        for attempt in range(ATTEMPTS):
            try:
                response = self._http.request(call.method, call.path, json=dict(call.body))
            except httpx.TransportError:
                response = None
            if response is not None and (reply := calls.reply_of(response)) is not None:
                return reply
            if attempt + 1 < ATTEMPTS:
                time.sleep(calls.pause_after(attempt, response))
        raise calls.unavailable(response)


class AsyncFeedbackClient:
    """`FeedbackClient` for asyncio: the same methods, awaited."""

    def __init__(
        self, url: str = "", api_key: str | None = None, *, http: httpx.AsyncClient | None = None
    ) -> None:
        self._http = http or httpx.AsyncClient(
            base_url=calls.base_url(url),
            headers=calls.headers(api_key),
            timeout=TIMEOUT_SECONDS,
        )

    async def rate(self, inference_id: str, metric_name: str, value: Any, **fields: Any) -> str:
        """See `FeedbackClient.rate`."""
        call = calls.feedback_call(inference_id, metric_name, value, fields)
        return str((await self._send(call))["feedback_id"])

    async def prefer(
        self, inference_id: str, over: str, *, over_choice: int | None = None, **fields: Any
    ) -> str:
        """See `FeedbackClient.prefer`."""
        call = calls.preference_call(inference_id, "over", over, over_choice, fields)
        return str((await self._send(call))["feedback_id"])

    async def tie(
        self, inference_id: str, other: str, *, other_choice: int | None = None, **fields: Any
    ) -> str:
        """See `FeedbackClient.tie`."""
        call = calls.preference_call(inference_id, "tie", other, other_choice, fields)
        return str((await self._send(call))["feedback_id"])

    async def both_bad(
        self, inference_id: str, other: str, *, other_choice: int | None = None, **fields: Any
    ) -> str:
        """See `FeedbackClient.both_bad`."""
        call = calls.preference_call(inference_id, "both_bad", other, other_choice, fields)
        return str((await self._send(call))["feedback_id"])

    async def rank(self, answers: Ranking, **fields: Any) -> str:
        """See `FeedbackClient.rank`."""
        return str((await self._send(calls.ranking_call(answers, fields)))["feedback_id"])

    async def take_back(self, feedback_id: str) -> None:
        """See `FeedbackClient.take_back`."""
        await self._send(calls.take_back_call(feedback_id))

    async def report(self, interaction: Mapping[str, Any]) -> str:
        """See `FeedbackClient.report`."""
        return str((await self._send(calls.interaction_call(interaction)))["inference_id"])

    async def feedback_token(
        self, inference_id: str, *, rater: str | None = None, seconds: int = 3600
    ) -> FeedbackToken:
        """See `FeedbackClient.feedback_token`."""
        return _token(await self._send(calls.token_call(inference_id, rater, seconds)))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _send(self, call: Call) -> Mapping[str, Any]:
        response = None
        for attempt in range(ATTEMPTS):
            try:
                response = await self._http.request(call.method, call.path, json=dict(call.body))
            except httpx.TransportError:
                response = None
            if response is not None and (reply := calls.reply_of(response)) is not None:
                return reply
            if attempt + 1 < ATTEMPTS:
                await asyncio.sleep(calls.pause_after(attempt, response))
        raise calls.unavailable(response)


def _token(reply: Mapping[str, Any]) -> FeedbackToken:
    return FeedbackToken(str(reply["token"]), datetime.fromisoformat(str(reply["expires_at"])))
