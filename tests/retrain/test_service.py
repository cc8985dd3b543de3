"""A run, from the log to the verdict; those that do not get there are in test_interrupted_runs."""

import errno
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select
from structlog.testing import capture_logs

from adapters.errors import UnknownChannelError
from retrain.dataset.held_out import held_out
from retrain.errors import (
    InvalidSlotError,
    RunInProgressError,
    SlotFinishedError,
    UnknownRunError,
)
from retrain.models import TrainedText
from retrain.ports import ChatUnavailableError
from retrain.run.runner import explanation, first_cause
from retrain.run.steps import STEPS
from retrain.run.train import TRAINERS_MAX
from tests.retrain.log import CHANNEL, TENANT, Log
from tests.retrain.runs import RUN, ran
from tests.retrain.world import SATURDAY, House, make_config, version_row, week

pytestmark = pytest.mark.anyio


def _read(path: Path) -> Any:
    return json.loads(path.read_text())


async def test_a_better_candidate_goes_live(house: House) -> None:
    run = await ran(house)
    assert (run.id, run.state, run.step) == (RUN, "promoted", "roll out")
    assert run.version == house.registry.route.live
    assert house.registry.called("promote") == [run.version]


async def test_the_figures_of_every_step_are_kept(house: House) -> None:
    run = await ran(house)
    figures = run.figures
    assert figures["pairs"] == figures["pairs_by_signal"]["preference"] > 5
    assert figures["filters"]["held_out"] + figures["pairs"] == 40
    assert figures["train_seconds"] == 1.5
    assert [point["reward_margin"] for point in figures["curve"]] == [0.1, 0.2]
    assert figures["evaluation"]["against_live"]["wins"] == 12
    assert figures["swap_seconds"] == 0.01
    assert list(figures["seconds"]) == list(STEPS)
    assert run.verdict is not None
    assert run.verdict["outcome"] == "promote"
    assert house.registry.rows[str(run.version)].figures["win_vs_live"] == 1.0


async def test_the_observer_is_told(house: House) -> None:
    run = await ran(house)
    assert house.watcher.states == [*(("running", name) for name in STEPS), ("promoted", None)]
    assert house.watcher.pairs == run.figures["pairs_by_signal"]
    assert house.watcher.decisions == ["promote"]
    assert house.watcher.successes == [SATURDAY]


async def test_the_report_is_written(house: House) -> None:
    run = await ran(house)
    report = _read(house.folder / run.id / "report.json")
    assert (report["outcome"], report["version"]) == ("promoted", run.version)
    assert report["hyper_parameters"]["learning_rate"] == 2e-3
    text = (house.folder / run.id / "report.md").read_text()
    assert text.startswith(f"# Run {run.id}: promoted")
    assert "question number" not in text


async def test_the_questions_trained_on_are_noted(house: House) -> None:
    run = await ran(house)
    async with house.database.read() as session:
        query = select(TrainedText).where(col(TrainedText.version) == run.version)
        assert len((await session.exec(query)).all()) == run.figures["pairs"]


async def test_the_answers_of_the_evaluation_can_be_read(house: House) -> None:
    run = await ran(house)
    rows = [row async for row in house.service().answers(run.id)]
    assert len(rows) == 12
    assert rows[0]["answers"]["candidate"]["text"] == "good words"
    assert rows[0]["messages"][0]["content"].startswith("first question")


async def test_a_candidate_that_is_no_better_is_refused(house: House) -> None:
    house.chat.candidate = "bad words"
    run = await ran(house)
    assert run.state == "rejected"
    assert house.registry.route.live == "base"
    assert house.registry.called("reject") == [run.version]
    assert house.watcher.decisions == ["reject"]


async def test_the_next_run_starts_from_live_with_new_feedback(house: House) -> None:
    first = await ran(house)
    house.clock.forward(days=7)
    await week(SATURDAY, "second").write(house.database)
    second = await ran(house)
    job = _read(house.folder / second.id / "job.json")
    assert second.parent == first.version
    assert second.figures["pairs"] == first.figures["pairs"]
    assert job["warm_start"] == str(house.folder / first.id / "adapter")
    assert job["stages"][0]["hyper"]["learning_rate"] == house.config.hyper.learning_rate
    assert second.figures["evaluation"]["against_base"] is not None
    assert f"pawl@{first.version}" in house.chat.asked


async def test_what_an_ancestor_was_trained_on_is_not_asked(house: House) -> None:
    first = await ran(house)
    house.clock.forward(days=7)
    log = week(SATURDAY, "second")
    trained = [
        row.request["messages"][0]["content"]
        for row in week(SATURDAY, "first").rows
        if hasattr(row, "request")
    ]
    held = next(f"user {n}" for n in range(40) if held_out(log.tenant, f"user {n}", 0.5))
    for number in range(40):  # a held-out user asks, too, what the others had asked
        log.ask(trained[2 * number], "good answer", user=held)
    await log.write(house.database)
    second = await ran(house)
    assert second.figures["evaluation"]["dropped_trained"] > 0
    assert first.version in await house.registry.lineage(str(second.version))


async def test_too_few_pairs_skip_the_run_with_the_numbers(house: House) -> None:
    house.config.minimum_pairs = 1000
    run = await ran(house)
    assert run.state == "skipped"
    assert run.reason == f"{run.figures['pairs']} pairs, fewer than the minimum of 1000"
    assert house.watcher.successes == [SATURDAY]
    assert house.registry.calls == []


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [
        ("fails", "TrainingError: NonFiniteError: lower learning_rate"),
        ("dies", "TrainingError: the trainer ended with code 9: see trainer.log of the run"),
    ],
)
async def test_a_trainer_that_fails_ends_the_run_with_its_reason(
    house: House, behaviour: str, reason: str
) -> None:
    house.config = make_config(behaviour)
    run = await ran(house)
    assert (run.state, run.reason) == ("failed", reason)
    assert house.registry.calls == []
    assert house.watcher.successes == []


@pytest.mark.parametrize(("kills", "state"), [(1, "promoted"), (2, "promoted"), (3, "failed")])
async def test_a_trainer_that_was_killed_is_started_again_but_not_for_ever(
    house: House, kills: int, state: str
) -> None:
    house.config = make_config("killed", seed=kills)
    run = await ran(house)
    assert run.state == state
    tries = (house.folder / run.id / "tries").read_text()
    assert len(tries) == min(kills + 1, TRAINERS_MAX)
    if state == "failed":
        assert "the trainer was killed each time" in str(run.reason)


async def test_a_disk_that_is_full_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "what the user said")

    monkeypatch.setattr("retrain.dataset.snapshot.new_folder", full)
    run = await ran(house)
    assert run.state == "failed"
    assert run.reason == (
        "OSError: No space left on device; check the disk, then start the run again"
    )


async def test_without_an_evaluation_there_is_no_promotion(house: House) -> None:
    house.chat.error = ChatUnavailableError("busy")
    run = await ran(house)
    assert run.state == "failed"
    assert str(run.reason).startswith("EvaluationError")
    assert house.registry.route.live == "base"
    assert house.registry.called("reject") == [run.version]


async def test_without_a_judge_there_is_no_promotion(house: House) -> None:
    house.judge = None
    run = await ran(house)
    assert (run.state, str(run.reason).split(":")[0]) == ("failed", "retrain.judge")
    assert house.watcher.pairs == {}


async def test_an_unexpected_error_leaves_its_class_alone(house: House) -> None:
    house.chat.error = ValueError("what the user said")
    run = await ran(house)
    assert run.state == "failed"
    assert run.reason == "ValueError: unexpected; see the server's log"


async def test_an_unexpected_error_is_logged_with_its_place_and_no_text(house: House) -> None:
    house.chat.error = ValueError("what the user said")
    with capture_logs() as logs:
        await ran(house)
    (failed,) = [line for line in logs if line["event"] == "run_failed"]
    assert failed["error"] == "ValueError"
    assert failed["at"].startswith("world.py:")
    assert "what the user said" not in str(logs)


def test_an_error_of_a_task_group_is_looked_into() -> None:
    group = ExceptionGroup("several", [ExceptionGroup("more", [ChatUnavailableError("busy")])])
    assert explanation(first_cause(group)) == "ChatUnavailableError: busy"


async def test_a_live_version_that_moved_meanwhile_is_not_replaced(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = STEPS["evaluate"]

    async def moved(context: Any) -> Any:
        found = await original(context)
        house.registry.rows["import-000000"] = version_row("import-000000")
        await house.registry.promote("import-000000", actor="somebody", reason="by hand")
        return found

    monkeypatch.setitem(STEPS, "evaluate", moved)
    run = await ran(house)
    assert (run.state, str(run.reason).split(":")[0]) == ("failed", "LiveMovedError")
    assert house.registry.route.live == "import-000000"


@pytest.mark.parametrize("change", ["shadow", "live"])
async def test_a_route_that_changes_during_the_promotion_is_looked_at_anew(
    house: House, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    registry, promote = house.registry, house.registry.promote
    registry.rows["import-000000"] = version_row("import-000000")

    async def after_another_change(version: str, **wanted: Any) -> Any:
        monkeypatch.setattr(registry, "promote", promote)
        if change == "live":
            await promote("import-000000", actor="somebody", reason="by hand")
        else:
            await registry.set_shadow("import-000000", 0.1, actor="somebody", reason="by hand")
        return await promote(version, **wanted)

    monkeypatch.setattr(registry, "promote", after_another_change)
    run = await ran(house)
    if change == "live":
        assert (run.state, registry.route.live) == ("failed", "import-000000")
    else:
        assert (run.state, registry.route.live) == ("promoted", run.version)


# ---- slots


async def test_one_run_of_a_channel_at_a_time(house: House) -> None:
    house.config = make_config("hangs")
    service = house.service()
    run = await service.start_run(CHANNEL)
    with pytest.raises(RunInProgressError):
        await house.service().start_run(CHANNEL)
    await service.cancel(run.id)


async def test_a_slot_with_a_verdict_is_not_run_again(house: House) -> None:
    await ran(house)
    with pytest.raises(SlotFinishedError):
        await house.service().start_run(CHANNEL, slot="2026-w47")


async def test_a_failed_slot_may_be_run_again(house: House) -> None:
    house.config = make_config("fails")
    await ran(house)
    house.config = make_config("good")
    again = await ran(house)
    assert (again.id, again.state) == ("pawl-2026-w47.2", "promoted")


@pytest.mark.parametrize("slot", ["47", "2026-w54", "2026-w47.1", "2026-47", "../../w"])
async def test_a_slot_must_name_a_week(house: House, slot: str) -> None:
    with pytest.raises(InvalidSlotError):
        await house.service().start_run(CHANNEL, slot=slot)


async def test_an_unknown_channel_has_no_runs(house: House) -> None:
    with pytest.raises(UnknownChannelError):
        await house.service().start_run("other")


async def test_an_unknown_run_is_not_found(house: House) -> None:
    with pytest.raises(UnknownRunError):
        await house.service().cancel("pawl-2020-w01")


# ---- looking first


async def test_a_dry_run_shows_what_a_run_would_use_and_writes_nothing(house: House) -> None:
    plan = await house.service().dry_run(CHANNEL)
    assert plan.would_train
    assert plan.pairs + plan.filters["held_out"] == 40
    assert plan.held_out_prompts == 40 - plan.pairs
    assert not house.folder.exists()
    assert await house.service().runs(CHANNEL) == []
    run = await ran(house)
    assert run.figures["pairs_by_signal"] == plan.pairs_by_signal


async def test_answers_of_another_base_model_are_not_trained_on(house: House) -> None:
    log = Log(SATURDAY - timedelta(hours=1), prefix="old")
    learner = next(f"user {n}" for n in range(40) if not held_out(TENANT, f"user {n}", 0.5))
    better = log.ask("another question", "good answer", user=learner, base_fingerprint="0" * 64)
    log.prefer(better, log.ask("another question", "bad answer", user=learner))
    await log.write(house.database)
    plan = await house.service().dry_run(CHANNEL)
    assert plan.filters["foreign"] == 1


async def test_pairs_are_exported_as_others_take_them(house: House) -> None:
    plan = await house.service().dry_run(CHANNEL)
    trl = [row async for row in house.service().export(CHANNEL, "trl")]
    openai = [row async for row in house.service().export(CHANNEL, "openai")]
    assert len(trl) == len(openai) == plan.pairs
    assert trl[0]["chosen"] == [{"role": "assistant", "content": "good answer"}]
    assert openai[0]["non_preferred_output"] == [{"role": "assistant", "content": "bad answer"}]
    assert openai[0]["input"]["messages"] == trl[0]["prompt"]
