"""The command line's API client: calls the running server, or an app in this process.

Without a running server the same routes run in this process, on the same database but without an
engine. Requests that need one then fail with `NotRunningError`.
"""

import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from server.errors import ServerError
from server.logs import configure_logs
from server.settings import Settings
from server.startup.data_lock import running_server

TIMEOUT = httpx.Timeout(600, connect=5)


class ApiError(ServerError):
    """The API refused a request; holds the API's message."""


class Api:
    """Sends requests and decodes their responses."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def call(self, method: str, path: str, **parts: Any) -> Any:
        """Send a request and return the decoded body; raises `ApiError` unless it is a 2xx."""
        response = await self._client.request(method, path, **parts)
        if not response.is_success:
            raise ApiError(_message(response))
        is_json = response.headers.get("content-type", "").startswith("application/json")
        return response.json() if is_json and response.content else response.text

    async def lines(self, path: str, **parts: Any) -> AsyncIterator[str]:
        """Stream the lines of a response; raises `ApiError` unless it is a 2xx."""
        async with self._client.stream("GET", path, **parts) as response:
            if not response.is_success:
                await response.aread()
                raise ApiError(_message(response))
            async for line in response.aiter_lines():
                yield line


@asynccontextmanager
async def open_api(settings: Settings) -> AsyncIterator[Api]:
    """Open the running server's API or, without one, the same API in this process."""
    running = running_server(settings.data_dir)
    if running is None:
        async with _offline(settings) as client:
            yield Api(client)
        return
    headers = {"authorization": f"Bearer {os.environ.get('PAWL_API_KEY') or running.token}"}
    async with httpx.AsyncClient(base_url=running.url, headers=headers, timeout=TIMEOUT) as client:
        yield Api(client)


@asynccontextmanager
async def _offline(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    from server.app import create_app, lifespan  # noqa: PLC0415  (slow to import, seldom needed)
    from server.cli.offline_engine import start_offline  # noqa: PLC0415

    # Errors are in the response; logs would mix with the command's output.
    configure_logs(least=logging.CRITICAL)
    app = create_app(settings, start_engine=start_offline, offline=True)
    async with lifespan(app):
        transport = httpx.ASGITransport(app)
        token = app.state.services.operator_token
        async with httpx.AsyncClient(
            transport=transport,
            base_url="http://127.0.0.1",
            headers={"authorization": f"Bearer {token}"},
            timeout=TIMEOUT,
        ) as client:
            yield client


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered {response.status_code}"
