"""A run, from the log to the verdict, and what may go wrong on the way."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import col, select
from structlog.testing import capture_logs

from retrain.errors import (
    InvalidSlotError,
    RunInProgressError,
    SlotFinishedError,
    UnknownChannelError,
    UnknownRunError,
)
from retrain.held_out import held_out
from retrain.models import Run, TrainedText
from retrain.ports import ChatUnavailableError
from retrain.runner import explained, first_cause
from retrain.schemas import RunOut
from retrain.service import OWNERS_MAX, RunService
from retrain.steps import STEPS
from tests.retrain.log import CHANNEL
from tests.retrain.world import SATURDAY, House, make_config, version_row, week

pytestmark = pytest.mark.anyio
RUN = "pawl-2026-w47.1"


async def ran(house: House, **more: Any) -> RunOut:
    service = house.service()
    started = await service.start_run(CHANNEL, **more)
    return await service.wait(started.id)


def stop_at(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the process die as it begins a step: what is written by then stays."""

    async def dies(context: object) -> None:
        raise asyncio.CancelledError

    monkeypatch.setitem(STEPS, name, dies)


async def interrupted(house: House, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Leave a run behind whose owner died at `step`, long enough ago."""
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        service = house.service()
        run = await service.start_run(CHANNEL)
        await service.wait(run.id)
    house.clock.forward(minutes=5)


async def interrupted_after(house: House, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """Leave a run behind whose owner died when `step` was done and nothing said so yet."""
    original = STEPS[step]

    async def dies(context: Any) -> None:
        await original(context)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setitem(STEPS, step, dies)
        service = house.service()
        await service.start_run(CHANNEL)
        await service.wait(RUN)
    house.clock.forward(minutes=5)


async def reached(house: House, service: RunService, folder_entry: str, run: str = RUN) -> None:
    """Wait for a file of the run."""
    path = house.folder / run / folder_entry
    while not await asyncio.to_thread(_filled, path):  # noqa: ASYNC110 - another process fills it
        await asyncio.sleep(0.02)


def _filled(path: Path) -> bool:
    return path.exists() and b"dropped" in path.read_bytes()


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


async def test_the_next_run_starts_from_live_with_new_feedback_alone(house: House) -> None:
    first = await ran(house)
    house.clock.forward(days=7)
    await week(SATURDAY, "second").write(house.database)
    second = await ran(house)
    job = _read(house.folder / second.id / "job.json")
    assert second.parent == first.version
    assert second.figures["pairs"] == first.figures["pairs"]
    assert job["warm_start"] == str(house.folder / first.id / "adapter")
    assert job["hyper"]["learning_rate"] == house.config.hyper.learning_rate
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
    assert (run.state, str(run.reason).split(":")[0]) == ("failed", "NoJudgeError")


async def test_an_unexpected_error_leaves_its_class_alone(house: House) -> None:
    house.chat.error = ValueError("what the user said")
    run = await ran(house)
    assert run.state == "failed"
    assert run.reason == "ValueError: unexpected; look at the server's log"


async def test_an_unexpected_error_is_logged_with_its_place_and_no_text(house: House) -> None:
    house.chat.error = ValueError("what the user said")
    with capture_logs() as logs:
        await ran(house)
    (failed,) = [line for line in logs if line["event"] == "run_failed"]
    assert failed["error"] == "ValueError"
    assert failed["at"].startswith("world.py:")
    assert "what the user said" not in str(logs)


async def test_a_report_that_cannot_be_written_leaves_the_run_to_its_next_owner(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    service = house.service()
    with monkeypatch.context() as patch:
        patch.setattr("retrain.runner.write_report", full)
        await service.start_run(CHANNEL)
        assert (await service.wait(RUN)).state == "running"
        await service.close()
    house.clock.forward(minutes=5)
    assert await service.resume() == [RUN]
    assert (await service.wait(RUN)).state == "promoted"


async def test_an_event_that_a_power_cut_tore_does_not_end_the_run(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted_after(house, monkeypatch, "train")
    with (house.folder / RUN / "events.jsonl").open("ab") as events:
        events.write(b'{"event": "sa')
    service = house.service()
    await service.resume()
    ended = await service.wait(RUN)
    assert (ended.state, ended.figures["train_seconds"]) == ("promoted", 1.5)


def test_an_error_of_a_task_group_is_looked_into() -> None:
    group = ExceptionGroup("several", [ExceptionGroup("more", [ChatUnavailableError("busy")])])
    assert explained(first_cause(group)) == "ChatUnavailableError: busy"


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


# ---- cancelling, dying, resuming


async def test_cancelling_stops_the_trainer(house: House) -> None:
    house.config = make_config("hangs")
    service = house.service()
    run = await service.start_run(CHANNEL)
    await reached(house, service, "events.jsonl")
    pid = int((house.folder / run.id / "trainer.pid").read_text().split()[0])
    ended = await service.cancel(run.id)
    assert (ended.state, ended.reason) == ("cancelled", "cancelled during the step train")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_another_process_can_have_a_run_cancelled(house: House) -> None:
    house.config = make_config("hangs", lease_seconds=0.3)
    service = house.service()
    run = await service.start_run(CHANNEL)
    await house.service().cancel(run.id)
    assert (await service.wait(run.id)).state == "cancelled"


async def test_cancelling_refuses_the_candidate(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = asyncio.Event()

    async def waits(context: object) -> None:
        began.set()
        await asyncio.Event().wait()

    monkeypatch.setitem(STEPS, "evaluate", waits)
    service = house.service()
    run = await service.start_run(CHANNEL)
    await began.wait()
    ended = await service.cancel(run.id)
    assert ended.state == "cancelled"
    assert house.registry.called("reject") == [ended.version]


async def test_cancelling_a_run_that_ended_changes_nothing(house: House) -> None:
    run = await ran(house)
    assert (await house.service().cancel(run.id)).state == "promoted"


@pytest.mark.parametrize("step", list(STEPS))
async def test_a_run_whose_process_died_goes_on_where_it_was(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await interrupted(house, monkeypatch, step)
    service = house.service()
    assert (await service.run(RUN)).step == step
    assert await service.resume() == [RUN]
    ended = await service.wait(RUN)
    assert ended.state == "promoted"
    assert len(house.registry.called("add")) == len(house.registry.called("promote")) == 1


@pytest.mark.parametrize("step", list(STEPS))
async def test_a_step_that_died_at_its_end_is_repeated_without_harm(
    house: House, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    await interrupted_after(house, monkeypatch, step)
    service = house.service()
    await service.resume()
    assert (await service.wait(RUN)).state == "promoted"
    assert len(house.registry.called("add")) == len(house.registry.called("promote")) == 1


async def test_a_refusal_whose_process_died_is_still_a_refusal(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.chat.candidate = "bad words"
    await interrupted_after(house, monkeypatch, "roll out")
    service = house.service()
    await service.resume()
    assert (await service.wait(RUN)).state == "rejected"


async def test_a_run_cancelled_while_nobody_held_it_takes_no_further_step(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "decide")
    service = house.service()
    await service.cancel(RUN)
    await service.resume()
    ended = await service.wait(RUN)
    assert ended.state == "cancelled"
    assert house.registry.route.live == "base"
    assert house.registry.called("reject") == [ended.version]


async def test_a_cancelled_run_that_had_begun_to_roll_out_is_finished(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted_after(house, monkeypatch, "roll out")
    service = house.service()
    await service.cancel(RUN)
    await service.resume()
    assert (await service.wait(RUN)).state == "promoted"


async def test_a_snapshot_that_was_changed_is_not_evaluated_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "evaluate")
    with (house.folder / RUN / "snapshot" / "held_out.jsonl").open("a") as file:
        file.write("\n")
    service = house.service()
    await service.resume()
    ended = await service.wait(RUN)
    assert (ended.state, str(ended.reason).split(":")[0]) == ("failed", "SnapshotError")


async def test_a_run_that_is_held_is_not_taken_over(house: House) -> None:
    house.config = make_config("hangs")
    service = house.service()
    run = await service.start_run(CHANNEL)
    assert await house.service().resume() == []
    await service.cancel(run.id)


async def test_a_clock_that_was_set_back_does_not_keep_a_dead_owners_lease_alive(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    await interrupted(house, monkeypatch, "train")
    house.clock.forward(days=-14)
    service = house.service()
    assert await service.resume() == [RUN]
    await service.wait(RUN)


async def test_an_owner_that_wakes_up_late_writes_nothing(house: House) -> None:
    house.config = make_config("hangs")
    asleep = house.service()
    await asleep.start_run(CHANNEL)
    await reached(house, asleep, "events.jsonl")
    house.clock.forward(minutes=5)
    house.config = make_config("good")
    awake = house.service()
    await awake.resume()
    assert (await awake.wait(RUN)).state == "promoted"
    assert (await asleep.wait(RUN)).state == "promoted"
    assert len(house.registry.called("promote")) == 1


async def test_a_shutdown_leaves_the_run_for_the_next_process(house: House) -> None:
    house.config = make_config("hangs")
    service = house.service()
    await service.start_run(CHANNEL)
    await reached(house, service, "events.jsonl")
    await service.close()
    assert (await service.run(RUN)).state == "running"
    house.config = make_config("good")
    heir = house.service()
    await heir.start()
    assert (await heir.wait(RUN)).state == "promoted"


async def test_a_run_that_no_process_survives_is_given_up(house: House) -> None:
    async with house.database.write() as session:
        session.add(
            Run(
                id=RUN,
                channel=CHANNEL,
                tenant="shop",
                slot="2026-w47",
                attempt=1,
                trigger="manual",
                state="running",
                step="train",
                created_at=SATURDAY,
                fence=OWNERS_MAX,
                figures={},
            )
        )
    service = house.service()
    assert await service.resume() == []
    assert (await service.run(RUN)).state == "failed"


async def test_the_last_success_is_told_at_start(house: House) -> None:
    await ran(house)
    house.watcher.successes.clear()
    await house.service().start()
    assert house.watcher.successes == [SATURDAY]


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


async def test_pairs_are_exported_as_others_take_them(house: House) -> None:
    plan = await house.service().dry_run(CHANNEL)
    trl = [row async for row in house.service().export(CHANNEL, "trl")]
    openai = [row async for row in house.service().export(CHANNEL, "openai")]
    assert len(trl) == len(openai) == plan.pairs
    assert trl[0]["chosen"] == [{"role": "assistant", "content": "good answer"}]
    assert openai[0]["non_preferred_output"] == [{"role": "assistant", "content": "bad answer"}]
    assert openai[0]["input"]["messages"] == trl[0]["prompt"]
