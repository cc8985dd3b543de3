"""Sets a shadow on a server's channel, and reads its outcomes."""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

POLL_SECONDS = 0.2
STILL_POLLS = 12
"""Number of polls without a change after which all shadow answers count as ended. Their duration
exceeds the server's `quiet_seconds`, after which shadow answers start that waited for the load."""


class RefusedError(Exception):
    """The server refused what a benchmark needs."""

    def __init__(self, path: str, status: int) -> None:
        super().__init__(f"{path} answered {status}: its log says why")


class Got(NamedTuple):
    """What a client gets: status, headers in lower case, and every byte of the body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


Fetch = Callable[[str, str, Mapping[str, Any] | None], Awaitable[Got]]
"""Sends a method, a path and a JSON body."""


def fetch_by(session: aiohttp.ClientSession) -> Fetch:
    """Requests by `session`."""

    async def fetch(method: str, path: str, body: Mapping[str, Any] | None) -> Got:
        async with session.request(method, path, json=body) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Got(response.status, headers, await response.read())

    return fetch


async def add_adapter(fetch: Fetch, folder: Path) -> str:
    """Add an adapter and return its version, which is resident."""
    got = await _done(fetch, "POST", "/v1/adapters", {"path": str(folder)})
    return str(json.loads(got.body)["name"])


async def promote(fetch: Fetch, version: str) -> None:
    """Make a version live."""
    await _done(fetch, "POST", f"/v1/adapters/{version}/promote", {"reason": "bench"})


async def set_shadow(fetch: Fetch, version: str | None, share: float) -> None:
    """Make `version` the channel's shadow; None removes the shadow."""
    wanted = {"shadow": version, "shadow_share": share, "reason": "bench"}
    await _done(fetch, "PUT", "/v1/route", wanted)


async def outcomes_of(fetch: Fetch) -> Counter[str]:
    """Return the outcomes so far of the requests drawn for the shadow."""
    got = await _done(fetch, "GET", "/metrics", None)
    samples = (
        sample
        for family in text_string_to_metric_families(got.body.decode())
        for sample in family.samples
        if sample.name == "pawl_shadow_total"
    )
    counted: Counter[str] = Counter()
    for sample in samples:
        counted[sample.labels["outcome"]] += int(sample.value)
    return counted


async def settled_outcomes(fetch: Fetch) -> Counter[str]:
    """Return the outcomes once they no longer change."""
    seen, still = await outcomes_of(fetch), 0
    while still < STILL_POLLS:
        await asyncio.sleep(POLL_SECONDS)
        now = await outcomes_of(fetch)
        still = still + 1 if now == seen else 0
        seen = now
    return seen


async def _done(fetch: Fetch, method: str, path: str, body: Mapping[str, Any] | None) -> Got:
    got = await fetch(method, path, body)
    if got.status >= 400:
        raise RefusedError(path, got.status)
    return got
