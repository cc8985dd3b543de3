"""Which answers are shadowed: a share, drawn by the interaction's id."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.serving.shadow import sampled, shadow_body
from tests.server.api.test_chat import CHAT
from tests.server.running_app import chat_body, running_app
from tests.server.shadowing import WITH_ROOM, settled, shadows, with_shadow

pytestmark = pytest.mark.anyio


async def test_a_share_of_none_is_none(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data", **WITH_ROOM) as running:
        await with_shadow(running, tmp_path, share=0.0)
        for _ in range(20):
            await running.anyone.post(CHAT, json=chat_body())
        assert await settled(running, 0) == {}


async def test_a_share_is_drawn_by_the_interactions_id(tmp_path: Path) -> None:
    async with running_app(tmp_path / "data", **WITH_ROOM) as running:
        await with_shadow(running, tmp_path, share=0.4)
        asked = [await running.anyone.post(CHAT, json=chat_body()) for _ in range(40)]
        drawn = {one.json()["id"] for one in asked if sampled(one.json()["id"], 0.4)}
        await settled(running, len(drawn))
        assert {row["parent"] for row in shadows(running)} == drawn


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_holds_what_a_smaller_one_held(name: str, one: float, two: float) -> None:
    assert sampled(name, max(one, two)) or not sampled(name, min(one, two))


@given(st.text())
def test_a_share_of_one_is_everything_and_of_none_nothing(name: str) -> None:
    assert sampled(name, 1.0)
    assert not sampled(name, 0.0)


def test_about_the_share_is_drawn() -> None:
    drawn = sum(sampled(f"chatcmpl-{number}", 0.3) for number in range(10_000))
    assert 2_700 < drawn < 3_300


@given(st.dictionaries(st.sampled_from(["stream", "stream_options", "n", "stop"]), st.booleans()))
def test_only_streaming_is_left_out(body: dict[str, Any]) -> None:
    kept = {name: said for name, said in body.items() if not name.startswith("stream")}
    assert shadow_body(body) == kept
