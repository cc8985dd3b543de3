"""Builds requests to a Pawl server and interprets its replies, for both clients."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx

from pawl_client import comparing
from pawl_client.comparing import Outcome, Ranking
from pawl_client.errors import RefusedError, UnavailableError

ATTEMPTS = 4
"""Attempts before `UnavailableError`; with the pauses below they take about two seconds."""
FIRST_PAUSE_SECONDS = 0.25
PAUSE_SECONDS_MAX = 5.0
TIMEOUT_SECONDS = 10.0

_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Call:
    """One request. It can be retried safely, because what it stores carries an id."""

    method: str
    path: str
    body: Mapping[str, Any] = field(default_factory=dict)


def feedback_call(
    inference_id: str, metric_name: str, value: Any, fields: Mapping[str, Any]
) -> Call:
    """Build `POST /v1/feedback`; adds an `id` if `fields` has none, so that a retry is safe."""
    body = {
        "id": uuid4().hex,
        **fields,
        "inference_id": inference_id,
        "metric_name": metric_name,
        "value": value,
    }
    return Call("POST", "/v1/feedback", body)


def preference_call(
    inference_id: str,
    outcome: Outcome,
    other: str,
    other_choice: int | None,
    fields: Mapping[str, Any],
) -> Call:
    """Build the `POST /v1/feedback` that compares two answers."""
    value = comparing.preference(outcome, other, other_choice)
    return feedback_call(inference_id, "preference", value, fields)


def ranking_call(answers: Ranking, fields: Mapping[str, Any]) -> Call:
    """Build the `POST /v1/feedback` that ranks answers; it is sent for the first of them.

    Raises ValueError if there is none.
    """
    first = comparing.first_of(answers)
    if first is None:
        raise ValueError("a ranking must name at least two answers")
    judged, choice = (first, {}) if isinstance(first, str) else (first[0], {"choice": first[1]})
    return feedback_call(judged, "ranking", comparing.ranking(answers), {**choice, **fields})


def take_back_call(feedback_id: str) -> Call:
    """Build `DELETE /v1/feedback/{feedback_id}`, which is idempotent."""
    return Call("DELETE", f"/v1/feedback/{quote(feedback_id, safe='')}")


def interaction_call(interaction: Mapping[str, Any]) -> Call:
    """Build `POST /v1/interactions`; adds a `run_id` if there is none, so a retry is safe."""
    return Call("POST", "/v1/interactions", {"run_id": uuid4().hex, **interaction})


def token_call(inference_id: str, rater: str | None, seconds: int) -> Call:
    """Build `POST /v1/feedback-tokens`."""
    body = {"inference_id": inference_id, "rater": rater, "seconds": seconds}
    return Call("POST", "/v1/feedback-tokens", body)


def base_url(url: str) -> str:
    """Return the server's URL without the `/v1` that an OpenAI base URL has."""
    return url.rstrip("/").removesuffix("/v1")


def headers(api_key: str | None) -> dict[str, str]:
    """Return the headers of every request."""
    return {} if api_key is None else {"authorization": f"Bearer {api_key}"}


def reply_of(response: httpx.Response) -> Mapping[str, Any] | None:
    """Return the reply, or None if the request should be retried. Raises `RefusedError`."""
    if response.status_code in _RETRIED:
        return None
    if response.is_success:
        found = response.json()
        if isinstance(found, dict):
            return found
        raise RefusedError(response.status_code, "this is not a Pawl server: check the URL")
    raise RefusedError(response.status_code, *_problem(response))


def pause_after(attempt: int, response: httpx.Response | None) -> float:
    """Return the seconds to wait after attempt number `attempt` (from 0); obeys `Retry-After`."""
    pause = FIRST_PAUSE_SECONDS * 2.0**attempt
    asked = "" if response is None else response.headers.get("retry-after", "")
    if asked.isdigit():
        pause = max(pause, float(asked))
    return min(pause, PAUSE_SECONDS_MAX)


def unavailable(response: httpx.Response | None) -> UnavailableError:
    """Return the error to raise after the last attempt."""
    if response is None:
        return UnavailableError("the Pawl server cannot be reached: check the URL, or try later")
    return UnavailableError(f"the Pawl server answered {response.status_code} each time: try later")


def _problem(response: httpx.Response) -> tuple[str, str | None]:
    try:
        error = response.json()["error"]
        return str(error["message"]), error.get("param")
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"the server answered {response.status_code}", None
