"""What a run trains on, and with which methods: its plan, its training set, its job."""

import json
from datetime import timedelta
from typing import Any

import pytest

from retrain.config import KtoConfig
from retrain.dataset.training_set.files import open_training_set
from retrain.retention import remove_texts, runs_due
from retrain.run.context import RunContext
from retrain.schemas import RunOut
from retrain.trainer.job import Job
from tests.retrain.log import CHANNEL, Log
from tests.retrain.runs import RUN, ran, taken_up
from tests.retrain.world import SATURDAY, House, make_config, week

pytestmark = pytest.mark.anyio

DAY = timedelta(days=1)


def job_of(house: House, run: str = RUN) -> Job:
    return Job.model_validate_json((house.folder / run / "job.json").read_bytes())


async def with_lone_thumbs(house: House, count: int, **settings: Any) -> None:
    """Questions that are asked once each, with one thumb; a third of them up."""
    house.config = make_config(**settings)
    log = Log(SATURDAY.replace(hour=1), prefix="lone")
    for number in range(count):
        asked = log.ask(f"lone question {number}", f"answer {number}", user=f"user {number}")
        log.say("thumbs", asked, number % 3 == 0)
    await log.write(house.database)


async def with_nothing_but_thumbs(house: House, count: int, **settings: Any) -> None:
    """The same, while the pairs that the house was opened with do not suffice."""
    alone = {"minimum_pairs": 1_000, "minimum_labels": 20, "counterparts": {"enabled": False}}
    more = {**alone, **settings}
    await with_lone_thumbs(house, count, **more)


async def test_enough_pairs_are_one_stage_of_dpo(house: House) -> None:
    run = await ran(house)
    (stage,) = job_of(house).stages
    training = open_training_set(house.folder / RUN / "training")
    assert (stage.method, stage.file) == ("dpo", house.folder / RUN / "training" / "pairs.jsonl")
    assert training.pairs_by_origin == {"people": run.figures["pairs"]}
    assert run.figures["plan"]["stages"][0]["method"] == "dpo"
    assert stage.hyper.learning_rate == house.config.trainer.learning_rate_first


async def test_lone_thumbs_are_trained_on_with_kto(house: House) -> None:
    kto = KtoConfig(beta=0.5, learning_rate=1e-3, learning_rate_first=2e-3, epochs=3)
    await with_nothing_but_thumbs(house, 60, kto=kto)
    run = await ran(house)
    assert run.state == "promoted"
    (stage,) = job_of(house).stages
    assert (stage.method, stage.minimum, stage.pairs is not None) == ("kto", 20, True)
    assert (stage.hyper.beta, stage.hyper.learning_rate, stage.hyper.epochs) == (0.5, 2e-3, 3)
    training = run.figures["training"]
    assert min(training["labels_up"], training["labels_down"]) > 5
    report = (house.folder / RUN / "report.md").read_text()
    assert run.figures["plan"]["reasons"][-1].startswith("kto: ")
    assert run.figures["plan"]["reasons"][-1] in report
    assert f"| labels: down | {training['labels_down']} |" in report


async def test_the_questions_of_labels_that_were_trained_on_are_kept(house: House) -> None:
    await with_nothing_but_thumbs(house, 60)
    run = await ran(house)
    texts = await house.world().runs.trained_texts([str(run.version)])
    training = run.figures["training"]
    labels = training["labels_up"] + training["labels_down"]
    assert len(texts) == run.figures["pairs"] + labels


async def test_the_dry_run_says_with_which_methods_and_why(house: House) -> None:
    await with_nothing_but_thumbs(house, 60)
    plan = await house.service().dry_run(CHANNEL)
    assert (plan.would_train, plan.methods) == (True, ["kto"])
    assert plan.reasons[-1].startswith("kto: ")


async def test_too_little_of_everything_ends_the_run_with_all_reasons(house: House) -> None:
    await with_nothing_but_thumbs(house, 60, pairs={"held_out_share": 0}, minimum_labels=61)
    run = await ran(house)
    assert run.state == "skipped"
    assert run.reason == (
        "40 pairs, fewer than the minimum of 1000; 60 labels, fewer than the minimum of 61 for kto"
    )


async def test_a_method_that_is_set_is_trained_with(house: House) -> None:
    trainer = house.config.trainer.model_copy(update={"learning_rate_first": None})
    house.config = make_config(method="orpo", trainer=trainer)
    await ran(house)
    (stage,) = job_of(house).stages
    assert (stage.method, stage.hyper.learning_rate) == ("orpo", house.config.orpo.learning_rate)


async def test_a_resumed_run_trains_on_the_same_bytes(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that would make another set are of no effect once the set is frozen."""
    frozen: list[bytes] = []
    original = RunContext.save_figures

    async def dies(self: RunContext, **figures: Any) -> None:
        await original(self, **figures)
        if "training" in figures:
            frozen.append((self.folder / "training" / "manifest.json").read_bytes())
            raise OSError("the disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(RunContext, "save_figures", dies)
        first = await house.service().start_run(CHANNEL)
        await house.services[-1].wait(first.id)
    house.config = house.config.model_copy(update={"seed": 7, "max_pairs": 6})
    service = house.service()
    await taken_up(house, service)
    await service.wait(RUN)
    assert [(house.folder / RUN / "training" / "manifest.json").read_bytes()] == frozen


async def second_week(house: House, **settings: Any) -> RunOut:
    """A run a week after the first, on fresh feedback."""
    house.config = make_config(**settings)
    house.clock.forward(days=7)
    await week(house.clock() - DAY, "second").write(house.database)
    return await ran(house)


def origins(run: RunOut) -> dict[str, int]:
    found: dict[str, int] = run.figures["training"]["pairs_by_origin"]
    return found


async def test_a_share_of_the_week_before_is_trained_on_again(house: House) -> None:
    first = await ran(house)
    second = await second_week(house, replay_share=0.5)
    assert first.state == "promoted"
    assert origins(second) == {
        "people": second.figures["pairs"],
        "replay": min(first.figures["pairs"], second.figures["pairs"]),
    }
    own = second.figures["pairs"]
    lines = (house.folder / second.id / "training" / "pairs.jsonl").read_bytes().splitlines()
    assert {json.loads(line)["origin"] for line in lines[own:]} == {"replay"}


async def test_nothing_is_trained_on_again_where_that_is_switched_off(house: House) -> None:
    await ran(house)
    assert "replay" not in origins(await second_week(house, replay_share=0))


async def test_a_run_of_an_earlier_release_has_its_snapshot_replayed(house: House) -> None:
    first = await ran(house)
    for path in sorted((house.folder / RUN / "training").iterdir()):
        path.unlink()
    second = await second_week(house, replay_share=0.5)
    assert origins(second)["replay"] == min(first.figures["pairs"], second.figures["pairs"])


async def test_pairs_that_are_not_here_any_more_are_counted(house: House) -> None:
    await ran(house)
    remove_texts(house.folder / RUN, house.clock() + DAY, house.clock())
    second = await second_week(house, replay_share=0.5)
    assert second.figures["training"]["left_out"] == {"earlier_runs_not_here": 1}


async def test_replayed_texts_go_when_they_are_due_and_the_runs_own_stay(house: House) -> None:
    await ran(house)
    training, own = house.folder / RUN / "training", house.folder / RUN / "snapshot"
    manifest = json.loads((training / "manifest.json").read_bytes())
    manifest["oldest_text"] = (SATURDAY - 40 * DAY).isoformat()
    (training / "manifest.json").write_text(json.dumps(manifest))
    before = SATURDAY - 30 * DAY
    assert [path.name for path in await runs_due(house.database, house.folder, before)] == [RUN]
    remove_texts(house.folder / RUN, before, house.clock())
    assert not (training / "pairs.jsonl").exists()
    assert (own / "pairs.jsonl").exists()
