"""The step of a run that completes pairs with new answers of the live version."""

import asyncio
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from feedback.reading.logged_answers import logged_requests
from retrain.config import CounterpartsConfig, PeopleJudgeConfig, SelfPlayConfig
from retrain.dataset.training_set.files import open_training_set
from retrain.retention import remove_texts
from retrain.run.context import COUNTERPARTS
from retrain.run.steps import STEPS
from retrain.service import RunService
from tests.retrain.counterparts.fakes import ReanswersChat
from tests.retrain.log import CHANNEL, Log
from tests.retrain.run.test_judge import LoggedChat
from tests.retrain.run.test_training import DAY, job_of
from tests.retrain.runs import RUN, interrupted, ran, taken_up
from tests.retrain.world import SATURDAY, House, make_config
from tests.waiting import eventually

pytestmark = pytest.mark.anyio

LONE = 30


def reanswering(house: House) -> ReanswersChat:
    """Give the house a live version whose new answers are logged."""
    house.counterpart_chat = chat = ReanswersChat(house.database)
    return chat


async def with_counterparts(
    house: House, begin: datetime = SATURDAY - DAY, **settings: Any
) -> ReanswersChat:
    """Questions that are asked once each, a third of them with a thumb up, the others down."""
    more = {"samples": 3, **settings}
    house.config = make_config(counterparts=CounterpartsConfig(**more))
    log = Log(begin, prefix=f"lone-{begin.day}-")
    for number in range(LONE):
        asked = log.ask(f"lone question {number}", f"answer {number}", user=f"user {number}")
        log.say("thumbs", asked, number % 3 == 0)
    await log.write(house.database)
    return reanswering(house)


def rows(house: House, name: str, run: str = RUN) -> list[dict[str, Any]]:
    lines = (house.folder / run / COUNTERPARTS / name).read_text().splitlines()
    return [json.loads(line) for line in lines]


async def test_lone_thumbs_become_pairs_that_are_trained_on(house: House) -> None:
    chat = await with_counterparts(house)
    run = await ran(house)
    assert run.state == "promoted", run.reason
    figures = run.figures["counterparts"]
    labels = run.figures["labels_up"] + run.figures["labels_down"]
    assert figures["questions"] == figures["asked"] == labels > 5
    assert figures["answers"] == len(chat.asked) == 3 * labels
    assert figures["outcomes"]["pair"] == run.figures["labels_down"]
    pairs = rows(house, "pairs.jsonl")
    assert {(one["origin"], one["vouched"], one["judge"]) for one in pairs} == {
        ("counterpart", "rejected", "FakeJudge")
    }
    assert run.figures["training"]["pairs_by_origin"]["counterpart"] == len(pairs)
    assert [stage.method for stage in job_of(house).stages] == ["dpo"]


async def test_observer_and_report_have_the_figures(house: House) -> None:
    await with_counterparts(house)
    run = await ran(house)
    outcomes = run.figures["counterparts"]["outcomes"]
    assert house.watcher.counterparts == {
        "counterpart": outcomes,
        "self_play": {},
        "synthetic": {},
    }
    report = (house.folder / RUN / "report.md").read_text()
    assert "## Counterparts" in report
    assert f"| pair | {outcomes['pair']} |" in report


async def test_what_was_asked_again_is_logged_and_never_asked_as_a_users_question(
    house: House,
) -> None:
    chat = await with_counterparts(house)
    before = await house.service().dry_run(CHANNEL)
    await ran(house)
    made = [answer for row in rows(house, "answers.jsonl") for answer in row["answers"]]
    logged = await logged_requests(house.database, [one["interaction_id"] for one in made])
    assert len(logged) == len(chat.asked)
    after = await house.service().dry_run(CHANNEL)
    assert (after.pairs, after.held_out_prompts) == (0, before.held_out_prompts)


async def test_the_version_that_was_live_at_the_snapshot_answers(house: House) -> None:
    first = await ran(house)
    house.clock.forward(days=7)
    chat = await with_counterparts(house, begin=house.clock.now - DAY)
    run = await ran(house)
    assert first.version is not None
    assert {model for model, _ in chat.asked} == {f"{CHANNEL}@{first.version}"}
    assert run.parent == first.version
    assert house.registry.called("load").count(first.version) >= 2


async def test_a_cancelled_run_stops_asking_at_once(house: House) -> None:
    chat = await with_counterparts(house)
    service, stopped = await asking(house, chat)
    run = await service.cancel(RUN)
    assert (run.state, run.reason) == ("cancelled", "cancelled during the step counterparts")
    assert stopped.is_set()


async def test_a_run_whose_lease_is_lost_stops_asking_at_once(house: House) -> None:
    chat = await with_counterparts(house)
    house.config = house.config.model_copy(update={"lease_seconds": 0.3})
    _, stopped = await asking(house, chat)
    run = await house.world().runs.get(RUN)
    assert await house.world().runs.take_over(run, "another", SATURDAY) is not None
    await eventually(lambda: asyncio.sleep(0, stopped.is_set()))


async def test_another_server_goes_on_where_the_first_one_stopped(house: House) -> None:
    chat = await with_counterparts(house, concurrency=1)
    service, _ = await asking(house, chat, after=7)
    await service.close()
    answered = rows(house, "answers.jsonl")
    assert len(answered) == 2
    chat.before, chat.asked = None, []
    second = house.service()
    assert await second.resume() == [RUN]
    run = await second.wait(RUN)
    assert run.state == "promoted", run.reason
    assert rows(house, "answers.jsonl")[:2] == answered
    assert len(chat.asked) == 3 * (run.figures["counterparts"]["questions"] - 2)


async def test_pairs_that_are_frozen_are_not_looked_for_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await with_counterparts(house)
    await interrupted(house, monkeypatch, "train")
    frozen = (house.folder / RUN / COUNTERPARTS / "pairs.jsonl").read_bytes()
    asked = len(chat.asked)
    service = house.service()
    with monkeypatch.context() as patch:
        patch.setattr("retrain.run.resume.COUNTERPARTS_MANIFEST", "none")  # it goes back
        await taken_up(house, service)
        run = await service.wait(RUN)
    assert run.state == "promoted", run.reason
    assert len(chat.asked) == asked
    assert (house.folder / RUN / COUNTERPARTS / "pairs.jsonl").read_bytes() == frozen


async def test_another_base_model_is_not_asked(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await with_counterparts(house)
    original = STEPS["counterparts"]

    async def after_a_restart(context: Any) -> Any:
        base = context.environment.base
        context.environment.base = replace(base, fingerprint="0" * 64)
        return await original(context)

    monkeypatch.setitem(STEPS, "counterparts", after_a_restart)
    run = await ran(house)
    assert (run.state, chat.asked) == ("failed", [])


async def test_a_dry_run_says_what_would_be_asked_and_asks_nothing(house: House) -> None:
    chat = await with_counterparts(house, seconds=90)
    plan = await house.service().dry_run(CHANNEL)
    assert chat.asked == []
    run = await ran(house)
    assert plan.counterpart_questions == run.figures["counterparts"]["questions"]
    assert plan.counterpart_answers == len(chat.asked)
    assert plan.counterpart_seconds == 90


async def test_self_play_pairs_people_s_answers_with_new_ones(house: House) -> None:
    house.config = make_config(self_play=SelfPlayConfig(share=0.25))
    chat = reanswering(house)
    run = await ran(house)
    pairs = rows(house, "pairs.jsonl")
    assert {one["origin"] for one in pairs} == {"self_play"}
    assert len(pairs) == len(chat.asked) == run.figures["pairs"] // 3
    assert run.figures["training"]["pairs_by_origin"]["self_play"] == len(pairs)


async def test_a_judge_from_people_scores_the_token_ids_of_all_answers(house: House) -> None:
    await with_counterparts(house)
    house.config = house.config.model_copy(
        update={"judge": "people", "people_judge": PeopleJudgeConfig(minimum_votes=5)}
    )
    house.chat = LoggedChat(house)
    run = await ran(house)  # the trainer of the tests scores an answer by its length
    outcomes = run.figures["counterparts"]["outcomes"]
    assert outcomes["pair"] == run.figures["labels_down"] > 0
    pairs = rows(house, "pairs.jsonl")
    assert {one["judge"] for one in pairs} == {"people"}
    assert all(len(one["chosen"]["token_ids"]) > len("answer 10") for one in pairs)


async def test_without_a_usable_judge_lone_thumbs_are_learned_from_by_themselves(
    house: House,
) -> None:
    chat = await with_counterparts(house)
    few = PeopleJudgeConfig(minimum_votes=1_000)
    update = {"judge": "people", "people_judge": few, "minimum_labels": 5, "rollout": "canary"}
    house.config, house.judge = house.config.model_copy(update=update), None
    run = await ran(house)
    assert chat.asked == []
    assert run.figures["counterparts"]["why_not"] == "no judge compares answers"
    training = open_training_set(house.folder / RUN / "training")
    assert training.pairs_by_origin.keys() == {"people"}
    assert min(training.labels_up, training.labels_down) > 0


async def test_retention_removes_the_texts(house: House) -> None:
    await with_counterparts(house)
    await ran(house)
    remove_texts(house.folder / RUN, SATURDAY, SATURDAY)
    left = {path.name for path in (house.folder / RUN / COUNTERPARTS).iterdir()}
    assert left == {"verdicts.jsonl", "manifest.json"}


async def asking(
    house: House, chat: ReanswersChat, after: int = 0
) -> tuple[RunService, asyncio.Event]:
    """Start a run that hangs in the middle of asking; the event is set when that is stopped."""
    hangs, stopped = asyncio.Event(), asyncio.Event()

    async def hang() -> None:
        if len(chat.asked) < after:
            return
        hangs.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    chat.before = hang
    service = house.service()
    await service.start_run(CHANNEL)
    await hangs.wait()
    return service, stopped
