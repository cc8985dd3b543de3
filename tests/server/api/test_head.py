"""HEAD answers wherever GET does, with the same headers and no body."""

from typing import Any

import pytest
from fastapi.routing import APIRoute

from tests.server.running_app import RunningApp

pytestmark = pytest.mark.anyio


def paths(running: RunningApp, method: str) -> list[str]:
    """Paths that have this method and need no name in them."""
    routes = [route for route in running.app.routes if isinstance(route, APIRoute)]
    return [route.path for route in routes if method in route.methods and "{" not in route.path]


async def test_head_answers_as_get_does(running: RunningApp) -> None:
    for path in paths(running, "GET"):
        got = await running.operator.get(path)
        head = await running.operator.head(path)
        assert (head.status_code, head.content) == (got.status_code, b""), path
        assert head.headers.get("content-type") == got.headers.get("content-type"), path


async def test_the_open_paths_answer_head_with_200(running: RunningApp) -> None:
    for path in ("/health/live", "/health/ready", "/metrics", "/v1/models"):
        assert (await running.anyone.head(path)).status_code == 200, path


async def test_head_needs_the_key_that_get_needs(running: RunningApp) -> None:
    await running.key("app")
    assert (await running.anyone.head("/v1/models")).status_code == 401


async def test_head_on_what_cannot_be_read_is_refused(running: RunningApp) -> None:
    for path in ("/v1/chat/completions", "/v1/feedback", "/v1/rollback"):
        assert (await running.operator.head(path)).status_code == 405, path


async def test_head_of_what_is_not_there_is_a_404(running: RunningApp) -> None:
    assert (await running.operator.head("/v1/none")).status_code == 404


async def test_the_description_lists_no_path_twice(running: RunningApp) -> None:
    described: dict[str, Any] = (await running.operator.get("/openapi.json")).json()
    assert all("head" not in path for path in described["paths"].values())


async def test_a_trailing_slash_is_not_redirected_to_the_host_that_a_client_names(
    running: RunningApp,
) -> None:
    await running.key("app")
    answer = await running.operator.get("/v1/models/", headers={"host": "evil.example"})
    assert answer.status_code == 404
    assert "location" not in answer.headers
