"""A reward model: what it learns, that it scores the same again, and when it is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from retrain.trainer.errors import (
    JobError,
    JudgeMismatchError,
    NonFiniteError,
    TooFewPairsError,
)
from retrain.trainer.events import Dropped, Saved, Started, Step
from retrain.trainer.reward.record import RewardRecord
from tests.lazy_modules import lazy
from tests.retrain.trainer.reward.votes import answers, label, score, train
from tests.retrain.trainer.tiny import of_kind, read_events

torch = lazy("torch")
reward_model = lazy("retrain.trainer.reward.model")
trainer_model = lazy("retrain.trainer.model")
likelihood = lazy("retrain.trainer.reward.likelihood")
votes = lazy("retrain.trainer.reward.votes")

pytestmark = pytest.mark.slow

UNSEEN = list(range(20, 28))


def test_it_prefers_what_people_preferred_on_questions_it_has_not_seen(
    trained: Path, base: Path
) -> None:
    scores = score(trained, base, answers(UNSEEN))
    assert all(good > bad for good, bad in zip(scores[::2], scores[1::2], strict=True))


@pytest.mark.parametrize("kind", ["pairs", "labels"])
def test_it_learns_from_either_kind_of_vote_alone(kind: str, tmp_path: Path, base: Path) -> None:
    thumbs = [label(number, good=good) for number in range(8) for good in (True, False)]
    alone: dict[str, Any] = {"labels": []} if kind == "pairs" else {"pairs": [], "labels": thumbs}
    train(tmp_path / "job", base, **alone)
    scores = score(tmp_path / "job", base, answers(UNSEEN))
    assert sum(scores[::2]) > sum(scores[1::2])


def test_a_weight_of_zero_leaves_labels_out(tmp_path: Path, base: Path) -> None:
    events = train(tmp_path / "job", base, label_weight=0.0)
    assert of_kind(events, Dropped)[0].reasons == {"weightless": 8}
    assert of_kind(events, Started)[0].signals == {"preference": 8}


def test_the_same_job_gives_the_same_model(trained: Path, tmp_path: Path, base: Path) -> None:
    train(tmp_path / "job", base)
    again = score(tmp_path / "job", base, answers(UNSEEN))
    assert again == score(trained, base, answers(UNSEEN))


def test_scores_do_not_depend_on_the_batch(trained: Path, base: Path) -> None:
    one_by_one = score(trained, base, answers(UNSEEN), per_device_batch=1)
    assert score(trained, base, answers(UNSEEN), per_device_batch=16) == pytest.approx(
        one_by_one, abs=1e-4
    )


def test_a_finished_answer_and_the_same_one_cut_off_are_read_at_different_places(
    base: Path,
) -> None:
    device = trainer_model.Device(cuda=False, bf16=False)
    hyper = trainer_model.HyperParameters(lora_rank=2)
    model = reward_model.new_reward_model(str(base), hyper, device).eval()
    torch.nn.init.ones_(model.head.weight)
    row, none = answers([1])[0], (0.0,) * likelihood.FIGURES
    start, ids = len(row["prompt_token_ids"]), row["prompt_token_ids"] + row["token_ids"]
    both = [votes.AnswerIds(ids, start, none), votes.AnswerIds(ids[:-1], start, none)]
    together = model(**reward_model.padded(both)).tolist()
    alone = [model(**reward_model.padded([one])).item() for one in both]
    assert together == pytest.approx(alone, abs=1e-5)
    assert abs(together[0] - together[1]) > 1e-3


def test_likelihood_is_that_of_the_base_model_without_lora(base: Path) -> None:
    device = trainer_model.Device(cuda=False, bf16=False)
    hyper = trainer_model.HyperParameters(lora_rank=2)
    model = reward_model.new_reward_model(str(base), hyper, device).eval()
    rows = [votes.AnswerIds([5, 6, 7, 8, 9], 2), votes.AnswerIds([5, 6, 7], 1)]
    before = likelihood.figures_of(model.backbone, rows, 2)
    for name, value in model.backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.ones_(value)
    assert likelihood.figures_of(model.backbone, rows, 1) == [
        pytest.approx(one, abs=1e-5) for one in before
    ]
    logits = model.backbone.get_base_model()  # the sampled tokens' own log-probabilities
    with torch.no_grad(), model.backbone.disable_adapter():
        every = logits(input_ids=torch.tensor([[5, 6, 7, 8, 9]])).logits.log_softmax(-1)[0]
    own = [every[place, token].item() for place, token in ((1, 7), (2, 8), (3, 9))]
    assert before[0][0] == pytest.approx(sum(own) / 3, abs=1e-5)
    assert before[0][1] == pytest.approx(min(own), abs=1e-5)


def test_the_record_says_what_was_trained_on_what(trained: Path) -> None:
    record = RewardRecord.model_validate_json((trained / "model" / "training.json").read_bytes())
    assert (record.pairs, record.labels, record.base_digest) == (8, 8, "d" * 64)
    assert record.precision == "fp32"
    assert len(record.probes) == 8


def test_its_folder_holds_nothing_but_weights_and_record(trained: Path) -> None:
    assert {path.name for path in (trained / "model").iterdir()} == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "head.safetensors",
        "training.json",
    }


def test_training_reports_its_steps_and_its_end(tmp_path: Path, base: Path) -> None:
    events = train(tmp_path / "job", base)
    steps = of_kind(events, Step)
    assert steps[-1].step == steps[-1].of
    assert steps[-1].loss < steps[0].loss
    assert of_kind(events, Saved)[0].folder == str(tmp_path / "job" / "model")


def test_another_base_model_is_refused(trained: Path, base: Path) -> None:
    with pytest.raises(JudgeMismatchError, match="another base model"):
        score(trained, base, answers([1]), base_digest="e" * 64)


def test_a_head_that_was_changed_is_refused(trained: Path, tmp_path: Path, base: Path) -> None:
    shutil.copytree(trained, tmp_path / "job")
    head = tmp_path / "job" / "model" / "head.safetensors"
    content = bytearray(head.read_bytes())
    content[-2:] = b"\x00\x42"
    head.write_bytes(content)
    with pytest.raises(JudgeMismatchError, match="scores its probes differently"):
        score(tmp_path / "job", base, answers([1]))


def test_lora_weights_that_are_missing_are_refused(
    trained: Path, tmp_path: Path, base: Path
) -> None:
    shutil.copytree(trained, tmp_path / "job")
    path = tmp_path / "job" / "model" / "adapter_model.safetensors"
    safetensors = lazy("safetensors.torch")
    tensors = safetensors.load_file(path)
    safetensors.save_file({name: 0 * value for name, value in tensors.items()}, path)
    with pytest.raises(JudgeMismatchError):
        score(tmp_path / "job", base, answers([1]))


def test_too_few_votes_train_nothing(tmp_path: Path, base: Path) -> None:
    with pytest.raises(TooFewPairsError, match="fewer than the minimum of 17"):
        train(tmp_path / "job", base, minimum=17)
    assert not (tmp_path / "job" / "model").exists()


def test_votes_that_are_too_long_are_counted(tmp_path: Path, base: Path) -> None:
    long = label(1, good=True, prompt_token_ids=[5] * 200)
    events = train(tmp_path / "job", base, labels=[long])
    assert of_kind(events, Dropped)[0].reasons == {"too_long": 1}


def test_token_ids_of_another_vocabulary_are_refused(tmp_path: Path, base: Path) -> None:
    with pytest.raises(JobError, match="label-1-True holds token id 999"):
        train(tmp_path / "job", base, labels=[label(1, good=True, prompt_token_ids=[999])])


def test_a_diverging_training_saves_nothing(tmp_path: Path, base: Path) -> None:
    with pytest.raises(NonFiniteError):
        train(
            tmp_path / "job",
            base,
            labels=[label(1, good=True, weight=1e38)] * 8,
            pairs=[],
            hyper={"learning_rate": 1e30},
            head_learning_rate=1e30,
        )
    assert not (tmp_path / "job" / "model").exists()


def test_a_label_file_that_is_damaged_is_refused_without_quoting_it(
    tmp_path: Path, base: Path
) -> None:
    row = label(1, good=True)
    del row["label"]
    with pytest.raises(JobError, match="line 1 is not a label, label: missing") as caught:
        train(tmp_path / "job", base, labels=[row])
    assert json.dumps(row["prompt_token_ids"]) not in str(caught.value)


def test_an_answer_without_tokens_has_a_score(trained: Path, base: Path) -> None:
    [found] = score(trained, base, [{"prompt_token_ids": [5, 6], "token_ids": []}])
    assert found == found  # noqa: PLR0124  (not a number differs from itself)


def test_scoring_reports_its_end(trained: Path, base: Path) -> None:
    score(trained, base, answers([1]))
    assert [type(event) for event in read_events(trained)] == [Saved]
