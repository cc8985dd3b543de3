from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from retrain.trainer.events import Reference, Step
from tests.lazy_modules import lazy
from tests.retrain.trainer.tiny import of_kind, pair, prepared_trainer, run_job

torch = lazy("torch")
orpo = lazy("retrain.trainer.methods.orpo")
transformers = lazy("transformers")
trl_orpo = lazy("trl.experimental.orpo")
datasets = lazy("datasets")

pytestmark = pytest.mark.slow

BETA = 0.3


def batch_of(trainer: Any) -> dict[str, Any]:
    batch: dict[str, Any] = trainer.data_collator(list(trainer.train_dataset))
    return batch


def gradient(trainer: Any, weights: list[float], rows: slice) -> Any:
    batch = trainer.data_collator(list(trainer.train_dataset)[rows])
    batch["weight"] = torch.tensor(weights)
    trainer.model.zero_grad()
    trainer.compute_loss(trainer.model, batch).backward()
    parts = [p.grad.flatten() for p in trainer.model.parameters() if p.grad is not None]
    return torch.cat(parts)


class Text:
    """Three pairs of text; each prompt is one token, and so are its first token and its whole."""

    PROMPT = "<|im_start|>"
    ROWS = (("It costs dollars.", "Ugh"), ("read the website.", "It costs"), ("the", "much."))


def trl_trainer(folder: Path, base: Path) -> Any:
    """TRL's own trainer of text, on the same model, without an adapter."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    tokenizer.bos_token = None
    rows = [{"prompt": Text.PROMPT, "chosen": c, "rejected": r} for c, r in Text.ROWS]
    arguments = trl_orpo.ORPOConfig(
        output_dir=str(folder / "trl"), beta=BETA, max_length=64, report_to=[], use_cpu=True
    )
    return trl_orpo.ORPOTrainer(
        model=transformers.AutoModelForCausalLM.from_pretrained(base),
        args=arguments,
        train_dataset=datasets.Dataset.from_list(rows),
        processing_class=tokenizer,
    )


def own_rows(base: Path) -> list[dict[str, Any]]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)

    def ids(text: str) -> list[int]:
        found: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
        return found

    def answer(text: str) -> dict[str, list[int]]:
        return {"token_ids": [*ids(text), tokenizer.eos_token_id]}

    sides = [{"chosen": answer(c), "rejected": answer(r)} for c, r in Text.ROWS]
    prompt = {"prompt_token_ids": ids(Text.PROMPT)}
    return [pair(number) | prompt | side for number, side in enumerate(sides)]


def test_the_loss_is_that_of_trl_on_unweighted_text(
    tmp_path: Path, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt of one token has no likelihood, so TRL's covers the answer alone, as ours does.

    TRL takes the mean over all tokens of a batch, so batches of one pair are compared.
    """
    monkeypatch.setenv("TRL_EXPERIMENTAL_SILENCE", "1")
    theirs = trl_trainer(tmp_path, base)
    ours = prepared_trainer(
        tmp_path, base, rows=own_rows(base), method="orpo", hyper={"beta": BETA}
    )
    theirs.model.eval()
    for index in range(len(Text.ROWS)):
        batch = theirs.data_collator([theirs.train_dataset[index]])
        with torch.no_grad():
            expected, metrics = theirs.get_batch_loss_metrics(theirs.model, batch)
            own = ours.data_collator([ours.train_dataset[index]])
            found = ours.compute_loss(ours.model, own)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        told = ours._metrics["train"]["log_odds_ratio"][-1]
        assert told == pytest.approx(float(metrics["log_odds_chosen"]), rel=1e-3, abs=1e-4)


def test_the_likelihood_is_that_of_the_answer_alone(tmp_path: Path, base: Path) -> None:
    trainer = prepared_trainer(tmp_path, base, rows=[pair(1)], method="orpo")
    batch = batch_of(trainer)
    with torch.no_grad():
        trainer.compute_loss(trainer.model, batch_of(trainer))
        ids, mask = batch["input_ids"][:1], batch["completion_mask"][:1, 1:]
        logits = trainer.model(ids, attention_mask=batch["attention_mask"][:1]).logits[:, :-1]
    found = torch.log_softmax(logits.float(), -1).gather(-1, ids[:, 1:, None])[..., 0]
    expected = -(found * mask).sum() / mask.sum()
    assert trainer._metrics["train"]["nll"][-1] == pytest.approx(float(expected), rel=1e-4)


def test_a_pairs_gradient_is_scaled_by_its_weight(tmp_path: Path, base: Path) -> None:
    trainer = prepared_trainer(tmp_path, base, rows=[pair(1), pair(2)], method="orpo")
    first = gradient(trainer, [1.0], slice(0, 1))
    second = gradient(trainer, [1.0], slice(1, 2))
    both = gradient(trainer, [0.25, 0.5], slice(0, 2))
    assert first.abs().max() > 0
    torch.testing.assert_close(both, (0.25 * first + 0.5 * second) / 2, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("value", [-1e-30, -1e-4, -0.6, -0.7, -5.0, -80.0])
def test_the_odds_keep_their_precision(value: float) -> None:
    x, other = torch.tensor([[value], [-1.0]], dtype=torch.float64)
    odds = torch.log(-torch.expm1(torch.stack([x, other])))
    expected = ((x - other) - (odds[0] - odds[1])).float()
    found = orpo.log_odds_ratio(x.float(), other.float())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-7)


def test_a_certain_answer_has_a_finite_gradient() -> None:
    chosen = torch.tensor([0.0, -60.0], requires_grad=True)
    orpo.log_odds_ratio(chosen, torch.tensor([-1.0, -1.0])).sum().backward()
    assert chosen.grad is not None
    assert bool(torch.isfinite(chosen.grad).all())


@pytest.mark.parametrize("warm", [False, True])
def test_a_training_tells_the_answers_apart(tmp_path: Path, base: Path, warm: bool) -> None:
    start = {}
    if warm:
        (tmp_path / "first").mkdir()
        run_job(tmp_path / "first", base, method="orpo")
        start = {"warm_start": "first/adapter"}
    events = run_job(tmp_path, base, method="orpo", hyper={"epochs": 4}, **start)
    steps = of_kind(events, Step)
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].log_odds_ratio is not None
    assert steps[0].log_odds_ratio is not None
    assert steps[-1].log_odds_ratio > steps[0].log_odds_ratio
    assert (steps[-1].reward_margin, steps[-1].kl) == (None, None)
    assert of_kind(events, Reference)[0].max_reward is None
