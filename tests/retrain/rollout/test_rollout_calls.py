"""Tool calls that cannot be carried out end a canary."""

from typing import Any

import pytest

from retrain.rollout.decisions import Phase
from tests.retrain.rollout_stage import TRIAL, Stage

pytestmark = pytest.mark.anyio

TOOL = {"type": "function", "function": {"name": "price", "parameters": {"required": ["of"]}}}
ASKED = {"messages": [{"role": "user", "content": "How much?"}], "tools": [TOOL]}


def called(name: str, arguments: str) -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": None, "tool_calls": [{"function": function}]}


async def answers(stage: Stage, count: int, role: str, message: dict[str, Any]) -> None:
    now = stage.house.clock.now
    options: dict[str, Any] = {"request": ASKED}
    await stage.traffic.users(
        count, now, role, trial=TRIAL, share=0.5, text="", message=message, **options
    )


@pytest.mark.parametrize(
    "message", [called("stock", "{}"), called("price", "{}"), called("price", "{")]
)
async def test_calls_that_cannot_be_carried_out_end_a_canary(
    stage: Stage, message: dict[str, Any]
) -> None:
    await stage.to_wide()
    await answers(stage, 30, "canary", message)
    assert await stage.tick(hours=1) == Phase.ROLLED_BACK
    assert "broken tool call" in (await stage.row()).reason


async def test_calls_that_fit_end_nothing(stage: Stage) -> None:
    await stage.to_wide()
    await answers(stage, 30, "canary", called("price", '{"of": "rose"}'))
    assert await stage.tick(hours=1) == Phase.CANARY


async def test_calls_that_are_broken_in_both_arms_speak_against_neither(stage: Stage) -> None:
    await stage.to_wide()
    for role in ("canary", "live"):
        await answers(stage, 30, role, called("stock", "{}"))
    assert await stage.tick(hours=1) == Phase.CANARY
